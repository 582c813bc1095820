"""Chapter 9's tables, from parts and records that are made up here."""

import math

import pandas as pd
import pytest

from thesislib.figures import plt
from thesislib.figures.conclusion import claims_picture
from thesislib.records import conclusion
from thesislib.records.headlines import HEADLINES
from thesislib.records.hypotheses import CLAIMS
from thesislib.records.ledger import Part
from thesislib.records.record import RunRecord

D_VOICE = "F1 of the fusion less the voice"
I1 = "whisper: voxceleb2-twin all, main less voxceleb2-twin all, auxiliary"


def part(claim="D", text=D_VOICE, data="NDC-ME, twins", strength=1.0, **changed):
    synthetic = not math.isnan(strength)
    values = {"difference": 0.2, "low": 0.1, "high": 0.3, "p_value": 0.01, "seeds": 5, "people": 12}
    values |= {"verdict": "holds", "planted": strength == 1, "runs": ("x",)} | changed
    return Part(claim=claim, part=text, data=data, synthetic=synthetic, strength=strength, **values)


def record(**changed):
    values = {
        "run_id": "x", "kind": "classification", "chapter": "06", "experiment": "laughs",
        "configuration": {"model": "gating"}, "profile": "small", "corpus": "ndc-me",
        "variant": "twin", "synthetic": True, "seed": 0, "config": {},
    }  # fmt: skip
    return RunRecord(**(values | changed))


def row(table, claim, label, kind):
    chosen = table[(table["claim"] == claim) & (table["label"] == label) & (table["kind"] == kind)]
    assert len(chosen) == 1
    return chosen.iloc[0]


def test_every_headline_is_of_a_known_claim_and_every_claim_has_one():
    assert {headline.claim for headline in HEADLINES} == set(CLAIMS)
    assert len({(h.claim, h.label) for h in HEADLINES}) == len(HEADLINES)


def test_reported_effects_are_those_of_the_tables():
    told = {(h.claim, h.label): h.reported_effect() for h in HEADLINES}
    # Table 6.3 less 6.1 and 6.2, from scratch on NDC-ME.
    assert told["D", "fusion less voice"] == pytest.approx(0.690 - 0.480)
    assert told["D", "fusion less face"] == pytest.approx(0.690 - 0.692)
    # Table 7.1: 0.097 against 0.028, 3.5 times better (claim F of the notes).
    ratio = 2 ** told["F", "CREMA-D: error, one frame over eight"]
    assert ratio == pytest.approx(0.097 / 0.028)
    # Figure 6.2: 31.44 at the lowest level and 67.65 two levels up.
    assert told["C1", "voice: laughs found, a level up"] == pytest.approx((67.65 - 31.44) / 200)
    # Table 7.2: 0.837 and 0.842 lie 0.005 apart, of 0.03 that are close.
    assert told["H", "CREMA-D: distance below the margin"] == pytest.approx(0.025)
    assert told["J", "same value: role less smiles"] > 0


def test_effects_keep_kinds_of_data_apart():
    parts = [
        part("I1", I1, "EmoDB twin", 1.0, difference=0.3),
        part("I1", I1, "EmoDB twin", 0.0, difference=0.0, verdict="undecided"),
        part("I1", I1, "EmoDB twin", 0.5, difference=0.9),
        part("I1", I1, "EmoDB, real", math.nan, difference=0.1),
    ]
    table = conclusion.effects(parts)
    label = "EmoDB: frozen less auxiliary branch"
    assert row(table, "I1", label, conclusion.TWIN)["value"] == 0.3
    assert row(table, "I1", label, conclusion.NULL)["verdict"] == "undecided"
    assert row(table, "I1", label, conclusion.REAL)["value"] == 0.1
    assert not (table["value"] == 0.9).any()  # half a strength is neither


def test_effects_are_of_the_strength_of_the_tables_and_say_where_it_is_not_the_documented_one():
    label = "CREMA-D: in-domain less no pre-training"
    text = "CREMA-D, AV: in-domain less no pre-training"
    parts = [
        part("G", text, "twin", 2.0, planted=True, difference=0.3),
        part("G", text, "twin", 1.0, planted=False, difference=0.1),
        part(strength=1.0),
    ]
    table = conclusion.effects(parts)
    assert row(table, "G", label, conclusion.TWIN)["value"] == 0.3
    assert row(table, "G", label, conclusion.TWIN)["strength"] == (
        "planted twice as strong as documented"
    )
    assert row(table, "D", "fusion less voice", conclusion.TWIN)["strength"] == ""
    assert "Planted twice as strong as documented: 1 of the twins." in conclusion.in_words(table)
    figure = claims_picture(table)
    names = [label.get_text() for axis in figure.axes for label in axis.get_yticklabels()]
    assert [name for name in names if name.endswith("*")] == [f"G  {label}*"]
    assert figure.get_supxlabel() == "* planted twice as strong as documented"
    plt.close(figure)


