"""Give each chapter the number in its file's name, however many chapters the book has so far.

``notebooks/08_affect_disentanglement`` is chapter 8 here as in the thesis, with sections 8.1, 8.2
and figures 8.1, 8.2, although Sphinx alone would count the first numbered page as chapter 1.
"""

from __future__ import annotations

import re

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx_external_toc.collectors import TocTreeCollectorWithStyles as Collector

CHAPTER = re.compile(r"notebooks/(\d+)_")


def renumber(env: BuildEnvironment) -> None:
    """Set the first part of every section number of a chapter, in place."""
    for document, sections in env.toc_secnumbers.items():
        match = CHAPTER.match(document)
        if match is None:
            continue
        chapter = int(match[1])
        for anchor, number in sections.items():
            sections[anchor] = (chapter, *number[1:]) if number else number
        references = env.tocs[document].findall(nodes.reference)
        for node in [env.titles[document], *references]:
            if node.get("secnumber"):
                node["secnumber"] = [chapter, *node["secnumber"][1:]]


def setup(app: Sphinx) -> dict:
    """Renumber after the sections have their numbers and before the figures get theirs.

    Both happen in one event, so there is no event in between to listen to.
    """
    number_sections = Collector.assign_section_numbers

    def number_and_renumber(collector: Collector, env: BuildEnvironment) -> list[str]:
        changed = number_sections(collector, env)
        renumber(env)
        return changed

    Collector.assign_section_numbers = number_and_renumber
    return {"parallel_read_safe": True, "parallel_write_safe": True}
