"""The status page's figures: taken from records, stale where `thesis why-stale` says so."""

from pathlib import Path

import pytest

from thesislib.records import status
from thesislib.reproduce.staleness import read_documents, verdict

RESULTS = Path(__file__).resolve().parents[2] / "results"
CHAPTER = "05"


@pytest.fixture(scope="module")
def documents():
    return [d for d in read_documents(RESULTS) if d["chapter"] == CHAPTER]


def test_times_sizes_and_commits_are_those_of_the_records(documents):
    found = status.chapter_statuses(documents)[CHAPTER]
    assert found.runs == len(documents) == sum(found.commits.values())
    assert found.first == min(d["started"] for d in documents)
    assert found.last == max(d["started"] for d in documents)
    assert set(found.profiles) == {d["profile"] for d in documents}
    assert 0 < found.seconds <= sum(d["seconds"] for d in documents)


def test_records_of_one_run_share_its_time(documents):
    one = dict(documents[0], command="x", started="t", seconds=10.0)
    two = dict(one, seconds=14.0)
    three = dict(one, started="u", seconds=5.0)
    assert status._seconds([one, two, three]) == 19.0


def test_stale_is_what_why_stale_says(documents):
    first, *rest = documents
    changed = dict(first, training_sha256="0" * 64)
    found = status.chapter_statuses([changed, *rest])[CHAPTER]
    apart = [verdict(d) for d in (changed, *rest)]
    assert found.runs - found.fresh == sum(v.stale for v in apart)
    assert set(found.stale) == {reason for v in apart for reason in v.reasons}
    assert any("code of training changed" in reason for reason in found.stale)


def test_seeds_share_a_verdict_and_other_parameters_do_not(documents):
    plain = dict(documents[0], command="thesis run 05 -p seed 0 --profile small")
    seed = dict(plain, command="thesis run 05 -p seed 1 --profile small")
    seed["config"] = dict(plain["config"], seed=1)
    other = dict(plain, config=dict(plain["config"], dyads=99))
    assert status._alike(plain) == status._alike(seed)
    assert status._alike(plain) != status._alike(other)
    assert status._alike(plain) != status._alike(dict(plain, manifest_sha256="0"))


def test_every_notebook_is_listed_as_it_is_stored():
    stored = status.stored_notebooks()
    assert [book.chapter for book in stored] == sorted(book.chapter for book in stored)
    assert {"01", "05", "08"} <= {book.chapter for book in stored}
    for book in stored:
        assert book.title
        assert book.profile == "tiny"
        assert 0 <= book.executed <= book.cells


def test_imports_of_cells_are_found():
    cells = ["import pandas as pd\nfrom thesislib.records import status, files", "x = 1"]
    assert status._imported(cells) == ["thesislib.records.status"]


CELLS = [
    "from thesislib.corpora import manifest\n"
    "from thesislib.records import record\n"
    "rows = read_records(book, chapter='05')"
]


def notebook(**thesis):
    from thesislib.notebooks import cells_sha256

    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": ["# A title\n", "and prose"]},
        *({"cell_type": "code", "metadata": {}, "source": text, "execution_count": n}
          for n, text in enumerate(CELLS, start=1)),
    ]  # fmt: skip
    told = {"thesis": {"cells": cells_sha256(cells)} | thesis} if thesis else {}
    return {"cells": cells, "metadata": told}


@pytest.fixture
def git(monkeypatch):
    """Answers in git's place, by the command that is asked."""
    answers = {"diff": "", "show": "x = 1", "log": "c0ffee 2026-01-01T00:00:00+00:00"}
    monkeypatch.setattr(status, "_git", lambda root, *words: answers[words[0]])
    return answers


def changes(documents=(), book=None):
    book = book or notebook(started="2026-01-01T00:00:00+00:00")
    since = "2026-01-01T00:00:00+00:00"
    return status._changes(Path(), "c0ffee", since, book, documents)


@pytest.mark.usefixtures("git")
def test_nothing_changed_is_said_so():
    assert changes() == ()


def test_a_changed_manifest_module_and_lock_file_are_named(git):
    git["diff"] = (
        "data_manifests/ib.json\nthesislib/records/record.py\nthesislib/cli.py\nconstraints.txt"
    )
    assert changes() == (
        "thesislib.records.record", "data_manifests/ib.json", "constraints.txt"
    )  # fmt: skip


@pytest.mark.usefixtures("git")
def test_changed_cells_are_named_and_changed_prose_is_not():
    book = notebook(started="2026-01-01T00:00:00+00:00")
    book["cells"][0]["source"] = ["# A title\n", "and other prose"]
    assert changes(book=book) == ()
    book["cells"][1]["source"] += "\nprint(rows)"
    assert changes(book=book) == ("its own cells",)


def test_records_that_the_chapter_reads_and_that_came_later_are_counted(git):
    early = {"run_id": "a", "chapter": "05", "started": "2025-12-31T00:00:00+00:00", "seconds": 9}
    ended_later = early | {"run_id": "b", "seconds": 100_000}
    committed_later = early | {"run_id": "c"}
    of_another_chapter = ended_later | {"run_id": "d", "chapter": "06"}
    git["diff"] = "results/runs/c.json"
    told = changes([early, ended_later, committed_later, of_another_chapter])
    assert told == ("2 of the records that it reads are newer",)
    assert changes([early]) == ()


@pytest.mark.usefixtures("git")
def test_a_stored_notebook_says_when_how_long_and_with_what_or_that_it_does_not_know(tmp_path):
    import json

    path = tmp_path / "notebooks" / "05_x.ipynb"
    path.parent.mkdir()
    told = {"started": "2026-01-01T00:00:00+00:00", "seconds": 61.0, "python": "3.11.7"}
    path.write_text(json.dumps(notebook(**told, torch="2.1", cpu="A processor", threads=1)))
    found = status._stored(path, tmp_path, ())
    assert (found.started, found.seconds) == (told["started"], 61.0)
    assert found.environment == "Python 3.11.7, torch 2.1, A processor, threads 1"
    path.write_text(json.dumps(notebook()))
    found = status._stored(path, tmp_path, ())
    assert (found.started, found.seconds, found.environment) == ("", None, "")
    assert found.title == "A title"
