"""Figures of chapter 3: from waveforms, pictures and scores, never from a model.

Every figure is at most 4.8 inches wide, so that its text can still be read on a phone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from numpy.typing import ArrayLike, NDArray

from thesislib.figures.style import BLUE, GREEN, GREY, ORANGE, PALETTE, style
from thesislib.figures.teaching import CYCLE, WIDTH

Curve = tuple[ArrayLike, ArrayLike]
Band = tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike]
"""Where a curve runs, its middle, and the lower and upper end of its interval."""
_MANY = (*CYCLE, (PALETTE[5], "X", "-"), ("black", "P", "--"))


def steps(panels: Mapping[str, tuple[str, Mapping[str, Curve]]], *, columns: int = 2) -> Figure:
    """The steps of a computation, one small panel each.

    Args:
        panels: Title to the label of the horizontal axis and to curves; more than one are told
            apart by colour and dash, and named in the panel.
        columns: Panels in a row.
    """
    rows = -(-len(panels) // columns)
    with style():
        figure, grid = plt.subplots(rows, columns, figsize=(WIDTH, 1.75 * rows), squeeze=False)
        for axes in grid.flat[len(panels) :]:
            axes.axis("off")
        for axes, (title, (xlabel, curves)) in zip(grid.flat, panels.items(), strict=False):
            for (name, (x, y)), (colour, _, dash) in zip(curves.items(), CYCLE, strict=False):
                axes.plot(x, y, color=colour, linestyle=dash, linewidth=1.4, label=name)
            axes.set_title(title, fontsize=10, loc="left")
            axes.set_xlabel(xlabel, fontsize=9)
            axes.tick_params(labelsize=8)
            if len(curves) > 1:
                axes.legend(fontsize=8, loc="upper right")
    return figure


def over_time(panels: Mapping[str, NDArray], *, duration_s: float) -> Figure:
    """One recording in several forms, over one axis of time.

    Args:
        panels: Title to samples `(N,)`, drawn as a line, or to rows by time `(R, T)`, drawn as a
            picture with the first row at the bottom.
        duration_s: Length of the recording.
    """
    with style():
        figure, grid = plt.subplots(
            len(panels), figsize=(WIDTH, 1.45 * len(panels)), sharex=True, squeeze=False
        )
        for axes, (title, values) in zip(grid[:, 0], panels.items(), strict=True):
            if values.ndim == 1:
                times = np.arange(len(values)) * duration_s / len(values)
                axes.plot(times, values, color=BLUE, linewidth=0.5)
            else:
                box = (0, duration_s, 0, len(values))
                axes.imshow(values, origin="lower", aspect="auto", extent=box)
                axes.grid(False)
            axes.set_title(title, fontsize=10, loc="left")
            axes.set_yticks([])
        grid[-1, 0].set_xlabel("time (s)")
        grid[-1, 0].set_xlim(0, duration_s)
    return figure


def choices(pairs: Mapping[str, NDArray], *, duration_s: float) -> Figure:
    """Pictures of one recording in two columns, each pair a choice.

    Args:
        pairs: Title to rows by time `(R, T)`, the first row at the bottom; left and right in turn.
        duration_s: Length of the recording.
    """
    rows = -(-len(pairs) // 2)
    with style():
        figure, grid = plt.subplots(
            rows, 2, figsize=(WIDTH, 1.6 * rows), sharex=True, squeeze=False
        )
        for axes, (title, values) in zip(grid.flat, pairs.items(), strict=True):
            box = (0, duration_s, 0, len(values))
            axes.imshow(values, origin="lower", aspect="auto", extent=box, interpolation="nearest")
            axes.set_title(title, fontsize=10, loc="left")
            axes.set_yticks([])
            axes.grid(False)
        for axes in grid[-1]:
            axes.set_xlabel("time (s)")
    return figure


def motion(panels: Mapping[str, tuple[NDArray, NDArray]], *, every: int = 10) -> Figure:
    """Arrows of motion over grey pictures; they are drawn twice as long as the motion.

    Args:
        panels: Title to a picture `(H, W)` in [0, 1] and to shifts `(H, W, 2)` in pixels, NaN
            where no arrow shall be drawn.
        every: Pixels from one arrow to the next.
    """
    with style():
        figure, grid = plt.subplots(
            1, len(panels), figsize=(WIDTH, 0.3 + WIDTH / len(panels)), squeeze=False
        )
        for axes, (title, (picture, shift)) in zip(grid[0], panels.items(), strict=True):
            axes.imshow(picture, cmap="gray", vmin=-0.6, vmax=1.2)
            rows, columns = np.mgrid[
                every // 2 : picture.shape[0] : every, every // 2 : picture.shape[1] : every
            ]
            arrows = shift[rows, columns]
            shown = np.isfinite(arrows).all(-1) & (np.hypot(*np.moveaxis(arrows, -1, 0)) > 0.1)
            axes.quiver(
                columns[shown], rows[shown], *arrows[shown].T, color=ORANGE,
                angles="xy", scale_units="xy", scale=0.5, width=0.009,
            )  # fmt: skip
            axes.set_title(title, fontsize=10)
            axes.axis("off")
    return figure


def orientations(picture: NDArray, cells: NDArray) -> Figure:
    """A picture beside its cells, in each a star of lines along its edges.

    Args:
        picture: `(H, W)` in [0, 1].
        cells: Histograms `(R, C, bins)` of gradient directions from 0 to 180 degrees. An edge runs
            across its gradient, and the lines are drawn along edges.
    """
    n_rows, n_columns, bins = cells.shape
    with style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, WIDTH / 2))
        left.imshow(picture, cmap="gray", vmin=0, vmax=1)
        reach = 0.48 * cells / cells.max()
        for number in range(bins):
            angle = np.pi * (number + 0.5) / bins + np.pi / 2
            along = np.array([np.cos(angle), np.sin(angle)])
            for row, column in np.ndindex(n_rows, n_columns):
                size = reach[row, column, number]
                if size > 0.06:
                    ends = np.array([column, row]) + size * np.outer([-1, 1], along)
                    right.plot(*ends.T, color="black", linewidth=1.1)
        right.set(xlim=(-0.5, n_columns - 0.5), ylim=(n_rows - 0.5, -0.5), aspect="equal")
        for axes in (left, right):
            axes.axis("off")
    return figure


def tracks(series: Mapping[str, NDArray], *, rate_hz: float) -> Figure:
    """Tracks over time below one another, each on a scale of its own.

    Args:
        series: Label of the vertical axis to values `(T,)`.
        rate_hz: Values a second.
    """
    with style():
        figure, grid = plt.subplots(
            len(series), figsize=(WIDTH, 1.5 * len(series)), sharex=True, squeeze=False
        )
        for axes, (label, values), (colour, _, dash) in zip(
            grid[:, 0], series.items(), CYCLE, strict=False
        ):
            axes.plot(np.arange(len(values)) / rate_hz, values, color=colour, linestyle=dash)
            axes.set_ylabel(label, fontsize=10)
        grid[-1, 0].set_xlabel("time (s)")
    return figure


def bands(
    panels: Mapping[str, Mapping[str, Band]],
    *,
    xlabel: str,
    ylabel: str,
    guess: float | None = None,
    **settings: object,
) -> Figure:
    """Curves with their intervals, in panels below one another.

    Args:
        panels: Title to named curves.
        xlabel: What runs along.
        ylabel: What is measured.
        guess: Where guessing would stand.
        settings: For matplotlib's ``Axes.set``.
    """
    with style():
        figure, grid = plt.subplots(
            len(panels), figsize=(WIDTH, 0.5 + 2.6 * len(panels)), sharex=True, squeeze=False
        )
        for axes, (title, curves) in zip(grid[:, 0], panels.items(), strict=True):
            for number, (name, (x, middle, low, high)) in enumerate(curves.items()):
                colour, marker, dash = _MANY[number % len(_MANY)]
                alpha = 0.15 if len(curves) < len(CYCLE) else 0.08
                axes.fill_between(x, low, high, color=colour, alpha=alpha, linewidth=0)
                axes.plot(x, middle, color=colour, marker=marker, linestyle=dash, ms=5, label=name)
            if guess is not None:
                axes.axhline(guess, color="black", linewidth=0.8, linestyle=":")
                axes.annotate("guessing", (1, guess), xycoords=("axes fraction", "data"),
                              ha="right", va="bottom", fontsize=9)  # fmt: skip
            axes.set_title(title, loc="left")
            axes.set(ylabel=ylabel, **settings)
        grid[-1, 0].set_xlabel(xlabel)
        if len(curves) > 1:
            figure.legend(
                *grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2
            )
    return figure


def schemes(names: Sequence[str]) -> Figure:
    """Drawings of how two modalities are fused.

    Args:
        names: Any of ``early``, ``late``, ``mid``, ``all layers``, ``bottleneck`` and
            ``late bottleneck``; the last three are the kinds of mid fusion.

    Source: thesis figures 3.1 and 3.2, redrawn.
    """
    drawings = {
        "early": _early,
        "late": _late,
        "mid": _mid,
        "all layers": lambda axes: _exchange(axes, (0, 1, 2), bottleneck=False),
        "bottleneck": lambda axes: _exchange(axes, (0, 1, 2), bottleneck=True),
        "late bottleneck": lambda axes: _exchange(axes, (1, 2), bottleneck=True),
    }
    with style():
        figure, grid = plt.subplots(1, len(names), figsize=(WIDTH, 3.5), squeeze=False)
        for axes, name in zip(grid[0], names, strict=True):
            drawings[name](axes)
            axes.set(xlim=(0, 4), ylim=(-0.2, 8.4), title=name)
            axes.set_aspect("equal")
            axes.axis("off")
    return figure


def _box(axes: Axes, x: float, y: float, text: str, colour: str, width: float = 1.6) -> None:
    shape = FancyBboxPatch(
        (x - width / 2, y - 0.45), width, 0.9, boxstyle="round,pad=0.04,rounding_size=0.15",
        facecolor="white", edgecolor=colour, linewidth=1.8, zorder=2,
    )  # fmt: skip
    axes.add_patch(shape)
    axes.text(x, y, text, ha="center", va="center", fontsize=9, zorder=3)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    properties = {"arrowstyle": "-|>", "color": GREY, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", end, start, arrowprops=properties, zorder=1)


def _inputs(axes: Axes) -> None:
    _box(axes, 1, 0.5, "sound", BLUE)
    _box(axes, 3, 0.5, "look", ORANGE)


def _early(axes: Axes) -> None:
    _inputs(axes)
    for x in (1, 3):
        _arrow(axes, (x, 0.95), (x, 2.45))
    for y, text in ((2.95, "joined"), (5.2, "network")):
        _box(axes, 2, y, text, GREEN, 3.6)
        _arrow(axes, (2, y + 0.5), (2, y + 1.75))
    _box(axes, 2, 7.45, "decision", GREY, 2.2)


def _late(axes: Axes) -> None:
    _inputs(axes)
    for x, colour in ((1, BLUE), (3, ORANGE)):
        _arrow(axes, (x, 0.95), (x, 2.45))
        _box(axes, x, 2.95, "network", colour)
        _arrow(axes, (x, 3.4), (x, 4.7))
        _box(axes, x, 5.2, "decision", colour)
        _arrow(axes, (x, 5.65), (2 + 0.3 * (x - 2), 6.95))
    _box(axes, 2, 7.45, "rule", GREEN, 2.2)


def _mid(axes: Axes) -> None:
    _inputs(axes)
    for x, colour in ((1, BLUE), (3, ORANGE)):
        _arrow(axes, (x, 0.95), (x, 2.45))
        _box(axes, x, 2.95, "network", colour)
        _arrow(axes, (x, 3.4), (x, 4.7))
    _box(axes, 2, 5.2, "network", GREEN, 3.6)
    _arrow(axes, (2, 5.65), (2, 6.95))
    _box(axes, 2, 7.45, "decision", GREY, 2.2)


def _exchange(axes: Axes, layers: tuple[int, ...], *, bottleneck: bool) -> None:
    heights = (2.3, 3.95, 5.6)
    _inputs(axes)
    for x, colour in ((0.85, BLUE), (3.15, ORANGE)):
        below = 0.95
        for height in heights:
            _arrow(axes, (x, below), (x, height - 0.48))
            _box(axes, x, height, "layer", colour, 1.3)
            below = height + 0.48
        _arrow(axes, (x, below), (2 + 0.5 * (x - 2), 6.97))
    _box(axes, 2, 7.45, "decision", GREY, 2.2)
    below = 0.0
    for number in layers:
        height = heights[number]
        if bottleneck:
            axes.plot(2, height, "D", color=GREEN, markersize=7, zorder=3)
            for x in (1.54, 2.46):
                axes.plot([x, 2], [height, height], color=GREEN, linewidth=1.4, zorder=1)
            if below:
                axes.plot([2, 2], [below, height], color=GREEN, linewidth=1.4, zorder=1)
            below = height
        else:
            for up, side in ((0.12, 1), (-0.12, -1)):
                start, end = (2 - 0.46 * side, height + up), (2 + 0.46 * side, height + up)
                axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": GREEN,
                                                          "shrinkA": 0, "shrinkB": 0})  # fmt: skip
