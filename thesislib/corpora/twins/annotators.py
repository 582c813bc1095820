"""Six simulated annotators of the twins' dyads, and the ELAN files that they hand in.

An annotator sees what shows, not the hidden intensity, and differs from the others in delay,
precision, threshold and bias. The sizes are round numbers; none comes from Tables 5.3 to 5.9.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from thesislib.corpora.annotation import IBAnnotation, Repair, Segment, disjoint
from thesislib.corpora.elan import write_eaf
from thesislib.corpora.twins.dyads import Dyad, Event, Kind, Participant, chance
from thesislib.corpora.twins.voice import effect_scales
from thesislib.errors import InputError
from thesislib.files import atomic_write

EFFECTS: Mapping[str, str] = {
    "delay": "each annotator's own lag behind what happens",
    "boundary_jitter": "imprecision of the boundaries of smiles and laughs",
    "role_jitter": "imprecision of the boundaries of roles",
    "threshold": "weak smiles and laughs, and short turns, that go unnoticed",
    "bias": "each annotator's own shift of intensities",
    "noise": "chance in the judgement of an intensity",
    "speech_cover": "smiles under speech are harder to judge",
    "laugh_as_smile": "weak laughs taken for high smiles",
    "backchannel_as_turn": "backchannels marked as turns, against the protocol",
}
"""Names of the annotators' effects: 1 is the documented size, 0 switches one off."""

LEVELS: Mapping[Kind, tuple[str, ...]] = {
    "smile": ("subtle", "low", "medium", "high"),
    "laugh": ("low", "medium", "high"),
}
SPEECH_COVER = 0.5
"""A smile that shares half or more of its time with speech has noise greater by this share."""
_SHORTEST_MS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotator:
    """One annotator's habits.

    Attributes:
        name: Also the name of the folder.
        delay_ms: Mean lag of a boundary.
        jitter_ms: Spread of the boundaries of smiles and laughs.
        role_jitter_ms: Spread of the boundaries of roles.
        threshold: Intensity below which nothing is noticed.
        shortest_turn_ms: Stretches of a role shorter than this go unnoticed.
        bias: Added to every intensity.
        noise: Spread of an intensity.
        laugh_floor: A laugh judged weaker than this is taken for a high smile.
        backchannel_as_turn: Probability that a backchannel is marked as a turn.
        minutes: How much of a recording is annotated, from its start; None for all.
    """

    name: str
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    role_jitter_ms: float = 0.0
    threshold: float = 0.0
    shortest_turn_ms: float = 0.0
    bias: float = 0.0
    noise: float = 0.0
    laugh_floor: float = 0.0
    backchannel_as_turn: float = 0.0
    minutes: float | None = None


ANNOTATORS: tuple[Annotator, ...] = (
    Annotator(
        name="annotator_1", delay_ms=0, jitter_ms=100, role_jitter_ms=200, threshold=0.05,
        shortest_turn_ms=1000, bias=0.0, noise=0.05, laugh_floor=0.2, backchannel_as_turn=0.05,
    ),
    Annotator(
        name="annotator_2", delay_ms=200, jitter_ms=200, role_jitter_ms=400, threshold=0.20,
        shortest_turn_ms=2000, bias=-0.10, noise=0.10, laugh_floor=0.2,
    ),
    Annotator(
        name="annotator_3", delay_ms=100, jitter_ms=150, role_jitter_ms=200, threshold=0.10,
        shortest_turn_ms=1000, bias=0.0, noise=0.05, laugh_floor=0.2, backchannel_as_turn=0.05,
        minutes=2,
    ),
    Annotator(
        name="annotator_4", delay_ms=100, jitter_ms=200, role_jitter_ms=300, threshold=0.15,
        shortest_turn_ms=1500, bias=0.05, noise=0.10, laugh_floor=0.2, backchannel_as_turn=0.10,
        minutes=2,
    ),
    Annotator(
        name="annotator_5", delay_ms=300, jitter_ms=200, role_jitter_ms=300, threshold=0.15,
        shortest_turn_ms=1500, bias=-0.05, noise=0.05, laugh_floor=0.2,
    ),
    Annotator(
        name="annotator_6", delay_ms=200, jitter_ms=300, role_jitter_ms=400, threshold=0.20,
        shortest_turn_ms=2000, bias=0.10, noise=0.10, laugh_floor=0.2, backchannel_as_turn=0.10,
    ),
)  # fmt: skip
"""The six; the third and the fourth annotate the first two minutes only."""
TRUTH = Annotator(name="truth")
"""Sees everything that shows, at once and without error."""

_SHARES = ((0, 1, 3, 5), (0, 2, 4, 5), (2, 3, 4))


