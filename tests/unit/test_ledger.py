"""The claims ledger: complete, honest about what is missing, and kept only while it fits."""

import json
import math

import pytest

from thesislib.config import AgreementConfig, for_profile
from thesislib.corpora import ib
from thesislib.corpora.manifest import load_manifest
from thesislib.evaluation.agreement import agreement_frame
from thesislib.evaluation.annotation_sets import compare_all
from thesislib.evaluation.claims import claim_j
from thesislib.evaluation.claims_laughs import contrasts_table
from thesislib.records import ledger
from thesislib.records.hypotheses import CLAIMS
from thesislib.records.recording import Stopwatch, record_run
from thesislib.records.reported import reported
from thesislib.records.traced import Traced

MANIFEST = load_manifest("ifadv")
AGREEING = (
    "delay=0 boundary_jitter=0 role_jitter=0 threshold=0 bias=0 noise=0 speech_cover=0 "
    "laugh_as_smile=0 backchannel_as_turn=0"
)


@pytest.fixture
def run(project):
    """Writes one record of chapter 5, small in everything but its name."""

    def make(seed=0, effects="", profile="small"):
        small = {"dyads": 6, "duration_s": 90.0, "seed": seed, "effects": effects}
        config = for_profile(
            AgreementConfig, profile, replicates=50, out=str(project / "results"), **small
        )
        frame = agreement_frame(compare_all(ib.load_annotations(config)[0]))
        return record_run(
            frame, "agreement", experiment="agreement", configuration={},
            manifest=MANIFEST, variant="twin", config=config, stopwatch=Stopwatch(),
        )  # fmt: skip

    return make


def test_all_claims_are_there_with_all_that_belongs_to_them():
    letters = [key[0] for key in CLAIMS]
    assert sorted(set(letters)) == list("ABCDEFGHIJ")
    assert set(letters) == set(ledger.CHAPTERS)
    for claim in CLAIMS.values():
        assert claim.hypothesis
        assert claim.test
        assert claim.overturn
        assert claim.unit
        assert claim.printed()


def test_what_the_thesis_prints_is_computed_from_its_tables():
    (_, first), *_ = CLAIMS["A"].printed()
    a, b = (reported("6.1", f"IFADV / {row}", "F1-score") for row in ("Finetuned", "From scratch"))
    assert first == f"{a - b:+.3f}"
    ratios = [float(value) for _, value in CLAIMS["F"].printed()]
    assert ratios == [3.5, 3.8, 7.2]  # as the notes have them
    assert (
        dict(CLAIMS["G"].printed())["Table 7.2, cells in which Social-MAE is above CAV-MAE"]
        == "4 of 6"
    )


def test_nothing_recorded_is_said_and_is_no_verdict(tmp_path):
    assert ledger.parts([], tmp_path) == []


def test_contrasts_keep_their_numbers_and_other_comparisons_are_left_out():
    contrasts = [
        Traced(
            claim=claim, part=claim, difference=0.1, low=0.02, high=0.2, p_value=0.01, seeds=2,
            speakers=8, clips=80, runs=(f"{claim}-first", f"{claim}-second"),
        )
        for claim in ("A", "C1", "7.4")
    ]  # fmt: skip
    found = ledger._contrasts(contrasts, "twin", 0.5, True, {"A": "other"})
    assert [(p.claim, p.data) for p in found] == [("A", "other"), ("C1", "twin")]
    table = contrasts_table(contrasts)
    assert [p.p_value for p in found] == table["p_holm"].tolist()[:2]
    assert found[0].verdict == table["verdict"][0]
    assert [p.runs for p in found] == [("A-first", "A-second"), ("C1-first", "C1-second")]


def test_a_part_knows_whether_it_is_on_people_and_at_the_strength_of_the_tables():
    contrast = Traced(
        claim="A", part="x", difference=0.1, low=0.02, high=0.2, p_value=0.01, seeds=2,
        speakers=8, clips=80, runs=("a",),
    )  # fmt: skip
    cases = [(1.0, True), (0.0, False), (math.nan, True)]
    parts = [ledger._contrasts([contrast], "x", at, planted)[0] for at, planted in cases]
    told = [(p.synthetic, p.planted) for p in parts]
    assert told == [(True, True), (True, False), (False, False)]
    assert math.isnan(parts[-1].strength)


