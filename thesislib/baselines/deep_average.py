"""Linear regression on log-mel, deep features averaged over frames, scores averaged: NJU-LAMDA.

The winners of the First Impressions challenge describe a frame by the average and the maximum of
its last convolutional maps, both brought to unit length, regress from that, and average over
frames; the sound is a linear regression on the spectrogram; the answer is the mean of both.

Simplified: the network starts from random weights and is a ResNet-18, where the authors have a
VGG-face and concatenate two layers; frames are eight, not 100; the spectrogram is averaged to 64
columns before the regression, so that clips of any length fit.

Source: zhang2016bimodal; Table 7.3.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from thesislib.baselines.inputs import N_MELS, PictureEncoder, check_inputs, check_outputs

COLUMNS = 64


class DeepAverage(nn.Module):
    """Late fusion of a linear model of the sound and a descriptor-aggregating network.

    Args:
        n_outputs: Classes, or values to regress.
        channels: Of the first stage of ResNet-18.

    With one modality that one answers alone.
    """

    def __init__(self, n_outputs: int, *, channels: int = 64) -> None:
        super().__init__()
        check_outputs(n_outputs)
        self.audio = nn.Linear(COLUMNS * N_MELS, n_outputs)
        self.cnn = PictureEncoder(channels, pool=False)
        self.video = nn.Linear(2 * self.cnn.out, n_outputs)

    def forward(self, audio: Tensor | None, video: Tensor | None) -> Tensor:
        """`(B, T, 128)` and `(B, F, 3, H, W)`, or None, to outputs `(B, n_outputs)`."""
        batch = check_inputs(audio, video)
        answers = []
        if audio is not None:
            columns = functional.adaptive_avg_pool1d(audio.transpose(1, 2), COLUMNS)
            answers.append(self.audio(columns.flatten(1)))
        if video is not None:
            maps = self.cnn(video.flatten(0, 1)).flatten(2)
            halves = [functional.normalize(x, dim=1) for x in (maps.mean(dim=2), maps.amax(dim=2))]
            scores = self.video(torch.cat(halves, dim=1))
            answers.append(scores.unflatten(0, (batch, video.shape[1])).mean(dim=1))
        return torch.stack(answers).mean(dim=0)
