"""A grid of one real run, from its file to its record."""

import shutil
from dataclasses import replace

import pytest

from thesislib.records.record import read_records
from thesislib.reproduce.grids import load_jobs
from thesislib.reproduce.jobs import State, log_file
from thesislib.reproduce.workflow import reproduce, states, work_folder

GRID = """
chapter: "05"
experiment: agreement
profiles:
  tiny:
    - {corpus: ifadv-twin, replicates: 100}
"""


@pytest.fixture
def out(tmp_path):
    yield tmp_path / "results"
    shutil.rmtree(work_folder(tmp_path / "results"), ignore_errors=True)


def test_a_grid_runs_a_chapter_once(out, tmp_path):
    (tmp_path / "05.yaml").write_text(GRID)
    jobs = load_jobs(tmp_path, profile="tiny", out=out)
    said = []
    failed = reproduce(jobs, out=out, cores=1, say=said.append)
    assert not failed, [log_file(work_folder(out), name).read_text() for name in failed]
    assert said[0].startswith(f"1 of 1: {jobs[0].name}: ")
    records = read_records(out, experiment="agreement")
    assert [record.config for record in records] == [jobs[0].config]
    assert records[0].measure_again(out) == records[0].metrics
    assert states(load_jobs(tmp_path, profile="tiny", out=out), out=out) == {
        jobs[0].name: State.DONE
    }
    assert reproduce(jobs, out=out, cores=1, say=said.append) == []
    assert len(said) == 1


TRAINED = """
chapter: "07"
experiment: social_mae
profiles:
  tiny:
    - {corpus: emodb-twin, model: functionals, modes: audio, pretraining: none, seed: [0, 1]}
"""


def test_runs_of_a_module_are_forks_of_one_process(out, tmp_path):
    (tmp_path / "07.yaml").write_text(TRAINED)
    planned = load_jobs(tmp_path, profile="tiny", out=out)
    # No such interpreter: they cannot start by themselves.
    jobs = [replace(job, command=("nowhere", *job.command[1:])) for job in planned]
    assert not reproduce(jobs, out=out, cores=2)
    assert set(states(planned, out=out).values()) == {State.DONE}
    for job in planned:
        assert "1 records in" in log_file(work_folder(out), job.name).read_text()
    assert (work_folder(out) / "preloaded.log").read_text() == ""
