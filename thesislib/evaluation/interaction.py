"""What roles are for: smiles and laughs by role, mimicry, and feedback.

Everything is read from annotations, so from what one annotator marked inside the annotated span.
Chance is what *shuffled dyads* give: one person of a dyad beside a person of another. Two people
who take turns share more than mimicry, though: laughs gather at the ends of turns, which are the
same moment for both. `mimicry_test` therefore moves each turn of a person onto a turn of the same
role in the other dyad, and offers the plain pairing by the clock beside it.

Source: thesis section 5.2.1 (definitions) and Table 5.3.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from thesislib.corpora.annotation import TIERS, IBAnnotation, Segment
from thesislib.evaluation.significance import Estimate, bootstrap_counts, percentile_interval
from thesislib.evaluation.timelines import (
    FloatArray,
    IntArray,
    Track,
    as_track,
    clip_track,
    ratio,
)

ROLES = ("none", "spk", "lsn")
SHORT_TURN_MS = 1000
WINDOW_S = 3.0
LAG_STEP_MS = 100
_MAPPINGS = 4  # random placements of one dyad's turns in another, for each pair of dyads
Tier = Literal["Smiles", "Laughs", "Short turns"]
Pair = tuple[IBAnnotation, IBAnnotation]


@dataclass(frozen=True, slots=True)
class ShuffleTest:
    """A statistic of dyads beside what shuffled dyads give.

    Attributes:
        value: The statistic, with its 95 % interval over dyads.
        shuffled: Mean over shuffled dyads.
        difference: `value` less `shuffled`.
        effect_size: Difference over the standard deviation of the shuffles.
        p_value: Share of shuffles at least as far out, the true pairing counted in. Never below
            one over the number of ways to shuffle, which for four dyads is 0.1.
        events: Number of smiles or laughs that it rests on.
        dyads: Number of dyads.
    """

    value: Estimate
    shuffled: float
    difference: float
    effect_size: float
    p_value: float
    events: int
    dyads: int


@dataclass(frozen=True, slots=True)
class MimicryTest(ShuffleTest):
    """Answers to smiles or laughs: the value is the probability of an answer within the window.

    Attributes:
        cohen_h: Difference of the two probabilities on the arcsine scale; it does not grow with
            the number of dyads, as `effect_size` does.
        lag_s: Median lag of the answers beyond chance: where half of the final difference of the
            two curves is reached; NaN where there is no difference above zero, and chance alone
            where the test finds none.
        lags_s: Lags, ``(K,)``.
        observed: Probability of an answer up to each lag, ``(K,)``.
        expected: The same in shuffled dyads, mean, ``(K,)``.
        expected_low: Lower end of the central 95 % of the shuffles, ``(K,)``.
        expected_high: Upper end, ``(K,)``.
        by_dyad: Answers, beginnings asked of, and probability in shuffled dyads, ``(n, 3)``.
    """

    cohen_h: float
    lag_s: float
    lags_s: FloatArray
    observed: FloatArray
    expected: FloatArray
    expected_low: FloatArray
    expected_high: FloatArray
    by_dyad: FloatArray


def amounts(annotations: Mapping[str, Iterable[IBAnnotation]]) -> pd.DataFrame:
    """Minutes marked as a role, smile or laugh by each annotator, as in Table 5.3.

    Args:
        annotations: Annotator to his or her files.

    Returns:
        Annotators in rows; ``files``, ``span`` (minutes gone through) and ``Role``, ``Smiles``,
        ``Laughs`` (minutes marked) in columns.

    >>> file = IBAnnotation(name="a", tiers={"Smiles": (Segment(0, 30_000, "low"),)},
    ...                     span_ms=(0, 120_000))
    >>> amounts({"annotator_1": [file]}).loc["annotator_1"].tolist()
    [1.0, 2.0, 0.0, 0.5, 0.0]
    """
    rows = {}
    for annotator, files in annotations.items():
        made = list(files)
        marked = {
            tier: sum(s.duration_s for a in made for s in a.tiers.get(tier, ())) / 60
            for tier in TIERS
        }
        span = sum(a.span_ms[1] - a.span_ms[0] for a in made) / 60_000
        rows[annotator] = {"files": len(made), "span": span, **marked}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["files", "span", *TIERS])


def short_turns(annotation: IBAnnotation, longest_ms: int = SHORT_TURN_MS) -> tuple[Segment, ...]:
    """Stretches as speaker of at most `longest_ms` with listening on both sides within that time.

    The protocol has no mark for backchannels: feedback leaves the listener a listener (section
    5.2.1). What annotations can show is feedback that was marked as a turn against the protocol;
    the rest needs the sound, and smiles and laughs while listening are counted by
    `expression_by_role`.
    """
    roles = annotation.roles
    return tuple(
        roles[i]
        for i in range(1, len(roles) - 1)
        if roles[i].value == "spk"
        and roles[i].end_ms - roles[i].start_ms <= longest_ms
        and roles[i - 1].value == roles[i + 1].value == "lsn"
        and roles[i].start_ms - roles[i - 1].end_ms <= longest_ms
        and roles[i + 1].start_ms - roles[i].end_ms <= longest_ms
    )


def expression_by_role(
    annotations: Sequence[IBAnnotation], tier: Tier = "Smiles", *, seed: int = 0
) -> pd.DataFrame:
    """Share of time and rate of smiles or laughs as speaker, as listener and as neither.

    A smile or laugh counts towards the rate of the role in which it begins, and towards the time
    of every role that it spans.

    Args:
        annotations: Files.
        tier: ``Smiles`` or ``Laughs``.
        seed: Of the bootstrap over files.

    Returns:
        Roles in rows: ``minutes``, ``events``, ``share`` and ``per_minute``, each of the two with
        ``_low`` and ``_high``, the 95 % interval over files. All values pool the files' time.
    """
    counts = np.array([role_counts(a, tier) for a in annotations], float).reshape(-1, 3, 3)
    draws = bootstrap_counts(len(counts), 2000, seed) if len(counts) else np.zeros((0, 0))
    total, samples = counts.sum(0), np.tensordot(draws, counts, 1)
    columns = {"minutes": total[0] / 60_000, "events": total[1].astype(int)}
    for name, row, unit in (("share", 2, 1.0), ("per_minute", 1, 60_000.0)):
        columns[name] = unit * ratio(total[row], total[0])
        spread = unit * ratio(samples[:, row], samples[:, 0])
        bounds = [percentile_interval(spread[:, role]) for role in range(3)]
        columns[f"{name}_low"], columns[f"{name}_high"] = np.array(bounds).T
    return pd.DataFrame(columns, index=pd.Index(ROLES, name="role"))


def role_test(
    pairs: Sequence[Pair],
    tier: Tier = "Smiles",
    *,
    whose: Literal["own", "other"] = "own",
    n_shuffles: int = 999,
    seed: int = 0,
) -> ShuffleTest:
    """Whether smiles, laughs or short turns come more often in listening than in speaking.

    The statistic is the rate a minute as listener less that as speaker, over all people and time;
    shuffled dyads put a person's events beside the roles of people of other dyads, by the clock.
    The p-value is two-sided.

    Args:
        pairs: The two annotations of each dyad, at least four dyads.
        tier: What to count.
        whose: Roles of the same person, or of the other one (listening then means being
            listened to: the other is listener).
        n_shuffles: Shuffles of the dyads.
        seed: Of the shuffles and the bootstrap.

    Raises:
        ValueError: there are fewer than four dyads.
    """
    n = len(pairs)
    spans = [_span(pair) for pair in pairs]
    counts = np.zeros((n, n, 2, 2))  # dyad of events, of roles; time and onsets; spk and lsn
    for seat in (0, 1):
        onsets = [
            _events(pair[seat], tier, span).start_ms
            for pair, span in zip(pairs, spans, strict=True)
        ]
        roles = [
            _role_track(pair[seat if whose == "own" else 1 - seat], span)
            for pair, span in zip(pairs, spans, strict=True)
        ]
        for i in range(n):
            for j in range(n):
                common = max(spans[i][0], spans[j][0]), min(spans[i][1], spans[j][1])
                track = clip_track(roles[j], common)
                inside = _role_at(track, onsets[i])
                seconds = np.bincount(track.code, track.end_ms - track.start_ms, 3)
                counts[i, j] += [seconds[1:], np.bincount(inside, minlength=4)[1:3]]

    def statistic(sums: FloatArray) -> FloatArray:
        rate = 60_000 * ratio(sums[..., 1, :], sums[..., 0, :])
        return rate[..., 1] - rate[..., 0]

    own = counts[np.arange(n), np.arange(n)]
    order = _derangements(n, n_shuffles, seed)
    shuffled = statistic(counts[np.arange(n), order].sum(1))
    return _shuffle_test(
        statistic(own.sum(0)[None]).item(),
        shuffled,
        statistic(np.tensordot(bootstrap_counts(n, 2000, seed), own, 1)),
        events=int(own[:, 1].sum()),
        dyads=n,
        unit="1/min",
        two_sided=True,
    )


def mimicry_test(
    pairs: Sequence[Pair],
    tier: Literal["Smiles", "Laughs"] = "Smiles",
    *,
    window_s: float = WINDOW_S,
    align: Literal["turns", "clock"] = "turns",
    n_shuffles: int = 999,
    seed: int = 0,
) -> MimicryTest:
    """Whether a smile or laugh of one is followed by one of the other more often than by chance.

    Asked of each beginning at which the other is not at it already and after which a whole window
    is annotated: does the other begin within the window? Shuffled dyads ask it of one person of a
    dyad and the other person of another dyad. With ``align="turns"`` each stretch of role of the
    first person is put onto a stretch of the same role there, chosen with a probability in
    proportion to its length, and keeps its distance to the nearer end as far as that fits; so
    roles and turn ends are as likely as in true dyads, and only what goes beyond them is left.
    With ``align="clock"`` times stay as they are, as pseudo-dyads are usually made; that finds
    "mimicry" wherever two people merely share the moments at which they laugh.
    The p-value is one-sided.

    Args:
        pairs: The two annotations of each dyad, at least four dyads.
        tier: ``Smiles`` or ``Laughs``.
        window_s: Longest lag that counts.
        align: How dyads are shuffled.
        n_shuffles: Shuffles of the dyads.
        seed: Of the shuffles and the bootstrap.

    Raises:
        ValueError: there are fewer than four dyads, or the window is below 0.1 s.
    """
    n, bins = len(pairs), round(1000 * window_s / LAG_STEP_MS)
    if bins < 1:
        raise ValueError(f"the window cannot be {window_s} s")
    spans = [_span(pair) for pair in pairs]
    generator = np.random.default_rng([seed, 1])
    mappings = _MAPPINGS if align == "turns" else 1
    own = np.zeros((n, bins + 1))
    counts = np.zeros((n, n, mappings, bins + 1))  # answers by lag, last those asked
    for seat in (0, 1):
        events = [
            [_events(pair[s], tier, span) for s in (seat, 1 - seat)]
            for pair, span in zip(pairs, spans, strict=True)
        ]
        roles = [_role_track(p[seat], span) for p, span in zip(pairs, spans, strict=True)]
        for i in range(n):
            times = events[i][0].start_ms
            own[i] += _answers(times, events[i][1], spans[i][1], bins)
            for j in range(n):
                for k in range(mappings if i != j else 0):
                    moved = times
                    if align == "turns":
                        moved = _move(times, roles[i], roles[j], generator)
                    counts[i, j, k] += _answers(moved, events[j][1], spans[j][1], bins)
    order = _derangements(n, n_shuffles, seed)
    pick = generator.integers(mappings, size=order.shape)
    shuffled = _curve(counts[np.arange(n), order, pick].sum(1))
    observed = _curve(own.sum(0))
    expected = np.nanmean(shuffled, 0) if np.isfinite(shuffled).any() else np.full(bins, np.nan)
    test = _shuffle_test(
        float(observed[-1]),
        shuffled[:, -1],
        _curve(bootstrap_counts(n, 2000, seed) @ own)[:, -1],
        events=int(own[:, -1].sum()),
        dyads=n,
        unit="probability",
        two_sided=False,
    )
    lags = np.arange(1, bins + 1, dtype=np.float64) * (LAG_STEP_MS / 1000)
    excess = observed - expected
    found = excess[-1] > 0
    bounds = [percentile_interval(column) for column in shuffled.T]
    low, high = np.array(bounds).T
    chance = counts.sum((1, 2))  # of each first person's dyad, over all others
    return MimicryTest(
        by_dyad=np.stack(
            [own[:, :-1].sum(1), own[:, -1], ratio(chance[:, :-1].sum(1), chance[:, -1])], 1
        ),
        **{name: getattr(test, name) for name in ShuffleTest.__dataclass_fields__},
        cohen_h=2 * float(np.arcsin(np.sqrt(observed[-1])) - np.arcsin(np.sqrt(expected[-1]))),
        lag_s=float(lags[np.argmax(excess >= excess[-1] / 2)]) if found else math.nan,
        lags_s=lags,
        observed=observed,
        expected=expected,
        expected_low=low,
        expected_high=high,
    )


def _events(annotation: IBAnnotation, tier: Tier, span: tuple[int, int]) -> Track:
    """Smiles, laughs or short turns that begin inside a span."""
    if tier == "Short turns":
        track = as_track(short_turns(annotation), TIERS["Role"])
    else:
        track = as_track(annotation.tiers.get(tier, ()), TIERS[tier])
    inside = (track.start_ms >= span[0]) & (track.start_ms < span[1])
    return Track(*(column[inside] for column in track))


def _role_track(annotation: IBAnnotation, span: tuple[int, int]) -> Track:
    """Roles that fill a span; stretches without one have code 0."""
    track = clip_track(as_track(annotation.roles, TIERS["Role"]), span)
    bounds = np.concatenate([[span[0]], np.stack([track.start_ms, track.end_ms], 1).ravel()])
    bounds = np.append(bounds, span[1])
    codes = np.zeros(len(bounds) - 1, np.int64)
    codes[1::2] = track.code
    kept = np.diff(bounds) > 0
    return Track(bounds[:-1][kept], bounds[1:][kept], codes[kept])


def _role_at(track: Track, times: IntArray) -> IntArray:
    """Code of the role at each time, 3 outside the track."""
    place = np.searchsorted(track.start_ms, times, side="right") - 1
    inside = (place >= 0) & (times < np.append(track.end_ms, 0)[place])
    return np.where(inside, np.append(track.code, 3)[place], 3)


def role_counts(annotation: IBAnnotation, tier: Tier) -> FloatArray:
    """Time, onsets and time of the expression by role, in the order of `ROLES`; times in ms.

    Args:
        annotation: File.
        tier: ``Smiles``, ``Laughs`` or ``Short turns``.

    Returns:
        ``(3, 3)``, one row a quantity.
    """
    span = annotation.span_ms
    roles, events = _role_track(annotation, span), _events(annotation, tier, span)
    time = np.bincount(roles.code, roles.end_ms - roles.start_ms, 3)
    onsets = np.bincount(_role_at(roles, events.start_ms), minlength=4)[:3]
    # time of the expression before each boundary of a role; differences give it by stretch
    edges = np.append(roles.start_ms, span[1])
    lengths = np.concatenate([[0], np.cumsum(events.end_ms - events.start_ms)])
    place = np.searchsorted(events.start_ms, edges, side="right")
    last_end = np.concatenate([[0], events.end_ms])[place]
    before = lengths[place] - np.maximum(last_end - edges, 0)
    return np.array([time, onsets, np.bincount(roles.code, np.diff(before), 3)])


def _answers(times: IntArray, other: Track, span_end: int, bins: int) -> FloatArray:
    """Answers in each bin of the lag, then how many times were asked, ``(bins + 1,)``."""
    place = np.searchsorted(other.start_ms, times, side="right")
    busy = np.concatenate([[0], other.end_ms])[place] > times
    asked = ~busy & (times + bins * LAG_STEP_MS <= span_end)
    far = np.iinfo(np.int64).max // 2
    lag = np.append(other.start_ms, far)[place[asked]] - times[asked]
    bin_ = (lag[lag <= bins * LAG_STEP_MS] - 1) // LAG_STEP_MS
    return np.append(np.bincount(bin_, minlength=bins), asked.sum()).astype(float)


def _curve(counts: FloatArray) -> FloatArray:
    """Probability of an answer up to each lag, ``(..., bins)``, from `_answers`."""
    return ratio(np.cumsum(counts[..., :-1], -1), counts[..., -1:])


def _move(times: IntArray, roles: Track, target: Track, generator: np.random.Generator) -> IntArray:
    """Put each stretch of role onto one of the same role elsewhere; times without one are left out.

    A time keeps its distance to the nearer end of its stretch, up to the middle of the new one.
    """
    chosen = np.full(len(roles.code), -1)
    for code in range(3):
        here, there = np.flatnonzero(roles.code == code), np.flatnonzero(target.code == code)
        if len(here) and len(there):
            weight = (target.end_ms - target.start_ms)[there].astype(float)
            chosen[here] = generator.choice(there, len(here), p=weight / weight.sum())
    stretch = np.searchsorted(roles.start_ms, times, side="right") - 1
    times, stretch = times[chosen[stretch] >= 0], stretch[chosen[stretch] >= 0]
    place = chosen[stretch]
    from_start, to_end = times - roles.start_ms[stretch], roles.end_ms[stretch] - times
    half = (target.end_ms - target.start_ms)[place] // 2
    return np.where(
        from_start < to_end,
        target.start_ms[place] + np.minimum(from_start, half),
        target.end_ms[place] - np.minimum(to_end, half),
    )


def _span(pair: Pair) -> tuple[int, int]:
    """The span that both files of a dyad annotate."""
    start = max(a.span_ms[0] for a in pair)
    return start, max(start, min(a.span_ms[1] for a in pair))


def _derangements(n: int, count: int, seed: int) -> IntArray:
    """Orders of the dyads in which none keeps its place, ``(count, n)``."""
    if n < 4:
        raise ValueError(f"shuffling needs at least four dyads, there are {n}")
    generator = np.random.default_rng(seed)
    found = np.empty((0, n), np.int64)
    while len(found) < count:
        orders = generator.permuted(np.tile(np.arange(n), (3 * count, 1)), axis=1)
        found = np.concatenate([found, orders[(orders != np.arange(n)).all(1)]])
    return found[:count]


def _shuffle_test(
    value: float,
    shuffled: FloatArray,
    replicates: FloatArray,
    *,
    events: int,
    dyads: int,
    unit: str,
    two_sided: bool,
) -> ShuffleTest:
    low, high = percentile_interval(replicates)
    finite = shuffled[np.isfinite(shuffled)]
    if not (math.isfinite(value) and len(finite)):
        nan = math.nan
        return ShuffleTest(
            Estimate(value, low, high, dyads, unit), nan, nan, nan, nan, events, dyads
        )
    mean, spread = float(finite.mean()), float(finite.std())
    distance, far = value - mean, finite - mean
    if two_sided:
        distance, far = abs(distance), np.abs(far)
    p_value = (1 + (far >= distance - 1e-12).sum()) / (1 + len(finite))
    ways = round(math.factorial(dyads) / math.e) if dyads < 20 else math.inf
    return ShuffleTest(
        value=Estimate(value, low, high, dyads, unit),
        shuffled=mean,
        difference=value - mean,
        effect_size=(value - mean) / spread if spread > 1e-12 else math.nan,
        p_value=float(max(p_value, 1 / (1 + ways))),
        events=events,
        dyads=dyads,
    )
