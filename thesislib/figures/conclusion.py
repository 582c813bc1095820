"""The figure of chapter 9: all claims in one picture, from a table of effects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from thesislib.figures.style import BLUE, GREY, ORANGE, style
from thesislib.records.conclusion import NULL, REAL, REPORTED, TWIN
from thesislib.records.verdicts import MISSING

MARKS: Mapping[str, dict[str, Any]] = {
    REPORTED: {"color": GREY, "marker": "D", "markerfacecolor": "white"},
    NULL: {"color": BLUE, "marker": "o", "markerfacecolor": "white"},
    TWIN: {"color": BLUE, "marker": "o"},
    REAL: {"color": ORANGE, "marker": "s"},
}
"""Kinds of data differ in colour and in shape, hollow where nothing was or should be found."""
NAMES = {
    REPORTED: "reported by the thesis",
    NULL: "null twin: nothing planted",
    TWIN: "twin",
    REAL: "real recordings",
}
SHIFTS = {REPORTED: -0.24, TWIN: 0.0, NULL: 0.24, REAL: 0.24}
OTHER_SCALE = "F"
"""Claim whose effects are ratios of errors and have an axis of their own."""


def claims_picture(effects: pd.DataFrame) -> Figure:
    """Effects of all claims with their 95 % intervals; what a claim says lies right of zero.

    Args:
        effects: From `thesislib.records.conclusion.effects`.
    """
    ratios = effects["claim"].str[0] == OTHER_SCALE
    panels = [effects[~ratios], effects[ratios]]
    counts = [max(panel["label"].groupby(panel["claim"]).nunique().sum(), 1) for panel in panels]
    with style():
        figure, axes = plt.subplots(
            2, 1, figsize=(7.2, 0.34 * sum(counts) + 1.9), height_ratios=counts
        )
        for axis, panel in zip(axes, panels, strict=True):
            _panel(axis, panel)
        axes[0].set_xlabel("difference (F1, accuracy or share)", fontsize=9)
        axes[1].set_xlabel("log2 of the ratio of errors: 1 is half the error", fontsize=9)
        handles = [
            Line2D([], [], linestyle="", markersize=6, label=NAMES[kind], **mark)
            for kind, mark in MARKS.items()
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=2, fontsize=9)
        told = set(effects["strength"]) - {""}
        if told:
            figure.supxlabel(f"* {'; '.join(sorted(told))}", fontsize=9, color=GREY)
    return figure


def _panel(axis: Axes, effects: pd.DataFrame) -> None:
    rows = list(dict.fromkeys(zip(effects["claim"], effects["label"], strict=True)))
    axis.axvline(0, color="black", linewidth=0.8)
    for y, (claim, label) in enumerate(rows):
        if y and rows[y - 1][0][0] != claim[0]:
            axis.axhline(y - 0.5, color="#BBBBBB", linewidth=0.8)
        own = effects[(effects["claim"] == claim) & (effects["label"] == label)]
        both = {NULL, REAL} <= set(own["kind"])
        for row in own.to_dict("records"):
            if row["kind"] == MISSING:
                x, side = (0.03, "left") if claim[0] == OTHER_SCALE else (0.99, "right")
                axis.text(
                    x, y, MISSING, transform=axis.get_yaxis_transform(), ha=side, va="center",
                    fontsize=9, color=GREY,
                )  # fmt: skip
                continue
            if row["value"] != row["value"]:  # the level that it is about does not occur
                continue
            place = y + SHIFTS[row["kind"]] + (0.16 if both and row["kind"] == REAL else 0)
            mark = MARKS[row["kind"]]
            if row["low"] == row["low"]:
                axis.plot([row["low"], row["high"]], [place] * 2, color=mark["color"], linewidth=1)
            axis.plot([row["value"]], [place], linestyle="", markersize=4.5, **mark)
    strong = effects[effects["strength"] != ""]
    marked = set(zip(strong["claim"], strong["label"], strict=True))
    names = [f"{claim}  {label}{'*' if (claim, label) in marked else ''}" for claim, label in rows]
    axis.set_yticks(range(len(rows)), names, fontsize=9)
    axis.set_ylim(max(len(rows), 1) - 0.4, -0.6)
    axis.tick_params(axis="x", labelsize=9.5)
    axis.locator_params(axis="x", nbins=5)
    axis.grid(axis="y", visible=False)
