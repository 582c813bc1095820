"""Properties of the agreement measures."""

import math
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from thesislib.corpora.elan import Segment
from thesislib.evaluation.agreement import (
    as_track,
    cohen_kappa,
    event_scores,
    grid_confusion,
    krippendorff_alpha,
    overlap_counts,
    overlapping_pairs,
)

LEVELS = ("low", "medium", "high")


@st.composite
def tracks(draw):
    bounds = sorted(draw(st.sets(st.integers(0, 3000), max_size=20)))
    labels = draw(
        st.lists(st.sampled_from([None, *LEVELS]), min_size=len(bounds), max_size=len(bounds))
    )
    pairs = zip(pairwise(bounds), labels, strict=False)
    return as_track([Segment(s, e, v) for (s, e), v in pairs if v], LEVELS)


spans = st.tuples(st.integers(0, 1500), st.integers(0, 1500)).map(lambda t: (t[0], t[0] + t[1]))
steps = st.integers(1, 50)


def shift(track, by):
    return track._replace(start_ms=track.start_ms + by, end_ms=track.end_ms + by)


def same(one, two):
    return (math.isnan(one) and math.isnan(two)) or math.isclose(one, two, abs_tol=1e-9)


@given(tracks(), tracks(), spans, steps)
def test_every_whole_cell_is_counted_once_and_annotators_can_swap(a, b, span, step):
    counts = grid_confusion(a, b, span, 3, step)
    assert counts.sum() == (span[1] - span[0]) // step
    assert (counts >= 0).all()
    np.testing.assert_array_equal(counts.T, grid_confusion(b, a, span, 3, step))
    for measure in (cohen_kappa, krippendorff_alpha):
        assert same(float(measure(counts)), float(measure(counts.T)))
        assert not float(measure(counts)) > 1 + 1e-12


@given(tracks(), tracks(), spans, steps, st.integers(0, 10**6))
def test_only_relative_times_matter(a, b, span, step, by):
    moved = grid_confusion(shift(a, by), shift(b, by), (span[0] + by, span[1] + by), 3, step)
    np.testing.assert_array_equal(moved, grid_confusion(a, b, span, 3, step))
    one, two = overlap_counts(a, b), overlap_counts(shift(a, by), shift(b, by))
    assert one == two


@given(tracks(), spans)
def test_an_annotation_agrees_with_itself(track, span):
    counts = grid_confusion(track, track, span, 3)
    assert (counts == np.diag(np.diag(counts))).all()
    assert same(float(cohen_kappa(counts)), 1.0) or math.isnan(cohen_kappa(counts))
    n = len(track.code)
    assert overlap_counts(track, track) == (2 * n, 2 * n, n, float(n), n, n)
    scores = event_scores(track, track)
    assert scores.n_matched == n


@given(tracks(), tracks(), st.floats(0, 0.99))
def test_overlaps_are_symmetric_bounded_and_fall_with_the_threshold(a, b, threshold):
    one, two = overlap_counts(a, b, threshold), overlap_counts(b, a, threshold)
    assert one[:3] == two[:3]
    assert one[4:] == two[4:]
    assert math.isclose(one.sum_iou, two.sum_iou)
    assert one.n_overlapping <= one.n_segments
    assert one.n_overlapping <= 2 * one.n_pairs
    assert one.n_same <= one.n_compared <= max(0, len(a.code) + len(b.code) - 1)
    loose = overlapping_pairs(a, b, 0.0)
    strict = overlapping_pairs(a, b, threshold)
    assert set(zip(strict.a, strict.b, strict=True)) <= set(zip(loose.a, loose.b, strict=True))
    assert ((strict.iou > threshold) & (strict.iou <= 1)).all()
    assert (np.diff(loose.a) >= 0).all()


@given(tracks(), tracks(), st.floats(0, 0.99))
def test_no_segment_is_matched_twice(a, b, threshold):
    scores = event_scores(a, b, threshold, same_level=False)
    counts = overlap_counts(a, b, threshold)
    assert scores.n_matched <= min(len(a.code), len(b.code), counts.n_pairs)
    assert (scores.n_matched > 0) == (counts.n_pairs > 0)
    if threshold >= 0.5:  # then a segment has one partner at most
        assert scores.n_matched == counts.n_pairs
