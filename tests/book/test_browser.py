"""The built book in headless Chromium, with every request to another machine refused and noted."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import axe_playwright_python
import ipywidgets
import pytest
from ipywidgets.embed import embed_data

ROOT = Path(__file__).resolve().parents[2]
PAGES = re.findall(r"(?:file|root): (\S+)", (ROOT / "_toc.yml").read_text())
CHAPTERS = [page for page in PAGES if page.startswith("notebooks/")]
BROKEN_IMAGES = "images => images.filter(i => i.naturalWidth === 0).map(i => i.src)"
# Without words of its own, a figure of a notebook gets the address of its file.
NAMELESS_IMAGES = r"""images => images
  .filter(i => !i.alt.trim() || /\.(png|svg|jpe?g|gif|webp)$/i.test(i.alt.trim()))
  .map(i => i.src)"""
# What of a formula is to the right of its column, where it has to be scrolled to, in pixels.
CUT_FORMULAS = """formulas => formulas
  .flatMap(f => [f, ...f.querySelectorAll('mjx-container')])
  .map(e => e.scrollWidth - e.clientWidth).filter(excess => excess > 1)"""
# What is folded away has no size and is not looked at: unfold it first.
UNFOLD = "() => document.querySelectorAll('details').forEach(part => { part.open = true; })"
AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js").read_text(encoding="utf-8")
# Signatures come from one template, by the thousand, and measuring the colours of all of them takes
# minutes a page: there one text of each kind is measured, that is, of each chain of classes.
AUDIT = """async ({sampled}) => {
  const options = {resultTypes: ["violations"]};
  const colours = {"color-contrast": {enabled: false}};
  const found = await axe.run(document, sampled ? {...options, rules: colours} : options);
  const runs = [found];
  if (sampled) {
    const kinds = new Map();
    for (const text of document.querySelectorAll("body *")) {
      if (text.children.length || !text.textContent.trim()) continue;
      const chain = [];
      for (let e = text; e && chain.length < 6; e = e.parentElement)
        chain.push(`${e.tagName}.${e.className}`);
      const kind = chain.join(" ");
      if (!kinds.has(kind)) kinds.set(kind, text);
    }
    const only = {runOnly: {type: "rule", values: ["color-contrast"]}};
    runs.push(await axe.run({include: [...kinds.values()]}, {...options, ...only}));
  }
  return runs.flatMap(run => run.violations)
    .filter(({impact}) => impact === "serious" || impact === "critical")
    .flatMap(({id, nodes}) => nodes.map(n => `${id}: ${n.target.join(" ")}: ${n.failureSummary}`));
}"""


@pytest.mark.parametrize("name", PAGES)
def test_page_renders_without_network(open_page, name):
    page, faults = open_page(name)
    assert page.locator("article h1").count() == 1
    formulas = page.locator("article .math")
    assert formulas.count() == formulas.filter(has=page.locator("mjx-container svg")).count()
    assert page.locator("mjx-merror, [data-mjx-error]").count() == 0
    assert page.locator("article img").evaluate_all(BROKEN_IMAGES) == []
    assert page.locator("article img").evaluate_all(NAMELESS_IMAGES) == []
    page.evaluate(UNFOLD)
    for width in (1280, 375):
        page.set_viewport_size({"width": width, "height": 900})
        excess = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert excess <= 0, f"{excess} px wider than a window of {width} px"
        if width == 1280:
            assert page.locator("article div.math").evaluate_all(CUT_FORMULAS) == []
    assert faults == []


@pytest.mark.parametrize("name", PAGES)
def test_page_has_no_serious_fault_of_accessibility(open_page, name):
    """All of axe's rules, in light on a screen and in dark on a phone."""
    page, _ = open_page(name, color_scheme="light")
    page.evaluate(UNFOLD)
    page.evaluate(AXE)
    sampled = {"sampled": name.startswith("book/api/")}
    assert page.evaluate(AUDIT, sampled) == []
    page.emulate_media(color_scheme="dark")
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    page.set_viewport_size({"width": 375, "height": 900})
    page.wait_for_timeout(600)  # the theme lets the keyboard into what scrolls a moment later
    assert page.evaluate(AUDIT, sampled) == []


