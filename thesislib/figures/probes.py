"""Figures of voices and of probes: from records, predictions and signals, never from a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from thesislib.evaluation.classification import (
    class_names,
    confusion_by_group,
    probability_of_target,
    uar_by_speaker,
)
from thesislib.evaluation.significance import Estimate
from thesislib.figures.style import BLUE, GREY, ORANGE, style
from thesislib.records.record import RunRecord
from thesislib.records.tables import layer_number

SEX_STYLE = {"female": (ORANGE, "o"), "male": (BLUE, "s")}
LEVELS = 32  # colours of a spectrogram: a picture of noise takes up half the space of one with 256
TASK_STYLE = {"emotion": (ORANGE, "o"), "speaker": (BLUE, "s")}


def _errors(estimates: Sequence[Estimate]) -> NDArray:
    """Distances down and up to the interval's ends; none where a quantile lies beyond the value."""
    return np.array([[max(e.value - e.low, 0), max(e.high - e.value, 0)] for e in estimates]).T


def layer_tradeoff(records: Sequence[RunRecord], metric: str = "uar") -> Figure:
    """A metric by layer, for emotion and for speaker identity, with MFCC statistics as floor.

    Args:
        records: Records of the *main-only* experiment on one corpus.
        metric: Name of the metric.
    """
    with style():
        figure, axes = plt.subplots(figsize=(7, 4))
        for shift, (task, (colour, marker)) in zip((-0.04, 0.04), TASK_STYLE.items(), strict=True):
            runs = {
                record.configuration["features"]: record
                for record in records
                if record.configuration["task"] == task
            }
            layers = sorted((name for name in runs if name.startswith("layer_")), key=layer_number)
            estimates = [runs[name].metrics[metric] for name in layers]
            axes.errorbar(
                np.arange(len(layers)) + shift,
                [estimate.value for estimate in estimates],
                _errors(estimates),
                color=colour,
                marker=marker,
                capsize=3,
                label=task,
            )
            floor = runs["mfcc"].metrics[metric].value
            axes.axhline(floor, color=colour, linestyle=":", linewidth=1.2)
            axes.text(
                len(layers) - 0.35,
                floor + 0.01,
                f"MFCC, {task}",
                color=colour,
                va="bottom",
                ha="right",
                fontsize=9,
            )
        axes.set_xticks(
            range(len(layers)), ["convolution", *(f"{n}" for n in range(1, len(layers)))]
        )
        axes.set(
            xlabel="layer of the frozen encoder",
            ylabel="UAR",
            xlim=(-0.3, len(layers) - 0.3),
            ylim=(0, 1.02),
        )
        axes.legend(loc="lower left", title="linear probe for")
    return figure


def confusion_matrix(predictions: pd.DataFrame, title: str = "") -> Figure:
    """Confusion matrix in per cent of each expected label; rows add up to 100."""
    names = class_names(predictions)
    counts = confusion_by_group(
        predictions["target"].tolist(),
        predictions["prediction"].tolist(),
        [""] * len(predictions),
        names,
    )[0]
    shares = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    with style():
        figure, axes = plt.subplots(figsize=(6.4, 5.2))
        image = axes.imshow(shares, vmin=0, vmax=100)
        axes.grid(False)
        axes.spines[:].set_visible(False)
        axes.set_xticks(range(len(names)), names, rotation=35, ha="right")
        axes.set_yticks(range(len(names)), names)
        for row, column in np.ndindex(shares.shape):
            share = shares[row, column]
            axes.text(
                column,
                row,
                f"{share:.0f}",
                ha="center",
                va="center",
                color="white" if share < 50 else "black",
            )
        axes.set(xlabel="predicted", ylabel="expected", title=title)
        figure.colorbar(image, label="% of the expected label", shrink=0.85)
    return figure


def uar_of_speakers(predictions: pd.DataFrame) -> Figure:
    """UAR of every speaker, by sex: how much one speaker differs from the next."""
    scores = uar_by_speaker(predictions).sort_values()
    sex = predictions.groupby("speaker")["sex"].first()
    with style():
        figure, axes = plt.subplots(figsize=(6.4, 3.6))
        for name, (colour, marker) in SEX_STYLE.items():
            chosen = [number for number, speaker in enumerate(scores.index) if sex[speaker] == name]
            axes.scatter(scores.iloc[chosen], chosen, color=colour, marker=marker, s=50, label=name)
        axes.set_yticks(range(len(scores)), scores.index)
        axes.set(xlabel="UAR over the speaker's clips", ylabel="held-out speaker", xlim=(0, 1.02))
        axes.legend(title="sex", loc="lower left")
    return figure


