"""Dyadic conversations for the twins of NDC-ME, IFADV and CCDB, as true timelines.

Two people take turns; each smiles and laughs with a hidden intensity, at a rate that follows role,
turn ends and the other's smiles and laughs. Nothing is drawn or annotated here: a renderer reads
`intensity_curve`, and `thesislib.corpora.twins.annotators` looks at the same events. All sizes are
round numbers, chosen by hand; none comes from a table of the thesis.
"""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thesislib.corpora.annotation import MAX_MS, Segment
from thesislib.corpora.twins.voice import effect_scales
from thesislib.errors import InputError

Kind = Literal["smile", "laugh"]
KINDS: tuple[Kind, Kind] = ("smile", "laugh")
IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

EFFECTS: Mapping[str, str] = {
    "role": "smiles and laughs by role",
    "turn_end": "laughs near the end of a turn, one's own or the other's",
    "mimicry": "a smile or laugh answered by the other's",
    "expressiveness": "each person's own rate of smiles and laughs",
    "smile_intensity": "how far a smile's intensity shows",
    "laugh_intensity": "how far a laugh's intensity shows",
    "backchannels": "rate of backchannels while listening",
}
"""Names of the planted effects: 1 is the documented size, 0 switches one off."""

ROLE_RATIO: Mapping[Kind, tuple[float, float, float]] = {
    "smile": (1.0, 1.0, 1.5),
    "laugh": (1.0, 2.0, 1.0),
}
"""Rate as neither, speaker and listener, relative to the base rate."""
TURN_END_RATIO = 4.0
TURN_END_MS = 1500
MIMICRY: Mapping[Kind, float] = {"smile": 0.3, "laugh": 0.4}
"""Probability that a smile is answered by a smile, and a laugh by a laugh."""
MIMICRY_LAG_S = 0.8
MIMICRY_LAG_SPREAD = 0.5
EXPRESSIVENESS_SPREAD = 0.3
BACKCHANNELS_PER_MIN = 8.0
GAP_MS = 100
"""Least time between two events of one person; a laugh ends a smile this long before it."""

_LENGTH_S: Mapping[Kind, tuple[float, float, float, float]] = {  # median, log spread, least, most
    "smile": (2.5, 0.6, 0.8, 12.0),
    "laugh": (1.5, 0.5, 0.6, 6.0),
}
_INTENSITY: Mapping[Kind, tuple[float, float]] = {"smile": (2.0, 2.5), "laugh": (2.5, 2.5)}
_CEILING_PER_MIN = 60.0  # no rate exceeds it; chances below it are drawn whatever the rate
_GENERATIONS = 3  # an answer may be answered; the third is not


@dataclass(frozen=True, slots=True)
class Flavour:
    """How one corpus's conversations go.

    Attributes:
        duration_s: Length of a recording, where none is asked for.
        turn_s: Median length of a turn; the logarithm spreads by 0.7, none is below 1 s.
        gap_s: Mean silence between turns, spread 0.3 s; below zero two people overlap.
        hold: Probability that, after a pause, the same person goes on.
        per_min: Base rate of smiles and laughs of an average person.
    """

    duration_s: float
    turn_s: float
    gap_s: float
    hold: float
    per_min: Mapping[Kind, float]


FLAVOURS: Mapping[str, Flavour] = {
    "ndc-me": Flavour(300.0, 10.0, 0.4, 0.1, {"smile": 2.0, "laugh": 0.2}),
    "ifadv": Flavour(900.0, 4.0, 0.0, 0.2, {"smile": 2.5, "laugh": 0.3}),
    "ccdb": Flavour(300.0, 6.0, 0.2, 0.2, {"smile": 3.0, "laugh": 0.4}),
}
"""The corpora: questions in turn, free talk between friends, free talk on a topic."""


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class Event:
    """One smile or laugh: it rises from start to apex, holds until release and falls to its end.

    Attributes:
        start_ms: First millisecond.
        apex_ms: Where the full intensity is reached.
        release_ms: Where it begins to fall.
        end_ms: The millisecond after the last.
        kind: ``smile`` or ``laugh``.
        intensity: Hidden intensity, 0 to 1.
        shown: Intensity that can be seen and heard, 0 to 1: the hidden one where the effect
            ``smile_intensity`` or ``laugh_intensity`` is 1, 0.5 for every event where it is 0.
        mimics: Whether it answers one of the other person.
    """

    start_ms: int
    apex_ms: int
    release_ms: int
    end_ms: int
    kind: Kind
    intensity: float
    shown: float
    mimics: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Participant:
    """One of the two.

    Attributes:
        seat: ``A`` or ``B``.
        name: Name of the recording in the corpus's own style, without a suffix.
        sex: ``female`` or ``male``.
        expressiveness: Factor on the rates of smiles and laughs.
        roles: Stretches as ``spk`` or ``lsn``, disjoint and in order.
        backchannels: Short feedback within ``lsn``, which is no turn (section 5.2.1).
        events: Smiles and laughs, disjoint and in order.
    """

    seat: str
    name: str
    sex: str
    expressiveness: float
    roles: tuple[Segment, ...]
    backchannels: tuple[Segment, ...]
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dyad:
    """A conversation of two people, with the strengths of the effects planted in it."""

    corpus: str
    number: int
    duration_ms: int
    participants: tuple[Participant, Participant]
    effects: Mapping[str, float]


