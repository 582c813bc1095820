"""Where the video model looks and what the audio model hears: what hiding a part costs.

Source: issue of chapter 6; occlusion after Zeiler and Fergus 2014, "Visualizing and understanding
convolutional networks".
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.manifold import TSNE
from torch import Tensor

from thesislib.learning.laugh_data import CLASS_OF, Windows, targets
from thesislib.learning.laugh_training import logits_of
from thesislib.models.ms_tcn import MsTcn
from thesislib.signals.audio import SAMPLE_RATE

GRID = 6
"""The picture is hidden in 6 x 6 squares, one at a time, in all frames of a window."""
BANDS_HZ = ((0, 300), (300, 800), (800, 1500), (1500, 3000), (3000, 5000), (5000, 8000))
"""Bands that are taken out of the voice, one at a time."""


def tsne_map(embeddings: NDArray, *, seed: int) -> NDArray[np.float64]:
    """Two dimensions `(N, 2)` for embeddings `(N, D)`, by t-SNE from their principal components.

    Raises:
        ValueError: fewer than four embeddings.

    Source: van der Maaten and Hinton 2008, "Visualizing data using t-SNE".
    """
    if len(embeddings) < 4:
        raise ValueError(f"a map needs four points or more, not {len(embeddings)}")
    perplexity = min(30.0, (len(embeddings) - 1) / 3)
    made = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(embeddings)
    return np.asarray(made, np.float64)


def embedding_frame(
    windows: Windows, rows: list[int], embeddings: Tensor, *, seed: int
) -> pd.DataFrame:
    """Embeddings `(n, D)` of some windows with their place on a map."""
    frame = _labels(windows, rows)
    places = tsne_map(embeddings.double().numpy(), seed=seed)
    columns = {f"map_{axis}": places[:, axis] for axis in (0, 1)}
    columns |= {f"z_{number}": column.numpy() for number, column in enumerate(embeddings.T)}
    return pd.concat([frame, pd.DataFrame(columns)], axis=1)


@torch.no_grad()
def occlusion_drops(branch: MsTcn, windows: Windows, rows: list[int]) -> pd.DataFrame:
    """What hiding each square of the mouth region costs the probability of the right class.

    A square takes the mean colour of its window. Squares are numbered row by row.
    """
    frames = windows.frames[rows]
    side = frames.shape[2]
    mean = frames.float().mean(dim=(1, 2, 3), keepdim=True).round().byte()
    edges = torch.linspace(0, side, GRID + 1).round().int().tolist()

    def hidden(place: int) -> Tensor:
        row, column = divmod(place, GRID)
        changed = frames.clone()
        square = slice(edges[row], edges[row + 1]), slice(edges[column], edges[column + 1])
        changed[:, :, square[0], square[1]] = mean
        return changed

    return _drops(branch, windows, rows, frames, [hidden(place) for place in range(GRID**2)])


@torch.no_grad()
def band_drops(branch: MsTcn, windows: Windows, rows: list[int]) -> pd.DataFrame:
    """What taking each band of `BANDS_HZ` out of the voice costs the probability of the class."""
    waveform = windows.waveform[rows]
    spectrum = torch.fft.rfft(waveform)
    hz = torch.fft.rfftfreq(waveform.shape[1], 1 / SAMPLE_RATE)
    changed = [
        torch.fft.irfft(spectrum * ~((hz >= low) & (hz < high)), n=waveform.shape[1])
        for low, high in BANDS_HZ
    ]
    return _drops(branch, windows, rows, waveform, changed)


def _drops(
    branch: MsTcn, windows: Windows, rows: list[int], whole: Tensor, changed: list[Tensor]
) -> pd.DataFrame:
    target = targets([windows.clips[row] for row in rows])[:, None]

    def right(stored: Tensor) -> Tensor:
        return logits_of(branch, stored).softmax(dim=1).gather(1, target)[:, 0]

    before = right(whole)
    columns = {
        f"drop_{number}": (before - right(stored)).double().numpy()
        for number, stored in enumerate(changed)
    }
    return pd.concat([_labels(windows, rows), pd.DataFrame(columns)], axis=1)


def _labels(windows: Windows, rows: list[int]) -> pd.DataFrame:
    clips = [windows.clips[row] for row in rows]
    return pd.DataFrame(
        {
            "clip_id": [clip.clip_id for clip in clips],
            "speaker": [clip.speaker for clip in clips],
            "sex": [clip.sex for clip in clips],
            "target": [CLASS_OF[clip.labels["expression"]] for clip in clips],
            "intensity": [clip.labels["intensity"] for clip in clips],
        }
    )
