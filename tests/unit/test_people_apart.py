"""Nobody stands in two parts: in every stored evaluation, a person is tested in one fold only."""

import pytest

from thesislib import files
from thesislib.records.record import read_records

RESULTS = files.project_root() / "results"
RECORDS = [r for r in read_records(RESULTS) if r.kind == "classification" and r.predictions]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.run_id)
def test_each_person_is_tested_in_one_fold(record):
    rows = record.load_predictions(RESULTS)
    if "factor" in rows:  # who speaks can only be told of people seen before, in other sentences
        rows = rows[rows["factor"] != "speaker"]
    elif record.configuration.get("task") == "speaker":
        rows = rows[:0]
    folds = rows.groupby("speaker")["fold"].nunique()
    assert folds[folds > 1].index.tolist() == []
