"""The frozen main branch: a Whisper-style speech encoder, and its loader for Hugging Face folders.

Two convolutions turn log-mel frames into positions, learned or sinusoidal position vectors are
added, and pre-norm transformer blocks follow. Parameters carry the names of Hugging Face's
``WhisperEncoder``, so that loading weights is a plain mapping. There is no dropout: chapter 8 keeps
the main branch frozen.

Source: radford2023whisper, section 2.2.
"""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass, fields
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 (the name that the field uses)
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from thesislib.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderConfig:
    """Sizes of a Whisper-style encoder.

    Attributes:
        n_mels: Mel bands of the input.
        n_positions: Positions after the convolutions, half as many as input frames.
        width: Features a position.
        heads: Attention heads; they divide `width`.
        layers: Transformer blocks.
        ffn_width: Hidden features of the feed-forward part, in Whisper four times `width`.

    Raises:
        ValueError: a size is not a positive whole number, or `heads` does not divide `width`.

    >>> EncoderConfig(n_mels=80, n_positions=400, width=384, heads=5, layers=4, ffn_width=1536)
    Traceback (most recent call last):
    ...
    ValueError: heads=5 does not divide width=384
    """

    n_mels: int
    n_positions: int
    width: int
    heads: int
    layers: int
    ffn_width: int

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if type(value) is not int or value < 1:
                raise ValueError(f"{field.name}={value!r} is not a positive whole number")
        if self.width % self.heads:
            raise ValueError(f"heads={self.heads} does not divide width={self.width}")


