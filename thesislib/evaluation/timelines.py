"""Measures between two timelines of segments: kappa, alpha, overlaps, events.

All are shares in [0, 1] (kappa and alpha from -1 to 1), where the thesis prints percentages; a
measure that is undefined is NaN. Nothing here builds the grid of kappa: the number of cells of
each pair of labels follows from the segments' boundaries.

Source: thesis section 5.2.2; notes items 32 and 35.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from thesislib.corpora.annotation import Segment

STEP_MS = 10
MIN_IOU = 0.10
IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


class Track(NamedTuple):
    """One tier as arrays of shape ``(N,)``, sorted and disjoint.

    Attributes:
        start_ms: First millisecond of each segment.
        end_ms: The millisecond after its last.
        code: Place of its value among the tier's values, from 1; 0 is *none*.
    """

    start_ms: IntArray
    end_ms: IntArray
    code: IntArray


class Pairs(NamedTuple):
    """Pairs of segments of two tracks that share time, shape ``(P,)`` each, in order of time."""

    a: IntArray
    b: IntArray
    iou: FloatArray


class Overlap(NamedTuple):
    """What the overlap measures are made of; sums over files give pooled measures."""

    n_segments: int
    n_overlapping: int
    n_pairs: int
    sum_iou: float
    n_compared: int
    n_same: int


@dataclass(frozen=True, slots=True)
class EventScores:
    """Detection of events: hits over hypotheses, hits over references, their harmonic mean."""

    precision: float
    recall: float
    f1: float
    n_reference: int
    n_hypothesis: int
    n_matched: int


def as_track(segments: Sequence[Segment], levels: Sequence[str]) -> Track:
    """Segments as arrays.

    Args:
        segments: In order and disjoint.
        levels: The values that they may have, in rising order.

    Raises:
        ValueError: segments overlap or are out of order, or a value is not among `levels`.

    >>> as_track([Segment(0, 50, "low"), Segment(50, 90, "high")], ("low", "high")).code
    array([1, 2])
    """
    codes = {level: code for code, level in enumerate(levels, start=1)}
    if unknown := {s.value for s in segments} - set(codes):
        raise ValueError(f"values {sorted(unknown)} are not among {list(levels)}")
    n = len(segments)
    start = np.fromiter((s.start_ms for s in segments), np.int64, n)
    end = np.fromiter((s.end_ms for s in segments), np.int64, n)
    if (start >= end).any() or (end[:-1] > start[1:]).any():
        raise ValueError("segments overlap or are out of order")
    return Track(start, end, np.fromiter((codes[s.value] for s in segments), np.int64, n))


def clip_track(track: Track, span_ms: tuple[int, int]) -> Track:
    """The part of a track inside a span: what exceeds it is discarded (section 5.2.2)."""
    start, end = np.clip(track.start_ms, *span_ms), np.clip(track.end_ms, *span_ms)
    inside = start < end
    return Track(start[inside], end[inside], track.code[inside])


def grid_confusion(
    a: Track, b: Track, span_ms: tuple[int, int], n_levels: int, step_ms: int = STEP_MS
) -> IntArray:
    """Grid cells of a span by their labels in two tracks, without building the grid.

    Cell ``k`` runs from ``start + k * step_ms`` for `step_ms` and has the label that holds at its
    middle; time that nobody labelled is the class *none*, and a last, incomplete cell is left out.

    Args:
        a: First annotator's tier.
        b: Second annotator's.
        span_ms: Common annotated span, from, up to but without.
        n_levels: Number of the tier's values.
        step_ms: Width of a cell.

    Returns:
        Counts, ``(n_levels + 1, n_levels + 1)``, a in rows; *none* is row and column 0.

    Source: notes items 32 and 35.

    >>> a = as_track([Segment(0, 50, "low")], ["low"])
    >>> b = as_track([Segment(20, 80, "low")], ["low"])
    >>> grid_confusion(a, b, (0, 100), n_levels=1)
    array([[2, 3],
           [2, 3]])
    """
    n_cells = max(0, span_ms[1] - span_ms[0]) // step_ms
    starts, labels = zip(
        *(_runs(track, span_ms[0], step_ms, n_cells) for track in (a, b)), strict=True
    )
    bounds = np.union1d(*starts)
    rows, columns = (
        label[np.searchsorted(start, bounds, side="right") - 1]
        for start, label in zip(starts, labels, strict=True)
    )
    lengths = np.diff(np.append(bounds, n_cells))
    k = n_levels + 1
    counts = np.bincount(rows * k + columns, weights=lengths, minlength=k * k)
    return counts.astype(np.int64).reshape(k, k)  # float64 holds every such count exactly


def _runs(track: Track, origin_ms: int, step_ms: int, n_cells: int) -> tuple[IntArray, IntArray]:
    """First cell and label of each run of equal cells, gaps among them; the first is cell 0."""

    def first_cell(time_ms: IntArray) -> IntArray:  # whose middle is not before the time
        middles = 2 * (time_ms - origin_ms) - step_ms
        return np.clip(-(-middles // (2 * step_ms)), 0, n_cells)

    starts, ends = first_cell(track.start_ms), first_cell(track.end_ms)
    kept = starts < ends
    starts, ends, codes = starts[kept], ends[kept], track.code[kept]
    bounds = np.empty(2 * len(starts) + 1, np.int64)
    labels = np.zeros(2 * len(starts) + 1, np.int64)
    bounds[0], bounds[1::2], bounds[2::2] = 0, starts, ends
    labels[1::2] = codes
    # where segments touch, the gap between them has no cell: of equal bounds the last one holds
    return bounds, labels


def one_level(confusion: IntArray, code: int) -> IntArray:
    """Collapse counts ``(K, K)`` to *this value or not*, ``(2, 2)``."""
    hit, a, b = confusion[code, code], confusion[code].sum(), confusion[:, code].sum()
    return np.array([[confusion.sum() - a - b + hit, b - hit], [a - hit, hit]])


def cohen_kappa(confusion: ArrayLike) -> FloatArray:
    """Cohen's kappa from counts of shape ``(..., K, K)``; NaN where chance alone is certain.

    The share of cells that agree, beyond what the two annotators' own shares of each class would
    give by chance, over the most that it could be.

    Source: cohen1960; thesis Tables 5.5 and 5.6 (there by a grid of unnamed width, here 10 ms).

    >>> float(cohen_kappa([[45, 15], [25, 15]]).round(3))
    0.13
    """
    p = np.asarray(confusion, dtype=float)
    n = p.sum((-2, -1))
    observed = np.trace(p, axis1=-2, axis2=-1)
    expected = ratio((p.sum(-1) * p.sum(-2)).sum(-1), n)
    return ratio(observed - expected, n - expected)


def krippendorff_alpha(confusion: ArrayLike, *, ordinal: bool = False) -> FloatArray:
    """Krippendorff's alpha of two annotators from counts of shape ``(..., K, K)``.

    One minus the disagreement seen over the disagreement expected from the pooled labels. Here a
    unit is a grid cell, and *none* is a label like the others; NaN where all labels are equal.

    Args:
        confusion: Counts of units by label.
        ordinal: Weigh a disagreement by the number of labels between the two classes, in the
            order of rows (*none* below the lowest intensity); else all weigh the same.

    Source: krippendorff2011; notes item 33.

    >>> float(krippendorff_alpha([[45, 15], [25, 15]]).round(3))
    0.125
    """
    counts = np.asarray(confusion, dtype=float)
    coincidences = counts + np.swapaxes(counts, -1, -2)
    totals = coincidences.sum(-1)
    k = counts.shape[-1]
    if ordinal:
        ranks = np.cumsum(totals, -1) - totals / 2  # half of a class lies below its middle
        distance = (ranks[..., :, None] - ranks[..., None, :]) ** 2
    else:
        distance = 1.0 - np.eye(k)
    observed = (coincidences * distance).sum((-2, -1))
    products = totals[..., :, None] * totals[..., None, :]
    expected = ratio((products * distance).sum((-2, -1)), totals.sum(-1) - 1)
    return 1 - ratio(observed, expected)


def overlapping_pairs(a: Track, b: Track, min_iou: float = MIN_IOU) -> Pairs:
    """Pairs of segments whose intersection over union is *above* `min_iou`.

    Touching segments share no time and are no pair; values play no part.

    Source: thesis section 5.2.2 (more than 10 % IoU); notes item 32.

    >>> a = as_track([Segment(0, 100, "low")], ["low"])
    >>> overlapping_pairs(a, as_track([Segment(50, 150, "low")], ["low"])).iou.round(3)
    array([0.333])
    """
    first = np.searchsorted(b.end_ms, a.start_ms, side="right")
    last = np.searchsorted(b.start_ms, a.end_ms, side="left")
    counts = np.maximum(last - first, 0)
    i = np.repeat(np.arange(len(counts)), counts)
    j = np.arange(len(i)) - np.repeat(np.cumsum(counts) - counts, counts) + first[i]
    shared = np.minimum(a.end_ms[i], b.end_ms[j]) - np.maximum(a.start_ms[i], b.start_ms[j])
    total = (a.end_ms - a.start_ms)[i] + (b.end_ms - b.start_ms)[j] - shared
    iou = shared / total
    kept = iou > min_iou
    return Pairs(i[kept], j[kept], iou[kept])


def overlap_counts(
    a: Track, b: Track, min_iou: float = MIN_IOU, code: int | None = None
) -> Overlap:
    """Count what the three overlap measures are made of.

    *Overlap_perc* is the share of both annotators' segments that are in an overlapping pair,
    ``n_overlapping / n_segments``. *IoU* is the mean intersection over union of the overlapping
    pairs, ``sum_iou / n_pairs``. *Overlap_levels* is the share of the overlapping pairs with the
    same value, ``n_same / n_compared``.

    With `code`, Overlap_perc and IoU see only the segments with this value, as if there were no
    others; Overlap_levels sees the overlapping pairs in which at least one segment has it, and
    counts those in which both have.

    Args:
        a: First annotator's tier, clipped to the common span.
        b: Second annotator's.
        min_iou: A pair overlaps above this.
        code: One value of the tier, from 1; None for all.

    Source: thesis section 5.2.2, Tables 5.7 to 5.9; notes item 32.
    """
    pairs = overlapping_pairs(a, b, min_iou)
    code_a, code_b = a.code[pairs.a], b.code[pairs.b]
    same = code_a == code_b
    n_segments = len(a.code) + len(b.code)
    seen, compared = np.ones_like(same), np.ones_like(same)
    if code is not None:
        n_segments = int((a.code == code).sum() + (b.code == code).sum())
        seen, compared = same & (code_a == code), (code_a == code) | (code_b == code)
    return Overlap(
        n_segments=n_segments,
        n_overlapping=len(np.unique(pairs.a[seen])) + len(np.unique(pairs.b[seen])),
        n_pairs=int(seen.sum()),
        sum_iou=float(pairs.iou[seen].sum()),
        n_compared=int(compared.sum()),
        n_same=int((same & compared).sum()),
    )


def event_scores(
    reference: Track, hypothesis: Track, min_iou: float = 0.5, *, same_level: bool = True
) -> EventScores:
    """Precision, recall and F1 of the segments of a timeline.

    A hypothesis is right when it is matched with a reference whose IoU with it is above
    `min_iou`; each takes part in one match at most, and the matching is the largest possible.

    Args:
        reference: The annotation.
        hypothesis: The timeline to score.
        min_iou: Least intersection over union, in [0, 1).
        same_level: A match must agree on the value as well.

    Returns:
        Scores; precision is NaN without hypotheses, recall without references, F1 without both.

    Source: mesaros2016 (event-based scores), with IoU in place of a collar.
    """
    i, j, _ = overlapping_pairs(reference, hypothesis, min_iou)
    if same_level:
        same = reference.code[i] == hypothesis.code[j]
        i, j = i[same], j[same]
    n, m, matched = len(reference.code), len(hypothesis.code), 0
    if len(i):
        graph = csr_array((np.ones(len(i), np.int8), (i, j)), shape=(n, m))
        matched = int((maximum_bipartite_matching(graph, perm_type="column") >= 0).sum())
    precision, recall, f1 = ratio([matched, matched, 2 * matched], [m, n, n + m]).tolist()
    return EventScores(precision, recall, f1, n, m, matched)


def ratio(numerator: ArrayLike, denominator: ArrayLike) -> FloatArray:
    """Quotient, NaN where the denominator is not positive."""
    top, bottom = np.broadcast_arrays(np.asarray(numerator, float), np.asarray(denominator, float))
    return np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0)
