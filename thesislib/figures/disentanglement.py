"""Figures of chapter 8: the two pipelines, reconstructions, factors by branch, opposing losses.

They read sizes, arrays and tables, never a model.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from numpy.typing import NDArray

from thesislib.figures.probes import LEVELS
from thesislib.figures.style import BLUE, GREEN, GREY, ORANGE, PURPLE, style
from thesislib.models.dual_branch import PatchGrid
from thesislib.models.transformer import visible_tokens

Box = tuple[float, float, str, str]
"""Centre, text, colour."""
Arrow = tuple[int, int]
"""Numbers of two boxes."""
_WIDTH, _HEIGHT = 0.84, 0.8


def pretraining_boxes(
    grid: PatchGrid,
    *,
    width: int,
    layers: tuple[int, int],
    decoder: tuple[int, int],
    mask_ratio: float,
    weight: float,
) -> list[Box]:
    """The boxes of the training's diagram, with the numbers that its sizes imply.

    Args:
        grid: Of the patches.
        width: Features of a token in either branch.
        layers: Of the main and of the auxiliary branch.
        decoder: Its depth and width.
        mask_ratio: Share of the tokens that the auxiliary branch does not see.
        weight: The lambda of equation 8.1.
    """
    n = grid.n_tokens
    seen = visible_tokens(n, mask_ratio)
    patches = f"{grid.blocks} x {grid.bands} patches\nof {grid.frames} x {grid.mels}"
    return [
        (0, 0, f"spectrogram\n{patches}", GREY),
        (1, 0, f"tokeniser, frozen\n{n} tokens of {width}", ORANGE),
        (2, 1, f"all {n}\ntokens", ORANGE),
        (2, -1, f"{seen} of {n}\nstay visible", BLUE),
        (3, 1, f"main branch, frozen\n{layers[0]} layers", ORANGE),
        (3, -1, f"auxiliary branch\n{layers[1]} layers", BLUE),
        (4, 0, f"contrastive and\ninformation loss\nλ = {weight:g}", GREEN),
        (4, -1, f"{n - seen} mask tokens\nfill the gaps", BLUE),
        (5, 1, f"side by side\n2 x {width} features", PURPLE),
        (6, 1, f"joint decoder\n{decoder[0]} layers of {decoder[1]}", PURPLE),
        (6, -1, "hidden patches:\nreconstruction loss", GREEN),
    ]


PRETRAINING_ARROWS: tuple[Arrow, ...] = (
    (0, 1), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 6), (5, 7), (4, 8), (7, 8), (8, 9), (9, 10),
)  # fmt: skip
PROBING_ARROWS: tuple[Arrow, ...] = ((0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6), (3, 7), (4, 7))


def probing_boxes(grid: PatchGrid, *, width: int) -> list[Box]:
    """The boxes of the evaluation's diagram: no masks, no decoder, a linear probe on top.

    Args:
        grid: Of the patches.
        width: Features of a token in either branch.
    """
    return [
        (0, 0, f"{grid.n_tokens} tokens\nof {width}", ORANGE),
        (1, 1, "main branch\nfrozen", ORANGE),
        (1, -1, "auxiliary branch\nfrozen by now", BLUE),
        (2, 1, f"mean: {width}", ORANGE),
        (2, -1, f"mean: {width}", BLUE),
        (3, 1, "linear probe\nmain", ORANGE),
        (3, -1, "linear probe\nauxiliary", BLUE),
        (3, 0, f"linear probe\nboth: {2 * width}", PURPLE),
    ]


def pipeline(boxes: Sequence[Box], arrows: Sequence[Arrow], title: str = "") -> Figure:
    """Boxes and arrows: Figures 8.1 and 8.5 from the sizes of a model.

    Args:
        boxes: From `pretraining_boxes` or `probing_boxes`.
        arrows: `PRETRAINING_ARROWS` or `PROBING_ARROWS`.
        title: Of the figure.

    Source: thesis Figures 8.1 and 8.5.
    """
    last = max(x for x, *_ in boxes)
    with style():
        figure, axis = plt.subplots(figsize=(1.65 * (last + 1), 3.4))
        axis.set_axis_off()
        axis.set(xlim=(-0.55, last + 0.55), ylim=(-1.6, 1.6), title=title)
        for first, second in arrows:
            start, end = boxes[first][:2], boxes[second][:2]
            axis.annotate("", _rim(end, start), _rim(start, end), arrowprops=_ARROW)
        for x, y, text, colour in boxes:
            frame = FancyBboxPatch(
                (x - _WIDTH / 2, y - _HEIGHT / 2), _WIDTH, _HEIGHT,
                boxstyle="round,pad=0,rounding_size=0.06",
                facecolor="white", edgecolor=colour, linewidth=1.6,
            )  # fmt: skip
            axis.add_patch(frame)
            axis.text(x, y, text, ha="center", va="center", fontsize=7.5)
    return figure


_ARROW = {"arrowstyle": "->", "color": GREY, "shrinkA": 1, "shrinkB": 1}


def _rim(start: tuple[float, float], end: tuple[float, float]) -> tuple[float, float]:
    """Where an arrow from `start` to `end` leaves its box: at a side, or above or below."""
    (x0, y0), (x1, y1) = start, end
    if x0 == x1:
        return x0, y0 + np.sign(y1 - y0) * _HEIGHT / 2
    return x0 + np.sign(x1 - x0) * _WIDTH / 2, y0


def reconstructions(titles: Sequence[str], whole: NDArray, seen: NDArray, drawn: NDArray) -> Figure:
    """Spectrograms original, masked and reconstructed: one clip a row, low bands at the bottom.

    Args:
        titles: Of the clips, B of them.
        whole: `(B, T, M)`.
        seen: Likewise, NaN where it was hidden.
        drawn: Likewise, with what the decoder drew where it was hidden.

    Source: thesis Figure 8.4.
    """
    with style():
        figure, axes = plt.subplots(
            len(titles), 3, figsize=(6.4, 1.35 * len(titles) + 0.5), sharex=True, sharey=True,
            squeeze=False,
        )  # fmt: skip
        colours = plt.get_cmap(None, LEVELS // 2)  # patches, not harmonics, are what to look at
        for row, title, *pictures in zip(axes, titles, whole, seen, drawn, strict=True):
            low, high = np.quantile(pictures[0], [0.01, 0.99])
            for axis, picture in zip(row, pictures, strict=True):
                axis.set_facecolor("#BBBBBB")  # what was hidden
                axis.imshow(picture.T, colours, origin="lower", aspect="auto", vmin=low, vmax=high)
                axis.grid(False)
            row[0].set_ylabel(f"{title}\nmel band", fontsize=8)
        for axis, name in zip(axes[0], ("original", "masked", "reconstructed"), strict=True):
            axis.set_title(name)
        for axis in axes[-1]:
            axis.set_xlabel("time (10 ms)")
    return figure


def factor_heatmaps(matrices: dict[str, pd.DataFrame]) -> Figure:
    """Factor-by-branch matrices: what a probe of each branch tells of each factor.

    Args:
        matrices: Title to a table of factors by branches, 0 at chance and 1 without an error.
    """
    widths = [matrix.shape[1] for matrix in matrices.values()]
    height = max(matrix.shape[0] for matrix in matrices.values())
    with style():
        figure, axes = plt.subplots(
            1, len(matrices), figsize=(1.15 * sum(widths) + 2.2, 0.55 * height + 1.5),
            squeeze=False, width_ratios=widths,
        )  # fmt: skip
        for axis, (title, matrix) in zip(axes[0], matrices.items(), strict=True):
            _matrix(axis, matrix)
            axis.set_title(title, fontsize=10)
    return figure


def _matrix(axis: Axes, matrix: pd.DataFrame) -> None:
    values = matrix.to_numpy(dtype=float)
    axis.imshow(values, vmin=0, vmax=1, aspect="auto")
    axis.set_xticks(range(matrix.shape[1]), list(matrix.columns), rotation=25, ha="right")
    axis.set_yticks(range(matrix.shape[0]), list(matrix.index))
    axis.grid(False)
    axis.spines[:].set_visible(False)
    for row, column in np.ndindex(values.shape):
        value = values[row, column]
        colour = "white" if value < 0.5 else "black"
        axis.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour)


def loss_front(points: pd.DataFrame) -> Figure:
    """The two opposing losses of each setting, and the front of those that none betters in both.

    Args:
        points: Settings in rows, with ``contrast``, ``information`` and ``front``.
    """
    with style():
        figure, axis = plt.subplots(figsize=(6.8, 4.2))
        middle = (points["contrast"].min() + points["contrast"].max()) / 2
        for name, row in points.iterrows():
            on_front = bool(row["front"])
            place = (float(row["contrast"]), float(row["information"]))
            colour, marker = (BLUE, "o") if on_front else (ORANGE, "^")
            axis.scatter(*place, color=colour, marker=marker, s=45, zorder=3)
            side, shift = ("right", -6) if place[0] > middle else ("left", 6)  # within the axes
            axis.annotate(
                str(name), place, (shift, 5), textcoords="offset points", fontsize=8.5, ha=side
            )
        best = points[points["front"].astype(bool)].sort_values("contrast")
        axis.plot(best["contrast"], best["information"], color=BLUE, linewidth=1)
        axis.set(xlabel="contrastive loss (nats)", ylabel="mutual information (nats)")
        axis.margins(x=0.18, y=0.12)
    return figure
