"""Do the guards bark? Each deliberate fault, put into a copy of the project, turns its test red.

The copy holds the library, the tests, the pages, and the records that the faults touch; what is
green there before the fault and red after it is red because of the fault.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
RUN = "08-main-only-emodb-emotion-layer_2-cut-2s-small-s0"
PREDICTIONS = f"results/predictions/{RUN}.parquet"
METRICS = (
    f"tests/unit/test_records.py::test_every_committed_metric_follows_from_its_predictions[{RUN}]"
)
FOLDS = f"tests/unit/test_people_apart.py::test_each_person_is_tested_in_one_fold[{RUN}]"
SPLITS = "tests/properties/test_split_properties.py::test_emodb_splits_by_speaker_too"
BY_HAND = "tests/book/test_pages.py::test_no_page_or_chapter_states_a_result_by_hand"
PROSE = f"{BY_HAND}[book/index.md]"
CHAPTER = "notebooks/07_social_mae.ipynb"
REPORTED = "tests/unit/test_reported.py"


def flip_labels_of_one_part(tree):
    """The labels of one held-out speaker, the other way round."""
    path = tree / PREDICTIONS
    rows = pd.read_parquet(path)
    part = rows["fold"] == rows["fold"].iloc[0]
    labels = rows.loc[part, "target"].astype(str)
    flipped = dict(zip(sorted(set(labels)), sorted(set(labels), reverse=True), strict=True))
    rows["target"] = rows["target"].astype(str).where(~part, labels.map(flipped))
    rows.to_parquet(path)


def leak_one_speaker_between_folds(tree):
    """One clip of a speaker is counted in another speaker's fold."""
    path = tree / PREDICTIONS
    rows = pd.read_parquet(path)
    folds = rows["fold"].astype(str)
    folds.iloc[0] = next(fold for fold in folds if fold != folds.iloc[0])
    rows["fold"] = folds
    rows.to_parquet(path)


def leak_one_speaker_in_the_split(tree):
    """The code that splits puts the first clip into the part after its speaker's."""
    change(
        tree / "thesislib/corpora/splits.py",
        '    return _split("speaker", clips, [best[1][group] for group in groups])',
        "    places = [best[1][group] for group in groups]\n"
        "    places[0] = (places[0] + 1) % 3\n"
        '    return _split("speaker", clips, places)',
    )


def edit_one_number_in_prose(tree):
    """The front page prints a record's number; somebody writes another one in its place."""
    record = json.loads((tree / f"results/runs/{RUN}.json").read_text())
    edited = record["metrics"]["uar"]["value"] + 0.01
    change(tree / "book/index.md", f"{{result}}`{RUN}::uar:.2f`", f"{edited:.2f}")


def edit_one_number_in_a_chapter(tree):
    """The text of chapter 7 prints a value of the thesis; somebody writes another one there."""
    change(tree / CHAPTER, "{reported}`7.2|Social-MAE|Audio Mi`", "0.611")


def edit_one_metric_of_a_record(tree):
    """A record claims a little more than its predictions show."""
    path = tree / f"results/runs/{RUN}.json"
    record = json.loads(path.read_text())
    record["metrics"]["uar"]["value"] += 0.01
    path.write_text(json.dumps(record))


def swap_two_reported_cells(tree):
    """Two neighbouring cells of Table 8.2 change places."""
    before = yaml.safe_load((tree / "results/reported.yaml").read_text())
    row = "whisper-all-losses / concatenated"
    old = before["8.2"]["rows"][row]
    micro, macro = old["micro f1-score"], old["macro f1-score"]
    assert micro != macro
    change(
        tree / "results/reported.yaml",
        f"    {row}: {{micro f1-score: {micro:.3f}, macro f1-score: {macro:.3f}}}",
        f"    {row}: {{micro f1-score: {macro:.3f}, macro f1-score: {micro:.3f}}}",
    )


FAULTS = {
    flip_labels_of_one_part: METRICS,
    leak_one_speaker_between_folds: FOLDS,
    leak_one_speaker_in_the_split: SPLITS,
    edit_one_number_in_prose: PROSE,
    edit_one_number_in_a_chapter: f"{BY_HAND}[{CHAPTER}]",
    edit_one_metric_of_a_record: METRICS,
    swap_two_reported_cells: REPORTED,
}


def change(path, old, new):
    text = path.read_text()
    assert text.count(old) == 1, f"{path.name} no longer has one line {old!r}"
    path.write_text(text.replace(old, new))


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A small copy of the project."""
    tree = tmp_path_factory.mktemp("project")
    caches = shutil.ignore_patterns("__pycache__", "assets")
    for name in ("thesislib", "tests", "book", "data_manifests"):
        shutil.copytree(ROOT / name, tree / name, ignore=caches)
    for name in ("pyproject.toml", "_toc.yml", f"results/runs/{RUN}.json", PREDICTIONS,
                 "results/reported.yaml", CHAPTER):  # fmt: skip
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tree / name)
    return tree


def outcome(tree, *tests):
    """Names of the tests that failed; an error, or no test at all, is a failure of this check."""
    command = [sys.executable, "-B", "-m", "pytest", "-q", "-rf", "-p", "no:cacheprovider", *tests]
    ran = subprocess.run(
        command,
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode in (0, 1), ran.stdout[-3000:] + ran.stderr[-1000:]
    assert " error" not in ran.stdout.splitlines()[-1], ran.stdout[-3000:]
    return re.findall(r"^FAILED (\S+)", ran.stdout, re.M)


def test_every_guard_is_green_before_the_fault(original):
    assert outcome(original, *FAULTS.values()) == []


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_the_guard_turns_red(fault, original, tmp_path):
    tree = tmp_path / "project"
    shutil.copytree(original, tree)
    fault(tree)
    failed = outcome(tree, FAULTS[fault])
    assert failed, f"{FAULTS[fault]} does not notice: {fault.__doc__}"
    assert all(name.split("[")[0] in FAULTS[fault] or REPORTED in name for name in failed)
