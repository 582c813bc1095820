"""Where an acronym or a term first stands on a page, it becomes a link to its explanation.

An acronym is a term of the glossary or of the list of acronyms that has at least two capitals, or
a capital and a digit; ``fps`` is one as well. It is matched letter by letter, and so is a name. The
other terms of the glossary may begin with a capital and stand in the plural; words that are common
outside their sense in the glossary are left alone. Headings, code, captions of code and what is
linked already stay as they are, and so do pages of the library, where names of code abound.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

UNTOUCHED = ("book/api", "book/acronyms", "book/glossary", "book/bibliography", "genindex")
ACRONYM = re.compile(r"fps|(?=(?:[^A-Z]*[A-Z]){2}|.*[A-Z].*\d)[\w-]+")
COMMON = {
    "affect", "clip", "decoding", "divergence", "encoding", "feature", "frame", "gate",
    "kernel", "parameter", "precision", "profile", "recorded", "reported", "role",
    "seed", "turn", "window",
}  # fmt: skip
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
    """Links the first use of each acronym and term, after all other links are known."""

    default_priority = 900
    formats = ("html",)

    def run(self, **kwargs: object) -> None:
        """Replace texts of this page."""
        if self.env.docname.startswith(UNTOUCHED):
            return
        places = terms(self.env.get_domain("std").objects)
        if not places:
            return
        builder = self.app.builder
        links = {
            name: f"{builder.get_relative_uri(self.env.docname, page)}#{anchor}"
            for name, (page, anchor) in places.items()
        }
        link_first_uses(self.document, links)


def terms(objects: Mapping[tuple[str, str], tuple[str, str]]) -> dict[str, tuple[str, str]]:
    """Terms that are linked, with page and anchor, out of the objects of the standard domain."""
    return {
        name: place
        for (kind, name), place in objects.items()
        if kind == "term" and name not in COMMON
    }


def spellings(name: str) -> str:
    """A regular expression for a term: a capital at its beginning, its plural, a line's end in it.

    >>> bool(re.fullmatch(spellings("learning rate"), "Learning rates"))
    True
    """
    words = r"\s+".join(map(re.escape, name.split())).replace("'", "['’]")
    if ACRONYM.fullmatch(name) or name[0].isupper():
        return f"{words}s?"
    start = f"(?:{name[0]}|(?<![\\w,] ){name[0].upper()})" + words[1:]  # not inside a name
    if re.search("[^aeiou]y$", name):
        return f"{start[:-1]}(?:y|ies)"
    return f"{start}(?:es)?" if re.search("(s|x|ch|sh)$", name) else f"{start}s?"


def link_first_uses(document: nodes.Element, links: Mapping[str, str]) -> None:
    """Make the first use of each name in running text a link, in place.

    Args:
        document: Of one page.
        links: Name to address.
    """
    names = sorted(links, key=len, reverse=True)  # the longest wins
    use = re.compile(rf"(?<![\w-])(?:{'|'.join(f'({spellings(n)})' for n in names)})(?![\w-])")
    addressed = {address: name for name, address in links.items()}
    seen: set[str] = set()
    for text in list(document.findall(nodes.Text)):
        if text.parent is None:
            continue
        closed = closing(text)
        if closed is nodes.reference:  # by the hand of the author
            seen.update(names[match.lastindex - 1] for match in use.finditer(text))
            seen.add(addressed.get(_address(text), ""))
        if closed is not None:
            continue
        parts: list[nodes.Node] = []
        end = 0
        for match in use.finditer(text):
            name = names[match.lastindex - 1]
            if name in seen:
                continue
            seen.add(name)
            parts.append(nodes.Text(text[end : match.start()]))
            inner = nodes.inline(match[0], match[0], classes=["std", "std-term"])
            parts.append(nodes.reference("", "", inner, internal=True, refuri=links[name]))
            end = match.end()
        if parts:
            parts.append(nodes.Text(text[end:]))
            text.parent.replace(text, [part for part in parts if part.astext()])


def _address(text: nodes.Text) -> str:
    """Where the link around a text leads."""
    node = text.parent
    while node is not None and not isinstance(node, nodes.reference):
        node = node.parent
    return "" if node is None else node.get("refuri", "")


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
