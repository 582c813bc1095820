"""First Impressions, VoxCeleb2 and LibriSpeech on disk, and the help that all loaders share."""

import builtins
import io
import pickle

import numpy as np
import pytest
import soundfile

from thesislib.corpora import first_impressions, layout, librispeech, voxceleb2
from thesislib.corpora.acceptance import accept
from thesislib.corpora.manifest import load_manifest
from thesislib.corpora.splits import leaked_share, published_split, speaker_split
from thesislib.errors import InputError

MP4 = b"\x00\x00\x00\x10ftypisom\x00\x00\x02\x00"  # the first box of a real one
TRAITS = ("extraversion", "neuroticism", "agreeableness", "conscientiousness", "interview")
VIDEOS = ("J4GQm9j0JZ0", "zEyRyTnIw5I", "-x_1.y2345A")
PKL = ("annotation_training.pkl", "annotation_validation.pkl", "annotation_test.pkl")


def write_first_impressions(root):
    """Three clips of one video in training; of others, one clip in each of two parts."""
    parts = {
        "train": [f"{VIDEOS[0]}.{n:03}.mp4" for n in range(3)] + [f"{VIDEOS[1]}.005.mp4"],
        "val": [f"{VIDEOS[1]}.000.mp4"],
        "test": [f"{VIDEOS[2]}.000.mp4"],
    }
    for (part, clips), name in zip(parts.items(), PKL, strict=True):
        folder = root / f"{part}-videos" / "80_01"
        folder.mkdir(parents=True)
        for clip in clips:
            (folder / clip).write_bytes(MP4)
        scores = {
            trait: {clip: (number + place) / 10 for number, clip in enumerate(clips)}
            for place, trait in enumerate((*TRAITS, "openness"))
        }
        with (root / name).open("wb") as stream:
            pickle.dump(scores, stream, protocol=2)


def write_voxceleb2(root):
    rows = ["VoxCeleb2 ID ,VGGFace2 ID ,Gender ,Set "]
    for number, part in enumerate(["dev", "dev", "dev", "dev", "test"]):
        speaker = f"id{number:05}"
        rows.append(f"{speaker} ,n00000{number} ,{'mf'[number % 2]} ,{part} ")
        for video in ("21Uxsk56VDQ", "-_abcdefghi"):
            folder = root / part / "mp4" / speaker / video
            folder.mkdir(parents=True)
            for utterance in (1, 12):
                (folder / f"{utterance:05}.mp4").write_bytes(MP4)
    (root / "vox2_meta.csv").write_text("\n".join(rows) + "\n")
    sound = root / "dev" / "aac" / "id00000" / "21Uxsk56VDQ" / "00012.m4a"
    sound.parent.mkdir(parents=True)
    sound.write_bytes(MP4)


def write_librispeech(root):
    home = root / "LibriSpeech"
    lines = [";ID  |SEX| SUBSET           |MINUTES| NAME"]
    for reader, sex, partition, name in [
        ("14", "F", "train-clean-100", "Kristin LeMoine"),
        ("103", "F", "train-clean-100", "Karen Savage"),
        ("60", "M", "train-clean-100", "|CBW|Simon"),
        ("84", "F", "dev-clean", "Christie Nowak"),
        ("99", "M", "test-clean", "A reader whose archive is not here"),
    ]:
        lines.append(f"{reader:<5}| {sex} | {partition:<16} | 25.03 | {name}")
        if partition == "test-clean":
            continue
        for chapter in ("208", "1240"):
            folder = home / partition / reader / chapter
            folder.mkdir(parents=True)
            words = []
            for number in range(2):
                utterance = f"{reader}-{chapter}-{number:04}"
                soundfile.write(folder / f"{utterance}.flac", np.full(160, 0.1), 16000)
                words.append(f"{utterance} CHAPTER {number} OF {chapter}")
            (folder / f"{reader}-{chapter}.trans.txt").write_text("\n".join(words) + "\n")
    (home / "SPEAKERS.TXT").write_text("\n".join(lines) + "\n")


