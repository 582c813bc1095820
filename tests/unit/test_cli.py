import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from thesislib import cli
from thesislib.corpora.manifest import load_manifest
from thesislib.records.hypotheses import CLAIMS

NAMES = [row["file"] for row in load_manifest("emodb").records("utterances")]


@pytest.fixture
def thesis(monkeypatch, capsys):
    """Run the command in this process: exit code, standard output, standard error."""

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["thesis", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        said = capsys.readouterr()
        return stop.value.code or 0, said.out, said.err

    before = os.environ.get("THESISLIB_DATA_ROOT")  # --data-root sets it for the whole process
    yield run
    os.environ.pop("THESISLIB_DATA_ROOT", None)
    if before is not None:
        os.environ["THESISLIB_DATA_ROOT"] = before


@pytest.fixture
def data_root(tmp_path):
    """A data root with a complete EmoDB (cut-2s), made of links to one recording."""
    root = tmp_path / "corpora"
    (root / "emodb" / "wav").mkdir(parents=True)
    tone = 0.1 * np.sin(2 * np.pi * 150 * np.arange(44100) / 22050)
    soundfile.write(tmp_path / "one.wav", tone, 22050, subtype="PCM_16")
    for name in NAMES:
        (root / "emodb" / "wav" / name).hardlink_to(tmp_path / "one.wav")
    return root


def one_line(err):
    lines = err.strip().splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    return lines[0]


def test_help_teaches(thesis):
    code, out, _ = thesis("--help")
    assert code == 0
    for command in ("data", "weights", "run", "agreement"):
        assert command in out
    _, out, _ = thesis("run", "--help")
    assert "thesis run 08 -p corpus emodb" in " ".join(out.split())


def test_lists_are_json_when_asked(thesis, data_root):
    code, out, err = thesis("data", "list", "--json", "--data-root", data_root)
    (entry,) = (row for row in json.loads(out) if row["name"] == "emodb")
    assert (code, err) == (0, "")
    assert entry["folder"] == str(data_root / "emodb")
    assert "zero/1.0" in entry["licence"]
    code, out, _ = thesis("weights", "list", "--json")
    assert code == 0
    assert "speech-encoder" in {row["name"] for row in json.loads(out)}


def test_check_passes_a_complete_corpus(thesis, data_root):
    code, out, _ = thesis("data", "check", "emodb", "--data-root", data_root)
    assert code == 0
    assert "complete (cut-2s)" in out


def test_check_names_each_problem_and_exits_2(thesis, data_root):
    wav = data_root / "emodb" / "wav"
    (wav / NAMES[0]).unlink()
    (wav / NAMES[1]).unlink()
    (wav / NAMES[1]).write_bytes(b"")
    (wav / "extra.wav").write_bytes(b"")
    code, out, _ = thesis("data", "check", "emodb", "--data-root", data_root)
    assert code == 2
    assert len(out.splitlines()) == 3
    for name in (NAMES[0], NAMES[1], "extra.wav"):
        assert name in out
    code, out, _ = thesis("data", "check", "emodb", "--json", "--data-root", data_root)
    assert code == 2
    assert len(json.loads(out)["problems"]) == 3


def test_a_twin_is_written_and_checked(thesis, tmp_path):
    out = tmp_path / "roots" / "emodb"
    code, said, err = thesis("data", "twin", "emodb", "--out", out, "--clips", 5, "--seed", 2)
    assert code == 0
    assert "written" in said
    assert "5 of 5" in err
    code, said, _ = thesis("data", "check", "emodb", "--data-root", out.parent)
    assert code == 0
    assert "complete (twin)" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "99"], "chapter 99: has no notebook of its own; choose 01, 02"),
        (["run", "08", "-p", "sed", "1"], "parameter sed: is unknown to 08_affect"),
        (["run", "08", "-p", "seed"], "option -p: needs a name and a value"),
        (["run", "08", "-p", "profile", "small"], "option -p profile: has an option of its own"),
        (["run", "08", "-p", "corpus", "["], "option -p corpus: cannot be '['"),
        (["run", "/"], "chapter /: has no notebook of its own"),
        (["run", "08", "--profile", "huge"], "option --profile: cannot be 'huge'"),
        (["data", "check", "affectnet"], "affectnet: has no loader"),
        (["data", "get", "crema-d"], "crema-d: is handed out by its owners only; access:"),
        (["data", "twin", "affectnet", "--out", "x"], "affectnet: has no twin on disk"),
        (["data", "check", "emo-db"], "emo-db: has no manifest; choose one of"),
        (["data", "check", "emodb", "--data-root", "/nowhere"], "/nowhere: is not a folder"),
        (["data", "twin", "ccdb", "--out", "x", "--duration-s", "6"], "6 s is no conversation"),
        (["data", "twin", "emodb", "--out", "x", "--effect", "loud=1"], "loud"),
        (["data", "twin", "emodb", "--out", "x", "--effect", "loud"], "is not NAME=NUMBER"),
        (["weights", "get", "whisper"], "whisper"),
        (["agreement", "a.eaf", "b.eaf"], "a.eaf"),
    ],
)
def test_bad_input_exits_2_with_one_line(thesis, arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = thesis(*arguments)
    assert code == 2
    assert out == ""
    assert said in one_line(err)


def test_a_folder_that_is_no_twin_is_left_alone(thesis, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.docx").write_text("years of work")
    code, _, err = thesis("data", "twin", "emodb", "--out", tmp_path / "mine", "--clips", 1)
    assert code == 2
    assert "no twin" in one_line(err)
    assert (tmp_path / "mine" / "thesis.docx").read_text() == "years of work"


def test_an_unwritable_results_folder_leaves_nothing(thesis, tmp_path):
    (tmp_path / "results").write_text("a file where the folder should be")
    code, _, err = thesis("run", "08", "--out", tmp_path / "results")
    assert code == 2
    assert "cannot be written" in one_line(err)
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


def test_terms_are_shown_and_their_acceptance_recorded(thesis, monkeypatch, tmp_path):
    monkeypatch.setattr(
        "thesislib.corpora.acceptance.acceptances_path", lambda: tmp_path / "acceptances.json"
    )
    code, out, _ = thesis("data", "accept", "crema-d", "--name", "A. Reader", "--yes")
    assert code == 0
    assert "odbl" in out.lower()
    assert "crema-d: accepted by A. Reader" in out
    assert "A. Reader" in (tmp_path / "acceptances.json").read_text()


def test_an_archive_fetched_by_hand_is_unpacked(thesis, data_root, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "emodb"), "zip", data_root)
    new = tmp_path / "new"
    new.mkdir()
    digest = hashlib.md5(Path(archive).read_bytes()).hexdigest()
    get = ("data", "get", "emodb", "--from", archive, "--data-root", new, "--hash")
    code, _, err = thesis(*get, "md5:" + "0" * 32)
    assert code == 2
    assert "is not the published" in one_line(err)
    assert list(new.iterdir()) == []
    code, out, _ = thesis(*get, f"md5:{digest}")
    assert code == 0
    assert "unpacked" in out
    assert thesis("data", "check", "emodb", "--data-root", new)[0] == 0


def test_claims_are_judged_and_kept_before_anything_is_recorded(thesis, project):
    code, out, _ = thesis("claims", "--json")
    rows = {row.pop("claim"): row for row in json.loads(out)}
    assert code == 0
    assert list(rows) == list(CLAIMS)
    assert rows["D"] == {
        "verdict": "on twins not recorded yet; on real recordings not tested",
        "real": "not tested on real recordings",
        "twins": "not recorded yet",
        "null": "not recorded yet",
    }
    assert rows["H"]["null"].startswith("no null twin: ")
    assert (project / "results" / "claims.json").is_file()


def test_statistics_of_a_corpus_are_written_and_taken_by_a_job(thesis, project, tmp_path):
    out, root = tmp_path / "own.json", project / "data"
    root.mkdir()
    manifests = Path(__file__).parents[2] / "data_manifests"
    (project / "data_manifests").symlink_to(manifests, target_is_directory=True)
    options = ("--clips", "6", "--out", out, "--data-root", root)
    code, said, err = thesis("data", "statistics", "librispeech-twin", *options)
    assert code == 0, err
    assert "has no pictures" in said
    told = json.loads(out.read_text())["log_mel"]
    assert f"mean {told['mean']:.3f}, deviation {told['std']:.3f}" in said
    assert -12 < told["mean"] < 0 < told["std"] < 6
    code, _, err = thesis("data", "statistics", "crema-d-twin", *options)
    assert code == 2
    assert "pretraining" in one_line(err)
