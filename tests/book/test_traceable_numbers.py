"""Numbers in prose: traceable to a record, or the build fails."""

import importlib
import math
import re
import shutil
import sys
from dataclasses import replace
from html import unescape
from pathlib import Path

import nbformat
import pytest
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace

from thesislib.errors import InputError
from thesislib.records.citing import cite, cite_records
from thesislib.records.record import read_record
from thesislib.records.reported import printed

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results"
RUN = "08-main-only-emodb-emotion-layer_2-cut-2s-small-s0"
SEEDS = "05-agreement-ifadv-twin-small-s*"


def test_one_run_shows_its_interval():
    record = read_record(RESULTS / "runs" / f"{RUN}.json")
    uar = record.metrics["uar"]
    citation = cite(f"{RUN}::uar:.3f", RESULTS)
    assert citation.text == f"{uar.value:.3f} [{uar.low:.3f}, {uar.high:.3f}]"
    assert citation.details["command"] == record.command
    assert citation.details["manifest"] == record.manifest_sha256
    assert "twin" not in citation.details["corpus"]


def test_several_seeds_show_their_mean_and_an_interval_that_holds_all_of_theirs():
    records = [read_record(path) for path in sorted((RESULTS / "runs").glob(f"{SEEDS}.json"))]
    found = [record.metrics["kappa_role_all"] for record in records]
    citation = cite(f"{SEEDS}::kappa_role_all", RESULTS)
    mean = sum(estimate.value for estimate in found) / len(found)
    low, high = min(e.low for e in found), max(e.high for e in found)
    assert citation.text == f"{mean:.2f} [{low:.2f}, {high:.2f}]"
    assert citation.details["seeds"] == "0, 1, 2"
    assert citation.details["corpus"] == "ifadv, synthetic twin"


def test_several_seeds_show_their_range_in_a_table_and_where_there_is_no_interval():
    records = [read_record(path) for path in sorted((RESULTS / "runs").glob(f"{SEEDS}.json"))]
    values = [record.metrics["kappa_role_all"].value for record in records]
    text = f"{sum(values) / 3:.2f} ({min(values):.2f} to {max(values):.2f})"
    assert cite_records(records, "kappa_role_all", spread="seeds").text == text
    without = [
        replace(r, metrics={k: replace(v, low=math.nan) for k, v in r.metrics.items()})
        for r in records
    ]
    cited = cite_records(without, "kappa_role_all")
    assert cited.text == text
    assert cited.details["metric"].endswith("mean of 3 runs, lowest and highest in parentheses")


def test_a_share_can_be_shown_in_per_cent():
    assert re.fullmatch(r"\d\d% \[\d\d%, \d\d%\]", cite(f"{RUN}::uar:.0%", RESULTS).text)


