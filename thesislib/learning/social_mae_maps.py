"""What a model of chapter 7 looks and listens at in one clip: roll-out and occlusion.

Both give a value to every patch of the spectrogram and of the frames. *Roll-out* follows attention
from the mean token down through all layers to the patches; it knows nothing of the class, and
nothing of what the layers do besides attending. *Occlusion* leaves patches out, as pre-training
does, and asks what that costs the probability of a class; it knows nothing of patches that stand
in for one another.

Source: abnar2020rollout; zeiler2014visualizing; chapter 7.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from thesislib.errors import InputError
from thesislib.models.masked_autoencoder import (
    AudioVisualEncoder,
    FineTunedModel,
    Pass,
    time_first,
)
from thesislib.models.transformer import SelfAttention

_BATCH = 64


class Maps(NamedTuple):
    """A value for every patch of one clip; None for a modality that was not given.

    Attributes:
        audio: `(F, C)`, patches along (mel bins, time).
        video: `(T, H, W)`, patches along (time, height, width).
    """

    audio: Tensor | None
    video: Tensor | None


# ------------------------------------------------------------------------------------- roll-out


@torch.no_grad()
def attention_rollout(
    encoder: AudioVisualEncoder, audio: Tensor | None, video: Tensor | None, mode: Pass = "both"
) -> Maps:
    """How much of each patch attention carries to the mean token, in even shares.

    A layer mixes tokens by the mean of its heads' attention, half and half with what passes it by
    (the residual); the mixtures of all layers are multiplied. 1 is what every patch would have
    were attention even; the mean over all patches of the clip is 1.

    Args:
        encoder: Of any training.
        audio: A spectrogram `(1, T, M)`; may be None in mode ``video``.
        video: Frames `(1, 3, T, H, W)`; may be None in mode ``audio``.
        mode: What the encoder is given.

    Raises:
        InputError: more than one clip, an unknown mode, or one that lacks its modality.

    Source: abnar2020rollout, equation 1.
    """
    _check(audio, video, mode)
    with _attention(encoder) as found:
        encoder.pooled(audio, video, mode)
    blocks = [_mixed(found, getattr(encoder, name).blocks) for name in _given(mode)]
    whole = _mixed(found, encoder.joint.blocks) @ torch.block_diag(*blocks)
    share = whole.mean(dim=0) * len(whole)
    parts = share.split([len(block) for block in blocks])
    return _maps(encoder, dict(zip(_given(mode), parts, strict=True)))


def _mixed(found: dict[nn.Module, Tensor], blocks: nn.ModuleList) -> Tensor:
    """The product of the layers' mixtures, the last one leftmost, `(N, N)`."""
    layers = [found[block.get_submodule("attn")] for block in blocks]
    product = torch.eye(layers[0].shape[-1])
    for attention in layers:
        product = (attention + torch.eye(len(attention))) / 2 @ product
    return product


@contextmanager
def _attention(encoder: AudioVisualEncoder) -> Iterator[dict[nn.Module, Tensor]]:
    """Attention `(N, N)`, mean over heads, of every layer that runs inside the block.

    It is computed from query and key once more, since the fused kernels do not hand it out.
    """
    found: dict[nn.Module, Tensor] = {}

    def keep(layer: SelfAttention) -> torch.utils.hooks.RemovableHandle:
        def hook(_: nn.Module, __: object, output: Tensor) -> None:
            n_tokens = output.shape[1]
            parts = output.float().view(n_tokens, 3, layer.n_heads, -1).permute(1, 2, 0, 3)
            query, key = parts[0], parts[1]
            scores = query @ key.transpose(1, 2) * query.shape[-1] ** -0.5
            found[layer] = scores.softmax(dim=-1).mean(dim=0).cpu()

        return layer.qkv.register_forward_hook(hook)

    layers = [module for module in encoder.modules() if isinstance(module, SelfAttention)]
    handles = [keep(layer) for layer in layers]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