LOADERS = {
    "first-impressions": (first_impressions, write_first_impressions, 6),
    "voxceleb2": (voxceleb2, write_voxceleb2, 20),
    "librispeech": (librispeech, write_librispeech, 16),
}


@pytest.fixture(autouse=True)
def acceptances(tmp_path_factory, monkeypatch):
    path = tmp_path_factory.mktemp("acceptances") / "acceptances.json"
    monkeypatch.setattr("thesislib.corpora.acceptance.acceptances_path", lambda: path)
    accept("first-impressions", name="Ada")
    accept("voxceleb2", name="Ada")
    return path


@pytest.fixture
def write(tmp_path):
    def write_corpus(name):
        LOADERS[name][1](tmp_path)
        return tmp_path, LOADERS[name][0]

    return write_corpus


@pytest.mark.parametrize("name", LOADERS)
def test_every_clip_loads_and_a_whole_folder_has_no_problem(write, name):
    root, module = write(name)
    clips = module.load_clips(root)
    assert len(clips) == len({c.clip_id for c in clips}) == LOADERS[name][2]
    assert {c.corpus for c in clips} == {name}
    for clip in clips:
        for path in (clip.audio_path, clip.video_path):
            assert path is None or path.is_file()
        assert clip.audio_path
        assert clip.labels["partition"]
    assert module.check(root) == []
    assert module.detect_variant(root) == "release"


@pytest.mark.parametrize("name", LOADERS)
def test_a_speaker_split_shares_no_speaker(write, name):
    root, module = write(name)
    clips = module.load_clips(root)
    for seed in range(3):
        split = speaker_split(clips, seed=seed)
        parts = [
            {clips[i].speaker for i in part} for part in (split.train, split.validation, split.test)
        ]
        assert all(parts)
        assert sum(map(len, parts)) == len(set.union(*parts)) == len({c.speaker for c in clips})
        assert leaked_share(clips, split) == 0


@pytest.mark.parametrize("name", LOADERS)
def test_an_empty_folder_is_refused(name, tmp_path):
    module = LOADERS[name][0]
    assert module.check(tmp_path)
    with pytest.raises(InputError):
        module.load_clips(tmp_path)
    with pytest.raises(InputError, match="is not a folder"):
        module.load_clips(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["first-impressions", "voxceleb2"])
def test_licensed_media_need_an_acceptance_unless_they_are_a_twin(write, name, acceptances):
    root, module = write(name)
    acceptances.unlink()
    with pytest.raises(InputError, match=f"thesis data accept {name}"):
        module.load_clips(root)
    (root / "twin.json").write_text('{"clips": [{"file": "gone.mp4"}]}')
    assert len(module.load_clips(root)) == LOADERS[name][2]
    assert module.detect_variant(root) == "twin"
    (problem,) = module.check(root)
    assert "gone.mp4: is missing" in str(problem)


def test_librispeech_needs_no_acceptance(write, acceptances):
    root, module = write("librispeech")
    acceptances.unlink()
    assert module.load_clips(root)


def faults(module, root):
    return [str(problem) for problem in module.check(root)]


# --- First Impressions ---------------------------------------------------------------------------


def test_first_impressions_scores_and_sources(write):
    root, module = write("first-impressions")
    clips = {clip.clip_id: clip for clip in module.load_clips(root)}
    clip = clips[f"{VIDEOS[0]}.002"]
    assert clip.scores == pytest.approx(
        {"extraversion": 0.2, "neuroticism": 0.3, "agreeableness": 0.4, "conscientiousness": 0.5}
        | {"interview": 0.6, "openness": 0.7}
    )
    assert clip.scores.keys() == {
        row["trait"] for row in load_manifest("first-impressions").records("traits")
    }
    assert (clip.speaker, clip.labels["partition"]) == (VIDEOS[0], "train")
    assert clip.audio_path == clip.video_path
    assert {c.speaker for c in clips.values()} == set(VIDEOS)


