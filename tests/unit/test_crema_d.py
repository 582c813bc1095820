"""CREMA-D on disk: names, label sources, tables, and what `check` reports."""

import csv

import numpy as np
import pytest
import soundfile

from thesislib.corpora import crema_d
from thesislib.corpora.acceptance import accept
from thesislib.corpora.crema_d import check, load_clips
from thesislib.corpora.manifest import load_manifest
from thesislib.corpora.splits import leaked_share, speaker_split
from thesislib.errors import InputError

FLV = b"FLV\x01\x05\x00\x00\x00\x09\x00\x00\x00\x00"  # the header of a file without tags
VOTES = {  # voice, face, both; as the owners write a tie
    "ANG": ("A", "A:D", "A"),
    "HAP": ("N", "H", "H"),
    "NEU": ("N", "N", "D:N"),
}


def write_corpus(root, actors=("1001", "1002", "1003", "1004"), sentences=("DFA", "IEO")):
    names = [
        f"{actor}_{sentence}_{emotion}_{'HI' if sentence == 'IEO' else 'XX'}"
        for actor in actors
        for sentence in sentences
        for emotion in VOTES
    ]
    for folder in ("AudioWAV", "VideoFlash", "processedResults"):
        (root / folder).mkdir(parents=True)
    for number, name in enumerate(names):
        tone = 0.1 * np.sin(np.arange(160) * (number + 1) / 50)
        soundfile.write(root / "AudioWAV" / f"{name}.wav", tone, 16000)
        (root / "VideoFlash" / f"{name}.flv").write_bytes(FLV)
    write(root / "SentenceFilenames.csv", ["Stimulus_Number", "Filename"], enumerate(names, 1))
    write(
        root / "VideoDemographics.csv",
        ["ActorID", "Age", "Sex", "Race", "Ethnicity"],
        [(a, 30, ("Male", "Female")[int(a) % 2], "Unknown", "Hispanic") for a in actors],
    )
    rows = []
    for number, name in enumerate(names, 1):
        cells = []
        for vote in VOTES[name.split("_")[2]]:
            cells += [vote, ":".join(["60.5", "70.25"][: len(vote.split(":"))])]
        rows.append([number, name, *cells])
    heads = [
        f"{who}{what}" for who in ("Voice", "Face", "MultiModal") for what in ("Vote", "Level")
    ]
    write(root / "processedResults" / "summaryTable.csv", ["", "FileName", *heads], rows)
    return names


def write(path, header, rows):
    with path.open("w", newline="") as stream:
        csv.writer(stream, quoting=csv.QUOTE_NONNUMERIC).writerows([header, *rows])


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "thesislib.corpora.acceptance.acceptances_path", lambda: tmp_path / "acceptances.json"
    )
    accept("crema-d", name="Ada")
    write_corpus(tmp_path / "crema-d")
    monkeypatch.setattr(crema_d, "N_CLIPS", 24)
    return tmp_path / "crema-d"


def emotions(clips):
    return {clip.clip_id: clip.labels["emotion"] for clip in clips}


def test_acted_labels_are_those_of_the_names(root):
    clips = load_clips(root)
    assert len(clips) == 24
    assert [c.clip_id for c in clips] == sorted(c.clip_id for c in clips)
    clip = next(c for c in clips if c.clip_id == "1001_IEO_HAP_HI")
    assert clip.labels == {
        "emotion": "happiness",
        "label_source": "acted",
        "sentence": "IEO",
        "intensity": "high",
    }
    assert (clip.corpus, clip.speaker, clip.sex, clip.scores) == ("crema-d", "1001", "female", {})
    assert clip.audio_path == root / "AudioWAV" / "1001_IEO_HAP_HI.wav"
    assert clip.video_path == root / "VideoFlash" / "1001_IEO_HAP_HI.flv"
    assert {c.labels["intensity"] for c in clips} == {"high", "unspecified"}


