import json
import math
import shutil

import av
import numpy as np
import pytest

from thesislib import cli
from thesislib.corpora import dyadic, loading
from thesislib.corpora.elan import read_eaf
from thesislib.corpora.splits import leave_one_group_out
from thesislib.corpora.twins.conversations import (
    CAMERAS,
    CORPORA,
    EFFECTS,
    LEAKAGE_DB,
    amount,
    write_twin,
)
from thesislib.corpora.twins.dyads import simulate_dyad
from thesislib.corpora.twins.writing import check_target, describe_twin, new_twin, run_parallel
from thesislib.errors import InputError
from thesislib.signals.media import read_waveform
from thesislib.signals.video import check_media, read_frames
from thesislib.signals.video_sound import read_video_audio

SECONDS = 5.0


@pytest.fixture(scope="module")
def ccdb(tmp_path_factory):
    """Two conversations of five seconds, and what the progress said."""
    said = []
    out = tmp_path_factory.mktemp("twins") / "ccdb"
    write_twin("ccdb", out, seed=4, dyads=2, duration_s=SECONDS, workers=1, progress=said.append)
    return out, json.loads((out / "twin.json").read_text()), said


def test_the_layout_is_the_owners_and_loads_without_a_problem(ccdb):
    root, about, said = ccdb
    names = {
        f"P{2 * n - 1}_P{2 * n}_{1000 + n}_{seat}" for n in (1, 2) for seat in ("dizzy", "monk")
    }
    present = {path.name for path in root.iterdir()}
    assert present == {f"{name}{kind}" for name in names for kind in (".mp4", ".eaf")} | {
        "twin.json"
    }
    assert dyadic.check(root, "ccdb") == []
    recordings = dyadic.load_recordings(root, "ccdb")
    assert {r.name for r in recordings} == names
    by_file = {row["file"]: row for row in about["clips"]}
    for recording in recordings:
        row = by_file[f"{recording.name}.mp4"]
        assert recording.speaker == row["speaker"]
        assert recording.annotation.annotator == row["annotator"]
        assert recording.video_path == recording.audio_path == root / row["file"]
    clips = dyadic.load_clips(root, "ccdb")
    assert clips
    assert all(clip.start_s + clip.duration_s <= SECONDS + 1e-6 for clip in clips)
    assert said[-1] == amount("ccdb", dyads=2, duration_s=SECONDS) == 20


def test_the_media_are_what_the_camera_says(ccdb):
    root, about, _ = ccdb
    camera = CAMERAS["ccdb"]
    for row in about["clips"]:
        found = check_media(root / row["file"])
        assert found.problem is None
        assert (found.info.height, found.info.width) == camera.height_width
        assert found.info.fps == row["fps"] == camera.fps
        assert found.n_frames == row["frames"] == SECONDS * camera.fps
        assert found.info.sample_rate == camera.audio_rate
        assert abs(found.audio_s - SECONDS) < 1 / camera.fps
        with av.open(str(root / row["file"])) as container:
            assert container.streams.video[0].codec_context.name == "h264"


def test_truth_is_recorded(ccdb):
    _, about, _ = ccdb
    assert about["effects"] == dict.fromkeys(EFFECTS, 1.0)
    assert (about["twin"], about["seed"], about["synthetic"]) == ("ccdb", 4, True)
    dyad = simulate_dyad("ccdb", 1, seed=4, duration_s=SECONDS)
    for row, person in zip(about["clips"][:2], dyad.participants, strict=True):
        assert [(e["start_ms"], e["intensity"]) for e in row["events"]] == [
            (e.start_ms, e.intensity) for e in person.events
        ]
        assert row["roles"] == [[s.start_ms, s.end_ms, s.value] for s in person.roles]
        speaking = [(s.start_s, s.end_s) for s in person.roles if s.value == "spk"]
        speaking += [(s.start_s, s.end_s) for s in person.backchannels]
        for start, end, _ in row["syllables"]:
            assert 0 <= start < end
            assert any(a - 0.05 <= start <= b for a, b in speaking)
        assert len(row["personality"]) == 5
    assert any(row["syllables"] for row in about["clips"])


def test_nobody_is_in_two_conversations(ccdb):
    root, about, _ = ccdb
    faces = [json.dumps(row["identity"]) for row in about["clips"]]
    assert len(set(faces)) == len({row["speaker"] for row in about["clips"]}) == 4
    clips = dyadic.load_clips(root, "ccdb")
    dyads = [clip.labels["dyad"] for clip in clips]
    for _, train, test in leave_one_group_out(dyads):
        assert not {clips[i].speaker for i in train} & {clips[i].speaker for i in test}


