"""Transformers in eight bits, for inference on a processor.

Processors with instructions for it (VNNI, AMX) multiply whole numbers of eight bits twice as fast
as bfloat16. Weights are rounded once, each output on a scale of its own; tokens are rounded as they
come, each on a scale of its own. What a model says is then off by about one per cent, and it cannot
be trained any more.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from thesislib.errors import InputError
from thesislib.models.transformer import MLP, SelfAttention

LARGEST = 127
TOKENS_AT_ONCE = 128
"""So few that what is made of them stays in the processor's cache."""


def to_eight_bits(model: nn.Module) -> nn.Module:
    """Round the projections of attention and the MLPs of a model for inference, in place.

    Embeddings, norms and heads stay as they are. Attention itself does, too: let it run in bfloat16
    by `torch.autocast`, which is fastest. What is rounded already stays as it is.

    >>> from thesislib.models.transformer import Block
    >>> layer = to_eight_bits(Block(8, 2))
    >>> layer(torch.ones(1, 3, 8)).shape
    torch.Size([1, 3, 8])

    Args:
        model: On the CPU, made of `thesislib.models.transformer`, such as a `FineTunedModel`.

    Returns:
        `model`.

    Raises:
        InputError: The model is on another device, or is no transformer.

    Source: yao2022zeroquant, activations a token; weights an output, where it has groups of them.
    """
    if any(parameter.device.type != "cpu" for parameter in model.parameters()):
        raise InputError("model", "is not on the CPU", "move it there, or use bfloat16 where it is")
    found = False
    for parent in list(model.modules()):
        for name, part in parent.named_children():
            if isinstance(part, MLP):
                setattr(parent, name, EightBitMLP(part))
            elif isinstance(part, SelfAttention) and isinstance(part.qkv, nn.Linear):
                for projection in ("qkv", "proj"):
                    setattr(part, projection, EightBitLinear(getattr(part, projection)))
            found |= isinstance(part, MLP | SelfAttention | EightBitMLP)
    if not found:
        raise InputError("model", "has no transformer layer", "give one that has")
    return model.eval()


class EightBitLinear(nn.Module):
    """A linear layer whose weights are whole numbers in [-127, 127], with a scale an output.

    Args:
        linear: To be rounded; it has a bias.
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight, scale = rounded(linear.weight.detach())
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale.squeeze(1))
        self.register_buffer("bias", linear.bias.detach().float())

    @torch.no_grad()
    def forward(self, tokens: Tensor) -> Tensor:
        """`(..., inputs)` to `(..., outputs)`, in autocast's type where that is on."""
        rows = tokens.reshape(-1, tokens.shape[-1])
        outputs = _outputs(rows, len(self.weight))
        for some, out in zip(*_pieces(rows, outputs), strict=True):
            out.copy_(self.multiplied(some))
        return outputs.view(*tokens.shape[:-1], len(self.weight))

    def multiplied(self, rows: Tensor) -> Tensor:
        """A few rows `(n, inputs)` to float32 `(n, outputs)`."""
        whole, scale = rounded(rows)
        product = torch._int_mm(whole, self.weight.t()).float()
        return product.mul_(scale).mul_(self.scale).add_(self.bias)


class EightBitMLP(nn.Module):
    """Two linear layers in eight bits with an exact GELU between them.

    Args:
        mlp: To be rounded.
    """

    def __init__(self, mlp: MLP) -> None:
        super().__init__()
        self.fc1, self.fc2 = EightBitLinear(mlp.fc1), EightBitLinear(mlp.fc2)

    @torch.no_grad()
    def forward(self, tokens: Tensor) -> Tensor:
        """`(B, N, width)` to `(B, N, width)`."""
        rows = tokens.reshape(-1, tokens.shape[-1])
        outputs = _outputs(rows, len(self.fc2.weight))
        for some, out in zip(*_pieces(rows, outputs), strict=True):
            out.copy_(self.fc2.multiplied(F.gelu(self.fc1.multiplied(some))))
        return outputs.view(tokens.shape)


def rounded(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows `(N, D)` as whole numbers of eight bits, the largest 127, and float32 scales `(N, 1)`.

    >>> rounded(torch.tensor([[1.0, -2.0], [0.0, 0.0]]))[0].tolist()
    [[64, -127], [0, 0]]
    """
    rows = rows.float()  # in bfloat16 the largest could come out as 128, which does not fit
    scale = rows.abs().amax(dim=1, keepdim=True) / LARGEST
    scale = scale.clamp_min(torch.finfo(scale.dtype).tiny)
    return (rows / scale).round_().to(torch.int8), scale


def _outputs(rows: Tensor, width: int) -> Tensor:
    low = torch.is_autocast_enabled("cpu")
    kind = torch.get_autocast_dtype("cpu") if low else torch.float32
    return rows.new_empty(len(rows), width, dtype=kind)


def _pieces(*tensors: Tensor) -> tuple[tuple[Tensor, ...], ...]:
    return tuple(tensor.split(TOKENS_AT_ONCE) for tensor in tensors)