def test_faint_text_of_a_kind_that_occurs_once_is_found(open_page):
    """The audit that looks at one text of each kind sees what a page has once."""
    page, _ = open_page("book/api/records", color_scheme="light")
    page.evaluate("""() => {
      const text = document.createElement("p");
      text.className = "faint";
      text.style = "color: #ddd; background: #fff";
      text.textContent = "hardly to be read";
      document.querySelector("article").append(text);
    }""")
    page.evaluate(AXE)
    found = page.evaluate(AUDIT, {"sampled": True})
    assert len(found) == 1
    assert "faint" in found[0]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_follows_the_reader_into_the_dark(open_page, scheme):
    page, _ = open_page("book/index", color_scheme=scheme)
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    channels = page.evaluate("getComputedStyle(document.body).backgroundColor")
    bright = sum(int(c) for c in re.findall(r"\d+", channels)[:3]) / 3
    assert (bright > 200) == (scheme == "light")


def test_what_is_folded_away_is_unfolded_before_it_is_measured(open_page):
    page, _ = open_page("book/scoreboard")
    rows = page.locator("article details tbody tr")
    assert rows.count() > 100
    assert not rows.last.is_visible()
    page.evaluate(UNFOLD)
    assert rows.last.is_visible()


@pytest.mark.parametrize(
    "name",
    ["book/index", "book/scoreboard", "book/claims", "book/cards/models", "book/errata"],
)
def test_popovers_open_by_mouse_and_by_keyboard(open_page, name):
    page, faults = open_page(name)
    page.evaluate(UNFOLD)
    for width in (1280, 375):
        page.set_viewport_size({"width": width, "height": 900})
        buttons = page.locator("article button.result:visible")
        for button in (buttons.first, buttons.last):
            panel = page.locator(f"#{button.get_attribute('popovertarget')}")
            assert not panel.is_visible()
            button.click()
            assert panel.is_visible()
            assert "thesis" in panel.inner_text()
            box = panel.bounding_box()
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= width
            page.keyboard.press("Escape")
            assert not panel.is_visible()
            button.focus()
            page.keyboard.press("Enter")
            assert panel.is_visible()
            page.keyboard.press("Escape")
            assert not panel.is_visible()
    assert faults == []


@pytest.mark.parametrize(("words", "found"), [("kappa", True), ("xylophone", False)])
def test_search_finds_pages_without_network(open_page, words, found):
    page, faults = open_page("search", f"?q={words}")
    page.locator("#search-results p.search-summary", has_text=re.compile("found|match")).wait_for()
    results = page.locator("#search-results ul.search li a")
    assert (results.count() > 0) == found
    if found:
        results.first.click()
        page.wait_for_load_state("load")
        assert page.locator("article").get_by_text(re.compile(words, re.I)).count() > 0
    assert faults == []


def test_fusion_explorer_reacts(open_page):
    page, faults = open_page("book/explorers")
    explorer = page.locator("[data-explorer='fusion']")
    status, shares = explorer.get_by_role("status"), explorer.locator(".share")
    assert "one of each" in status.inner_text()
    before = shares.all_inner_texts()
    assert sum(int(share.split()[0]) for share in before) in (99, 100, 101)
    slider = explorer.get_by_label("cold to warm").first
    slider.focus()
    page.keyboard.press("End")
    assert slider.get_attribute("aria-valuetext") == "warm"
    assert "both warm" in status.inner_text()
    boxes = explorer.get_by_role("checkbox")
    boxes.nth(1).focus()
    page.keyboard.press("Space")
    assert "only the voice" in status.inner_text()
    boxes.nth(0).uncheck()
    assert "Nothing is left" in status.inner_text()
    explorer.get_by_role("button", name="start again").click()
    page.wait_for_function(
        "before => document.querySelector('[data-class] .share').textContent === before",
        arg=before[0],
    )
    explorer.get_by_role("button", name="another draw").click()
    assert shares.all_inner_texts() != before
    assert faults == []


def test_face_explorer_reacts(open_page):
    page, faults = open_page("book/explorers")
    explorer = page.locator("[data-explorer='face']")
    face, status = explorer.locator("svg"), explorer.get_by_role("status")
    rest = face.inner_html()
    slider = explorer.get_by_label("AU12 lip corner puller")
    slider.focus()
    page.keyboard.press("End")
    assert "lips alone" in status.inner_text()
    assert "AU12" in face.get_attribute("aria-label")
    smile = face.inner_html()
    explorer.get_by_role("button", name="smile that reaches the eyes").click()
    assert "reaches the eyes" in status.inner_text()
    assert len({rest, smile, face.inner_html()}) == 3
    assert "NaN" not in face.inner_html()
    explorer.get_by_label("turn to the right").fill("20")
    explorer.get_by_label("AU43 eyes closed").fill("100")
    assert "NaN" not in face.inner_html()
    explorer.get_by_role("button", name="start again").click()
    page.wait_for_function(
        "rest => document.querySelector('[data-explorer=face] svg').innerHTML === rest", arg=rest
    )
    assert faults == []


