"""The Audio Spectrogram Transformer: a vision transformer on patches of a log-mel spectrogram.

Parameters carry the names of Hugging Face's ``ASTModel``, so that loading weights is a plain
mapping. There is no dropout. Chapter 8 cuts the spectrogram into patches that do not overlap and
drops the two special tokens, whereas the published checkpoint has a stride of 10 and both: what is
loaded is fitted to the sizes that are asked for (note 25).

Source: gong2021ast.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from thesislib.errors import InputError
from thesislib.models.encoders import _read_weights, _weight_files
from thesislib.models.transformer import MLP, attention

SPECIAL_TOKENS = 2  # class and distillation


@dataclass(frozen=True, slots=True, kw_only=True)
class ASTConfig:
    """Sizes of the encoder; the defaults are chapter 8's at full size.

    Attributes:
        n_mels: Mel bins of the spectrogram.
        n_frames: Frames of the spectrogram, 10 ms each; what does not fill a patch is not seen.
        patch_size: Side of a patch, in bins and in frames.
        stride: From one patch to the next: `patch_size` in chapter 8, 10 in the checkpoint.
        width: Features of a token.
        heads: Attention heads; they divide `width`.
        layers: Transformer blocks.
        ffn_width: Hidden features of the feed-forward part.
        special_tokens: Lead the patches with the class and the distillation token, as
            ``ASTModel`` does; chapter 8 does not.
        norm_eps: Added to the variance in every layer norm.

    Raises:
        InputError: a size is not a positive whole number, or the sizes do not fit one another.

    >>> ASTConfig().grid, ASTConfig(stride=10).grid
    ((8, 64), (12, 101))
    """

    n_mels: int = 128
    n_frames: int = 1024
    patch_size: int = 16
    stride: int = 16
    width: int = 768
    heads: int = 12
    layers: int = 12
    ffn_width: int = 3072
    special_tokens: bool = False
    norm_eps: float = 1e-12

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type == "int" and (type(value) is not int or value < 1):
                raise InputError(field.name, f"{value!r} is no size", "use a whole number >= 1")
        if self.width % self.heads:
            raise InputError(
                "heads", f"{self.heads} do not divide width {self.width}", "change one of them"
            )
        if min(self.n_mels, self.n_frames) < self.patch_size:
            raise InputError(
                "patch_size",
                f"{self.patch_size} exceeds a spectrogram of {self.n_mels} x {self.n_frames}",
                "use a longer window or a smaller patch",
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Patches along (mel bins, time)."""
        bins, frames = (
            (n - self.patch_size) // self.stride + 1 for n in (self.n_mels, self.n_frames)
        )
        return bins, frames


