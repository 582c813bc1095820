"""Figures of chapter 6: heat maps by intensity, maps of embeddings, calibration, what is looked at.

They read records, predictions and clips, never a model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from thesislib.evaluation.calibration import calibration_curve
from thesislib.evaluation.intensity import CLASSES, LEVELS
from thesislib.figures.style import BLUE, GREEN, GREY, ORANGE, PURPLE, style

LEVEL_COLOURS = {
    ("Laughs", "high"): "#8C2D04",
    ("Laughs", "medium"): "#EC7014",
    ("Laughs", "low"): "#FEC44F",
    ("Smiles", "high"): "#08306B",
    ("Smiles", "medium"): "#2171B5",
    ("Smiles", "low"): "#6BAED6",
    ("Smiles", "subtle"): "#C6DBEF",
    ("None", "none"): "#AAAAAA",
}
"""As in Figures 6.6 and 6.7: laughs from yellow to red, smiles in blue, darker for more."""
MARKERS = {"Laughs": "^", "Smiles": "o", "None": "s"}
_LINES = (BLUE, ORANGE, GREEN, PURPLE)


def intensity_heatmaps(maps: Mapping[str, pd.DataFrame]) -> Figure:
    """Predictions of each level in per cent, one map a title, two side by side; rows add up to 100.

    Args:
        maps: Title to a frame with the eight levels in rows (as ``evaluation.intensity.heat_map``
            or a reported table has them) and the three classes across.
    """
    names = [f"{name}, {level}" if name != "None" else "None" for name, level in LEVELS]
    columns = min(2, len(maps))  # more would be too small to read on a phone
    rows = -(-len(maps) // columns)
    with style():
        figure, axes = plt.subplots(
            rows, columns, figsize=(2.6 * columns + 1.5, 3.7 * rows), sharey=True, squeeze=False
        )
        for axis in axes.flat[len(maps) :]:
            axis.set_visible(False)
        for axis, (title, frame) in zip(axes.flat, maps.items(), strict=False):
            values = frame[list(CLASSES)].to_numpy(float)
            axis.imshow(values, vmin=0, vmax=100, aspect="auto")
            axis.grid(False)
            axis.spines[:].set_visible(False)
            axis.set_title(title, fontsize=10)
            axis.set_xticks(range(len(CLASSES)), CLASSES, fontsize=9)
            for (y, x), value in np.ndenumerate(values):
                text = "–" if np.isnan(value) else f"{value:.0f}"
                # The scale runs from dark to light; a level without windows stays white.
                colour = "white" if value < 55 else "black"
                axis.text(x, y, text, ha="center", va="center", color=colour, fontsize=9)
        for axis in axes[:, 0]:
            axis.set_yticks(range(len(names)), names, fontsize=9)
    return figure


def embedding_maps(maps: Mapping[str, pd.DataFrame]) -> Figure:
    """Clips on maps of their embeddings, by expression and intensity, two maps side by side.

    Args:
        maps: Title to a frame with ``map_0, map_1, target, intensity``.
    """
    columns = min(2, len(maps))
    rows = -(-len(maps) // columns)
    with style():
        figure, axes = plt.subplots(
            rows, columns, figsize=(4.2 * columns + 1.2, 4.0 * rows), squeeze=False
        )
        for axis in axes.flat[len(maps) :]:
            axis.set_visible(False)
        for axis, (title, frame) in zip(axes.flat, maps.items(), strict=False):
            for level, colour in LEVEL_COLOURS.items():
                part = frame[(frame["target"] == level[0]) & (frame["intensity"] == level[1])]
                label = " ".join(level) if level[0] != "None" else "None"
                axis.scatter(
                    part["map_0"], part["map_1"], s=26, color=colour, marker=MARKERS[level[0]],
                    edgecolors="white", linewidths=0.3, label=label,
                )  # fmt: skip
            axis.set(title=title, xticks=[], yticks=[])
        axes[0, -1].legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=9)
    return figure


def calibration(frames: Mapping[str, pd.DataFrame]) -> Figure:
    """How often a prediction is right, by its probability; on the diagonal they mean the same."""
    with style():
        figure, axis = plt.subplots(figsize=(4.6, 4.2))
        axis.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1)
        for (title, frame), colour in zip(frames.items(), _LINES, strict=False):
            curve = calibration_curve(frame)
            axis.plot(curve["confidence"], curve["accuracy"], color=colour, marker="o", label=title)
        axis.set(
            xlabel="probability of the predicted class", ylabel="share that is right",
            xlim=(0.3, 1.02), ylim=(0, 1.02),
        )  # fmt: skip
        axis.legend(loc="lower right")
    return figure


def occlusion_maps(drops: pd.DataFrame, mouth: NDArray | None = None) -> Figure:
    """What hiding each square costs the probability of the right class, a map a class.

    Args:
        drops: Frame with ``target`` and ``drop_0, …``, squares numbered row by row.
        mouth: A mouth region `(S, S, 3)` uint8 of a twin, shown first for orientation.
    """
    columns = [name for name in drops.columns if name.startswith("drop_")]
    side = round(len(columns) ** 0.5)
    grids = {
        name: drops.loc[drops["target"] == name, columns].mean().to_numpy().reshape(side, side)
        for name in CLASSES
        if (drops["target"] == name).any()
    }
    highest = max(max(float(np.abs(grid).max()) for grid in grids.values()), 1e-6)
    n = len(grids) + (mouth is not None)
    with style():
        figure, axes = plt.subplots(1, n, figsize=(2.7 * n + 0.8, 2.9), squeeze=False)
        places = iter(axes[0])
        if mouth is not None:
            axis = next(places)
            axis.imshow(mouth)
            axis.set_title("mouth region")
        for (name, grid), axis in zip(grids.items(), places, strict=True):
            image = axis.imshow(grid, cmap="PuOr_r", vmin=-highest, vmax=highest)
            axis.set_title(name)
        for axis in axes[0]:
            axis.set(xticks=[], yticks=[])
            axis.grid(False)
        figure.colorbar(image, ax=axes, label="cost in probability", shrink=0.8)
    return figure


def band_drops(drops: pd.DataFrame, bands_hz: Sequence[tuple[int, int]]) -> Figure:
    """What taking each band out of the voice costs the probability of the right class."""
    names = [name for name in CLASSES if (drops["target"] == name).any()]
    with style():
        figure, axis = plt.subplots(figsize=(6.4, 3.2))
        width = 0.8 / len(names)
        for number, (name, colour) in enumerate(zip(names, (ORANGE, BLUE, GREY), strict=False)):
            part = drops[drops["target"] == name]
            heights = [part[f"drop_{band}"].mean() for band in range(len(bands_hz))]
            places = np.arange(len(bands_hz)) + (number - (len(names) - 1) / 2) * width
            axis.bar(places, heights, width, color=colour, label=name)
        axis.axhline(0, color="black", linewidth=0.8)
        labels = [f"{low / 1000:g}–{high / 1000:g}" for low, high in bands_hz]
        axis.set_xticks(range(len(bands_hz)), labels)
        axis.set(xlabel="band taken out (kHz)", ylabel="cost in probability")
        axis.legend(ncols=3)
    return figure


def score_over_time(
    frame: pd.DataFrame,
    segments: Sequence[tuple[float, float, str]],
    *,
    title: str = "",
    at_s: float | None = None,
) -> Figure:
    """Probabilities of one recording's windows over time, above its annotation.

    Args:
        frame: Columns ``time_s`` (middle of a window) and ``p_<class>``.
        segments: Start, end and class of what is annotated, in seconds.
        title: Of the figure.
        at_s: Where a clip is marked.
    """
    colours = dict(zip(CLASSES, (ORANGE, BLUE, GREY), strict=True))
    with style():
        figure, axis = plt.subplots(figsize=(8, 2.9))
        for name, colour in colours.items():
            axis.plot(frame["time_s"], frame[f"p_{name}"], color=colour, marker=".", label=name)
        for start, end, name in segments:
            axis.axvspan(start, end, ymax=0.08, color=colours[name])
        if at_s is not None:
            axis.axvline(at_s, color="black", linestyle=":", linewidth=1.2)
        axis.set(xlabel="time (s)", ylabel="probability", ylim=(-0.1, 1.05), title=title)
        axis.legend(ncols=3, loc="upper right")
    return figure
