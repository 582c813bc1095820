"""Figures of chapter 7: the model as a diagram of its sizes, reconstructions, where errors lie.

They read sizes, arrays and predictions, never a model.
"""

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

from thesislib.figures.style import BLUE, GREEN, GREY, ORANGE, PURPLE, style
from thesislib.models.transformer import visible_tokens

if TYPE_CHECKING:
    from thesislib.models.masked_autoencoder import MaskedAutoencoderConfig

Box = tuple[float, float, str, str]
"""Centre, text, colour."""
_WIDTH, _HEIGHT = 2.1, 0.82


def social_mae_boxes(config: MaskedAutoencoderConfig) -> list[Box]:
    """The boxes of the model's diagram, with the numbers that its sizes imply."""
    bands, columns = config.audio_grid
    steps, rows, _ = config.video_grid
    tokens = (config.n_audio_tokens, config.n_video_tokens)
    seen = [visible_tokens(n, config.mask_ratio) for n in tokens]
    p, t = config.patch_size, config.tubelet_frames
    frames = "frames" if config.n_frames > 1 else "frame"
    return [
        (0, 1, f"log-mel\n{config.n_mels} x {config.audio_frames}", BLUE),
        (0, -1, f"{config.n_frames} {frames}\n{config.image_size} x {config.image_size}", ORANGE),
        (1, 1, f"{bands} x {columns} patches\nof {p} x {p}", BLUE),
        (1, -1, f"{steps} x {rows} x {rows} patches\nof {t} x {p} x {p}", ORANGE),
        (2, 1, f"{seen[0]} of {config.n_audio_tokens}\nstay visible", BLUE),
        (2, -1, f"{seen[1]} of {config.n_video_tokens}\nstay visible", ORANGE),
        (3, 1, f"audio encoder\n{config.modality_depth} layers of {config.width}", BLUE),
        (3, -1, f"video encoder\n{config.modality_depth} layers of {config.width}", ORANGE),
        (4, 0, f"joint encoder\n{config.joint_depth} x {config.width}, three passes", GREEN),
        (5, 1, f"contrastive loss\nweight {config.contrastive_weight:g}", GREY),
        (5, -1, f"joint decoder\n{config.decoder_depth} layers of {config.decoder_width}", PURPLE),
        (6, -1, "hidden patches\nof both", GREY),
    ]


_ARROWS = (
    (0, 2),
    (1, 3),
    (2, 4),
    (3, 5),
    (4, 6),
    (5, 7),
    (6, 8),
    (7, 8),
    (8, 9),
    (8, 10),
    (10, 11),
)


def social_mae_diagram(config: MaskedAutoencoderConfig, title: str = "") -> Figure:
    """Figure 7.1, drawn from the sizes of a model.

    Args:
        config: Its sizes.
        title: Of the figure.

    Source: thesis Figure 7.1.
    """
    boxes = social_mae_boxes(config)
    with style():
        figure, axis = plt.subplots(figsize=(11.5, 3.1))
        axis.set_axis_off()
        axis.set(xlim=(-0.6, 6.6), ylim=(-1.7, 1.7), title=title)
        for first, second in _ARROWS:
            (x0, y0, *_), (x1, y1, *_) = boxes[first], boxes[second]
            axis.annotate(
                "", (x1 - 0.42, y1), (x0 + 0.42, y0), arrowprops={"arrowstyle": "->", "color": GREY}
            )
        for x, y, text, colour in boxes:
            frame = FancyBboxPatch(
                (x - 0.4, y - _HEIGHT / 2), 0.8, _HEIGHT, boxstyle="round,pad=0.03",
                facecolor="white", edgecolor=colour, linewidth=1.6,
            )  # fmt: skip
            axis.add_patch(frame)
            axis.text(x, y, text, ha="center", va="center", fontsize=7.5)
    return figure


def masked_picture(picture: NDArray, hidden: NDArray) -> NDArray:
    """A picture with its hidden parts in grey.

    Args:
        picture: `(H, W, 3)` in [0, 1], or `(H, W)`.
        hidden: True where it was hidden, of the same shape.
    """
    grey = 0.5 if picture.ndim == 3 else np.nan
    return np.where(hidden > 0, grey, picture)


