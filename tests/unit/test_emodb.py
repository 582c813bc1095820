import shutil
import zipfile

import numpy as np
import pytest
import soundfile

from thesislib.corpora import emodb
from thesislib.corpora.manifest import load_manifest
from thesislib.errors import InputError

NAMES = [row["file"] for row in load_manifest("emodb").records("utterances")]


def write_wav(path, *, seconds=2.0, sample_rate=22050):
    path.parent.mkdir(parents=True, exist_ok=True)
    times = np.arange(round(seconds * sample_rate)) / sample_rate
    soundfile.write(path, 0.1 * np.sin(2 * np.pi * 150 * times), sample_rate, subtype="PCM_16")


@pytest.fixture
def corpus(tmp_path):
    """A complete corpus of the variant cut-2s, all files links to one recording."""
    write_wav(tmp_path / "one.wav")
    (tmp_path / "emodb" / "wav").mkdir(parents=True)
    for name in NAMES:
        (tmp_path / "emodb" / "wav" / name).hardlink_to(tmp_path / "one.wav")
    return tmp_path / "emodb"


def replace(path, content: bytes):
    path.unlink()
    path.write_bytes(content)


def test_names_become_labels(tmp_path):
    write_wav(tmp_path / "wav" / "03a01Fa.wav")
    write_wav(tmp_path / "wav" / "16b10Wb.wav")
    (tmp_path / "erkennung.txt").write_bytes(
        b"Nr.\tSatz\terkannt\tnatuerlich\n1\xa0\xa0\t03a01Fa.wav\t92,50\xa0\xa0\t75,00\xa0\n\n"
    )
    happy, angry = emodb.load_clips(tmp_path)
    assert (happy.clip_id, happy.speaker, happy.sex) == ("03a01Fa", "03", "male")
    assert happy.labels == {"emotion": "happiness", "sentence": "a01"}
    assert happy.scores == {"listener_recognition": pytest.approx(0.925)}
    assert (angry.labels["emotion"], angry.sex, angry.scores) == ("anger", "female", {})


@pytest.mark.parametrize(
    "name", ["3a01Fa.wav", "03a01Xa.wav", "03a01F.wav", "99a01Fa.wav", "x.wav"]
)
def test_a_name_that_breaks_the_scheme_is_refused(tmp_path, name):
    write_wav(tmp_path / "wav" / name)
    with pytest.raises(InputError, match=rf"{name}: is not named like an EmoDB recording"):
        emodb.load_clips(tmp_path)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no recording"):
        emodb.load_clips(tmp_path)


def test_a_damaged_row_of_the_listeners_names_its_line(tmp_path):
    (tmp_path / "erkennung.txt").write_bytes(b"head\n1\t03a01Fa.wav\tmany\t75,00\n")
    with pytest.raises(InputError, match=r"erkennung.txt: line 2"):
        emodb.read_listeners(tmp_path / "erkennung.txt")


def test_a_complete_corpus_has_no_problem(corpus):
    assert emodb.check(corpus) == []
    assert emodb.detect_variant(corpus) == "cut-2s"


