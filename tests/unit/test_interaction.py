"""Interaction analyses against plain loops, on null twins, and over a few strengths."""

import math
from itertools import pairwise

import numpy as np
import pytest

from thesislib.corpora.annotation import IBAnnotation, Segment
from thesislib.corpora.twins.annotators import ANNOTATORS, TRUTH, annotate, annotators_of
from thesislib.corpora.twins.dyads import MIMICRY_LAG_S, simulate_dyad
from thesislib.evaluation import interaction
from thesislib.evaluation.agreement import aggregate, agreement_frame, compare
from thesislib.evaluation.claims import claim_j
from thesislib.evaluation.interaction import (
    amounts,
    expression_by_role,
    mimicry_test,
    role_test,
    short_turns,
)
from thesislib.evaluation.interaction_rows import contrast, interaction_frame

SHUFFLES = 199


def pairs(n=10, seed=0, who=TRUTH, corpus="ifadv", duration_s=240, **effects):
    dyads = [
        simulate_dyad(corpus, number, seed=seed, duration_s=duration_s, effects=effects)
        for number in range(1, n + 1)
    ]
    return [(annotate(d, 0, who), annotate(d, 1, who)) for d in dyads]


def annotation(name="a", span=(0, 60_000), **tiers):
    return IBAnnotation(
        name=name,
        span_ms=span,
        tiers={tier: tuple(Segment(*row) for row in rows) for tier, rows in tiers.items()},
    )


def test_amounts_add_up():
    first = annotation(Role=[(0, 30_000, "spk")], Smiles=[(1000, 4000, "low")])
    second = annotation(Role=[(0, 60_000, "lsn")], Laughs=[(0, 6000, "high")])
    table = amounts({"x": [first, second], "y": [second], "z": []})
    assert table.loc["x"].tolist() == pytest.approx([2, 2, 1.5, 0.05, 0.1])
    assert table.loc["y"].tolist() == pytest.approx([1, 1, 1, 0, 0.1])
    assert table.loc["z"].tolist() == [0, 0, 0, 0, 0]


def test_short_turns_are_those_within_listening():
    roles = [
        (0, 5000, "lsn"), (5000, 5600, "spk"), (5600, 9000, "lsn"),  # feedback
        (9000, 12_000, "spk"), (12_000, 15_000, "lsn"),  # too long
        (15_200, 16_000, "spk"), (16_000, 17_000, "spk"),  # a turn goes on
        (19_000, 20_000, "lsn"), (21_500, 22_000, "spk"), (22_000, 23_000, "lsn"),  # too far
        (23_000, 23_500, "spk"),  # nothing after
    ]  # fmt: skip
    assert short_turns(annotation(Role=roles)) == (Segment(5000, 5600, "spk"),)


@pytest.mark.parametrize("tier", ["Smiles", "Laughs"])
def test_expression_by_role_agrees_with_counting_milliseconds(tier):
    files = [a for pair in pairs(2, duration_s=60) for a in pair]
    time, onsets, busy = np.zeros((3, 3))
    for file in files:
        role = np.zeros(60_000, int)
        for s in file.roles:
            role[s.start_ms : s.end_ms] = 1 + (s.value == "lsn")
        for s in file.tiers[tier]:
            onsets[role[s.start_ms]] += 1
            busy += np.bincount(role[s.start_ms : s.end_ms], minlength=3)
        time += np.bincount(role, minlength=3)
    table = expression_by_role(files, tier)
    np.testing.assert_allclose(table.minutes, time / 60_000)
    np.testing.assert_array_equal(table.events, onsets)
    np.testing.assert_allclose(table.share, busy / time)
    np.testing.assert_allclose(table.per_minute, onsets / time * 60_000)
    assert (table.share_low <= table.share).all()
    assert (table.share <= table.share_high).all()
    assert onsets.sum() > 2


def followed(a, b, tier, window_ms, end):
    """Whether each beginning of a is followed by one of b, written out at length."""
    found = []
    for x in a.tiers[tier]:
        busy = any(y.start_ms <= x.start_ms < y.end_ms for y in b.tiers[tier])
        if not busy and x.start_ms + window_ms <= end:
            found.append(any(0 < y.start_ms - x.start_ms <= window_ms for y in b.tiers[tier]))
    return found


