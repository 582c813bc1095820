"""Folds and splits in which nothing of the held-out people is seen in training.

The thesis splits NDC-ME at random, so that speakers leak (notes item 21); that split is here as a
named alternative, `random_split`, to measure how optimistic it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from thesislib.corpora.clip import Clip

SHARES = (0.70, 0.15, 0.15)
"""Training, validation and test (thesis section 6.3)."""
PARTS = ("train", "validation", "test")
_ATTEMPTS = 64  # orders of speakers that are tried; the most balanced one is taken


@dataclass(frozen=True, slots=True)
class Split:
    """Three disjoint sets of indices into the list of clips that was split, in rising order.

    Attributes:
        name: How it was made: ``speaker``, ``random`` or ``published``.
        train: Indices, `(N,)` int64.
        validation: Indices.
        test: Indices.
        sha256: Hash of which clip is in which part, whatever their order. Equal hashes mean the
            same split of the same clips, so a result that quotes it says what it was tested on.
    """

    name: str
    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]
    sha256: str


def leave_one_group_out(groups: Sequence[str]) -> list[tuple[str, NDArray, NDArray]]:
    """One fold a group: its name, the training indices, the test indices.

    With speakers as groups this is leave-one-speaker-out; with sentences it is the matching
    protocol for speaker identity, where the speaker must be known and the words must not be.

    Args:
        groups: Group of every sample, length N.

    Returns:
        (name, training indices, test indices) in order of name.

    Raises:
        ValueError: fewer than two groups.

    >>> [(name, test.tolist()) for name, _, test in leave_one_group_out(["b", "a", "b"])]
    [('a', [1]), ('b', [0, 2])]
    """
    labels = np.asarray(groups)
    names = sorted(set(groups))
    if len(names) < 2:
        raise ValueError(f"leave-one-group-out needs two groups or more, got {names}")
    return [
        (name, np.flatnonzero(labels != name), np.flatnonzero(labels == name)) for name in names
    ]


def speaker_groups(clips: Sequence[Clip]) -> list[str]:
    """The group of people that each clip belongs to, named after the first of them.

    The two people of a dyad are one group, and so is everybody whom shared dyads connect. Both
    stay on one side because either recording holds both: a microphone picks up the other's voice,
    laughs answer laughs, and a conversation heard from one side in training tells about the other
    side in the test.

    Args:
        clips: With a label ``partner`` where a clip is of a dyad.

    Returns:
        One name a clip.

    >>> ann = Clip(clip_id="1", corpus="x", speaker="ann", labels={"partner": "bob"})
    >>> speaker_groups([ann, Clip(clip_id="2", corpus="x", speaker="bob")])
    ['ann', 'ann']
    """
    parent: dict[str, str] = {}

    def first(person: str) -> str:
        parent.setdefault(person, person)
        while parent[person] != person:
            parent[person] = parent[parent[person]]
            person = parent[person]
        return person

    for speaker, partner in {(c.speaker, c.labels.get("partner", c.speaker)) for c in clips}:
        low, high = sorted((first(speaker), first(partner)))
        parent[high] = low
    return [first(clip.speaker) for clip in clips]


def speaker_split(
    clips: Sequence[Clip], *, seed: int = 0, shares: tuple[float, float, float] = SHARES
) -> Split:
    """A split in which no speaker, and no dyad, is in two parts (`speaker_groups`).

    Groups are put in an order that follows from the seed and are cut where the parts come closest
    to their shares of the clips; of 64 orders the most balanced one is taken. The result depends
    on the clips and the seed, not on the order of the list.

    Args:
        clips: With distinct ids.
        seed: Another one gives another split.
        shares: Of training, validation and test; they add up to 1.

    Raises:
        ValueError: fewer than three groups, ids that are not distinct, or shares that are none.
    """
    groups = speaker_groups(clips)
    names, sizes = np.unique(np.array(groups, dtype=str), return_counts=True)
    if len(names) < len(PARTS):
        raise ValueError(
            f"three parts need three groups of people or more, and there are {len(names)}: "
            f"{', '.join(names)} (people who share dyads stay together)"
        )
    targets = np.cumsum(_checked(shares))[:2] * len(clips)
    best: tuple[float, dict[str, int]] | None = None
    for attempt in range(_ATTEMPTS):
        order = np.argsort([_digest(f"{seed}/{attempt}", name) for name in names])
        upto = np.cumsum(sizes[order])
        # Each part keeps at least one group: the cuts lie apart and inside.
        cut = 1 + int(np.argmin(abs(upto[:-2] - targets[0])))
        second = cut + 1 + int(np.argmin(abs(upto[cut:-1] - targets[1])))
        error = float(abs(upto[[cut - 1, second - 1]] - targets).max())
        if best is None or error < best[0]:
            places = np.repeat(np.arange(3), [cut, second - cut, len(names) - second])
            best = error, dict(zip(names[order].tolist(), places.tolist(), strict=True))
    assert best is not None
    return _split("speaker", clips, [best[1][group] for group in groups])


def random_split(
    clips: Sequence[Clip], *, seed: int = 0, shares: tuple[float, float, float] = SHARES
) -> Split:
    """The thesis's split of NDC-ME: clips at random, so that speakers leak between the parts.

    Args:
        clips: With distinct ids, three or more.
        seed: Another one gives another split.
        shares: Of training, validation and test; they add up to 1.

    Raises:
        ValueError: fewer than three clips, ids that are not distinct, or shares that are none.

    Source: thesis section 6.3; notes item 21.
    """
    if len(clips) < len(PARTS):
        raise ValueError(f"three parts need three clips or more, and there are {len(clips)}")
    order = np.argsort([_digest(str(seed), clip.clip_id) for clip in clips])
    cuts = np.rint(np.cumsum(_checked(shares))[:2] * len(clips)).astype(int)
    first = min(max(cuts[0], 1), len(clips) - 2)
    second = min(max(cuts[1], first + 1), len(clips) - 1)
    places = np.empty(len(clips), np.int64)
    places[order] = np.repeat(np.arange(3), [first, second - first, len(clips) - second])
    return _split("random", clips, places.tolist())


def published_split(clips: Sequence[Clip], parts: Mapping[str, str]) -> Split:
    """The publishers' own parts, by the label ``partition``, to compare with published results.

    Args:
        clips: With distinct ids and the label ``partition``.
        parts: Partition to ``train``, ``validation`` or ``test``, for every partition there is.

    Raises:
        ValueError: a clip has a partition that `parts` does not name, or ids are not distinct.

    >>> clips = [Clip(clip_id=x, corpus="x", speaker=x, labels={"partition": x}) for x in "ab"]
    >>> published_split(clips, {"a": "train", "b": "test"}).test.tolist()
    [1]
    """
    unknown = {clip.labels.get("partition", "none") for clip in clips} - parts.keys()
    if unknown or not set(parts.values()) <= set(PARTS):
        raise ValueError(f"no part is given for {sorted(unknown)}; parts are {', '.join(PARTS)}")
    return _split(
        "published", clips, [PARTS.index(parts[clip.labels["partition"]]) for clip in clips]
    )


def leaked_share(clips: Sequence[Clip], split: Split) -> float:
    """Share of the test clips, 0 to 1, with a person, or that person's partner, seen in training.

    0 for every `speaker_split`; near 1 for a random one of a corpus with few speakers.

    Raises:
        ValueError: the test part is empty.
    """
    if not len(split.test):
        raise ValueError("the test part is empty")
    groups = np.array(speaker_groups(clips), dtype=str)
    return float(np.isin(groups[split.test], groups[split.train]).mean())


def _digest(seed: str, name: str) -> str:
    """A place in a random order that depends on the name alone, on any machine and version."""
    return hashlib.sha256(f"{seed}\n{name}".encode()).hexdigest()


def _checked(shares: Iterable[float]) -> NDArray[np.float64]:
    values = np.array(tuple(shares), float)
    if values.shape != (3,) or not (values > 0).all() or abs(values.sum() - 1) > 1e-9:
        raise ValueError(f"shares are three positive numbers that add up to 1, not {shares}")
    return values


def _split(name: str, clips: Sequence[Clip], places: Sequence[int]) -> Split:
    ids = [clip.clip_id for clip in clips]
    if len(set(ids)) < len(ids):
        raise ValueError("clips with the same id cannot be split: which of them is meant?")
    lines = sorted(f"{clip_id}\t{PARTS[p]}" for clip_id, p in zip(ids, places, strict=True))
    code = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    train, validation, test = (np.flatnonzero(np.array(places) == p) for p in range(3))
    return Split(name, train, validation, test, code)
