"""Colours of figures: one palette that readers with any colour vision can tell apart."""

import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb

from thesislib import figures
from thesislib.figures import plt
from thesislib.figures.style import PALETTE, style

MODULES = sorted(Path(figures.__file__).parent.glob("*.py"))
REVIEWED = {  # beside the palette and greys, each with what tells it apart without its hue
    "#B0578D": "purple, darker for lines on light and dark pages; the map names both ends",
    "#7A7300": "the edge of a yellow mark, which has a shape of its own",
    "#4C9A2A": "a petal of Plutchik's wheel, named in words; neighbours lie between white edges",
    # from light to dark, which can be told apart in grey
    **dict.fromkeys(("#FDE6C4", "#F5B46B", "#D5701A", "#7A3300"), "intensities of one colour"),
    **dict.fromkeys(("#FEC44F", "#EC7014", "#8C2D04"), "shades of orange"),
    **dict.fromkeys(("#C6DBEF", "#6BAED6", "#2171B5", "#08306B"), "shades of blue"),
}
MAPS = {
    "cividis",
    "gray",
    "viridis_r",
    "PuOr_r",
}  # of even lightness, or diverging without red-green
HEX = re.compile(r"#(?:[0-9A-Fa-f]{6}|[0-9A-Fa-f]{3})\b")
NAMED = re.compile(r"[cC]olou?rs?(?:=|\": )\"([a-z:]+|C\d)\"")


def written_colours(text):
    """Hexadecimal colours of a text in capitals, and names that matplotlib gives colours."""
    return {to_hex(colour).upper() for colour in HEX.findall(text)}, set(NAMED.findall(text))


def is_grey(colour):
    return len(set(to_rgb(colour))) == 1


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_every_colour_of_a_figure_is_of_the_palette_or_reviewed(path):
    colours, names = written_colours(path.read_text(encoding="utf-8"))
    strays = {colour for colour in colours - set(PALETTE) - set(REVIEWED) if not is_grey(colour)}
    assert strays == set()
    assert names <= {"white", "black", "none"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_every_map_of_colours_is_reviewed(path):
    text = path.read_text(encoding="utf-8")
    assert set(re.findall(r"cmap\"?[=:] ?\"(\w+)\"", text)) <= MAPS


def test_every_reviewed_colour_is_used():
    text = "".join(path.read_text(encoding="utf-8") for path in MODULES)
    assert set(REVIEWED) <= written_colours(text)[0]


def test_a_stray_colour_is_noticed():
    assert written_colours('plot(color="red", edge="#12ab34")') == ({"#12AB34"}, {"red"})


def test_lines_without_a_colour_of_their_own_take_the_palette():
    with style():
        figure, axes = plt.subplots()
        lines = [axes.plot([0, 1])[0].get_color() for _ in PALETTE]
        plt.close(figure)
    assert lines == list(PALETTE)


@pytest.mark.parametrize(
    "shades",
    [
        ("#FDE6C4", "#F5B46B", "#D5701A", "#7A3300"),
        ("#FEC44F", "#EC7014", "#8C2D04"),
        ("#C6DBEF", "#6BAED6", "#2171B5", "#08306B"),
    ],
)
def test_shades_of_one_colour_can_be_told_apart_in_grey(shades):
    grey = np.array([to_rgb(shade) for shade in shades]) @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(grey) < -0.1).all()
