"""How well hidden patches are drawn: a pre-trained model on a corpus that it never saw.

Beside the model stands a control without any parameter, which copies the nearest patch that is
visible: the same place at the nearest time if there is one. Eight frames are redundant in time,
so that part of their lead over one frame is to be had for nothing.

Source: thesis section 7.5, Table 7.1 and Figure 7.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from thesislib.corpora.clip import Clip
from thesislib.learning.datasets import seeded
from thesislib.learning.social_mae_data import Windows
from thesislib.learning.social_mae_inputs import inputs
from thesislib.models.masked_autoencoder import (
    MaskedAutoencoder,
    Pictures,
    patchify_audio,
    patchify_video,
    unpatchify_audio,
    unpatchify_video,
)
from thesislib.signals.audio_visual import FrontEnd

METHODS = ("mae", "copy")
_BATCH = 16
_PLACE = 1000  # a patch of the same place, at whatever time, is nearer than one of another place


class Drawn(NamedTuple):
    """Some clips and what was drawn of them, in the units of the model.

    Attributes:
        audio: True spectrograms `(B, T, M)`.
        video: True frames `(B, 3, T, H, W)`.
        mae: What the model draws, and what was hidden from it.
        copy: What copying draws.
    """

    audio: Tensor
    video: Tensor
    mae: Pictures
    copy: Pictures


def choose_rows(n_windows: int, most: int) -> Tensor:
    """At most so many rows of `n_windows`, spread evenly.

    >>> choose_rows(10, 4).tolist()
    [0, 2, 5, 7]
    """
    n = min(n_windows, most)
    return torch.arange(n) * n_windows // n


@torch.no_grad()
def draw(
    model: MaskedAutoencoder, batch: Mapping[str, Tensor], generator: torch.Generator
) -> Drawn:
    """Hide patches of a batch of inputs, and draw them.

    Args:
        model: Pre-trained.
        batch: From the front end.
        generator: Draws the masks.
    """
    audio, video = inputs(batch, model.config)
    output = model(audio, video, generator=generator, contrast=False)
    pictures = model.pictures(output, audio, video)
    return Drawn(audio, video, pictures, copied(model, audio, video, pictures))


def copied(model: MaskedAutoencoder, audio: Tensor, video: Tensor, pictures: Pictures) -> Pictures:
    """The control: every hidden patch as its nearest visible one; the masks are the model's."""
    config = model.config
    p = config.patch_size
    hidden_audio = patchify_audio(pictures.audio_hidden.float(), p)[..., 0] > 0
    hidden_video = (
        patchify_video(pictures.video_hidden.float(), p, config.tubelet_frames)[..., 0] > 0
    )
    audio_patches = patchify_audio(audio, p)
    video_patches = patchify_video(video, p, config.tubelet_frames)
    bands, columns = config.audio_grid
    audio_near = nearest_visible(hidden_audio, (bands, 1, columns), time_axis=2)
    video_near = nearest_visible(hidden_video, config.video_grid, time_axis=0)
    return Pictures(
        unpatchify_audio(_take(audio_patches, audio_near), config),
        unpatchify_video(_take(video_patches, video_near), config),
        pictures.audio_hidden,
        pictures.video_hidden,
    )


def nearest_visible(hidden: Tensor, grid: tuple[int, int, int], *, time_axis: int) -> Tensor:
    """Which visible patch is nearest to each patch, `(B, N)`; a visible one is its own.

    The same place at the nearest time comes first, then the nearest place.

    Args:
        hidden: `(B, N)`, at least one visible a row.
        grid: Patches along three axes, the last one running fastest.
        time_axis: Which of them is time.

    >>> hidden = torch.tensor([[True, False, True, True]])  # two times, two places
    >>> nearest_visible(hidden, (2, 1, 2), time_axis=0).tolist()
    [[1, 1, 1, 1]]
    """
    axes = torch.meshgrid(*(torch.arange(n) for n in grid), indexing="ij")
    weights = [1 if axis == time_axis else _PLACE for axis in range(3)]
    distance = sum(
        weight * (axis.flatten()[:, None] - axis.flatten()).abs()
        for axis, weight in zip(axes, weights, strict=True)
    )
    assert isinstance(distance, Tensor)
    far = int(distance.max()) + 1
    return (distance[None] + far * hidden[:, None, :]).argmin(dim=2)


