"""Training of chapter 7's tasks: a pre-trained encoder with a head, or any other model.

Whatever is trained lies under a hash of all that made it, so that a run that was stopped goes on
where it was, and jobs that share a step share its result.

Source: thesis section 7.5; notes items 9 and 10.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from thesislib.caching import cache_folder, cache_key
from thesislib.code import code_sha256
from thesislib.config import SocialMaeConfig
from thesislib.corpora.splits import Split
from thesislib.learning.checkpointing import contained_randomness
from thesislib.learning.datasets import Batch
from thesislib.learning.feature_cache import tensor_sha256
from thesislib.learning.losses import classification_loss, regression_loss
from thesislib.learning.processes import checkpoint_activations
from thesislib.learning.social_mae_data import Windows
from thesislib.learning.social_mae_inputs import front_end
from thesislib.learning.social_mae_pretraining import BATCH, BETAS, WEIGHT_DECAY, model_config
from thesislib.learning.social_mae_start import attend_to_likes, weights_sha256
from thesislib.learning.social_mae_tasks import TASKS
from thesislib.learning.training import (
    Fitted,
    Loss,
    TensorData,
    TrainingConfig,
    class_weights,
    fit,
)
from thesislib.models.masked_autoencoder import (
    FineTunedModel,
    JointBlock,
    MaskedAutoencoder,
    Mode,
)
from thesislib.models.transformer import Block
from thesislib.signals.audio_visual import FrontEnd

THESIS_RATES = {"ndc-me": (1e-5, 1e-4)}
"""Encoder and head as section 7.5 prints them; elsewhere `_TEXT` (note 9)."""
_TEXT = (1e-4, 1e-5)
_THIS = "thesislib.learning.social_mae_training"
Forward = Callable[[nn.Module, Batch], Tensor]
"""A model and a batch of inputs to outputs `(B, K)`."""


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
        if config.attention_start == "likes":
            attend_to_likes(model)
    if pretrained is not None:
        model.encoder.load_state_dict(pretrained.encoder.state_dict())
    if kind == "regression":
        _start_at_mean(model, target[torch.from_numpy(split.train)])
    front, probe = front_end(config), config.scope == "probe"
    if config.checkpointed and not probe:
        for layers in (Block, JointBlock):
            checkpoint_activations(model, layers)
    encoder_rate, head_rate = config.learning_rate, config.head_rate
    if config.rates == "thesis":
        encoder_rate, head_rate = THESIS_RATES.get(corpus, _TEXT)
    groups = [{"params": list(model.head.parameters()), "lr": head_rate}]
    if probe:
        part: nn.Module = model.head
        tensors = {"features": features_of(model, windows, mode, front)}
    else:
        part, tensors = model, windows.tensors()
        groups.append({"params": list(model.encoder.parameters()), "lr": encoder_rate})

    def forward(model: nn.Module, batch: Batch) -> Tensor:
        if probe:
            outputs: Tensor = model(batch["features"])
        else:
            outputs = model(batch.get("audio"), batch.get("video"), mode)
        return outputs

    fitted = fit_task(
        config, part, tensors, target, split, names, mode,
        forward=forward, front=None if probe else front, groups=groups,
    )  # fmt: skip
    return replace(fitted, model=model.eval())


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
        start=weights_sha256(model),
        model=f"{type(model).__name__} {config.model} {mode} {config.scope} {front}",
        options=[config.epochs, config.batch_size, config.precision, config.seed, config.rates],
        rates=[config.learning_rate, config.head_rate, config.clip_norm],
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
            # One layer on features that are there already costs next to nothing and needs steps.
            epochs=config.epochs * (10 if front is None else 1),
            batch_size=config.batch_size,
            learning_rate=config.learning_rate,
            betas=BETAS,
            weight_decay=WEIGHT_DECAY,
            clip_norm=config.clip_norm,
            precision=config.precision,
            accelerator="auto",
            compile=config.compile,
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
    for part in rows.split(BATCH):
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
