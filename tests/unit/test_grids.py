"""Grids of experiments: what they stand for, and what the workflow makes of them."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml

from thesislib import files
from thesislib.caching import cache_folder, cache_key
from thesislib.config import (
    EXPERIMENTS,
    DisentanglementConfig,
    LaughConfig,
    MainBranchConfig,
    experiment,
    experiment_name,
    for_profile,
)
from thesislib.errors import InputError
from thesislib.locking import exclusive
from thesislib.records.record import RunRecord, read_record
from thesislib.reproduce import workflow
from thesislib.reproduce.grids import Job, as_job, load_jobs
from thesislib.reproduce.jobs import State, do, done_file, log_file, whole_file
from thesislib.reproduce.staleness import read_documents
from thesislib.reproduce.workflow import reproduce, states, work_folder

# A run as short as can be: it counts its starts, may fail or dawdle, and leaves one record.
FAKE = """
import json, sys, time
from pathlib import Path

out, name, plan = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
starts = out / "starts" / name
starts.parent.mkdir(parents=True, exist_ok=True)
with starts.open("a") as stream:
    stream.write("x")
if len(starts.read_text()) <= plan.get("failures", 0):
    sys.exit("the port is taken")
time.sleep(plan.get("dawdle_s", 0))
import random
for folder in ("runs", "predictions"):
    (out / folder).mkdir(parents=True, exist_ok=True)