def test_the_published_parts_leak_and_the_split_by_video_does_not(write):
    root, module = write("first-impressions")
    clips = module.load_clips(root)
    parts = {"train": "train", "val": "test", "test": "validation"}
    assert leaked_share(clips, published_split(clips, parts)) == 1
    assert leaked_share(clips, speaker_split(clips)) == 0


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize("kind", [float, np.float64, np.float32])
def test_plain_and_numpy_scores_are_read_at_every_protocol(tmp_path, protocol, kind):
    scores = {trait: {"a.000.mp4": kind(0.25)} for trait in (*TRAITS, "openness")}
    path = tmp_path / PKL[0]
    path.write_bytes(pickle.dumps(scores, protocol))
    assert first_impressions.read_annotation(path) == {
        "a.000": dict.fromkeys((*TRAITS, "openness"), 0.25)
    }


def test_a_numpy_score_of_python_2_is_read(tmp_path):
    number = (  # protocol 0, as Python 2 wrote a numpy.float64: its bytes as text
        "cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'f8'\nI0\nI1\ntR"
        "(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbS'\\x9a\\x99\\x99\\x99\\x99\\x99\\xe9?'\ntR"
    )
    body = "".join(f"S'{t}'\n(dS'a.000.mp4'\n{number}ss" for t in (*TRAITS, "openness"))
    path = tmp_path / PKL[0]
    path.write_text(f"(d{body}.")
    scores = first_impressions.read_annotation(path)
    assert set(scores["a.000"].values()) == {0.8}


class Evil:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def test_a_pickle_that_wants_to_run_code_is_refused_and_runs_none(tmp_path):
    path, trap = tmp_path / PKL[0], tmp_path / "trap"
    for evil in (
        Evil(builtins.eval, f"open({str(trap)!r}, 'w')"),
        Evil(open, str(trap), "w"),
        Evil(getattr, "", "join"),
        io.BytesIO(),
        np.zeros(3),
    ):
        path.write_bytes(pickle.dumps(dict.fromkeys((*TRAITS, "openness"), evil)))
        with pytest.raises(InputError, match=r"pkl: cannot be read as plain data \(it asks for "):
            first_impressions.read_annotation(path)
    assert not trap.exists()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is damaged"),
        (b"\x80\x04", "is damaged"),
        (
            pickle.dumps({"openness": {}})[:-3],
            "cannot be read as plain data .*truncated|is damaged",
        ),
        (b"<html>", "is damaged"),
        (pickle.dumps([1]), "is no dictionary of openness"),
        (pickle.dumps({"openness": {}}), "is no dictionary of openness"),
    ],
)
def test_a_damaged_annotation_is_named(tmp_path, content, what):
    path = tmp_path / PKL[0]
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"{PKL[0]}: ({what})"):
        first_impressions.read_annotation(path)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_flipped_bytes_give_scores_or_one_line(tmp_path, protocol):
    clips = [f"v{n}.000.mp4" for n in range(3)]
    scores = {t: dict.fromkeys(clips, np.float64(0.25)) for t in (*TRAITS, "openness")}
    whole, path = pickle.dumps(scores, protocol), tmp_path / PKL[0]
    chance, refused = np.random.default_rng(protocol), 0
    for _ in range(200):
        data = bytearray(whole)
        for place in chance.integers(0, len(data), 1):
            data[place] = chance.integers(0, 256)
        path.write_bytes(data)
        try:
            found = first_impressions.read_annotation(path)
        except InputError:
            refused += 1
            continue
        assert all(0 <= x <= 1 for row in found.values() for x in row.values())
    assert 20 < refused < 200


