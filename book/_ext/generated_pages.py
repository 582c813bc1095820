"""Pages that are filled in from the records while the book is built.

``{scoreboard} CHAPTER`` prints every table of a chapter of the thesis beside ours, and
``{scoreboard-summary}`` the counts and the picture; ``{claim} LETTER`` prints an entry of the
ledger with the runs behind its numbers, ``{claims-summary}`` all verdicts; ``{status}`` says when
each chapter was executed; ``{thesis-map}`` draws which corpora feed which chapter.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from html import escape
from typing import NamedTuple

from cell_tables import MARK, PREFIX
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective
from traceable_numbers import button, panel

from thesislib import files
from thesislib.figures.scoreboard import picture, symbol
from thesislib.figures.thesis_map import links, thesis_map
from thesislib.records import ledger, scoreboard, status, verdicts
from thesislib.records.citing import made_by
from thesislib.records.hypotheses import CLAIMS
from thesislib.records.record import RunRecord, read_records
from thesislib.records.reported import printed
from thesislib.reproduce.staleness import read_documents

PAGES = ("book/scoreboard", "book/claims", "book/status")
DECIMALS = {"%": 0, "loss": 4, "mean squared error": 3, "min": 0}


@cache
def records() -> tuple[RunRecord, ...]:
    """Every record of the results folder, read once a build."""
    return tuple(read_records(files.project_root() / "results"))


@cache
def boards() -> tuple[scoreboard.Board, ...]:
    """Every table of the thesis beside ours."""
    return tuple(scoreboard.scoreboard(records(), files.project_root() / "results"))


@cache
def parts() -> tuple[ledger.Part, ...]:
    """Every part of every claim."""
    return tuple(ledger.parts(records(), files.project_root() / "results"))


@cache
def statuses() -> dict[str, status.Status]:
    """Chapters with records."""
    return status.chapter_statuses(read_documents(files.project_root() / "results"))


# ------------------------------------------------------------------------------------- scoreboard


def summary_html(found: Sequence[scoreboard.Board]) -> str:
    """Counts of verdicts and directions by chapter."""
    names = [*scoreboard.VERDICTS, *scoreboard.DIRECTIONS]
    groups = {"5", "6", "7", "8"} | {board.chapter for board in found}
    rows = []
    for chapter in sorted(groups):
        own = [board for board in found if board.chapter == chapter]
        rows.append([f"Chapter {chapter}", *_counts(own, names)])
    rows.append(["All", *_counts(found, names)])
    head = ["", "cells", *names]
    verdicts, directions = len(scoreboard.VERDICTS), len(scoreboard.DIRECTIONS)
    above = (
        f'<tr><td></td><td></td><th scope="colgroup" colspan="{verdicts}">Verdict on real '
        f'recordings</th><th scope="colgroup" colspan="{directions}">Direction on the twin</th>'
        "</tr>"
    )
    return table(head, rows, "Cells by verdict and direction", above=above)


def _counts(found: Sequence[scoreboard.Board], names: Sequence[str]) -> list[str]:
    return [
        str(sum(len(board.cells) for board in found)),
        *(str(sum(board.count(name) for board in found)) for name in names),
    ]


def board_html(board: scoreboard.Board) -> str:
    """One table of the thesis, folded, with what made each of our numbers."""
    name = board.number if board.number.startswith("Figure") else f"Table {board.number}"
    slug = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")
    panels: dict[tuple[str, ...], str] = {}
    rows = [
        [
            escape(cell.row),
            escape(cell.column),
            escape(printed(cell.table, cell.row, cell.column)),
            _ours(cell.real, board, slug, panels),
            escape(cell.verdict + (f": {cell.reason}" if cell.reason else "")),
            _ours(cell.twin, board, slug, panels),
            f"{symbol(cell.direction)} {escape(cell.direction)}",
            escape(cell.against) or "–",
        ]
        for cell in board.cells
    ]
    counted = [
        f"{board.count(name)} {name}"
        for name in (*scoreboard.VERDICTS, *scoreboard.DIRECTIONS)
        if board.count(name) and name != scoreboard.REFERENCE
    ]
    told = {
        "Unit": board.unit,
        "Not attempted": board.reason if board.count(scoreboard.NOT_ATTEMPTED) else "",
        "Direction": board.direction,
        "On our side": board.note,
    }
    head = ["Row", "Column", "Reported", "Real", "Verdict", "Twin", "Direction", "Of what"]
    runs = {run.run_id: run for c in board.cells for s in (c.real, c.twin) if s for run in s.runs}
    made = "".join(
        panel(made_by([runs[run_id] for run_id in ids]), name) for ids, name in panels.items()
    )
    return folded(
        f"{escape(name)} · {escape(board.title)}",
        f"{len(board.cells)} cells: {escape(', '.join(counted))}",
        facts(told) + table(head, rows, f"{name}, cell by cell", numbers=(2, 3, 5)) + made,
        slug,
    )


def _ours(
    found: scoreboard.Summary | None,
    board: scoreboard.Board,
    slug: str,
    panels: dict[tuple[str, ...], str],
) -> str:
    """A number with its interval or range, as a button that opens what made it."""
    if found is None:
        return "–"
    ids = tuple(sorted(run.run_id for run in found.runs))
    name = panels.setdefault(ids, f"runs-{slug}-{len(panels)}")
    value, low, high = (
        f"{number:.{DECIMALS.get(board.unit, 2)}f}"
        for number in (found.value, found.low, found.high)
    )
    many = f", {len(ids)} runs" if len(ids) > 1 else ""
    if found.interval:
        return button(f"{value} [{low}, {high}]{many}", name)
    return button(f"{value} ({low} to {high}){many}" if many else value, name)


# ----------------------------------------------------------------------------------------- claims


def claims_summary_html(found: Sequence[ledger.Part]) -> str:
    """Every claim with its verdict and the counts behind it in a row."""
    rows = []
    for key, claim in CLAIMS.items():
        own = [part for part in found if part.claim == key]
        rows.append(
            [
                f'<a href="#claim-{key.lower()}">{key}</a>',
                escape(claim.hypothesis),
                _judged(verdicts.twin_verdict(key, own), verdicts.planted_words(key, own)),
                escape(verdicts.null_words(key, own)) if claim.null else "none",
                _judged(verdicts.verdict_on_people(key, own), verdicts.real_words(key, own)),
            ]
        )
    head = ["Claim", "Hypothesis", "Twins, as planted", "Null twins", "Real recordings"]
    return table(head, rows, "Verdicts on all claims", classes="claims")


def _judged(verdict: str, counts: str) -> str:
    """A verdict with the counts behind it; alone where there is nothing to count."""
    told = f"<strong>{escape(verdict)}</strong>"
    if counts.startswith((verdicts.MISSING, verdicts.UNTESTED)):
        return told
    if counts.startswith(f"{verdict} in "):  # said once
        return told + escape(counts.removeprefix(verdict))
    return f"{told}: {escape(counts)}"


def claim_html(key: str, own: Sequence[ledger.Part]) -> str:
    """One claim: what it says, how it is tested and what came out."""
    claim = CLAIMS[key]
    strengths = sorted({part.strength for part in own if part.synthetic})
    seeds = sorted({part.seeds for part in own})
    chapter = ledger.CHAPTERS[key[0]]
    missing = f"not recorded yet: the runs of `thesis reproduce --only {chapter}` are not all there"
    twins, null = verdicts.planted_words(key, own), verdicts.null_words(key, own)
    told = {
        "Hypothesis": claim.hypothesis,
        "Verdict": verdicts.verdict_words(key, own),
        "Test": claim.test,
        "The thesis prints": "; ".join(f"{place}: {value}" for place, value in claim.printed()),
        "Real recordings": verdicts.real_words(key, own),
        "Twins, as planted": missing if twins == verdicts.MISSING else twins,
        "Null twin": f"{claim.null} {null[0].upper()}{null[1:]}.".lstrip(),
        "Strengths": ", ".join(f"{s:g}" for s in strengths) or "none yet",
        "Seeds": " or ".join(str(n) for n in seeds) or "none yet",
        "Would overturn it": claim.overturn,
    }
    return facts(told)


def parts_table(own: Sequence[ledger.Part], unit: str, key: str) -> str:
    """Parts in rows: on real recordings or as planted, then other strengths; with their runs."""
    main = [part for part in own if not part.synthetic or part.planted]
    rest = [part for part in own if part not in main]
    others = sorted({part.strength for part in rest})
    places = dict.fromkeys((part.part, part.data) for part in [*main, *own])
    panels: dict[tuple[str, ...], str] = {}
    rows = []
    for place in places:
        here = [part for part in own if (part.part, part.data) == place]
        first = next((part for part in here if part in main), None)
        by_strength = {part.strength: part for part in here if part in rest}
        planted = verdicts.strength_words(first) if first else ""
        rows.append(
            [
                escape(place[0]),
                escape(f"{place[1]}, {planted}" if planted else place[1]),
                *_measured(first, key, panels),
                *(_briefly(by_strength.get(at), key, panels) for at in others),
            ]
        )
    head = ["Part", "Data", f"Difference, {unit}", "Verdict", "p (Holm)", "Seeds", "People"]
    if key == "J":
        head[-1] = "Files"
    null = "Null twin" if CLAIMS[key].null else "Strength 0"
    head += [null if s == 0 else f"Strength {s:g}" for s in others]
    known = {run.run_id: run for run in records()}
    made = "".join(
        panel(briefly_made_by([known[run] for run in runs if run in known]), name)
        for runs, name in panels.items()
    )
    return table(head, rows, f"Parts of claim {key}", classes="claims parts") + made


def briefly_made_by(runs: Sequence[RunRecord]) -> dict[str, str]:
    """What made the number of a part: as `made_by`, with one command, since runs may be many.

    Hashes are shortened, but still say where there were changes that no commit has; the runs'
    records have all of it in full.
    """
    told = made_by(runs)
    commands = told["command"].splitlines()
    more = ""
    if len(commands) > 1:
        chapters = sorted({run.chapter for run in runs})
        whole = "; ".join(f"thesis reproduce --only {chapter}" for chapter in chapters)
        more = f" (and {len(commands) - 1} more, one a run; all of them: {whole})"
    hashes = {
        name: ", ".join(dict.fromkeys(_shortened(found) for found in told[name].split(", ")))
        for name in ("commit", "manifest")
    }
    shown = {name: told[name] for name in ("run", "corpus", "seeds", "profile")}
    return shown | hashes | {"command": (commands[0] if commands else "–") + more}


def _shortened(digest: str) -> str:
    """The beginning of a hash, and the ``-dirty`` after that of a commit.

    >>> _shortened("68dbc67bb9f179d6b31f1a62c05c4c865ffb1a2c-dirty")
    '68dbc67bb9f1-dirty'
    """
    return digest[:12] + ("-dirty" if digest.endswith("-dirty") else "")


def _measured(part: ledger.Part | None, key: str, panels: dict[tuple[str, ...], str]) -> list[str]:
    if part is None:
        return ["–", "not recorded yet", "–", "–", "–"]
    p = "–" if math.isnan(part.p_value) else f"{part.p_value:.3f}"
    effect = "–"
    if not math.isnan(part.difference):
        effect = f"{part.difference:+.2f} [{part.low:+.2f}, {part.high:+.2f}]"
    number = _traced(effect, part, key, panels)
    return [number, escape(part.verdict), p, str(part.seeds), str(part.people)]


def _briefly(part: ledger.Part | None, key: str, panels: dict[tuple[str, ...], str]) -> str:
    if part is None:
        return "–"
    value = "–" if math.isnan(part.difference) else f"{part.difference:+.2f}"
    return f"{_traced(value, part, key, panels)}, {escape(part.verdict)}"


def _traced(text: str, part: ledger.Part, key: str, panels: dict[tuple[str, ...], str]) -> str:
    """A part's number, as a button that opens the runs it was computed from."""
    if not part.runs or text == "–":
        return text
    return button(text, panels.setdefault(part.runs, f"runs-claim-{key.lower()}-{len(panels)}"))


