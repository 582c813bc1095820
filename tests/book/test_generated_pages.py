"""Scoreboard, claims ledger and status page as they are printed: complete, traceable, readable."""

import re
import sys
from collections import Counter
from dataclasses import replace
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


def html_of(pieces):
    return "".join(piece.html for piece in pieces)


def said(pages, *what):
    return html_of(pages.content(*what))


def read(html):
    parser = Nesting()
    parser.feed(html)
    parser.close()
    assert parser.open == []
    assert max(Counter(parser.ids).values(), default=0) <= 1
    assert set(parser.targets) <= set(parser.ids)
    return parser


def test_the_scoreboard_prints_every_cell_and_every_button_has_its_panel(pages):
    html = "".join(said(pages, "scoreboard", chapter) for chapter in "5678")
    read(html + said(pages, "scoreboard-summary"))
    assert html.count("<details") == len(reported_tables())
    rows = re.findall(r'<tr><th scope="row">', html)
    assert len(rows) == sum(len(reported_cells(table)) for table in reported_tables())
    for board in pages.boards():
        assert escape(board.direction) in html


def test_the_scoreboard_has_the_digits_of_the_thesis(pages):
    html = "".join(said(pages, "scoreboard", chapter) for chapter in "5678")
    row = re.compile(r'<th scope="row">(.*?)</th><td>(.*?)</td><td[^>]*>(.*?)</td>')
    found = [value for _, _, value in row.findall(html)]
    assert found == [
        printed(table, row, column)
        for table in reported_tables()
        for row, column, _ in reported_cells(table)
    ]
    assert "0.590" in found


def test_the_scoreboard_says_of_what_difference_each_direction_is(pages):
    html = "".join(said(pages, "scoreboard", chapter) for chapter in "5678")
    found = re.findall(r"</svg> ([\w ]+)</td><td>([^<]*)</td></tr>", html)
    cells = [cell for board in pages.boards() for cell in board.cells]
    assert found == [(cell.direction, escape(cell.against) or "–") for cell in cells]


def test_a_panel_of_the_scoreboard_names_runs_that_exist(pages):
    html = said(pages, "scoreboard", "6")
    runs = {run for found in re.findall("<span>run</span><span>(.*?)</span>", html)
            for run in found.split()}  # fmt: skip
    assert runs
    for run in runs:
        assert read_record(ROOT / "results/runs" / f"{run}.json").chapter == "06"


def test_the_summary_counts_all_cells(pages):
    html = said(pages, "scoreboard-summary")
    last = html.split('<th scope="row">All</th>')[1].split("</tr>")[0]
    numbers = [int(n) for n in re.findall(r"<td>(\d+)</td>", last)]
    total = sum(len(board.cells) for board in pages.boards())
    verdicts = len(scoreboard.VERDICTS)
    assert numbers[0] == total
    assert sum(numbers[1 : 1 + verdicts]) == total
    assert sum(numbers[1 + verdicts :]) == total


def test_tables_and_pictures_have_captions_and_names_to_refer_to(pages):
    pieces = [piece for name in ("scoreboard-summary", "claims-summary", "status")
              for piece in pages.content(name)]  # fmt: skip
    pieces += [piece for key in CLAIMS for piece in pages.content("claim", key)]
    named = [piece for piece in pieces if piece.caption]
    assert all(piece.name.startswith(("tab-", "fig-")) for piece in named)
    assert len({piece.name for piece in named}) == len(named) == 4 + len(CLAIMS)
    assert not any("<table" in piece.html and "<details" not in piece.html
                   for piece in pieces if not piece.caption)  # fmt: skip


def test_an_unrecorded_claim_says_so(pages):
    html = html_of(pages.claim_pieces("F", []))
    read(html)
    assert "not recorded yet" in html
    assert "not tested on real recordings" in html
    assert "<table" not in html


def part(at, difference, verdict, **changed):
    values = {
        "claim": "A", "part": "p", "data": "twin", "synthetic": True, "strength": at,
        "planted": at == 1, "difference": difference, "low": difference - 0.1,
        "high": difference + 0.1, "p_value": 0.04, "seeds": 5, "people": 12, "verdict": verdict,
        "runs": (),
    }  # fmt: skip
    return ledger.Part(**(values | changed))


def row_of(html, key):
    """Cells of a claim in the summary, after its letter."""
    own = html.split(f'<a href="#claim-{key.lower()}">')[1].split("</tr>")[0]
    return re.findall("<td>(.*?)</td>", own)


def test_a_claim_shows_its_parts_and_its_null_twin(pages):
    parts = [part(1.0, 0.31, "holds"), part(0.0, 0.02, "undecided"), part(0.5, 0.2, "holds")]
    html = html_of(pages.claim_pieces("A", parts))
    read(html)
    for text in ("+0.31 [+0.21, +0.41]", "0.040", "+0.02, undecided", "Strength 0.5", "Null twin"):
        assert text in html
    assert "0, 0.5, 1" in html
    assert CLAIMS["A"].overturn in html
    assert "on twins holds; on real recordings not tested" in html
    assert f"{CLAIMS['A'].null} Tested for 1 of 1 parts: finds nothing, as it should." in html


