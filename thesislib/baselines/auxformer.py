"""Two transformer branches that attend to each other, and help of one head each: AuxFormer.

The main network lets the sound query the frames and the frames the sound, and reads both results.
Two auxiliary networks, a transformer on each modality, have heads of their own, whose losses keep
either branch useful when the other is missing.

Simplified: the authors feed openSMILE's low-level descriptors and VGG-face features, here log-mel
and a ResNet-18 trained with the rest; the auxiliary networks share their embedding with the main
one; the weights of the losses are ours.

Source: goncalves2022auxformer; Table 7.2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from thesislib.baselines.inputs import AudioTokens, FrameTokens, check_inputs, check_outputs
from thesislib.models.transformer import Block

HEAD_WEIGHTS = {"both": 1.0, "audio": 0.5, "video": 0.5}
"""Of the losses of the three heads."""


class AuxFormer(nn.Module):
    """A cross-modal transformer with a unimodal auxiliary network on either side.

    Args:
        n_outputs: Classes, or values to regress.
        width: Features of a token.
        n_heads: Attention heads.
        depth: Layers of each auxiliary network.
        channels: Of the first stage of the frames' ResNet-18.
    """

    def __init__(
        self,
        n_outputs: int,
        *,
        width: int = 256,
        n_heads: int = 4,
        depth: int = 2,
        channels: int = 64,
    ) -> None:
        super().__init__()
        check_outputs(n_outputs)
        self.audio, self.video = AudioTokens(width), FrameTokens(width, channels)
        self.audio_blocks = nn.Sequential(*(Block(width, n_heads) for _ in range(depth)))
        self.video_blocks = nn.Sequential(*(Block(width, n_heads) for _ in range(depth)))
        self.audio_norm, self.video_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.audio_asks = nn.MultiheadAttention(width, n_heads, batch_first=True)
        self.video_asks = nn.MultiheadAttention(width, n_heads, batch_first=True)
        self.norm = nn.LayerNorm(2 * width)
        self.both_head = nn.Linear(2 * width, n_outputs)
        self.audio_head = nn.Linear(width, n_outputs)
        self.video_head = nn.Linear(width, n_outputs)

    def forward(
        self, audio: Tensor | None, video: Tensor | None, *, heads: bool = False
    ) -> Tensor | dict[str, Tensor]:
        """Outputs `(B, n_outputs)`: of the main head, or of an auxiliary one with one modality.

        Args:
            audio: `(B, T, 128)`, or None.
            video: `(B, F, 3, H, W)`, or None.
            heads: Return the outputs of all heads that have their input, by name.
        """
        check_inputs(audio, video)
        found = {}
        if audio is not None:
            voice = self.audio(audio)
            found["audio"] = self.audio_head(self.audio_blocks(voice).mean(dim=1))
        if video is not None:
            face = self.video(video)
            found["video"] = self.video_head(self.video_blocks(face).mean(dim=1))
        if audio is not None and video is not None:
            voice_in, face_in = self.audio_norm(voice), self.video_norm(face)
            heard = voice + self.audio_asks(voice_in, face_in, face_in, need_weights=False)[0]
            seen = face + self.video_asks(face_in, voice_in, voice_in, need_weights=False)[0]
            pooled = torch.cat([heard.mean(dim=1), seen.mean(dim=1)], dim=1)
            found["both"] = self.both_head(self.norm(pooled))
        return found if heads else found.get("both", next(iter(found.values())))