# ----------------------------------------------------------------------------------------- status


def status_html(found: Mapping[str, status.Status], stored: Sequence[status.Stored]) -> str:
    """Chapters in rows."""
    titles = {book.chapter: book for book in stored}
    rows = []
    for chapter in sorted({*titles, *found}):
        book, runs = titles.get(chapter), found.get(chapter)
        name = f"{int(chapter)} · {book.title}" if book else f"{int(chapter)}"
        rows.append(
            [
                escape(name),
                _stored(book),
                _executed(book),
                _changed(book.changes if book else None),
                str(runs.runs) if runs else "none",
                _when(runs.last) if runs else "–",
                _duration(runs.seconds) if runs else "–",
                (f"{runs.fresh} of {runs.runs}" if runs else "–"),
            ]
        )
    head = ["Chapter", "Stored outputs", "Executed", "Changed since", "Records", "Last run, UTC",
            "Time of all runs", "Records as today's code would make them"]  # fmt: skip
    return table(head, rows, "Chapters and their state", classes="claims")


def runs_html(found: Mapping[str, status.Status], stored: Sequence[status.Stored]) -> str:
    """The records of each chapter that has some, folded."""
    titles = {book.chapter: f" · {book.title}" for book in stored}
    return "".join(
        _runs(f"{int(chapter)}{titles.get(chapter, '')}", runs)
        for chapter, runs in sorted(found.items())
    )


