"""What every chapter has: figures with a number and words, and an ending like the thesis's."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from thesislib.records.conclusion import PERSPECTIVES

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
STATUSES = {"done", "tried", "open"}
PUBLISHED = {
    "bohy2022intensity": "06",
    "bohy2022mood": "04",
    "bohy2022colaughter": "03",
    "maiorca2023fmd": "03",
    "bohy2024socialmae": "07",
    "elhaddad2025ib": "05",
}
"""Section 9.2 of the thesis: each publication, and the chapter that it belongs to."""
ROW = re.compile(r"^\* - (?P<text>.+)\n  - \*(?P<status>\w+)\*\n  - (?P<where>.+)$", re.M)

each_chapter = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path, kind):
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


def prose(path):
    return "\n\n".join("".join(cell["source"]) for cell in cells(path, "markdown"))


def pictures(path):
    """Metadata of the cells that print a picture, a row for each picture."""
    return [
        cell["metadata"].get("mystnb", {})
        for cell in cells(path, "code")
        for output in cell["outputs"]
        if any(kind.startswith("image/") for kind in output.get("data", {}))
    ]


def tables(path):
    """The `figure` metadata of the cells that print a table and show it."""
    return [
        cell["metadata"].get("mystnb", {}).get("figure", {})
        for cell in cells(path, "code")
        if not {"remove-output", "remove-cell"} & set(cell["metadata"].get("tags", []))
        and any(
            "<table" in "".join(output.get("data", {}).get("text/html", ""))
            for output in cell["outputs"]
        )
    ]


def table_names(told):
    return [name for name in told.get("classes", "").split() if name.startswith("tab-")]


def ending(path):
    return prose(path).split("\n## In brief", 1)[1]


@each_chapter
def test_every_figure_has_a_caption_a_name_and_a_text_in_its_place(path):
    found = pictures(path)
    for told in found:
        figure = told.get("figure", {})
        assert len(figure.get("caption", "").split()) >= 3, told
        # A cell that prints several pictures gives all of them its caption, and cannot name them.
        if found.count(told) == 1:
            assert re.fullmatch(r"fig-[a-z0-9-]+", figure.get("name", "")), told
        assert len(told["image"]["alt"].split()) >= 5, told


def test_names_of_figures_are_their_own():
    names = Counter(told["figure"].get("name") for path in NOTEBOOKS for told in pictures(path))
    del names[None]
    assert max(names.values()) == 1, names.most_common(1)


def test_every_figure_that_is_referred_to_is_there():
    pages = [page for page in (ROOT / "book").rglob("*.md") if "assets" not in page.parts]
    texts = [prose(path) for path in NOTEBOOKS] + [page.read_text() for page in pages]
    known = {
        cell["metadata"].get("mystnb", {}).get("figure", {}).get("name")
        for path in NOTEBOOKS
        for cell in cells(path, "code")
    }
    known |= {name for text in texts for name in re.findall(r"^:name: (fig-\S+)", text, re.M)}
    used = {name for text in texts for name in re.findall(r"\{numref\}`(fig-[^`]+)`", text)}
    assert used
    assert used <= known


@each_chapter
def test_every_table_has_a_number_a_caption_and_a_name(path):
    for told in tables(path):
        assert "cell-table" in told.get("classes", "").split(), told
        assert len(told["caption"].split()) >= 3, told
        (name,) = table_names(told)
        assert re.fullmatch(r"tab-[a-z0-9-]+", name), told


def test_every_table_that_is_referred_to_is_there_once():
    names = [name for path in NOTEBOOKS for told in tables(path) for name in table_names(told)]
    assert len(names) == len(set(names)) > 50
    pages = (page for page in (ROOT / "book").rglob("*.md") if "assets" not in page.parts)
    text = "\n".join([*map(prose, NOTEBOOKS), *(page.read_text() for page in pages)])
    known = {*names, *re.findall(r"^:name: (tab-\S+)", text, re.M)}
    used = set(re.findall(r"\{numref\}`(tab-[^`]+)`", text))
    assert used
    assert used <= known


@each_chapter
def test_a_chapter_with_figures_refers_to_them(path):
    if pictures(path):
        assert re.search(r"\{numref\}`fig-", prose(path))


@each_chapter
def test_a_chapter_ends_with_a_summary_and_perspectives(path):
    text = ending(path)
    assert text.index("**Summary**") < text.index("**Perspectives**")
    summary = text.split("**Summary**")[1].split("**Perspectives**")[0]
    assert len(re.findall(r"^- ", summary, re.M)) >= 2


@pytest.mark.parametrize("chapter", sorted({entry.chapter for entry in PERSPECTIVES} - {9}))
def test_perspectives_have_the_status_that_the_conclusion_gives_them(chapter):
    (path,) = [path for path in NOTEBOOKS if path.name.startswith(f"{chapter:02}_")]
    found = Counter(row["status"] for row in ROW.finditer(ending(path)))
    told = Counter(entry.status for entry in PERSPECTIVES if entry.chapter == chapter)
    assert set(found) == set(told) <= STATUSES
    assert told <= found


@pytest.mark.parametrize("key", PUBLISHED)
def test_a_publication_of_the_thesis_is_listed_in_its_chapter(key):
    (path,) = [path for path in NOTEBOOKS if path.name.startswith(PUBLISHED[key])]
    line = re.search(r"^\*\*Publications?\.\*\* .+$", ending(path), re.M)
    assert line, path.name
    assert re.search(rf"\{{cite\}}`[^`]*{key}", line.group())
