"""One frame and one spectrogram through a residual network each: the family of DCC.

As in the third of the First Impressions challenge, both networks start from random weights, look
at a single frame and at the sound, and one layer reads the two results.

Simplified: the authors' networks have 17 layers, that of the sound works on the raw waveform, and
they train for 900 epochs on random crops; here both are ResNet-18, the sound is a log-mel
spectrogram, and the frame is the middle one.

Source: gucluturk2016deep; Table 7.3.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from thesislib.baselines.inputs import PictureEncoder, check_inputs, check_outputs


class ResNetLogMel(nn.Module):
    """Two ResNet-18 and a linear layer.

    Args:
        n_outputs: Classes, or values to regress.
        channels: Of the first stage; ResNet-18 has 64.

    A modality that is None counts as zeros after its network.
    """

    def __init__(self, n_outputs: int, *, channels: int = 64) -> None:
        super().__init__()
        check_outputs(n_outputs)
        self.audio = PictureEncoder(channels, colours=1)
        self.video = PictureEncoder(channels)
        self.head = nn.Linear(self.audio.out + self.video.out, n_outputs)

    def forward(self, audio: Tensor | None, video: Tensor | None) -> Tensor:
        """`(B, T, 128)` and `(B, F, 3, H, W)`, or None, to outputs `(B, n_outputs)`."""
        batch, like = check_inputs(audio, video), self.head.weight
        voice = face = like.new_zeros(batch, self.audio.out)
        if audio is not None:
            voice = self.audio(audio.transpose(1, 2).unsqueeze(1))
        if video is not None:
            face = self.video(video[:, video.shape[1] // 2])
        return self.head(torch.cat([voice, face], dim=1))