def test_explorers_have_a_form_that_needs_no_script(open_page):
    page, _ = open_page("book/explorers", java_script_enabled=False)
    assert page.locator(".explorer form:visible").count() == 0
    assert page.locator(".explorer noscript p:visible").count() == 2
    assert page.locator("[data-explorer='fusion'] tbody tr:visible").count() >= 4
    assert page.locator("[data-explorer='face'] img:visible").count() == 1


@pytest.mark.parametrize("name", CHAPTERS)
def test_chapter_can_be_downloaded_and_is_not_launched_from_nowhere(open_page, name):
    page, _ = open_page(name)
    link = page.locator(".btn-download-source-button, .btn-download-notebook-button").first
    address = link.get_attribute("href")
    assert address.endswith(".ipynb")
    assert page.request.get(page.evaluate("a => new URL(a, location).href", address)).ok
    assert page.locator(".dropdown-launch-buttons").count() == 0


@pytest.mark.parametrize("name", CHAPTERS)
def test_chapter_has_formulas_figures_and_its_number(open_page, name):
    page, _ = open_page(name)
    source = (ROOT / f"{name}.ipynb").read_text()
    if "$$" in source:  # a chapter of words alone has no formula
        assert page.locator("article mjx-container svg").count() > 0
    assert page.locator("article .cell_output :is(img, svg)").count() > 0
    number = page.locator("article h1 .section-number").inner_text()
    assert number.strip() == f"{int(name.removeprefix('notebooks/')[:2])}."


def test_short_cells_of_data_frames_stay_on_one_line(open_page):
    page, problems = open_page("notebooks/07_social_mae")
    lines = page.evaluate(
        """() => [...document.querySelectorAll(".cell_output table.dataframe tbody :is(td, th)")]
            .filter((cell) => cell.textContent.length < 30)
            .map((cell) => {
                const range = document.createRange();
                range.selectNodeContents(cell);
                return new Set([...range.getClientRects()].map((box) => box.top)).size;
            })"""
    )
    assert len(lines) > 100
    assert max(lines) == 1
    assert not problems


def test_guard_notices_requests_errors_and_missing_files(open_page):
    page, faults = open_page("book/index")
    page.evaluate("fetch('http://192.0.2.1/').catch(() => null)")
    page.evaluate("fetch('nothing-here.png').then(() => console.error('seen'))")
    page.wait_for_load_state("networkidle")
    assert any("another machine" in fault for fault in faults)
    assert any(fault.startswith("404") for fault in faults)
    assert "console: seen" in faults


def test_widgets_are_drawn_by_the_vendored_scripts(book_html, open_page):
    """With their value, their icon (a font beside the scripts) and their formula."""
    box = ipywidgets.VBox(
        [
            ipywidgets.IntSlider(value=4, description="layer"),
            ipywidgets.Button(description="play", icon="play"),
            ipywidgets.HTMLMath(r"\(x^2\)"),
        ]
    )
    data = embed_data(views=[box])
    scripts = ("tex-svg", "widget_math", "widget_fonts", "require", "embed-amd")
    kind = "application/vnd.jupyter.widget"
    (book_html / "notebooks" / "widgets.html").write_text(
        "<!doctype html><title>widgets</title><link rel='icon' href='data:,'><body>"
        + "".join(f"<script src='../_static/{name}.js'></script>" for name in scripts)
        + f"<script type='{kind}-state+json'>{json.dumps(data['manager_state'])}</script>"
        + f"<script type='{kind}-view+json'>{json.dumps(data['view_specs'][0])}</script>"
    )
    page, faults = open_page("notebooks/widgets")
    page.wait_for_selector("mjx-container svg", timeout=20_000)
    assert page.locator(".widget-readout").inner_text() == "4"
    page.wait_for_function("[...document.fonts].some(font => font.status === 'loaded')")
    assert faults == []


class References(HTMLParser):
    """Collects what a page links to and the anchors that it offers."""

    def __init__(self, text):
        super().__init__()
        self.links, self.anchors = set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.anchors.add(values.get("id"))
        self.links.update(values[key] for key in ("href", "src") if values.get(key))


def test_local_links_lead_somewhere(book_html):
    paths = [path for path in book_html.rglob("*.html") if "_static" not in path.parts]
    pages = {path: References(path.read_text()) for path in paths}
    missing = []
    for path, references in pages.items():
        for link in references.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchors = pages[target].anchors if target in pages else None
            if not target.exists() or (
                anchors is not None and parts.fragment and unquote(parts.fragment) not in anchors
            ):
                missing.append(f"{path.relative_to(book_html)}: {link}")
    assert missing == []