def test_a_claim_without_a_null_twin_has_none_in_the_picture():
    text = "CREMA-D: pictures, eight frames less one"
    table = conclusion.effects([part("F", text, "twin", 0.0)])
    assert conclusion.NULL not in set(table["kind"])


def test_what_is_not_recorded_is_said_and_not_left_out():
    table = conclusion.effects([])
    assert (table["kind"] == conclusion.MISSING).sum() == len(HEADLINES)
    assert conclusion.in_words(table)[-1] == f"Not recorded yet: {len(HEADLINES)}."
    of_d = conclusion.claims_table([], "D").loc["D"]
    assert of_d["twin, as planted"] == of_d["null twin"] == conclusion.MISSING


def test_a_null_twin_alone_is_no_result():
    table = conclusion.effects([part(strength=0.0)])
    assert row(table, "D", "fusion less voice", conclusion.MISSING)["value"] is not None
    assert row(table, "D", "fusion less voice", conclusion.NULL)["value"] == 0.2


def test_claims_are_chosen_by_letter():
    assert list(conclusion.claims_table([], "I").index) == ["I1", "I2", "I3"]
    table = conclusion.claims_table([part(), part(verdict="reversed")], "D")
    assert table.loc["D", "twin, as planted"] == "holds in 1, reversed in 1 of 2"
    assert table.loc["D", "verdict"] == "on twins mixed; on real recordings not tested"


def test_a_verdict_on_the_thesis_needs_its_own_corpora():
    parts = [part("I1", I1, "EmoDB, real", math.nan)]
    result = "Disentanglement opens a way to interpret networks afterwards"
    told = conclusion.results_table(parts).loc[result]
    assert told["EmoDB, real"] == "holds in 1 of 1"
    assert told["verdict"].startswith("not attempted")
    parts.append(part("I1", I1, "CREMA-D, real", math.nan, verdict="reversed"))
    assert conclusion.results_table(parts).loc[result, "verdict"] == "reversed in 1 of 1"


def test_fusion_is_best_in_some_tables_of_the_thesis_and_not_in_others():
    table = conclusion.fusion_in_the_tables()
    gain = table["gain over the better one"]
    assert gain["LSN-TCN, NDC-ME, from scratch"] == pytest.approx(0.690 - 0.692)
    assert gain["Social-MAE, CREMA-D"] == pytest.approx(0.842 - 0.755)
    assert (gain > 0).sum() == 5


def test_a_perspective_was_tried_only_where_a_record_says_so():
    fusing = "Other ways of fusing"
    none = conclusion.perspectives_table([]).set_index("perspective")["status"]
    assert none[fusing] == conclusion.MISSING
    some = conclusion.perspectives_table([record(configuration={"model": "bottleneck"})])
    assert some.set_index("perspective")["status"][fusing] == conclusion.DONE
    assert set(some.index) == set(range(2, 10))


def test_runs_are_counted_by_kind_of_data():
    runs = [record(), record(synthetic=False), record(synthetic=False)]
    table = conclusion.runs_table(runs)
    assert table.loc[(6, "laughs")].tolist() == [1, 2]
    assert table.loc[(7, conclusion.MISSING)].tolist() == [0, 0]


def test_the_picture_has_a_row_for_every_headline_and_a_mark_for_every_effect():
    table = conclusion.effects([part(), part(strength=0.0, difference=math.nan, low=math.nan)])
    figure = claims_picture(table)
    rows = [label.get_text() for axis in figure.axes for label in axis.get_yticklabels()]
    assert len(rows) == len(HEADLINES)
    marks = sum(
        line.get_marker() not in ("None", None, "") and len(line.get_xdata()) == 1
        for axis in figure.axes
        for line in axis.get_lines()
    )
    assert marks == table["value"].notna().sum()
    plt.close(figure)


def test_the_picture_can_be_drawn_before_anything_is_recorded():
    figure = claims_picture(conclusion.effects([]))
    assert isinstance(conclusion.effects([]), pd.DataFrame)
    plt.close(figure)
