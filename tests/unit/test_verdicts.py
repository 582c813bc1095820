"""The stated rule of a claim's verdict, what null twins say, and which runs a part rests on."""

import math
from dataclasses import replace

import pytest

from thesislib.evaluation.claims_laughs import Contrast
from thesislib.records import verdicts
from thesislib.records.hypotheses import CLAIMS
from thesislib.records.ledger import Part
from thesislib.records.record import RunRecord
from thesislib.records.traced import traced

NO_VERDICT = ("too few people", "no such windows")


def part(verdict="holds", *, claim="A", data="NDC-ME, twins", name="x", strength=1.0, **changed):
    """A part on a twin, planted as documented unless a strength is given."""
    values = {
        "claim": claim, "part": name, "data": data, "synthetic": True, "strength": strength,
        "planted": strength == 1, "difference": 0.1, "low": 0.05, "high": 0.15, "p_value": 0.01,
        "seeds": 3, "people": 9, "verdict": verdict, "runs": ("run-1",),
    }  # fmt: skip
    return Part(**(values | changed))


def on_people(verdict="holds", **changed):
    given = {"synthetic": False, "strength": math.nan, "planted": False, "data": "EmoDB, real"}
    return part(verdict, **(given | changed))


def record(run_id):
    return RunRecord(
        run_id=run_id, kind="classification", chapter="06", experiment="laughs", configuration={},
        profile="small", corpus="ndc-me", variant="twin", synthetic=True, seed=0, config={},
    )  # fmt: skip


# The rule ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (["holds"], "holds"),
        (["holds", "undecided", "undecided"], "holds"),
        (["holds", "too few people"], "holds"),
        (["reversed"], "reversed"),
        (["reversed", "undecided"], "reversed"),
        (["holds", "reversed"], "mixed"),
        (["holds", "holds", "reversed", "undecided"], "mixed"),
        (["undecided"], "undecided"),
        (["undecided", "no such windows"], "undecided"),
        ([*NO_VERDICT], "not tested"),
        ([], "not tested"),
    ],
)
def test_a_claim_has_one_verdict_by_the_stated_rule(parts, expected):
    assert verdicts.verdict("A", [part(name) for name in parts]) == expected


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (["holds", "holds"], "holds"),
        (["holds", "undecided"], "undecided"),
        (["holds", "too few people"], "undecided"),
        (["holds", "reversed"], "mixed"),
        (["undecided", "reversed"], "reversed"),
        (["too few people", "too few people"], "not tested"),
    ],
)
def test_fusion_has_to_beat_both_modalities(parts, expected):
    """Else a fusion that beats the poorer modality alone would hold."""
    assert verdicts.verdict("D", [part(name, claim="D") for name in parts]) == expected


def test_only_claim_d_needs_every_part():
    assert [key for key, claim in CLAIMS.items() if claim.every] == ["D"]


def test_claim_i3_is_about_laughs_and_smiles_alone():
    emotion = [part("holds", claim="I3", data="CREMA-D twin"), on_people("reversed", claim="I3")]
    laughs = part("undecided", claim="I3", data="NDC-ME twin")
    assert verdicts.verdict("I3", [*emotion, laughs]) == "undecided"
    assert verdicts.verdict("I3", emotion) == "not tested"
    assert verdicts.verdict("I1", [replace(emotion[0], claim="I1")]) == "holds"
    # The numbers beside a verdict are of the parts that it counts.
    assert verdicts.planted_words("I3", [*emotion, laughs]) == "undecided in 1 of 1"
    assert verdicts.real_words("I3", emotion) == "not tested on real recordings"
    null = part("holds", claim="I3", data="EmoDB twin", strength=0.0)
    assert verdicts.null_words("I3", [laughs, null]) == "tested for none of 1 parts"
    assert "null" not in verdicts.verdict_words("I3", [laughs, null])


def test_parts_of_other_claims_are_passed_over():
    assert verdicts.verdict("A", [part("holds"), part("reversed", claim="B")]) == "holds"


def test_twins_and_people_are_judged_apart():
    parts = [part("holds"), on_people("reversed")]
    assert verdicts.verdict_words("A", parts) == "on twins holds; on real recordings reversed"
    assert verdicts.planted_words("A", parts) == "holds in 1 of 1"
    assert verdicts.real_words("A", parts) == "reversed in 1 of 1"


def test_a_verdict_on_twins_is_of_the_strength_that_the_tables_are_made_of():
    """Chapter 7 plants twice the documented emotion; half of it is no part of the verdict."""
    main = part("undecided", strength=2.0, planted=True)
    others = [part("holds", planted=False), part("holds", strength=0.5)]
    assert verdicts.as_planted([main, *others]) == [main]
    assert verdicts.twin_verdict("A", [main, *others]) == "undecided"
    assert verdicts.twin_verdict("A", others) == "not recorded yet"