def test_the_summary_has_a_short_verdict_for_twins_and_for_people(pages):
    parts = [part(1.0, 0.31, "holds"), part(0.0, 0.02, "undecided")]
    html = pages.claims_summary_html(parts)
    read(html)
    assert row_of(html, "A") == [
        escape(CLAIMS["A"].hypothesis),
        "<strong>holds</strong> in 1 of 1",
        "tested for 1 of 1 parts: finds nothing, as it should",
        "<strong>not tested</strong>",
    ]
    few = [part(1.0, 0.3, "holds", claim="D"), part(1.0, 0.1, "undecided", claim="D", part="q")]
    few.append(part(float("nan"), 0.3, "too few people", claim="D", synthetic=False))
    told = row_of(pages.claims_summary_html(few), "D")
    assert told[1] == "<strong>undecided</strong>: holds in 1, undecided in 1 of 2"
    assert told[3] == "<strong>not tested</strong>: too few people in 1 of 1"
    assert row_of(html, "F")[1:] == [
        "<strong>not recorded yet</strong>", "none", "<strong>not tested</strong>",
    ]  # fmt: skip


def test_a_claim_without_a_null_twin_gives_the_reason(pages):
    html = html_of(pages.claim_pieces("H", [part(1.0, 0.31, "holds", claim="H")]))
    assert escape(f"No null twin: {CLAIMS['H'].no_null}.") in html
    zero = [part(1.0, 0.31, "holds", claim="H"), part(0.0, 0.2, "holds", claim="H")]
    head = pages.parts_table(zero, "F1", "H").split("</thead>")[0]
    assert "Strength 0" in head
    assert "Null twin" not in head


def test_a_part_says_where_it_was_planted_otherwise_than_documented(pages):
    twice = part(2.0, 0.3, "holds", claim="G", planted=True)
    weak = part(1.0, 0.1, "undecided", claim="G", planted=False)
    html = pages.parts_table([twice, weak], "F1", "G")
    assert "<td>twin, planted twice as strong as documented</td>" in html
    assert "+0.30 [+0.20, +0.40]" in html
    assert '<th scope="col">Strength 1</th>' in html
    assert "+0.10, undecided" in html


def test_a_number_of_a_part_opens_the_runs_that_it_was_computed_from(pages):
    """Parts of the same runs share a panel; a part without runs is plain text."""
    first, second = sorted(run.run_id for run in pages.records())[:2]
    both = (first, second)
    parts = [
        part(1.0, 0.31, "holds", runs=both),
        part(0.0, 0.02, "undecided", runs=(first,)),
        part(1.0, 0.11, "holds", part="q", runs=both),
        part(1.0, 0.21, "holds", part="without runs"),
    ]
    html = pages.parts_table(parts, "F1", "A")
    found = read(html)
    shared, other = "runs-claim-a-0", "runs-claim-a-1"
    assert found.targets == [shared, other, shared]
    assert f'popovertarget="{shared}">+0.31 [+0.21, +0.41]</button>' in html
    assert f'popovertarget="{other}">+0.02</button>, undecided' in html
    assert "<td>+0.21 [+0.11, +0.31]</td>" in html
    named = re.findall("<span>run</span><span>(.*?)</span>", html)
    assert named == [f"{first} {second}", first]


def test_a_panel_of_many_runs_has_one_command_and_short_hashes(pages):
    runs = pages.records()[:3]
    told = pages.briefly_made_by(runs)
    whole = pages.made_by(runs)
    commands = whole["command"].splitlines()
    assert len(commands) > 1
    again = f"thesis reproduce --only {runs[0].chapter}"
    more = f" (and {len(commands) - 1} more, one a run; all of them: {again})"
    assert told["command"] == commands[0] + more
    assert told["run"] == whole["run"]
    assert told["manifest"].split(", ") == [m[:12] for m in whole["manifest"].split(", ")]
    assert "more" not in pages.briefly_made_by(runs[:1])["command"]


def test_a_panel_says_that_there_were_changes_without_a_commit(pages):
    """A short hash alone would name code that did not make the number."""
    run = pages.records()[0]
    commits = ["a" * 40 + "-dirty", "a" * 40, "a" * 39 + "b"]
    runs = [replace(run, commit=commit) for commit in commits]
    assert set(pages.briefly_made_by(runs)["commit"].split(", ")) == {
        "a" * 12, "a" * 12 + "-dirty",
    }  # fmt: skip


def test_every_part_of_the_ledger_names_runs_that_are_recorded(pages):
    known = {run.run_id for run in pages.records()}
    assert pages.parts()
    for found in pages.parts():
        assert found.runs, (found.claim, found.part)
        assert set(found.runs) <= known, (found.claim, found.part)


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


def test_the_boxes_of_the_map_lead_to_the_chapters(pages):
    documents = [f"notebooks/{path.stem}" for path in (ROOT / "notebooks").glob("*.ipynb")]
    found = pages.chapter_pages(["book/index", *documents])
    assert sorted(found) == [str(n) for n in range(1, 10)]
    assert found["7"] == "notebooks/07_social_mae"
    drawing = pages.thesis_map(pages.links(), found)
    assert set(re.findall('href="([^"]+)"', drawing)) == {found[n] for n in "5678"}
