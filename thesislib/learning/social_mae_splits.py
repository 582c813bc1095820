"""Parts of chapter 7's corpora: one split or folds, of people; or fewer people to learn from.

Source: thesis section 7.5; notes item 21.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from thesislib.config import SocialMaeConfig
from thesislib.corpora.clip import Clip
from thesislib.corpora.splits import PARTS, Split, published_split, speaker_groups, speaker_split
from thesislib.errors import InputError
from thesislib.learning.laugh_data import balanced_split

PUBLISHED = {"train": "train", "val": "validation", "test": "test"}
"""Parts of First Impressions, as its owners give them."""


def make_splits(config: SocialMaeConfig, clips: Sequence[Clip]) -> list[Split]:
    """One split, or as many as there are folds, in which nobody is in two parts.

    First Impressions has the parts of its owners, whatever the seed.

    Raises:
        InputError: too few people for the parts or the folds.
    """
    corpus = config.corpus.removesuffix("-twin")
    people = len(set(speaker_groups(clips)))
    if people < max(3, config.folds):
        mend = "use more clips, or fewer folds"
        raise InputError(corpus, f"has {people} groups of people", mend)
    if config.folds > 1:
        splits = fold_splits(clips, config.folds, config.seed)
    elif corpus == "first-impressions":
        splits = [published_split(clips, PUBLISHED)]
    elif corpus == "ndc-me":
        splits = [balanced_split(corpus, list(clips), seed=config.seed)]
    else:
        splits = [speaker_split(clips, seed=config.seed)]
    for split in splits:
        for part in PARTS:
            if not len(getattr(split, part)):
                raise InputError(corpus, f"has no clip in {part}", "use more clips")
    if config.labelled_speakers:
        splits = [_fewer(clips, split, config) for split in splits]
    return splits


def fold_splits(clips: Sequence[Clip], folds: int, seed: int) -> list[Split]:
    """People in turn in the test part; those of the next fold validate.

    Args:
        clips: Of at least as many people as folds.
        folds: 3 or more.
        seed: Of the order of the people.

    Raises:
        InputError: two folds, which leave nobody to train on.
    """
    if folds < 3:
        raise InputError("parameter folds", f"cannot be {folds}", "give 1, or 3 or more")
    groups = np.array(speaker_groups(clips))
    people = np.random.default_rng([seed, 75]).permutation(np.unique(groups))
    fold_of = {name: number % folds for number, name in enumerate(people.tolist())}
    fold = np.array([fold_of[name] for name in groups.tolist()])
    found = []
    for number in range(folds):
        parts = {
            name: PARTS[2 if at == number else 1 if at == (number + 1) % folds else 0]
            for name, at in fold_of.items()
        }
        marked = [parts[name] for name in groups.tolist()]
        train, validation, test = (np.flatnonzero(np.array(marked) == part) for part in PARTS)
        assert (fold[test] == number).all()
        found.append(Split(f"fold {number}", train, validation, test, _hash(clips, marked)))
    return found


def _hash(clips: Sequence[Clip], parts: Sequence[str]) -> str:
    marked = [
        Clip(clip_id=c.clip_id, corpus=c.corpus, speaker=c.speaker, labels={"partition": part})
        for c, part in zip(clips, parts, strict=True)
    ]
    return published_split(marked, {part: part for part in PARTS}).sha256


def _fewer(clips: Sequence[Clip], split: Split, config: SocialMaeConfig) -> Split:
    """The same split with some speakers only in its training part; more of them include fewer."""
    speakers = np.array([clip.speaker for clip in clips])
    people = np.unique(speakers[split.train])
    kept = np.random.default_rng([config.seed, 76]).permutation(people)[: config.labelled_speakers]
    train = split.train[np.isin(speakers[split.train], kept)]
    parts = np.full(len(clips), "unused", dtype=object)
    for part in PARTS[1:]:
        parts[getattr(split, part)] = part
    parts[train] = "train"
    digest = f"{split.sha256[:32]}{len(kept):032x}"
    return Split(f"{split.name}, {len(kept)} speakers", train, split.validation, split.test, digest)