def test_parts_are_counted_whatever_came_out():
    parts = [part(), part("reversed"), part("undecided"), part(), part("too few people")]
    told = "holds in 2, reversed in 1, undecided in 1, too few people in 1 of 5"
    assert verdicts.in_words(parts) == told
    assert verdicts.in_words([]) == "not recorded yet"


# Null twins --------------------------------------------------------------------------------------


def test_a_null_twin_counts_for_the_parts_that_it_could_test():
    parts = [
        part(name="one"),
        part(name="two"),
        part(name="three"),
        part("undecided", name="one", strength=0.0),
        part("no such windows", name="two", strength=0.0),
    ]
    told = "tested for 1 of 3 parts: finds nothing, as it should"
    assert verdicts.null_words("A", parts) == told
    others = [part("holds", claim="B", strength=0.0), part("holds", strength=0.5, name="four")]
    assert verdicts.null_words("A", [*parts, *others]) == told


def test_what_a_null_twin_shows_was_not_planted():
    parts = [
        part(),
        part("holds", strength=0.0),
        part(name="y"),
        part("reversed", name="y", strength=0.0),
        part(name="z"),
        part("undecided", name="z", strength=0.0),
    ]
    assert verdicts.null_words("A", parts) == (
        "tested for 3 of 3 parts: finds in 2 what was not planted"
    )
    assert verdicts.verdict_words("A", parts) == (
        "on twins holds, while 2 of 3 null tests found what was not planted; "
        "on real recordings not tested"
    )


def test_a_claim_whose_null_twin_could_test_nothing_says_so():
    parts = [part(), part("too few people", strength=0.0)]
    assert verdicts.null_words("A", [part()]) == "tested for none of 1 parts"
    assert verdicts.null_words("A", parts) == "tested for none of 1 parts"
    assert verdicts.null_words("A", []) == "not recorded yet"


@pytest.mark.parametrize("key", [key for key, claim in CLAIMS.items() if not claim.null])
def test_a_claim_without_a_null_twin_says_why(key):
    """Faces still move without emotion, and who guesses can be even-handed."""
    parts = [part(claim=key), part("holds", claim=key, strength=0.0)]
    assert verdicts.null_words(key, parts) == f"no null twin: {CLAIMS[key].no_null}"
    assert verdicts.null_parts(parts) == []
    assert "null" not in verdicts.verdict_words(key, parts)
    assert verdicts.broken_nulls(parts).endswith("nothing recorded yet.")


def test_claims_f_and_h_are_those_without_a_null_twin():
    assert [key for key, claim in CLAIMS.items() if not claim.null] == ["F", "H"]


def test_a_claim_has_a_null_twin_or_a_reason_and_not_both():
    for wrong in ({"null": "", "no_null": ""}, {"null": "no trace", "no_null": "a reason"}):
        with pytest.raises(ValueError, match="a reason why it has none"):
            replace(CLAIMS["A"], **wrong)


def test_tests_that_found_what_was_not_planted_are_named():
    fine = part("undecided", strength=0.0)
    wrong = [
        part(claim="B", name="smiles", strength=0.0),
        part("reversed", claim="B", name="laughs", strength=0.0),
        part(claim="D", name="fusion", strength=0.0),
    ]
    start = "Found on a null twin, where nothing was planted: "
    assert verdicts.broken_nulls([fine, *wrong]) == f"{start}B (smiles, laughs); D (fusion)."
    assert verdicts.broken_nulls([fine, part("holds")]) == f"{start}none."


# Strengths and runs ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strength", "expected"),
    [
        (1.0, ""),
        (2.0, "planted twice as strong as documented"),
        (0.5, "planted 0.5 times as strong as documented"),
        (0.0, "nothing planted"),
    ],
)
def test_a_twin_says_how_strongly_it_was_planted(strength, expected):
    assert verdicts.strength_words(part(strength=strength)) == expected


def test_nothing_is_planted_in_people():
    assert verdicts.strength_words(on_people()) == ""


def test_a_traced_contrast_has_its_numbers_and_each_run_once():
    contrast = Contrast(
        claim="A", part="x", difference=0.1, low=0.02, high=0.2, p_value=0.01, seeds=2,
        speakers=8, clips=80,
    )  # fmt: skip
    a, b, c = (record(name) for name in ("a", "b", "c"))
    found = traced(contrast, [c, b], [b, a])
    assert found.runs == ("a", "b", "c")
    for name in Contrast.__slots__:
        assert getattr(found, name) == getattr(contrast, name)
