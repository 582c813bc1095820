"""NDC-ME, IFADV and CCDB on disk: pairing, people, windows as clips, and what `check` reports."""

from itertools import chain

import numpy as np
import pytest
import soundfile

from thesislib.corpora import dyadic
from thesislib.corpora.acceptance import accept
from thesislib.corpora.dyadic import check, load_clips, load_recordings
from thesislib.corpora.elan import IBAnnotation, Segment, write_eaf
from thesislib.corpora.splits import leaked_share, random_split, speaker_groups, speaker_split
from thesislib.corpora.twins.dyads import recording_name
from thesislib.corpora.windows import label_windows
from thesislib.errors import InputError
from thesislib.signals.media import read_waveform

MP4 = b"\x00\x00\x00\x10ftypisom\x00\x00\x02\x00"  # the first box of a real one
CORPORA = ("ndc-me", "ifadv", "ccdb")


def annotation(name, *, laugh_at=1220, span_ms=(0, 12200), tiers=("Role", "Smiles", "Laughs")):
    segments = {
        "Role": (Segment(0, 6100, "spk"), Segment(6100, 12200, "lsn")),
        "Smiles": (Segment(4880, 6100, "subtle"),),
        "Laughs": (Segment(laugh_at, laugh_at + 1220, "high"),),
    }
    return IBAnnotation(name=name, tiers={tier: segments[tier] for tier in tiers}, span_ms=span_ms)


def write_participant(folder, name, **options):
    write_eaf(annotation(f"{name}.eaf", **options), folder / f"{name}.eaf", [f"{name}.mp4"])
    (folder / f"{name}.mp4").write_bytes(MP4)
    soundfile.write(folder / f"{name}.wav", np.full(16000 * 13, 0.1), 16000)


def names_of(corpus, dyads):
    return [
        [recording_name(corpus, n, person, ("male", "female")[person]) for person in (0, 1)]
        for n in range(1, dyads + 1)
    ]


@pytest.fixture(autouse=True)
def _accepted(tmp_path_factory, monkeypatch):
    path = tmp_path_factory.mktemp("acceptances") / "acceptances.json"
    monkeypatch.setattr("thesislib.corpora.acceptance.acceptances_path", lambda: path)
    for corpus in CORPORA:
        accept(corpus, name="Ada")


@pytest.fixture
def write(tmp_path):
    def write_corpus(corpus, dyads=3):
        for name in chain(*names_of(corpus, dyads)):
            write_participant(tmp_path, name)
        return tmp_path

    return write_corpus


@pytest.mark.parametrize("corpus", CORPORA)
def test_the_two_of_a_dyad_come_together(write, corpus):
    root = write(corpus)
    recordings = load_recordings(root, corpus)
    assert [r.name for r in recordings] == list(chain(*names_of(corpus, 3)))
    for first, second in zip(recordings[::2], recordings[1::2], strict=True):
        assert first.dyad == second.dyad
        assert (first.partner, second.partner) == (second.speaker, first.speaker)
        assert first.video_path == root / f"{first.name}.mp4"
        assert first.audio_path == root / f"{first.name}.wav"
        assert first.annotation.laughs == (Segment(1220, 2440, "high"),)
    assert len({r.dyad for r in recordings}) == 3
    assert len({r.speaker for r in recordings}) == 6
    assert check(root, corpus) == []


def test_people_are_those_of_the_names(write):
    recordings = load_recordings(write("ndc-me", 1), "ndc-me")
    assert [(r.dyad, r.speaker, r.sex) for r in recordings] == [
        ("1_1", "1A", "male"),
        ("1_1", "1B", "female"),
    ]


def test_people_of_the_other_two_corpora(tmp_path):
    for folder, corpus, names, expected in [
        ("c", "ccdb", ["P12_P2_1402_monk", "P12_P2_1402_dizzy"], ["P12", "P2"]),
        ("i", "ifadv", ["DVA1A", "DVA2C"], ["A", "C"]),
        ("two", "ifadv", ["DVA1A", "DVB1B"], ["A", "B"]),
    ]:
        (tmp_path / folder).mkdir()
        for name in names:
            write_participant(tmp_path / folder, name)
        recordings = load_recordings(tmp_path / folder, corpus)
        assert [r.speaker for r in recordings] == expected
        assert {r.sex for r in recordings} == {"unknown"}
    assert [r.dyad for r in recordings] == ["DVA1A-DVB1B"] * 2


def test_sessions_of_one_pair_are_of_the_same_people(tmp_path):
    for name in ("13_1_A_M", "13_1_B_F", "13_2_A_M", "13_2_B_F"):
        write_participant(tmp_path, name)
    recordings = load_recordings(tmp_path, "ndc-me")
    assert [r.dyad for r in recordings] == ["13_1", "13_1", "13_2", "13_2"]
    assert [r.speaker for r in recordings] == ["13A", "13B", "13A", "13B"]