def simulate_dyad(
    corpus: str,
    number: int,
    *,
    seed: int = 0,
    duration_s: float | None = None,
    effects: Mapping[str, float] | None = None,
) -> Dyad:
    """Draw one conversation from its own source of chance, whatever others there are.

    Turns, people and chances are the same for every strength of an effect, so twins that differ
    in one effect are paired. Mimicry adds events: without it there are fewer.

    Args:
        corpus: ``ndc-me``, ``ifadv`` or ``ccdb``.
        number: Of the dyad, from 1; its two people appear in no other.
        seed: Of the corpus, 0 or more.
        duration_s: Length, at least 5 s; default that of the corpus.
        effects: Strengths that differ from 1, by the names of `EFFECTS`; 0 for a null twin.

    Raises:
        InputError: the corpus or an effect is unknown, or a number cannot be used.

    >>> dyad = simulate_dyad("ndc-me", 13, duration_s=60)
    >>> [p.name[:6] for p in dyad.participants], dyad.duration_ms
    (['13_1_A', '13_1_B'], 60000)
    """
    scales = effect_scales(EFFECTS, effects)
    if corpus not in FLAVOURS:
        raise InputError(corpus, "has no dyads", f"use one of {', '.join(FLAVOURS)}")
    flavour = FLAVOURS[corpus]
    duration_ms = round(1000 * (flavour.duration_s if duration_s is None else duration_s))
    if number < 1 or seed < 0 or not 5000 <= duration_ms <= MAX_MS:
        what = f"cannot have number {number}, seed {seed} and {duration_ms / 1000} s"
        raise InputError("dyad", what, "use a number from 1, a seed from 0 and 5 s or more")
    where = f"{corpus} {number}"
    chances = chance(seed, f"people {where}")
    sexes = [("female", "male")[i] for i in chances.integers(2, size=2)]
    traits = np.exp(scales["expressiveness"] * EXPRESSIVENESS_SPREAD * chances.standard_normal(2))
    who, start, end = _turns(flavour, duration_ms, chance(seed, f"turns {where}"))
    roles = [_roles(who, start, end, person) for person in (0, 1)]
    queue: list[_Candidate] = []
    for person in (0, 1):
        for kind in KINDS:
            rate = flavour.per_min[kind] * float(traits[person])
            generator = chance(seed, f"{kind} {person} {where}")
            times, rows = _candidates(generator, kind, duration_ms)
            wanted = rate * _rate_ratio(times, roles[person], end, kind, scales)
            for i in np.flatnonzero(rows[:, 0, 0] * _CEILING_PER_MIN < wanted):
                queue.append((int(times[i]), len(queue), person, kind, 0, rows[i]))
    events = _happen(queue, duration_ms, scales)
    people = [
        Participant(
            seat="AB"[person],
            name=recording_name(corpus, number, person, sexes[person]),
            sex=sexes[person],
            expressiveness=float(traits[person]),
            roles=roles[person],
            backchannels=_backchannels(
                roles[person],
                BACKCHANNELS_PER_MIN * scales["backchannels"],
                chance(seed, f"backchannels {person} {where}"),
            ),
            events=events[person],
        )
        for person in (0, 1)
    ]
    return Dyad(
        corpus=corpus,
        number=number,
        duration_ms=duration_ms,
        participants=(people[0], people[1]),
        effects=scales,
    )


def recording_name(corpus: str, number: int, person: int, sex: str) -> str:
    """Name of a participant's recording, such as the corpus's owners give it (notes item 31).

    >>> [recording_name(c, 7, 1, "male") for c in ("ndc-me", "ifadv", "ccdb")]
    ['7_1_B_M', 'DVA14N', 'P13_P14_1007_monk']
    """
    if corpus == "ndc-me":
        return f"{number}_1_{'AB'[person]}_{sex[0].upper()}"
    first = 2 * number - 1
    if corpus == "ifadv":
        turn, letter = divmod(first + person - 1, 26)
        return f"DVA{first + person}{chr(65 + letter) * (turn + 1)}"
    return f"P{first}_P{first + 1}_{1000 + number}_{('dizzy', 'monk')[person]}"


