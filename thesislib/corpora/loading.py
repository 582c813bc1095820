"""From the name of a corpus to its clips: the real one where it lies, a twin where it is made."""

from __future__ import annotations

import importlib
import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from thesislib import files
from thesislib.code import code_sha256
from thesislib.corpora import (
    crema_d,
    dyadic,
    emodb,
    first_impressions,
    librispeech,
    sound_events,
    voxceleb2,
)
from thesislib.corpora.clip import Clip
from thesislib.corpora.manifest import TWIN_SUFFIX, Manifest, load_manifest
from thesislib.errors import InputError

TWIN_MODULES = {
    name: f"thesislib.corpora.twins.{module}"
    for module, names in {
        "emodb": ["emodb"],
        "conversations": [*dyadic.CORPORA, "ib"],
        "recordings": [
            "crema-d", "first-impressions", "voxceleb2", "librispeech", "sound-events",
        ],
    }.items()
    for name in names
}  # fmt: skip
"""Corpus to the module that writes its twin, imported when needed.

A result on the twin of one corpus does not hang on the code of the others' twins.
"""


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
    "sound-events": Reader(
        sound_events.load_clips, sound_events.check, sound_events.detect_variant
    ),
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
    dyads: int = 0,
    duration_s: float = 0.0,
    effects: Mapping[str, float] | None = None,
    progress: Callable[[int], None] | None = None,
    workers: int | None = None,
) -> Corpus:
    """Load a corpus, or the twin of one, which is written to disk when it is not there yet.

    Args:
        name: Name of a corpus with a loader, such as ``emodb``, or of its twin, ``emodb-twin``.
        clips: Number of clips, balanced over speakers and classes; 0 means all. Of
            conversations these are windows, which do not bear on what is written to disk.
        seed: Seed of a twin.
        dyads: Conversations of a twin of such; 0 for the default.
        duration_s: Length of each; 0 for that of the corpus.
        effects: Strengths of a twin's effects that differ from 1.
        progress: Called while a twin is made, with what `write_twin` reports.
        workers: Processes that make it; default one a processor.

    Raises:
        InputError: the corpus is not there, the line says how to get it; or its terms were not
            accepted (`thesis data accept`); or it has no loader.
    """
    manifest = load_manifest(name)
    layout = reader(manifest.name)
    synthetic = name.endswith(TWIN_SUFFIX)
    if synthetic:
        windowed = manifest.name in dyadic.CORPORA
        wanted: dict[str, Any] = {"seed": seed, "dyads": dyads, "duration_s": duration_s}
        wanted |= {"clips": 0 if windowed else clips, "effects": effects}
        root = twin_folder(manifest.name, **wanted)
        if not is_current_twin(root, corpus=manifest.name, **wanted):
            write_twin(manifest.name, root, **wanted, progress=progress, workers=workers)
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
        variant=layout.detect_variant(root),
        synthetic=synthetic,
        clips=balanced(layout.load_clips(root), clips),
        manifest=manifest,
    )


def write_twin(
    corpus: str,
    out: Path,
    *,
    seed: int = 0,
    clips: int = 0,
    dyads: int = 0,
    duration_s: float = 0.0,
    effects: Mapping[str, float] | None = None,
    progress: Callable[[int], None] | None = None,
    workers: int | None = None,
) -> Path:
    """Write the twin of a corpus with the module that knows its layout.

    Args:
        corpus: A key of `TWIN_MODULES`.
        out: Folder; an older twin of the same corpus is replaced, anything else is left alone.
        seed: 0 or more.
        clips: Number of clips, of corpora that consist of such; 0 for all.
        dyads: Number of conversations, of corpora that consist of such; 0 for the default.
        duration_s: Length of each, or of a clip where the module takes one; 0 for that of the
            corpus.
        effects: Strengths that differ from 1, by the names of the module's ``EFFECTS``.
        progress: Called with the number of clips written, or of seconds filmed, so far.
        workers: Processes; default one a processor. EmoDB's is written in this process.

    Returns:
        `out`.

    Raises:
        InputError: the corpus has no twin, it does not take one of the numbers, or as its module.
    """
    write = _twin_module(corpus).write_twin
    common = {"seed": seed, "effects": effects, "progress": progress}
    if TWIN_MODULES[corpus].endswith("conversations"):
        if clips:
            raise InputError(corpus, "is made of conversations, not clips", "give --dyads")
        size = {"dyads": dyads or None, "duration_s": duration_s or None}
        return Path(write(corpus, out, **common, **size, workers=workers))
    if dyads or (duration_s and corpus == "emodb"):
        problem = "is made of clips, not conversations"
        raise InputError(corpus, problem, "give --clips, not --dyads or --duration-s")
    if corpus == "emodb":
        return Path(write(out, **common, clips=clips or None))
    size = {"clips": clips or None, "duration_s": duration_s or None}
    return Path(write(corpus, out, **common, **size, workers=workers))