def test_a_table_says_who_sat_where(write):
    root = write("ndc-me", 3)
    rows = ["file,participant,sex"]
    for number, pair in enumerate(names_of("ndc-me", 3)):
        rows += [f"{pair[0]},ann,Female", f"{pair[1]},guest{number},"]
    (root / "participants.csv").write_text("\n".join(rows))
    recordings = load_recordings(root, "ndc-me")
    assert [(r.speaker, r.partner, r.sex) for r in recordings[:2]] == [
        ("ann", "guest0", "female"),
        ("guest0", "ann", "unknown"),
    ]
    clips = load_clips(root, "ndc-me")
    assert set(speaker_groups(clips)) == {"ann"}
    with pytest.raises(ValueError, match="three groups of people or more, and there are 1: ann"):
        speaker_split(clips)
    (root / "participants.csv").write_text("\n".join(rows[:-1]))
    with pytest.raises(InputError, match=r"3_1_B_F.eaf: has no row in participants.csv"):
        load_recordings(root, "ndc-me")
    assert ["has no row" in str(p) for p in check(root, "ndc-me")] == [True]
    (root / "participants.csv").write_text("file,participant,sex\n1_1_A_M,ann,girl\n")
    with pytest.raises(InputError, match=r"participants.csv: row 2: cannot read .*'girl'"):
        load_recordings(root, "ndc-me")


@pytest.mark.parametrize("corpus", CORPORA)
def test_clips_are_labelled_windows_of_the_recordings(write, corpus):
    root = write(corpus, 1)
    clips = load_clips(root, corpus)
    first = [c for c in clips if c.clip_id.startswith(load_recordings(root, corpus)[0].name)]
    assert [(c.start_s, c.labels["expression"], c.labels["intensity"]) for c in first] == [
        (0.0, "none", "none"),
        (1.22, "laugh", "high"),
        (2.44, "none", "none"),
        (3.66, "none", "none"),
        (4.88, "smile", "subtle"),
        *((s, "none", "none") for s in (6.1, 7.32, 8.54, 9.76, 10.98)),
    ]
    assert [c.labels["role"] for c in first] == ["spk"] * 5 + ["lsn"] * 5
    assert [c.scores["share"] for c in first] == [0, 1, 0, 0, 1, 0, 0, 0, 0, 0]
    assert {c.duration_s for c in clips} == {1.22}
    assert {c.corpus for c in clips} == {corpus}
    assert len({c.clip_id for c in clips}) == len(clips) == 20
    partners = {c.speaker: c.labels["partner"] for c in clips}
    assert all(partners[partners[speaker]] == speaker for speaker in partners)
    waveform = read_waveform(
        clips[0].audio_path, start_s=clips[0].start_s, duration_s=clips[0].duration_s
    )
    assert len(waveform) == 19520


def test_of_ifadv_the_first_two_minutes_count(tmp_path):
    for corpus, names in [("ifadv", ["DVA1A", "DVA2C"]), ("ndc-me", ["1_1_A_M", "1_1_B_F"])]:
        folder = tmp_path / corpus
        folder.mkdir()
        for name in names:
            write_participant(folder, name, span_ms=(0, 300_000))
        last = max(clip.start_s for clip in load_clips(folder, corpus))
        limit = 120 if corpus == "ifadv" else 300
        assert limit - 2 * 1.22 < last <= limit - 1.22


def test_hop_and_length_reach_the_windows(write):
    root = write("ndc-me", 1)
    clips = load_clips(root, "ndc-me", length_s=2, hop_s=0.5)
    expected = label_windows(annotation("x"), length_s=2, hop_s=0.5)
    assert [c.start_s for c in clips[: len(expected)]] == (expected.start_ms / 1000).tolist()
    assert {c.duration_s for c in clips} == {2.0}


@pytest.mark.parametrize("corpus", CORPORA)
def test_a_speaker_split_keeps_people_and_dyads_apart(write, corpus):
    clips = load_clips(write(corpus, 5), corpus)
    for seed in range(3):
        split = speaker_split(clips, seed=seed)
        for key in (lambda c: c.speaker, lambda c: c.labels["dyad"]):
            parts = [
                {key(clips[i]) for i in part}
                for part in (split.train, split.validation, split.test)
            ]
            assert all(parts)
            assert sum(map(len, parts)) == len(set.union(*parts))
        assert leaked_share(clips, split) == 0
    assert leaked_share(clips, random_split(clips)) > 0.5


def test_people_of_several_dyads_bind_them_together(tmp_path):
    for name in ("P1_P2_1402", "P2_P3_1403", "P4_P5_1404", "P6_P7_1405"):
        write_participant(tmp_path, f"{name}_dizzy")
    write_participant(tmp_path, "P1_P2_1402_monk")
    clips = load_clips(tmp_path, "ccdb")
    groups = dict(zip((c.labels["dyad"] for c in clips), speaker_groups(clips), strict=True))
    assert groups["P1_P2_1402"] == groups["P2_P3_1403"]
    assert len(set(groups.values())) == 3
    assert [str(p).split(": ")[1] for p in check(tmp_path, "ccdb")] == [
        "has no counterpart; restore the file of the other participant"
    ] * 3


