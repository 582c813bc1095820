"""Simulated annotators: each habit alone, all of them off, and the files that they write."""

from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np
import pytest

from thesislib.corpora.elan import read_eaf
from thesislib.corpora.twins.annotators import (
    ANNOTATORS,
    EFFECTS,
    LEVELS,
    TRUTH,
    annotate,
    annotators_of,
    level_of,
    write_annotations,
)
from thesislib.corpora.twins.dyads import EFFECTS as DYAD_EFFECTS
from thesislib.corpora.twins.dyads import intensity_curve, simulate_dyad
from thesislib.errors import InputError
from thesislib.evaluation.agreement import aggregate, compare

OFF = dict.fromkeys(EFFECTS, 0)


@pytest.fixture(scope="module")
def dyads():
    return [simulate_dyad("ifadv", number, duration_s=240) for number in range(1, 7)]


@pytest.fixture(scope="module")
def dyad(dyads):
    return dyads[0]


def expressions(annotation):
    return sorted([*annotation.smiles, *annotation.laughs])


def agreement(dyads, who=ANNOTATORS, **effects):
    results = []
    for dyad in dyads:
        for person in (0, 1):
            made = [annotate(dyad, person, a, effects=effects) for a in who]
            for a, b in combinations(made, 2):
                results += compare(a, b, annotators=(a.annotator, b.annotator))
    table = aggregate(results, n_bootstrap=10)
    return table.groupby(["category", "level", "statistic"]).value.mean()


def test_truth_is_what_happens(dyad):
    for number, person in enumerate(dyad.participants):
        seen = annotate(dyad, number, TRUTH)
        assert seen.name == f"{person.name}.eaf"
        assert seen.span_ms == (0, dyad.duration_ms)
        assert seen.roles == person.roles
        marked = [(s.start_ms, s.end_ms, s.value) for s in expressions(seen)]
        assert marked == [(e.start_ms, e.end_ms, level_of(e.kind, e.shown)) for e in person.events]
        assert len(seen.laughs) == sum(e.kind == "laugh" for e in person.events)


@pytest.mark.parametrize("annotator", ANNOTATORS, ids=lambda a: a.name)
def test_without_effects_all_see_the_truth(dyad, annotator):
    seen, truth = annotate(dyad, 1, annotator, effects=OFF), annotate(dyad, 1, TRUTH)
    end = seen.span_ms[1]
    assert end == min(dyad.duration_ms, 60_000 * (annotator.minutes or 1000))
    inside = [s for s in expressions(truth) if s.end_ms <= end]
    assert expressions(seen)[: len(inside)] == inside
    assert len(seen.roles) == sum(s.start_ms < end for s in truth.roles)


def test_a_threshold_moves_boundaries_to_where_the_curve_crosses_it(dyad):
    blind = replace(TRUTH, threshold=0.4)
    for number, person in enumerate(dyad.participants):
        seen = expressions(annotate(dyad, number, blind))
        noticed = [e for e in person.events if e.shown > 0.4]
        assert 0 < len(noticed) < len(person.events)
        for segment, event in zip(seen, noticed, strict=True):
            at = intensity_curve([event], [segment.start_s, segment.end_s])
            np.testing.assert_allclose(at, 0.4, atol=0.01)


def test_delay_shifts_and_nothing_else(dyad):
    late, truth = annotate(dyad, 0, replace(TRUTH, delay_ms=250)), annotate(dyad, 0, TRUTH)
    for tier in truth.tiers:
        inside = [s for s in truth.tiers[tier] if s.end_ms + 250 <= dyad.duration_ms]
        assert len(inside) > 0
        shifted = [(s.start_ms + 250, s.end_ms + 250, s.value) for s in inside]
        found = [(s.start_ms, s.end_ms, s.value) for s in late.tiers[tier]]
        assert found[: len(inside)] == shifted


def test_jitter_has_the_size_it_says(dyads):
    shaky = replace(TRUTH, jitter_ms=100, role_jitter_ms=200)
    for tier, spread in (("Smiles", 100), ("Role", 200)):
        shifts = []
        for dyad in dyads:
            a, b = annotate(dyad, 0, shaky).tiers[tier], annotate(dyad, 0, TRUTH).tiers[tier]
            if len(a) == len(b):
                shifts += [x.start_ms - y.start_ms for x, y in zip(a, b, strict=True)]
        assert len(shifts) > 40
        # a quarter of a short segment's length and two spreads are the most
        assert 0.7 * spread < np.std(shifts) < 1.1 * spread
        assert abs(np.mean(shifts)) < 0.3 * spread


def test_bias_shifts_levels(dyads):
    def mean_level(bias):
        levels = [
            LEVELS["smile"].index(s.value)
            for dyad in dyads
            for s in annotate(dyad, 0, replace(TRUTH, bias=bias)).smiles
        ]
        return np.mean(levels)

    assert mean_level(-0.25) < mean_level(0) - 0.5
    assert mean_level(0.25) > mean_level(0) + 0.5


def test_weak_laughs_become_high_smiles(dyads):
    strict = replace(TRUTH, laugh_floor=0.4)
    for dyad in dyads:
        weak = [e for e in dyad.participants[0].events if e.kind == "laugh" and e.shown < 0.4]
        seen, truth = annotate(dyad, 0, strict), annotate(dyad, 0, TRUTH)
        assert len(truth.laughs) - len(seen.laughs) == len(weak)
        starts = {s.start_ms: s.value for s in seen.smiles}
        assert all(starts[e.start_ms] == "high" for e in weak)