def test_a_conversation_is_the_same_however_many_there_are(ccdb, tmp_path):
    root, _, _ = ccdb
    write_twin("ccdb", tmp_path / "one", seed=4, dyads=1, duration_s=SECONDS, workers=1)
    for path in sorted((tmp_path / "one").glob("*.eaf")):
        assert path.read_bytes() == (root / path.name).read_bytes()
    for path in sorted((tmp_path / "one").glob("*.mp4")):
        again, first = (read_frames(p, [0.0, 2.5, 4.9]) for p in (path, root / path.name))
        assert np.array_equal(again, first)


def test_ifadv_has_its_sound_twice(tmp_path):
    root = write_twin("ifadv", tmp_path / "ifadv", seed=1, dyads=1, duration_s=5, workers=1)
    assert dyadic.check(root, "ifadv") == []
    recordings = dyadic.load_recordings(root, "ifadv")
    assert [r.name[:4] for r in recordings] == ["DVA1", "DVA2"]
    loudest = 0.0
    for recording in recordings:
        assert recording.audio_path.suffix == ".wav"
        wav = read_waveform(recording.audio_path)
        assert len(wav) == 5 * 16_000
        loudest = max(loudest, float(wav.abs().max()))
        film = read_video_audio(recording.video_path)[: len(wav)]
        assert np.corrcoef(wav[2000:-2000], film[2000:-2000])[0, 1] > 0.9
    assert loudest > 0.1


