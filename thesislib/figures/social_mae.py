"""Figures of chapter 7: the model's diagram, reconstructions, where errors lie, what counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from numpy.typing import NDArray

from thesislib.figures.probes import LEVELS
from thesislib.figures.style import BLUE, GREEN, GREY, ORANGE, PURPLE, style
from thesislib.models.transformer import visible_tokens
from thesislib.records.drawings import Drawing

if TYPE_CHECKING:
    from thesislib.models.masked_autoencoder import MaskedAutoencoderConfig

Box = tuple[float, float, str, str]
"""Centre, text, colour."""
_WIDTH, _HEIGHT = 0.86, 1.16
_SMALL = 9.5
_FRAMES = 4


def social_mae_boxes(config: MaskedAutoencoderConfig) -> list[Box]:
    """The boxes of the model's diagram, with the numbers that its sizes imply."""
    bands, columns = config.audio_grid
    steps, rows, _ = config.video_grid
    tokens = (config.n_audio_tokens, config.n_video_tokens)
    seen = [visible_tokens(n, config.mask_ratio) for n in tokens]
    p, t = config.patch_size, config.tubelet_frames
    frames = "frames" if config.n_frames > 1 else "frame"
    layers = f"{config.modality_depth} layers,\n{config.width} wide"
    size = config.image_size
    joint = "layer" if config.joint_depth == 1 else "layers"
    return [
        (0, 1, f"log-mel\n{config.n_mels} × {config.audio_frames}", BLUE),
        (0, -1, f"{config.n_frames} {frames}\n{size} × {size}", ORANGE),
        (1, 1, f"{bands} × {columns}\npatches of\n{p} × {p};\n{seen[0]} visible", BLUE),
        (
            1, -1,
            f"{steps} × {rows} × {rows}\npatches of\n{t} × {p} × {p};\n{seen[1]} visible",
            ORANGE,
        ),
        (2, 1, f"audio encoder\n{layers}", BLUE),
        (2, -1, f"video encoder\n{layers}", ORANGE),
        (3, 0, f"joint encoder\n{config.joint_depth} {joint};\nthree passes", GREEN),
        (4, 1, f"contrastive\nloss of mean\ntokens,\nweight {config.contrastive_weight:g}", GREY),
        (4, -1, f"joint decoder\n{config.decoder_depth} layers,\n{config.decoder_width} wide",
         PURPLE),
        (5, -1, f"{tokens[0] - seen[0]} + {tokens[1] - seen[1]}\nhidden\npatches", GREY),
    ]  # fmt: skip


_ARROWS = ((0, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 6), (6, 7), (6, 8), (8, 9))


def social_mae_diagram(config: MaskedAutoencoderConfig, title: str = "") -> Figure:
    """Figure 7.1, drawn from the sizes of a model.

    Args:
        config: Its sizes.
        title: Of the figure.

    Source: thesis Figure 7.1.
    """
    boxes = social_mae_boxes(config)
    with style():
        figure, axis = plt.subplots(figsize=(7.4, 3.5))
        axis.set_axis_off()
        axis.set(xlim=(-0.5, 5.5), ylim=(-1.7, 1.7))
        axis.set_title(title, fontsize=11)
        for first, second in _ARROWS:
            (x0, y0, *_), (x1, y1, *_) = boxes[first], boxes[second]
            axis.annotate(
                "", (x1 - _WIDTH / 2 - 0.02, y1), (x0 + _WIDTH / 2 + 0.02, y0),
                arrowprops={"arrowstyle": "-|>", "color": GREY},
            )  # fmt: skip
        for x, y, text, colour in boxes:
            frame = FancyBboxPatch(
                (x - _WIDTH / 2, y - _HEIGHT / 2), _WIDTH, _HEIGHT,
                boxstyle="round,pad=0.02,rounding_size=0.06",
                facecolor="white", edgecolor=colour, linewidth=1.8,
            )  # fmt: skip
            axis.add_patch(frame)
            axis.text(x, y, text, ha="center", va="center", fontsize=_SMALL)
    return figure


# ------------------------------------------------------------------------------- reconstructions