@pytest.mark.parametrize(
    "data", [b"\x80\x04}r\xff\xff\xff\xff.", b"\x80\x05\x96\x00\x00\x00\x00\x00\x01\x00\x00."]
)
def test_a_pickle_that_wants_gigabytes_is_refused(tmp_path, data):
    (tmp_path / PKL[0]).write_bytes(data)
    with pytest.raises(InputError, match=r"is damaged|is no dictionary"):
        first_impressions.read_annotation(tmp_path / PKL[0])


def test_an_implausibly_large_or_absent_annotation_is_named(tmp_path, monkeypatch):
    (tmp_path / PKL[0]).write_bytes(pickle.dumps({}))
    monkeypatch.setattr(first_impressions, "_LARGEST", 1)
    with pytest.raises(InputError, match=r"has \d+ bytes, more than 1"):
        first_impressions.read_annotation(tmp_path / PKL[0])
    with pytest.raises(InputError, match=r"annotation_test.pkl: cannot be read \(No such file"):
        first_impressions.read_annotation(tmp_path / PKL[2])


@pytest.mark.parametrize("kind", [np.int64, np.str_, np.bool_])
def test_numpy_scalars_other_than_floats_are_refused(tmp_path, kind):
    (tmp_path / PKL[0]).write_bytes(pickle.dumps({"openness": {"a.000.mp4": kind(1)}}))
    with pytest.raises(InputError, match="an array type that is no floating scalar"):
        first_impressions.read_annotation(tmp_path / PKL[0])


@pytest.mark.parametrize("score", [float("nan"), 1.5, -0.1, "0.5", None, [0.5]])
def test_a_score_outside_its_range_is_named(tmp_path, score):
    scores = {trait: {"a.000.mp4": 0.5} for trait in (*TRAITS, "openness")}
    scores["neuroticism"]["a.000.mp4"] = score
    path = tmp_path / PKL[0]
    path.write_bytes(pickle.dumps(scores))
    with pytest.raises(InputError, match=r"pkl: neuroticism: the score of a\.000\.mp4 is "):
        first_impressions.read_annotation(path)


def test_traits_of_different_clips_are_refused(tmp_path):
    scores = {trait: {"a.000.mp4": 0.5} for trait in (*TRAITS, "openness")}
    scores["neuroticism"] = {"b.000.mp4": 0.5}
    (tmp_path / PKL[0]).write_bytes(pickle.dumps(scores))
    with pytest.raises(InputError, match="neuroticism and openness are of different clips"):
        first_impressions.read_annotation(tmp_path / PKL[0])


def test_faults_of_first_impressions_are_named(write):
    root, module = write("first-impressions")
    folder = root / "train-videos" / "80_01"
    (folder / f"{VIDEOS[0]}.001.mp4").rename(folder / "stray.mp4")
    (folder / f"{VIDEOS[0]}.000.mp4").write_bytes(b"")
    (root / PKL[2]).unlink()
    found = faults(module, root)
    for what in (
        f"lacks {VIDEOS[0]}.001.mp4; unpack the clips of train",
        "stray.mp4: has no annotation",
        f"{VIDEOS[0]}.000.mp4: is empty",
        f"holds no {PKL[2]}",
        f"{VIDEOS[2]}.000.mp4: has no annotation",
    ):
        assert sum(what in line for line in found) == 1
    assert len(found) == 5
    with pytest.raises(InputError, match="has no annotation"):
        module.load_clips(root)


def test_archives_must_be_unpacked(write):
    root, module = write("first-impressions")
    for path in root.rglob("*.mp4"):
        path.unlink()
    (root / "train-1.zip").write_bytes(b"PK")
    with pytest.raises(InputError, match="holds archives and no clip; unpack"):
        module.load_clips(root)


def test_two_files_of_one_clip_or_two_parts_of_one_are_refused(write):
    root, module = write("first-impressions")
    (root / PKL[1]).write_bytes((root / PKL[0]).read_bytes())
    with pytest.raises(InputError, match=r"annotates .*, as does the part train"):
        module.load_clips(root)
    (root / f"{VIDEOS[0]}.000.mp4").write_bytes(MP4)
    with pytest.raises(InputError, match="has the same name as"):
        module.load_clips(root)


