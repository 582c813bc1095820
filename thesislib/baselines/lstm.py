"""An LSTM over parts of a clip: MFCC of each part and one of its frames, as evolgen has it.

A clip is cut into as many parts as there are frames. Each part gives the means and deviations of
its MFCC and the features of its frame; an LSTM reads the parts in order, a layer makes an output
of each step, and the mean over steps is the answer.

Simplified: the authors' handcrafted audio features (pyAudioAnalysis) are 68 a part, their network
for frames has a few convolutions, and its output passes a sigmoid.

Source: subramaniam2016impressions; Table 7.3.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from thesislib.baselines.functionals import N_MFCC
from thesislib.baselines.inputs import PictureEncoder, cepstra, check_inputs, check_outputs
from thesislib.errors import InputError


class SequenceLstm(nn.Module):
    """MFCC and frames, part by part, through an LSTM.

    Args:
        n_outputs: Classes, or values to regress.
        channels: Of the first stage of the frames' ResNet-18.
        width: Features of either modality, and of the LSTM.
        parts: Of a clip where there are no frames to count.

    A modality that is None counts as zeros.
    """

    def __init__(
        self, n_outputs: int, *, channels: int = 64, width: int = 128, parts: int = 8
    ) -> None:
        super().__init__()
        check_outputs(n_outputs)
        self.parts, self.width = parts, width
        self.audio = nn.Linear(2 * N_MFCC, width)
        self.cnn = PictureEncoder(channels)
        self.video = nn.Linear(self.cnn.out, width)
        self.lstm = nn.LSTM(2 * width, width, batch_first=True)
        self.head = nn.Linear(width, n_outputs)

    def forward(self, audio: Tensor | None, video: Tensor | None) -> Tensor:
        """`(B, T, 128)` and `(B, F, 3, H, W)`, or None, to outputs `(B, n_outputs)`.

        Raises:
            InputError: The spectrogram has fewer than two columns a part, or as `check_inputs`.
        """
        batch, like = check_inputs(audio, video), self.head.weight
        parts = self.parts if video is None else video.shape[1]
        voice = face = like.new_zeros(batch, parts, self.width)
        if audio is not None:
            length = audio.shape[1] // parts
            if length < 2:
                problem = f"has {audio.shape[1]} columns for {parts} parts"
                raise InputError("audio", problem, "give longer clips")
            mfcc = cepstra(audio[:, : parts * length], N_MFCC).unflatten(1, (parts, length))
            moments = [mfcc.mean(dim=2), mfcc.std(dim=2, correction=0)]
            voice = self.audio(torch.cat(moments, dim=2)).relu()
        if video is not None:
            face = self.video(self.cnn(video.flatten(0, 1))).relu().unflatten(0, (batch, parts))
        steps, _ = self.lstm(torch.cat([voice, face], dim=2))
        return self.head(steps).mean(dim=1)
