"""Numbers in prose that say where they come from: the roles ``result`` and ``reported``.

``{result}`08-…-s*::uar:.2f``` prints a number of stored records and, in the page, opens a popover
with what made it. ``{reported}`8.2|whisper-main-only|macro f1-score``` prints one of the thesis.
A page of ``book/`` that writes a result by hand is a warning, and so an error of the build.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole

from thesislib import files
from thesislib.errors import InputError
from thesislib.records.citing import Citation, cite
from thesislib.records.reported import reported

LOG = logging.getLogger(__name__)
ALLOWED = Path(__file__).with_name("allowed_numbers.txt")
METRIC = (
    r"UAR|WAR|F1|F-score|accuracy|precision|recall|kappa|κ|alpha|IoU|AUC|ECE|MAE|CCC|"
    r"Pearson|Spearman|rho|silhouette|trustworthiness|Cohen's [hd]|p-value"
)
NUMBER = r"[-+−]?\d*[.,]\d+(?:\s?%)?|\d+(?:\.\d+)?\s?%"
UNIT = r"%|per cent\b|percentage points?\b|nats\b"
HAND_WRITTEN = re.compile(
    rf"(?:\b(?:{METRIC})\b[^.;:|\d]{{0,24}}(?:{NUMBER}))|(?:(?:{NUMBER})\s(?:{METRIC})\b)|"
    rf"(?<![\d.])(?:\d+[.,]\d+\s?(?:{UNIT}))"
)
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
        number = self.env.new_serialno("result")
        shown = nodes.inline(citation.text, citation.text, classes=["result"])
        if self.env.app.builder.format != "html":
            return [shown], []
        name = f"result-{re.sub('[^a-z0-9]+', '-', self.env.docname.lower())}-{number}"
        return [nodes.raw("", popover(citation, name), format="html")], []


def popover(citation: Citation, name: str) -> str:
    """A number as a button, and the panel that it opens: by mouse, by keyboard, with no script."""
    return button(citation.text, name) + panel(citation.details, name)


def button(text: str, name: str) -> str:
    """A number that opens the panel of this name; several numbers may open the same one."""
    return (
        f'<button type="button" class="result" popovertarget="{name}">{html.escape(text)}</button>'
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
        """The value, which says on hovering where the thesis prints it."""
        parts = [part.strip() for part in self.text.split("|")]
        try:
            if len(parts) != 3:
                raise InputError(self.text, "is not TABLE|ROW|COLUMN", "e.g. 8.2|ast-main-only|…")
            text = f"{reported(*parts):g}"
        except InputError as error:
            LOG.warning(str(error), location=self.get_location())
            text = self.text
        title = f"Reported in the thesis: Table {', '.join(parts)}"
        node = nodes.inline(text, text, classes=["reported"])
        if self.env.app.builder.format == "html":
            shown = (
                f'<span class="reported" title="{html.escape(title)}">{html.escape(text)}</span>'
            )
            return [nodes.raw("", shown, format="html")], []
        return [node], []


def hand_written(text: str, allowed: set[str]) -> list[str]:
    """Results in a text that no role made: a decimal number or a share beside a metric's name."""
    return [match[0] for match in HAND_WRITTEN.finditer(text) if match[0] not in allowed]


def prose(block: nodes.TextElement) -> str:
    """What a block says itself, without what the roles put into it."""
    return "".join(
        text for text in block.findall(nodes.Text) if not isinstance(text.parent, nodes.raw)
    )


def allowed_numbers() -> set[str]:
    """Constants that look like results and are none, one a line, after review."""
    lines = ALLOWED.read_text(encoding="utf-8").splitlines()
    return {line for line in lines if line and not line.startswith("#")}


def check(app: Sphinx, doctree: nodes.document) -> None:
    """Warn of results that a page of ``book/`` states by hand."""
    name = app.env.docname
    if not name.startswith("book/") or name.startswith(UNCHECKED):
        return
    allowed = allowed_numbers()
    for block in doctree.findall(nodes.TextElement):
        if isinstance(block, nodes.paragraph | nodes.term | nodes.title | nodes.caption):
            for found in hand_written(prose(block), allowed):
                LOG.warning(
                    f"{found!r} looks like a result written by hand; use the role `result`, or "
                    f"list it in {ALLOWED.name} if it is a constant",
                    location=block,
                )


def setup(app: Sphinx) -> dict:
    """Register the roles and the check."""
    app.add_role("result", ResultRole())
    app.add_role("reported", ReportedRole())
    app.connect("doctree-read", check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
