"""Numbers in prose that say where they come from: the roles ``result`` and ``reported``.

``{result}`08-…-s*::uar:.2f``` prints a number of stored records and, in the page, opens a popover
with what made it. ``{reported}`8.2|whisper-main-only|macro f1-score``` prints one of the thesis,
with its digits, and opens one with its place there.
A page of ``book/``, or a text cell of a chapter, that writes a result by hand is a warning, and so
an error of the build. What code cells print is theirs.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole

from thesislib import files
from thesislib.errors import InputError
from thesislib.records.citing import Citation, cite
from thesislib.records.reported import printed, reported_entry

LOG = logging.getLogger(__name__)
ALLOWED = Path(__file__).with_name("allowed_numbers.txt")
METRIC = re.compile(
    r"\b(?:UAR|WAR|F1|F-scores?|IoU|AUC|AUROC|ECE|EER|WER|MAE|MSE|RMSE|CCC|MI|MIG|ICC|R²|κ|"
    r"Pearson|Spearman|Fleiss|Krippendorff|Cohen's [hd]|"
    r"(?i:accurac(?:y|ies)|precision|recall|kappas?|alpha|rho|loss(?:es)?|correlations?|"
    r"silhouettes?|trustworthiness|mutual information|error rates?|p-values?|"
    r"(?:squared|absolute|calibration|reconstruction) errors?|"
    r"sensitivity|specificity|Brier|agreements?|overlaps?|shares?|slopes?|effect sizes?|"
    r"differences?))(?!\w)|"
    r"\b[dpr] ?(?=[=<>≤≥])"
)
UNIT = r"%|per cent\b|(?:percentage )?points?\b|nats\b|bits\b"
MEASURE = r"(?:k?Hz|m?s|seconds?|minutes?|[cm]?m|dB|rad|octaves?|pixels?|Gi?B)\b"
NUMBER = re.compile(  # a decimal that is no thousand, section, or physical quantity; or a share
    r"(?<![\w.,])[-+−]?"
    rf"(?:(?![1-9]\d?\d?(?:,\d{{3}})+(?!\d))\d*[.,]\d++(?!\.\d|\s?{MEASURE})(?:\s?%)?|"
    r"\d+\s?(?:%|per cent\b))"
)
WITH_UNIT = re.compile(rf"(?<![\w.,])(?![1-9]\d?\d?(?:,\d{{3}})+(?!\d))\d+[.,]\d+\s?(?:{UNIT})")
PLACE = re.compile(  # in the thesis, as in Tables 6.1 to 6.3: no result
    r"\b(?i:tables?|figures?|sections?|equations?|python)\s[1-9]\d*(?:\.\d+)+"
    r"(?:(?:,| and| or| to)+\s[1-9]\d*(?:\.\d+)+)*"
)
SENTENCES = re.compile(r"(?<=[.!?])[*_)\"]*\s+(?=[A-Z*(\[…])")
CHECKED = ("book/", "notebooks/")
UNCHECKED = ("book/api", "book/bibliography")


class ResultRole(SphinxRole):
    """``{result}`RUN::METRIC:FORMAT```."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """The number as a button with its panel; as plain text where the output is not HTML."""
        try:
            citation = cite(self.text, files.project_root() / "results")
        except InputError as error:
            LOG.warning(str(error), location=self.get_location())
            return [nodes.Text(self.text)], []
        shown = nodes.inline(citation.text, citation.text, classes=["result"])
        if self.env.app.builder.format != "html":
            return [shown], []
        name = panel_name(self, "result")
        return [nodes.raw("", popover(citation, name), format="html")], []


def panel_name(role: SphinxRole, kind: str) -> str:
    """A name that no other panel of the book has."""
    page = re.sub("[^a-z0-9]+", "-", role.env.docname.lower())
    return f"{kind}-{page}-{role.env.new_serialno(kind)}"


def popover(citation: Citation, name: str) -> str:
    """A number as a button, and the panel that it opens: by mouse, by keyboard, with no script."""
    return button(citation.text, name) + panel(citation.details, name)


def button(text: str, name: str, classes: str = "result") -> str:
    """A number that opens the panel of this name; several numbers may open the same one."""
    return (
        f'<button type="button" class="{classes}" popovertarget="{name}">{html.escape(text)}'
        "</button>"
    )


def panel(details: Mapping[str, str], name: str) -> str:
    """What made a number, hidden until a button of this name opens it."""
    rows = "".join(  # no lists: a paragraph that holds one would end there
        f"<span>{html.escape(key)}</span><span>{html.escape(value)}</span>"
        for key, value in details.items()
    )
    return (
        f'<span popover id="{name}" class="result-details" role="dialog" '
        f'aria-label="Where this number comes from">{rows}</span>'
    )


class ReportedRole(SphinxRole):
    """``{reported}`TABLE|ROW|COLUMN```."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """The value as a button with its panel; as plain text where the output is not HTML."""
        parts = [part.strip() for part in self.text.split("|")]
        try:
            if len(parts) != 3:
                raise InputError(self.text, "is not TABLE|ROW|COLUMN", "e.g. 8.2|ast-main-only|…")
            text = printed(*parts)
        except InputError as error:
            LOG.warning(str(error), location=self.get_location())
            return [nodes.Text(self.text)], []
        if self.env.app.builder.format != "html":
            return [nodes.inline(text, text, classes=["reported"])], []
        table, row, column = parts
        entry = reported_entry(table)
        details = {
            "value": f"{text} ({entry['unit']}), reported in the thesis and not measured here",
            "table": f"{table}: {entry['title']}",
            "row": row,
            "column": column,
        }
        name = panel_name(self, "reported")
        shown = button(text, name, "result reported") + panel(details, name)
        return [nodes.raw("", shown, format="html")], []


def hand_written(text: str, allowed: Iterable[str], context: str = "") -> list[str]:
    """Results in a text that no role made.

    That is a decimal number or a share in a sentence that names a metric, however far apart they
    stand, and a decimal number with a result's unit.

    Args:
        text: Of a block, without what its roles print.
        allowed: Phrases that are passed over.
        context: What a cell of a table says with its heading and its row's label; a metric there
            counts for every sentence of the text.

    Returns:
        Each number with its metric, or with its unit.
    """
    found = []
    for phrase in sorted(allowed, key=len, reverse=True):
        text, context = text.replace(phrase, "…"), context.replace(phrase, "…")
    for whole in SENTENCES.split(text):
        sentence = PLACE.sub("…", whole)
        metric = METRIC.search(sentence) or METRIC.search(context)
        if metric:
            numbers = NUMBER.findall(sentence)
            if not numbers and "%" in context:  # the heading has the unit
                numbers = re.findall(r"\d+", sentence)
            found += [f"{metric[0].strip()} … {number}" for number in numbers]
        else:
            found += WITH_UNIT.findall(sentence)
    return found


def hand_written_in_row(heads: list[str], row: list[str], allowed: Iterable[str]) -> list[str]:
    """Results in one row of a table; the metric may stand in the cell, its heading or the label.

    Args:
        heads: The headings of the columns; none if the table has none.
        row: The cells, the label first.
        allowed: Phrases that are passed over.
    """
    found = hand_written(row[0], allowed, heads[0] if heads else "")
    for index, cell in enumerate(row[1:], start=1):
        head = heads[index] if index < len(heads) else ""
        found += hand_written(cell, allowed, f"{head} | {row[0]}")
    return found


def prose(block: nodes.Element) -> str:
    """What a block says itself, without code and without what the roles put into it."""
    return " ".join(
        "".join(
            text
            for text in part.findall(nodes.Text)
            if not isinstance(text.parent, nodes.raw | nodes.literal)
        )
        for part in (block.findall(nodes.paragraph) if isinstance(block, nodes.entry) else [block])
    )


def allowed_numbers() -> set[str]:
    """Phrases with a constant that looks like a result and is none, one a line, after review."""
    lines = ALLOWED.read_text(encoding="utf-8").splitlines()
    return {line for line in lines if line and not line.startswith("#")}


def check(app: Sphinx, doctree: nodes.document) -> None:
    """Warn of results that a page or the text of a chapter states by hand."""
    name = app.env.docname
    if not name.startswith(CHECKED) or name.startswith(UNCHECKED):
        return
    allowed = allowed_numbers()
    for block in doctree.findall(nodes.TextElement):
        checked = isinstance(block, nodes.paragraph | nodes.term | nodes.title | nodes.caption)
        if checked and not isinstance(block.parent, nodes.entry):
            complain(hand_written(prose(block), allowed), block)
    for group in doctree.findall(nodes.tgroup):
        rows = [[prose(cell) for cell in row] for row in group.findall(nodes.row)]
        heads = rows[0] if any(group.findall(nodes.thead)) else []
        for row in rows:
            complain(hand_written_in_row(heads if row is not heads else [], row, allowed), group)


def complain(found: list[str], block: nodes.Element) -> None:
    """A warning for each number."""
    for number in found:
        LOG.warning(
            f"{number!r} looks like a result written by hand; use the role `result`, or list its "
            f"phrase in {ALLOWED.name} if it is a constant",
            location=block,
        )


def setup(app: Sphinx) -> dict:
    """Register the roles and the check."""
    app.add_role("result", ResultRole())
    app.add_role("reported", ReportedRole())
    app.connect("doctree-read", check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
