"""A chapter through papermill, as a user runs it. That outputs agree, nbval checks elsewhere."""

import json

import nbformat
import pytest

from thesislib.errors import InputError
from thesislib.notebooks import ChapterFailedError, run_chapter
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