class SelfAttention(nn.Module):
    """Multi-head self-attention over all positions; as in Whisper, keys have no bias."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Attend from every position to every position: ``(B, T, W)`` -> ``(B, T, W)``."""
        q, k, v = (
            projection(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        attended = F.scaled_dot_product_attention(q, k, v)  # scaled by 1/sqrt(head width)
        return self.out_proj(attended.transpose(1, 2).flatten(-2))


class Block(nn.Module):
    """A pre-norm transformer block: attention, then a GELU feed-forward part, both residual."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.self_attn_layer_norm = nn.LayerNorm(config.width)
        self.self_attn = SelfAttention(config.width, config.heads)
        self.final_layer_norm = nn.LayerNorm(config.width)
        self.fc1 = nn.Linear(config.width, config.ffn_width)
        self.fc2 = nn.Linear(config.ffn_width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        """Map the residual stream to the next: ``(B, T, W)`` -> ``(B, T, W)``."""
        x = x + self.self_attn(self.self_attn_layer_norm(x))
        return x + self.fc2(F.gelu(self.fc1(self.final_layer_norm(x))))


class WhisperEncoder(nn.Module):
    """Log-mel windows of one fixed length -> one vector a position (two frames, 20 ms).

    Source: radford2023whisper, section 2.2; parameter names of Hugging Face's ``WhisperEncoder``.

    >>> sizes = EncoderConfig(n_mels=8, n_positions=6, width=4, heads=2, layers=3, ffn_width=16)
    >>> encoder = freeze(WhisperEncoder(sizes))
    >>> encoder(torch.zeros(2, 8, 12)).shape
    torch.Size([2, 6, 4])
    >>> len(encoder.hidden_states(torch.zeros(2, 8, 12)))
    4
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.conv1 = nn.Conv1d(config.n_mels, config.width, kernel_size=3, padding=1)
        self.conv2 = nn.Conv1d(config.width, config.width, kernel_size=3, stride=2, padding=1)
        self.embed_positions = nn.Embedding(config.n_positions, config.width)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.layer_norm = nn.LayerNorm(config.width)

    def forward(self, log_mel: Tensor) -> Tensor:
        """Encode log-mel windows.

        Args:
            log_mel: ``(B, n_mels, 2 * n_positions)``, Whisper's log-mel (floating point, about
                -1 to 1.5).

        Returns:
            Last hidden state after the final layer norm, ``(B, n_positions, width)``.

        Raises:
            ValueError: `log_mel` has another shape.
        """
        return self.hidden_states(log_mel)[-1]

    def hidden_states(self, log_mel: Tensor) -> tuple[Tensor, ...]:
        """Every layer's output, ``layers + 1`` tensors of ``(B, n_positions, width)``.

        Index 0 is the convolution output with positions added. Index `i` from 1 on is the residual
        stream after block `i`; the last one has passed the final layer norm. These are
        transformers' ``output_hidden_states``, and ``layer_0`` to ``layer_L`` of the experiments.
        A norm *inside* the network is a norm of these: what block `i + 1` reads is
        ``layers[i].self_attn_layer_norm(hidden_states[i])``, called ``layer_norm_{2 i}`` in an
        exported graph.

        Args:
            log_mel: ``(B, n_mels, 2 * n_positions)``.

        Raises:
            ValueError: `log_mel` has another shape.
        """
        expected = (self.config.n_mels, 2 * self.config.n_positions)
        if log_mel.ndim != 3 or log_mel.shape[1:] != expected:
            raise ValueError(
                f"log_mel is {tuple(log_mel.shape)}, expected (B, n_mels, 2 * n_positions) with "
                f"n_mels={expected[0]}, 2 * n_positions={expected[1]}: pad or cut the waveform"
            )
        x = F.gelu(self.conv1(log_mel))
        x = F.gelu(self.conv2(x)).transpose(1, 2) + self.embed_positions.weight
        states = [x]
        for block in self.layers:
            x = block(x)
            states.append(x)
        states[-1] = self.layer_norm(x)
        return tuple(states)


def freeze(encoder: WhisperEncoder) -> WhisperEncoder:
    """The same encoder in evaluation mode and without gradients for its parameters."""
    return encoder.requires_grad_(False).eval()


def build_encoder(config: EncoderConfig, state: dict[str, Tensor]) -> WhisperEncoder:
    """A frozen float32 encoder with these weights; random generators stay as they were.

    Args:
        config: Sizes.
        state: Parameter name to tensor, complete.

    Raises:
        RuntimeError: a parameter is missing, unknown or of another shape (torch names it).
    """
    with torch.random.fork_rng(devices=[]):  # initial values are drawn, then overwritten
        encoder = WhisperEncoder(config)
    encoder.load_state_dict({k: v.float() for k, v in state.items()}, assign=True)
    return freeze(encoder)


def load_hugging_face(folder: str | Path) -> WhisperEncoder:
    """Load the encoder of a Hugging Face Whisper model of any size, without transformers.

    Args:
        folder: Holds ``config.json`` and ``model.safetensors`` (or its shards and their index),
            or ``pytorch_model.bin``, as ``save_pretrained`` or a download leaves them.

    Returns:
        The encoder in float32, frozen.

    Raises:
        InputError: a file is missing or damaged, or the folder holds no Whisper encoder.

    Source: radford2023whisper; the layout of ``transformers.WhisperModel``.
    """
    folder = Path(folder)
    path = folder / "config.json"
    try:
        values = json.loads(path.read_text("utf-8"))
        if values.get("activation_function", "gelu") != "gelu":
            raise ValueError(f"activation_function={values['activation_function']!r} is not 'gelu'")
        config = EncoderConfig(
            n_mels=values["num_mel_bins"],
            n_positions=values["max_source_positions"],
            width=values["d_model"],
            heads=values["encoder_attention_heads"],
            layers=values["encoder_layers"],
            ffn_width=values["encoder_ffn_dim"],
        )
    except OSError as error:
        raise InputError(path, "cannot be read", "point at a Hugging Face model folder") from error
    except KeyError as error:
        raise InputError(
            path, f"lacks {error}", "point at the folder of a Whisper model"
        ) from error
    except (ValueError, AttributeError) as error:
        raise InputError(path, str(error), "point at the folder of a Whisper model") from error

    state: dict[str, Tensor] = {}
    for file in _weight_files(folder):
        tensors = _read_weights(file)
        for prefix in ("model.encoder.", "encoder."):
            state |= {
                key.removeprefix(prefix): tensor
                for key, tensor in tensors.items()
                if key.startswith(prefix)
            }
    try:
        return build_encoder(config, state)
    except RuntimeError as error:
        detail = str(error).splitlines()[-1].strip()
        raise InputError(
            folder, f"weights and config.json disagree: {detail}", "download the model again"
        ) from error


def _weight_files(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            names = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(index, "is not a shard index", "download the model again") from error
        if any(Path(name).name != name for name in names):
            raise InputError(index, "names a file outside its folder", "download the model again")
        return [folder / name for name in sorted(names)]
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            return [folder / name]
    raise InputError(
        folder, "has neither model.safetensors nor pytorch_model.bin", "download the weights"
    )


def _read_weights(file: Path) -> dict[str, Tensor]:
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        return torch.load(file, map_location="cpu", weights_only=True)  # runs no pickled code
    except (OSError, SafetensorError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise InputError(
            file, "is missing, damaged or not a weights file", "download it again"
        ) from error
