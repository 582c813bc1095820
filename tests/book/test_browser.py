"""The built book in headless Chromium, with every request to another machine refused and noted."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import ipywidgets
import pytest
from ipywidgets.embed import embed_data
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = os.environ.get("THESISLIB_CHROMIUM") or shutil.which("chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PAGES = re.findall(r"(?:file|root): (\S+)", (ROOT / "_toc.yml").read_text())
CHAPTERS = [page for page in PAGES if page.startswith("notebooks/")]
SETTLE = """async () => {
  if (window.MathJax && MathJax.startup) await MathJax.startup.promise;
  for (const image of document.images) image.loading = "eager";
  await Promise.all([...document.images].map(image => image.decode().catch(() => null)));
}"""
BROKEN_IMAGES = "images => images.filter(i => i.naturalWidth === 0).map(i => i.src)"


class Quiet(SimpleHTTPRequestHandler):
    """A file server that does not log to standard error."""

    def log_message(self, *args):
        pass


@pytest.fixture(scope="session")
def book_html(tmp_path_factory):
    """The book, built from the stored outputs with warnings as errors."""
    out = tmp_path_factory.mktemp("book")
    program = Path(sys.executable).with_name("jupyter-book")
    command = [str(program), "build", "-W", "-n", "--keep-going"]
    built = subprocess.run(
        [*command, "--path-output", str(out), str(ROOT)], capture_output=True, text=True
    )
    assert built.returncode == 0, built.stdout[-2000:] + built.stderr[-4000:]
    return out / "_build" / "html"


@pytest.fixture(scope="session")
def site(book_html):
    """Address of a local server of the built book."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=book_html))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="session")
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium: install it or name it in THESISLIB_CHROMIUM")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser, site):
    """Opens a page of the book; returns it with the list of what goes wrong on it."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})

    def open_at(name):
        page, faults = context.new_page(), []

        def guard(route):
            if route.request.url.startswith((f"{site}/", "data:", "blob:")):
                route.continue_()
            else:
                faults.append(f"request to another machine: {route.request.url}")
                route.abort()

        def on_response(response):
            if response.status >= 400:
                faults.append(f"{response.status}: {response.url}")

        def on_console(message):
            if message.type == "error":
                faults.append(f"console: {message.text}")

        page.route("**/*", guard)
        page.on("response", on_response)
        page.on("requestfailed", lambda request: faults.append(f"failed: {request.url}"))
        page.on("pageerror", lambda error: faults.append(f"script error: {error}"))
        page.on("console", on_console)
        page.goto(f"{site}/{name}.html", wait_until="load")
        page.evaluate(SETTLE)
        page.wait_for_load_state("networkidle")
        return page, faults

    yield open_at
    context.close()


@pytest.mark.parametrize("name", PAGES)
def test_page_renders_without_network(open_page, name):
    page, faults = open_page(name)
    assert page.locator("article h1").count() == 1
    formulas = page.locator("article .math")
    assert formulas.count() == formulas.filter(has=page.locator("mjx-container svg")).count()
    assert page.locator("mjx-merror, [data-mjx-error]").count() == 0
    assert page.locator("article img").evaluate_all(BROKEN_IMAGES) == []
    for width in (1280, 375):
        page.set_viewport_size({"width": width, "height": 900})
        excess = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert excess <= 0, f"{excess} px wider than a window of {width} px"
    assert faults == []


@pytest.mark.parametrize("name", CHAPTERS)
def test_chapter_has_formulas_figures_and_its_number(open_page, name):
    page, _ = open_page(name)
    source = (ROOT / f"{name}.ipynb").read_text()
    if "$$" in source:  # a chapter of words alone has no formula
        assert page.locator("article mjx-container svg").count() > 0
    assert page.locator("article .cell_output :is(img, svg)").count() > 0
    number = page.locator("article h1 .section-number").inner_text()
    assert number.strip() == f"{int(name.removeprefix('notebooks/')[:2])}."


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