def face_reconstructions(
    original: NDArray, hidden: NDArray, drawn: NDArray, copied: NDArray | None = None
) -> Figure:
    """One clip's frames: original, masked, reconstructed, and where the error lies.

    Args:
        original: `(T, H, W, 3)` in [0, 1].
        hidden: Likewise, true where it was hidden.
        drawn: What the model draws of every patch.
        copied: What the control draws; no row for it where it is None.

    Where a patch was visible, the third row shows the original, as the model had it.
    """
    seen = [
        ("original", original),
        ("masked", masked_picture(original, hidden)),
        ("reconstructed", np.where(hidden > 0, drawn.clip(0, 1), original)),
    ]
    if copied is not None:
        seen.append(("copied", np.where(hidden > 0, copied.clip(0, 1), original)))
    error = np.where(hidden > 0, (drawn - original) ** 2, 0.0).mean(axis=-1)
    n = len(original)
    with style():
        figure, axes = plt.subplots(
            len(seen) + 1, n, figsize=(1.15 * max(n, 3) + 0.9, 1.2 * (len(seen) + 1)), squeeze=False
        )
        for row, (title, pictures) in enumerate(seen):
            for axis, picture in zip(axes[row], pictures, strict=True):
                axis.imshow(picture)
            _name(axes[row, 0], title)
        for axis, values in zip(axes[-1], error, strict=True):
            image = axis.imshow(values, vmin=0, vmax=max(float(error.max()), 1e-6), cmap="magma")
        _name(axes[-1, 0], "squared error")
        for axis in axes.flat:
            axis.set(xticks=[], yticks=[])
            axis.grid(False)
            axis.spines[:].set_visible(False)
        figure.colorbar(image, ax=axes[-1], shrink=0.8)
    return figure


def spectrogram_reconstruction(original: NDArray, hidden: NDArray, drawn: NDArray) -> Figure:
    """One clip's spectrogram: original, masked and reconstructed, low bands at the bottom.

    Args:
        original: `(T, M)`.
        hidden: True where it was hidden.
        drawn: What the model draws.
    """
    panels = {
        "original": original,
        "masked": masked_picture(original, hidden),
        "reconstructed": np.where(hidden > 0, drawn, original),
    }
    low, high = np.quantile(original, [0.01, 0.99])
    with style():
        figure, axes = plt.subplots(1, 3, figsize=(9.6, 2.6), sharey=True)
        for axis, (title, values) in zip(axes, panels.items(), strict=True):
            axis.imshow(values.T, origin="lower", aspect="auto", vmin=low, vmax=high)
            axis.set(title=title, xlabel="time (10 ms)")
            axis.grid(False)
        axes[0].set_ylabel("mel band")
    return figure


def region_errors(frames: dict[str, pd.DataFrame], regions: Sequence[str]) -> Figure:
    """Mean squared error by region of the face, a bar a method.

    Args:
        frames: Title to a frame of kind *reconstruction*.
        regions: In order; those without a value are left empty.
    """
    with style():
        figure, axis = plt.subplots(figsize=(7.2, 3.2))
        width = 0.8 / max(1, len(frames))
        colours = (BLUE, ORANGE, GREEN, PURPLE)
        for number, ((title, frame), colour) in enumerate(
            zip(frames.items(), colours, strict=False)
        ):
            sums = (
                frame[frame["modality"] == "video"].groupby("region")[["squared_error", "n"]].sum()
            )
            heights = (sums["squared_error"] / sums["n"]).reindex(list(regions))
            places = np.arange(len(regions)) + (number - (len(frames) - 1) / 2) * width
            axis.bar(places, heights, width, color=colour, label=title)
        axis.set_xticks(range(len(regions)), list(regions))
        axis.set_ylabel("mean squared error")
        axis.legend()
    return figure


def _name(axis: Axes, title: str) -> None:
    axis.set_ylabel(title, rotation=0, ha="right", va="center", fontsize=9)
