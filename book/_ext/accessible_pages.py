"""Mend what is hard to read, with a screen reader or without, once the pages are written.

Each entry of `MENDS` says what is wrong. What CSS can mend is in ``book/assets/book.css``.
"""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx

MENDS: tuple[tuple[re.Pattern[str], str], ...] = (
    # The arrow that unfolds a part of the contents has no name.
    (
        re.compile(r'<summary>(?=<span class="toctree-toggle")'),
        '<summary aria-label="Pages below the one named before">',
    ),
    # The parameters of a long signature are a list of definitions with no term.
    (re.compile(r"<dl>(?=\s*<dd>)"), '<dl role="presentation">'),
    # The entries of a bibliography are in no list that assistive technology would take for one.
    (re.compile(r'<div role="list" class="citation-list">'), '<div class="citation-list">'),
    # A column of a data frame is as narrow as its longest word, and a number with its interval
    # breaks into four lines; CSS keeps whole what is short, which may stand for several rows.
    (
        re.compile(r'<t([dh])((?: rowspan="\d+" valign="top")?)>(?=[^<]{1,30}</t\1>)'),
        r'<t\1\2 class="short">',
    ),
)


def mend(text: str) -> str:
    """A page with every mend applied."""
    for pattern, replacement in MENDS:
        text = pattern.sub(replacement, text)
    return text


def finish(app: Sphinx, exception: Exception | None) -> None:
    """Rewrite the pages that need it."""
    if exception is not None or app.builder.format != "html":
        return
    for path in Path(app.outdir).rglob("*.html"):
        if "_static" in path.parts:
            continue
        text = path.read_text(encoding="utf-8")
        mended = mend(text)
        if mended != text:
            path.write_text(mended, encoding="utf-8")


def setup(app: Sphinx) -> dict:
    """Come last."""
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
