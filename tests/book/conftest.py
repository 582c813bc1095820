"""The built book, a server for it, and headless Chromium with every other address refused."""

import os
import shutil
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
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
SETTLE = """async () => {
  if (window.MathJax && MathJax.startup) await MathJax.startup.promise;
  for (const image of document.images) image.loading = "eager";
  await Promise.all([...document.images].map(image => image.decode().catch(() => null)));
}"""


class Quiet(SimpleHTTPRequestHandler):
    """A file server that does not log to standard error."""

    def log_message(self, *args):
        pass


@pytest.fixture(scope="session")
def book_html(tmp_path_factory):
    """The book, built from the stored outputs with warnings as errors.

    Set THESISLIB_BOOK_HTML to the folder of a book that is built already, to look at that one.
    """
    if built := os.environ.get("THESISLIB_BOOK_HTML"):
        return Path(built)
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
    contexts = []

    def open_at(name, query="", **options):
        context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)
        context.set_default_timeout(180_000)  # a busy machine is slow, and no fault of a page
        contexts.append(context)
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
        page.goto(f"{site}/{name}.html{query}", wait_until="load")
        if options.get("java_script_enabled", True):
            page.evaluate(SETTLE)
            page.wait_for_load_state("networkidle")
        return page, faults

    yield open_at
    for context in contexts:
        context.close()