def test_short_turns_go_unnoticed_and_feedback_is_taken_for_turns(dyad):
    person = dyad.participants[0]
    seen = annotate(dyad, 0, replace(TRUTH, shortest_turn_ms=2000))
    assert [s for s in person.roles if s.duration_s >= 2] == list(seen.roles)
    assert len(seen.roles) < len(person.roles)
    seen = annotate(dyad, 0, replace(TRUTH, backchannel_as_turn=1.0))
    times = {(s.start_ms, s.end_ms) for s in seen.roles if s.value == "spk"}
    assert {(s.start_ms, s.end_ms) for s in person.backchannels} <= times


def test_speech_makes_smiles_harder_to_judge(dyads):
    def same(effects):
        noisy = replace(TRUTH, noise=0.1)
        found = []
        for dyad in dyads:
            for person in (0, 1):
                a = annotate(dyad, person, noisy, effects=effects)
                b = annotate(dyad, person, TRUTH)
                found += [x.value == y.value for x, y in zip(a.smiles, b.smiles, strict=True)]
        return np.mean(found)

    assert same({"speech_cover": 0}) > same({}) > same({"speech_cover": 6})


def test_agreement_falls_with_noise_and_is_whole_without_any(dyads):
    level = [agreement(dyads, noise=s)["Smiles", "all", "overlap_levels"] for s in (0, 1, 2)]
    assert level[0] > level[1] > level[2]
    none = agreement(dyads, **OFF)
    for tier in ("Role", "Smiles", "Laughs"):
        for statistic in ("kappa", "overlap_perc", "overlap_levels", "iou"):
            assert none[tier, "all", statistic] == pytest.approx(1)


def test_intensities_that_do_not_show_are_not_agreed_on(dyads):
    flat = [
        simulate_dyad("ifadv", d.number, duration_s=240, effects={"smile_intensity": 0})
        for d in dyads
    ]
    who = [replace(a, bias=0.0, noise=0.05) for a in ANNOTATORS]
    shown, hidden = (
        agreement(each, who)["Smiles", "all", "overlap_levels"] for each in (dyads, flat)
    )
    assert hidden == pytest.approx(0.5, abs=0.07)  # all at the border of low and medium
    assert shown > hidden + 0.1


def test_smiles_and_laughs_do_not_overlap(dyads):
    for dyad in dyads:
        for annotator in ANNOTATORS:
            made = expressions(annotate(dyad, 1, annotator, effects={"boundary_jitter": 4}))
            assert all(a.end_ms <= b.start_ms for a, b in pairwise(made))
            assert all(s.end_ms - s.start_ms >= 100 or s.end_ms in (120_000, 240_000) for s in made)


def test_who_meets_whom_follows_the_thesis():
    met = {pair for n in (1, 2, 3) for pair in combinations([a.name for a in annotators_of(n)], 2)}
    everyone = set(combinations([a.name for a in ANNOTATORS], 2))
    assert everyone - met == {("annotator_2", "annotator_3"), ("annotator_2", "annotator_5")}
    assert annotators_of(4) == annotators_of(1)


def test_files_hold_the_annotations(tmp_path, dyads):
    paths = write_annotations(tmp_path, dyads[:2])
    assert len(paths) == 2 * (len(annotators_of(1)) + len(annotators_of(2)))
    for dyad in dyads[:2]:
        for annotator in annotators_of(dyad.number):
            for person in (0, 1):
                made = annotate(dyad, person, annotator)
                read = read_eaf(tmp_path / annotator.name / made.name)
                assert set(read.unread) == {"S&L"}
                assert replace(read, unread={}) == made
    everyone = write_annotations(tmp_path / "all", dyads[:1], who=lambda _: ANNOTATORS)
    assert {p.parent.name for p in everyone} == {a.name for a in ANNOTATORS}


def test_dirt_is_met_and_mended_by_the_reader(tmp_path, dyads):
    paths = write_annotations(tmp_path / "a", dyads, dirt=True)
    again = write_annotations(tmp_path / "b", dyads, dirt=True)
    clean = write_annotations(tmp_path / "c", dyads)
    kinds, lost = set(), 0
    for path, twice, tidy in zip(paths, again, clean, strict=True):
        assert path.read_bytes() == twice.read_bytes() != tidy.read_bytes()
        dirty, whole = read_eaf(path), read_eaf(tidy)
        kinds |= {repair.kind for repair in dirty.repairs}
        gone = sum(repair.lost for repair in dirty.repairs)
        for tier in whole.tiers:
            assert set(dirty.tiers[tier]) <= set(whole.tiers[tier])
        assert sum(map(len, whole.tiers.values())) - sum(map(len, dirty.tiers.values())) == gone
        lost += gone
    assert kinds == {"value-spelling", "empty-value", "unused-slots"}
    assert lost > 0


def test_the_same_chances_serve_every_strength(dyad):
    one = annotate(dyad, 0, ANNOTATORS[0])
    assert one == annotate(dyad, 0, ANNOTATORS[0])
    assert one != annotate(dyad, 0, ANNOTATORS[0], seed=1)
    quiet = annotate(dyad, 0, ANNOTATORS[0], effects={"noise": 0})
    assert quiet.roles == one.roles
    assert [s.start_ms for s in expressions(quiet)] == [s.start_ms for s in expressions(one)]


def test_no_effect_shares_its_name_with_one_of_the_conversation():
    assert not set(EFFECTS) & set(DYAD_EFFECTS)


def test_what_cannot_be_done_is_refused(tmp_path, dyad):
    with pytest.raises(InputError):
        annotate(dyad, 0, TRUTH, effects={"mimicry": 0})
    with pytest.raises(InputError):
        annotate(dyad, 0, TRUTH, seed=-1)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError):
        write_annotations(tmp_path / "file", [dyad])
