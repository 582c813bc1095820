"""The sources of the book: complete, resolvable, and stored as they should be."""

import ast
import hashlib
import importlib
import json
import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

import thesislib
from thesislib.figures import thesis_map
from thesislib.records.reported import reported, reported_cells

ROOT = Path(__file__).resolve().parents[2]
TOC = (ROOT / "_toc.yml").read_text()
LISTED = re.findall(r"(?:file|root): (\S+)", TOC)
PAGES = sorted((ROOT / "book").rglob("*.md"))
PAGES = [page for page in PAGES if "assets" not in page.parts]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TABLE = re.compile(r"^```\{table\}[^\n]*\n(?::[^\n]*\n)*(.*?)^```$", re.M | re.S)
CITATION = re.compile(r"\{cite(?::\w+)?\}`([^`]+)`")
LITERALS = (str, int, float, bool, type(None))


def cells(path, kind):
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


def source(cell):
    return "".join(cell["source"])


def code_cells(path):
    return [cell for cell in cells(path, "code") if source(cell).strip()]


def prose(path):
    if path.suffix == ".md":
        return path.read_text()
    return "\n\n".join(source(cell) for cell in cells(path, "markdown"))


def captions(path):
    """Of figures and tables that code cells make; none of a page."""
    if path.suffix == ".md":
        return ""
    figures = [cell["metadata"].get("mystnb", {}).get("figure", {}) for cell in code_cells(path)]
    return "\n\n".join(figure.get("caption", "") for figure in figures)


def test_there_is_a_chapter():
    assert NOTEBOOKS


def test_every_page_and_chapter_is_in_the_contents():
    found = {str(path.relative_to(ROOT).with_suffix("")) for path in [*PAGES, *NOTEBOOKS]}
    assert found == set(LISTED)
    assert len(LISTED) == len(set(LISTED))


def test_every_module_has_an_entry_in_the_api_pages():
    library = Path(thesislib.__file__).parent
    modules = {
        ".".join(path.relative_to(library.parent).with_suffix("").parts)
        for path in library.rglob("*.py")
        if path.stem != "__init__"
    }
    api = [page for page in PAGES if page.stem == "api" or page.parent.name == "api"]
    entries = re.findall(r"automodule:: (\S+)", "\n".join(page.read_text() for page in api))
    assert sorted(entries) == sorted(modules)


def test_every_citation_resolves():
    keys = re.findall(r"^@\w+\{([^,]+),", (ROOT / "book/references.bib").read_text(), re.M)
    assert len(keys) == len(set(keys))
    cited = {
        key.strip()
        for path in [*PAGES, *NOTEBOOKS]
        for group in CITATION.findall(prose(path))
        for key in group.split(",")
    }
    assert cited
    assert cited <= set(keys)


def test_every_term_is_in_the_glossary():
    text = (ROOT / "book/glossary.md").read_text()
    blocks = re.findall(r"```\{glossary\}\n(.*?)```", text, re.S)
    terms = [
        line
        for block in blocks
        for line in block.splitlines()
        if line.strip() and not line.startswith(" ")
    ]
    used = {
        re.sub(r".*<(.+)>", r"\1", term)
        for path in [*PAGES, *NOTEBOOKS]
        for term in re.findall(r"\{term\}`([^`]+)`", prose(path))
    }
    assert len(terms) == len({term.lower() for term in terms})
    assert {term.lower() for term in used} <= {term.lower() for term in terms}


def test_glossary_terms_are_in_order():
    text = (ROOT / "book/glossary.md").read_text()
    block = re.search(r"```\{glossary\}\n(.*?)```", text, re.S).group(1)
    terms = [line.lower() for line in block.splitlines() if line.strip() and line[0] != " "]
    assert terms == sorted(terms)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT / "book")))
def test_every_picture_of_a_page_says_what_it_shows(page):
    text = page.read_text()
    assert re.findall(r"!\[\s*\]\(", text) == []
    for directive in re.findall(r"```\{(?:image|figure)\}.*?```", text, re.S):
        assert re.search(r"^:alt: \S+", directive, re.M), directive


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT / "book")))
def test_every_table_of_a_page_has_a_caption_and_a_name(page):
    """Only then does it get a number and can be referred to."""
    text = page.read_text()
    for head, options in re.findall(
        r"^```\{(?:list-table|table|measured)\}(.*)\n((?::.*\n)*)", text, re.M
    ):
        caption = re.search(r"^:caption: (.+)", options, re.M)
        assert len((caption[1] if caption else head).split()) >= 3, head
        assert re.search(r"^:name: tab-[a-z0-9-]+$", options, re.M), head
    assert "\n|" not in TABLE.sub("", text)


