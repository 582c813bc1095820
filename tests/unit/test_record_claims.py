"""Claims judged from stored predictions: the tables say what the single tests say."""

import pandas as pd
import pytest

from thesislib.config import AgreementConfig, for_profile
from thesislib.corpora import ib
from thesislib.corpora.manifest import load_manifest
from thesislib.evaluation.agreement import agreement_frame
from thesislib.evaluation.annotation_sets import compare_all, dyads_of
from thesislib.evaluation.claims import claim_j
from thesislib.evaluation.interaction_rows import contrast, interaction_frame
from thesislib.records.claims import claim_j_table, interaction_table, judge, sign
from thesislib.records.recording import Stopwatch, record_run

MANIFEST = load_manifest("ifadv")


@pytest.fixture
def record(project):
    def make(experiment, frame, **given):
        return record_run(
            frame,
            "agreement",
            experiment=experiment,
            configuration={},
            manifest=MANIFEST,
            variant="twin",
            config=for_profile(AgreementConfig, "tiny", out=str(project / "results"), **given),
            stopwatch=Stopwatch(),
        )

    return make


def annotations(seed, effects=""):
    config = for_profile(
        AgreementConfig, "tiny", dyads=8, duration_s=120.0, seed=seed, effects=effects
    )
    return ib.load_annotations(config)[0]


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(0.1, 0.2, True), (-0.2, -0.1, False), (-1, 1, None)]
)
def test_an_interval_says_on_which_side_of_zero_it_lies(low, high, expected):
    assert sign(low, high) is expected


def test_verdicts_are_counted_over_seeds():
    assert judge([True, None, True]) == "above zero in 2 of 3"
    assert judge([False, False]) == "below zero in 2 of 2"
    assert judge([True, False, None]) == "above zero in 1, below in 1 of 3"
    assert judge([None, None]) == "undecided"


def test_claim_j_over_seeds_is_the_mean_of_the_single_runs(record, project):
    frames = [agreement_frame(compare_all(annotations(seed))) for seed in (0, 1)]
    records = [record("agreement", frame, seed=seed) for seed, frame in enumerate(frames)]
    table = claim_j_table(records, project / "results")
    single = [claim_j(frame).set_index(["statistic", "quantity"]) for frame in frames]
    for measure in ("overlap_levels", "kappa", "kappa_levels"):
        for quantity in table.columns:
            mean = sum(s.loc[(measure, quantity), "value"] for s in single) / 2
            assert table.loc[(measure, "ifadv"), quantity].startswith(f"{mean:+.2f}, ")


def test_claim_j_finds_nothing_where_annotators_agree_wholly(record, project):
    names = "delay boundary_jitter role_jitter threshold bias noise laugh_as_smile"
    effects = " ".join(f"{name}=0" for name in [*names.split(), "backchannel_as_turn"])
    frame = agreement_frame(compare_all(annotations(0, effects)))
    table = claim_j_table([record("agreement", frame, effects=effects)], project / "results")
    for column in table:  # emptied values, which the files have as dirt, are all that differs
        assert table[column].str.fullmatch(r"[+-]0\.0\d, undecided").all()


def test_interaction_is_told_by_planted_strength(record, project):
    records, differences = [], {}
    for effects in ("", "mimicry=0"):
        pairs = {name: dyads_of(files) for name, files in annotations(0, effects).items()}
        frame = interaction_frame(pairs)
        records.append(record("interaction", frame, effects=effects))
        differences[effects] = contrast(frame, "answered", "Smiles", "true", "shuffled").difference
    table = interaction_table(records, project / "results")
    assert list(table.index) == ["as documented", "mimicry=0"]
    column = table["smiles answered, beyond chance"]
    assert column["mimicry=0"].startswith(f"{differences['mimicry=0']:+.2f}")
    assert differences[""] > differences["mimicry=0"]


def test_without_records_there_is_an_empty_table(tmp_path):
    assert claim_j_table([], tmp_path).equals(pd.DataFrame())
    assert interaction_table([], tmp_path).equals(pd.DataFrame())