def _stored(book: status.Stored | None) -> str:
    if book is None:
        return "–"
    ran = f"{book.executed} of {book.cells} cells executed"
    when = f", stored {book.when[:10]}, commit {book.commit[:12]}" if book.commit else ""
    return escape(f"{book.profile or 'no profile'}, {ran}, Python {book.python}{when}")


def _executed(book: status.Stored | None) -> str:
    """When the stored outputs were made, how long that took, and with what."""
    if book is None or not book.started or book.seconds is None:
        return "–" if book is None else "not known: when, how long and on which processor"
    took = f"{_when(book.started)} UTC, in {_duration(book.seconds)}"
    return escape(f"{took}, with {book.environment}")


def _changed(changes: Sequence[str] | None) -> str:
    if changes is None:
        return "unknown: not in git"
    return escape("; ".join(changes)) or "nothing"


def _runs(name: str, runs: status.Status) -> str:
    told = {
        "Runs": f"{runs.runs} records, from {_when(runs.first)} to {_when(runs.last)} UTC",
        "Time": f"{_duration(runs.seconds)} in all",
        "Size": _listed(runs.profiles),
        "On": _listed(runs.corpora),
        "Commits": _listed(runs.commits),
        "With": _listed(runs.environments),
        "Changed since": _listed(runs.stale)
        or "nothing: code, parameters, manifests and pinned versions are those of the records",
        "Again": "; ".join(runs.commands),
    }
    state = "nothing changed since" if not runs.stale else f"{runs.runs - runs.fresh} stale"
    slug = f"runs-of-{runs.chapter}"
    return folded(
        f"Runs of chapter {escape(name)}", f"{runs.runs} records, {state}", facts(told), slug
    )


