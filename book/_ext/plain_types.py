"""Types of numpy that end in an underscore, such as ``np.bool_``, are no links in docstrings."""

from __future__ import annotations

import re

from sphinx.application import Sphinx

TYPE = re.compile(r"\b(np\.\w+)_(?=\W|$)")


def escape(app: Sphinx, what: str, name: str, target: object, options: dict, lines: list) -> None:
    """Escape the underscore in the types of attributes, in place, after napoleon wrote them."""
    lines[:] = [
        TYPE.sub(r"\1\\_", line)
        if line.lstrip().startswith((":vartype", ":type", ":rtype"))
        else line
        for line in lines
    ]


def setup(app: Sphinx) -> dict:
    """Listen last."""
    app.connect("autodoc-process-docstring", escape, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