@pytest.mark.parametrize(
    ("labels", "expected", "strength"),
    [
        ("perceived", {"ANG": "anger", "HAP": "happiness"}, 0.605),
        ("perceived-both", {"ANG": "anger", "HAP": "happiness"}, 0.605),
        ("perceived-voice", {"ANG": "anger", "HAP": "neutral", "NEU": "neutral"}, 0.605),
        ("perceived-face", {"HAP": "happiness", "NEU": "neutral"}, 0.605),
    ],
)
def test_perceived_labels_are_the_majority_and_a_tie_has_none(root, labels, expected, strength):
    clips = load_clips(root, labels=labels)
    assert len(clips) == 8 * len(expected)
    for name, emotion in emotions(clips).items():
        assert emotion == expected[name.split("_")[2]]
    assert {c.scores["strength"] for c in clips} == {strength}
    source = "perceived-both" if labels == "perceived" else labels
    assert {c.labels["label_source"] for c in clips} == {source}


def test_the_sources_are_those_of_the_manifest():
    named = [row["source"] for row in load_manifest("crema-d").records("label_sources")]
    assert list(crema_d.LABEL_SOURCES) == named


def test_an_unknown_source_is_refused(root):
    with pytest.raises(InputError, match=r"labels: cannot be 'heard'; choose .*perceived-voice"):
        load_clips(root, labels="heard")


def test_nothing_loads_before_the_licence_is_accepted_but_a_twin_does(root, tmp_path):
    (tmp_path / "acceptances.json").unlink()
    with pytest.raises(InputError, match="thesis data accept crema-d"):
        load_clips(root)
    (root / "twin.json").write_text('{"clips": [{"file": "AudioWAV/1001_DFA_ANG_XX.wav"}]}')
    assert len(load_clips(root)) == 24
    assert crema_d.detect_variant(root) == "twin"
    assert check(root) == []


def test_a_whole_folder_has_no_problem(root):
    assert check(root) == []


def test_one_missing_clip_is_reported_by_name(root):
    (root / "AudioWAV" / "1003_DFA_HAP_XX.wav").unlink()
    (problem,) = check(root)
    assert str(problem).startswith(f"{root}/AudioWAV/1003_DFA_HAP_XX.wav: is missing;")
    (root / "VideoFlash" / "1002_IEO_NEU_HI.flv").unlink()
    assert [p.path.rsplit("/", 1)[-1] for p in check(root)] == [
        "1003_DFA_HAP_XX.wav",
        "1002_IEO_NEU_HI.flv",
    ]


def test_a_missing_file_of_a_twin_is_reported_once(root):
    (root / "twin.json").write_text('{"clips": [{"file": "AudioWAV/1001_DFA_ANG_XX.wav"}]}')
    (root / "AudioWAV" / "1001_DFA_ANG_XX.wav").unlink()
    (problem,) = check(root)
    assert problem.path.endswith("AudioWAV/1001_DFA_ANG_XX.wav")


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:c6f9\nsize 72862\n"


@pytest.mark.parametrize(
    ("file", "content", "what"),
    [
        ("AudioWAV/1001_DFA_ANG_XX.wav", POINTER, "is a pointer of git-lfs, not the recording"),
        ("AudioWAV/1001_DFA_ANG_XX.wav", b"", r"is empty \(0 bytes\)"),
        ("VideoFlash/1001_DFA_ANG_XX.flv", b"<html>", "is no .flv file"),
        ("AudioWAV/1001_DFA_SAD_XX.wav", b"RIFF", "does not belong to the corpus"),
        (
            "SentenceFilenames.csv",
            b'"Stimulus_Number","Filename"\n1\n',
            "row 2: has 1 cells, not 2",
        ),
        ("SentenceFilenames.csv", b'"Filename"\n', "lists 0 clips, not 24"),
        ("SentenceFilenames.csv", b"\xff\xfe\x00", "cannot be read as a table"),
        ("VideoDemographics.csv", b"ActorID,Age\n", "header: has no column 'Sex'"),
        ("processedResults/summaryTable.csv", b"", "has no column 'FileName'"),
    ],
)
def test_every_other_fault_is_named_with_its_place(root, file, content, what):
    (root / file).write_bytes(content)
    first = check(root)[0]
    assert first.path == str(root / file)
    with pytest.raises(InputError, match=what):
        raise first