# --- VoxCeleb2 -----------------------------------------------------------------------------------


def test_voxceleb2_speakers_parts_and_sound(write):
    root, module = write("voxceleb2")
    clips = {clip.clip_id: clip for clip in module.load_clips(root)}
    clip = clips["id00000-21Uxsk56VDQ-00012"]
    assert (clip.speaker, clip.sex) == ("id00000", "male")
    assert clip.labels == {"partition": "dev", "video": "21Uxsk56VDQ"}
    assert clip.audio_path == root / "dev/aac/id00000/21Uxsk56VDQ/00012.m4a"
    assert clip.video_path == root / "dev/mp4/id00000/21Uxsk56VDQ/00012.mp4"
    other = clips["id00004--_abcdefghi-00001"]
    assert (other.sex, other.labels["partition"]) == ("male", "test")
    assert other.audio_path == other.video_path
    assert clips["id00001-21Uxsk56VDQ-00001"].sex == "female"


def test_faults_of_voxceleb2_are_named(write):
    root, module = write("voxceleb2")
    (root / "dev/mp4/id00003").rename(root / "test/mp4/id00003")
    (root / "dev/mp4/id00001").rename(root / "dev/mp4/id00077")
    (root / "dev/mp4/id00002/21Uxsk56VDQ/1.mp4").write_bytes(MP4)
    (root / "dev/mp4/id00002/21Uxsk56VDQ/00001.mp4").write_bytes(b"<html>")
    found = faults(module, root)
    for what in (
        "test/mp4/id00003: belongs to dev",
        "dev/mp4/id00077: is not in vox2_meta.csv",
        "1.mp4: is not placed like an utterance",
        "00001.mp4: is no .mp4 file",
        "speaker id00001 has no utterance in dev/mp4",
        "speaker id00003 has no utterance in dev/mp4",
    ):
        assert sum(what in line for line in found) == 1
    assert len(found) == 6
    with pytest.raises(InputError, match=r"1.mp4: is not placed like a VoxCeleb2 utterance"):
        module.load_clips(root)
    (root / "dev/mp4/id00002/21Uxsk56VDQ/1.mp4").unlink()
    with pytest.raises(InputError, match=r"is of a speaker whom vox2_meta\.csv lacks"):
        module.load_clips(root)


def test_a_part_that_is_not_there_is_one_problem(write):
    root, module = write("voxceleb2")
    (root / "dev").rename(root / "elsewhere")
    (found,) = faults(module, root)
    assert "dev/mp4: holds no utterance; unpack the archive of dev" in found


@pytest.mark.parametrize("row", ["id00000,n1,x,dev", "id00000,n1,m,train"])
def test_a_row_of_speakers_that_cannot_be_read_is_named(write, row):
    root, module = write("voxceleb2")
    (root / "vox2_meta.csv").write_text(f"VoxCeleb2 ID,VGGFace2 ID,Gender,Set\n{row}\n")
    with pytest.raises(InputError, match=r"vox2_meta.csv: row 2: cannot read gender"):
        module.load_clips(root)
    (found,) = faults(module, root)
    assert "vox2_meta.csv: row 2: cannot read gender" in found


# --- LibriSpeech ---------------------------------------------------------------------------------


def test_librispeech_readers_and_words(write):
    root, module = write("librispeech")
    clips = {clip.clip_id: clip for clip in module.load_clips(root)}
    clip = clips["60-1240-0001"]
    assert (clip.speaker, clip.sex, clip.video_path) == ("60", "male", None)
    assert clip.labels == {
        "partition": "train-clean-100",
        "chapter": "1240",
        "transcript": "CHAPTER 1 OF 1240",
    }
    assert clip.audio_path == root / "LibriSpeech/train-clean-100/60/1240/60-1240-0001.flac"
    assert clips["84-208-0000"].labels["partition"] == "dev-clean"


