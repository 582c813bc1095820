"""Figures of annotated conversations: agreement, timelines, answers to smiles and laughs."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from thesislib.corpora.annotation import IBAnnotation
from thesislib.evaluation.interaction import MimicryTest
from thesislib.figures.style import BLUE, GREY, ORANGE, style

# Roles by hue, intensities from light to dark: they can be told apart in grey as well.
SEGMENT_COLOURS = {
    "spk": "#0072B2",
    "lsn": "#BBBBBB",
    "subtle": "#FDE6C4",
    "low": "#F5B46B",
    "medium": "#D5701A",
    "high": "#7A3300",
}


def pair_heatmaps(grids: Mapping[str, pd.DataFrame], *, label: str, highest: float = 1) -> Figure:
    """Values of annotator pairs, one map a title; a pair without a value says n.a.

    Args:
        grids: Title to a frame with annotators in rows and columns.
        label: What the colour stands for.
        highest: Upper end of the colour scale.
    """
    with style():
        columns = min(3, len(grids))
        rows = -(-len(grids) // columns)
        figure, axes = plt.subplots(
            rows, columns, figsize=(2.9 * columns + 0.8, 2.7 * rows), squeeze=False
        )
        for axis in axes.flat[len(grids) :]:
            axis.set_visible(False)
        for axis, (title, grid) in zip(axes.flat, grids.items(), strict=False):
            values = grid.to_numpy(float)
            image = axis.imshow(values, vmin=0, vmax=highest)
            axis.grid(False)
            axis.spines[:].set_visible(False)
            axis.set_title(title, fontsize=11)
            axis.set_xticks(range(values.shape[1]), [str(name)[-1] for name in grid.columns])
            axis.set_yticks(range(values.shape[0]), [str(name)[-1] for name in grid.index])
            for (y, x), value in np.ndenumerate(values):
                if np.isnan(value):
                    text, colour = "n.a." if x >= y else "", GREY
                else:
                    text = f"{value:.2f}" if highest <= 1 else f"{value:.0f}"
                    colour = "white" if value < 0.55 * highest else "black"
                axis.text(x, y, text, ha="center", va="center", color=colour, fontsize=9)
        figure.colorbar(image, ax=axes, label=label, shrink=0.7)
    return figure


def timeline(
    pair: tuple[IBAnnotation, IBAnnotation], *, start_s: float = 0.0, end_s: float = 60.0
) -> Figure:
    """Roles, smiles and laughs of both participants of a dyad, by value."""
    rows = [(seat, tier) for seat in (0, 1) for tier in ("Role", "Smiles", "Laughs")]
    with style():
        figure, axis = plt.subplots(figsize=(8.4, 3.2))
        for row, (seat, tier) in enumerate(rows):
            segments = [
                s for s in pair[seat].tiers.get(tier, ()) if s.end_s > start_s and s.start_s < end_s
            ]
            axis.barh(
                [row] * len(segments),
                [s.duration_s for s in segments],
                left=[s.start_s for s in segments],
                color=[SEGMENT_COLOURS[s.value] for s in segments],
                edgecolor="white",
                height=0.8,
            )
        names = [f"{tier}, {'first' if seat == 0 else 'second'}" for seat, tier in rows]
        axis.set_yticks(range(len(rows)), names)
        axis.axhline(2.5, color=GREY, linewidth=0.8)
        axis.set(xlim=(start_s, end_s), xlabel="time (s)")
        axis.invert_yaxis()
        axis.grid(visible=False, axis="y")
        patches = [Patch(facecolor=c, label=name) for name, c in SEGMENT_COLOURS.items()]
        axis.legend(handles=patches, ncols=6, loc="lower center", bbox_to_anchor=(0.45, 1.0))
    return figure


def answer_curves(tests: Mapping[str, MimicryTest]) -> Figure:
    """Probability that the other person has answered, by lag, beside shuffled dyads."""
    with style():
        figure, axes = plt.subplots(
            1, len(tests), figsize=(4.1 * len(tests), 3.2), sharey=True, squeeze=False
        )
        for axis, (title, test) in zip(axes[0], tests.items(), strict=True):
            axis.fill_between(
                test.lags_s,
                test.expected_low,
                test.expected_high,
                color=BLUE,
                alpha=0.25,
                linewidth=0,
                label="shuffled dyads, 95 %",
            )
            axis.plot(test.lags_s, test.expected, color=BLUE, linestyle="--")
            axis.plot(test.lags_s, test.observed, color=ORANGE, label="dyads")
            axis.set(title=title, xlabel="lag (s)")
        axes[0, 0].set_ylabel("probability of an answer")
        axes[0, 0].legend(loc="upper left")
    return figure


def faces(pictures: Mapping[str, NDArray], *, columns: int = 4) -> Figure:
    """Pictures in rows, each under its title.

    Args:
        pictures: Title to `(H, W, 3)` uint8.
        columns: Pictures in a row.
    """
    with style():
        rows = -(-len(pictures) // columns)
        figure, axes = plt.subplots(
            rows, columns, figsize=(2 * columns, 2.25 * rows), squeeze=False
        )
        for axis in axes.flat:
            axis.axis("off")
        for axis, (title, picture) in zip(axes.flat, pictures.items(), strict=False):
            axis.imshow(picture)
            axis.set_title(title, fontsize=11)
    return figure
