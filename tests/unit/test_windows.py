"""Labels of windows: the rule of notes item 36, case by case and against a picture in ms."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thesislib.corpora.annotation import TIERS, IBAnnotation, Segment
from thesislib.corpora.windows import WINDOW_S, label_windows
from thesislib.errors import InputError


def annotation(smiles=(), laughs=(), roles=None, span=(0, 12200)):
    tiers = {"Smiles": smiles, "Laughs": laughs} | ({} if roles is None else {"Role": roles})
    return IBAnnotation(
        name="13_1_A_M.eaf",
        tiers={tier: tuple(Segment(*row) for row in rows) for tier, rows in tiers.items()},
        span_ms=span,
    )


def rows(x, **options):
    frame = label_windows(x, **options)
    return [tuple(row) for row in frame[["start_ms", "expression", "intensity"]].to_numpy()]


def test_a_window_is_a_second_and_a_bit():
    assert WINDOW_S == 1.22
    frame = label_windows(annotation())
    assert frame.window.tolist() == list(range(10))
    assert frame.start_ms.tolist() == [1220 * n for n in range(10)]
    assert set(frame.expression) == set(frame.intensity) == {"none"}
    assert set(frame.share) == {0.0}
    assert set(frame.role) == {"unlabelled"}


@pytest.mark.parametrize(
    ("end", "kept"),
    [(609, False), (610, True), (611, True), (1220, True), (1, False)],
)
def test_half_is_enough_and_a_millisecond_less_drops_the_window(end, kept):
    x = annotation(smiles=[(0, end, "low")], span=(0, 2440))
    expected = [(0, "smile", "low")] if kept else []
    assert rows(x) == [*expected, (1220, "none", "none")]


def test_intensities_add_up_and_the_longest_names_the_window():
    x = annotation(laughs=[(0, 250, "low"), (250, 590, "high"), (590, 700, "low")], span=(0, 1220))
    frame = label_windows(x)
    assert rows(x) == [(0, "laugh", "low")]
    assert frame.share.tolist() == [700 / 1220]
    x = annotation(laughs=[(0, 400, "low"), (400, 800, "medium")], span=(0, 1220))
    assert rows(x) == [(0, "laugh", "medium")]  # the higher of two equals
    x = annotation(smiles=[(0, 500, "subtle"), (600, 900, "high")], span=(0, 1220))
    assert rows(x) == [(0, "smile", "subtle")]


def test_a_smile_and_a_laugh_share_a_window():
    x = annotation([(0, 500, "low")], [(500, 1220, "high")], span=(0, 1220))
    assert rows(x) == [(0, "laugh", "high")]
    x = annotation([(0, 610, "low")], [(610, 1220, "high")], span=(0, 1220))
    assert rows(x) == []  # each covers exactly half
    x = annotation([(0, 500, "low")], [(500, 1000, "high")], span=(0, 1220))
    assert rows(x) == []  # neither covers half, and it is not none


def test_a_window_with_a_smile_over_a_laugh_is_dropped():
    x = annotation([(0, 1300, "low")], [(1299, 1310, "low")], span=(0, 2440))
    assert rows(x) == [(0, "smile", "low")]
    x = annotation([(0, 1220, "low")], [(1219, 1220, "low")], span=(0, 2440))
    assert rows(x) == [(1220, "none", "none")]
    x = annotation([(0, 1219, "low")], [(1219, 1220, "low")], span=(0, 2440))
    assert rows(x) == [(0, "smile", "low"), (1220, "none", "none")]  # touching is no overlap


def test_time_beyond_the_span_is_unlabelled_and_the_grid_starts_with_the_recording():
    x = annotation(span=(1, 4879))
    assert rows(x) == [(1220, "none", "none"), (2440, "none", "none")]
    assert rows(annotation(span=(1220, 4880))) == [
        (start, "none", "none") for start in (1220, 2440, 3660)
    ]
    assert rows(annotation(span=(0, 0))) == []
    assert rows(annotation(span=(0, 1219))) == []
    assert rows(annotation(span=(0, 300_000)), first_s=3)[-1][0] == 1220
    assert rows(annotation(span=(0, 2440)), first_s=120)[-1][0] == 1220


def test_windows_overlap_where_the_hop_is_shorter():
    x = annotation(laughs=[(1000, 2000, "low")], span=(0, 3000))
    assert rows(x, hop_s=0.5) == [
        (500, "laugh", "low"),
        (1000, "laugh", "low"),
    ]
    assert rows(x, length_s=0.5, hop_s=1) == [
        (0, "none", "none"),
        (1000, "laugh", "low"),
        (2000, "none", "none"),
    ]


@pytest.mark.parametrize(
    ("roles", "expected"),
    [
        ([(0, 610, "spk")], "spk"),
        ([(0, 609, "spk")], "none"),
        ([(0, 500, "spk"), (500, 1220, "lsn")], "lsn"),
        ([(0, 610, "lsn"), (610, 1220, "spk")], "spk"),
        ([(0, 300, "spk"), (900, 1220, "spk")], "spk"),
        ([], "none"),
    ],
)
def test_the_role_covers_at_least_half(roles, expected):
    assert label_windows(annotation(roles=roles, span=(0, 1220))).role.tolist() == [expected]


@pytest.mark.parametrize("tier", ["Smiles", "Laughs"])
def test_without_a_tier_nothing_is_none(tier):
    x = annotation()
    tiers = {name: segments for name, segments in x.tiers.items() if name != tier}
    with pytest.raises(InputError, match=f"13_1_A_M.eaf: has no tier {tier}"):
        label_windows(IBAnnotation(name=x.name, tiers=tiers, span_ms=x.span_ms))


@pytest.mark.parametrize("options", [{"length_s": 0}, {"hop_s": 0.0001}, {"length_s": -1}])
def test_windows_have_a_length(options):
    with pytest.raises(ValueError, match="shorter than a millisecond"):
        label_windows(annotation(), **options)


@st.composite
def tracks(draw, tier, end):
    edges = sorted(draw(st.sets(st.integers(0, end), max_size=10)))
    pairs = pairwise(edges)
    return [(a, b, draw(st.sampled_from(TIERS[tier]))) for a, b in pairs if draw(st.booleans())]


@st.composite
def annotations(draw):
    end = draw(st.integers(0, 90))
    smiles, laughs, roles = (draw(tracks(tier, end)) for tier in ("Smiles", "Laughs", "Role"))
    first = min((row[0] for row in [*smiles, *laughs, *roles]), default=end)
    begin = draw(st.integers(0, first))
    return annotation(smiles, laughs, roles, (begin, end))


def painted(segments, size):
    picture = [None] * size
    for s in segments:
        picture[s.start_ms : s.end_ms] = [s.value] * (s.end_ms - s.start_ms)
    return picture


def window_of_loop(pictures, start, length):
    """The rule, spelt out a millisecond at a time; None where the window is dropped."""
    smile, laugh, role = ([p[t] for t in range(start, start + length)] for p in pictures)
    if any(a and b for a, b in zip(smile, laugh, strict=True)):
        return None
    amounts = {"smile": sum(map(bool, smile)), "laugh": sum(map(bool, laugh))}
    winners = [name for name, amount in amounts.items() if 2 * amount >= length]
    if len(winners) == 2 or (not winners and any(amounts.values())):
        return None
    spoken, heard = role.count("spk"), role.count("lsn")
    said = "spk" if 2 * spoken >= length else "lsn" if 2 * heard >= length else "none"
    if not winners:
        return ("none", "none", said, 0.0)
    track, levels = (smile, TIERS["Smiles"]) if winners == ["smile"] else (laugh, TIERS["Laughs"])
    best = max(levels, key=lambda level: (track.count(level), levels.index(level)))
    return (winners[0], best, said, amounts[winners[0]] / length)


@given(annotations(), st.integers(1, 12), st.integers(1, 15), st.none() | st.integers(1, 100))
@settings(max_examples=300, deadline=None)
def test_windows_are_those_of_a_plain_loop(x, length, hop, first):
    frame = label_windows(
        x,
        length_s=length / 1000,
        hop_s=hop / 1000,
        first_s=None if first is None else first / 1000,
    )
    pictures = [painted(s, 100) for s in (x.smiles, x.laughs, x.roles)]
    begin, end = x.span_ms
    end = end if first is None else min(end, first)
    expected = []
    for window in range(101):
        start = window * hop
        if begin <= start and start + length <= end:
            label = window_of_loop(pictures, start, length)
            if label is not None:
                expected.append((window, start, *label))
    assert [tuple(row) for row in frame.itertuples(index=False)] == expected


def test_an_hour_is_labelled_at_once():
    edges = np.unique(np.random.default_rng(0).integers(0, 3_600_000, 10_000)).tolist()
    levels = TIERS["Smiles"]
    smiles = [(a, b, levels[i % 4]) for i, (a, b) in enumerate(pairwise(edges))]
    x = annotation(smiles=smiles[::2], span=(0, 3_600_000))
    frame = label_windows(x, hop_s=0.01)
    assert isinstance(frame, pd.DataFrame)
    assert 100_000 < len(frame) < 360_000
    assert frame.share.between(0, 1).all()
