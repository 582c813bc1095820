"""ELAN files under hypothesis: round trips, and overlaps against a picture in milliseconds."""

import tempfile
from itertools import pairwise
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from thesislib.corpora.annotation import disjoint
from thesislib.corpora.elan import TIERS, IBAnnotation, Segment, read_eaf, write_eaf

times = st.integers(0, 2**31 - 1)
text = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=12)


@st.composite
def tier_segments(draw, tier):
    bounds = sorted(draw(st.sets(times, max_size=12)))
    segments = []
    for start, end in pairwise(bounds):
        if draw(st.booleans()):
            segments.append(Segment(start, end, draw(st.sampled_from(TIERS[tier]))))
    return tuple(segments)


@st.composite
def annotations(draw):
    chosen = draw(st.sets(st.sampled_from(sorted(TIERS)), min_size=1))
    tiers = {tier: draw(tier_segments(tier)) for tier in TIERS if tier in chosen}
    ends = [t for s in tiers.values() for x in s for t in (x.start_ms, x.end_ms)]
    low = draw(st.integers(0, min(ends, default=0)))
    high = draw(st.integers(max(ends, default=low), 2**31 - 1))
    return IBAnnotation(
        name="x.eaf",
        tiers=tiers,
        span_ms=(low, high),
        annotator=draw(st.none() | text),
        media=tuple(draw(st.lists(text.filter(lambda t: not set(t) & set("/.")), max_size=2))),
    )


@given(annotations())
@settings(max_examples=60, deadline=None)
def test_write_read_write_read_gives_the_same(annotation):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.eaf"
        write_eaf(annotation, path)
        once = read_eaf(path)
        data = path.read_bytes()
        write_eaf(once, path)
        assert path.read_bytes() == data
    for field in ("tiers", "span_ms", "annotator", "media"):
        assert getattr(once, field) == getattr(annotation, field)
    noticed = {r.kind for r in once.repairs}
    assert noticed <= {"missing-tier", "smile-laugh-overlap"}
    assert ("missing-tier" in noticed) == (set(once.tiers) != set(TIERS))


segment = st.builds(
    lambda start, length, value: Segment(start, start + length, value),
    st.integers(0, 60), st.integers(1, 25), st.sampled_from(TIERS["Smiles"]),
)  # fmt: skip


@given(st.lists(segment, max_size=12))
@settings(max_examples=200, deadline=None)
def test_overlaps_are_resolved_as_if_painted(segments):
    repairs = []
    result = list(disjoint("Smiles", segments, repairs))
    picture = [None] * 100
    ordered = sorted(segments, key=lambda s: (s.start_ms, s.end_ms))
    for ms in range(100):
        covering = [s for s in ordered if s.start_ms <= ms < s.end_ms]
        latest = [s for s in covering if s.start_ms == max(c.start_ms for c in covering)]
        shortest = [s for s in latest if s.end_ms == min(c.end_ms for c in latest)]
        picture[ms] = shortest[-1].value if shortest else None
    painted = [None] * 100
    for s in result:
        for ms in range(s.start_ms, s.end_ms):
            assert painted[ms] is None
            painted[ms] = s.value
    assert painted == picture
    assert result == sorted(result)
    assert len(segments) - len(result) == sum(r.lost for r in repairs)
    untouched = [
        s
        for s in segments
        if all(s is t or t.end_ms <= s.start_ms or s.end_ms <= t.start_ms for t in segments)
    ]
    assert set(untouched) <= set(result)
