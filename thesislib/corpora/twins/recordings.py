"""The twins of corpora of single clips, written to disk in the layouts of their owners.

CREMA-D (`acted`), VoxCeleb2 and First Impressions (`talking_heads`), LibriSpeech (`reading`), and
general sound events (`sound_events`), each with everything that is planted in ``twin.json``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from thesislib.corpora.twins import acted, reading, sound_events, talking_heads
from thesislib.corpora.twins.clip_plans import ClipJob, ClipPlan, record_clip
from thesislib.corpora.twins.sound_events import EventJob, EventPlan, record_event
from thesislib.corpora.twins.voice import effect_scales
from thesislib.corpora.twins.writing import describe_twin, new_twin, run_parallel
from thesislib.errors import InputError


class Twin(NamedTuple):
    """How a corpus is written.

    Attributes:
        effects: Names of its planted effects and what they are.
        whole: Clips where nobody asks for another number.
        least: Clips below which a part of the corpus would be empty.
        most: Clips that there can be.
        plan: From number of clips, seed, strengths and length to plans.
        tables: Writes the owners' tables and returns what else ``twin.json`` says.
    """

    effects: Mapping[str, str]
    whole: int
    least: int
    most: int
    plan: Callable[[int, int, Mapping[str, float], float | None], Sequence[ClipPlan | EventPlan]]
    tables: Callable[[Path, Sequence[dict[str, Any]], int, Mapping[str, float]], dict[str, Any]]


_MOST = 10_000
TWINS: Mapping[str, Twin] = {
    acted.CORPUS: Twin(
        acted.EFFECTS, acted.WHOLE, 1, acted.WHOLE, acted.plan, acted.write_tables
    ),
    talking_heads.FIRST_IMPRESSIONS: Twin(
        talking_heads.FIRST_IMPRESSIONS_EFFECTS,
        talking_heads.WHOLE[talking_heads.FIRST_IMPRESSIONS],
        3,
        _MOST,
        talking_heads.plan_first_impressions,
        talking_heads.write_first_impressions_tables,
    ),
    talking_heads.VOXCELEB2: Twin(
        talking_heads.VOXCELEB2_EFFECTS,
        talking_heads.WHOLE[talking_heads.VOXCELEB2],
        2,
        _MOST,
        talking_heads.plan_voxceleb2,
        talking_heads.write_voxceleb2_tables,
    ),
    reading.CORPUS: Twin(
        reading.EFFECTS, reading.WHOLE, 1, _MOST, reading.plan,
        reading.write_tables,
    ),
    sound_events.CORPUS: Twin(
        sound_events.EFFECTS, sound_events.WHOLE, 1, _MOST,
        sound_events.plan, sound_events.write_tables,
    ),
}  # fmt: skip
"""Corpora whose twins are written here."""
CORPORA = tuple(TWINS)


def write_twin(
    corpus: str,
    out: Path,
    *,
    seed: int = 0,
    clips: int | None = None,
    duration_s: float | None = None,
    effects: Mapping[str, float] | None = None,
    progress: Callable[[int], None] | None = None,
    workers: int | None = None,
) -> Path:
    """Write a twin in the layout that the corpus's loader reads, with ``twin.json``.

    Everything is written to a folder beside `out`, which takes its place when it is complete. A
    clip does not depend on how many are asked for, nor on the number of workers; the same seed
    gives the same sounds, tables and pictures. The same draws serve every strength of an effect,
    so twins that differ in one effect are paired clip by clip.

    Args:
        corpus: One of `CORPORA`.
        out: Folder; an older twin of the same corpus is replaced, any other that holds something
            is left alone.
        seed: 0 or more.
        clips: How many, balanced over people and classes; default `amount`.
        duration_s: Length of a clip of First Impressions, at least 1 s; default 15 s. Other
            corpora have the length of what happens in a clip.
        effects: Strengths that differ from 1, by the corpus's names in `TWINS`; 0 for a null
            twin.
        progress: Called with the number of clips written so far.
        workers: Processes; default one a processor.

    Returns:
        `out`.

    Raises:
        InputError: the corpus or an effect is unknown, a number cannot be used, `out` holds
            something that is no such twin, or it cannot be written.
    """
    twin = _twin(corpus)
    scales = effect_scales(twin.effects, effects)
    if scales.get("sentence", 0.0) > 1:
        raise InputError("sentence", "is a share and cannot exceed 1", "use 0 to 1")
    if seed < 0:
        raise InputError("seed", f"cannot be {seed}", "use 0 or more")
    clips = twin.whole if clips is None else clips
    if not twin.least <= clips <= twin.most:
        mend = f"choose {twin.least} to {twin.most} for {corpus}"
        raise InputError("clips", f"cannot be {clips}", mend)
    if duration_s is not None and (corpus != talking_heads.FIRST_IMPRESSIONS or duration_s < 1):
        mend = "use at least 1 s, and for first-impressions only"
        raise InputError("duration", f"cannot be {duration_s} s for {corpus}", mend)
    with new_twin(out, corpus) as folder:
        plans = twin.plan(clips, seed, scales, duration_s)
        jobs = [(folder, plan, scales) for plan in plans]
        records = run_parallel(_record, jobs, workers=workers, progress=progress)
        more = twin.tables(folder, records, seed, scales)
        describe_twin(
            folder,
            corpus,
            module=__name__,
            seed=seed,
            effects=scales,
            clips=records,
            duration_s=duration_s,
            **more,
        )
    return out


def amount(corpus: str, *, clips: int | None = None) -> int:
    """How much `write_twin` will have reported at its end: clips.

    Raises:
        InputError: the corpus is unknown.

    >>> amount("crema-d"), amount("voxceleb2", clips=8)
    (7462, 8)
    """
    return _twin(corpus).whole if clips is None else clips


def _twin(corpus: str) -> Twin:
    if corpus not in TWINS:
        raise InputError(corpus, "is no twin of clips", f"use one of {', '.join(TWINS)}")
    return TWINS[corpus]


def _record(
    job: tuple[Path, ClipPlan | EventPlan, Mapping[str, float]],
) -> dict[str, Any]:
    folder, plan, scales = job
    if isinstance(plan, EventPlan):
        return record_event(EventJob(folder, plan, scales))
    return record_clip(ClipJob(folder, plan, scales))
