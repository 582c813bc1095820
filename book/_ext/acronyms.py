"""Where an acronym first stands on a page, it becomes a link to its explanation.

An acronym is a term of the glossary or of the list of acronyms that has at least two capitals, or
a capital and a digit; ``fps`` is one as well. Headings, code, captions of code and what is linked
already stay as they are, and so do pages of the library, where names of code abound.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

UNTOUCHED = ("book/api", "book/acronyms", "book/glossary", "book/bibliography", "genindex")
ACRONYM = re.compile(r"fps|(?=(?:[^A-Z]*[A-Z]){2}|.*[A-Z].*\d)[\w-]+")
CLOSED = (
    nodes.title,
    nodes.reference,
    nodes.literal,
    nodes.literal_block,
    nodes.raw,
    nodes.math,
    nodes.math_block,
    nodes.term,
    nodes.comment,
    nodes.footnote_reference,
    nodes.label,
    nodes.citation,
)


class FirstUse(SphinxPostTransform):
    """Links the first use of each acronym, after all other links are known."""

    default_priority = 900
    formats = ("html",)

    def run(self, **kwargs: object) -> None:
        """Replace texts of this page."""
        if self.env.docname.startswith(UNTOUCHED):
            return
        places = acronyms(self.env.get_domain("std").objects)
        if not places:
            return
        builder = self.app.builder
        links = {
            name: f"{builder.get_relative_uri(self.env.docname, page)}#{anchor}"
            for name, (page, anchor) in places.items()
        }
        link_first_uses(self.document, links)


def acronyms(objects: Mapping[tuple[str, str], tuple[str, str]]) -> dict[str, tuple[str, str]]:
    """Terms that are acronyms, with page and anchor, out of the objects of the standard domain."""
    return {
        name: place
        for (kind, name), place in objects.items()
        if kind == "term" and ACRONYM.fullmatch(name)
    }


def link_first_uses(document: nodes.Element, links: Mapping[str, str]) -> None:
    """Make the first use of each name in running text a link, in place.

    Args:
        document: Of one page.
        links: Name to address. A plural with a small s counts as a use.
    """
    longest_first = sorted(links, key=len, reverse=True)
    use = re.compile(rf"(?<![\w-])({'|'.join(map(re.escape, longest_first))})(s?)(?![\w-])")
    seen: set[str] = set()
    for text in list(document.findall(nodes.Text)):
        if text.parent is None:
            continue
        closed = closing(text)
        if closed is nodes.reference:  # by the hand of the author
            seen.update(match[1] for match in use.finditer(text))
        if closed is not None:
            continue
        parts: list[nodes.Node] = []
        end = 0
        for match in use.finditer(text):
            if match[1] in seen:
                continue
            seen.add(match[1])
            parts.append(nodes.Text(text[end : match.start()]))
            target = links[match[1]]
            inner = nodes.inline(match[0], match[0], classes=["std", "std-term"])
            parts.append(nodes.reference("", "", inner, internal=True, refuri=target))
            end = match.end()
        if parts:
            parts.append(nodes.Text(text[end:]))
            text.parent.replace(text, [part for part in parts if part.astext()])


def closing(text: nodes.Text) -> type[nodes.Node] | None:
    """The kind of node around a text that forbids to change it, from the outside in."""
    node, found = text.parent, None
    while node is not None:
        if isinstance(node, CLOSED):
            found = next(kind for kind in CLOSED if isinstance(node, kind))
        if "cell_output" in node.get("classes", ()) or "cell_input" in node.get("classes", ()):
            return nodes.literal_block
        node = node.parent
    return found


def setup(app: Sphinx) -> dict:
    """Register the transform."""
    app.add_post_transform(FirstUse)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