def listeners_and_model(predictions: pd.DataFrame, bins: int = 6) -> Figure:
    """Probability that the model gives to the expected label, by the listeners' recognition."""
    judged = predictions[predictions["listener_recognition"].notna()]
    share = judged["listener_recognition"].to_numpy()
    given = probability_of_target(judged)
    edges = np.unique(np.quantile(share, np.linspace(0, 1, bins + 1)))
    member = np.clip(np.digitize(share, edges[1:-1], right=True), 0, len(edges) - 2)
    with style():
        figure, axes = plt.subplots(figsize=(6.4, 4))
        axes.scatter(100 * share, given, s=12, color=GREY, alpha=0.35, linewidths=0, label="clip")
        occupied = np.unique(member)
        axes.plot(
            [100 * share[member == bin_].mean() for bin_ in occupied],
            [given[member == bin_].mean() for bin_ in occupied],
            color=ORANGE,
            marker="o",
            label="mean of the clips around",
        )
        axes.set(
            xlabel="listeners who recognised the emotion (%)",
            ylabel="probability given by the model\nto the expected emotion",
            xticks=range(10 * int(10 * share.min()), 101, 5),
            ylim=(0, 1.02),
        )
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return figure


def spectrograms(log_mels: Mapping[str, NDArray], *, frame_shift_s: float = 0.01) -> Figure:
    """Log-mel spectrograms below one another.

    Args:
        log_mels: Title to `(T, M)` log-mel energies.
        frame_shift_s: Seconds from frame to frame.
    """
    with style():
        figure, axes = plt.subplots(
            len(log_mels), figsize=(7.4, 1.9 * len(log_mels)), sharex=True, squeeze=False
        )
        high = max(float(values.max()) for values in log_mels.values())
        for axis, (title, values) in zip(axes[:, 0], log_mels.items(), strict=True):
            image = axis.imshow(
                values.T,
                plt.get_cmap(None, LEVELS),
                origin="lower",
                aspect="auto",
                extent=(0, len(values) * frame_shift_s, 0, values.shape[1]),
                vmin=high - 12,
                vmax=high,
            )
            axis.grid(False)
            axis.set_title(title, loc="left", fontsize=11)
            axis.set_ylabel("mel band")
        axes[-1, 0].set_xlabel("time (s)")
        figure.colorbar(image, ax=axes, label="natural log of power", shrink=0.7)
    return figure


def voices(descriptions: Mapping[str, pd.DataFrame]) -> Figure:
    """Distribution of f0 and the long-term average spectrum of several corpora, in the aggregate.

    Args:
        descriptions: Title to a frame of acoustic descriptions, as chapter 8 records them.
    """
    with style():
        figure, axes = plt.subplots(
            len(descriptions),
            2,
            figsize=(8.4, 2.9 * len(descriptions)),
            sharex="col",
            squeeze=False,
        )
        bins = np.geomspace(65, 500, 28)
        for row, (title, frame) in zip(axes, descriptions.items(), strict=True):
            spectrum = [name for name in frame.columns if name.startswith("z_")][3:]
            for sex, (colour, _) in SEX_STYLE.items():
                part = frame[frame["sex"] == sex]
                row[0].hist(
                    part["z_0"].dropna(), bins, color=colour, alpha=0.65, label=sex, density=True
                )
                _spectrum(row[1], part[spectrum].to_numpy(), colour, sex)
            row[0].set(title=title, ylabel="density", xscale="log")
            row[0].set_xticks([80, 120, 180, 270, 400], ["80", "120", "180", "270", "400"])
            row[0].minorticks_off()
            row[1].set(title=title, ylabel="dB to the mean")
            row[0].legend()
        axes[-1, 0].set_xlabel("median f0 of a clip (Hz)")
        kilohertz = np.array([0.5, 1, 2, 4, 8])
        bands = len(spectrum) * np.log1p(kilohertz / 0.7) / np.log1p(8 / 0.7) - 0.5
        axes[-1, 1].set_xticks(bands, [f"{value:g}" for value in kilohertz])
        axes[-1, 1].set_xlabel("long-term average spectrum: frequency (kHz)")
    return figure


def _spectrum(axis: Axes, values: NDArray, colour: str, label: str) -> None:
    low, middle, high = np.quantile(values, [0.1, 0.5, 0.9], axis=0)
    axis.fill_between(range(len(middle)), low, high, color=colour, alpha=0.18, linewidth=0)
    axis.plot(middle, color=colour, label=label)
