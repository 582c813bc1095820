import os
import stat
import zipfile

import pytest

from thesislib import files
from thesislib.errors import InputError


def test_atomic_write_replaces_the_whole_file(tmp_path):
    target = tmp_path / "record.json"
    target.write_text("old")
    with files.atomic_write(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]


def test_a_failure_keeps_the_old_file_and_leaves_nothing_behind(tmp_path):
    target = tmp_path / "record.json"
    target.write_text("old")

    def interrupted():
        with files.atomic_write(target) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]


def test_an_unwritable_folder_is_named(tmp_path):
    blocker = tmp_path / "results"
    blocker.write_text("a file where a folder should be")
    with (
        pytest.raises(InputError, match="results/runs: cannot be written"),
        files.atomic_write(blocker / "runs" / "x.json"),
    ):
        pass


def test_the_result_is_readable_by_others(tmp_path):
    with files.atomic_write(tmp_path / "x") as temporary:
        temporary.write_text("x")
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o644


def test_data_roots_are_separated_like_path(monkeypatch, tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    (second / "emodb").mkdir(parents=True)
    monkeypatch.setenv("THESISLIB_DATA_ROOT", os.pathsep.join([str(first), str(second)]))
    assert files.data_roots() == [first, second]
    assert files.find_corpus("emodb") == second / "emodb"
    assert files.find_corpus("crema-d") is None


def test_without_a_setting_corpora_lie_in_data(monkeypatch, project):
    monkeypatch.delenv("THESISLIB_DATA_ROOT", raising=False)
    monkeypatch.delenv("THESISLIB_WEIGHTS_ROOT", raising=False)
    assert files.data_roots() == [project / "data"]
    assert files.weights_root() == project / "data" / "weights"


@pytest.mark.parametrize("name", ["../out.wav", "/etc/out.wav", "wav/../../out.wav", "a\\..\\b"])
def test_members_that_leave_the_folder_are_refused(tmp_path, name):
    with pytest.raises(InputError, match="leaves its folder"):
        files.refuse_unsafe_member(tmp_path / "x.zip", zipfile.ZipInfo(name))


def test_links_in_archives_are_refused(tmp_path):
    link = zipfile.ZipInfo("wav/03a01Fa.wav")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(InputError, match=r"03a01Fa\.wav: holds a link"):
        files.refuse_unsafe_member(tmp_path / "x.zip", link)