def test_answers_agree_with_a_double_loop():
    dyads = pairs(4)
    found = [
        answer
        for a, b in dyads
        for x, y in ((a, b), (b, a))
        for answer in followed(x, y, "Smiles", 2000, 240_000)
    ]
    test = mimicry_test(dyads, "Smiles", window_s=2.0, n_shuffles=9)
    assert test.events == len(found) > 50
    assert test.value.value == pytest.approx(np.mean(found))
    assert test.observed[-1] == test.value.value
    early = [
        answer
        for a, b in dyads
        for x, y in ((a, b), (b, a))
        for answer in followed(x, y, "Smiles", 500, 240_000 - 1500)
    ]
    assert test.observed[4] == pytest.approx(np.mean(early))
    assert test.lags_s[[4, -1]].tolist() == [0.5, 2.0]


def test_shuffling_by_the_clock_agrees_with_a_double_loop():
    dyads = pairs(4)
    test = mimicry_test(dyads, "Smiles", align="clock", n_shuffles=50, seed=3)
    values = []
    for order in interaction._derangements(4, 50, 3):
        found = []
        for i, j in enumerate(order):
            for seat in (0, 1):
                found += followed(dyads[i][seat], dyads[j][1 - seat], "Smiles", 3000, 240_000)
        values.append(np.mean(found))
    assert test.shuffled == pytest.approx(np.mean(values))
    # a p-value cannot be smaller than the nine ways to shuffle four dyads allow
    assert test.p_value == pytest.approx(
        max(0.1, (1 + np.sum(np.array(values) >= test.value.value)) / 51)
    )


def test_moving_keeps_the_role_and_the_distance_to_its_ends():
    here, there = (
        interaction._role_track(a, (0, 240_000)) for a in (pairs(1)[0][0], pairs(2)[1][0])
    )
    times = np.random.default_rng(0).integers(240_000, size=2000)
    moved = interaction._move(times, here, there, np.random.default_rng(1))
    assert len(moved) == len(times)
    np.testing.assert_array_equal(
        interaction._role_at(here, times), interaction._role_at(there, moved)
    )

    def distance(track, at):
        place = np.searchsorted(track.start_ms, at, side="right") - 1
        near = np.minimum(at - track.start_ms[place], track.end_ms[place] - at)
        return near, (track.end_ms - track.start_ms)[place] // 2

    (before, _), (after, half) = distance(here, times), distance(there, moved)
    assert (np.abs(after - np.minimum(before, half)) <= 1).all()
    lonely = interaction._role_track(annotation(), (0, 1000))  # no roles, so all is *none*
    assert len(interaction._move(times, here, lonely, np.random.default_rng(1))) < len(times)


def test_mimicry_is_not_found_in_null_twins():
    tests = [
        mimicry_test(dyads, tier, n_shuffles=99)
        for seed in range(20)
        for dyads in [pairs(8, seed, mimicry=0)]
        for tier in ("Smiles", "Laughs")
    ]
    p_values = np.array([test.p_value for test in tests])
    # forty true nulls: more than six below 0.05 come once in 300, a mean this far off as rarely
    assert (p_values < 0.05).sum() <= 6
    assert 0.35 < p_values.mean() < 0.65
    assert abs(np.mean([test.difference for test in tests])) < 0.015


@pytest.mark.parametrize("tier", ["Smiles", "Laughs"])
def test_mimicry_is_found_in_proportion_to_its_strength(tier):
    results = {
        strength: [
            mimicry_test(pairs(seed=seed, mimicry=strength), tier, n_shuffles=SHUFFLES)
            for seed in range(2)
        ]
        for strength in (0, 0.5, 1, 2)
    }
    for test in results[0.5] + results[1]:
        assert test.p_value <= 0.005
        assert test.value.low <= test.value.value <= test.value.high
        assert test.observed[-1] > test.expected_high[-1]
    for test in results[1] + results[2]:
        assert test.lag_s == pytest.approx(MIMICRY_LAG_S, abs=0.25)
    doses = [np.mean([test.cohen_h for test in found]) for found in results.values()]
    assert all(b > a + 0.1 for a, b in pairwise(doses))


