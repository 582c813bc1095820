"""The authors' weights of CAV-MAE and Social-MAE: load, export, and inflate from one frame.

Their checkpoints name tensors differently, store the patch embedding as a convolution and, for
several frames, number video tokens (height, width, time). A pre-training checkpoint has 647
tensors at full size, a fine-tuned one 478. Of these, 240 and 176 are layer norms that no forward
pass reaches; they are handed back on loading, and put back on export.

Source: note 11; the state dicts of YuanGongND/cav-mae and HuBohy/SocialMAE.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from thesislib.errors import InputError
from thesislib.models.masked_autoencoder import (
    COLOURS,
    FineTunedModel,
    MaskedAutoencoder,
    MaskedAutoencoderConfig,
    time_first,
    time_last,
)
from thesislib.models.transformer import sine_cosine_positions

State = dict[str, Tensor]

PREFIXES = {
    "encoder.audio.modality": "modality_a",
    "encoder.video.modality": "modality_v",
    "encoder.audio.positions": "pos_embed_a",
    "encoder.video.positions": "pos_embed_v",
    "encoder.audio.embed.": "patch_embed_a.proj.",
    "encoder.video.embed.": "patch_embed_v.proj.",
    "encoder.audio.blocks.": "blocks_a.",
    "encoder.video.blocks.": "blocks_v.",
    "encoder.joint.blocks.": "blocks_u.",
    "encoder.joint.norm.audio.": "norm_a.",
    "encoder.joint.norm.video.": "norm_v.",
    "encoder.joint.norm.both.": "norm.",
    "decoder.embed.": "decoder_embed.",
    "decoder.mask_token": "mask_token",
    "decoder.audio_modality": "decoder_modality_a",
    "decoder.video_modality": "decoder_modality_v",
    "decoder.audio_positions": "decoder_pos_embed_a",
    "decoder.video_positions": "decoder_pos_embed_v",
    "decoder.blocks.": "decoder_blocks.",
    "decoder.norm.": "decoder_norm.",
    "decoder.predict_audio.": "decoder_pred_a.",
    "decoder.predict_video.": "decoder_pred_v.",
    "head.": "mlp_head.",
}
"""How our names begin, and how theirs do."""

UNUSED_NORM = re.compile(r"(blocks_[av]|decoder_blocks)\.\d+\.norm[12]_[av]\.(weight|bias)")
PASS_SUFFIXES = {".both.": ".", ".audio.": "_a.", ".video.": "_v."}


def official_name(name: str) -> str:
    """The authors' name of one of our tensors.

    >>> official_name("encoder.joint.blocks.0.norm1.audio.weight")
    'blocks_u.0.norm1_a.weight'
    """
    ours = next(prefix for prefix in PREFIXES if name.startswith(prefix))
    theirs = PREFIXES[ours] + name[len(ours) :]
    if theirs.startswith("blocks_u."):
        for suffix, short in PASS_SUFFIXES.items():
            theirs = theirs.replace(suffix, short)
    return theirs


def load_official(model: MaskedAutoencoder | FineTunedModel, state: Mapping[str, Tensor]) -> State:
    """Load a checkpoint of the authors into one of our models, in place.

    A pre-training checkpoint may go into a `FineTunedModel`: the decoder is dropped and the head
    stays as it was initialised. In the ``consistent`` layout the positions of several frames are
    brought into our order, which leaves what the encoder computes as it was; but the authors'
    decoder draws patches in an order of its own, so reconstruct with ``layout="official"``.

    Args:
        model: Of the checkpoint's sizes.
        state: Tensors by the authors' names, with or without ``module.`` in front.

    Returns:
        The tensors that no forward pass reaches, for `official_state`.

    Raises:
        InputError: Tensors are missing, unknown or of another shape; the message names them.
    """
    theirs = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    unused = {name: theirs.pop(name) for name in list(theirs) if UNUSED_NORM.fullmatch(name)}
    wanted = {name: official_name(name) for name in model.state_dict()}
    if isinstance(model, FineTunedModel) and "mask_token" in theirs:
        known = re.compile("decoder_|mask_token")
        theirs = {name: tensor for name, tensor in theirs.items() if not known.match(name)}
        unused = {name: tensor for name, tensor in unused.items() if not known.match(name)}
        wanted = {ours: name for ours, name in wanted.items() if not ours.startswith("head.")}
    _refuse("lacks", sorted(set(wanted.values()) - set(theirs)))
    _refuse("has, unknown to this model,", sorted(set(theirs) - set(wanted.values())))
    own = model.state_dict()
    converted: State = {}
    for ours, name in wanted.items():
        converted[ours] = _from_official(name, theirs[name], own[ours], model.config)
    model.load_state_dict(own | converted)
    return unused


def official_state(
    model: MaskedAutoencoder | FineTunedModel,
    unused: Mapping[str, Tensor] | None = None,
    *,
    prefix: str = "",
) -> State:
    """Our weights by the authors' names and shapes, to be loaded by their code.

    Args:
        model: Any of our models.
        unused: What `load_official` returned. Without it, and for what it lacks, these layer
            norms are ones and zeros, as the authors initialise them.
        prefix: ``module.`` for checkpoints as they were saved from parallel training.

    Returns:
        All tensors, 647 or 478 at full size, copied.
    """
    state: State = {}
    for ours, tensor in model.state_dict().items():
        name = official_name(ours)
        state[name] = _to_official(name, tensor, model.config).clone()
        norm = re.fullmatch(r"((?:blocks_[av]|decoder_blocks)\.\d+\.norm[12])\.(weight|bias)", name)
        if norm:
            for modality in "av":
                spare = f"{norm[1]}_{modality}.{norm[2]}"
                default = torch.full_like(tensor, float(norm[2] == "weight"))
                state[spare] = (unused or {}).get(spare, default).clone()
    return {prefix + name: tensor for name, tensor in state.items()}


def inflate_frames(
    state: Mapping[str, Tensor], config: MaskedAutoencoderConfig, *, time_code: bool = True
) -> State:
    """Make a checkpoint of one frame (CAV-MAE) fit a model of several (Social-MAE).

    The kernel of the video embedding is repeated in time and divided by the number of repeats, so
    that a tubelet of equal frames has the token of one; the prediction layer and the positions are
    repeated.

    Args:
        state: CAV-MAE by the authors' names, pre-trained or fine-tuned.
        config: Of the model to load into; its image and patch size are those of the checkpoint.
        time_code: Add to the positions how the sine-cosine code of each time step differs from
            that of the first. Without it no layer can tell one time step from another, and the
            decoder draws the same patch at each; but a still clip then gives, in mode ``video``,
            the very output of the one-frame model.

    Returns:
        The checkpoint by the authors' names, in their order of positions, without ``module.``.

    Raises:
        InputError: The checkpoint is not of one frame, or of another image size.
    """
    steps, side, _ = config.video_grid
    inflated = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    _refuse("lacks", [n for n in ("patch_embed_v.proj.weight", "pos_embed_v") if n not in inflated])
    kernel = inflated["patch_embed_v.proj.weight"]
    if kernel.ndim == 5 and kernel.shape[-1] == 1:
        kernel = kernel.squeeze(-1)
    if kernel.ndim != 4:
        raise InputError(
            "patch_embed_v.proj.weight",
            f"shape {tuple(kernel.shape)} is not of one frame",
            "inflate a CAV-MAE checkpoint",
        )
    s = config.tubelet_frames
    inflated["patch_embed_v.proj.weight"] = kernel.unsqueeze(-1).repeat(1, 1, 1, 1, s) / s
    for name in ("pos_embed_v", "decoder_pos_embed_v"):
        if name not in inflated:
            continue
        rows = inflated[name]
        if rows.shape[1] != side * side:
            raise InputError(
                name,
                f"{rows.shape[1]} positions do not fit {side} x {side} patches",
                "keep image_size and patch_size of the checkpoint",
            )
        rows = rows.unsqueeze(2).repeat(1, 1, steps, 1)  # (1, height x width, time, width)
        if time_code:
            code = sine_cosine_positions(rows.shape[-1], (steps,)).to(rows)
            rows = rows + (code - code[0])
        inflated[name] = rows.flatten(1, 2)
    for name in ("decoder_pred_v.weight", "decoder_pred_v.bias"):
        if name in inflated:
            inflated[name] = torch.cat([inflated[name]] * s)
    return inflated


def _refuse(verb: str, names: list[str]) -> None:
    if names:
        raise InputError(
            "checkpoint",
            f"{verb} {len(names)} tensors: {', '.join(names[:3])}{', …' if names[3:] else ''}",
            "use a CAV-MAE or Social-MAE checkpoint of the configured depths",
        )


def _from_official(
    name: str, tensor: Tensor, ours: Tensor, config: MaskedAutoencoderConfig
) -> Tensor:
    p, s = config.patch_size, config.tubelet_frames
    found = tuple(tensor.shape)
    if name == "patch_embed_a.proj.weight" and found[1:] == (1, p, p):
        tensor = tensor.flatten(1)
    elif name == "patch_embed_v.proj.weight":
        if tensor.ndim == 4:
            tensor = tensor.unsqueeze(-1)
        if tensor.shape[1:] == (COLOURS, p, p, s):  # to our patches: time, height, width, colour
            tensor = tensor.permute(0, 4, 2, 3, 1).flatten(1)
    elif name.endswith("pos_embed_v") and config.layout == "consistent" and ours.shape == found:
        tensor = time_first(tensor, config.video_grid)
    if tensor.shape != ours.shape:
        expected = tuple(_to_official(name, ours, config).shape)
        raise InputError(
            f"checkpoint: {name}",
            f"shape {found} is not {expected}",
            "set the sizes of the config to the checkpoint's, or inflate_frames first",
        )
    return tensor


def _to_official(name: str, tensor: Tensor, config: MaskedAutoencoderConfig) -> Tensor:
    p, s = config.patch_size, config.tubelet_frames
    if name == "patch_embed_a.proj.weight":
        return tensor.unflatten(1, (1, p, p))
    if name == "patch_embed_v.proj.weight":
        kernel = tensor.unflatten(1, (s, p, p, COLOURS)).permute(0, 4, 2, 3, 1)
        return kernel.squeeze(-1) if config.n_frames == 1 else kernel.contiguous()
    if name.endswith("pos_embed_v") and config.layout == "consistent":
        return time_last(tensor, config.video_grid)
    return tensor