rows = out / "predictions" / (name + ".parquet")
rows.write_bytes(random.Random(plan["config"]["seed"]).randbytes(1000))
(out / "runs" / (name + ".json")).write_text(json.dumps({
    "run_id": name, "chapter": "08", "profile": "tiny", "corpus": "emodb", "commit": "",
    "environment": {}, "command": "thesis run 08", "config": plan["config"],
    "predictions": "predictions/" + rows.name, **plan["hashes"],
}))
"""
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
HASHES = {"manifest_sha256": "m", "training_sha256": "t", "evaluation_sha256": "e"}


@pytest.fixture
def out(project):
    (project / "fake.py").write_text(FAKE)
    return project / "results"


def fake_job(out, name, *, seed=0, hashes=None, records=1, **plan):
    plan = {"config": {"seed": seed, "replicates": 3}, "hashes": hashes or HASHES, **plan}
    command = (sys.executable, str(out.parent / "fake.py"), str(out), name, json.dumps(plan))
    return Job(
        name=name, command=command, chapter="08", config=plan["config"], hashes=plan["hashes"],
        records=records,
    )  # fmt: skip


def starts(out):
    folder = out / "starts"
    return {path.name: len(path.read_text()) for path in sorted(folder.glob("*"))}


def grid_file(folder, text):
    folder.mkdir(exist_ok=True)
    path = folder / "08_trial.yaml"
    path.write_text(text)
    return path


def head(profiles):
    return f"chapter: '08'\nexperiment: main_branch\nprofiles:\n{profiles}"


# What grids stand for


def test_an_entry_stands_for_the_product_of_its_lists(tmp_path):
    grid_file(
        tmp_path,
        head(
            "  small:\n"
            "    - {corpus: emodb-twin, window_s: [1.0, 2.0], seed: [0, 3]}\n"
            "    - {corpus: emodb-twin, clips: 70}\n"
        ),
    )
    jobs = load_jobs(tmp_path, profile="small", out=tmp_path / "out")
    assert [job.name for job in jobs] == [
        "08-main_branch-emodb-twin-window_s-1.0-small-s0",
        "08-main_branch-emodb-twin-window_s-1.0-small-s3",
        "08-main_branch-emodb-twin-small-s0",
        "08-main_branch-emodb-twin-small-s3",
        "08-main_branch-emodb-twin-clips-70-small-s0",
    ]
    config = for_profile(MainBranchConfig, "small", window_s=1.0, seed=3)
    assert jobs[1].config == config.as_dict()
    assert jobs[1].command[3:] == (
        "train", "08", "--experiment", "main_branch", "-p", "seed", "3", "-p", "window_s", "1.0",
        "--profile", "small", "--out", str(tmp_path / "out"),
    )  # fmt: skip
    assert load_jobs(tmp_path, profile="tiny", out=tmp_path) == []


def test_the_files_of_a_job_of_many_parameters_have_names_that_a_disk_takes(tmp_path):
    """And jobs whose names differ only where they are cut stay apart."""
    effects = [f"emotion_{what}=2" for what in ("f0", "rate", "energy", "tilt", "jitter", "face")]
    effects += ["laugh_face=0.5", "laugh_voice=0.5", "smile_face=0.5", "turn_end=3", "mimicry=2"]
    configs = [
        for_profile(
            LaughConfig, "tiny", corpus="ndc-me-twin", effects=" ".join([*effects, f"leakage={n}"])
        )
        for n in (0, 0.5)
    ]
    jobs = [as_job(config, out=tmp_path) for config in configs]
    assert len({job.name for job in jobs}) == 2
    for job in jobs:
        assert job.name.endswith("-tiny-s0")
        with files.atomic_write(done_file(tmp_path, job.name)) as temporary:
            temporary.write_text("{}")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("chapter: '08'\n  profiles: {", "08_trial.yaml: line 2: is not YAML"),
        ("- a list", "is no grid; give it the keys chapter and profiles"),
        (head("  huge: []"), "profiles: knows no 'huge'; choose paper, small, tiny"),
        ("colour: red\n" + head("  tiny: []"), "the top: knows no 'colour'; choose chapter"),
        ("records: 0\n" + head("  tiny: []"), "cannot have 0 records a run; give 1 or more"),
        ("chapter: 05\nprofiles: {}", "chapter: cannot be of chapter 5; write two digits"),
        ("chapter: '77'\nprofiles: {}", "cannot be of chapter '77'; write two digits"),
        ("chapter: '05'\nexperiment: x\nprofiles: {}", "experiment: cannot be 'x'; choose agree"),
        (head("  tiny: {corpus: emodb}"), "tiny: is no list; begin each entry with -"),
        (head("  tiny: [emodb]"), "tiny, entry 1: is no mapping"),
        (head("  tiny: [{seed: 1}, {sede: 1}]"), "tiny, entry 2: knows no 'sede'; choose clips"),
        (head("  tiny: [{profile: small}]"), "entry 1: knows no 'profile'"),
        (head("  tiny: [{corpus: [emodb, iemocap]}]"), "entry 1, parameter corpus: cannot be 'iem"),
        (head("  tiny: [{clips: many}]"), "entry 1, parameter clips: cannot be 'many'"),
        (head("  tiny: [{seed: [0, 0]}]"), "entry 1: asks for 08-main_branch-emodb-twin-tiny-s0"),
    ],
)
def test_a_faulty_grid_is_named_with_the_place_in_it(tmp_path, text, line):
    path = grid_file(tmp_path, text)
    with pytest.raises(InputError, match=line) as caught:
        load_jobs(tmp_path, profile="tiny", out=tmp_path)
    assert str(caught.value).startswith(f"{path}: ")


def test_chapters_and_profiles_that_are_not_there_are_refused(tmp_path):
    grid_file(tmp_path, head("  tiny: [{seed: 0}]"))
    with pytest.raises(InputError, match="chapter 05: has no grid; choose 08"):
        load_jobs(tmp_path, profile="tiny", out=tmp_path, only="05")
    with pytest.raises(InputError, match="option --profile: cannot be 'huge'"):
        load_jobs(tmp_path, profile="huge", out=tmp_path)


def test_a_real_corpus_that_is_absent_is_a_reason_and_no_failure(tmp_path, monkeypatch):
    monkeypatch.setenv("THESISLIB_DATA_ROOT", str(tmp_path))
    config = for_profile(MainBranchConfig, "tiny", corpus="emodb")
    assert as_job(config, out=tmp_path).missing.startswith("emodb is not here; `thesis data check")
    (tmp_path / "emodb").mkdir()
    assert as_job(config, out=tmp_path).missing == ""


@pytest.mark.parametrize("profile", ["tiny", "small", "paper"])
def test_the_grids_of_the_book_are_whole(profile, tmp_path):
    folder = files.project_root() / "experiments"
    jobs = load_jobs(folder, profile=profile, out=tmp_path)
    assert {"05", "08"} <= {job.chapter for job in jobs}
    if profile == "small":
        assert sum(job.chapter == "05" for job in jobs) >= 9


def test_an_experiment_is_found_by_its_chapter_and_its_name():
    assert experiment("08", trained=True) is DisentanglementConfig
    assert experiment("08", trained=True, name="disentanglement") is DisentanglementConfig
    assert experiment("08", trained=True, name="main_branch") is MainBranchConfig
    with pytest.raises(
        InputError, match="option --experiment: cannot be 'laugh'; choose disentang"
    ):
        experiment("08", trained=True, name="laugh")
    with pytest.raises(InputError, match="chapter 05: has nothing for `thesis train`"):
        experiment("05", trained=True)


def test_no_two_experiments_answer_to_the_same_command():
    run_by_notebook = [kind.CHAPTER for kind in EXPERIMENTS if not kind.RUN]
    assert len(run_by_notebook) == len(set(run_by_notebook))
    names = [(kind.CHAPTER, experiment_name(kind)) for kind in EXPERIMENTS]
    assert len(names) == len(set(names))


def test_the_profile_for_a_cluster_names_options_of_snakemake():
    from snakemake.cli import get_argument_parser

    path = files.project_root() / "experiments" / "profiles" / "slurm" / "config.yaml"
    known = {
        option.removeprefix("--")
        for action in get_argument_parser()._actions
        for option in action.option_strings
    }
    assert yaml.safe_load(path.read_text()).keys() <= known


def test_a_cache_key_follows_everything_that_makes_a_thing(project):
    key = cache_key(size=48, layers=(1, 2), code="a1")
    assert key == cache_key(code="a1", layers=[1, 2], size=48)
    assert len({key, cache_key(size=48.5, layers=(1, 2), code="a1"), cache_key(size=48)}) == 3
    assert cache_folder("mouth-crops", key) == project / "data" / "cache" / "mouth-crops" / key
    with pytest.raises(TypeError):
        cache_key(path=project)
    with pytest.raises(ValueError, match=r"'\.\./x' is not lower-case"):
        cache_folder("../x", key)


# What is left to do: without a workflow


def test_a_job_is_done_when_its_records_are_fresh(out):
    job = fake_job(out, "a")
    work = work_folder(out)
    assert states([job], out=out) == {"a": State.RUN}
    assert do(job, out=out, work=work) == 0
    assert states([job], out=out) == {"a": State.DONE}
    assert do(job, out=out, work=work) == 0
    assert starts(out) == {"a": 1}
    for name in ("manifest_sha256", "training_sha256"):
        assert states([replace(job, hashes=HASHES | {name: "new"})], out=out) == {"a": State.RUN}
    other = replace(job, config={**job.config, "replicates": 4})
    assert states([other], out=out) == {"a": State.RUN}
    missing = replace(other, missing="not here")
    assert states([missing], out=out) == {"a": State.MISSING}
    assert states([replace(job, missing="not here")], out=out) == {"a": State.DONE}
    (out / "predictions" / "a.parquet").unlink()
    assert states([job], out=out) == {"a": State.RUN}


def test_records_from_elsewhere_count_where_their_number_is_known(out):
    job = fake_job(out, "a")
    subprocess.run(job.command, check=True)
    assert states([job], out=out) == {"a": State.DONE}
    assert states([replace(job, records=2)], out=out) == {"a": State.RUN}
    unknown = replace(job, records=0)
    assert states([unknown], out=out) == {"a": State.RUN}
    assert do(unknown, out=out, work=work_folder(out)) == 0
    assert states([unknown], out=out) == {"a": State.DONE}
    took = json.loads(whole_file(out, "a").read_text())["seconds"]
    assert do(unknown, out=out, work=work_folder(out)) == 0
    assert json.loads(whole_file(out, "a").read_text())["seconds"] == took > 0
    done_file(work_folder(out), "a").unlink()  # a fresh copy of the results comes without it
    assert states([unknown], out=out) == {"a": State.DONE}
    whole = whole_file(out, "a")
    whole.write_text(whole.read_text()[:20])  # a damaged one says nothing
    assert states([unknown], out=out) == {"a": State.RUN}


def test_a_change_of_metrics_measures_again_and_trains_nothing(out):
    job = fake_job(out, "a")
    record = RunRecord(
        run_id="a", kind="classification", chapter="08", experiment="main-only", configuration={},
        profile="tiny", corpus="emodb", variant="twin", synthetic=True, seed=0, config=job.config,
        metrics={}, commit="abc", seconds=3.0, **HASHES,
    )  # fmt: skip
    saved = record.save(out, ROWS)
    predictions = (out / "predictions" / "a.parquet").read_bytes()
    newer = replace(job, hashes=HASHES | {"evaluation_sha256": "new"})
    assert states([newer], out=out) == {"a": State.MEASURE}
    assert do(newer, out=out, work=work_folder(out)) == 0
    assert states([newer], out=out) == {"a": State.DONE}
    again = read_record(out / "runs" / "a.json")
    assert again.metrics["uar"].value == 0.75
    assert replace(again, metrics={}, evaluation_sha256="e") == saved
    assert (out / "predictions" / "a.parquet").read_bytes() == predictions
    assert starts(out) == {}


def test_a_job_whose_records_are_of_other_code_than_planned_fails(out, capfd):
    job = fake_job(out, "a")
    assert do(replace(job, hashes=HASHES | {"training_sha256": "n"}), out=out, work=out) == 1
    assert "a: left 0 records of today's code and parameters" in capfd.readouterr().err
    assert not done_file(out, "a").exists()


def test_a_lock_is_freed_by_the_death_of_its_holder(tmp_path):
    hold = "import sys, time; from pathlib import Path; from thesislib.locking import *\n"
    hold += "with exclusive(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    command = [sys.executable, "-c", hold, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        said = []
        with exclusive(tmp_path / "lock", lambda: (said.append("busy"), holder.kill())):
            assert said == ["busy"]


# The workflow


def test_the_workflow_tries_again_goes_on_after_a_failure_and_reruns_what_changed(out):
    jobs = [
        fake_job(out, "plain"),
        fake_job(out, "flaky", seed=1, failures=1),
        fake_job(out, "broken", seed=2, failures=99),
        replace(fake_job(out, "absent", seed=3), missing="not here"),
    ]
    said, counted = [], []
    failed = reproduce(jobs, out=out, cores=2, say=said.append, progress=counted.append)
    assert failed == ["broken"]
    assert starts(out) == {"plain": 1, "flaky": 2, "broken": 3}
    assert counted == [1, 2]
    log = log_file(work_folder(out), "broken")
    assert said[-1] == f"broken: failed; see {log}"
    assert log.read_text() == "the port is taken\n"  # of the last attempt
    assert [record["run_id"] for record in read_documents(out)] == ["flaky", "plain"]

    # Another training hash of one, and the finished one is left alone.
    changed = replace(jobs[0], hashes=HASHES)
    newer = fake_job(out, "flaky", seed=1, hashes=HASHES | {"training_sha256": "new"})
    assert reproduce([changed, newer], out=out, cores=2) == []
    assert starts(out) == {"plain": 1, "flaky": 3, "broken": 3}
    assert read_documents(out)[0]["training_sha256"] == "new"


def test_a_finished_grid_starts_nothing(out, monkeypatch):
    job = fake_job(out, "a")
    subprocess.run(job.command, check=True)
    monkeypatch.setattr(workflow.subprocess, "Popen", None)
    assert reproduce([job], out=out, cores=2) == []
    assert starts(out) == {"a": 1}


DRIVER = """
import json, sys
from pathlib import Path
from thesislib import files
files.project_root = lambda: Path(sys.argv[1])
from thesislib.reproduce.grids import Job
from thesislib.reproduce.staleness import read_documents
from thesislib.reproduce.workflow import reproduce
jobs = [Job(**job) for job in json.loads(sys.argv[2])]
sys.exit(len(reproduce(jobs, out=Path(sys.argv[1]) / "results", cores=2, say=print)))
"""


@pytest.mark.parametrize("whole_group", [True, False], ids=["all", "parent"])
def test_a_workflow_that_is_killed_goes_on_and_ends_with_the_same_records(out, whole_group):
    jobs = [fake_job(out, "quick"), fake_job(out, "slow", seed=1, dawdle_s=4)]
    text = json.dumps([vars(job) for job in jobs])
    command = [sys.executable, "-c", DRIVER, str(out.parent), text]
    running = subprocess.Popen(command, start_new_session=True)
    deadline = time.monotonic() + 120
    # What the workflow notes of a job is the last that it writes of it.
    while not (out / "jobs" / "quick.json").exists() or "slow" not in starts(out):
        assert time.monotonic() < deadline
        assert running.poll() is None
        time.sleep(0.05)
    first = (out / "predictions" / "quick.parquet").read_bytes()
    (os.killpg if whole_group else os.kill)(running.pid, signal.SIGKILL)
    running.wait()
    assert not (out / "runs" / "slow.json").exists()
    subprocess.run(command, check=True, timeout=120)
    assert states(jobs, out=out) == {"quick": State.DONE, "slow": State.DONE}
    # The orphan of a killed parent finishes by itself, and its successor waits for it.
    assert starts(out) == {"quick": 1, "slow": 2 if whole_group else 1}
    assert (out / "predictions" / "quick.parquet").read_bytes() == first
    stored = (out / "predictions" / "slow.parquet").read_bytes()
    subprocess.run(jobs[1].command, check=True)
    assert (out / "predictions" / "slow.parquet").read_bytes() == stored
    assert [path for path in Path(out).rglob("*") if ".part-" in path.name] == []