def test_mimicry_is_found_in_annotations_too():
    for who in (ANNOTATORS[0], ANNOTATORS[5]):
        assert mimicry_test(pairs(who=who), n_shuffles=SHUFFLES).p_value <= 0.005


def test_the_plain_pairing_takes_shared_turn_ends_for_mimicry():
    options = {"mimicry": 0, "turn_end": 2, "duration_s": 400, "corpus": "ndc-me"}
    twins = [pairs(12, seed, **options) for seed in range(4)]
    turns, clock = (
        np.mean([mimicry_test(t, "Laughs", align=align, n_shuffles=49).difference for t in twins])
        for align in ("turns", "clock")
    )
    assert clock > 0.05
    assert abs(turns) < 0.5 * clock


@pytest.mark.parametrize(("tier", "sign"), [("Smiles", 1), ("Laughs", -1)])
def test_roles_matter_as_far_as_they_do(tier, sign):
    def tests(strength):
        return [
            role_test(pairs(12, seed, role=strength), tier, n_shuffles=SHUFFLES)
            for seed in range(6 if strength == 0 else 2)
        ]

    results = {s: tests(s) for s in (0, 1, 2)}
    assert sum(test.p_value < 0.05 for test in results[0]) <= 1
    assert all(test.p_value <= 0.01 for test in results[2])
    doses = [np.mean([sign * test.difference for test in results[s]]) for s in (0, 1, 2)]
    assert doses[0] < 0.15 < doses[1] < 0.7 * doses[2]


def test_a_role_test_agrees_with_its_table():
    dyads = pairs(5)
    test = role_test(dyads, "Smiles", n_shuffles=9)
    table = expression_by_role([a for pair in dyads for a in pair], "Smiles")
    difference = table.per_minute["lsn"] - table.per_minute["spk"]
    assert test.value.value == pytest.approx(difference)
    assert test.value.low < difference < test.value.high
    assert test.difference == pytest.approx(difference - test.shuffled)


def test_feedback_marked_as_turns_falls_into_the_other_s_turns():
    who = ANNOTATORS[5]
    counts = {}
    for strength in (0, 1, 2):
        test = role_test(pairs(who=who, backchannels=strength), "Short turns", whose="other",
                         n_shuffles=SHUFFLES)  # fmt: skip
        counts[strength] = test.events
        if strength:
            assert test.p_value <= 0.01
            assert test.value.high < 0  # rarer while the other listens than while the other speaks
        else:
            assert test.p_value > 0.05
    assert counts[0] < 0.2 * counts[1] < 0.2 * counts[2]


def test_tests_need_enough_dyads_and_a_window():
    for n in (0, 3):
        with pytest.raises(ValueError, match="four dyads"):
            mimicry_test(pairs(n))
        with pytest.raises(ValueError, match="four dyads"):
            role_test(pairs(n))
    with pytest.raises(ValueError, match="window"):
        mimicry_test(pairs(4), window_s=0.01)


def test_without_events_nothing_is_claimed():
    empty = [(annotation(Role=[(0, 9000, "spk")]), annotation(Role=[(0, 9000, "lsn")]))] * 4
    test = mimicry_test(empty, n_shuffles=9)
    assert test.events == 0
    assert all(math.isnan(x) for x in (test.value.value, test.p_value, test.cohen_h, test.lag_s))
    assert role_test(empty, n_shuffles=9).value.value == 0
    assert expression_by_role([], "Smiles").per_minute.isna().all()


def comparisons(effects=None, n=6):
    results = []
    for number in range(1, n + 1):
        dyad = simulate_dyad("ifadv", number, duration_s=240)
        for person in (0, 1):
            made = [annotate(dyad, person, a, effects=effects) for a in annotators_of(number)]
            for i, a in enumerate(made):
                for b in made[i + 1 :]:
                    results += compare(a, b, annotators=(a.annotator, b.annotator))
    return results