# ------------------------------------------------------------------------------------ occlusion


@torch.no_grad()
def occlusion(
    model: FineTunedModel,
    audio: Tensor | None,
    video: Tensor | None,
    target: int,
    mode: Pass = "both",
) -> Maps:
    """What it costs the probability of a class to leave a part of a clip out.

    A part is a patch of the spectrogram, or a place in the picture at all times, since frames are
    redundant in time. Its tokens are left out of the sequence, as those of hidden patches are in
    pre-training. The cost of a place stands at each of its times.

    Args:
        model: A classifier.
        audio: As in `attention_rollout`.
        video: As in `attention_rollout`.
        target: Number of the class.
        mode: What the model is given.

    Raises:
        InputError: as `attention_rollout`, or a class that the model does not know.

    Source: zeiler2014visualizing, section 4.2.
    """
    _check(audio, video, mode)
    model.eval()
    encoder, n_classes = model.encoder, model.head[-1].out_features
    if model.task != "classification" or not 0 <= target < int(n_classes):  # type: ignore[arg-type]
        raise InputError("target", f"{target} is no class", f"name one of {n_classes}")
    patches: dict[str, Tensor] = {}
    if audio is not None and mode != "video":
        patches["audio"] = encoder.audio_patches(audio)
    if video is not None and mode != "audio":
        patches["video"] = encoder.in_token_order(encoder.video_patches(video))
    whole = {name: getattr(encoder, name)(values) for name, values in patches.items()}

    def probability(tokens: dict[str, Tensor]) -> Tensor:
        joined = encoder.joint(torch.cat(list(tokens.values()), dim=1), mode).mean(dim=1)
        return model.head(joined).float().softmax(dim=1)[:, target]

    before, costs = probability(whole), {}
    for name, values in patches.items():
        left_out = _parts(encoder, name)  # (G, N), true where a token goes
        kept = (~left_out).nonzero()[:, 1].view(len(left_out), -1)
        after = []
        for visible in kept.split(_BATCH):
            seen = {n: t.expand(len(visible), -1, -1) for n, t in whole.items()}
            every = values.expand(len(visible), -1, -1)
            seen[name] = getattr(encoder, name)(every, visible.to(values.device))
            after.append(probability(seen))
        cost = (before - torch.cat(after)).cpu()
        costs[name] = (cost[:, None] * left_out).sum(dim=0)
    return _maps(encoder, costs)


def _parts(encoder: AudioVisualEncoder, name: str) -> Tensor:
    """The tokens of each part that is left out, `(parts, N)`; each token is in one part."""
    config = encoder.config
    if name == "audio":
        return torch.eye(config.n_audio_tokens, dtype=torch.bool)
    times, height, width = config.video_grid
    places = torch.eye(height * width, dtype=torch.bool).repeat(1, times)
    return encoder.in_token_order(places[..., None])[..., 0]


# --------------------------------------------------------------------------------------- shared


def _given(mode: Pass) -> tuple[str, ...]:
    return ("audio", "video") if mode == "both" else (mode,)


def _check(audio: Tensor | None, video: Tensor | None, mode: str) -> None:
    if mode not in ("both", "audio", "video"):
        raise InputError("mode", f"{mode!r} is unknown", "use both, audio or video")
    for name, values in (("audio", audio), ("video", video)):
        if mode in (name, "both") and (values is None or len(values) != 1):
            n = "None" if values is None else f"{len(values)} clips"
            raise InputError(name, f"is {n}", "give one clip, as a batch of one")


def _maps(encoder: AudioVisualEncoder, values: dict[str, Tensor]) -> Maps:
    """Values of tokens, `(N,)` a modality, at their places."""
    config = encoder.config
    audio, video = values.get("audio"), values.get("video")
    if video is not None:
        rows = video[None]
        if config.layout == "official":
            rows = time_first(rows, config.video_grid)
        video = rows.view(config.video_grid)
    return Maps(None if audio is None else audio.view(config.audio_grid), video)
