"""Fusion of two branches, voice and face: early, late and mid (thesis section 3.3).

Every way of fusing is a callable with one signature, ``fusion(audio, video) -> logits (B, K)``,
over the same two `Branch` values: pooled features (B, D) or sequences (B, T, D) with a mask, and
the branch's own logits. Leaving a modality out is said explicitly, by None in its place. Rules
without parameters are functions, the others modules; `make_fusion` builds either by name.

===================  ======  ==============================================================
name                 level   what it does
===================  ======  ==============================================================
``early``            frames  concatenate features step by step, then process them together
``vote``             -       majority of the branches' decisions
``maximum``          -       the class with the highest confidence in any branch
``average``          -       weighted average of the branches' probabilities
``mlp``              pooled  concatenated embeddings, two layers: the thesis's LSN-TCN
``linear``           pooled  concatenated embeddings, one layer: the released LSN-TCN
``joint``            pooled  both projected into one space, classified at their mean
``gating``           pooled  a learned gate weighs the branches, feature by feature
``cross-attention``  steps   each branch queries the other
``bottleneck``       steps   branches exchange information through a few tokens only
===================  ======  ==============================================================

Source: thesis sections 3.3.1 to 3.3.3 and 6.3.3; gating after Arevalo et al. 2017, "Gated
multimodal units"; bottleneck after Nagrani et al. 2021, "Attention bottlenecks for multimodal
fusion".
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from thesislib.models.ms_tcn import masked_mean

Level = Literal["frames", "steps", "embedding"]

FUSION_LEVELS: dict[str, Level] = {
    "early": "frames",
    "vote": "embedding",
    "maximum": "embedding",
    "average": "embedding",
    "mlp": "embedding",
    "linear": "embedding",
    "joint": "embedding",
    "gating": "embedding",
    "cross-attention": "steps",
    "bottleneck": "steps",
}
"""Names of the fusions, and which features of a branch each takes."""

TIE_BREAK = 1e-3  # share of the mean probability in a vote: it settles ties, never a majority


class Branch(NamedTuple):
    """What a fusion sees of one modality.

    Attributes:
        features: Pooled (B, D) or a sequence (B, T, D).
        logits: The branch's own decision (B, K); only the late rules need it.
        mask: True at the steps of a sequence that count, (B, T), a run from the first on; None
            where all do.
    """

    features: Tensor
    logits: Tensor | None = None
    mask: Tensor | None = None


Fusion = Callable[[Branch | None, Branch | None], Tensor]


def make_fusion(
    name: str,
    audio_dim: int,
    video_dim: int,
    classes: int,
    *,
    width: int = 256,
    dropout: float = 0.1,
    audio_weight: float = 0.5,
) -> Fusion:
    """The fusion called `name` for features of the given sizes.

    Args:
        name: One of `FUSION_LEVELS`.
        audio_dim: Size D of the audio features.
        video_dim: Size D of the video features.
        classes: Number of classes K.
        width: Hidden size of the trainable ones (1024 in the thesis's ``mlp``).
        dropout: Of the trainable ones (0.5 in the thesis's ``mlp``).
        audio_weight: Of ``average``, in [0, 1].

    Raises:
        ValueError: The name is not known, or the weight is out of range.
    """
    if not 0 <= audio_weight <= 1:
        raise ValueError(f"audio_weight is {audio_weight}, must be in [0, 1]")
    dims = (audio_dim, video_dim)
    match name:
        case "vote":
            return majority_vote
        case "maximum":
            return maximum
        case "average":
            return partial(weighted_average, audio_weight=audio_weight)
        case "linear":
            return Concatenation(*dims, classes, width=None)
        case "mlp":
            return Concatenation(*dims, classes, width, dropout)
        case "early":
            return EarlyConcatenation(*dims, classes, width, dropout)
        case "joint":
            return JointSpace(*dims, classes, width, dropout)
        case "gating":
            return Gating(*dims, classes, width, dropout)
        case "cross-attention":
            return CrossAttention(*dims, classes, width, dropout)
        case "bottleneck":
            return AttentionBottleneck(*dims, classes, width, dropout)
    raise ValueError(f"fusion is {name!r}, must be one of {', '.join(FUSION_LEVELS)}")


# Early -------------------------------------------------------------------------------------------


class EarlyConcatenation(nn.Module):
    """Features of both modalities side by side at every step, then one model for the pair.

    The sequences are brought to the video's steps by taking the nearest one in time, clip by
    clip; a linear layer and a convolution over five steps process them together. A modality left
    out is zero.
    """

    def __init__(
        self, audio_dim: int, video_dim: int, classes: int, width: int = 256, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.dims = (audio_dim, video_dim)
        self.mix = nn.Linear(audio_dim + video_dim, width)
        self.context = nn.Conv1d(width, width, 5, padding=2)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, classes)

    def forward(self, audio: Branch | None, video: Branch | None) -> Tensor:
        """Logits (B, K)."""
        target, mask = _sequence(_given(audio, video)[-1])
        parts = [
            target.new_zeros(*mask.shape, dim)
            if branch is None
            else _align(*_sequence(branch), mask)
            for branch, dim in zip((audio, video), self.dims, strict=True)
        ]
        x = torch.relu(self.mix(torch.cat(parts, dim=2))) * mask[..., None]
        x = torch.relu(self.context(x.transpose(1, 2)).transpose(1, 2))
        return self.head(self.dropout(masked_mean(x, mask)))


def _align(features: Tensor, mask: Tensor, target: Tensor) -> Tensor:
    """Features (B, S, D) at the steps of `target` (B, T): for each the nearest in relative time."""
    own, wanted = mask.sum(dim=1, keepdim=True), target.sum(dim=1, keepdim=True)
    steps = torch.arange(target.shape[1], device=target.device)
    index = ((2 * steps + 1) * own // (2 * wanted)).clamp(max=features.shape[1] - 1)  # (B, T)
    return features.gather(1, index[..., None].expand(-1, -1, features.shape[2]))


# Late --------------------------------------------------------------------------------------------


def majority_vote(audio: Branch | None, video: Branch | None) -> Tensor:
    """Logarithm of each class's share of the votes, (B, K).

    Two voters tie whenever they differ; then the higher mean probability decides.
    """
    probabilities = _probabilities(audio, video)
    winners = probabilities.argmax(dim=2)
    votes = nn.functional.one_hot(winners, probabilities.shape[2]).to(probabilities.dtype)
    shares = votes.mean(dim=0) + TIE_BREAK * probabilities.mean(dim=0)
    return (shares / (1 + TIE_BREAK)).log()


def maximum(audio: Branch | None, video: Branch | None) -> Tensor:
    """Logarithm of each class's highest probability in any branch, made to sum to one, (B, K)."""
    return _probabilities(audio, video).amax(dim=0).log().log_softmax(dim=1)


def weighted_average(
    audio: Branch | None, video: Branch | None, *, audio_weight: float = 0.5
) -> Tensor:
    """Logarithm of the weighted average of the branches' probabilities, (B, K).

    >>> branch = Branch(torch.zeros(1, 4), logits=torch.tensor([[0.0, 2.0]]))
    >>> weighted_average(branch, None).exp().round(decimals=2)
    tensor([[0.1200, 0.8800]])
    """
    probabilities = _probabilities(audio, video)
    if len(probabilities) == 1:
        return probabilities[0].log()
    return (audio_weight * probabilities[0] + (1 - audio_weight) * probabilities[1]).log()


def fit_audio_weight(audio_logits: Tensor, video_logits: Tensor, target: Tensor) -> float:
    """The weight for `weighted_average` with the lowest cross-entropy, in steps of 0.01.

    Args:
        audio_logits: (N, K), of validation clips.
        video_logits: (N, K), of the same clips.
        target: Classes (N,).
    """
    p_audio, p_video = (
        logits.softmax(dim=1).gather(1, target[:, None]) for logits in (audio_logits, video_logits)
    )
    weights = torch.linspace(0, 1, 101, dtype=p_audio.dtype, device=p_audio.device)
    losses = -(weights * p_audio + (1 - weights) * p_video).log().mean(dim=0)
    return float(weights[losses.argmin()])


def _probabilities(audio: Branch | None, video: Branch | None) -> Tensor:
    """Probabilities of the branches given, (1 or 2, B, K)."""
    given = _given(audio, video)
    logits = [branch.logits for branch in given if branch.logits is not None]
    if len(logits) != len(given):
        raise ValueError("a late rule combines decisions: each branch must come with its logits")
    # Not below the smallest normal number, so that no logarithm is infinite.
    smallest = torch.finfo(logits[0].dtype).tiny
    return torch.stack(logits).softmax(dim=2).clamp(min=smallest)


class Concatenation(nn.Module):
    """Both embeddings, video first, through two layers (or one, where `width` is None).

    The two-layer form is the thesis's fusion: 1536 -> 1024 -> ReLU -> dropout -> 3 (note 16). A
    modality left out is zero.
    """

    def __init__(
        self,
        audio_dim: int,
        video_dim: int,
        classes: int,
        width: int | None = 1024,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.dims = (audio_dim, video_dim)
        self.hidden = None if width is None else nn.Linear(audio_dim + video_dim, width)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(audio_dim + video_dim if width is None else width, classes)

    def forward(self, audio: Branch | None, video: Branch | None) -> Tensor:
        """Logits (B, K)."""
        pooled = _pooled_or_zero(audio, video, self.dims)
        x = torch.cat(pooled[::-1], dim=1)
        return self.head(x if self.hidden is None else self.dropout(self.hidden(x).relu()))


# Mid ---------------------------------------------------------------------------------------------


class JointSpace(nn.Module):
    """Both embeddings on the unit sphere of one space; the head reads their mean.

    `project` gives the two points, for a contrastive loss that pulls those of a clip together.
    """

    def __init__(
        self, audio_dim: int, video_dim: int, classes: int, width: int = 256, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.audio, self.video = nn.Linear(audio_dim, width), nn.Linear(video_dim, width)
        self.norm = nn.LayerNorm(width)  # brings a mean of unit vectors back to unit variance
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, classes)

    def project(self, audio: Branch | None, video: Branch | None) -> list[Tensor]:
        """Unit vectors (B, width) of the modalities given, audio first."""
        _given(audio, video)
        return [
            nn.functional.normalize(layer(_pool(branch)), dim=1)
            for layer, branch in ((self.audio, audio), (self.video, video))
            if branch is not None
        ]

    def forward(self, audio: Branch | None, video: Branch | None) -> Tensor:
        """Logits (B, K)."""
        centre = torch.stack(self.project(audio, video)).mean(dim=0)
        return self.head(self.dropout(self.norm(centre).relu()))


class Gating(nn.Module):
    """Gated unit: ``z * tanh(W_a a) + (1 - z) * tanh(W_v v)`` with ``z = sigmoid(W_z [a; v])``.

    With one modality left out the gate is fully open for the other.
    """

    def __init__(
        self, audio_dim: int, video_dim: int, classes: int, width: int = 256, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.audio, self.video = nn.Linear(audio_dim, width), nn.Linear(video_dim, width)
        self.gate = nn.Linear(audio_dim + video_dim, width)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, classes)

    def openness(self, audio: Branch, video: Branch) -> Tensor:
        """The gate (B, width): 1 listens to the audio only, 0 to the video only."""
        return self.gate(torch.cat([_pool(audio), _pool(video)], dim=1)).sigmoid()

    def forward(self, audio: Branch | None, video: Branch | None) -> Tensor:
        """Logits (B, K)."""
        if audio is None or video is None:
            layer, branch = self.video if audio is None else self.audio, _given(audio, video)[0]
            x = layer(_pool(branch)).tanh()
        else:
            voice, face = self.audio(_pool(audio)).tanh(), self.video(_pool(video)).tanh()
            x = torch.lerp(face, voice, self.openness(audio, video))
        return self.head(self.dropout(x))


class CrossAttention(nn.Module):
    """Each modality queries the other's steps, adds what it finds, and both are pooled.

    A modality left out adds nothing, and its pooled half is zero.
    """

    def __init__(
        self,
        audio_dim: int,
        video_dim: int,
        classes: int,
        width: int = 256,
        dropout: float = 0.1,
        heads: int = 4,
    ) -> None:
        super().__init__()
        self.audio, self.video = nn.Linear(audio_dim, width), nn.Linear(video_dim, width)
        self.audio_norm, self.video_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.audio_asks = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.video_asks = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.norm = nn.LayerNorm(2 * width)
        self.hidden = nn.Linear(2 * width, width)  # over one step, attention alone is linear
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, classes)

    def forward(self, audio: Branch | None, video: Branch | None) -> Tensor:
        """Logits (B, K)."""
        if audio is None or video is None:
            layer, branch = self.video if audio is None else self.audio, _given(audio, video)[0]
            features, mask = _sequence(branch)
            alone = masked_mean(layer(features), mask)
            silent = torch.zeros_like(alone)
            pooled = [silent, alone] if audio is None else [alone, silent]
        else:
            (voice, voice_mask), (face, face_mask) = _sequence(audio), _sequence(video)
            voice, face = self.audio(voice), self.video(face)
            asked_voice, asked_face = self.audio_norm(voice), self.video_norm(face)
            from_face = self.audio_asks(
                asked_voice, asked_face, asked_face, ~face_mask, need_weights=False
            )[0]
            from_voice = self.video_asks(
                asked_face, asked_voice, asked_voice, ~voice_mask, need_weights=False
            )[0]
            pooled = [
                masked_mean(voice + from_face, voice_mask),
                masked_mean(face + from_voice, face_mask),
            ]
        x = self.hidden(self.norm(torch.cat(pooled, dim=1))).relu()
        return self.head(self.dropout(x))


class AttentionBottleneck(nn.Module):
    """Transformer layers for either modality that share only a few bottleneck tokens.

    In each layer a modality attends to itself and to the bottleneck; the bottleneck of the next
    layer is the mean of what the two have made of it. So nothing of one modality reaches the
    other's tokens before the second layer, and then only as `tokens` vectors.
    """

    def __init__(
        self,
        audio_dim: int,
        video_dim: int,
        classes: int,
        width: int = 256,
        dropout: float = 0.1,
        heads: int = 4,
        layers: int = 2,
        tokens: int = 4,
    ) -> None:
        super().__init__()
        self.audio, self.video = nn.Linear(audio_dim, width), nn.Linear(video_dim, width)
        self.bottleneck = nn.Parameter(0.02 * torch.randn(tokens, width))

        def stack() -> nn.ModuleList:
            return nn.ModuleList(
                nn.TransformerEncoderLayer(
                    width, heads, 2 * width, dropout, "gelu", batch_first=True, norm_first=True
                )
                for _ in range(layers)
            )

        self.audio_layers, self.video_layers = stack(), stack()
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def encode(
        self, audio: Branch | None, video: Branch | None
    ) -> tuple[Tensor | None, Tensor | None]:
        """Tokens of the audio and the video after the last layer, (B, T, width) each."""
        _given(audio, video)
        tokens: dict[str, Tensor] = {}
        padding: dict[str, Tensor] = {}
        for name, branch, layer in (
            ("audio", audio, self.audio),
            ("video", video, self.video),
        ):
            if branch is not None:
                features, mask = _sequence(branch)
                tokens[name] = layer(features)
                seen = mask.new_ones(len(mask), len(self.bottleneck))
                padding[name] = ~torch.cat([seen, mask], dim=1)
        batch = next(iter(tokens.values())).shape[0]
        shared = self.bottleneck.expand(batch, -1, -1)
        for audio_layer, video_layer in zip(self.audio_layers, self.video_layers, strict=True):
            layer_of = {"audio": audio_layer, "video": video_layer}
            made = []
            for name, x in tokens.items():
                y = layer_of[name](torch.cat([shared, x], 1), src_key_padding_mask=padding[name])
                made.append(y[:, : shared.shape[1]])
                tokens[name] = y[:, shared.shape[1] :]
            shared = self.merge(made)
        return tokens.get("audio"), tokens.get("video")

    def merge(self, made: list[Tensor]) -> Tensor:
        """The next layer's bottleneck (B, tokens, width): the mean of each modality's version."""
        return torch.stack(made).mean(dim=0)

    def forward(self, audio: Branch | None, video: Branch | None) -> Tensor:
        """Logits (B, K), from the mean of the two modalities' pooled tokens."""
        pooled = [
            masked_mean(tokens, _sequence(branch)[1])
            for tokens, branch in zip(self.encode(audio, video), (audio, video), strict=True)
            if tokens is not None and branch is not None
        ]
        return self.head(self.norm(torch.stack(pooled).mean(dim=0)))


# Small parts -------------------------------------------------------------------------------------


def _given(audio: Branch | None, video: Branch | None) -> list[Branch]:
    """The branches that are not left out, audio first; at least one must be given."""
    given = [branch for branch in (audio, video) if branch is not None]
    if not given:
        raise ValueError("both modalities are left out: give audio, video or both")
    return given


def _pool(branch: Branch) -> Tensor:
    """Pooled features (B, D)."""
    features = branch.features
    return features if features.ndim == 2 else masked_mean(features, branch.mask)


def _sequence(branch: Branch) -> tuple[Tensor, Tensor]:
    """Features (B, T, D) and mask (B, T); pooled features are a sequence of one step."""
    features = branch.features
    features = features[:, None] if features.ndim == 2 else features
    if branch.mask is None or branch.features.ndim == 2:
        return features, torch.ones(features.shape[:2], dtype=torch.bool, device=features.device)
    return features, branch.mask


def _pooled_or_zero(
    audio: Branch | None, video: Branch | None, dims: tuple[int, int]
) -> list[Tensor]:
    """Pooled audio and video features, zero for a modality left out."""
    like = _given(audio, video)[0].features
    return [
        like.new_zeros(len(like), dim) if branch is None else _pool(branch)
        for branch, dim in zip((audio, video), dims, strict=True)
    ]
