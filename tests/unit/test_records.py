import json
import math
from itertools import combinations

import pandas as pd
import pytest

from thesislib import code, files
from thesislib.errors import InputError
from thesislib.evaluation.significance import Estimate
from thesislib.records import provenance
from thesislib.records.record import RunRecord, read_record, read_records
from thesislib.records.reported import _document, reported, reported_table

RESULTS = files.project_root() / "results"
COMMITTED = read_records(RESULTS)
CONTRACT = {
    "run_id", "kind", "chapter", "experiment", "configuration", "profile", "corpus", "variant",
    "synthetic", "seed", "config", "metrics", "manifest_sha256", "training_sha256",
    "evaluation_sha256", "commit", "environment", "command", "started", "seconds", "predictions",
}  # fmt: skip
ROWS = pd.DataFrame(
    {
        "clip_id": ["a", "b", "c", "d"],
        "speaker": ["03", "03", "08", "08"],
        "fold": ["03", "03", "08", "08"],
        "target": ["x", "y", "x", "y"],
        "prediction": ["x", "y", "x", "x"],
        "p_x": [0.9, 0.2, 0.8, 0.6],
        "p_y": [0.1, 0.8, 0.2, 0.4],
    }
)


def a_record(**changes):
    given = {
        "run_id": "08-x", "kind": "classification", "chapter": "08", "experiment": "main-only",
        "configuration": {"task": "emotion"}, "profile": "tiny", "corpus": "emodb",
        "variant": "twin", "synthetic": True, "seed": 0, "config": {"replicates": 10},
        "metrics": {"uar": Estimate(0.75, math.nan, math.nan, 4, "share")},
    }  # fmt: skip
    return RunRecord(**{**given, **changes})


def test_a_record_comes_back_as_it_was(tmp_path):
    saved = a_record().save(tmp_path, ROWS)
    assert read_records(tmp_path) == [saved] or math.isnan(saved.metrics["uar"].low)
    assert saved.metrics["uar"].value == 0.75
    assert saved.predictions == "predictions/08-x.parquet"
    pd.testing.assert_frame_equal(saved.load_predictions(tmp_path), ROWS, check_dtype=False)
    document = json.loads((tmp_path / "runs" / "08-x.json").read_text())
    assert set(document) == CONTRACT
    assert document["metrics"]["uar"]["low"] is None  # JSON has no NaN


def test_records_are_found_by_field_and_configuration(tmp_path):
    a_record(run_id="one").save(tmp_path, ROWS)
    a_record(run_id="two", configuration={"task": "speaker"}).save(tmp_path, ROWS)
    assert [r.run_id for r in read_records(tmp_path, task="speaker")] == ["two"]
    assert [r.run_id for r in read_records(tmp_path, synthetic=True, seed=0)] == ["one", "two"]
    assert read_records(tmp_path, corpus="crema-d") == []
    with pytest.raises(ValueError, match="no field tsak"):
        read_records(tmp_path, tsak="speaker")


def test_an_unwritable_folder_leaves_no_half_record(tmp_path):
    (tmp_path / "runs").write_text("a file where the folder of records should be")
    with pytest.raises(InputError, match="runs: cannot be written"):
        a_record().save(tmp_path, ROWS)
    assert [path.suffix for path in (tmp_path / "predictions").iterdir()] == [".parquet"]


def test_damaged_records_and_predictions_are_named(tmp_path):
    saved = a_record().save(tmp_path, ROWS)
    (tmp_path / saved.predictions).write_bytes(b"PAR1 not really")
    with pytest.raises(InputError, match=r"08-x\.parquet: cannot be read"):
        saved.load_predictions(tmp_path)
    (tmp_path / "runs" / "08-x.json").write_text('{"run_id": "08-x"}')
    with pytest.raises(InputError, match=r"08-x\.json: is not a run record"):
        read_record(tmp_path / "runs" / "08-x.json")


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="kind is 'guess'"):
        a_record(kind="guess")


@pytest.mark.parametrize("record", COMMITTED, ids=lambda record: record.run_id)
def test_every_committed_metric_follows_from_its_predictions(record):
    again = record.measure_again(RESULTS)
    assert again.keys() == record.metrics.keys()
    for name, estimate in record.metrics.items():
        assert (again[name].n, again[name].unit) == (estimate.n, estimate.unit)
        assert [again[name].value, again[name].low, again[name].high] == pytest.approx(
            [estimate.value, estimate.low, estimate.high], abs=1e-9, nan_ok=True
        ), name