def intensity_curve(
    events: Iterable[Event], times_s: ArrayLike, kind: Kind | None = None
) -> FloatArray:
    """Intensity that shows at given times; rise and fall are half a cosine.

    Args:
        events: Of one person, disjoint.
        times_s: In seconds, any shape ``(...)``.
        kind: Only smiles or only laughs; None for both.

    Returns:
        Values in [0, 1], of the shape of `times_s`, 0 where nothing happens.

    >>> smile = Event(start_ms=1000, apex_ms=2000, release_ms=3000, end_ms=4000, kind="smile",
    ...               intensity=0.8, shown=0.8, mimics=False)
    >>> intensity_curve([smile], [0.5, 1.5, 2.5, 3.5, 4.0]).round(2).tolist()
    [0.0, 0.4, 0.8, 0.4, 0.0]
    """
    times = 1000 * np.asarray(times_s, float)
    chosen = sorted(e for e in events if kind is None or e.kind == kind)
    if not chosen:
        return np.zeros(times.shape)
    knots = np.array([(e.start_ms, e.apex_ms, e.release_ms, e.end_ms) for e in chosen], float)
    place = np.searchsorted(knots[:, 0], times, side="right") - 1
    start, apex, release, end = knots[np.maximum(place, 0)].transpose(-1, *range(times.ndim))
    rise = np.clip((times - start) / np.maximum(apex - start, 1), 0, 1)
    fall = np.clip((end - times) / np.maximum(end - release, 1), 0, 1)
    share = 0.25 * (1 - np.cos(np.pi * rise)) * (1 - np.cos(np.pi * fall))
    shown = np.array([e.shown for e in chosen])[np.maximum(place, 0)]
    return np.where(place >= 0, shown * share, 0.0)


def chance(seed: int, what: str) -> np.random.Generator:
    """The source of chance of one thing, independent of all others."""
    return np.random.default_rng([seed, zlib.crc32(what.encode())])


_Candidate = tuple[int, int, int, Kind, int, FloatArray]  # time, order, person, kind, generation


def _turns(
    flavour: Flavour, duration_ms: int, generator: np.random.Generator
) -> tuple[IntArray, IntArray, IntArray]:
    """Who speaks, from and until when: three arrays ``(N,)`` in order of start."""
    n = duration_ms // 600 + 2  # a turn and the silence after it never take less than 0.6 s
    length = np.maximum(1.0, flavour.turn_s * np.exp(0.7 * generator.standard_normal(n)))
    gap = np.clip(flavour.gap_s + 0.3 * generator.standard_normal(n), -0.4, 1.5)
    pause = 0.5 + generator.exponential(1.0, n)
    same = generator.random(n) < flavour.hold
    gap = np.where(same, pause, gap)
    start = np.round(1000 * (np.cumsum(length + gap) - length)).astype(np.int64)
    start = np.maximum(start, 0)
    end = np.minimum(start + np.round(1000 * length).astype(np.int64), duration_ms)
    who = (generator.integers(2) + np.cumsum(~same)) % 2
    kept = start < duration_ms - 500
    return who[kept], start[kept], end[kept]


def _roles(who: IntArray, start: IntArray, end: IntArray, person: int) -> tuple[Segment, ...]:
    """One's own turns, and the other's as far as one does not speak oneself."""
    own = who == person
    after = np.concatenate([[0], np.where(own[:-1], end[:-1], 0)])
    before = np.concatenate([np.where(own[1:], start[1:], MAX_MS), [MAX_MS]])
    low = np.where(own, start, np.maximum(start, after))
    high = np.where(own, end, np.minimum(end, before))
    rows = zip(low.tolist(), high.tolist(), own.tolist(), strict=True)
    return tuple(Segment(a, b, "spk" if speaks else "lsn") for a, b, speaks in rows if a < b)


def _rate_ratio(
    times: IntArray,
    roles: tuple[Segment, ...],
    turn_end: IntArray,
    kind: Kind,
    scales: Mapping[str, float],
) -> FloatArray:
    """Rate relative to the base rate, ``(N,)``, from role and distance to the nearest turn end."""
    # A role of no length before all others, so that there is one to look up for whom has none.
    begin = np.array([-1, *(s.start_ms for s in roles)])
    finish = np.array([-1, *(s.end_ms for s in roles)])
    code = np.array([0, *(1 if s.value == "spk" else 2 for s in roles)])
    place = np.searchsorted(begin, times, side="right") - 1
    inside = times < finish[place]
    ratio = np.array(ROLE_RATIO[kind])[np.where(inside, code[place], 0)] ** scales["role"]
    if kind == "laugh" and len(turn_end):
        ends = np.sort(turn_end)
        right = np.minimum(np.searchsorted(ends, times), len(ends) - 1)
        nearest = np.minimum(
            np.abs(ends[right] - times), np.abs(ends[np.maximum(right - 1, 0)] - times)
        )
        ratio *= np.where(nearest <= TURN_END_MS, TURN_END_RATIO ** scales["turn_end"], 1.0)
    return ratio