def test_a_missing_folder_is_one_problem(root):
    (root / "VideoFlash").rename(root / "elsewhere")
    (problem,) = check(root)
    assert "VideoFlash: is missing" in str(problem)
    assert all(clip.video_path is None for clip in load_clips(root))


@pytest.mark.parametrize("name", ["1001_DFA_JOY_XX", "1001_DFA_ANG", "1001_DFA_ANG_UP", "notes"])
def test_a_name_outside_the_scheme_is_refused(root, name):
    soundfile.write(root / "AudioWAV" / f"{name}.wav", np.zeros(8), 16000)
    with pytest.raises(InputError, match=f"{name}.wav: is not named like"):
        load_clips(root)


def test_an_actor_or_clip_outside_the_tables_is_refused(root):
    soundfile.write(root / "AudioWAV" / "1091_DFA_ANG_XX.wav", np.zeros(8), 16000)
    with pytest.raises(InputError, match=r"1091_DFA_ANG_XX.wav: is of an actor whom"):
        load_clips(root)
    (root / "AudioWAV" / "1091_DFA_ANG_XX.wav").rename(root / "AudioWAV" / "1001_DFA_FEA_XX.wav")
    with pytest.raises(InputError, match=r"1001_DFA_FEA_XX.wav: has no row in summaryTable"):
        load_clips(root, labels="perceived")


@pytest.mark.parametrize(("vote", "level"), [("X", "60"), ("A", "high"), ("A:", "1"), ("", "")])
def test_votes_that_cannot_be_read_are_named(root, vote, level):
    path = root / "processedResults" / "summaryTable.csv"
    path.write_text(f"FileName,MultiModalVote,MultiModalLevel\nx,{vote},{level}\n")
    with pytest.raises(InputError, match=r"summaryTable.csv: row 2: cannot read"):
        load_clips(root, labels="perceived")


def test_an_empty_folder_is_refused(root):
    for path in (root / "AudioWAV").iterdir():
        path.unlink()
    for path in (root / "VideoFlash").iterdir():
        path.unlink()
    with pytest.raises(InputError, match="holds no clip"):
        load_clips(root)
    with pytest.raises(InputError, match="is not a folder"):
        load_clips(root / "nowhere")


def test_videos_as_mp4_are_taken_too(root):
    old = root / "VideoFlash" / "1001_DFA_ANG_XX.flv"
    old.write_bytes(b"\x00\x00\x00\x10ftypisom\x00\x00\x02\x00")
    old.rename(old.with_suffix(".mp4"))
    assert check(root) == []
    clip = next(c for c in load_clips(root) if c.clip_id == old.stem)
    assert clip.video_path == old.with_suffix(".mp4")


def test_flawed_clips_of_the_release_are_named_like_clips():
    assert all(crema_d.NAME.fullmatch(name) for name in crema_d.FLAWED)
    for name, what in crema_d.FLAWED.items():
        if what.startswith("the same recording"):
            other = what.rsplit(" ", 1)[1]
            assert crema_d.FLAWED[other].endswith(name)


def test_a_speaker_split_shares_no_actor(root):
    clips = load_clips(root)
    split = speaker_split(clips, seed=3)
    parts = [
        {clips[i].speaker for i in part} for part in (split.train, split.validation, split.test)
    ]
    assert all(parts)
    assert sum(map(len, parts)) == len(set.union(*parts)) == 4
    assert leaked_share(clips, split) == 0
