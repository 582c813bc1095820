"""The commands train, reproduce and why-stale, as they are typed."""

import json
import sys
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace

import pytest

from thesislib import cli, config


@pytest.fixture
def thesis(monkeypatch, capsys):
    """Run the command in this process: exit code, standard output, standard error."""

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["thesis", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        said = capsys.readouterr()
        return stop.value.code or 0, said.out, said.err

    return run


@pytest.fixture
def trial(monkeypatch):
    """An experiment of chapter 66 that a module runs; yields the configurations it was given."""

    @dataclass(frozen=True, kw_only=True)
    class TrialConfig(config.Experiment):
        CHAPTER = "66"
        CORPORA = ("emodb",)
        CODE = ("thesislib.errors",)
        RUN = "trial_of_tests"
        SIZES = {"tiny": {}, "small": {"size": 9}, "paper": {}}  # noqa: RUF012
        corpus: str = "emodb-twin"
        size: int = 3
        rate: float = 0.1

    given = []
    module = SimpleNamespace(run=lambda config, *, say: [given.append(config), say("at work")])
    monkeypatch.setitem(sys.modules, "trial_of_tests", module)
    monkeypatch.setattr(config, "EXPERIMENTS", (*config.EXPERIMENTS, TrialConfig))
    return given


def test_train_runs_the_module_of_a_chapter(thesis, trial, tmp_path):
    words = ("-p", "rate", "1e-05", "-p", "seed", 2, "--profile", "small", "--out", tmp_path)
    code, out, _ = thesis("train", "66", *words)
    assert code == 0
    assert out.splitlines() == ["at work", f"{tmp_path}: 2 records written"]
    (found,) = trial
    assert (found.size, found.rate, found.seed, found.out) == (9, 1e-05, 2, str(tmp_path))
    assert found.command() == "thesis train 66 -p seed 2 -p rate 1e-05 --profile small"


@pytest.mark.parametrize(
    ("words", "module"),
    [
        ((), "disentanglement"),
        (("--experiment", "disentanglement"), "disentanglement"),
        (("--experiment", "main_branch"), "main_branch"),
    ],
)
def test_of_two_experiments_train_runs_the_first_or_the_one_that_is_named(
    thesis, monkeypatch, tmp_path, words, module
):
    ran = []
    for name in ("disentanglement", "main_branch"):
        run = partial(lambda name, config, *, say: ran.append(name) or [], name)
        monkeypatch.setattr(f"thesislib.learning.{name}.run", run)
    code, out, _ = thesis("train", "08", *words, "--out", tmp_path)
    assert (code, out, ran) == (0, f"{tmp_path}: 0 records written\n", [module])


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("train", "05"), "error: chapter 05: has nothing for `thesis train`; the chapters are: "),
        (("train", "08", "--experiment", "laugh"), "error: option --experiment: cannot be 'laugh'"),
        (("train", "66", "-p", "colour", "red"), "error: parameter colour: cannot be 'red'"),
        (("train", "66", "-p", "out", "x"), "error: option -p out: has an option of its own"),
        (("reproduce", "--profile", "huge"), "error: option --profile: cannot be 'huge'"),
        (("reproduce", "--only", "99"), "error: chapter 99: has no grid; choose 05"),
        (("reproduce", "--snakemake-profile", "/nowhere"), "error: /nowhere: holds no config.yaml"),
        (("why-stale", "99"), "error: chapter 99: has no experiment; choose 05"),
    ],
)
@pytest.mark.usefixtures("trial")
def test_bad_input_is_one_line(thesis, words, line):
    code, out, err = thesis(*words)
    assert (code, out) == (2, "")
    assert err.startswith(line)
    assert len(err.splitlines()) == 1


def test_a_dry_run_says_what_is_left_and_runs_nothing(thesis, tmp_path):
    code, out, _ = thesis("reproduce", "--dry-run", "--only", "05", "--out", tmp_path / "out")
    assert code == 0
    *jobs, total = out.splitlines()
    assert "05-agreement-ndc-me-twin-small-s0: to run" in jobs
    assert total == f"{len(jobs)} runs at small: 0 done, {len(jobs)} to do"
    assert not (tmp_path / "out").exists()


def test_why_stale_says_it_in_prose_and_in_json(thesis):
    code, out, _ = thesis("why-stale", "05", "--json")
    assert code == 0
    rows = json.loads(out)
    assert {row["chapter"] for row in rows} == {"05"}
    assert all(row["stale"] == bool(row["reasons"]) for row in rows)
    code, out, _ = thesis("why-stale", "05")
    assert code == 0
    assert sum(int(line.split()[2]) for line in out.splitlines() if line[0] != " ") == len(rows)