def face_reconstructions(drawing: Drawing, outlines: NDArray | None = None) -> Figure:
    """One clip's frames: original, masked, reconstructed, copied, and where the error lies.

    Where a patch was visible, the rows of both methods show the original, as they had it, and
    the error is white. Of more than four frames, four are shown, spread evenly.

    Args:
        drawing: Colours in [0, 1].
        outlines: `(K, T, H, W)`, true inside each of K regions, whose borders are drawn over the
            error; none where they are not known.
    """
    n = min(len(drawing.original), _FRAMES)
    shown = np.arange(n) * len(drawing.original) // n
    original, hidden, drawn, copied = (values[shown] for values in drawing[:4])
    rows = {
        "original": original,
        "masked": np.where(hidden, 0.5, original),
        "reconstructed": np.where(hidden, drawn.clip(0, 1), original),
        "copied": np.where(hidden, copied.clip(0, 1), original),
    }
    error = np.where(hidden, (drawn - original) ** 2, np.nan).mean(axis=-1)
    highest = max(float(np.nanquantile(error, 0.99)), 1e-6)
    with style():
        figure, axes = plt.subplots(
            len(rows) + 1, n, figsize=(1.3 * max(n, 2) + 1.9, 1.34 * (len(rows) + 1)),
            squeeze=False,
        )  # fmt: skip
        for row, (title, pictures) in enumerate(rows.items()):
            for axis, picture in zip(axes[row], pictures, strict=True):
                axis.imshow(picture, vmin=0, vmax=1, interpolation="nearest")
            _name(axes[row, 0], title)
        for number, axis in enumerate(axes[-1]):
            image = axis.imshow(
                error[number], vmin=0, vmax=highest, cmap="viridis_r", interpolation="nearest"
            )
            for region in () if outlines is None else outlines[:, shown[number]]:
                if region.any() and not region.all():
                    axis.contour(region, levels=[0.5], colors="black", linewidths=0.8)
        _name(axes[-1, 0], "squared\nerror")
        for axis in axes.flat:
            _bare(axis)
        figure.colorbar(image, ax=axes[-1].tolist(), aspect=8, pad=0.01)
        figure.get_layout_engine().set(w_pad=0.1)  # type: ignore[union-attr,call-arg]
    return figure