@pytest.mark.parametrize(
    ("verdict", "tested", "decided"),
    [
        ("holds", True, True),
        ("reversed", True, True),
        ("undecided", True, False),
        ("too few people", False, False),
        ("no such windows", False, False),
    ],
)
def test_a_part_that_could_not_be_tested_is_not_an_undecided_one(verdict, tested, decided):
    part = ledger.Part(
        claim="A", part="x", data="twin", synthetic=True, strength=1.0, planted=True,
        difference=0.1, low=0.05, high=0.15, p_value=0.01, seeds=3, people=9, verdict=verdict,
        runs=(),
    )  # fmt: skip
    assert (part.tested, part.decided) == (tested, decided)


def test_the_form_of_parts_makes_what_is_kept_stale(monkeypatch):
    before = ledger.digest([], 50)
    assert ledger.digest([], 50) == before
    monkeypatch.setattr(ledger, "FORM", ledger.FORM + 1)
    assert ledger.digest([], 50) != before


def test_claim_j_is_that_of_the_single_runs(run, project):
    records = [run(seed) for seed in (0, 1)]
    results = project / "results"
    found = ledger.parts(records, results, replicates=50)
    assert {p.claim for p in found} == {"J"}
    tables = [claim_j(r.load_predictions(results), n_bootstrap=50, seed=r.seed) for r in records]
    kappas = [t[(t["statistic"] == "kappa") & (t["quantity"] == "Role - Smiles")] for t in tables]
    (one,) = (p for p in found if p.part == "role less smiles: kappa of a tier")
    assert one.difference == pytest.approx(sum(float(k["value"].iloc[0]) for k in kappas) / 2)
    assert one.seeds == 2
    assert one.strength == 1
    assert one.planted
    assert {p.runs for p in found} == {tuple(sorted(r.run_id for r in records))}


def test_annotators_who_agree_are_the_null_twin(run, project):
    found = ledger.parts([run(effects=AGREEING)], project / "results", replicates=50)
    assert {p.strength for p in found} == {0.0}
    assert not any(p.planted for p in found)
    shared = [p for p in found if "shared values" in p.part]  # kappa also sees the frames' edges
    assert [p.difference for p in shared] == [0, 0, 0]
    assert not any(p.decided for p in shared)
    assert ledger.parts([run(effects="mimicry=0")], project / "results", replicates=50) == []


def test_tiny_runs_are_no_evidence(run, project):
    assert ledger.parts([run(profile="tiny")], project / "results", replicates=50) == []


def test_what_is_kept_is_read_while_it_fits_and_judged_again_when_it_does_not(
    run, project, monkeypatch
):
    results, first = project / "results", run(0)
    kept = ledger.keep([first], results, replicates=50)
    document = json.loads((results / ledger.KEPT).read_text())
    assert [p["claim"] for p in document["05"]["parts"]] == [p.claim for p in kept]
    assert document["05"]["runs"] == [first.run_id], "named once, whatever the number of parts"
    assert {tuple(p["runs"]) for p in document["05"]["parts"]} == {(0,)}
    judged = []
    real = ledger.judges()["05"]

    def counting(records, *rest):
        judged.append(len(records))
        return real(records, *rest)

    others = dict.fromkeys(("06", "07", "08"), lambda *_: [])
    monkeypatch.setattr(ledger, "judges", lambda: {"05": counting, **others})
    assert repr(ledger.parts([first], results, replicates=50)) == repr(kept)
    assert judged == []
    ledger.parts([first, run(1)], results, replicates=50)  # a record came
    ledger.parts([first], results, replicates=60)
    monkeypatch.setattr(ledger, "code_sha256", lambda modules: "another")
    ledger.parts([first], results, replicates=50)
    assert judged == [2, 1, 1]


def test_a_damaged_file_is_as_none(run, project):
    results, first = project / "results", run(0)
    kept = ledger.keep([first], results, replicates=50)
    (results / ledger.KEPT).write_text("{")
    assert repr(ledger.parts([first], results, replicates=50)) == repr(kept)