def annotators_of(number: int) -> tuple[Annotator, ...]:
    """Who annotates a dyad of this number.

    Over three dyads all pairs meet but the second with the third and fifth, which share no file in
    Tables 5.7 to 5.9 of the thesis either.

    >>> [a.name[-1] for a in annotators_of(2)]
    ['1', '3', '5', '6']
    """
    return tuple(ANNOTATORS[i] for i in _SHARES[(number - 1) % 3])


def level_of(kind: Kind, intensity: float) -> str:
    """The level of an intensity: equal parts of 0 to 1, four for smiles and three for laughs.

    >>> level_of("smile", 0.5), level_of("laugh", 0.5), level_of("smile", 1.2)
    ('medium', 'medium', 'high')
    """
    levels = LEVELS[kind]
    return levels[min(max(int(intensity * len(levels)), 0), len(levels) - 1)]


def annotate(
    dyad: Dyad,
    participant: int,
    annotator: Annotator,
    *,
    seed: int = 0,
    effects: Mapping[str, float] | None = None,
) -> IBAnnotation:
    """One annotator's roles, smiles and laughs of one participant.

    A smile or laugh begins and ends where its curve crosses the annotator's threshold; a weaker
    one is missed. Boundaries are delayed and imprecise, intensities shifted and noisy. The same
    chances serve every strength of the annotators' effects.

    Args:
        dyad: The conversation.
        participant: 0 or 1.
        annotator: One of `ANNOTATORS`, or `TRUTH`.
        seed: Of the annotations, 0 or more.
        effects: Strengths that differ from 1, by the names of `EFFECTS`.

    Returns:
        The annotation, over the annotator's share of the recording.

    Raises:
        InputError: an effect is unknown or its strength unusable, or the seed is negative.
    """
    scales = effect_scales(EFFECTS, effects)
    if seed < 0:
        raise InputError("seed", f"cannot be {seed}", "use 0 or more")
    person = dyad.participants[participant]
    limit = dyad.duration_ms if annotator.minutes is None else round(60_000 * annotator.minutes)
    span = (0, min(dyad.duration_ms, limit))
    where = f"{annotator.name} {dyad.corpus} {dyad.number} {participant}"
    expressions = _expressions(person, annotator, scales, chance(seed, f"expressions {where}"))
    tiers = {
        "Role": _in_span(_roles(person, annotator, scales, chance(seed, f"roles {where}")), span),
        **{tier: _in_span(segments, span) for tier, segments in expressions.items()},
    }
    return IBAnnotation(
        name=f"{person.name}.eaf",
        tiers=tiers,
        span_ms=span,
        annotator=annotator.name,
        media=(f"{person.name}.mp4",),
    )


def write_annotations(
    out: Path,
    dyads: Iterable[Dyad],
    *,
    seed: int = 0,
    effects: Mapping[str, float] | None = None,
    dirt: bool = False,
    who: Callable[[int], Iterable[Annotator]] = annotators_of,
) -> list[Path]:
    """Write ``annotator_N/RECORDING.eaf`` for each dyad, participant and annotator.

    Args:
        out: Folder; existing files of the same name are replaced.
        dyads: Conversations.
        seed: Of the annotations.
        effects: Strengths of the annotators' effects that differ from 1.
        dirt: Leave some files as untidy as real ones (notes item 31): about one value in twenty
            gets a trailing blank, one in a hundred is emptied, and a time slot is left unused.
        who: Number of a dyad to those who annotate it; ``lambda number: ANNOTATORS`` for all.

    Returns:
        The files, in order.

    Raises:
        InputError: an effect is unusable or a folder cannot be written.
    """
    paths = []
    for dyad in dyads:
        for annotator in who(dyad.number):
            folder = Path(out) / annotator.name
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                mend = "choose another --out folder"
                raise InputError(folder, f"cannot be made ({error.strerror})", mend) from error
            for participant in (0, 1):
                made = annotate(dyad, participant, annotator, seed=seed, effects=effects)
                path = folder / made.name
                write_eaf(made, path)
                if dirt:
                    _soil(path, chance(seed, f"dirt {annotator.name} {made.name}"))
                paths.append(path)
    return paths