def _listed(counts: Mapping[str, int]) -> str:
    return "; ".join(f"{name} ({number})" for name, number in counts.items())


def _when(stamp: str) -> str:
    return stamp[:16].replace("T", " ")


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


# ------------------------------------------------------------------------------------------- HTML


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    label: str,
    *,
    numbers: Sequence[int] = (),
    above: str = "",
    classes: str = "",
) -> str:
    """A table in a container of its own, which scrolls on a small screen; cells are HTML."""

    def cells(row: Sequence[str]) -> str:
        first, *rest = row
        told = "".join(
            f'<td class="number">{cell}</td>' if n in numbers else f"<td>{cell}</td>"
            for n, cell in enumerate(rest, start=1)
        )
        return f'<tr><th scope="row">{first}</th>{told}</tr>'

    titles = "".join(
        f'<th scope="col">{escape(name)}</th>' if name else "<td></td>" for name in head
    )
    body = "".join(cells(row) for row in rows)
    return (
        f'<div class="generated-table" role="region" tabindex="0" aria-label="{escape(label)}">'
        f'<table class="table {classes}"><thead>{above}<tr>{titles}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def facts(told: Mapping[str, str]) -> str:
    """Names and what is said of them; those without are left out."""
    rows = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in told.items() if text
    )
    return f'<dl class="generated-facts">{rows}</dl>'


def folded(title: str, counts: str, inside: str, slug: str) -> str:
    """A section that opens on a click or by keyboard."""
    return (
        f'<details class="generated" id="{slug}"><summary><strong>{title}</strong> '
        f"<small>{counts}</small></summary>{inside}</details>"
    )


