"""Number the tables of code cells, as figures are.

A cell whose tables shall have a number and a caption says so in its metadata::

    "mystnb": {"figure": {"caption": "F1 by class.", "classes": "cell-table tab-f1"}}

The class that begins with ``tab-`` is the name under which text refers to it:
``{numref}`tab-f1` ``. Several tables of one cell share number and caption.
"""

from __future__ import annotations

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.transforms import SphinxTransform
from sphinx.writers.html5 import HTML5Translator

MARK = "cell-table"
PREFIX = "tab-"
SCROLLS = "cell_output"  # where the theme lets whoever has no mouse scroll wide outputs


class cell_table(nodes.figure):  # noqa: N801 - docutils names its nodes so
    """Tables of a cell and their caption, which CSS puts above; counted among the tables."""


class NumberTables(SphinxTransform):
    """Turn the marked figures of a page into tables, and those of one cell into one."""

    default_priority = 200  # before targets are gathered

    def apply(self, **options: object) -> None:
        """Replace the figures in place."""
        last: cell_table | None = None
        for figure in list(self.document.findall(nodes.figure)):
            if MARK not in figure["classes"]:
                continue
            rest = [child for child in figure.children if not _is_caption(child)]
            if last is not None and figure.parent is last.parent:
                parent = figure.parent
                between = parent[parent.index(last) + 1 : parent.index(figure)]
                for node in (*between, figure):
                    parent.remove(node)
                last[-1:-1] = [*between, *rest]  # what is printed between two tables stays there
                continue
            names = [name for name in figure["classes"] if name.startswith(PREFIX)]
            captions = [child for child in figure.children if _is_caption(child)]
            if len(names) != 1 or len(captions) != 1:
                raise ExtensionError(
                    f"{self.env.docname}, line {figure.line}: a table needs one caption and one "
                    f"class {PREFIX}NAME, not {len(captions)} and {names}"
                )
            last = cell_table("", *rest, *captions, classes=[MARK, SCROLLS], names=names)
            last.source, last.line = figure.source, figure.line
            figure.replace_self(last)
            self.document.note_explicit_target(last, last)


def _is_caption(node: nodes.Node) -> bool:
    return isinstance(node, nodes.caption)


def _visit(self: HTML5Translator, node: nodes.Element) -> None:
    self.visit_figure(node)


def _depart(self: HTML5Translator, node: nodes.Element) -> None:
    self.depart_figure(node)


def setup(app: Sphinx) -> dict:
    """Add the node and the transform."""
    app.add_enumerable_node(cell_table, "table", html=(_visit, _depart))
    app.add_transform(NumberTables)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