def test_a_conversation_may_be_heard_only(tmp_path):
    root = write_twin(
        "ndc-me", tmp_path / "heard", dyads=1, duration_s=12, workers=1, effects={"pictures": 0}
    )
    recordings = dyadic.load_recordings(root, "ndc-me")
    assert [len(read_video_audio(r.video_path)) // 16_000 for r in recordings] == [12, 12]
    for recording in recordings:
        with av.open(str(recording.video_path)) as container:
            assert [stream.type for stream in container.streams] == ["audio"]


def test_a_null_twin_says_so_and_shows_it(tmp_path):
    root = write_twin(
        "ib", tmp_path / "ib", seed=2, dyads=1, duration_s=60, workers=1,
        effects={"smile_intensity": 0, "leakage": 0.5},
    )  # fmt: skip
    about = json.loads((root / "twin.json").read_text())
    assert {n: s for n, s in about["effects"].items() if s != 1} == {
        "smile_intensity": 0.0, "leakage": 0.5,
    }  # fmt: skip
    with pytest.raises(InputError, match=r"loudness: is no effect .*; known are .*camera"):
        write_twin("ib", tmp_path / "x", effects={"loudness": 0})


def test_the_annotators_of_the_very_same_conversations(ccdb, tmp_path):
    """In two processes, since the media were annotated in this one."""
    said = []
    root = write_twin(
        "ib", tmp_path / "ib", seed=4, dyads=2, duration_s=SECONDS, workers=2, progress=said.append
    )
    assert said[-1] == amount("ib", dyads=2) == 6
    beside = {path.name: path for path in ccdb[0].glob("*.eaf")}
    assert {path.parent.parent.name for path in root.glob("*/*/*.eaf")} == set(CORPORA)
    for name, path in beside.items():
        assert path.read_bytes() == (root / "ccdb" / "annotator_1" / name).read_bytes()
    with pytest.raises(InputError, match=r"missing\.eaf: .*does not exist|missing\.eaf"):
        run_parallel(read_eaf, [tmp_path / "missing.eaf"] * 2, workers=2)


def test_a_third_conversation_is_annotated_for_two_minutes(tmp_path):
    root = write_twin("ib", tmp_path / "ib", dyads=3, duration_s=150, workers=1)
    spans = {path.parent.name: read_eaf(path).span_ms for path in root.glob("ndc-me/*/3_1_A_*.eaf")}
    assert spans == {
        "annotator_3": (0, 120_000), "annotator_4": (0, 120_000), "annotator_5": (0, 150_000),
    }  # fmt: skip


def test_foreign_folders_are_left_alone(ccdb, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("years of work")
    with pytest.raises(InputError, match="is no twin of ccdb"):
        write_twin("ccdb", mine, dyads=1, duration_s=5)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    copy = tmp_path / "copy"
    shutil.copytree(ccdb[0], copy)
    check_target(copy, "ccdb")
    with pytest.raises(InputError, match="is no twin of ifadv"):
        check_target(copy, "ifadv")
    (copy / "extra.csv").write_text("a")
    with pytest.raises(InputError, match=r"extra\.csv: is not part of the twin"):
        check_target(copy, "ccdb")


def test_a_twin_replaces_an_older_one_whole_or_not_at_all(tmp_path):
    def make(content, fail=False):
        with new_twin(tmp_path / "t", "ccdb") as folder:
            (folder / "sub").mkdir()
            (folder / "sub" / f"{content}.txt").write_text(content)
            if fail:
                raise RuntimeError(content)
            rows = [{"file": f"sub/{content}.txt"}]
            describe_twin(folder, "ccdb", module="thesislib.errors", seed=0, effects={}, clips=rows)

    make("old")
    with pytest.raises(RuntimeError):
        make("broken", fail=True)
    assert [path.name for path in (tmp_path / "t" / "sub").iterdir()] == ["old.txt"]
    make("new")
    assert [path.name for path in (tmp_path / "t" / "sub").iterdir()] == ["new.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"dyads": 0}, {"seed": -1}, {"duration_s": 4.0}, {"duration_s": math.nan},
        {"effects": {"mimicry": -1.0}},
    ],
)  # fmt: skip
def test_unusable_numbers_are_refused_before_work_begins(wrong, tmp_path):
    with pytest.raises(InputError):
        write_twin("ndc-me", tmp_path / "x", **wrong)
    assert list(tmp_path.iterdir()) == []


def test_corpora_differ():
    cameras = [CAMERAS[corpus] for corpus in CORPORA]
    for trait in ("noise", "profile", "white_balance", "size", "room_db"):
        assert len({str(getattr(camera, trait)) for camera in cameras}) == 3
    assert {camera.fps for camera in cameras} == {25, 50}
    assert len(set(LEAKAGE_DB.values())) == 3


def test_the_loader_takes_a_current_twin_as_it_is(ccdb, monkeypatch):
    root, _, _ = ccdb
    monkeypatch.setattr(loading, "twin_folder", lambda *a, **k: root)
    stamp = (root / "twin.json").stat().st_mtime_ns
    size = {"seed": 4, "dyads": 2, "duration_s": SECONDS}
    corpus = loading.load_corpus("ccdb-twin", **size, clips=5)
    assert (corpus.name, corpus.variant, corpus.synthetic) == ("ccdb", "twin", True)
    assert len(corpus.clips) == 5
    assert (root / "twin.json").stat().st_mtime_ns == stamp
    for other in ({"seed": 5}, {"dyads": 3}, {"duration_s": 0}, {"effects": {"mimicry": 0}}):
        assert not loading.is_current_twin(root, corpus="ccdb", **(size | other))
    assert not loading.is_current_twin(root, corpus="ifadv", **size)


def test_real_corpora_need_an_acceptance(tmp_path, monkeypatch):
    monkeypatch.setenv("THESISLIB_DATA_ROOT", str(tmp_path))
    with pytest.raises(InputError, match="ndc-me: is not under"):
        loading.load_corpus("ndc-me")
    (tmp_path / "ndc-me").mkdir()
    with pytest.raises(InputError, match="thesis data accept"):
        loading.load_corpus("ndc-me")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ndc-me", "--effect", "grin=0"], "grin: is no effect of this twin; known are role"),
        (["ndc-me", "--clips", "3"], "ndc-me: is made of conversations"),
        (["emodb", "--dyads", "3"], "emodb: is made of clips"),
        (["affectnet"], "affectnet: has no twin on disk"),
        (["ccdb", "--duration-s", "3"], "3 s is no conversation"),
    ],
)
def test_the_command_refuses_in_one_line(arguments, said, tmp_path, monkeypatch, capsys):
    command = ["thesis", "data", "twin", *arguments, "--out", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit) as stop:
        cli.main()
    lines = capsys.readouterr().err.strip().splitlines()
    assert (stop.value.code, len(lines)) == (2, 1)
    assert said in lines[0]
    assert not (tmp_path / "out").exists()


def test_the_command_writes_every_annotation(tmp_path, monkeypatch, capsys):
    command = ["thesis", "data", "twin", "ib", "--out", str(tmp_path / "ib"), "--dyads", "1"]
    monkeypatch.setattr("sys.argv", [*command, "--duration-s", "12", "--effect", "role=2"])
    monkeypatch.setattr("thesislib.corpora.twins.writing.default_workers", lambda: 1)
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code in (0, None)
    assert "written" in capsys.readouterr().out
    assert json.loads((tmp_path / "ib" / "twin.json").read_text())["effects"]["role"] == 2
