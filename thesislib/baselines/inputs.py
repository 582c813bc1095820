"""What the baselines share: the check of their inputs, their front ends, their loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from thesislib.errors import InputError
from thesislib.learning.datasets import Batch
from thesislib.learning.losses import classification_loss, regression_loss
from thesislib.learning.training import Loss
from thesislib.models.ms_tcn import resnet18
from thesislib.models.transformer import sine_cosine_positions
from thesislib.signals.audio_visual import modalities

N_MELS = 128


def check_inputs(audio: Tensor | None, video: Tensor | None) -> int:
    """How many clips a batch has.

    Args:
        audio: Log-mel spectrograms `(B, T, 128)`, or None.
        video: RGB frames `(B, F, 3, H, W)`, or None.

    Raises:
        InputError: Both are None, a shape does not fit, or they are not of the same clips.
    """
    if audio is None and video is None:
        raise InputError("audio, video", "are both None", "give one of them")
    if audio is not None and (audio.ndim != 3 or audio.shape[2] != N_MELS or not audio.numel()):
        problem = f"shape {tuple(audio.shape)} is not (B, T, {N_MELS})"
        raise InputError("audio", problem, "give log-mel spectrograms")
    if video is not None and (video.ndim != 5 or video.shape[2] != 3 or not video.numel()):
        problem = f"shape {tuple(video.shape)} is not (B, F, 3, H, W)"
        mend = "give RGB frames, as transpose(1, 2) makes them of those for the masked autoencoder"
        raise InputError("video", problem, mend)
    if audio is not None and video is not None and len(audio) != len(video):
        problem = f"{len(audio)} and {len(video)} clips"
        raise InputError("audio, video", problem, "give both of each clip")
    given = audio if audio is not None else video
    assert given is not None
    return len(given)


def check_outputs(n_outputs: int) -> None:
    """Refuse a model without outputs with an InputError."""
    if n_outputs < 1:
        raise InputError("n_outputs", f"{n_outputs} is no size", "use a whole number >= 1")


def loss_of(
    task: Literal["classification", "regression"],
    *,
    mode: str = "both",
    head_weights: Mapping[str, float] | None = None,
) -> Loss:
    """The loss that `fit` minimises: of a model's output, or of all its heads.

    Args:
        task: ``classification`` (``target`` `(B,)`, whole numbers) or ``regression`` (`(B, K)`).
        mode: A key of `thesislib.signals.audio_visual.MODALITIES`: what the model is given.
        head_weights: A model's ``HEAD_WEIGHTS``, where it learns from more than one head and has
            both modalities to learn from.

    Raises:
        InputError: The task or the mode is unknown. The loss itself refuses targets outside their
            range.
    """
    losses: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "classification": classification_loss,
        "regression": regression_loss,
    }
    if task not in losses:
        raise InputError("task", f"{task!r} is unknown", f"use {' or '.join(losses)}")
    score, given = losses[task], modalities(mode)

    def loss(model: nn.Module, batch: Batch, _: torch.Generator) -> dict[str, Tensor]:
        audio = batch["audio"] if "audio" in given else None
        video = batch["video"] if "video" in given else None
        if head_weights is None or len(given) == 1:
            return {"loss": score(model(audio, video), batch["target"])}
        heads = model(audio, video, heads=True)
        found = {name: score(heads[name], batch["target"]) for name in head_weights}
        total = torch.stack([weight * found[name] for name, weight in head_weights.items()]).sum()
        return {"loss": total} | {f"{name}_loss": value for name, value in found.items()}

    return loss


def cepstra(log_mel: Tensor, n_mfcc: int = 20) -> Tensor:
    """MFCC `(…, T, n_mfcc)` of log-mel spectrograms `(…, T, M)`: their orthonormal DCT-II.

    Of a standardised spectrogram they are those of the plain one but for scale, and level in the
    first: the cosines of higher order sum to zero.
    """
    n_mels = log_mel.shape[-1]
    band = torch.arange(n_mels, dtype=torch.float64) + 0.5
    order = torch.arange(n_mfcc, dtype=torch.float64)
    dct = math.sqrt(2 / n_mels) * torch.cos(math.pi / n_mels * band[:, None] * order)
    dct[:, 0] = math.sqrt(1 / n_mels)
    return log_mel @ dct.to(log_mel)


class PictureEncoder(nn.Module):
    """A ResNet-18 with random weights: pictures `(B, C, H, W)` to vectors `(B, 8 * width)`.

    Args:
        width: Channels of the first stage; ResNet-18 has 64.
        colours: C: 3 for frames, 1 for a spectrogram.
        pool: Average over the picture; else maps `(B, 8 * width, H / 32, W / 32)` are returned.

    Source: he2016resnet.
    """

    def __init__(self, width: int = 64, *, colours: int = 3, pool: bool = True) -> None:
        super().__init__()
        self.pool, self.out = pool, 8 * width
        self.stem = nn.Sequential(
            nn.Conv2d(colours, width, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        self.resnet = resnet18(width, "relu", dimensions=2)

    def forward(self, pictures: Tensor) -> Tensor:
        """Vectors, or maps."""
        maps = self.resnet(self.stem(pictures.contiguous(memory_format=torch.channels_last)))
        return maps.mean(dim=(2, 3)) if self.pool else maps


class FrameTokens(nn.Module):
    """Frames `(B, F, 3, H, W)` to one token each, `(B, F, width)`, with their positions."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.cnn = PictureEncoder(channels)
        self.project = nn.Linear(self.cnn.out, width)

    def forward(self, frames: Tensor) -> Tensor:
        """Tokens in order of time."""
        tokens = self.project(self.cnn(frames.flatten(0, 1))).unflatten(0, frames.shape[:2])
        return tokens + _positions(tokens)


class AudioTokens(nn.Module):
    """Log-mel `(B, T, 128)` to one token for 160 ms, `(B, T // 16, width)`, with positions."""

    STEP = 16

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(N_MELS, width, self.STEP, stride=self.STEP)

    def forward(self, log_mel: Tensor) -> Tensor:
        """Tokens in order of time.

        Raises:
            InputError: The spectrogram is shorter than a token.
        """
        if log_mel.shape[1] < self.STEP:
            problem = f"has {log_mel.shape[1]} columns, fewer than the {self.STEP} of a token"
            raise InputError("audio", problem, "give longer clips")
        tokens = self.conv(log_mel.transpose(1, 2)).transpose(1, 2)
        return tokens + _positions(tokens)


def _positions(tokens: Tensor) -> Tensor:
    return sine_cosine_positions(tokens.shape[2], (tokens.shape[1],)).to(tokens)
