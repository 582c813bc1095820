"""A transformer with one layer that learns to read a sequence backwards.

The task cannot be done without knowing where a token stands, and the attention that solves it is
known in advance: each position has to look at its mirror image.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from thesislib.models.transformer import Block, sine_cosine_positions
from thesislib.teaching.networks import seeded


class Reader(nn.Module):
    """Embedding, positions, one transformer block, and a choice of token at each position.

    Args:
        vocabulary: Number of different tokens.
        length: Tokens in a sequence.
        width: Features of a token.
        positions: Whether the fixed table of positions is added.
    """

    positions: Tensor

    def __init__(self, vocabulary: int, length: int, width: int, *, positions: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        table = sine_cosine_positions(width, (length,))
        self.register_buffer("positions", table if positions else torch.zeros_like(table))
        self.block = Block(width, n_heads=1)
        self.head = nn.Linear(width, vocabulary)

    def embed(self, tokens: Tensor) -> Tensor:
        """Token numbers `(B, N)` to vectors `(B, N, width)`, positions added."""
        return self.embedding(tokens) + self.positions

    def forward(self, tokens: Tensor) -> Tensor:
        """Token numbers `(B, N)` to logits `(B, N, vocabulary)`."""
        return self.head(self.block(self.embed(tokens)))

    def attention_weights(self, tokens: Tensor) -> Tensor:
        """How much each position attends to each other: `(B, N, N)`, rows sum to 1.

        Source: thesis equation 2.11.
        """
        query, key, _ = self.block.attn.qkv(self.block.norm1(self.embed(tokens))).chunk(3, dim=-1)
        return (query @ key.transpose(-2, -1) / key.shape[-1] ** 0.5).softmax(dim=-1)


def train_reader(
    *,
    positions: bool,
    steps: int,
    seed: int,
    length: int = 8,
    vocabulary: int = 10,
    width: int = 32,
) -> tuple[Reader, list[float]]:
    """A reader trained on random sequences of 64 a step, and its accuracy on 512 fresh ones.

    Args:
        positions: Whether the reader knows where a token stands.
        steps: Steps of Adam.
        seed: Seed of weights and sequences.
        length: Tokens in a sequence.
        vocabulary: Number of different tokens.
        width: Features of a token.

    Returns:
        The reader, and the share of tokens it gets right every tenth step.
    """
    reader = seeded(lambda: Reader(vocabulary, length, width, positions=positions), seed)
    generator = torch.Generator().manual_seed(seed)
    test = torch.randint(vocabulary, (512, length), generator=generator)
    optimiser = torch.optim.Adam(reader.parameters(), lr=1e-2)
    shares = []
    for step in range(1, steps + 1):
        tokens = torch.randint(vocabulary, (64, length), generator=generator)
        loss = F.cross_entropy(reader(tokens).flatten(0, 1), tokens.flip(1).flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % 10 == 0:
            with torch.no_grad():
                shares.append(float((reader(test).argmax(-1) == test.flip(1)).float().mean()))
    return reader, shares