def test_names_of_tables_are_their_own():
    texts = [prose(path) for path in [*PAGES, *NOTEBOOKS]]
    names = [name for text in texts for name in re.findall(r"^:name: (tab-\S+)", text, re.M)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("page", [*PAGES, *NOTEBOOKS], ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_or_chapter_states_a_result_by_hand(page, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "book/_ext"))
    traceable = importlib.import_module("traceable_numbers")
    if str(page.relative_to(ROOT).with_suffix("")).startswith(traceable.UNCHECKED):
        return
    text = TABLE.sub(r"\n\1", f"{prose(page)}\n\n{captions(page)}")
    text = re.sub(r"^(`{3,}|~{3,}|:{3,}).*?^\1", "", text, flags=re.S | re.M)
    text = re.sub(r"(?:\{\w+\})?`+[^`]+`+|\$\$.*?\$\$", "", text, flags=re.S)
    allowed, found, heads = traceable.allowed_numbers(), [], []
    for block in re.split(r"\n\s*\n|\n(?=[-*|] ?)", text):
        if block.startswith("|"):
            row = [cell.strip() for cell in block.strip().strip("|").split("|")]
            found += traceable.hand_written_in_row(heads, row, allowed)
            heads = heads or row
        else:
            found += traceable.hand_written(" ".join(block.split()), allowed)
            heads = []
    assert found == []


def test_every_phrase_that_is_no_result_stands_on_a_page(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "book/_ext"))
    allowed = importlib.import_module("traceable_numbers").allowed_numbers()
    texts = [part(page) for page in [*PAGES, *NOTEBOOKS] for part in (prose, captions)]
    text = " ".join(" ".join(texts).split())
    assert {phrase for phrase in allowed if phrase not in text} == set()
    assert len(allowed) <= 12


def test_the_lines_of_the_map_end_at_the_boxes_of_their_links():
    """What feeds each chapter, read off the drawing."""
    found = thesis_map.links()
    drawing = ElementTree.fromstring(thesis_map.thesis_map(found))
    boxes, svg = {}, list(drawing.iter())
    for box, text in pairwise(svg):
        if box.tag == "rect":
            x, y, width, height = (float(box.get(key)) for key in ("x", "y", "width", "height"))
            boxes[text.text] = (x, x + width, y, y + height)

    def box_at(x, y):
        return next(
            name
            for name, (left, right, top, bottom) in boxes.items()
            if left <= x <= right and top < y < bottom
        )

    drawn = set()
    for line in drawing.iter("path"):
        if line.get("class") == "link":
            x0, y0, x1, y1 = map(
                float, re.fullmatch(r"M(\S+) (\S+)C.* (\S+) (\S+)", line.get("d")).groups()
            )
            drawn.add((box_at(x0, y0).split(" · ")[0], box_at(x1, y1)))
    assert drawn == {(link.chapter, thesis_map.SHORT[link.corpus]) for link in found}


def test_the_map_leads_to_chapters_whose_pages_it_is_given():
    pages = {"5": "a.html", "8": "b.html?x&y"}
    drawing = ElementTree.fromstring(thesis_map.thesis_map(thesis_map.links(), pages))
    led = {box.find("text").text[0]: box.get("href") for box in drawing.iter("a")}
    assert led == pages
    assert drawing.find("svg").get("role") == "group"  # a picture would hide its links


def test_the_front_page_has_the_map():
    assert "```{thesis-map}" in (ROOT / "book/index.md").read_text()


def test_vendored_files_are_those_the_readme_names():
    assets = ROOT / "book/assets"
    rows = re.findall(
        r"^\| `(\S+)` \|.*`([0-9a-f]{64})` \|$", (assets / "README.md").read_text(), re.M
    )
    assert len(rows) == 4
    for name, digest in rows:
        assert hashlib.sha256((assets / name).read_bytes()).hexdigest() == digest, name