def twin_amount(corpus: str, *, clips: int = 0, dyads: int = 0, duration_s: float = 0.0) -> int:
    """What `write_twin` will have reported at its end: clips, or seconds of conversation filmed.

    Raises:
        InputError: the corpus has no twin.

    >>> twin_amount("emodb"), twin_amount("ndc-me", dyads=2, duration_s=60)
    (535, 240)
    """
    module = _twin_module(corpus)
    if TWIN_MODULES[corpus].endswith("conversations"):
        return int(module.amount(corpus, dyads=dyads or None, duration_s=duration_s or None))
    if clips:
        return clips
    return len(module.plan_clips()) if corpus == "emodb" else int(module.amount(corpus))


def _twin_module(corpus: str) -> Any:  # noqa: ANN401 - a module
    if corpus not in TWIN_MODULES:
        known = ", ".join(sorted(TWIN_MODULES))
        raise InputError(corpus, "has no twin on disk", f"choose one of {known}")
    return importlib.import_module(TWIN_MODULES[corpus])


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


def twin_folder(
    corpus: str,
    *,
    clips: int = 0,
    seed: int = 0,
    dyads: int = 0,
    duration_s: float = 0.0,
    effects: Mapping[str, float] | None = None,
) -> Path:
    """Where a twin lies: ``data/twins/CORPUS`` for the whole one of seed 0.

    >>> twin_folder("emodb", clips=140).name
    'emodb-s0-n140'
    >>> twin_folder("ccdb", dyads=4, duration_s=60, effects={"mimicry": 0}).name
    'ccdb-s0-d4-60s-mimicry=0'
    """
    parts = [f"n{clips}"] * bool(clips) + [f"d{dyads}"] * bool(dyads)
    parts += [f"{duration_s:g}s"] * bool(duration_s)
    parts += [f"{name}={scale:g}" for name, scale in sorted(_planted(effects).items())]
    name = "-".join([corpus, f"s{seed}", *parts]) if parts or seed else corpus
    return files.project_root() / "data" / "twins" / name


def is_current_twin(
    root: Path,
    *,
    corpus: str = "emodb",
    clips: int = 0,
    seed: int = 0,
    dyads: int = 0,
    duration_s: float = 0.0,
    effects: Mapping[str, float] | None = None,
) -> bool:
    """Whether the twin lies there that today's code would write for this size and seed."""
    try:
        about = json.loads((root / "twin.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(
        about.get("code_sha256") == code_sha256([TWIN_MODULES[corpus]])
        and about.get("twin") == corpus
        and about.get("seed") == seed
        and _planted(about.get("effects")) == _planted(effects)
        and (not clips or len(about.get("clips", [])) == clips)
        and (not dyads or about.get("dyads") == dyads)
        and (about.get("duration_s") or 0.0) == duration_s
    )


def _planted(effects: Mapping[str, float] | None) -> dict[str, float]:
    """The strengths that differ from 1."""
    return {name: float(scale) for name, scale in (effects or {}).items() if scale != 1}


def balanced(clips: list[Clip], size: int) -> list[Clip]:
    """The first `size` clips when speakers and, within them, emotions or expressions take turns.

    The result keeps the order of `clips`; all of them come back where `size` is 0.
    """
    if not size or size >= len(clips):
        return clips
    cells: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for position, clip in enumerate(clips):
        kind = clip.labels.get("emotion") or clip.labels.get("expression", "")
        cells[clip.speaker, kind].append(position)
    turns = sorted(
        (rank, cell, position)
        for cell, positions in cells.items()
        for rank, position in enumerate(positions)
    )
    return [clips[position] for position in sorted(turn[2] for turn in turns[:size])]
