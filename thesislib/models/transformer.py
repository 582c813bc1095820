"""The parts that transformers here are made of: attention, MLP, block, positions, masking."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from thesislib.errors import InputError

EXPLICIT_BELOW_TOKENS = 192
"""Sequences shorter than this take explicit attention on a CPU in bfloat16, longer ones the same
one head at a time.

Measured on one thread of a CPU with AVX-512 BF16 (batch 4; forward and backward in ms, fused,
explicit, one head at a time): 12 heads of 64: 128 tokens 40/12/17, 196: 51/27/27, 324: 106/60/38,
512: 166/110/84, 1296: 1044/897/578; 16 heads of 32, 1296: 781/854/511. Without gradients one head
at a time is as fast at 324 tokens and the fastest of all from 512 on (50/51/33; 1296: 348/343/193).
In float32 the fused kernel wins or draws at every length (324: 63/76, 1296: 1106/2490).
"""


def attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Softmax attention by the kernel that is fastest for this length, type and device.

    Args:
        query: `(B, heads, N, head_width)`.
        key: `(B, heads, M, head_width)`.
        value: `(B, heads, M, head_width)`.

    Returns:
        `(B, heads, N, head_width)`; all kernels agree up to rounding.

    >>> q = torch.ones(1, 1, 3, 2)
    >>> attention(q, q, torch.tensor([[[[0.0], [3.0], [6.0]]]])).flatten().tolist()
    [3.0, 3.0, 3.0]
    """
    kernel = kernel_for(key)
    if kernel == "fused":
        return F.scaled_dot_product_attention(query, key, value)
    query = query * query.shape[-1] ** -0.5
    if kernel == "explicit":
        return (query @ key.transpose(-2, -1)).softmax(dim=-1) @ value
    return _HeadByHead.apply(query, key, value)


def kernel_for(key: Tensor) -> Literal["fused", "explicit", "head by head"]:
    """The fastest kernel for keys `(B, heads, M, head_width)`."""
    if key.device.type != "cpu" or key.dtype != torch.bfloat16:
        return "fused"
    if key.shape[-2] < EXPLICIT_BELOW_TOKENS:
        return "explicit"
    return "fused" if torch.compiler.is_compiling() else "head by head"