# ------------------------------------------------------------------------------------- directives


class Piece(NamedTuple):
    """HTML of a generated page; what has a caption is a numbered figure or table."""

    html: str
    caption: str = ""
    name: str = ""

    def node(self, document: nodes.document) -> nodes.Node:
        """As docutils has it: names begin with ``tab-`` or ``fig-``."""
        raw = nodes.raw("", self.html, format="html")
        if not self.caption:
            return raw
        figure = nodes.figure("", raw, nodes.caption("", self.caption))
        if self.name.startswith(PREFIX):
            figure["classes"] = [MARK, self.name]  # `cell_tables` makes a table of it
        else:
            figure["names"] = [self.name]
            document.note_explicit_target(figure, figure)
        return figure


class Generated(SphinxDirective):
    """What a generated page says in one place; nothing where the output is not HTML."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Raw HTML, and what is numbered around some of it."""
        argument = self.arguments[0] if self.arguments else ""
        return [piece.node(self.state.document) for piece in content(self.name, argument)]


def chapter_pages(documents: Iterable[str]) -> dict[str, str]:
    """The notebook of each chapter, by the chapter's number.

    >>> chapter_pages(["book/index", "notebooks/05_datasets"])
    {'5': 'notebooks/05_datasets'}
    """
    found = (re.fullmatch(r"notebooks/0?(\d+)_.*", page) for page in documents)
    return {match[1]: match[0] for match in found if match}


class Map(SphinxDirective):
    """The map of the thesis, whose chapters are links; nothing where the output is not HTML."""

    def run(self) -> list[nodes.Node]:
        """A figure of raw HTML."""
        address, here = self.env.app.builder.get_relative_uri, self.env.docname
        pages = {n: address(here, page) for n, page in chapter_pages(self.env.found_docs).items()}
        told = "Systems, chapters and corpora; what leads to what is drawn from the manifests."
        piece = Piece(thesis_map(links(), pages), told, "fig-map")
        return [piece.node(self.state.document)]


def claim_pieces(key: str, own: Sequence[ledger.Part]) -> list[Piece]:
    """A claim and the table of its parts, if there are any."""
    pieces = [Piece(claim_html(key, own))]
    if own:
        told = f"Parts of claim {key}. A number opens the runs that it rests on."
        html = parts_table(own, CLAIMS[key].unit, key)
        pieces.append(Piece(html, told, f"tab-claim-{key.lower()}"))
    return pieces


def content(name: str, argument: str = "") -> list[Piece]:
    """What a directive prints."""
    if name == "scoreboard-summary":
        counted = "Cells of the thesis's tables by chapter (rows), verdict and direction (columns)."
        drawn = "Every cell of every results table of the thesis as a square."
        return [
            Piece(summary_html(boards()), counted, "tab-scoreboard"),
            Piece(picture(boards()), drawn, "fig-scoreboard"),
        ]
    if name == "scoreboard":
        own = (board for board in boards() if board.chapter == argument)
        return [Piece("".join(map(board_html, own)))]
    if name == "claims-summary":
        told = "Each claim (rows) with its verdict, and the counts of parts behind it (columns)."
        return [Piece(claims_summary_html(parts()), told, "tab-claims")]
    if name == "claim":
        return claim_pieces(argument, [part for part in parts() if part.claim == argument])
    documents = read_documents(files.project_root() / "results")
    stored = status.stored_notebooks(documents)
    told = "Chapters (rows): when they were executed, and what has changed since (columns)."
    return [
        Piece(status_html(statuses(), stored), told, "tab-status"),
        Piece(runs_html(statuses(), stored)),
    ]


def outdated(app: Sphinx, env: BuildEnvironment, *changed: set[str]) -> list[str]:
    """These pages are read again in every build: records may have come."""
    return [page for page in PAGES if page in env.found_docs]


def setup(app: Sphinx) -> dict:
    """Register the directives and their style."""
    for name in ("scoreboard-summary", "scoreboard", "claims-summary", "claim", "status"):
        app.add_directive(name, Generated)
    app.add_directive("thesis-map", Map)
    app.add_css_file("generated_pages.css")
    app.connect("env-get-outdated", outdated)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
