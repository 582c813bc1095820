import collections

import pytest

from thesislib.corpora import loading
from thesislib.corpora.clip import Clip
from thesislib.corpora.emodb import check
from thesislib.corpora.splits import leave_one_group_out
from thesislib.errors import InputError


def clips(n):
    return [
        Clip(
            clip_id=str(number),
            corpus="emodb",
            speaker=f"{number % 5}",
            labels={"emotion": f"{number % 3}", "sentence": "a01"},
        )
        for number in range(n)
    ]


def test_a_balanced_choice_takes_from_every_speaker_and_emotion():
    chosen = loading.balanced(clips(150), 30)
    cells = collections.Counter((clip.speaker, clip.labels["emotion"]) for clip in chosen)
    assert len(cells) == 15
    assert set(cells.values()) == {2}
    numbers = [int(clip.clip_id) for clip in chosen]
    assert numbers == sorted(numbers)


def test_zero_means_all():
    assert loading.balanced(clips(7), 0) == clips(7)


def test_a_corpus_that_is_not_there_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setenv("THESISLIB_DATA_ROOT", str(tmp_path))
    with pytest.raises(InputError, match=r"emodb: is not under .*run `thesis data get emodb`"):
        loading.load_corpus("emodb")


def test_a_twin_is_written_once_and_made_anew_when_its_code_changed(monkeypatch, tmp_path):
    monkeypatch.setattr(loading, "twin_folder", lambda *a, **k: tmp_path / "twin")
    first = loading.load_corpus("emodb-twin", clips=4, seed=3)
    assert (first.name, first.variant, first.synthetic) == ("emodb", "twin", True)
    assert len(first.clips) == 4
    assert check(first.root) == []
    stamp = (tmp_path / "twin" / "twin.json").stat().st_mtime_ns
    loading.load_corpus("emodb-twin", clips=4, seed=3)
    assert (tmp_path / "twin" / "twin.json").stat().st_mtime_ns == stamp
    monkeypatch.setattr(loading, "code_sha256", lambda modules: "another")
    assert not loading.is_current_twin(tmp_path / "twin")


def test_the_whole_twin_of_seed_0_lies_where_the_contract_says():
    assert loading.twin_folder("emodb").parts[-3:] == ("data", "twins", "emodb")
    assert loading.twin_folder("emodb", seed=1, clips=7).name == "emodb-s1-n7"


def test_speakers_of_the_real_corpus_are_never_on_both_sides(emodb_root, monkeypatch):
    monkeypatch.setenv("THESISLIB_DATA_ROOT", str(emodb_root.parent))
    corpus = loading.load_corpus("emodb")
    speakers = [clip.speaker for clip in corpus.clips]
    folds = leave_one_group_out(speakers)
    assert len(folds) == 10
    for name, train, test in folds:
        assert {speakers[i] for i in test} == {name}
        assert name not in {speakers[i] for i in train}
