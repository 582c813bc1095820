"""A chapter through papermill, as a user runs it. That outputs agree, nbval checks elsewhere."""

import json
from datetime import UTC, datetime, timedelta

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

from thesislib.errors import InputError
from thesislib.notebooks import ChapterFailedError, run_chapter, store_outputs
from thesislib.records.record import read_records


@pytest.mark.usefixtures("speech_encoder_weights")
def test_a_chapter_leaves_an_executed_notebook_and_records(tmp_path):
    notebook = run_chapter("08", {"seed": 1}, profile="tiny", out=tmp_path)
    cells = [c for c in nbformat.read(notebook, as_version=4).cells if c.cell_type == "code"]
    assert all(cell.execution_count for cell in cells if cell.source.strip())
    assert "seed = 1" in "".join(cell.source for cell in cells)
    records = read_records(tmp_path, experiment="main-only")
    assert len(records) == 13  # two tasks on MFCC and five layers, and the nested choice
    assert {record.seed for record in records} == {1}
    assert all(record.synthetic and record.variant == "twin" for record in records)
    for record in records:
        assert record.measure_again(tmp_path) == record.metrics
    leftovers = [path for path in tmp_path.rglob("*") if ".part" in path.name]
    assert leftovers == []


def test_bad_input_met_inside_a_notebook_comes_out_as_one_line(tmp_path):
    with pytest.raises(InputError, match=r"parameter corpus: cannot be 'iemocap'"):
        run_chapter("08", {"corpus": "iemocap"}, profile="tiny", out=tmp_path)
    assert not list(tmp_path.rglob("*.json"))
    assert not list(tmp_path.rglob("*.ipynb"))


def test_a_cell_that_fails_is_named_and_its_notebook_kept(project):
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell(
                'profile = "tiny"\nout = "x"', metadata={"tags": ["parameters"]}
            ),
            nbformat.v4.new_code_cell("1 / 0"),
        ],
        metadata={"kernelspec": {"name": "python3", "language": "python", "display_name": "x"}},
    )
    (project / "notebooks").mkdir()
    nbformat.write(notebook, project / "notebooks" / "77_trial.ipynb")
    with pytest.raises(ChapterFailedError, match=r"77_trial\.ipynb: cell \[3\] failed: ZeroDiv"):
        run_chapter("77", {}, profile="tiny", out=project / "out")
    kept = sorted(path.name for path in (project / "out" / "notebooks").iterdir())
    assert kept == ["77_trial.failed.ipynb"]


def test_every_notebook_takes_profile_and_out():
    from thesislib.files import project_root

    for path in sorted((project_root() / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        tagged = [c for c in cells if "parameters" in c["metadata"].get("tags", [])]
        assert len(tagged) == 1, path.name
        source = "".join(tagged[0]["source"])
        assert 'profile = "tiny"' in source
        assert "out = " in source


def trial(folder, source):
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell(
                'profile = "tiny"\nout = "x"', metadata={"tags": ["parameters"]}
            ),
            nbformat.v4.new_code_cell(source),
        ],
        metadata={"kernelspec": {"name": "python3", "language": "python", "display_name": "x"}},
    )
    folder.mkdir()
    nbformat.write(notebook, folder / "77_trial.ipynb")


def test_an_executed_notebook_says_when_how_long_and_with_what(project):
    trial(project / "notebooks", "print(profile)")
    stored = nbformat.read(store_outputs("77"), as_version=4)
    run = nbformat.read(run_chapter("77", {}, profile="tiny", out=project / "out"), as_version=4)
    for notebook in (stored, run):
        told = notebook.metadata["thesis"]
        assert set(told) == {
            "started", "seconds", "python", "torch", "cpu", "threads", "commit", "cells"
        }  # fmt: skip
        assert datetime.now(UTC) - datetime.fromisoformat(told["started"]) < timedelta(minutes=10)
        assert 0 < told["seconds"] < 600
    # What papermill injects is no cell of the chapter's own.
    assert stored.metadata["thesis"]["cells"] == run.metadata["thesis"]["cells"]
    assert stored.cells[1].outputs[0].text == "tiny\n"
    assert "execution" not in stored.cells[1].metadata


def test_outputs_are_stored_only_where_every_cell_ran(project):
    trial(project / "notebooks", "1 / 0")
    path = project / "notebooks" / "77_trial.ipynb"
    before = path.read_bytes()
    with pytest.raises(CellExecutionError):
        store_outputs("77")
    assert path.read_bytes() == before
