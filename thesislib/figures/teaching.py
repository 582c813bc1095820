"""Figures of the background chapters: from arrays and tables, never from a model.

Every figure is at most 4.8 inches wide, so that its text can still be read on a phone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from numpy.typing import ArrayLike, NDArray

from thesislib.figures.style import BLUE, GREEN, GREY, ORANGE, PURPLE, style

WIDTH = 4.8  # inches
CYCLE: tuple[tuple[str, str, Any], ...] = (
    (BLUE, "o", "-"),
    (ORANGE, "s", "--"),
    (GREEN, "^", "-."),
    (PURPLE, "D", ":"),
)
CYCLE = (*CYCLE, (GREY, "v", (0, (5, 1))))
DIVERGING = LinearSegmentedColormap.from_list("blue-orange", [BLUE, "#FFFFFF", ORANGE])


def network(widths: Sequence[int], titles: Sequence[str], *, inputs: str = "x") -> Figure:
    """Layers of perceptrons, each joined to all of the layer before.

    Args:
        widths: Perceptrons in each layer, the input first.
        titles: What stands below each layer.
        inputs: Letter of the input values.
    """
    with style():
        figure, axes = plt.subplots(figsize=(WIDTH, 2.8))
        places = [
            [(column, row - (n - 1) / 2) for row in range(n)] for column, n in _placed(widths)
        ]
        for left, right in pairwise(places):
            for x0, y0 in left:
                for x1, y1 in right:
                    axes.plot([x0, x1], [y0, y1], color=GREY, linewidth=0.8, zorder=1)
        colours = [GREY, *[GREEN] * (len(widths) - 2), ORANGE]
        for layer, (column, colour) in enumerate(zip(places, colours, strict=True)):
            for number, place in enumerate(reversed(column), start=1):
                axes.add_patch(Circle(place, 0.34, facecolor="white", edgecolor=colour, lw=2))
                if layer in (0, len(widths) - 1):
                    letter = inputs if layer == 0 else "y"
                    index = f"_{number}" if len(column) > 1 else ""
                    axes.text(*place, f"${letter}{index}$", ha="center", va="center", zorder=3)
        lowest = -max(widths) / 2
        for column, title in zip(places, titles, strict=True):
            axes.text(column[0][0], lowest - 0.35, title, ha="center", va="top")
        axes.set(xlim=(-0.8, places[-1][0][0] + 0.8), ylim=(lowest - 1.1, -lowest + 0.1))
        axes.set_aspect("equal")
        axes.axis("off")
    return figure


def _placed(widths: Sequence[int]) -> list[tuple[float, int]]:
    return [(2.6 * number, width) for number, width in enumerate(widths)]


def curves(
    series: Mapping[str, tuple[ArrayLike, ArrayLike]],
    *,
    xlabel: str,
    ylabel: str,
    markers: bool = False,
    **settings: object,
) -> Figure:
    """Lines in one pair of axes, told apart by colour and dash (and marker).

    Args:
        series: Name to x and y.
        xlabel: What runs along.
        ylabel: What is measured.
        markers: Whether each point is marked.
        settings: For matplotlib's ``Axes.set``, such as limits and scales.
    """
    with style():
        figure, axes = plt.subplots(figsize=(WIDTH, 3.2))
        for (name, (x, y)), (colour, marker, dash) in zip(series.items(), CYCLE, strict=False):
            mark = marker if markers else None
            axes.plot(x, y, color=colour, linestyle=dash, marker=mark, linewidth=2, label=name)
        axes.set(xlabel=xlabel, ylabel=ylabel, **settings)
        if len(series) > 1:
            _legend_above(axes, len(series))
    return figure


def _legend_above(axes: Axes, entries: int) -> None:
    columns = entries if entries < 4 else 2
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, borderaxespad=0.2)


def decisions(
    maps: Mapping[str, NDArray], points: NDArray, classes: NDArray, *, extent: float
) -> Figure:
    """Where classifiers with two inputs draw the line.

    Args:
        maps: Title to the probability of class 1 on a square grid `(n, n)`, second input upwards.
        points: Training points `(N, 2)`.
        classes: Their classes `(N,)`, 0 or 1.
        extent: Half the side of the square.
    """
    with style():
        figure, panels = plt.subplots(
            1, len(maps), figsize=(WIDTH, 0.6 + WIDTH / len(maps)), sharey=True, squeeze=False
        )
        box = (-extent, extent, -extent, extent)
        for axes, (title, values) in zip(panels[0], maps.items(), strict=True):
            axes.imshow(values, origin="lower", extent=box, cmap=DIVERGING, vmin=-0.25, vmax=1.25)
            axes.contour(values, levels=[0.5], extent=box, colors="black", linewidths=1.2)
            for label, (colour, marker) in enumerate(((BLUE, "o"), (ORANGE, "^"))):
                chosen = points[classes == label]
                axes.scatter(*chosen.T, s=12, color=colour, marker=marker, linewidths=0)
            axes.set(title=title, xlim=(-extent, extent), ylim=(-extent, extent))
            axes.set_xlabel("$x_1$")
            axes.grid(False)
        panels[0, 0].set_ylabel("$x_2$")
    return figure


def learning_curves(histories: Mapping[str, pd.DataFrame]) -> Figure:
    """Training and validation loss by epoch, one panel a network, with the best epoch marked."""
    with style():
        figure, panels = plt.subplots(
            len(histories), figsize=(WIDTH, 1.9 * len(histories)), sharex=True, squeeze=False
        )
        for axes, (title, history) in zip(panels[:, 0], histories.items(), strict=True):
            axes.plot(history.index, history.train_loss, color=BLUE, lw=2, label="training")
            axes.plot(
                history.index,
                history.validation_loss,
                color=ORANGE,
                linestyle="--",
                lw=2,
                label="validation",
            )
            best = int(history.validation_loss.to_numpy().argmin())
            lowest = history.validation_loss.iloc[best]
            axes.plot(history.index[best], lowest, "v", color=ORANGE, ms=9, label="best")
            axes.set_title(title, loc="left")
            axes.set(ylabel="loss", ylim=(0, 2.5))
        panels[-1, 0].set_xlabel("epoch")
        panels[-1, 0].legend(loc="upper right", ncols=3)
    return figure


def descents(paths: Mapping[str, NDArray], losses: NDArray, *, extent: float) -> Figure:
    """Paths of gradient descent over the loss of two parameters.

    Args:
        paths: Title to `(steps + 1, 2)`.
        losses: Loss on a square grid `(n, n)`, second parameter upwards.
        extent: Half the side of the grid.
    """
    columns = min(3, len(paths))
    rows = -(-len(paths) // columns)
    axis = np.linspace(-extent, extent, len(losses))
    with style():
        figure, panels = plt.subplots(
            rows, columns, figsize=(WIDTH, 2.3 * rows), sharex=True, sharey=True, squeeze=False
        )
        for axes, (title, path) in zip(panels.flat, paths.items(), strict=True):
            axes.contour(axis, axis, losses**0.5, levels=9, colors="#BBBBBB", linewidths=0.8)
            axes.plot(*path.T, color=ORANGE, linewidth=1.2)
            axes.plot(*path[0], "o", color=BLUE, markersize=6)
            axes.plot(*path[-1], "*", color=BLUE, markersize=11)
            axes.set(title=title, xlabel="weight", xlim=(-extent, extent), ylim=(-extent, extent))
            axes.grid(False)
        for axes in panels[:, 0]:
            axes.set_ylabel("bias")
    return figure


def pictures(
    maps: Mapping[str, NDArray], *, columns: int = 2, signed: bool = False, height: float = 1.12
) -> Figure:
    """Pictures or feature maps under their titles.

    Args:
        maps: Title to `(H, W)`, or `(H, W, 3)` in [0, 1].
        columns: Pictures in a row.
        signed: Whether blue stands for below and orange for above zero; each picture has its own
            scale, up to the 99th percentile.
        height: Height of a row over the width of a picture.
    """
    rows = -(-len(maps) // columns)
    side = WIDTH / columns
    with style():
        figure, panels = plt.subplots(
            rows, columns, figsize=(WIDTH, height * side * rows), squeeze=False
        )
        for axes in panels.flat:
            axes.axis("off")
        for axes, (title, values) in zip(panels.flat, maps.items(), strict=False):
            reach = float(np.quantile(np.abs(values), 0.99)) if signed else None
            axes.imshow(
                values,
                cmap=DIVERGING if signed else "gray",
                vmin=-reach if reach else None,
                vmax=reach,
            )
            axes.set_title(title)
    return figure


def matrices(
    grids: Mapping[str, NDArray], *, xlabel: str, ylabel: str, label: str, signed: bool = False
) -> Figure:
    """Matrices side by side on one colour scale, such as attention weights.

    Args:
        grids: Title to `(rows, columns)`.
        xlabel: What the columns are.
        ylabel: What the rows are.
        label: What the colour stands for.
        signed: Whether the scale has zero in its middle.
    """
    high = max(float(np.abs(values).max()) for values in grids.values())
    with style():
        figure, panels = plt.subplots(
            1, len(grids), figsize=(WIDTH, 0.5 + WIDTH / max(2, len(grids))), squeeze=False
        )
        for axes, (title, values) in zip(panels[0], grids.items(), strict=True):
            image = axes.imshow(
                values,
                cmap=DIVERGING if signed else "cividis",
                vmin=-high if signed else 0,
                vmax=high,
                aspect="auto",
            )
            axes.set(title=title, xlabel=xlabel)
            axes.grid(False)
        panels[0, 0].set_ylabel(ylabel)
        figure.colorbar(image, ax=panels, label=label, shrink=0.85)
    return figure


def counts(confusion: pd.DataFrame, *, of: str) -> Figure:
    """A confusion matrix of counts in which each cell says what it is to one class.

    Args:
        confusion: Counts: expected label in rows, predicted in columns.
        of: The class whose true and false positives and negatives are named.
    """
    colours = {"TP": GREEN, "FN": ORANGE, "FP": PURPLE, "TN": "#EEEEEE"}
    with style():
        figure, axes = plt.subplots(figsize=(4.4, 3.7))
        for row, expected in enumerate(confusion.index):
            for column, predicted in enumerate(confusion.columns):
                truth = "T" if (expected == of) == (predicted == of) else "F"
                role = truth + ("P" if predicted == of else "N")
                box = (column - 0.47, row - 0.47)
                axes.add_patch(Rectangle(box, 0.94, 0.94, facecolor=colours[role], alpha=0.45))
                count = confusion.to_numpy()[row, column]
                axes.text(column, row - 0.1, f"{count}", ha="center", va="center", fontsize=15)
                axes.text(column, row + 0.28, role, ha="center", va="center")
        n = len(confusion)
        axes.set_xticks(range(n), confusion.columns)
        axes.set_yticks(range(n), confusion.index)
        axes.set(xlim=(-0.55, n - 0.45), ylim=(n - 0.45, -0.55))
        axes.set(xlabel="predicted", ylabel="expected", title=f"seen from the class “{of}”")
        axes.grid(False)
        axes.spines[:].set_visible(False)
    return figure


def scatter_of_scores(scores: Mapping[str, NDArray], *, xlabel: str) -> Figure:
    """One row of dots a procedure, its mean as a bar: how much a score depends on the draw."""
    with style():
        figure, axes = plt.subplots(figsize=(WIDTH, 0.9 + 0.65 * len(scores)))
        for row, ((_, values), (colour, marker, _)) in enumerate(
            zip(scores.items(), CYCLE, strict=False)
        ):
            shift = np.linspace(-0.16, 0.16, 7)[np.arange(len(values)) % 7]
            axes.scatter(values, row + shift, s=28, color=colour, marker=marker, alpha=0.7, lw=0)
            axes.plot([np.mean(values)] * 2, [row - 0.3, row + 0.3], color="black", linewidth=2)
        axes.set_yticks(range(len(scores)), scores)
        axes.set(xlabel=xlabel, ylim=(len(scores) - 0.5, -0.5))
    return figure


def histograms(samples: Mapping[str, NDArray], *, bins: Sequence[float], xlabel: str) -> Figure:
    """Distributions of one quantity, as shares of each sample."""
    with style():
        figure, axes = plt.subplots(figsize=(WIDTH, 2.9))
        for (name, values), (colour, _, dash) in zip(samples.items(), CYCLE, strict=False):
            weights = np.full(len(values), 1 / len(values))
            axes.hist(values, bins, weights=weights, color=colour, alpha=0.3)
            axes.hist(
                values,
                bins,
                weights=weights,
                histtype="step",
                color=colour,
                linestyle=dash,
                linewidth=2,
                label=name,
            )
        axes.set(xlabel=xlabel, ylabel="share")
        _legend_above(axes, len(samples))
    return figure
