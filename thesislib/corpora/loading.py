"""From the name of a corpus to its clips: the real one where it lies, a twin where it is made."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from thesislib import files
from thesislib.code import code_sha256
from thesislib.corpora import (
    crema_d,
    dyadic,
    emodb,
    first_impressions,
    librispeech,
    voxceleb2,
)
from thesislib.corpora.clip import Clip
from thesislib.corpora.manifest import TWIN_SUFFIX, Manifest, load_manifest
from thesislib.corpora.twins.emodb import write_twin
from thesislib.errors import InputError

TWIN_MODULE = "thesislib.corpora.twins.emodb"


class Reader(NamedTuple):
    """What the layout of a corpus needs: its clips, its faults, its variant, each from a folder."""

    load_clips: Callable[[Path], list[Clip]]
    check: Callable[[Path], list[InputError]]
    detect_variant: Callable[[Path], str]


READERS = {
    "crema-d": Reader(crema_d.load_clips, crema_d.check, crema_d.detect_variant),
    "emodb": Reader(emodb.load_clips, emodb.check, emodb.detect_variant),
    "first-impressions": Reader(
        first_impressions.load_clips, first_impressions.check, first_impressions.detect_variant
    ),
    "librispeech": Reader(librispeech.load_clips, librispeech.check, librispeech.detect_variant),
    "voxceleb2": Reader(voxceleb2.load_clips, voxceleb2.check, voxceleb2.detect_variant),
} | {
    name: Reader(
        partial(dyadic.load_clips, corpus=name),
        partial(dyadic.check, corpus=name),
        dyadic.detect_variant,
    )
    for name in dyadic.CORPORA
}


def reader(corpus: str) -> Reader:
    """The reader of a corpus.

    Raises:
        InputError: the corpus has none; it is in the catalogue only.
    """
    if corpus not in READERS:
        raise InputError(corpus, "has no loader", f"choose from {', '.join(READERS)}")
    return READERS[corpus]


@dataclass(frozen=True)
class Corpus:
    """A corpus at hand.

    Attributes:
        name: Name of its manifest.
        root: Folder that it lies in.
        variant: Form of the copy, such as ``cut-2s`` or ``twin``.
        synthetic: True for a twin.
        clips: Its clips.
        manifest: What it is and how it may be used.
    """

    name: str
    root: Path
    variant: str
    synthetic: bool
    clips: list[Clip]
    manifest: Manifest


def load_corpus(
    name: str,
    *,
    clips: int = 0,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Corpus:
    """Load a corpus, or the twin of one, which is written to disk when it is not there yet.

    Args:
        name: ``emodb`` or ``emodb-twin``.
        clips: Number of clips, balanced over speakers and emotions; 0 means all.
        seed: Seed of a twin.
        progress: Called with the number of clips written, while a twin is made.

    Raises:
        InputError: the corpus is not there; the line says how to get it.
    """
    manifest = load_manifest(name)
    if manifest.name != "emodb":
        raise InputError(name, "cannot be loaded for this experiment", "choose emodb")
    synthetic = name.endswith(TWIN_SUFFIX)
    if synthetic:
        root = twin_folder(manifest.name, clips=clips, seed=seed)
        if not is_current_twin(root, clips=clips, seed=seed):
            write_twin(root, seed=seed, clips=clips or None, progress=progress)
    else:
        found = files.find_corpus(manifest.name)
        if found is None:
            raise InputError(
                manifest.name,
                f"is not under {', '.join(str(root) for root in files.data_roots())}",
                f"run `thesis data get {manifest.name}`, or set THESISLIB_DATA_ROOT",
            )
        root = found
    return Corpus(
        name=manifest.name,
        root=root,
        variant=emodb.detect_variant(root),
        synthetic=synthetic,
        clips=balanced(emodb.load_clips(root), clips),
        manifest=manifest,
    )


def data_card(corpus: Corpus) -> pd.DataFrame:
    """What the manifest says of a corpus, and which part of it is at hand."""
    about = corpus.manifest.about
    speakers = len({clip.speaker for clip in corpus.clips})
    kind = ", synthetic" if corpus.synthetic else ""
    rows = {
        "modality": about("modality"),
        "licence": corpus.manifest.document["license"],
        "consent": about("consentBasis"),
        "permitted use": about("permittedUse"),
        "protocol": about("protocol"),
        "split": about("splitRule"),
        "here": f"{len(corpus.clips)} clips of {speakers} speakers, {corpus.variant}{kind}",
    }
    return pd.DataFrame({corpus.name: rows})


def examples(corpus: Corpus, speakers: Sequence[str], emotions: Sequence[str]) -> dict[str, Clip]:
    """The first clip of each speaker and emotion, under a title that names sex and emotion."""
    return {
        f"{clip.sex} voice, {emotion}": clip
        for speaker in speakers
        for emotion in emotions
        for clip in corpus.clips[::-1]  # of several, the first stays
        if (clip.speaker, clip.labels["emotion"]) == (speaker, emotion)
    }


def twin_folder(corpus: str, *, clips: int = 0, seed: int = 0) -> Path:
    """Where a twin lies: ``data/twins/CORPUS`` for the whole one of seed 0.

    >>> twin_folder("emodb", clips=140).name
    'emodb-s0-n140'
    """
    size = f"-n{clips}" if clips else ""
    name = corpus if not clips and not seed else f"{corpus}-s{seed}{size}"
    return files.project_root() / "data" / "twins" / name


def is_current_twin(root: Path, *, clips: int = 0, seed: int = 0) -> bool:
    """Whether the twin lies there that today's code would write for this size and seed."""
    try:
        about = json.loads((root / "twin.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(
        about.get("code_sha256") == code_sha256([TWIN_MODULE])
        and about.get("seed") == seed
        and set(about.get("effects", {}).values()) == {1.0}
        and (not clips or len(about.get("clips", [])) == clips)
    )


def balanced(clips: list[Clip], size: int) -> list[Clip]:
    """The first `size` clips when speakers and, within them, emotions take turns.

    The result keeps the order of `clips`; all of them come back where `size` is 0.
    """
    if not size or size >= len(clips):
        return clips
    cells: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for position, clip in enumerate(clips):
        cells[clip.speaker, clip.labels["emotion"]].append(position)
    turns = sorted(
        (rank, cell, position)
        for cell, positions in cells.items()
        for rank, position in enumerate(positions)
    )
    return [clips[position] for position in sorted(turn[2] for turn in turns[:size])]
