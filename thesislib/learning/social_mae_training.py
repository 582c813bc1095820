"""Training of chapter 7: masked autoencoding, then a task, on decoded windows.

Whatever is trained lies under a hash of all that made it, so that a run that was stopped goes on
where it was, and jobs that share a pre-trained model share it.

Source: thesis sections 7.4.3 and 7.5; notes items 5 to 10.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from thesislib.caching import cache_folder, cache_key
from thesislib.code import code_sha256
from thesislib.config import SocialMaeConfig
from thesislib.corpora.splits import Split, speaker_split
from thesislib.errors import InputError
from thesislib.learning.checkpointing import contained_randomness
from thesislib.learning.datasets import Batch, seeded
from thesislib.learning.feature_cache import tensor_sha256
from thesislib.learning.losses import classification_loss, regression_loss
from thesislib.learning.processes import gather_with_gradient, shared_noise
from thesislib.learning.social_mae_data import TASKS, Say, Windows, load_pretraining
from thesislib.learning.training import (
    Fitted,
    Loss,
    TensorData,
    TrainingConfig,
    class_weights,
    fit,
)
from thesislib.models.masked_autoencoder import (
    COLOURS,
    FineTunedModel,
    MaskedAutoencoder,
    MaskedAutoencoderConfig,
    Mode,
)
from thesislib.models.masked_autoencoder_checkpoints import inflate_frames, load_official
from thesislib.signals.audio_visual import PRESETS, FrontEnd

BETAS, WEIGHT_DECAY = (0.95, 0.999), 5e-7
"""Of Adam (note 8)."""
THESIS_RATES = {"ndc-me": (1e-5, 1e-4)}
"""Encoder and head as section 7.5 prints them; elsewhere `_TEXT` (note 9)."""
_TEXT = (1e-4, 1e-5)
PRETRAINING_SHARES = (0.9, 0.05, 0.05)
_BATCH = 32  # of evaluation
_MASKS = 71
_THIS = "thesislib.learning.social_mae_training"
Forward = Callable[[nn.Module, Batch], Tensor]
"""A model and a batch of inputs to outputs `(B, K)`."""


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
        decoder_heads=max(1, config.decoder_width // config.head_width),
        mask_ratio=config.mask_ratio,
        norm_pix_loss=config.norm_pix_loss,
        contrastive_weight=config.contrastive_weight,
    )


def front_end(config: SocialMaeConfig) -> FrontEnd:
    """From windows to inputs: Social-MAE's normalisation, or NDC-ME's own for its pictures.

    One for both corpora of pre-training and all tasks, so that a zero-shot error is in units that
    a pre-trained model knows; the colours of section 7.3 are those of the real NDC-ME.
    """
    return FrontEnd(
        preset=PRESETS["ndc-me" if config.corpus == "ndc-me" else "social-mae"],
        audio_frames=config.audio_frames,
        n_frames=config.n_frames,
        image_size=config.image_size,
    )


def inputs(batch: Mapping[str, Tensor], sizes: MaskedAutoencoderConfig) -> tuple[Tensor, Tensor]:
    """Audio and video of a batch; a corpus without pictures shows even grey."""
    audio = batch["audio"]
    if "video" in batch:
        return audio, batch["video"]
    shape = (len(audio), COLOURS, sizes.n_frames, sizes.image_size, sizes.image_size)
    return audio, audio.new_zeros(shape)


# Pre-training ------------------------------------------------------------------------------------


def pretrain(config: SocialMaeConfig, *, say: Say = lambda line: None) -> Pretrained:
    """Masked autoencoding of the corpus of pre-training.

    The task's configuration does not count: jobs of several tasks share the result.

    Raises:
        InputError: the corpus is not there or has no usable window, sizes that do not fit, or a
            checkpoint that does not.
    """
    sizes = model_config(config)
    _, windows = load_pretraining(config, say=say)
    return pretrain_on(config, sizes, windows, say=say)


def pretrain_on(
    config: SocialMaeConfig,
    sizes: MaskedAutoencoderConfig,
    windows: Windows,
    *,
    say: Say = lambda line: None,
) -> Pretrained:
    """`pretrain` on windows at hand."""
    if len({clip.speaker for clip in windows.clips}) < 3:
        mend = "raise pretraining_clips, to hold some speakers out"
        raise InputError(config.pretraining, "has fewer than three speakers", mend)
    split = speaker_split(windows.clips, seed=0, shares=PRETRAINING_SHARES)
    train = torch.from_numpy(split.train)
    held_out = torch.from_numpy(np.sort(np.concatenate([split.validation, split.test])))
    front = front_end(config)
    with_video = windows.frames is not None
    with contained_randomness(config.seed, 70):
        model = MaskedAutoencoder(sizes)
    if config.weights:
        load_weights(model, Path(config.weights))
    tensors = windows.tensors()
    key = cache_key(
        inputs={name: tensor_sha256(values) for name, values in tensors.items()},
        split=split.sha256,
        start=_weights_sha256(model),
        options=[config.pretraining_epochs, config.pretraining_batch, config.pretraining_rate],
        more=[config.precision, config.seed, str(sizes), str(front)],
        code=code_sha256([_THIS]),
    )

    def loss(model: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        audio, video = inputs(batch, sizes)
        noise = tuple(
            shared_noise(len(audio), n, generator=generator).to(audio.device)
            for n in (sizes.n_audio_tokens, sizes.n_video_tokens)
        )
        found = model(
            audio, video, noise=noise, gather=gather_with_gradient,
            contrast=with_video,  # sound has no partner where there are no pictures
        )  # fmt: skip
        return {
            "loss": found.loss,
            "audio": found.audio_loss,
            "video": found.video_loss,
            "contrast": found.contrastive_loss,
            "retrieval": found.retrieval_accuracy,
        }

    def validate(model: nn.Module) -> dict[str, float]:
        device = next(model.parameters()).device
        sums = dict.fromkeys(("loss", "audio", "video"), 0.0)
        generator = seeded(_MASKS)  # the same masks each time
        for rows in held_out.split(_BATCH):
            batch = front({name: values[rows] for name, values in tensors.items()})
            audio, video = (part.to(device) for part in inputs(batch, sizes))
            found = model(audio, video, generator=generator, contrast=False)
            for name, value in zip(
                sums, (found.loss, found.audio_loss, found.video_loss), strict=True
            ):
                sums[name] += float(value) * len(rows) / len(held_out)
        return sums

    fitted = fit(
        model,
        loss,
        TensorData(transform=front, **{name: values[train] for name, values in tensors.items()}),
        config=TrainingConfig(
            epochs=config.pretraining_epochs,
            batch_size=config.pretraining_batch,
            learning_rate=config.pretraining_rate,
            schedule="step",
            betas=BETAS,
            weight_decay=WEIGHT_DECAY,
            precision=config.precision,
            accelerator="auto",
            seed=config.seed,
        ),
        validate=validate,
        folder=cache_folder("social-mae", key),
        key=key,
        progress=False,
    )
    say(f"pre-trained on {len(train)} windows: loss {fitted.history['loss'].min():.4f}")
    model.to("cpu").eval()
    return Pretrained(model, fitted.history)


def load_weights(model: MaskedAutoencoder, path: Path) -> None:
    """Start from a checkpoint of the authors, inflated where it has one frame and we several.

    Raises:
        InputError: the file cannot be read, or does not fit.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError) as error:
        mend = "name a file that torch.save wrote"
        raise InputError(path, f"is no checkpoint ({error})", mend) from error
    kernel = state.get("module.patch_embed_v.proj.weight", state.get("patch_embed_v.proj.weight"))
    one_frame = kernel is not None and (kernel.ndim == 4 or kernel.shape[-1] == 1)
    if one_frame and model.config.n_frames > 1:
        state = inflate_frames(state, model.config)
    load_official(model, state)