def _candidates(
    generator: np.random.Generator, kind: Kind, duration_ms: int
) -> tuple[IntArray, FloatArray]:
    """Moments at the ceiling rate ``(N,)`` and their chances ``(N, generations, 5)``.

    The chances: whether it happens or is answered, the lag in s, the length in s, the intensity,
    the share of the rise.
    """
    n = int(generator.poisson(_CEILING_PER_MIN * duration_ms / 60_000))
    times = generator.integers(duration_ms, size=n)
    shape = (n, _GENERATIONS)
    median, spread, least, most = _LENGTH_S[kind]
    rows = [
        generator.random(shape),
        MIMICRY_LAG_S * np.exp(MIMICRY_LAG_SPREAD * generator.standard_normal(shape)),
        np.clip(median * np.exp(spread * generator.standard_normal(shape)), least, most),
        generator.beta(*_INTENSITY[kind], shape),
        0.15 + 0.2 * generator.random(shape),
    ]
    return times, np.stack(rows, axis=-1)


def _happen(
    queue: list[_Candidate], duration_ms: int, scales: Mapping[str, float]
) -> tuple[tuple[Event, ...], tuple[Event, ...]]:
    """Let candidates happen in order of time, each of which may bring forth an answer.

    One person's events do not overlap: what would start during another does not happen, except
    that a laugh cuts short a smile that has lasted for its least length.
    """
    heapq.heapify(queue)
    order = count(len(queue))
    events: tuple[list[Event], list[Event]] = ([], [])
    while queue:
        start, _, person, kind, generation, row = heapq.heappop(queue)
        mine = events[person]
        if mine and start < mine[-1].end_ms + GAP_MS:
            age_ms = start - GAP_MS - mine[-1].start_ms
            cuts = kind == "laugh" and mine[-1].kind == "smile"
            if not cuts or age_ms < 1000 * _LENGTH_S["smile"][2]:
                continue
            mine[-1] = _cut(mine[-1], start - GAP_MS)
        length, intensity, rise = row[generation, 2:].tolist()
        end = min(start + round(1000 * length), duration_ms)
        if end - start < 500:
            continue
        shown = 0.5 + scales[f"{kind}_intensity"] * (intensity - 0.5)
        event = Event(
            start_ms=start,
            apex_ms=start + round(rise * (end - start)),
            release_ms=end - round(0.35 * (end - start)),
            end_ms=end,
            kind=kind,
            intensity=intensity,
            shown=min(max(shown, 0.0), 1.0),
            mimics=generation > 0,
        )
        mine.append(event)
        after = generation + 1
        if after < _GENERATIONS and row[after, 0] < scales["mimicry"] * MIMICRY[kind]:
            answer = start + round(1000 * float(row[after, 1]))
            heapq.heappush(queue, (answer, next(order), 1 - person, kind, after, row))
    return tuple(events[0]), tuple(events[1])


def _cut(event: Event, end_ms: int) -> Event:
    share = (end_ms - event.start_ms) / (event.end_ms - event.start_ms)
    apex, release = (
        event.start_ms + round(share * (knot - event.start_ms))
        for knot in (event.apex_ms, event.release_ms)
    )
    return replace(event, apex_ms=apex, release_ms=release, end_ms=end_ms)


def _backchannels(
    roles: tuple[Segment, ...], per_min: float, generator: np.random.Generator
) -> tuple[Segment, ...]:
    """Feedback of 0.3 to 0.7 s within stretches as listener, half a second apart at least."""
    listening = [s for s in roles if s.value == "lsn"]
    last = max((s.end_ms for s in roles), default=0)
    n = int(generator.poisson(_CEILING_PER_MIN * last / 60_000))
    times = np.sort(generator.integers(max(last, 1), size=n))
    height, length = generator.random(n), 300 + generator.integers(400, size=n)
    found: list[Segment] = []
    stretches = iter(listening)
    stretch = next(stretches, None)
    for i in np.flatnonzero(height * _CEILING_PER_MIN < per_min):
        start, end = int(times[i]), int(times[i] + length[i])
        while stretch and stretch.end_ms <= start:
            stretch = next(stretches, None)
        free = not found or start >= found[-1].end_ms + 500
        if stretch and stretch.start_ms <= start and end <= stretch.end_ms and free:
            found.append(Segment(start, end, "backchannel"))
    return tuple(found)
