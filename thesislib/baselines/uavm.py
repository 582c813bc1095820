"""One transformer and one head for whichever modality comes: UAVM.

Each modality has features and transformer layers of its own; further layers and the classifier are
the same for both, and see one modality at a time. A clip with both gets the mean of both answers.

Simplified: the authors take frozen ConvNeXt features, pre-trained on each modality; here a
ResNet-18 and a convolution over the spectrogram are trained with the rest.

Source: gong2022uavm; Table 7.2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from thesislib.baselines.inputs import AudioTokens, FrameTokens, check_inputs, check_outputs
from thesislib.models.transformer import Block

HEAD_WEIGHTS = {"audio": 0.5, "video": 0.5}
"""Of the losses of the two passes, which share the head."""


class Uavm(nn.Module):
    """Layers for each modality, then layers and a head for either.

    Args:
        n_outputs: Classes, or values to regress.
        width: Features of a token.
        n_heads: Attention heads.
        depth: Layers of each modality.
        shared_depth: Layers that both go through, one at a time.
        channels: Of the first stage of the frames' ResNet-18.
    """

    def __init__(
        self,
        n_outputs: int,
        *,
        width: int = 256,
        n_heads: int = 4,
        depth: int = 3,
        shared_depth: int = 3,
        channels: int = 64,
    ) -> None:
        super().__init__()
        check_outputs(n_outputs)
        self.audio, self.video = AudioTokens(width), FrameTokens(width, channels)
        self.audio_blocks = nn.Sequential(*(Block(width, n_heads) for _ in range(depth)))
        self.video_blocks = nn.Sequential(*(Block(width, n_heads) for _ in range(depth)))
        self.shared = nn.Sequential(*(Block(width, n_heads) for _ in range(shared_depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, n_outputs)

    def forward(
        self, audio: Tensor | None, video: Tensor | None, *, heads: bool = False
    ) -> Tensor | dict[str, Tensor]:
        """Outputs `(B, n_outputs)`, the mean over the modalities that are given.

        Args:
            audio: `(B, T, 128)`, or None.
            video: `(B, F, 3, H, W)`, or None.
            heads: Return the outputs for each modality instead, by name.
        """
        check_inputs(audio, video)
        found = {}
        if audio is not None:
            found["audio"] = self._answer(self.audio_blocks(self.audio(audio)))
        if video is not None:
            found["video"] = self._answer(self.video_blocks(self.video(video)))
        return found if heads else torch.stack(list(found.values())).mean(dim=0)

    def _answer(self, tokens: Tensor) -> Tensor:
        return self.head(self.norm(self.shared(tokens).mean(dim=1)))