# Tasks -------------------------------------------------------------------------------------------


def train_task(
    config: SocialMaeConfig,
    windows: Windows,
    split: Split,
    target: Tensor,
    names: Sequence[str],
    mode: Mode,
    pretrained: MaskedAutoencoder | None = None,
) -> Fitted:
    """The encoder with a head, trained on the training part; the best epoch by validation.

    Args:
        config: How.
        windows: Of the task's corpus.
        split: Of these windows.
        target: `(N,)` class numbers, or `(N, K)` values in [0, 1].
        names: Classes or values.
        mode: ``audio``, ``video`` or ``both``.
        pretrained: Gives the encoder's weights; None leaves them random.
    """
    corpus = config.corpus.removesuffix("-twin")
    kind = TASKS[corpus].kind
    sizes = model_config(config)
    with contained_randomness(config.seed, 72):
        model = FineTunedModel(sizes, len(names), kind)
    if pretrained is not None:
        model.encoder.load_state_dict(pretrained.encoder.state_dict())
    if kind == "regression":
        _start_at_mean(model, target[torch.from_numpy(split.train)])
    front, probe = front_end(config), config.scope == "probe"
    encoder_rate, head_rate = config.learning_rate, config.head_rate
    if config.rates == "thesis":
        encoder_rate, head_rate = THESIS_RATES.get(corpus, _TEXT)
    groups = [{"params": list(model.head.parameters()), "lr": head_rate}]
    if probe:
        model.encoder.requires_grad_(False)
        tensors = {"features": features_of(model, windows, mode, front)}
    else:
        tensors = windows.tensors()
        groups.append({"params": list(model.encoder.parameters()), "lr": encoder_rate})

    def forward(model: nn.Module, batch: Batch) -> Tensor:
        if probe:
            assert isinstance(model, FineTunedModel)
            outputs: Tensor = model.head(batch["features"])
        else:
            outputs = model(batch.get("audio"), batch.get("video"), mode)
        return outputs

    fitted = fit_task(
        config, model, tensors, target, split, names, mode,
        forward=forward, front=None if probe else front, groups=groups,
    )  # fmt: skip
    model.requires_grad_(True)
    return fitted