def spectrogram_reconstruction(drawing: Drawing) -> Figure:
    """One clip's spectrogram: original, masked, reconstructed and copied, low bands below.

    Args:
        drawing: Log-mels `(T, M)`.
    """
    original, hidden = drawing.original, drawing.hidden
    panels = {
        "original": original,
        "masked": np.where(hidden, np.nan, original),
        "reconstructed": np.where(hidden, drawing.drawn, original),
        "copied": np.where(hidden, drawing.copied, original),
    }
    low, high = np.quantile(original, [0.01, 0.99])
    with style():
        figure, axes = plt.subplots(2, 2, figsize=(7.8, 4.2), sharex=True, sharey=True)
        for axis, (title, values) in zip(axes.flat, panels.items(), strict=True):
            axis.set_facecolor("#BBBBBB")
            image = axis.imshow(
                values.T, origin="lower", aspect="auto", vmin=low, vmax=high,
                cmap=plt.get_cmap(None, LEVELS // 2), interpolation="nearest",
                extent=(0, len(values) / 100, 0, values.shape[1]),
            )  # fmt: skip
            axis.set_title(title)
            axis.grid(False)
        for axis in axes[:, 0]:
            axis.set_ylabel("mel band")
        for axis in axes[1]:
            axis.set_xlabel("time (s)")
        figure.colorbar(image, ax=axes.ravel().tolist(), label="log-mel")
    return figure


def region_errors(frames: dict[str, pd.DataFrame], regions: Sequence[str]) -> Figure:
    """Mean squared error by region of the face, a bar a method.

    Args:
        frames: Title to a frame of kind *reconstruction*.
        regions: In order; those without a value are left empty.
    """
    with style():
        figure, axis = plt.subplots(figsize=(8.0, 3.4))
        width = 0.8 / max(1, len(frames))
        looks = ((BLUE, ""), (ORANGE, "///"), (GREEN, "..."), (PURPLE, "xx"))
        for number, ((title, frame), (colour, hatch)) in enumerate(
            zip(frames.items(), looks, strict=False)
        ):
            heights = region_means(frame).reindex(list(regions))
            places = np.arange(len(regions)) + (number - (len(frames) - 1) / 2) * width
            axis.bar(
                places, heights, width, color=colour, hatch=hatch, edgecolor="white", label=title
            )
        axis.set_xticks(range(len(regions)), list(regions))
        axis.set_ylabel("mean squared error")
        axis.grid(visible=False, axis="x")
        axis.legend()
    return figure


def region_means(frame: pd.DataFrame) -> pd.Series:
    """Mean squared error of hidden pictures by region, from a frame of kind *reconstruction*."""
    video = frame[frame["modality"] == "video"]
    sums = video.groupby("region")[["squared_error", "n"]].sum()
    return (sums["squared_error"] / sums["n"]).rename("mean squared error")


# -------------------------------------------------------------------------- what counts, and labels


def clip_maps(
    frames: NDArray, spectrogram: NDArray, maps: dict[str, tuple[NDArray, NDArray, float]]
) -> Figure:
    """A clip, and a value for each of its patches, by one or more methods.

    Args:
        frames: `(T, H, W, 3)` in [0, 1]; at most four are shown, each above its step of the maps.
        spectrogram: Log-mels `(T, M)`.
        maps: Title to values of the patches of the spectrogram `(F, C)` and of the frames
            `(T', H', W')`, and the value that is white: above it is orange, below purple.
    """
    n_steps = next(iter(maps.values()))[1].shape[0]
    steps = np.unique(np.linspace(0, n_steps - 1, min(4, n_steps)).round().astype(int))
    with style():
        figure = plt.figure(figsize=(2.6 + 1.35 * len(steps) + 1.2, 1.55 * (len(maps) + 1)))
        grid = figure.add_gridspec(
            len(maps) + 1, len(steps) + 1, width_ratios=[2.4] + [1.2] * len(steps)
        )
        axes = np.array(
            [[figure.add_subplot(grid[r, c]) for c in range(len(steps) + 1)]
             for r in range(len(maps) + 1)]
        )  # fmt: skip
        axes[0, 0].imshow(spectrogram.T, origin="lower", aspect="auto")
        for axis, step in zip(axes[0, 1:], steps, strict=True):
            axis.imshow(frames[step * len(frames) // n_steps])
        _name(axes[0, 0], "clip")
        for (title, (audio, video, centre)), row in zip(maps.items(), axes[1:], strict=True):
            reach = max(float(np.abs(v - centre).max()) for v in (audio, video)) or 1e-6
            look = {"cmap": "PuOr_r", "vmin": centre - reach, "vmax": centre + reach}
            row[0].imshow(audio, origin="lower", aspect="auto", **look)
            for axis, step in zip(row[1:], steps, strict=True):
                image = axis.imshow(video[step], **look)
            _name(row[0], title)
            figure.colorbar(image, ax=row.tolist(), aspect=8, pad=0.01)
        for axis in axes.flat:
            _bare(axis)
    return figure


def few_shot_curve(points: pd.DataFrame, names: dict[str, str], chance: float) -> Figure:
    """Macro F1 against the number of labelled people, a line a pre-training, a dot a seed.

    Args:
        points: Columns ``people``, ``pretraining``, ``macro_f1``, in order of people.
        names: Pre-training to its name in the legend, in order.
        chance: What guessing reaches.
    """
    order = list(dict.fromkeys(points["people"]))
    with style():
        figure, axis = plt.subplots(figsize=(6.6, 3.6))
        looks = zip((ORANGE, BLUE, GREEN), ("s", "o", "^"), ("--", "-", ":"), strict=True)
        for (pretraining, name), (colour, marker, line) in zip(names.items(), looks, strict=False):
            part = points[points["pretraining"] == pretraining]
            mean = part.groupby("people")["macro_f1"].mean().reindex(order)
            axis.plot(order, mean, line, color=colour, marker=marker, label=name)
            axis.plot(
                part["people"], part["macro_f1"], marker, color=colour, alpha=0.5, markersize=4
            )
        axis.axhline(chance, color=GREY, linestyle=":", linewidth=1)
        axis.text(len(order) - 1, chance, "chance", ha="right", va="bottom", fontsize=_SMALL)
        axis.set(xlabel="labelled people in training", ylabel="macro F1", ylim=(0, 1))
        axis.legend(loc="best")
    return figure


def _bare(axis: Axes) -> None:
    axis.set(xticks=[], yticks=[])
    axis.grid(False)
    axis.spines[:].set_visible(False)


def _name(axis: Axes, title: str) -> None:
    axis.set_ylabel(title, rotation=0, ha="right", va="center", fontsize=_SMALL)