def test_configuration_reaches_no_network():
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    assert config["execute"]["execute_notebooks"] == "off"
    settings = config["sphinx"]["config"]
    scripts = [settings["mathjax_path"], *settings["nb_ipywidgets_js"]]
    for script in scripts:
        assert (ROOT / "book/assets" / script).is_file(), script


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
class TestNotebook:
    """What the design asks of each stored notebook."""

    def test_every_code_cell_was_executed_in_order(self, path):
        counts = [cell["execution_count"] for cell in code_cells(path)]
        assert counts == list(range(1, len(counts) + 1))

    def test_outputs_are_small_and_clean(self, path):
        assert path.stat().st_size <= 2_000_000
        for cell in code_cells(path):
            for output in cell["outputs"]:
                assert output["output_type"] != "error", source(cell)
                assert output.get("name") != "stderr", source(cell)
                text = json.dumps(output)
                assert "it/s]" not in text, source(cell)
                assert "\\r" not in json.dumps(output.get("text", "")), source(cell)

    def test_every_figure_says_what_it_shows(self, path):
        for cell in code_cells(path):
            kinds = {kind for output in cell["outputs"] for kind in output.get("data", {})}
            if any(kind.startswith("image/") for kind in kinds):
                words = cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")
                assert len(words.split()) >= 5, f"no alt text:\n{source(cell)}"

    def test_no_path_of_a_machine_is_stored(self, path):
        assert not re.search(r"/(?:home|Users|root|tmp|work)/", path.read_text())

    def test_kernel_is_named_python3(self, path):
        assert json.loads(path.read_text())["metadata"]["kernelspec"]["name"] == "python3"

    def test_one_cell_of_plain_parameters(self, path):
        tagged = [
            cell for cell in code_cells(path) if "parameters" in cell["metadata"].get("tags", [])
        ]
        assert len(tagged) == 1
        for statement in ast.parse(source(tagged[0])).body:
            assert isinstance(statement, ast.Assign), ast.unparse(statement)
            assert isinstance(ast.literal_eval(statement.value), LITERALS), ast.unparse(statement)

    def test_cells_are_short(self, path):
        # The parameters are one a line, as many as the experiment has (config.py).
        cells = [c for c in code_cells(path) if "parameters" not in c["metadata"].get("tags", [])]
        assert max(len(source(cell).splitlines()) for cell in cells) <= 15

    def test_prose_opens_with_one_title(self, path):
        titles = re.findall(r"^# .+", prose(path), re.M)
        assert len(titles) == 1
        assert re.match(r"(\(\S+\)=\n+)?# ", prose(path))


NOTE = re.compile(r"\b[Nn]ote (\d+)\b")


def test_every_note_of_the_errata_has_its_number_and_one_anchor():
    text = (ROOT / "book/errata.md").read_text()
    anchors = [int(number) for number in re.findall(r"^\(note-(\d+)\)=$", text, re.M)]
    assert sorted(anchors) == list(range(1, 39))
    for number, title in re.findall(r"^\(note-(\d+)\)=\n(.+)$", text, re.M):
        assert NOTE.search(title)[1] == number
    entries = re.findall(r"^\*\*(.+?)\*\*", text, re.M)
    assert all(re.match(r"Note \d+\. |To claim [A-J]\d?\. ", entry) for entry in entries)


def test_notes_that_code_and_chapters_speak_of_are_on_the_errata_page():
    sources = [*(ROOT / "thesislib").rglob("*.py"), *(ROOT / "experiments").glob("*.yaml")]
    texts = [path.read_text() for path in sources] + [prose(path) for path in NOTEBOOKS]
    spoken = {int(number) for text in texts for number in NOTE.findall(text)}
    assert {9, 21, 37} <= spoken <= set(range(1, 39))


def test_the_exceptions_to_a_claim_are_those_of_the_tables():
    """What the errata page calls the only cells in which eight frames are behind one, and so on."""
    text = (ROOT / "book/errata.md").read_text()
    behind = {
        (table, column)
        for table in ("7.2", "7.3", "7.4")
        for row, column, value in reported_cells(table)
        if row == "Social-MAE" and value < reported(table, "CAV-MAE", column)
    }
    assert behind == {("7.2", "Audio Mi"), ("7.2", "Audio Ma"), ("7.3", "Ext.")}
    less = {
        (table, row, column)
        for table in ("8.2", "8.3", "8.4")
        for row, column, value in reported_cells(table)
        if "all-losses" in row
        and value < reported(table, row.replace("all-losses", "reconstruction-only"), column)
    }
    assert {(table, row) for table, row, _ in less} == {
        ("8.2", "whisper-all-losses / concatenated"),
        ("8.2", "ast-all-losses / concatenated"),
        ("8.4", "whisper-all-losses / VoxCeleb2"),
    }
    assert {column for table, _, column in less if table == "8.4"} == {"micro f1-score"}
    cited = set(re.findall(r"\{reported\}`([^|`]+)\|([^|`]+)\|([^`]+)`", text))
    assert {(table, "Social-MAE", column) for table, column in behind} <= cited
    assert {(table, row) for table, row, _ in less} <= {cell[:2] for cell in cited}
