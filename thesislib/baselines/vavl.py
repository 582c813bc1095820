"""Conformer layers that voice and face share: VAVL.

Each modality has conformer layers of its own and then passes, one at a time, through layers whose
weights both share, with a residual around them. Heads read the voice, the face, and both pooled
together, so that one model serves whatever is there.

Simplified: the authors feed wav2vec 2.0 and emotional face features, here log-mel and a ResNet-18
trained with the rest; they also reconstruct each modality's features, which is left out; and the
convolution has a layer norm for a batch norm, whose running statistics would mix both modalities.

Source: goncalves2023vavl; gulati2020conformer; Table 7.2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from thesislib.baselines.inputs import AudioTokens, FrameTokens, check_inputs, check_outputs
from thesislib.models.transformer import MLP, SelfAttention

HEAD_WEIGHTS = {"both": 1.0, "audio": 1.0, "video": 1.0}
"""Of the losses of the three heads."""


class ConformerBlock(nn.Module):
    """Half an MLP, attention, a convolution over time, half an MLP; each with a residual.

    Args:
        width: Features of a token.
        n_heads: Attention heads.
        kernel: Tokens that the convolution spans; odd.

    Source: gulati2020conformer, section 2, with absolute positions.
    """

    def __init__(self, width: int, n_heads: int, kernel: int = 15) -> None:
        super().__init__()
        self.mlp1, self.mlp2 = MLP(width, 4 * width), MLP(width, 4 * width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(6))
        self.attn = SelfAttention(width, n_heads)
        self.gate = nn.Linear(width, 2 * width)
        self.depthwise = nn.Conv1d(
            width, width, kernel, padding=kernel // 2, groups=width, bias=False
        )
        self.project = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """`(B, N, width)` to `(B, N, width)`."""
        before, attend, convolve, mixed, after, last = self.norms
        tokens = tokens + self.mlp1(before(tokens)) / 2
        tokens = tokens + self.attn(attend(tokens))
        gated = functional.glu(self.gate(convolve(tokens)), dim=-1).transpose(1, 2)
        spread = mixed(self.depthwise(gated).transpose(1, 2))
        tokens = tokens + self.project(functional.silu(spread))
        return last(tokens + self.mlp2(after(tokens)) / 2)


class Vavl(nn.Module):
    """Conformers for either modality, shared ones for both, three heads.

    Args:
        n_outputs: Classes, or values to regress.
        width: Features of a token.
        n_heads: Attention heads.
        depth: Layers of each modality.
        shared_depth: Layers whose weights both share.
        channels: Of the first stage of the frames' ResNet-18.
    """

    def __init__(
        self,
        n_outputs: int,
        *,
        width: int = 256,
        n_heads: int = 4,
        depth: int = 2,
        shared_depth: int = 2,
        channels: int = 64,
    ) -> None:
        super().__init__()
        check_outputs(n_outputs)

        def stack(layers: int) -> nn.Sequential:
            return nn.Sequential(*(ConformerBlock(width, n_heads) for _ in range(layers)))

        self.audio, self.video = AudioTokens(width), FrameTokens(width, channels)
        self.audio_blocks, self.video_blocks = stack(depth), stack(depth)
        self.shared = stack(shared_depth)
        self.both_head = nn.Linear(2 * width, n_outputs)
        self.audio_head = nn.Linear(width, n_outputs)
        self.video_head = nn.Linear(width, n_outputs)

    def forward(
        self, audio: Tensor | None, video: Tensor | None, *, heads: bool = False
    ) -> Tensor | dict[str, Tensor]:
        """Outputs `(B, n_outputs)`: of the joint head, or of a modality's own with one only.

        Args:
            audio: `(B, T, 128)`, or None.
            video: `(B, F, 3, H, W)`, or None.
            heads: Return the outputs of all heads that have their input, by name.
        """
        check_inputs(audio, video)
        found = {}
        if audio is not None:
            voice = self._pooled(self.audio_blocks(self.audio(audio)))
            found["audio"] = self.audio_head(voice)
        if video is not None:
            face = self._pooled(self.video_blocks(self.video(video)))
            found["video"] = self.video_head(face)
        if audio is not None and video is not None:
            found["both"] = self.both_head(torch.cat([voice, face], dim=1))
        return found if heads else found.get("both", next(iter(found.values())))

    def _pooled(self, tokens: Tensor) -> Tensor:
        return (tokens + self.shared(tokens)).mean(dim=1)