def test_annotators_have_folders_of_their_own(write, tmp_path):
    root = write("ndc-me", 1)
    other = root / "annotator 2"
    other.mkdir()
    for name in names_of("ndc-me", 1)[0]:
        write_eaf(annotation(f"{name}.eaf", laugh_at=2440), other / f"{name}.eaf")
    with pytest.raises(InputError, match=r"1_1_A_M.eaf: has the same name as .* name the folder"):
        load_clips(root, "ndc-me")
    assert len(check(root, "ndc-me")) == 1
    clips = load_clips(root, "ndc-me", annotations=other)
    assert [c.start_s for c in clips if c.labels["expression"] == "laugh"] == [2.44, 2.44]
    assert check(root, "ndc-me", annotations=other) == []


def test_annotations_load_without_recordings_but_clips_do_not(write):
    root = write("ndc-me", 1)
    for path in [*root.glob("*.mp4"), *root.glob("*_A_M.wav")]:
        path.unlink()
    first, second = load_recordings(root, "ndc-me")
    assert (first.audio_path, first.video_path, second.video_path) == (None, None, None)
    assert second.audio_path == root / "1_1_B_F.wav"
    with pytest.raises(InputError, match=r"1_1_A_M.eaf: has no recording of its name"):
        load_clips(root, "ndc-me")
    (problem,) = check(root, "ndc-me")
    assert problem.path.endswith("1_1_A_M.eaf")


def test_the_sound_of_the_video_serves_where_there_is_no_other(write):
    root = write("ndc-me", 1)
    (root / "1_1_A_M.wav").unlink()
    assert load_recordings(root, "ndc-me")[0].audio_path == root / "1_1_A_M.mp4"


def test_a_smile_over_a_laugh_is_reported_with_its_place(write):
    root = write("ndc-me", 1)
    write_participant(root, "1_1_A_M", laugh_at=5000)
    (problem,) = check(root, "ndc-me")
    assert str(problem).startswith(
        f"{root}/1_1_A_M.eaf: Smiles: 5.000 s: a smile and a laugh overlap up to 6100 ms"
    )
    starts = [c.start_s for c in load_clips(root, "ndc-me") if c.clip_id.startswith("1_1_A")]
    assert 4.88 not in starts
    assert 3.66 in starts


def test_a_file_without_laughs_yields_no_clip_and_is_reported(write):
    root = write("ndc-me", 1)
    write_participant(root, "1_1_A_M", tiers=("Role", "Smiles"))
    assert {c.speaker for c in load_clips(root, "ndc-me")} == {"1B"}
    (problem,) = check(root, "ndc-me")
    assert "1_1_A_M.eaf: has no tier Laughs, so no window" in str(problem)
    write_participant(root, "1_1_B_F", tiers=("Role",))
    with pytest.raises(InputError, match="holds no window with a label"):
        load_clips(root, "ndc-me")


@pytest.mark.parametrize(
    ("file", "content", "what"),
    [
        ("1_1_A_M.mp4", b"", r"1_1_A_M.mp4: is empty \(0 bytes\)"),
        ("1_1_A_M.wav", b"<html>", "1_1_A_M.wav: is no .wav file"),
        ("1_1_A_M.eaf", b"<html>", "1_1_A_M.eaf"),
        ("1_1_A_M.avi", b"RIFF", "1_1_A_M.mp4: is a second recording beside"),
        ("notes.eaf", b"", "notes.eaf: is not named like a recording of ndc-me"),
        ("DVA1A.eaf", b"", "DVA1A.eaf: is not named like a recording of ndc-me"),
        ("1_1_A_F.eaf", b"", "is a second file for one participant"),
    ],
)
def test_every_other_fault_is_named(write, file, content, what):
    root = write("ndc-me", 1)
    (root / file).write_bytes(content)
    problems = check(root, "ndc-me")
    assert len(problems) == 1
    with pytest.raises(InputError, match=what):
        raise problems[0]


def test_an_empty_folder_and_an_unknown_corpus_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"holds no \.eaf file"):
        load_recordings(tmp_path, "ndc-me")
    assert len(check(tmp_path, "ndc-me")) == 1
    with pytest.raises(InputError, match="crema-d: is no corpus of dyads; choose one of: ccdb"):
        raise check(tmp_path, "crema-d")[0]


def test_nothing_loads_before_the_licence_is_accepted_but_a_twin_does(write, monkeypatch, tmp_path):
    root = write("ccdb", 1)
    monkeypatch.setattr(
        "thesislib.corpora.acceptance.acceptances_path", lambda: tmp_path / "none.json"
    )
    with pytest.raises(InputError, match="thesis data accept ccdb"):
        load_clips(root, "ccdb")
    (root / "twin.json").write_text('{"clips": [{"file": "P1_P2_1001_dizzy.mp4"}]}')
    assert load_clips(root, "ccdb")
    assert dyadic.detect_variant(root) == "twin"
    (root / "twin.json").write_text('{"clips": [{"file": "P9_P2_1001_dizzy.mp4"}]}')
    assert "P9_P2_1001_dizzy.mp4: is missing" in str(check(root, "ccdb")[0])
