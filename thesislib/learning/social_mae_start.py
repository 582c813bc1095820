"""Where training of chapter 7 begins: the authors' weights, and attention that looks for its like.

Source: thesis section 7.4.3; notes item 8; trockman2023mimetic.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import nn

from thesislib.errors import InputError
from thesislib.learning.feature_cache import tensor_sha256
from thesislib.models.masked_autoencoder import MaskedAutoencoder
from thesislib.models.masked_autoencoder_checkpoints import inflate_frames, load_official
from thesislib.models.transformer import SelfAttention

LIKENESS, OPPOSITE = 0.7, 0.4
"""How far a token looks for its like, and how far it takes away what it finds: the products of
query and key, and of value and projection, are 0.7 and -0.4 times a projection or the identity."""


@torch.no_grad()
def attend_to_likes(model: nn.Module) -> None:
    """Let every attention layer begin by comparing tokens by what they are and where they are.

    Query and key of a head are the same random orthonormal projection, so that a token attends to
    those of like content and position; value and output projection undo each other but for the
    sign. Small transformers that learn from few clips spend their first epochs on finding this;
    in one that starts there, neighbours of a hidden patch are looked at from the first step on.

    Args:
        model: Its `SelfAttention` layers are drawn again, from torch's own generator.

    Source: trockman2023mimetic, with orthonormal projections where they factor noise.
    """
    for layer in model.modules():
        if isinstance(layer, SelfAttention):
            looked, taken = (nn.init.orthogonal_(torch.empty_like(layer.proj.weight)) for _ in "qv")
            query, key, value = layer.qkv.weight.chunk(3)
            query.copy_(LIKENESS**0.5 * looked)
            key.copy_(LIKENESS**0.5 * looked)
            value.copy_(OPPOSITE**0.5 * taken)
            layer.proj.weight.copy_(-(OPPOSITE**0.5) * taken.T)


def load_weights(model: MaskedAutoencoder, path: Path) -> None:
    """Start from a checkpoint of the authors, inflated where it has one frame and we several.

    Raises:
        InputError: the file cannot be read, or does not fit.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        mend = "name a file that torch.save wrote"
        raise InputError(path, f"is no checkpoint ({error})", mend) from error
    kernel = state.get("module.patch_embed_v.proj.weight", state.get("patch_embed_v.proj.weight"))
    one_frame = kernel is not None and (kernel.ndim == 4 or kernel.shape[-1] == 1)
    if one_frame and model.config.n_frames > 1:
        state = inflate_frames(state, model.config)
    load_official(model, state)


def weights_sha256(model: nn.Module) -> str:
    """Hash of all weights and buffers of a model."""
    return tensor_sha256(torch.cat([p.detach().flatten() for p in model.state_dict().values()]))
