"""Cards and sheets that are filled in while the book is built, from manifests and run records.

``{data-sheet} NAME`` prints what a manifest says, ``{twin-sheet} CORPUS`` what is known of a twin,
and ``{measured} CHAPTER EXPERIMENT`` the metrics of recorded runs, or that there are none yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from traceable_numbers import popover

from thesislib import files
from thesislib.errors import InputError
from thesislib.records import cards
from thesislib.records.citing import cite_records
from thesislib.records.record import RunRecord, read_records

LOG = logging.getLogger(__name__)
MISSING = "not recorded yet"


class DataSheet(SphinxDirective):
    """``{data-sheet} NAME``: a manifest, question by question."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """A table of two columns, and the manifest as a file that the page depends on."""
        name = self.arguments[0]
        try:
            sheet = cards.data_sheet(name)
        except InputError as error:
            LOG.warning(str(error), location=self.get_location())
            return []
        manifest = files.project_root() / "data_manifests" / f"{name}.json"
        self.env.note_dependency(str(manifest))
        return [as_table(self, sheet, f"Data sheet: {sheet['Name']}.", f"tab-sheet-{name}")]


class TwinSheet(SphinxDirective):
    """``{twin-sheet} CORPUS``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """A table of two columns."""
        name = self.arguments[0]
        if name not in cards.TWIN_PAGES:
            LOG.warning(f"{name} has no twin", location=self.get_location())
            return []
        sheet = cards.twin_sheet(name, recorded())
        return [
            as_table(
                self,
                sheet,
                f"The twin of {cards.data_sheet(name)['Name']}.",
                f"tab-twin-sheet-{name}",
            )
        ]


class Measured(SphinxDirective):
    """``{measured} CHAPTER EXPERIMENT``, with rows by ``:by:`` and columns by ``:metrics:``.

    ``:where:`` has conditions such as ``model=audio video; split=speaker``. The table is numbered.
    """

    required_arguments = 2
    option_spec: ClassVar[dict] = {
        "caption": directives.unchanged_required,
        "name": directives.unchanged_required,
        "by": directives.unchanged_required,
        "metrics": directives.unchanged_required,
        "where": directives.unchanged,
    }

    def run(self) -> list[nodes.Node]:
        """A table, or a sentence where nothing is recorded."""
        chapter, experiment = self.arguments
        by = ["kind of data", *self.options["by"].split()]
        metrics = self.options["metrics"].split()
        pairs = [line.split("=") for line in self.options.get("where", "").split(";") if line]
        found = cards.measured(
            recorded(),
            chapter=chapter,
            experiment=experiment,
            by=by,
            where={key.strip(): wanted.strip() for key, wanted in pairs},
        )
        if not found:
            return [nodes.paragraph("", "", nodes.emphasis("", f"Metrics: {MISSING}."))]
        rows = [
            [*key, str(len({run.seed for run in runs})), *self.cells(runs, metrics)]
            for key, runs in found.items()
        ]
        numbered = table([*by, "seeds", *metrics], rows)
        numbered.insert(0, nodes.title("", self.options["caption"]))
        self.add_name(numbered)
        return [numbered]

    def cells(self, runs: Sequence[RunRecord], metrics: Sequence[str]) -> Iterable[nodes.Node]:
        """Each metric as a number that says where it comes from."""
        for metric in metrics:
            having = [run for run in runs if metric in run.metrics]
            if not having:
                yield nodes.Text("–")
                continue
            citation = cite_records(having, metric, spread="seeds")
            if self.env.app.builder.format != "html":
                yield nodes.Text(citation.text)
                continue
            number = self.env.new_serialno("measured")
            place = self.env.docname.replace("/", "-")
            yield nodes.raw("", popover(citation, f"measured-{place}-{number}"), format="html")


@cache
def recorded() -> tuple[RunRecord, ...]:
    """All records of the book."""
    return tuple(read_records(files.project_root() / "results"))


def as_table(
    directive: SphinxDirective, sheet: dict[str, str], title: str, name: str
) -> nodes.table:
    """A sheet as a numbered table: questions left, answers, which may have markup, right."""
    rows = []
    for question, answer in sheet.items():
        if answer.startswith("http"):
            parsed: list[nodes.Node] = [nodes.reference("", answer, refuri=answer)]
        else:
            parsed = directive.parse_inline(answer)[0]
        rows.append([nodes.strong("", question), nodes.inline("", "", *parsed)])
    numbered = table(["Question", "Answer"], rows, widths=(22, 78))
    numbered.insert(0, nodes.title("", title))
    numbered["names"] = [name]
    directive.state.document.note_explicit_target(numbered, numbered)
    return numbered


def table(
    heads: Sequence[str], rows: Sequence[Sequence[str | nodes.Node]], widths: Sequence[int] = ()
) -> nodes.table:
    """A table of texts and nodes."""
    group = nodes.tgroup("", cols=len(heads))
    for width in widths or [100 // len(heads)] * len(heads):
        group += nodes.colspec(colwidth=width)
    group += nodes.thead("", as_row([nodes.Text(head) for head in heads]))
    group += nodes.tbody("", *(as_row(row) for row in rows))
    return nodes.table("", group)


def as_row(cells: Sequence[str | nodes.Node]) -> nodes.row:
    """One row, a paragraph a cell."""
    texts = [nodes.Text(cell) if isinstance(cell, str) else cell for cell in cells]
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", text)) for text in texts))


def setup(app: Sphinx) -> dict:
    """Register the directives."""
    app.add_directive("data-sheet", DataSheet)
    app.add_directive("twin-sheet", TwinSheet)
    app.add_directive("measured", Measured)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