def _expressions(
    person: Participant,
    annotator: Annotator,
    scales: Mapping[str, float],
    generator: np.random.Generator,
) -> dict[str, tuple[Segment, ...]]:
    """Smiles and laughs, disjoint across the two tiers."""
    threshold = annotator.threshold * scales["threshold"]
    draws = generator.standard_normal((len(person.events), 3))
    segments = []
    for event, (judgement, *edges) in zip(person.events, draws.tolist(), strict=True):
        if event.shown <= threshold:
            continue
        noise = annotator.noise * scales["noise"]
        if event.kind == "smile" and _spoken_share(event, person) >= 0.5:
            noise *= 1 + SPEECH_COVER * scales["speech_cover"]
        judged = event.shown + annotator.bias * scales["bias"] + noise * judgement
        floor = annotator.laugh_floor * scales["laugh_as_smile"]
        if event.kind == "laugh" and max(judged, 0.0) < floor:
            label = "Smiles high"
        else:
            tier = {"smile": "Smiles", "laugh": "Laughs"}[event.kind]
            label = f"{tier} {level_of(event.kind, judged)}"
        # the half cosine of `intensity_curve` crosses the threshold at this share of the ramp
        share = float(np.arccos(1 - 2 * threshold / event.shown) / np.pi)
        start = event.start_ms + share * (event.apex_ms - event.start_ms)
        end = event.end_ms - share * (event.end_ms - event.release_ms)
        low, high = _seen(start, end, edges, annotator.jitter_ms * scales["boundary_jitter"])
        delay = round(annotator.delay_ms * scales["delay"])
        if high - low >= _SHORTEST_MS and low + delay >= 0:
            segments.append(Segment(low + delay, high + delay, label))
    repairs: list[Repair] = []
    apart = [s for s in disjoint("S&L", segments, repairs) if s.end_ms - s.start_ms >= _SHORTEST_MS]
    return {
        tier: tuple(
            Segment(s.start_ms, s.end_ms, s.value.split()[1])
            for s in apart
            if s.value.startswith(tier)
        )
        for tier in ("Smiles", "Laughs")
    }


def _roles(
    person: Participant,
    annotator: Annotator,
    scales: Mapping[str, float],
    generator: np.random.Generator,
) -> tuple[Segment, ...]:
    """Roles with imprecise boundaries, without short stretches, with some backchannels as turns."""
    shortest = annotator.shortest_turn_ms * scales["threshold"]
    jitter = annotator.role_jitter_ms * scales["role_jitter"]
    delay = round(annotator.delay_ms * scales["delay"])
    edges = generator.standard_normal((len(person.roles), 2))
    taken = generator.random(len(person.backchannels))
    segments = []
    for role, edge in zip(person.roles, edges.tolist(), strict=True):
        low, high = _seen(role.start_ms, role.end_ms, edge, jitter)
        if role.end_ms - role.start_ms >= shortest and high - low >= _SHORTEST_MS:
            segments.append(Segment(low + delay, high + delay, role.value))
    probability = annotator.backchannel_as_turn * scales["backchannel_as_turn"]
    for feedback, draw in zip(person.backchannels, taken.tolist(), strict=True):
        if draw < probability:
            segments.append(Segment(feedback.start_ms + delay, feedback.end_ms + delay, "spk"))
    repairs: list[Repair] = []
    return tuple(
        s for s in disjoint("Role", segments, repairs) if s.end_ms - s.start_ms >= _SHORTEST_MS
    )


def _seen(start: float, end: float, edges: list[float], jitter_ms: float) -> tuple[int, int]:
    """Boundaries with chance added, at most two spreads and a quarter of the length each."""
    most = min(2 * jitter_ms, (end - start) / 4)
    low, high = (min(max(jitter_ms * edge, -most), most) for edge in edges)
    return max(round(start + low), 0), round(end + high)


def _spoken_share(event: Event, person: Participant) -> float:
    """Share of an event during which the person speaks."""
    spoken = sum(
        max(0, min(event.end_ms, role.end_ms) - max(event.start_ms, role.start_ms))
        for role in person.roles
        if role.value == "spk"
    )
    return spoken / (event.end_ms - event.start_ms)


def _in_span(segments: Iterable[Segment], span: tuple[int, int]) -> tuple[Segment, ...]:
    return tuple(
        Segment(s.start_ms, min(s.end_ms, span[1]), s.value)
        for s in segments
        if s.start_ms < span[1]
    )


def _soil(path: Path, generator: np.random.Generator) -> None:
    """Trailing blanks, emptied values and a time slot that nothing refers to."""
    text = path.read_text(encoding="utf-8")

    def spoil(match: re.Match[str]) -> str:
        draw = generator.random()
        value = "" if draw < 0.01 else match[1] + " " * (draw > 0.95)
        return f"<ANNOTATION_VALUE>{value}</ANNOTATION_VALUE>"

    text = re.sub(r"<ANNOTATION_VALUE>([^<]+)</ANNOTATION_VALUE>", spoil, text)
    slot = '<TIME_SLOT TIME_SLOT_ID="ts0" TIME_VALUE="0" />'
    text = re.sub(r"<TIME_ORDER\s*/>", "<TIME_ORDER></TIME_ORDER>", text)
    text = text.replace("<TIME_ORDER>", f"<TIME_ORDER>{slot}", 1)
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
