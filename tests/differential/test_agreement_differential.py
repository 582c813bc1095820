"""Agreement against scikit-learn, krippendorff, pyannote and plain double loops."""

import warnings

import krippendorff
import networkx as nx
import numpy as np
import pytest
from pyannote.core import Annotation
from pyannote.core import Segment as Stretch
from pyannote.metrics.identification import IdentificationErrorRate
from sklearn.metrics import cohen_kappa_score

from thesislib.corpora.elan import TIERS, Segment
from thesislib.evaluation.agreement import (
    as_track,
    clip_track,
    cohen_kappa,
    event_scores,
    grid_confusion,
    krippendorff_alpha,
    one_level,
    overlap_counts,
)

LEVELS = TIERS["Smiles"]
SPAN = (1_234, 61_238)


def random_segments(rng, n, step=1, top=70_000):
    bounds = np.unique(rng.integers(0, top // step, 2 * n)) * step
    starts, ends = bounds[:-1], bounds[1:]
    kept = rng.random(len(starts)) < 0.6  # so that some touch and some do not
    return [
        Segment(int(s), int(e), LEVELS[rng.integers(4)])
        for s, e, k in zip(starts, ends, kept, strict=True)
        if k
    ]


def grid(segments, span, step):
    """The grid itself: the code at the middle of each whole cell."""
    labels = []
    for k in range((span[1] - span[0]) // step):
        middle = span[0] + k * step + step / 2
        code = 0
        for s in segments:
            if s.start_ms <= middle < s.end_ms:
                code = LEVELS.index(s.value) + 1
        labels.append(code)
    return np.array(labels)


def double_loop(a, b, min_iou, level=None):
    """Overlap_perc, IoU and Overlap_levels as section 5.2.2 words them."""
    if level is not None:
        a, b = ([s for s in x if s.value == level] for x in (a, b))
    hit_a, hit_b, ious, same = set(), set(), [], 0
    for i, s in enumerate(a):
        for j, t in enumerate(b):
            shared = min(s.end_ms, t.end_ms) - max(s.start_ms, t.start_ms)
            if shared <= 0:
                continue
            union = max(s.end_ms, t.end_ms) - min(s.start_ms, t.start_ms)
            if shared / union > min_iou:
                hit_a.add(i)
                hit_b.add(j)
                ious.append(shared / union)
                same += s.value == t.value
    return len(a) + len(b), len(hit_a) + len(hit_b), ious, same


def clipped(segments, span):
    return [
        Segment(max(s.start_ms, span[0]), min(s.end_ms, span[1]), s.value)
        for s in segments
        if max(s.start_ms, span[0]) < min(s.end_ms, span[1])
    ]


CASES = [(seed, n, step) for seed in range(6) for n, step in ((0, 10), (3, 10), (40, 7), (40, 10))]


@pytest.mark.parametrize(("seed", "n", "step"), CASES)
def test_kappa_is_scikit_learns_on_the_grid(seed, n, step):
    rng = np.random.default_rng([seed, n, step])
    a, b = random_segments(rng, n), random_segments(rng, 40)
    x, y = grid(a, SPAN, step), grid(b, SPAN, step)
    counts = grid_confusion(as_track(a, LEVELS), as_track(b, LEVELS), SPAN, 4, step)
    expected = np.zeros((5, 5), int)
    np.add.at(expected, (x, y), 1)
    np.testing.assert_array_equal(counts, expected)
    assert float(cohen_kappa(counts)) == pytest.approx(cohen_kappa_score(x, y), abs=1e-12)
    for code in range(1, 5):
        reference = cohen_kappa_score(x == code, y == code)
        assert float(cohen_kappa(one_level(counts, code))) == pytest.approx(reference, abs=1e-12)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("ordinal", [False, True])
def test_alpha_is_the_krippendorff_packages(seed, ordinal):
    rng = np.random.default_rng(seed)
    a, b = random_segments(rng, 30), random_segments(rng, 30)
    x, y = grid(a, SPAN, 10), grid(b, SPAN, 10)
    reference = krippendorff.alpha(
        reliability_data=np.stack([x, y]).astype(float),
        level_of_measurement="ordinal" if ordinal else "nominal",
    )
    counts = grid_confusion(as_track(a, LEVELS), as_track(b, LEVELS), SPAN, 4)
    assert float(krippendorff_alpha(counts, ordinal=ordinal)) == pytest.approx(reference, abs=1e-9)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("min_iou", [0.0, 0.1, 0.5])
def test_overlaps_are_those_of_the_double_loop(seed, min_iou):
    rng = np.random.default_rng(seed)
    a, b = (clipped(random_segments(rng, n), SPAN) for n in (60, 90))
    x, y = as_track(a, LEVELS), as_track(b, LEVELS)
    n, hit, ious, same = double_loop(a, b, min_iou)
    counts = overlap_counts(x, y, min_iou)
    assert (counts.n_segments, counts.n_overlapping) == (n, hit)
    assert (counts.n_pairs, counts.n_compared, counts.n_same) == (len(ious), len(ious), same)
    assert counts.sum_iou == pytest.approx(sum(ious), rel=1e-12)
    compared = 0
    for code, level in enumerate(LEVELS, start=1):
        n, hit, ious, same = double_loop(a, b, min_iou, level)
        counts = overlap_counts(x, y, min_iou, code)
        assert (counts.n_segments, counts.n_overlapping) == (n, hit)
        assert (counts.n_pairs, counts.n_same) == (len(ious), len(ious))
        assert counts.sum_iou == pytest.approx(sum(ious), rel=1e-12)
        compared += counts.n_compared
    total = overlap_counts(x, y, min_iou)
    assert compared == 2 * total.n_pairs - total.n_same  # a mixed pair belongs to two levels


def test_clipping_is_the_plain_one():
    segments = random_segments(np.random.default_rng(3), 60)
    track = clip_track(as_track(segments, LEVELS), SPAN)
    expected = as_track(clipped(segments, SPAN), LEVELS)
    for one, two in zip(track, expected, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("same_level", [False, True])
def test_events_are_a_maximum_matching(seed, same_level):
    rng = np.random.default_rng(seed)
    a, b = random_segments(rng, 30), random_segments(rng, 45)
    graph = nx.Graph()
    graph.add_nodes_from(("a", i) for i in range(len(a)))
    for i, s in enumerate(a):
        for j, t in enumerate(b):
            shared = min(s.end_ms, t.end_ms) - max(s.start_ms, t.start_ms)
            union = max(s.end_ms, t.end_ms) - min(s.start_ms, t.start_ms)
            if shared / union > 0.05 and (s.value == t.value or not same_level):
                graph.add_edge(("a", i), ("b", j))
    expected = len(nx.max_weight_matching(graph, maxcardinality=True))
    scores = event_scores(as_track(a, LEVELS), as_track(b, LEVELS), 0.05, same_level=same_level)
    assert scores.n_matched == expected
    assert scores.precision == pytest.approx(expected / len(b))
    assert scores.recall == pytest.approx(expected / len(a))
    assert scores.f1 == pytest.approx(2 * expected / (len(a) + len(b)))


@pytest.mark.parametrize("seed", range(3))
def test_confused_missed_and_false_time_are_pyannotes(seed):
    """On times that lie on the grid, the counts are the parts of pyannote's error rate."""
    rng = np.random.default_rng(seed)
    a, b = (random_segments(rng, 40, step=10) for _ in range(2))
    counts = grid_confusion(as_track(a, LEVELS), as_track(b, LEVELS), (0, 70_000), 4) / 100
    annotations = [
        Annotation.from_records(
            (Stretch(s.start_s, s.end_s), number, s.value) for number, s in enumerate(segments)
        )
        for segments in (a, b)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pyannote warns that no evaluation map was given
        parts = IdentificationErrorRate().compute_components(*annotations)
    inner = counts[1:, 1:]
    assert parts["correct"] == pytest.approx(np.trace(inner))
    assert parts["confusion"] == pytest.approx(inner.sum() - np.trace(inner))
    assert parts["missed detection"] == pytest.approx(counts[1:, 0].sum())
    assert parts["false alarm"] == pytest.approx(counts[0, 1:].sum())
    assert parts["total"] == pytest.approx(counts[1:].sum())