@pytest.mark.parametrize(
    ("target", "what"),
    [
        ("08-nothing::uar", "no recorded run"),
        (f"{RUN}::nothing", "no metric"),
        (RUN, "RUN::METRIC"),
        (f"{RUN}::uar:d", "RUN::METRIC"),
        ("08-main-only-*-emotion-layer_2-*::uar", "mixes corpus|mixes variant"),
    ],
)
def test_what_cannot_be_traced_is_refused(target, what):
    with pytest.raises(InputError, match=what):
        cite(target, RESULTS)


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Build one page of a book and return its HTML and the warnings."""
    extensions = ROOT / "book/_ext"
    monkeypatch.setattr(sys, "path", [str(extensions), *sys.path])

    def run(text, page="book/page", suffix=".md"):
        source = tmp_path / "source"
        shutil.rmtree(source, ignore_errors=True)
        target = source / f"{page}{suffix}"
        target.parent.mkdir(parents=True)
        target.write_text(f"# A page\n\n{text}\n" if suffix == ".md" else text)
        (source / "conf.py").write_text(
            f'extensions = ["myst_nb", "traceable_numbers"]\nroot_doc = {page!r}\n'
            'nb_execution_mode = "off"\n'
        )
        with (tmp_path / "warnings").open("w") as warning, docutils_namespace():
            app = Sphinx(
                source, source, tmp_path / "html", tmp_path / "trees", "html",
                status=None, warning=warning, freshenv=True,
            )  # fmt: skip
            app.build()
        return (
            (tmp_path / "html" / f"{page}.html").read_text(),
            (tmp_path / "warnings").read_text(),
        )

    return run


@pytest.fixture
def hand_written(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "book/_ext"))
    guard = importlib.import_module("traceable_numbers")
    return lambda text: guard.hand_written(text, guard.allowed_numbers())


def test_a_result_is_a_button_that_opens_what_made_it(build):
    html, warnings = build(f"The UAR is {{result}}`{RUN}::uar:.3f` there.")
    assert not warnings
    button = re.search(r'<button type="button" class="result" popovertarget="(.+?)">(.+?)</', html)
    assert button[2] == cite(f"{RUN}::uar:.3f", RESULTS).text
    panel = html.split(f'id="{button[1]}"')[1].split("</p>")[0]
    command = "thesis train 08 --experiment main_branch -p corpus emodb --profile small"
    for value in (RUN, command):
        assert value in panel


def test_the_panel_says_all_that_made_the_number(build):
    html, warnings = build(f"{{result}}`{SEEDS}::kappa_role_all:.3f`")
    assert not warnings
    panel = unescape(html.split('class="result-details"')[1].split("</p>")[0])
    told = dict(re.findall(r"<span>([^<]*)</span><span>([^<]*)</span>", panel))
    records = [read_record(path) for path in sorted((RESULTS / "runs").glob(f"{SEEDS}.json"))]
    assert told["run"].split() == [record.run_id for record in records]
    assert told["metric"] == (
        "kappa_role_all (kappa); mean of 3 runs; in brackets the lowest and highest end of their "
        "95 % intervals"
    )
    assert told["rounding"] == "to 3 decimals"
    assert told["corpus"] == "ifadv, synthetic twin"
    assert told["seeds"] == "0, 1, 2"
    assert told["profile"] == "small"
    assert told["commit"].split(", ") == sorted({record.commit for record in records})
    assert told["manifest"].split(", ") == sorted({record.manifest_sha256 for record in records})
    assert told["command"].split("\n") == [record.command for record in records]


def test_a_real_corpus_is_called_real():
    assert cite(f"{RUN}::uar", RESULTS).details["corpus"] == "emodb, real, cut-2s"


def test_what_a_role_prints_is_not_taken_for_written_by_hand(build):
    text = f"The UAR is {{result}}`{RUN}::uar:.1%` of what can be had."
    assert not build(text)[1]


def test_two_results_of_a_page_open_their_own_panels(build):
    html, _ = build(f"{{result}}`{RUN}::uar` and {{result}}`{RUN}::uar`")
    names = re.findall('popovertarget="(.+?)"', html)
    assert len(set(names)) == 2
    assert all(html.count(f'id="{name}"') == 1 for name in names)


def test_a_reported_value_opens_where_the_thesis_prints_it(build):
    html, warnings = build("{reported}`8.2|ast-main-only|macro f1-score`")
    assert not warnings
    button = re.search(r'<button type="button" class="([^"]+)" popovertarget="(.+?)">(.+?)</', html)
    assert button[1].split() == ["result", "reported"]
    assert button[3] == printed("8.2", "ast-main-only", "macro f1-score") == "0.590"
    panel = unescape(html.split(f'id="{button[2]}"')[1].split("</p>")[0])
    told = dict(re.findall(r"<span>([^<]*)</span><span>([^<]*)</span>", panel))
    assert told["value"].startswith("0.590 (share), reported in the thesis")
    assert told["table"].startswith("8.2: Emotion recognition")
    assert (told["row"], told["column"]) == ("ast-main-only", "macro f1-score")


def test_reported_values_and_results_of_a_page_have_panels_of_their_own(build):
    text = "{reported}`8.5|ast-main-only / None|None` {reported}`8.5|ast-main-only / None|Smiles`"
    html, _ = build(f"{text} and {{result}}`{RUN}::uar`")
    names = re.findall('popovertarget="(.+?)"', html)
    assert len(set(names)) == 3
    assert all(html.count(f'id="{name}"') == 1 for name in names)
    assert ">48.0</button>" in html  # a number would have lost its zero


@pytest.mark.parametrize(
    "text",
    ["{result}`08-nothing::uar`", "{reported}`8.2|nobody|nothing`", "{reported}`8.2`"],
)
def test_an_unknown_number_is_a_warning(build, text):
    assert "WARNING" in build(text)[1]


@pytest.mark.parametrize(
    "text",
    [
        "The probe reaches a UAR of 0.865 on them.",
        "It has a kappa of 0,78.",
        "An accuracy of about 86.5 % is found.",
        "They find 0.61 F1.",
        "Only 61.2 % of the laughs are found.",
        "It rises by 3.5 percentage points.",
        "They share 0.12 nats.",
        "accuracy: 0.9",
        "They lose 0.12 in UAR.",
        "It is 0.87 (UAR).",
        "The mean squared error falls to 0.028.",
        "A Brier score of 0.21 is left.",
        "kappa (role): 0.78",
        "An AUROC of 0.92.",
        "An MSE of 0.083 remains.",
        "It ends at a loss of 0.0026.",
        "They have a correlation of .85.",
        "The slope is steep (p = 0.03).",
        "The UAR, over all speakers, was 0.61.",
        "On the recordings of the actors whom nobody has seen before, UAR stays at about 0.87.",
        "The accuracy of *the frozen branch*, see Table 8.2, is 0.5 on EmoDB and 0.6 elsewhere.",
        "In section 2.4 the accuracy was 0.71.",
        "Out of 1,024 clips the recall is 61 %.",
        "Half a bit? No, 0.4 bits.",
        "Agreement of 0.78 on roles.",
        "Segments overlap by 41 %.",
        "The share of laughs is 0.32.",
        "It has a slope of 0.05 a level.",
        "They differ (d = 0.8).",
        "A gain of 3.5 points.",
    ],
)
def test_a_result_written_by_hand_is_found(hand_written, text):
    assert hand_written(text)


@pytest.mark.parametrize(
    "text",
    [
        "Windows of 1.22 s at 50 frames a second, a mask of 75 %.",
        "The 10 % rule. Section 5.2.1 names kappa.",
        "The other checkpoint has 1,024 points and a stride of 0.02 s.",
        "The loss of a window of 0.82 s; recall on 19,456 samples; precision in Tables 6.1 to 6.3.",
        "Accuracy counts hits. A window has 0.5 of its neighbour.",
        "Kappa is defined in section 5.2.1 and equation 2.10, for Python 3.11 and later.",
        "The p-value, and a 95 % interval.",
    ],
)
def test_a_constant_is_none(hand_written, text):
    assert hand_written(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "The probe reaches a UAR of 0.865 on them.",
        "- Kappa, over *all* roles and\n  corpora, is 0.78.",
        "| a | b |\n|---|---|\n| UAR 0.87 | x |",
        "| corpus | UAR |\n|---|---|\n| EmoDB | 0.87 |",
        "| corpus | UAR, % |\n|---|---|\n| EmoDB | 87 |",
        "| metric | EmoDB |\n|---|---|\n| kappa | 0.87 |",
        "```{list-table}\n:header-rows: 1\n\n* - corpus\n  - UAR\n* - EmoDB\n  - 0.87\n```",
    ],
)
def test_a_page_with_a_result_written_by_hand_is_a_warning(build, text):
    assert "looks like a result written by hand" in build(text)[1]


def test_a_page_of_constants_and_code_builds(build):
    table = "| corpus | clips | UAR |\n|---|---|---|\n| EmoDB | 0.5 | best |"
    assert not build(f"`uar = 0.5` is code, and 1.22 s are a window.\n\n{table}")[1]


@pytest.fixture
def build_chapter(build):
    """Build a chapter of one text cell and one code cell; return its HTML and the warnings."""

    def run(text):
        said = nbformat.v4.new_output("stream", text="UAR 0.865\n")
        table = nbformat.v4.new_output("display_data", {"text/html": "<p>UAR 0.865</p>"})
        book = nbformat.v4.new_notebook(
            cells=[
                nbformat.v4.new_markdown_cell(f"# A chapter\n\n{text}"),
                nbformat.v4.new_code_cell("uar = 0.865", outputs=[said, table]),
            ],
            metadata={"language_info": {"name": "python", "pygments_lexer": "ipython3"}},
        )
        return build(nbformat.writes(book), page="notebooks/page", suffix=".ipynb")

    return run


def test_a_chapter_with_a_result_written_by_hand_is_a_warning(build_chapter):
    warnings = build_chapter("CREMA-D from sound has a micro F1 of 0.611.")[1]
    assert warnings.count("looks like a result written by hand") == 1
    in_a_box = "```{warning}\nCREMA-D from sound has a micro F1 of 0.611.\n```"
    assert "looks like a result written by hand" in build_chapter(in_a_box)[1]


def test_what_a_chapter_cites_and_what_its_code_prints_are_no_warning(build_chapter):
    html, warnings = build_chapter("The micro F1 is {reported}`7.2|Social-MAE|Audio Mi` there.")
    assert not warnings
    assert ">0.601</button>" in html
    assert html.count("UAR 0.865") == 2


def test_pages_that_are_no_prose_are_not_checked(build):
    assert not build("A UAR of 0.865.", page="book/api/page")[1]