def test_claim_j_has_the_values_of_the_tables_and_differences_of_them():
    results = comparisons()
    claim = claim_j(agreement_frame(results)).set_index(["statistic", "quantity"])
    table = aggregate(results, n_bootstrap=10)
    table = table[table.level == "all"].groupby(["statistic", "category"]).value.mean()
    for statistic in ("overlap_levels", "kappa"):
        for tier in ("Role", "Smiles", "Laughs"):
            assert claim.value[statistic, tier] == pytest.approx(table[statistic, tier])
    for name in ("overlap_levels", "kappa", "kappa_levels"):
        for a, b in (("Role", "Smiles"), ("Role", "Laughs"), ("Laughs", "Smiles")):
            row = claim.loc[name, f"{a} - {b}"]
            assert row.value == pytest.approx(claim.value[name, a] - claim.value[name, b])
            assert row.low < row.value < row.high
            assert row.holds == (None if row.low < 0 < row.high else row.low > 0)
        assert claim.holds[name, "Role - Smiles"] is True
        assert claim.holds[name, "Role"] is None
    assert (claim.n >= 10).all()


def test_claim_j_does_not_hold_where_all_agree_or_the_other_way_round():
    whole = claim_j(agreement_frame(comparisons(dict.fromkeys(
        ("delay", "boundary_jitter", "role_jitter", "threshold", "bias", "noise",
         "laugh_as_smile", "backchannel_as_turn"), 0))))  # fmt: skip
    assert whole.holds.isna().all()
    np.testing.assert_allclose(whole.value[:3], 1)

    results = []
    for number in range(6):
        smiles = [(0, 4000, "low"), (8000, 12_000, "high"), (20_000, 24_000, "medium")]
        a, b = (
            annotation(
                f"{number}.eaf",
                Role=[(0, 10_000, role), (10_000, 20_000, "lsn"), (20_000, 30_000, "spk")],
                Smiles=smiles,
                Laughs=[(5000, 6000, laugh), (30_000, 31_000, "low")],
            )
            for role, laugh in (("spk", "low"), ("lsn", "high"))
        )
        results += compare(a, b)
    claim = claim_j(agreement_frame(results)).set_index(["statistic", "quantity"])
    for name in ("overlap_levels", "kappa_levels"):
        assert claim.holds[name, "Role - Smiles"] is False
        assert claim.holds[name, "Laughs - Smiles"] is False
    with pytest.raises(ValueError, match="claim J"):
        claim_j(agreement_frame([]))


def truth(effects, n=16):
    dyads = [simulate_dyad("ccdb", k, duration_s=300, effects=effects) for k in range(1, n + 1)]
    return {"truth": [(annotate(d, 0, TRUTH), annotate(d, 1, TRUTH)) for d in dyads]}


def test_rows_of_interaction_hold_what_the_tests_say():
    pairs = truth({"mimicry": 2, "role": 2})
    frame = interaction_frame(pairs, n_shuffles=49)
    test = mimicry_test(pairs["truth"], "Smiles", n_shuffles=49)
    rows = frame[(frame.statistic == "answered") & (frame.category == "Smiles")]
    true = rows[rows.level == "true"]
    pooled = (true.value * true.weight).sum() / true.weight.sum()
    assert pooled == pytest.approx(test.value.value)
    assert true.weight.sum() == test.events
    rates = frame[(frame.statistic == "per_minute") & (frame.category == "Laughs")]
    for role, part in rates.groupby("level"):
        files = [a for pair in pairs["truth"] for a in pair]
        expected = expression_by_role(files, "Laughs").per_minute[role]
        assert (part.value * part.weight).sum() / part.weight.sum() == pytest.approx(expected)


def test_contrasts_find_what_was_planted_and_nothing_on_the_null_twin():
    planted = interaction_frame(truth({"mimicry": 2, "role": 2}), n_shuffles=49)
    found = contrast(planted, "answered", "Smiles", "true", "shuffled")
    assert found.low > 0.1
    assert contrast(planted, "per_minute", "Smiles", "lsn", "spk").low > 0
    null = interaction_frame(truth({"mimicry": 0, "role": 0}), n_shuffles=49)
    nothing = contrast(null, "answered", "Smiles", "true", "shuffled")
    assert abs(nothing.difference) < found.difference / 3
    assert contrast(null, "per_minute", "Smiles", "lsn", "spk").p_value > 0.01


def test_annotators_of_too_few_conversations_are_passed_over():
    assert interaction_frame({"one": truth({}, n=1)["truth"]}).empty
