"""Scoreboard, claims ledger and status page as they are printed: complete, traceable, readable."""

import re
import sys
from collections import Counter
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from thesislib.records import ledger, scoreboard
from thesislib.records.hypotheses import CLAIMS
from thesislib.records.record import read_record
from thesislib.records.reported import printed, reported_cells, reported_tables

ROOT = Path(__file__).resolve().parents[2]
VOID = {"rect", "path", "circle", "use"}


@pytest.fixture(scope="module")
def pages():
    sys.path.insert(0, str(ROOT / "book/_ext"))
    try:
        import generated_pages

        yield generated_pages
    finally:
        sys.path.remove(str(ROOT / "book/_ext"))


class Nesting(HTMLParser):
    """Fails where an element is closed that is not the innermost open one."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.targets = [], [], []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.targets += [attributes[k] for k in ("popovertarget",) if k in attributes]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def read(html):
    parser = Nesting()
    parser.feed(html)
    parser.close()
    assert parser.open == []
    assert max(Counter(parser.ids).values(), default=0) <= 1
    assert set(parser.targets) <= set(parser.ids)
    return parser


def test_the_scoreboard_prints_every_cell_and_every_button_has_its_panel(pages):
    html = "".join(pages.content("scoreboard", chapter) for chapter in "5678")
    read(html + pages.content("scoreboard-summary"))
    assert html.count("<details") == len(reported_tables())
    rows = re.findall(r'<tr><th scope="row">', html)
    assert len(rows) == sum(len(reported_cells(table)) for table in reported_tables())
    for board in pages.boards():
        assert escape(board.direction) in html


def test_the_scoreboard_has_the_digits_of_the_thesis(pages):
    html = "".join(pages.content("scoreboard", chapter) for chapter in "5678")
    row = re.compile(r'<th scope="row">(.*?)</th><td>(.*?)</td><td[^>]*>(.*?)</td>')
    found = [value for _, _, value in row.findall(html)]
    assert found == [
        printed(table, row, column)
        for table in reported_tables()
        for row, column, _ in reported_cells(table)
    ]
    assert "0.590" in found


def test_a_panel_of_the_scoreboard_names_runs_that_exist(pages):
    html = pages.content("scoreboard", "6")
    runs = {run for found in re.findall("<span>run</span><span>(.*?)</span>", html)
            for run in found.split()}  # fmt: skip
    assert runs
    for run in runs:
        assert read_record(ROOT / "results/runs" / f"{run}.json").chapter == "06"


def test_the_summary_counts_all_cells(pages):
    html = pages.content("scoreboard-summary")
    last = html.split('<th scope="row">All</th>')[1].split("</tr>")[0]
    numbers = [int(n) for n in re.findall(r"<td>(\d+)</td>", last)]
    total = sum(len(board.cells) for board in pages.boards())
    verdicts = len(scoreboard.VERDICTS)
    assert numbers[0] == total
    assert sum(numbers[1 : 1 + verdicts]) == total
    assert sum(numbers[1 + verdicts :]) == total


def test_an_unrecorded_claim_says_so(pages):
    html = pages.claim_html("F", [])
    read(html)
    assert "not recorded yet" in html
    assert "not tested on real recordings" in html
    assert "<table" not in html


def test_a_claim_shows_its_parts_and_its_null_twin(pages):
    def part(strength, difference, verdict):
        return ledger.Part(
            claim="A", part="p", data="twin", synthetic=True, strength=strength,
            difference=difference, low=difference - 0.1, high=difference + 0.1, p_value=0.04,
            seeds=5, people=12, verdict=verdict,
        )  # fmt: skip

    parts = [part(1.0, 0.31, "holds"), part(0.0, 0.02, "undecided"), part(0.5, 0.2, "holds")]
    html = pages.claim_html("A", parts)
    read(html)
    for text in ("+0.31 [+0.21, +0.41]", "0.040", "+0.02, undecided", "Strength 0.5", "Null twin"):
        assert text in html
    assert "0, 0.5, 1" in html
    assert CLAIMS["A"].overturn in html
    read(pages.claims_summary_html(parts))


def test_every_claim_has_its_place_on_the_page():
    text = (ROOT / "book/claims.md").read_text()
    assert re.findall(r"```\{claim\} (\S+)", text) == list(CLAIMS)
    assert re.findall(r"\(claim-(\S+)\)=", text) == [key.lower() for key in CLAIMS]


def test_every_chapter_has_its_place_on_the_scoreboard():
    text = (ROOT / "book/scoreboard.md").read_text()
    chapters = {table.removeprefix("Figure ")[0] for table in reported_tables()}
    assert re.findall(r"```\{scoreboard\} (\d)", text) == sorted(chapters)


def test_durations_and_times_are_short(pages):
    assert pages._duration(42.4) == "42 s"
    assert pages._duration(120) == "2 min"
    assert pages._duration(3900) == "1 h 05 min"
    assert pages._when("2026-11-22T16:55:42+00:00") == "2026-11-22 16:55"


def test_a_status_without_git_or_records_is_said(pages):
    book = pages.status.Stored(
        path="notebooks/05_x.ipynb", chapter="05", title="A <title>", python="3.11", profile="tiny",
        cells=3, executed=2, commit="", when="", changes=None,
    )  # fmt: skip
    html = pages.status_html({}, [book])
    read(html)
    assert "2 of 3 cells executed" in html
    assert "unknown: not in git" in html
    assert "not known: when, how long" in html
    assert "A &lt;title&gt;" in html


def test_a_status_says_how_long_a_chapter_took_and_with_what(pages):
    book = pages.status.Stored(
        path="notebooks/05_x.ipynb", chapter="05", title="A title", python="3.11", profile="tiny",
        cells=3, executed=3, commit="c0ffee", when="2026-01-02T00:00:00+00:00",
        changes=("its own cells",), started="2026-01-01T12:34:56+00:00", seconds=61.0,
        environment="Python 3.11, torch 2.1, a processor, threads 1",
    )  # fmt: skip
    html = pages.status_html({}, [book])
    read(html)
    assert "2026-01-01 12:34 UTC, in 1 min, with Python 3.11, torch 2.1, a processor" in html
    assert "its own cells" in html
    assert "not known" not in html
