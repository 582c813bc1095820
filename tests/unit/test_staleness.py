"""Which records are still what would be made today."""

import json
import subprocess

import pytest

from thesislib import code, files
from thesislib.config import EXPERIMENTS, AgreementConfig, MainBranchConfig, for_profile
from thesislib.corpora.manifest import load_manifest
from thesislib.errors import InputError
from thesislib.records import provenance
from thesislib.reproduce.staleness import experiment_of, read_documents, verdict


def fresh(kind=MainBranchConfig, **given):
    """A record as today's code would make it, without what nobody compares."""
    config = for_profile(kind, "small", **given)
    pins = (files.project_root() / "constraints.txt").read_text().splitlines()
    torch = next(line for line in pins if line.startswith("torch==")).removeprefix("torch==")
    return {
        "run_id": "08-x",
        "chapter": kind.CHAPTER,
        "profile": "small",
        "corpus": "emodb",
        "config": config.as_dict(),
        "commit": "",
        "environment": {"torch": f"{torch}+cpu"},
        "command": config.command(),
        "manifest_sha256": load_manifest("emodb").sha256,
        "training_sha256": provenance.training_sha256(kind),
        "evaluation_sha256": provenance.evaluation_sha256(kind),
        "predictions": "predictions/08-x.parquet",
    }


def test_todays_record_is_fresh_and_so_is_one_with_parameters_of_its_own():
    assert not verdict(fresh()).stale
    assert not verdict(fresh(seed=3, regularisation_c=1e-05, encoder="no")).stale


@pytest.mark.parametrize("kind", EXPERIMENTS)
def test_the_command_of_a_record_leads_back_to_its_experiment(kind):
    record = fresh(kind, seed=1)
    assert experiment_of(record) is kind
    assert not verdict(record).stale


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"training_sha256": "x"}, "code of training changed"),
        ({"evaluation_sha256": "x"}, "code of evaluation changed"),
        ({"manifest_sha256": "x"}, "manifest changed: data_manifests/emodb.json"),
        ({"corpus": "iemocap"}, "iemocap: has no manifest"),
        ({"command": "thesis train 77 --profile small"}, "chapter 08 has no experiment"),
        ({"command": "thesis run 08 --profile small"}, "chapter 08 has no experiment"),
        ({"command": "thesis train 08 --experiment x"}, "chapter 08 has no experiment"),
        ({"commit": "--output=x", "training_sha256": "x"}, "code of training changed"),
    ],
)
def test_each_reason_is_given(changes, reason):
    if "77" in changes.get("command", ""):
        changes = {**changes, "chapter": "77"}
        reason = reason.replace("08", "77")
    (found,) = verdict(fresh() | changes).reasons
    assert found.startswith(reason)


def test_parameters_are_compared_one_by_one():
    record = fresh(seed=2)
    config = {**record["config"], "clips": 140, "old": 1}
    del config["window_s"]
    (found,) = verdict(record | {"config": config}).reasons
    assert found == "parameters changed: clips was 140 and is 0, old was 1, window_s is new"


def test_a_parameter_that_is_gone_is_a_reason():
    record = fresh()
    command = record["command"].replace(" --profile", " -p colour red --profile")
    (found,) = verdict(record | {"command": command}).reasons
    assert found.startswith("parameters changed: parameter colour: cannot be 'red'")


def test_the_version_of_torch_is_that_of_the_lock_file():
    record = fresh()
    now = record["environment"]["torch"].removesuffix("+cpu")
    (found,) = verdict(record | {"environment": {"torch": "1.0.0"}}).reasons
    assert found == f"lock file changed: torch was 1.0.0 and is {now}"


def test_git_knows_what_changed(project, monkeypatch):
    package = project / "thesislib"
    for folder in (package, project / "notebooks", project / "data_manifests"):
        folder.mkdir()
    (package / "a.py").write_text("from thesislib import b, c, d\n")
    for name in "bcd":
        (package / f"{name}.py").write_text("x = 1\n")
    cell = {"cell_type": "code", "metadata": {"tags": ["train"]}, "source": ["x = 1"]}
    notebook = project / "notebooks" / "05_x.ipynb"
    notebook.write_text(json.dumps({"cells": [cell]}))
    (project / "data_manifests" / "emodb.json").write_text('{"name": "emodb"}')
    lock = project / "constraints.txt"
    lock.write_text("numpy==1.0\npandas==2.0  # a remark\ntorch==3.0\n")
    git = ["git", "-C", str(project), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *arguments], check=True)
    monkeypatch.setattr(code, "PACKAGE", package)
    monkeypatch.setattr(AgreementConfig, "CODE", ("thesislib.a",))
    monkeypatch.setattr(provenance, "EVALUATION", ("thesislib.d",))
    code.imported_modules.cache_clear()
    record = fresh(AgreementConfig) | {"commit": provenance.commit()}
    assert not verdict(record).stale

    (package / "b.py").write_text("x = 1  # a remark\n")
    (package / "c.py").write_text("from thesislib.e import x\n")
    (package / "e.py").write_text("x = 2\n")
    notebook.write_text(json.dumps({"cells": [cell | {"source": ["x = 2"]}]}))
    lock.write_text("numpy==1.1\npandas==2.0\ntorch==3.0\nrich==1.0\n")
    code.imported_modules.cache_clear()
    assert verdict(record).reasons == (
        f"code of training changed since {record['commit'][:8]}: thesislib.c, thesislib.e, "
        "cells of notebooks/05_x.ipynb",
        "lock file changed: numpy was 1.0 and is 1.1",
    )
    code.imported_modules.cache_clear()


def test_a_damaged_record_is_named(tmp_path):
    (tmp_path / "runs").mkdir()
    assert read_documents(tmp_path) == []
    for text, problem in (("{", "Expecting"), ("3", "not iterable"), ("{}", "no run_id")):
        (tmp_path / "runs" / "a.json").write_text(text)
        with pytest.raises(InputError, match=rf"a\.json: is not a run record \(.*{problem}"):
            read_documents(tmp_path)


def test_a_commit_is_marked_where_code_differs_and_not_where_results_do(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "project_root", lambda: tmp_path)
    assert provenance.commit() == ""  # no repository
    for name in ("results", "thesislib"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_text("1")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *arguments], check=True)
    clean = provenance.commit()
    assert len(clean) == 40
    (tmp_path / "results" / "a").write_text("2")
    (tmp_path / "new").write_text("not tracked")
    assert provenance.commit() == clean
    (tmp_path / "thesislib" / "a").write_text("2")
    assert provenance.commit() == f"{clean}-dirty"