@pytest.mark.parametrize("record", COMMITTED, ids=lambda record: record.run_id)
def test_every_committed_record_says_where_it_comes_from(record):
    assert record.profile == "small"
    assert len(record.manifest_sha256) == len(record.training_sha256) == 64
    assert record.environment.keys() == {"python", "torch", "cpu", "threads"}
    assert record.command.startswith(
        (f"thesis run {record.chapter}", f"thesis train {record.chapter}")
    )
    assert record.synthetic == (record.variant == "twin")
    assert record.seconds > 0


def test_the_code_hash_follows_the_code_and_not_the_prose(tmp_path, monkeypatch):
    package = tmp_path / "thesislib"
    package.mkdir()
    (package / "a.py").write_text("from thesislib.b import x\n")
    (package / "b.py").write_text("x = 1\n")
    (package / "c.py").write_text("y = 1\n")
    monkeypatch.setattr(code, "PACKAGE", package)

    def digest():
        code.imported_modules.cache_clear()
        return code.code_sha256(["thesislib.a"])

    before = digest()
    (package / "b.py").write_text("x = 1  # a remark\n")
    (package / "c.py").write_text("y = 2\n")
    assert digest() == before
    (package / "b.py").write_text("x = 2\n")
    assert digest() != before
    assert code.code_sha256(["thesislib.a"], ["cell"]) != digest()
    code.imported_modules.cache_clear()


def test_training_does_not_import_evaluation():
    from thesislib.config import MainBranchConfig

    trained = {path.parent.name for path in code.import_closure(MainBranchConfig.CODE)}
    measured = {path.parent.name for path in code.import_closure(provenance.EVALUATION)}
    assert "evaluation" not in trained
    assert {"models", "learning", "signals", "twins"}.isdisjoint(measured)


def test_the_environment_is_said_in_full():
    found = provenance.environment()
    assert all(found.values())
    assert found["threads"] >= 1


def test_confusions_as_reported_add_up_to_100():
    assert reported_table("8.5").sum(axis=1).tolist() == pytest.approx([100.0] * 6, abs=0.11)


# Tables of annotator pairs hold each pair once; these are the pairs that the thesis calls n.a.
NOT_AVAILABLE = {
    "5.5": [],
    "5.6": [],
    "5.7": ["23", "25"],
    "5.8": ["23", "25"],
    "5.9": ["13", "23", "25", "34"],
}


@pytest.mark.parametrize("table", _document())
def test_reported_tables_are_whole(table):
    frame = reported_table(table)
    assert _document()[table]["title"]
    assert _document()[table]["unit"]
    assert table in NOT_AVAILABLE or frame.notna().all().all()


@pytest.mark.parametrize("table", NOT_AVAILABLE)
def test_reported_pairs_of_annotators_stand_once_each(table):
    by_statistic = {}
    for row, cells in _document()[table]["rows"].items():
        annotator, _, statistic = row.removeprefix("Annotator ").partition(" / ")
        pairs = [annotator + column.removeprefix("Annotator ") for column in cells]
        by_statistic.setdefault(statistic, []).extend(pairs)
    overlap = ["Overlap_perc", "IoU", "Overlap_levels"]
    assert list(by_statistic) == ([""] if table in ("5.5", "5.6") else overlap)
    pairs = [a + b for a, b in combinations("123456", 2) if a + b not in NOT_AVAILABLE[table]]
    with_oneself = ["11", "22", "33", "44", "55"] if table == "5.5" else []
    for found in by_statistic.values():
        assert sorted(found) == sorted(pairs + with_oneself)


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [("5.5", -1, 1), ("5.6", -1, 1), ("5.7", 0, 100), ("5.8", 0, 100), ("5.9", 0, 100)],
)
def test_reported_agreement_lies_in_its_range(table, low, high):
    for cells in _document()[table]["rows"].values():
        assert all(low <= value <= high for value in cells.values())


def test_a_cell_that_is_not_reported_lists_what_is():
    with pytest.raises(InputError, match=r"table 8\.2: has no column 'uar'; choose from micro"):
        reported("8.2", "ast-main-only", "uar")
    with pytest.raises(InputError, match=r"has no table '9.9'"):
        reported_table("9.9")