class ASTAttention(nn.Module):
    """Multi-head self-attention, with a projection each for query, key and value."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.o_proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """`(B, N, W)` to `(B, N, W)`."""
        query, key, value = (
            projection(tokens).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        return self.o_proj(attention(query, key, value).transpose(1, 2).flatten(-2))


class ASTLayer(nn.Module):
    """A pre-norm transformer layer: attention, then a feed-forward part, both residual."""

    def __init__(self, config: ASTConfig) -> None:
        super().__init__()
        self.attention = ASTAttention(config.width, config.heads)
        self.layernorm_before = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.layernorm_after = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.mlp = MLP(config.width, config.ffn_width)

    def forward(self, tokens: Tensor) -> Tensor:
        """`(B, N, W)` to `(B, N, W)`."""
        tokens = tokens + self.attention(self.layernorm_before(tokens))
        return tokens + self.mlp(self.layernorm_after(tokens))


class PatchEmbeddings(nn.Module):
    """Patches to tokens by one convolution; low bins first, then in time."""

    def __init__(self, config: ASTConfig) -> None:
        super().__init__()
        self.projection = nn.Conv2d(1, config.width, config.patch_size, config.stride)

    def forward(self, log_mel: Tensor) -> Tensor:
        """`(B, T, M)` to `(B, N, W)`."""
        return self.projection(log_mel.transpose(1, 2).unsqueeze(1)).flatten(2).transpose(1, 2)


class Embeddings(nn.Module):
    """Patches, special tokens where there are any, and learned positions."""

    def __init__(self, config: ASTConfig) -> None:
        super().__init__()
        special = SPECIAL_TOKENS if config.special_tokens else 0
        n_patches = config.grid[0] * config.grid[1]
        self.patch_embeddings = PatchEmbeddings(config)
        self.position_embeddings = nn.Parameter(torch.zeros(1, special + n_patches, config.width))
        if special:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, config.width))
            self.distillation_token = nn.Parameter(torch.zeros(1, 1, config.width))

    def forward(self, log_mel: Tensor) -> Tensor:
        """`(B, T, M)` to `(B, N, W)`, or N + 2 with the special tokens in front."""
        tokens = self.patch_embeddings(log_mel)
        if tokens.shape[1] < self.position_embeddings.shape[1]:
            rows = len(tokens)
            special = (self.cls_token, self.distillation_token)
            tokens = torch.cat([*(token.expand(rows, -1, -1) for token in special), tokens], dim=1)
        return tokens + self.position_embeddings


class ASTEncoder(nn.Module):
    """Log-mel windows of one fixed length to one vector a patch.

    Source: gong2021ast; parameter names of Hugging Face's ``ASTModel``.

    >>> sizes = ASTConfig(n_mels=32, n_frames=48, width=8, heads=2, layers=1, ffn_width=16)
    >>> ASTEncoder(sizes)(torch.zeros(2, 48, 32)).shape
    torch.Size([2, 6, 8])
    """

    def __init__(self, config: ASTConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config)
        self.layers = nn.ModuleList(ASTLayer(config) for _ in range(config.layers))
        self.layernorm = nn.LayerNorm(config.width, eps=config.norm_eps)

    def forward(self, log_mel: Tensor) -> Tensor:
        """Encode standardised log-mel windows.

        Args:
            log_mel: ``(B, n_frames, n_mels)``, the front end of `thesislib.signals.audio.AST`.

        Returns:
            ``(B, N, width)``, or N + 2 with special tokens in front.

        Raises:
            InputError: `log_mel` has another shape.
        """
        return self.encode(self.embed(log_mel))

    def embed(self, log_mel: Tensor) -> Tensor:
        """Tokens with positions, before the first layer: ``(B, N, width)``.

        Raises:
            InputError: `log_mel` has another shape.
        """
        expected = (self.config.n_frames, self.config.n_mels)
        if log_mel.ndim != 3 or log_mel.shape[1:] != expected:
            raise InputError(
                "log_mel",
                f"{tuple(log_mel.shape)} is not (B, n_frames, n_mels) with {expected}",
                "pad or cut the waveform to the encoder's window",
            )
        return self.embeddings(log_mel)

    def encode(self, tokens: Tensor) -> Tensor:
        """Any tokens of any number through the layers and the last norm."""
        for layer in self.layers:
            tokens = layer(tokens)
        return self.layernorm(tokens)


def build_ast(config: ASTConfig, generator: torch.Generator) -> ASTEncoder:
    """An encoder with drawn weights: truncated normal of 0.02, biases 0; global chance untouched.

    Source: the initial weights of ``ASTModel``, with positions drawn rather than 0.
    """
    with torch.random.fork_rng(devices=[]):  # torch draws initial values, which are overwritten
        encoder = ASTEncoder(config)
    for parameter in encoder.parameters():
        if parameter.ndim > 1:
            nn.init.trunc_normal_(parameter, std=0.02, generator=generator)
    for layer in encoder.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d) and layer.bias is not None:
            nn.init.zeros_(layer.bias)
    return encoder


def load_ast(
    folder: str | Path, *, n_frames: int | None = None, stride: int | None = None,
    special_tokens: bool = False,
) -> ASTEncoder:  # fmt: skip
    """Load the encoder of a Hugging Face AST of any size, without transformers.

    Args:
        folder: Holds ``config.json`` and the weights, as a download leaves them.
        n_frames: Frames of the window; None keeps the checkpoint's (1024).
        stride: From patch to patch; None is the patch size, so that patches do not overlap.
        special_tokens: Keep the class and distillation tokens.

    Returns:
        The encoder in float32, frozen; positions are interpolated to its grid.

    Raises:
        InputError: a file is missing or damaged, or the folder holds no AST.

    Source: gong2021ast; note 25.
    """
    folder = Path(folder)
    path = folder / "config.json"
    try:
        values = json.loads(path.read_text("utf-8"))
        if values.get("hidden_act", "gelu") != "gelu":
            raise ValueError(f"hidden_act={values['hidden_act']!r} is not 'gelu'")
        if values["frequency_stride"] != values["time_stride"]:
            raise ValueError("its two strides differ")
        stored = ASTConfig(
            n_mels=values["num_mel_bins"],
            n_frames=values["max_length"],
            patch_size=values["patch_size"],
            stride=values["time_stride"],
            width=values["hidden_size"],
            heads=values["num_attention_heads"],
            layers=values["num_hidden_layers"],
            ffn_width=values["intermediate_size"],
            special_tokens=True,
            norm_eps=values.get("layer_norm_eps", 1e-12),
        )
    except OSError as error:
        raise InputError(path, "cannot be read", "point at a Hugging Face model folder") from error
    except KeyError as error:
        raise InputError(path, f"lacks {error}", "point at the folder of an AST") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(path, str(error), "point at the folder of an AST") from error
    state: dict[str, Tensor] = {}
    for file in _weight_files(folder):
        for name, tensor in _read_weights(file).items():
            state[rename(name)] = tensor.float()
    wanted = ASTConfig(
        **{
            field.name: getattr(stored, field.name)
            for field in fields(stored)
            if field.name not in ("n_frames", "stride", "special_tokens")
        },
        n_frames=n_frames or stored.n_frames,
        stride=stride or stored.patch_size,
        special_tokens=special_tokens,
    )
    try:
        return fit_state(state, stored, wanted)
    except (RuntimeError, KeyError) as error:
        detail = str(error).splitlines()[-1].strip()
        raise InputError(
            folder, f"weights and config.json disagree: {detail}", "download the model again"
        ) from error


def fit_state(state: dict[str, Tensor], stored: ASTConfig, wanted: ASTConfig) -> ASTEncoder:
    """A frozen encoder of other strides, window or special tokens than its weights had.

    Args:
        state: Complete parameters of an encoder with the sizes `stored`.
        stored: Those sizes.
        wanted: Sizes asked for; width, depth and patch size are the same.

    Raises:
        RuntimeError: a parameter is missing or of another shape.
        KeyError: there are no positions.
    """
    positions = state["embeddings.position_embeddings"]
    special = SPECIAL_TOKENS if stored.special_tokens else 0
    if positions.shape[1] != special + stored.grid[0] * stored.grid[1]:
        raise RuntimeError(f"{positions.shape[1]} positions do not fit a grid of {stored.grid}")
    # The stored window in the wanted steps; a shorter window is its beginning, nothing squeezed.
    bins, frames = wanted.grid
    whole = replace(wanted, n_frames=max(stored.n_frames, wanted.n_frames)).grid
    patches = interpolate_positions(positions[:, special:], stored.grid, whole)
    patches = patches.unflatten(1, whole)[:, :bins, :frames].flatten(1, 2)
    kept = positions[:, :special] if wanted.special_tokens else positions[:, :0]
    with torch.random.fork_rng(devices=[]):
        encoder = ASTEncoder(wanted)
    names = encoder.state_dict().keys()
    # The head of a fine-tuned checkpoint is no part of the encoder, nor are dropped tokens.
    state = {name: tensor for name, tensor in state.items() if name in names}
    state["embeddings.position_embeddings"] = torch.cat([kept, patches], dim=1)
    encoder.load_state_dict(state)
    return encoder.requires_grad_(False).eval()


def interpolate_positions(positions: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Positions on one grid of (bins, frames) as positions on another, bilinearly.

    Args:
        positions: ``(1, old bins * old frames, W)``.
        old: Their grid.
        new: The grid wanted, which covers the same bins; equal grids leave them as they are.

    Returns:
        ``(1, new bins * new frames, W)``.

    Source: note 25; the thesis leaves positions unchanged, which its own grid does not allow.

    >>> interpolate_positions(torch.tensor([[[0.0], [4.0]]]), (1, 2), (1, 4)).flatten().tolist()
    [0.0, 1.0, 3.0, 4.0]
    """
    if old == new:
        return positions
    picture = positions.transpose(1, 2).unflatten(2, old)
    resized = F.interpolate(picture, size=new, mode="bilinear", align_corners=False)
    return resized.flatten(2).transpose(1, 2)


# Checkpoints carry names from before version 5 of transformers, which renames when it loads.
_OLD_NAMES = (
    (r"^audio_spectrogram_transformer\.", ""),
    (r"^encoder\.layer\.", "layers."),
    (r"\.attention\.attention\.query\.", ".attention.q_proj."),
    (r"\.attention\.attention\.key\.", ".attention.k_proj."),
    (r"\.attention\.attention\.value\.", ".attention.v_proj."),
    (r"\.attention\.output\.dense\.", ".attention.o_proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"(layers\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
)


def rename(name: str) -> str:
    """A parameter's name in a checkpoint of any age, as it is here.

    >>> rename("audio_spectrogram_transformer.encoder.layer.3.output.dense.bias")
    'layers.3.mlp.fc2.bias'
    """
    for pattern, replacement in _OLD_NAMES:
        name = re.sub(pattern, replacement, name)
    return name
