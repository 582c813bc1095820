"""The repository's address decides about launch buttons; downloads are always there."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text())
NOTEBOOK = {
    "cells": [{"cell_type": "markdown", "id": "a", "metadata": {}, "source": ["# A chapter"]}],
    "metadata": {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
    },
    "nbformat": 4,
    "nbformat_minor": 5,
}


@pytest.fixture
def chapter(tmp_path):
    """Build a book of one chapter with the buttons of `_config.yml`; returns its HTML."""

    def build(address):
        options = {
            "launch_buttons": CONFIG["launch_buttons"],
            "repository_url": address,
            "repository_branch": CONFIG["repository"]["branch"],
            "use_download_button": True,
        }
        settings = {
            "extensions": ["myst_nb", "launch_buttons"],
            "nb_execution_mode": "off",
            "html_theme": "sphinx_book_theme",
            "html_theme_options": options,
            "root_doc": "notebooks/01_chapter",
        }
        source = tmp_path / "source"
        (source / "notebooks").mkdir(parents=True, exist_ok=True)
        (source / "notebooks/01_chapter.ipynb").write_text(json.dumps(NOTEBOOK))
        lines = [f"import sys; sys.path.insert(0, {str(ROOT / 'book/_ext')!r})"]
        lines += [f"{name} = {value!r}" for name, value in settings.items()]
        (source / "conf.py").write_text("\n".join(lines))
        command = [
            sys.executable,
            "-m",
            "sphinx",
            "-W",
            "-q",
            "-E",
            str(source),
            str(tmp_path / "out"),
        ]
        built = subprocess.run(command, capture_output=True, text=True)
        assert built.returncode == 0, built.stderr[-2000:]
        return (tmp_path / "out/notebooks/01_chapter.html").read_text()

    return build


def test_without_an_address_there_are_downloads_and_no_launch_buttons(chapter):
    assert CONFIG["repository"]["url"] == ""
    html = chapter("")
    assert "launch-buttons" not in html
    assert "mybinder" not in html
    assert "_sources/notebooks/01_chapter.ipynb" in html


def test_with_an_address_the_chapter_can_be_launched(chapter):
    html = chapter("https://github.com/someone/thesis")
    opened = "lab/tree/notebooks/01_chapter.ipynb"
    assert f"https://mybinder.org/v2/gh/someone/thesis/main?urlpath={opened}" in html
    assert "_sources/notebooks/01_chapter.ipynb" in html
    elsewhere = chapter("https://gitlab.com/someone/thesis")
    assert "https://mybinder.org/v2/gl/someone%2Fthesis/main" in elsewhere
    assert "colab" not in html + elsewhere


def test_a_launched_chapter_finds_the_library_and_its_exact_versions():
    lines = (ROOT / ".binder/requirements.txt").read_text().splitlines()
    wanted = [line.split() for line in lines if not line.startswith("#")]
    assert wanted == [["-c", "../constraints.txt"], ["-e", ".[scale,baselines]"]]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {"scale", "baselines"} <= extras["optional-dependencies"].keys()
    assert any(need.startswith("jupyterlab") for need in extras["dependencies"])
    assert (ROOT / ".binder/postBuild").stat().st_mode & 0o111
