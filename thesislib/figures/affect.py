"""Figures of chapter 4: models of emotion as vector drawings, and who reads what.

Every figure is at most 4.8 inches wide, so that its text can still be read on a phone.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import SVG
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Wedge
from numpy.typing import NDArray

from thesislib.figures.style import BLUE, GREEN, GREY, ORANGE, PURPLE, style
from thesislib.figures.teaching import CYCLE, WIDTH

PLUTCHIK: tuple[tuple[str, str, str], ...] = (
    ("ecstasy", "joy", "serenity"),
    ("admiration", "trust", "acceptance"),
    ("terror", "fear", "apprehension"),
    ("amazement", "surprise", "distraction"),
    ("grief", "sadness", "pensiveness"),
    ("loathing", "disgust", "boredom"),
    ("rage", "anger", "annoyance"),
    ("vigilance", "anticipation", "interest"),
)
"""Eight emotions clockwise from the top, from intense to mild."""
DYADS = (
    "love", "submission", "awe", "disapproval", "remorse", "contempt", "aggressiveness",
    "optimism",
)  # fmt: skip
"""What each emotion makes with the next one clockwise."""
_PETALS = ("#E69F00", GREEN, "#4C9A2A", "#56B4E9", BLUE, PURPLE, ORANGE, "#F0E442")


def vector(figure: Figure) -> SVG:
    """The figure as a vector drawing, closed afterwards; the same bytes every time."""
    stream = io.StringIO()
    with plt.rc_context({"svg.hashsalt": "thesislib"}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    return SVG(stream.getvalue())


def _tint(colour: str, share: float) -> tuple[float, float, float]:
    """A colour mixed with white: 1 keeps it."""
    red, green, blue = (1 - share * (1 - part) for part in to_rgb(colour))
    return red, green, blue


def plutchik_wheel() -> Figure:
    """Plutchik's wheel: eight emotions in three intensities, opposites facing each other.

    Source: Plutchik 1980; thesis figure 4.2, redrawn.
    """
    with style():
        figure, axes = plt.subplots(figsize=(WIDTH, WIDTH))
        for number, (names, colour) in enumerate(zip(PLUTCHIK, _PETALS, strict=True)):
            middle = 90 - 45 * number
            for ring, (name, tint) in enumerate(zip(names, (0.75, 0.5, 0.25), strict=True)):
                inner, outer = (0.0, 1.55, 2.35, 3.1)[ring : ring + 2]
                piece = Wedge(
                    (0, 0), outer, middle - 22.5, middle + 22.5, width=outer - inner,
                    facecolor=_tint(colour, tint), edgecolor="white", linewidth=1.5,
                )  # fmt: skip
                axes.add_patch(piece)
                place = (1.2, 1.95, 2.72)[ring]
                weight = "bold" if ring == 1 else "normal"
                _along(axes, place, middle, name, 7 if ring == 0 else 8, weight=weight)
            _along(axes, 3.32, middle - 22.5, DYADS[number], 8, slant="italic")
        axes.set(xlim=(-3.5, 3.5), ylim=(-3.5, 3.5), aspect="equal")
        axes.axis("off")
    return figure


def _along(
    axes: Axes, radius: float, angle: float, text: str, size: float, *,
    weight: str = "normal", slant: str = "normal",
) -> None:  # fmt: skip
    """A word along the circle at that radius and angle in degrees, never upside down."""
    turn = (angle - 90 + 90) % 180 - 90
    x, y = radius * np.cos(np.deg2rad(angle)), radius * np.sin(np.deg2rad(angle))
    axes.text(
        x, y, text, ha="center", va="center", rotation=turn, fontsize=size, weight=weight,
        style=slant,
    )  # fmt: skip


def circumplex(angles: Mapping[str, float]) -> Figure:
    """Russell's circumplex: words on a circle around pleasure and arousal.

    Args:
        angles: Word to its angle in degrees, from pleasure towards arousal.
    """
    with style():
        figure, axes = plt.subplots(figsize=(WIDTH, WIDTH))
        axes.add_patch(Circle((0, 0), 1, facecolor="none", edgecolor=GREY, linewidth=1.2))
        for start, end in (((-1.12, 0), (1.12, 0)), ((0, -1.12), (0, 1.12))):
            line = {"arrowstyle": "<|-|>", "color": GREY, "shrinkA": 0, "shrinkB": 0}
            axes.annotate("", end, start, arrowprops=line)
        for x, y, text, turn in (
            (0.5, 0.05, "pleasant", 0), (-0.5, 0.05, "unpleasant", 0),
            (-0.05, 0.5, "aroused", 90), (-0.05, -0.5, "calm", 90),
        ):  # fmt: skip
            axes.text(x, y, text, ha="center", va="center", color="#444444", rotation=turn)
        for word, angle in angles.items():
            x, y = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
            colour, marker = (BLUE, "o") if x > 0 else (ORANGE, "s")
            axes.plot(x, y, marker, color=colour, markersize=6)
            side = "left" if x > 0 else "right"
            middle = abs(x) < 0.12
            side = "center" if middle else side
            axes.text(
                1.08 * x, (1.22 if middle else 1.1) * y, word, ha=side, va="center", fontsize=9.5
            )
        axes.set(xlim=(-1.75, 1.75), ylim=(-1.3, 1.3), aspect="equal")
        axes.axis("off")
    return figure


def pad_planes(
    points: Mapping[str, tuple[float, float, float]], *, left: Sequence[str] = ()
) -> Figure:
    """Pleasure, arousal and dominance in three views.

    Args:
        points: Word to its three coordinates, -1 to 1.
        left: Words that stand to the left of their marks.
    """
    names = ("pleasure", "arousal", "dominance")
    with style():
        figure, panels = plt.subplots(3, figsize=(WIDTH, 8.4))
        for axes, (across, up) in zip(panels, ((0, 1), (0, 2), (2, 1)), strict=True):
            for number, (word, place) in enumerate(points.items()):
                colour, marker, _ = CYCLE[number % len(CYCLE)]
                marker = ("o", "s", "^", "D", "v", "P", "X")[number % 7]
                axes.plot(place[across], place[up], marker, color=colour, markersize=8)
                right = word not in left
                axes.annotate(
                    word, (place[across], place[up]), (9 if right else -9, 0),
                    textcoords="offset points", va="center", ha="left" if right else "right",
                    fontsize=9.5,
                )  # fmt: skip
            axes.axhline(0, color=GREY, linewidth=0.8)
            axes.axvline(0, color=GREY, linewidth=0.8)
            axes.set(xlim=(-1.15, 1.05), ylim=(-0.8, 0.8), xlabel=names[across], ylabel=names[up])
            axes.set_xticks((-1, -0.5, 0, 0.5, 1))
    return figure


def reading(table: pd.DataFrame, *, title: str = "") -> Figure:
    """Who reads what: shares of each expected label, in per cent.

    Args:
        table: Shares from 0 to 1: what was shown in rows, what was read in columns.
        title: Above the matrix.
    """
    shares = 100 * table.to_numpy()
    with style():
        figure, axes = plt.subplots(figsize=(WIDTH, 4.2))
        axes.imshow(shares, vmin=0, vmax=100)
        for row, column in np.ndindex(shares.shape):
            share = shares[row, column]
            colour = "white" if share < 50 else "black"
            axes.text(column, row, f"{share:.0f}", ha="center", va="center", color=colour)
        axes.set_xticks(range(shares.shape[1]), table.columns, rotation=40, ha="right")
        axes.set_yticks(range(shares.shape[0]), table.index)
        axes.set(xlabel="read as", ylabel="shown", title=title)
        axes.grid(False)
        axes.spines[:].set_visible(False)
    return figure


def rows_with_intervals(
    series: Mapping[str, pd.DataFrame], *, xlabel: str, guess: float | None = None
) -> Figure:
    """One row a name, one mark a series, with intervals.

    Args:
        series: Label to a frame with columns ``value``, ``low`` and ``high``; all share an index.
        xlabel: What is measured.
        guess: Where guessing would stand.
    """
    names = list(next(iter(series.values())).index)
    step = 0.5 / max(1, len(series))
    with style():
        figure, axes = plt.subplots(figsize=(WIDTH, 0.9 + 0.45 * len(names)))
        for number, (label, frame) in enumerate(series.items()):
            colour, marker, _ = CYCLE[number]
            rows = np.arange(len(names)) + step * (number - (len(series) - 1) / 2)
            spread = np.abs(frame[["low", "high"]].to_numpy().T - frame["value"].to_numpy())
            axes.errorbar(
                frame["value"], rows, xerr=spread, fmt=marker, color=colour, ms=6, label=label
            )
        if guess is not None:
            axes.axvline(guess, color="black", linestyle=":", linewidth=0.9)
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel=xlabel, ylim=(len(names) - 0.5, -0.5))
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2)
    return figure


def cues(frames: Mapping[str, pd.DataFrame]) -> Figure:
    """How a voice departs from its neutral self, cue by cue and emotion by emotion.

    Args:
        frames: Title to emotions by cues, in units of the label of each cue.
    """
    labels = list(next(iter(frames.values())).columns)
    with style():
        figure, grid = plt.subplots(
            1, len(labels), figsize=(WIDTH, 3.1), sharey=True, squeeze=False
        )
        for axes, label in zip(grid[0], labels, strict=True):
            for (title, frame), (colour, marker, _) in zip(frames.items(), CYCLE, strict=False):
                rows = range(len(frame))
                axes.plot(frame[label], rows, marker, color=colour, ms=7, label=title, alpha=0.9)
            axes.axvline(0, color=GREY, linewidth=0.9)
            axes.set_xlabel(label, fontsize=9.5)
            axes.tick_params(axis="x", labelsize=8.5)
        grid[0, 0].set_yticks(range(len(frame)), frame.index)
        grid[0, 0].set_ylim(len(frame) - 0.5, -0.5)
        figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def hearts(recordings: Mapping[str, tuple[NDArray, NDArray, NDArray]], shown_s: float) -> Figure:
    """Electrocardiograms below one another, each beat marked.

    Args:
        recordings: Times and potentials in millivolts, `(N,)` each, and times of the beats, `(K,)`,
            by name.
        shown_s: How much of the beginning is drawn.
    """
    with style():
        figure, axes = plt.subplots(
            len(recordings), 1, figsize=(WIDTH, 1.4 * len(recordings) + 0.5), sharex=True,
            squeeze=False,
        )  # fmt: skip
        for axis, (name, (times, signal, beats)) in zip(
            axes[:, 0], recordings.items(), strict=True
        ):
            drawn, marked = times < shown_s, beats[beats < shown_s]
            axis.plot(times[drawn], signal[drawn], color=BLUE, linewidth=1.2)
            axis.plot(marked, np.full(len(marked), 1.25), "v", color=ORANGE, markersize=5)
            axis.set(ylabel="mV", ylim=(-0.4, 1.45))
            axis.set_title(name, loc="left")
        axes[-1, 0].set_xlabel("time (s)")
    return figure


def responses(times: NDArray, signal: NDArray, onsets_s: Sequence[float]) -> Figure:
    """A signal in microsiemens, and the moments of the stimuli that it answers."""
    with style():
        figure, axes = plt.subplots(figsize=(WIDTH, 2.6))
        axes.plot(times, signal, color=BLUE, linewidth=2)
        for onset in onsets_s:
            axes.axvline(onset, color=ORANGE, linestyle="--", linewidth=1.2)
        axes.set(xlabel="time (s)", ylabel="conductance (µS)")
    return figure
