"""Masked autoencoding of chapter 7, and the sizes that its tasks share with it.

Source: thesis section 7.4.3; notes items 5 to 8.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from thesislib.caching import cache_folder, cache_key
from thesislib.code import code_sha256
from thesislib.config import SocialMaeConfig
from thesislib.corpora.splits import speaker_split
from thesislib.errors import InputError
from thesislib.learning.checkpointing import contained_randomness, load_checkpoint
from thesislib.learning.datasets import Batch, seeded
from thesislib.learning.processes import checkpoint_activations, gather_with_gradient
from thesislib.learning.social_mae_data import Say, Windows, load_pretraining
from thesislib.learning.social_mae_draws import TrainingFrontEnd, draw_masks
from thesislib.learning.social_mae_inputs import SHARES, front_end, inputs, preset_of
from thesislib.learning.social_mae_source import Rows, Source, of_shards, of_windows
from thesislib.learning.social_mae_start import attend_to_likes, load_weights, weights_sha256
from thesislib.learning.training import TrainingConfig, fit
from thesislib.models.masked_autoencoder import (
    JointBlock,
    MaskedAutoencoder,
    MaskedAutoencoderConfig,
)
from thesislib.models.transformer import Block
from thesislib.signals.audio_visual import FrontEnd

BETAS, WEIGHT_DECAY = (0.95, 0.999), 5e-7
"""Of Adam (note 8)."""
BATCH = 32
"""Windows in a batch of evaluation."""
_MASKS = 71


class Pretrained(NamedTuple):
    """What pre-training hands on.

    Attributes:
        model: With the weights of its best epoch.
        history: One row an epoch.
    """

    model: MaskedAutoencoder
    history: pd.DataFrame


def model_config(config: SocialMaeConfig) -> MaskedAutoencoderConfig:
    """Sizes of the model; tubelets of two frames where there are several.

    Raises:
        InputError: sizes that do not divide by the patch, a number of frames that does not fit.
    """
    several = config.n_frames > 1
    return MaskedAutoencoderConfig(
        image_size=config.image_size,
        n_frames=config.n_frames,
        tubelet_frames=2 if several else 1,
        audio_frames=config.audio_frames,
        patch_size=config.patch_size,
        width=config.width,
        n_heads=max(1, config.width // config.head_width),
        modality_depth=config.depth,
        decoder_width=config.decoder_width,
        decoder_depth=config.decoder_depth,
        decoder_heads=config.decoder_heads,
        mask_ratio=config.mask_ratio,
        norm_pix_loss=config.norm_pix_loss,
        contrastive_weight=config.contrastive_weight,
    )


def pretrain(config: SocialMaeConfig, *, say: Say = lambda line: None) -> Pretrained:
    """Masked autoencoding of the corpus of pre-training.

    The task's configuration does not count: jobs of several tasks share the result.

    Raises:
        InputError: the corpus is not there or has no usable window, sizes that do not fit, or a
            checkpoint that does not.
    """
    sizes = model_config(config)
    if config.shards:
        return pretrain_on(config, sizes, of_shards(config, say=say), say=say)
    _, windows = load_pretraining(config, say=say)
    return pretrain_on(config, sizes, windows, say=say)


def pretrain_on(
    config: SocialMaeConfig,
    sizes: MaskedAutoencoderConfig,
    windows: Windows | Source,
    *,
    say: Say = lambda line: None,
) -> Pretrained:
    """`pretrain` on windows at hand.

    What is drawn, and so the outcome, does not depend on the number of processes, nor on whether
    the model is sharded.
    """
    source = of_windows(windows) if isinstance(windows, Windows) else windows
    if len({clip.speaker for clip in source.clips}) < 3:
        mend = "raise pretraining_clips, to hold some speakers out"
        raise InputError(config.pretraining, "has fewer than three speakers", mend)
    split = speaker_split(source.clips, seed=0, shares=SHARES)
    train = torch.from_numpy(split.train)
    held_out = torch.from_numpy(np.sort(np.concatenate([split.validation, split.test])))
    front = replace(front_end(config), preset=preset_of(config))  # whatever the task is
    contrast = source.with_video and sizes.contrastive_weight > 0
    model = _start(config, sizes, contrast=contrast)
    key = cache_key(
        source=source.sha256,
        split=split.sha256,
        start=weights_sha256(model),
        options=[config.pretraining_epochs, config.pretraining_batch, config.pretraining_rate],
        more=[config.precision, config.seed, str(sizes), str(front)],
        steps=[config.accumulate, config.clip_norm],
        code=code_sha256(["thesislib.learning.social_mae_pretraining"]),
    )
    folder = cache_folder("social-mae", key)
    fitted = fit(
        model,
        partial(_loss, sizes=sizes, contrast=contrast),
        Rows(source.data, train, TrainingFrontEnd(front)),
        config=_training(config),
        validate=partial(_validate, source=source, rows=held_out, front=front),
        folder=folder,
        key=key,
        progress=False,
    )
    if config.strategy == "fsdp":  # every process holds a part of the model, the folder all of it
        model = MaskedAutoencoder(sizes)
        finished = load_checkpoint(folder, key)
        assert finished is not None, "fit has written it"
        model.load_state_dict(finished.best)
    if not contrast:
        _norms_of_both(model)
    say(f"pre-trained on {len(train)} windows: loss {fitted.history['loss'].min():.4f}")
    model.to("cpu").eval()
    return Pretrained(model, fitted.history)


def _start(
    config: SocialMaeConfig, sizes: MaskedAutoencoderConfig, *, contrast: bool
) -> MaskedAutoencoder:
    with contained_randomness(config.seed, 70):
        model = MaskedAutoencoder(sizes)
        if config.attention_start == "likes":
            attend_to_likes(model)
    if config.weights:
        load_weights(model, Path(config.weights))
    if not contrast:  # nothing asks for these passes, and processes wait for every gradient
        for name, parameter in model.encoder.joint.named_parameters():
            if name.split(".")[-2] in ("audio", "video"):
                parameter.requires_grad_(False)
    if config.checkpointed:
        for kind in (Block, JointBlock):
            checkpoint_activations(model, kind)
    return model


def _norms_of_both(model: MaskedAutoencoder) -> None:
    """Give the passes that were not trained the norms of the one that was, for tasks to use."""
    for part in model.encoder.joint.modules():
        if isinstance(part, nn.ModuleDict):
            for which in ("audio", "video"):
                part[which].load_state_dict(part["both"].state_dict())


def _training(config: SocialMaeConfig) -> TrainingConfig:
    return TrainingConfig(
        epochs=config.pretraining_epochs,
        batch_size=config.pretraining_batch,
        learning_rate=config.pretraining_rate,
        schedule="step",
        betas=BETAS,
        weight_decay=WEIGHT_DECAY,
        accumulate=config.accumulate,
        clip_norm=config.clip_norm,
        precision=config.precision,
        strategy=config.strategy,
        devices=config.devices,
        accelerator="auto",
        compile=config.compile,
        checkpoint_every=config.checkpoint_every,
        seed=config.seed,
    )


def _loss(
    model: nn.Module,
    batch: Batch,
    generator: torch.Generator,
    *,
    sizes: MaskedAutoencoderConfig,
    contrast: bool,
) -> dict[str, Tensor]:
    """The losses of a step; sound has no partner to contrast where there are no pictures."""
    audio, video = inputs(batch, sizes)
    noise = draw_masks(len(audio), sizes, generator)
    found = model(
        audio, video, noise=tuple(part.to(audio.device) for part in noise),
        gather=gather_with_gradient, contrast=contrast,
    )  # fmt: skip
    return {
        "loss": found.loss,
        "audio": found.audio_loss,
        "video": found.video_loss,
        "contrast": found.contrastive_loss,
        "retrieval": found.retrieval_accuracy,
    }


def _validate(
    model: nn.Module, *, source: Source, rows: Tensor, front: FrontEnd
) -> dict[str, float]:
    """Losses of reconstruction on the rows held out, with the same masks each time."""
    assert isinstance(model, MaskedAutoencoder)
    device = next(model.parameters()).device
    sums = dict.fromkeys(("loss", "audio", "video"), 0.0)
    generator = seeded(_MASKS)
    for part in rows.split(BATCH):
        batch = front(source.data.__getitems__(part.tolist()))
        audio, video = (values.to(device) for values in inputs(batch, model.config))
        found = model(audio, video, generator=generator, contrast=False)
        losses = found.loss, found.audio_loss, found.video_loss
        for name, value in zip(sums, losses, strict=True):
            sums[name] += float(value) * len(part) / len(rows)
    return sums