def fit_task(
    config: SocialMaeConfig,
    model: nn.Module,
    tensors: Mapping[str, Tensor],
    target: Tensor,
    split: Split,
    names: Sequence[str],
    mode: str,
    *,
    forward: Forward,
    front: FrontEnd | None,
    groups: list[dict],
    loss: Loss | None = None,
) -> Fitted:
    """Train a model of any kind on a task, as `train_task` does; baselines have the same budget.

    Args:
        config: How.
        model: Changed in place.
        tensors: What `forward` needs, `(N, …)` each, before the front end.
        target: As in `train_task`.
        split: Of the N.
        names: Classes or values.
        mode: Goes into the key of the cache.
        forward: Model and batch to outputs `(B, K)`.
        front: Makes inputs of a batch; None where they are made already.
        groups: Of parameters, each with its rate.
        loss: To be minimised; by default the task's, of what `forward` says.
    """
    kind = TASKS[config.corpus.removesuffix("-twin")].kind
    train, validation = (torch.from_numpy(part) for part in (split.train, split.validation))
    score = regression_loss if kind == "regression" else classification_loss
    key = cache_key(
        inputs={name: tensor_sha256(values) for name, values in tensors.items()},
        target=tensor_sha256(target),
        split=split.sha256,
        start=_weights_sha256(model),
        model=f"{type(model).__name__} {config.model} {mode} {config.scope} {front}",
        options=[config.epochs, config.batch_size, config.precision, config.seed, config.rates],
        rates=[config.learning_rate, config.head_rate],
        code=code_sha256([_THIS, "thesislib.learning.social_mae_baselines"]),
    )

    def plain(model: nn.Module, batch: Batch, _: torch.Generator) -> dict[str, Tensor]:
        return {"loss": score(forward(model, batch), batch["target"])}

    def validate(model: nn.Module) -> dict[str, float]:
        outputs = outputs_of(model, tensors, validation, forward, front)
        return {"loss": float(score(outputs, target[validation]))}

    fitted = fit(
        model,
        loss or plain,
        TensorData(
            transform=front,
            target=target[train],
            **{name: values[train] for name, values in tensors.items()},
        ),
        config=TrainingConfig(
            # A probe costs next to nothing and, having one layer only, needs the steps.
            epochs=config.epochs * (10 if config.scope == "probe" else 1),
            batch_size=config.batch_size,
            learning_rate=config.learning_rate,
            betas=BETAS,
            weight_decay=WEIGHT_DECAY,
            precision=config.precision,
            accelerator="auto",
            seed=config.seed,
        ),
        validate=validate,
        sample_weights=class_weights(target[train], names) if kind == "classification" else None,
        parameter_groups=groups,
        folder=cache_folder("social-mae-tasks", key),
        key=key,
        progress=False,
    )
    model.to("cpu").eval()
    return fitted


@torch.no_grad()
def outputs_of(
    model: nn.Module,
    tensors: Mapping[str, Tensor],
    rows: Tensor,
    forward: Forward,
    front: FrontEnd | None,
) -> Tensor:
    """Outputs `(n, K)` of a model for some windows, in batches, with fixed frames."""
    model.eval()
    device = next(model.parameters()).device
    found = []
    for part in rows.split(_BATCH):
        batch: Mapping[str, Tensor] = {name: values[part] for name, values in tensors.items()}
        if front is not None:
            batch = front(batch)
        batch = {name: values.to(device) for name, values in batch.items()}
        found.append(forward(model, batch).float().cpu())
    return torch.cat(found)


@torch.no_grad()
def features_of(model: FineTunedModel, windows: Windows, mode: Mode, front: FrontEnd) -> Tensor:
    """Mean tokens `(N, width)` of every window by a frozen encoder."""

    def forward(model: nn.Module, batch: Batch) -> Tensor:
        assert isinstance(model, FineTunedModel)
        return model.encoder.pooled(batch.get("audio"), batch.get("video"), mode)

    return outputs_of(model, windows.tensors(), torch.arange(len(windows)), forward, front)


def _start_at_mean(model: FineTunedModel, target: Tensor) -> None:
    """Let a regression begin at the mean of its targets, so that it learns what differs."""
    head = model.head[-1]
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        head.bias.copy_(target.mean(dim=0))


def _weights_sha256(model: nn.Module) -> str:
    return tensor_sha256(torch.cat([p.detach().flatten() for p in model.state_dict().values()]))