class _HeadByHead(torch.autograd.Function):
    """Attention one head at a time, whose scores are then still in the cache when they are used.

    Queries, scaled, keys and values `(B, heads, N, head_width)`, which may be views: a head is
    multiplied where it lies, and what comes out lies in memory as `(B, N, heads, head_width)`. The
    weights are kept for the gradients, as explicit attention keeps them: to make them again costs
    more time.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        mixed, kept = _tokens_first(query), []
        for q, k, v, out in _heads(query, key, value, mixed):
            weights = (q @ k.T).softmax(dim=-1)
            torch.mm(weights, v, out=out)
            if any(ctx.needs_input_grad):  # type: ignore[attr-defined]
                kept.append(weights)
        ctx.save_for_backward(query, key, value, *kept)
        return mixed

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value, *kept = ctx.saved_tensors  # type: ignore[attr-defined]
        grads = _tokens_first(query), _tokens_first(key), _tokens_first(value)
        rows = _heads(query, key, value, grad, *grads)
        for weights, (q, k, v, g, grad_q, grad_k, grad_v) in zip(kept, rows, strict=True):
            torch.mm(weights.T, g, out=grad_v)
            scores = torch.ops.aten._softmax_backward_data(g @ v.T, weights, -1, weights.dtype)
            torch.mm(scores, k, out=grad_q)
            torch.mm(scores.T, q, out=grad_k)
        return grads


def _tokens_first(like: Tensor) -> Tensor:
    batch, heads, tokens, width = like.shape
    return like.new_empty(batch, tokens, heads, width).transpose(1, 2)


def _heads(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    for clips in zip(*tensors, strict=True):
        yield from zip(*clips, strict=True)


class SelfAttention(nn.Module):
    """Multi-head self-attention with one projection for query, key and value.

    Args:
        width: Features of a token; a multiple of `n_heads`.
        n_heads: Number of heads.
    """

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        if n_heads < 1 or width % n_heads:
            raise InputError(
                "n_heads", f"{n_heads} heads do not divide width {width}", "change one of them"
            )
        self.n_heads = n_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """`(B, N, width)` to `(B, N, width)`."""
        batch, n_tokens, width = tokens.shape
        qkv = self.qkv(tokens).view(batch, n_tokens, 3, self.n_heads, width // self.n_heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).reshape(batch, n_tokens, width))


class MLP(nn.Module):
    """Two linear layers with an exact GELU between them."""

    def __init__(self, width: int, hidden_width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden_width)
        self.fc2 = nn.Linear(hidden_width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """`(B, N, width)` to `(B, N, width)`."""
        return self.fc2(F.gelu(self.fc1(tokens)))


class Block(nn.Module):
    """A pre-norm transformer layer: attention and MLP, each behind a layer norm and a residual.

    Args:
        width: Features of a token.
        n_heads: Number of attention heads.
        mlp_ratio: Hidden width of the MLP over `width`.
    """

    def __init__(self, width: int, n_heads: int, mlp_ratio: int = 4) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = SelfAttention(width, n_heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = MLP(width, mlp_ratio * width)

    def forward(self, tokens: Tensor) -> Tensor:
        """`(B, N, width)` to `(B, N, width)`."""
        tokens = tokens + self.attn(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))


def sine_cosine_positions(width: int, grid: Sequence[int]) -> Tensor:
    """The fixed table of positions on a grid of one to three axes, the last axis running fastest.

    Every axis has its own share of the features, sines before cosines, at geometrically spaced
    frequencies from 1 down to nearly 1/10000. The last axis comes first in the features, as in the
    two-dimensional table of masked autoencoders, with which this one agrees for two axes; what
    does not divide evenly goes to it as well.

    Args:
        width: Features; even, and at least two an axis.
        grid: Positions along each axis, such as `(time, height, width)`.

    Returns:
        Float32 `(product of grid, width)`, values in [-1, 1], no two rows alike.

    Raises:
        InputError: `width` is odd or too small for the axes.

    Source: the one-dimensional code of vaswani2017attention, section 3.5, once an axis.

    >>> sine_cosine_positions(4, (1, 2))[:, :2]
    tensor([[0.0000, 1.0000],
            [0.8415, 0.5403]])
    """
    share = 2 * (width // (2 * len(grid)))
    if width % 2 or not share:
        raise InputError(
            "width", f"{width} cannot hold {len(grid)} axes", f"use an even one >= {2 * len(grid)}"
        )
    shares = [width - share * (len(grid) - 1)] + [share] * (len(grid) - 1)
    axes = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in grid), indexing="ij")
    parts = []
    for axis, features in zip(reversed(axes), shares, strict=True):
        rates = 10_000.0 ** -(torch.arange(features // 2, dtype=torch.float64) * 2 / features)
        angles = axis.reshape(-1, 1) * rates
        parts += [angles.sin(), angles.cos()]
    return torch.cat(parts, dim=1).float()


class Masking(NamedTuple):
    """Which patches of each clip the encoder sees.

    Attributes:
        visible: Indices of the visible patches `(B, K)`, in the order in which they are encoded.
        restore: For each patch, its row once the visible ones are followed by the hidden, `(B, N)`.
        hidden: True where a patch is hidden, `(B, N)`.
    """

    visible: Tensor
    restore: Tensor
    hidden: Tensor


def visible_tokens(n_tokens: int, mask_ratio: float) -> int:
    """How many of `n_tokens` stay visible, rounded down: 128 of 512 at 0.75.

    Raises:
        InputError: The ratio leaves no patch to see, or none to reconstruct.

    >>> visible_tokens(784, 0.75)
    196
    """
    n_visible = int(n_tokens * (1 - mask_ratio)) if 0 < mask_ratio < 1 else 0
    if not 0 < n_visible < n_tokens:
        raise InputError(
            "mask_ratio",
            f"{mask_ratio} does not leave some of {n_tokens} patches visible and some hidden",
            "choose a ratio between 0 and 1 that does",
        )
    return n_visible


def random_masking(noise: Tensor, mask_ratio: float) -> Masking:
    """Keep the patches of lowest noise, hide the others; the same noise gives the same masks.

    Args:
        noise: One number a patch, `(B, N)`; its order alone matters.
        mask_ratio: Share of the patches to hide, in (0, 1).

    Source: section 7.4.1.
    """
    n_visible = visible_tokens(noise.shape[1], mask_ratio)
    shuffled = noise.argsort(dim=1, stable=True)
    restore = shuffled.argsort(dim=1)
    return Masking(shuffled[:, :n_visible], restore, restore >= n_visible)


def take(rows: Tensor, index: Tensor) -> Tensor:
    """Rows `(B, K, width)` of `(B, N, width)` or of a shared `(1, N, width)`, at `(B, K)`."""
    rows = rows.expand(len(index), -1, -1)
    return rows.gather(1, index.unsqueeze(-1).expand(-1, -1, rows.shape[-1]))