def test_check_names_every_missing_truncated_and_unexpected_file(corpus):
    wav = corpus / "wav"
    (wav / "03a01Fa.wav").unlink()
    whole = (wav / "03a01Nc.wav").read_bytes()
    replace(wav / "03a01Nc.wav", whole[: len(whole) // 2])
    replace(wav / "03a01Wa.wav", b"")
    replace(wav / "03a02Fc.wav", b"this is not a recording")
    (wav / "03a02Nc.wav").unlink()
    write_wav(wav / "03a02Nc.wav", seconds=1.0)
    (wav / "notes.txt").write_text("?")
    problems = {
        str(problem.path).rsplit("/", 1)[1]: problem.problem for problem in emodb.check(corpus)
    }
    assert set(problems) == {
        "03a01Fa.wav", "03a01Nc.wav", "03a01Wa.wav", "03a02Fc.wav", "03a02Nc.wav", "notes.txt"
    }  # fmt: skip
    assert problems["03a01Fa.wav"] == "is missing"
    assert problems["notes.txt"] == "does not belong to the corpus"
    assert problems["03a02Nc.wav"] == "holds 22050 samples, not 44100"


def test_check_of_nothing_names_everything(tmp_path):
    assert len(emodb.check(tmp_path)) == 535


def archive_of(corpus, path, prefix="emodb/"):
    with zipfile.ZipFile(path, "w") as bundle:
        for name in NAMES:
            bundle.write(corpus / "wav" / name, f"{prefix}wav/{name}")
        bundle.writestr(f"{prefix}db.yaml", "name: emodb")
    return path


def test_a_release_archive_is_unpacked(corpus, tmp_path):
    target = emodb.unpack(archive_of(corpus, tmp_path / "emodb.zip"), tmp_path / "new")
    assert emodb.check(target) == []
    assert sorted(path.name for path in target.iterdir()) == ["wav"]


def test_an_incomplete_archive_leaves_nothing(corpus, tmp_path):
    (corpus / "wav" / NAMES[7]).unlink()
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as bundle:
        for path in sorted((corpus / "wav").iterdir()):
            bundle.write(path, f"wav/{path.name}")
    with pytest.raises(InputError, match=rf"lacks 1 recordings, the first is {NAMES[7]}"):
        emodb.unpack(tmp_path / "x.zip", tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []


def test_an_archive_with_a_climbing_path_is_refused(corpus, tmp_path):
    path = archive_of(corpus, tmp_path / "x.zip")
    with zipfile.ZipFile(path, "a") as bundle:
        bundle.writestr("../../evil.wav", b"x")
    with pytest.raises(InputError, match="leaves its folder"):
        emodb.unpack(path, tmp_path / "new")
    assert not (tmp_path / "evil.wav").exists()


def test_recordings_that_are_there_are_not_overwritten(corpus, tmp_path):
    with pytest.raises(InputError, match="already there"):
        emodb.unpack(archive_of(corpus, tmp_path / "x.zip"), corpus)


def test_what_is_no_archive_is_named(tmp_path):
    (tmp_path / "x.zip").write_text("<html>not found</html>")
    with pytest.raises(InputError, match=r"x.zip: is not a zip archive"):
        emodb.unpack(tmp_path / "x.zip", tmp_path / "new")


def test_an_archive_fetched_by_hand_is_held_to_the_published_checksum(
    corpus, tmp_path, monkeypatch
):
    import pooch

    archive = archive_of(corpus, tmp_path / "by_hand.zip")
    monkeypatch.setattr(
        pooch.Pooch,
        "load_registry_from_doi",
        lambda store: store.registry.update({"emodb.zip": "md5:" + "0" * 32}),
    )
    with pytest.raises(InputError, match=r"by_hand\.zip: is not the published emodb\.zip"):
        emodb.get(tmp_path / "new", archive=archive)
    with pytest.raises(InputError, match=r"nowhere\.zip: is not a file"):
        emodb.get(tmp_path / "new", archive=tmp_path / "nowhere.zip")
    assert not (tmp_path / "new").exists()


def test_an_archive_that_cannot_be_checked_is_not_opened(corpus, tmp_path, monkeypatch):
    import pooch

    def refuse(store):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(pooch.Pooch, "load_registry_from_doi", refuse)
    archive = archive_of(corpus, tmp_path / "by_hand.zip")
    with pytest.raises(InputError, match=r"cannot be checked without a network; .*--hash"):
        emodb.get(tmp_path / "new", archive=archive)
    with pytest.raises(InputError, match=r"option --hash"):
        emodb.get(tmp_path / "new", archive=archive, known_hash="crc7:00")
    assert not (tmp_path / "new").exists()


def test_recordings_at_another_rate_are_named(corpus):
    path = corpus / "wav" / NAMES[-1]
    path.unlink()
    write_wav(path, sample_rate=16000)
    (problem,) = emodb.check(corpus)
    assert problem.problem == "is at 16000 Hz, not 22050"


def test_without_a_network_get_says_how_to_do_it_by_hand(tmp_path, monkeypatch):
    import pooch

    def refuse(*args, **kwargs):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(pooch.Pooch, "load_registry_from_doi", refuse)
    with pytest.raises(
        InputError,
        match=r"without a network; by hand: download emodb\.zip from https://doi\.org/10\.5281",
    ):
        emodb.get(tmp_path / "fetched")


def test_get_checks_the_published_checksum_before_opening(corpus, tmp_path, monkeypatch):
    import pooch

    archive = archive_of(corpus, tmp_path / "served.zip")

    def register(store):
        store.registry["emodb.zip"] = "md5:" + "0" * 32

    def serve(self, url, output, store, check_only=False):
        shutil.copy(archive, output)

    monkeypatch.setattr(pooch.Pooch, "load_registry_from_doi", register)
    monkeypatch.setattr(pooch.DOIDownloader, "__call__", serve)
    with pytest.raises(InputError, match="hash of downloaded file"):
        emodb.get(tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()
    monkeypatch.setattr(
        pooch.Pooch,
        "load_registry_from_doi",
        lambda store: store.registry.update(
            {"emodb.zip": "md5:" + pooch.file_hash(str(archive), alg="md5")}
        ),
    )
    assert emodb.check(emodb.get(tmp_path / "fetched")) == []


def test_the_copy_at_hand_is_complete(emodb_root):
    assert emodb.check(emodb_root) == []
    clips = emodb.load_clips(emodb_root)
    assert len(clips) == 535
    assert all(0 <= clip.scores["listener_recognition"] <= 1 for clip in clips)
