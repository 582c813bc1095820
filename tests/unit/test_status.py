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