def _take(patches: Tensor, rows: Tensor) -> Tensor:
    return patches.gather(1, rows[..., None].expand(-1, -1, patches.shape[2]))


def reconstruct(
    model: MaskedAutoencoder,
    windows: Windows,
    rows: Tensor,
    front: FrontEnd,
    *,
    seed: int,
    regions: Tensor | None = None,
    names: Sequence[str] = (),
) -> dict[str, pd.DataFrame]:
    """Squared errors of the hidden values of some windows, by clip, modality and region.

    Args:
        model: Pre-trained.
        windows: Of any corpus.
        rows: Which of them.
        front: Makes the inputs, with fixed frames.
        seed: Of the masks, which are alike for models of the same sizes.
        regions: `(n, T, H, W)` uint8 of these rows, or None where they are not known.
        names: Of the regions.

    Returns:
        By method, frames of kind *reconstruction*; region ``all`` is the whole picture.
    """
    tensors, found = windows.tensors(), {name: _Rows() for name in METHODS}
    model.eval()
    for number, part in enumerate(rows.split(_BATCH)):
        batch = front({name: values[part] for name, values in tensors.items()})
        drawn = draw(model, batch, seeded(seed, number, 73))
        clips = [windows.clips[row] for row in part.tolist()]
        area = None if regions is None else regions[number * _BATCH : number * _BATCH + len(part)]
        for method, pictures in (("mae", drawn.mae), ("copy", drawn.copy)):
            hidden = pictures.audio_hidden.bool()
            found[method].add(clips, "audio", "all", (pictures.audio - drawn.audio) ** 2, hidden)
            if windows.frames is None:
                continue
            error, hidden = (pictures.video - drawn.video) ** 2, pictures.video_hidden.bool()
            found[method].add(clips, "video", "all", error, hidden)
            if area is not None:
                for index, name in enumerate(names):
                    inside = (area == index)[:, None].expand_as(hidden)
                    found[method].add(clips, "video", name, error, hidden & inside)
    return {name: rows.frame() for name, rows in found.items()}


class _Rows:
    """Rows of a frame of kind *reconstruction* as they come."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str, str, float, int]] = []

    def add(
        self, clips: Sequence[Clip], modality: str, region: str, error: Tensor, counted: Tensor
    ) -> None:
        """The errors `(B, …)` of B clips where they count; clips without any are left out."""
        n = counted.flatten(1).sum(dim=1)
        # The sum of a hundred thousand squares wants more digits than float32 has.
        total = (error.double() * counted).flatten(1).sum(dim=1)
        for clip, value, count in zip(clips, total.tolist(), n.tolist(), strict=True):
            if count:
                self.rows.append((clip.clip_id, clip.speaker, modality, region, value, count))

    def frame(self) -> pd.DataFrame:
        columns = ["clip_id", "speaker", "modality", "region", "squared_error", "n"]
        frame = pd.DataFrame(self.rows, columns=columns)
        return frame.astype({"squared_error": np.float64, "n": np.int64})


def original_colours(video: Tensor, front: FrontEnd) -> Tensor:
    """Standardised frames `(…, 3, T, H, W)` back to red, green and blue in [0, 1]."""
    preset = front.preset
    mean = torch.tensor(preset.frame_mean).view(3, 1, 1, 1)
    std = torch.tensor(preset.frame_std).view(3, 1, 1, 1)
    return (video * std + mean).clamp(0, 1)