def test_the_folder_of_the_partitions_serves_as_well(write):
    root, module = write("librispeech")
    assert len(module.load_clips(root / "LibriSpeech")) == 16
    assert module.check(root / "LibriSpeech") == []


def test_faults_of_librispeech_are_named(write):
    root, module = write("librispeech")
    home = root / "LibriSpeech" / "train-clean-100"
    (home / "14/208/14-208-0001.flac").unlink()
    (home / "103/208/103-208-0000.flac").write_bytes(b"")
    (home / "103/1240/103-1240-0009.flac").write_bytes(b"fLaC")
    (home / "60").rename(home / "61")
    (home / "61/208/60-208.trans.txt").rename(home / "61/208/61-208.trans.txt")
    found = faults(module, root)
    for what in (
        "14-208-0001.flac: is missing; unpack the archive",
        "103-208-0000.flac: is empty",
        "103-1240-0009.flac: has no transcript",
        "train-clean-100/60: is missing",
        "61-1240.trans.txt: is missing",
    ):
        assert sum(what in line for line in found) == 1
    assert sum("whom SPEAKERS.TXT does not place" in line for line in found) == 2
    assert len(found) == 7
    with pytest.raises(InputError, match=r"103-1240-0009.flac: has no transcript"):
        module.load_clips(root)


@pytest.mark.parametrize("name", ["103-1240-1.flac", "14-1240-0000.flac", "notes.flac"])
def test_an_utterance_out_of_place_is_refused(write, name):
    root, module = write("librispeech")
    (root / "LibriSpeech/train-clean-100/103/1240" / name).write_bytes(b"fLaC")
    with pytest.raises(InputError, match=f"{name}: is not named and placed like"):
        module.load_clips(root)


@pytest.mark.parametrize("line", ["14 | X | train-clean-100 | 1 | a", "14 F train", "14|F|a|1"])
def test_a_reader_that_cannot_be_read_is_named(write, line):
    root, module = write("librispeech")
    (root / "LibriSpeech/SPEAKERS.TXT").write_text(f"; comment\n{line}\n")
    with pytest.raises(InputError, match=r"SPEAKERS.TXT: line 2: cannot read"):
        module.load_clips(root)
    (found,) = faults(module, root)
    assert "SPEAKERS.TXT: line 2: cannot read" in found


def test_a_reader_outside_the_table_is_refused(write):
    root, module = write("librispeech")
    (root / "LibriSpeech/SPEAKERS.TXT").write_text("14 | F | train-clean-100 | 1 | a\n")
    with pytest.raises(InputError, match=r"is of a reader whom SPEAKERS\.TXT lacks"):
        module.load_clips(root)


# --- what they share -----------------------------------------------------------------------------


def test_tables_are_read_whatever_blanks_and_marks_surround_them(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes('\ufeff a , b\n\n"1, 2" ,3\n'.encode())
    assert layout.read_table(path, ("b", "a")) == [{"b": "3", "a": "1, 2"}]
    with pytest.raises(InputError, match=r"t.csv: header: has no column 'c'"):
        layout.read_table(path, ("c",))
    with pytest.raises(InputError, match=r"none.csv: is missing"):
        layout.read_table(tmp_path / "none.csv", ("c",))


@pytest.mark.parametrize("content", ["{", "[]", '{"clips": [3]}', '{"clips": [{}]}'])
def test_a_damaged_list_of_a_twin_is_named(tmp_path, content):
    (tmp_path / "twin.json").write_text(content)
    (problem,) = layout.missing_of_twin(tmp_path)
    assert "twin.json: cannot be read" in str(problem)


def test_a_file_that_cannot_be_opened_is_named(tmp_path):
    (tmp_path / "x.wav").mkdir()
    (problem,) = layout.check_media(tmp_path / "x.wav")
    assert "x.wav: cannot be read" in str(problem)
