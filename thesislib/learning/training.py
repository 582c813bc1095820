"""The training loop: a run that can be killed at any step and ends as if it had not been.

`fit` trains a model on a data set by a loss that the caller writes. What it draws (the order of
the samples, masks, mixing, dropout) depends on the seed, the epoch and the step alone or lies in
the checkpoint, and learning rates are closed forms of the step. Devices, precision and processes
are Lightning Fabric's (`thesislib.learning.processes`), files `thesislib.learning.checkpointing`'s.

A batch is what one optimiser step sees. It is cut into `accumulate` micro-batches and those into
shares of the processes, all weighted by their samples, so that for a loss that is a mean over
samples neither number changes the result (beyond rounding). Batch normalisation and `mixup` see
one share at a time, which does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from thesislib.errors import InputError
from thesislib.learning.checkpointing import (
    Checkpoint,
    contained_randomness,
    discard_damaged,
    load_checkpoint,
)
from thesislib.learning.datasets import (
    Batch,
    TensorData,
    class_weights,
    mixup,
    smallest_batch,
    steps_per_epoch,
)
from thesislib.learning.loop import DivergenceError, Loss, Run, Validate, rate_factor
from thesislib.learning.processes import gather_objects, make_fabric, rank_and_processes
from thesislib.learning.reporting import Reporter

__all__ = [
    "Batch",
    "DivergenceError",
    "Fitted",
    "Loss",
    "TensorData",
    "TrainingConfig",
    "class_weights",
    "fit",
    "mixup",
    "rate_factor",
]

# What may differ between the runs that share a folder, since it does not decide the outcome.
_FREE = {"accumulate", "accelerator", "devices", "strategy", "compile", "checkpoint_every"}
_FREE |= {"workers"}


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a model is trained.

    Attributes:
        epochs: Passes over the data; with `sample_weights`, as many draws as there are samples.
        batch_size: Samples of an optimiser step, over all processes and micro-batches.
        learning_rate: At the start, for parameter groups that do not bring their own.
        schedule: ``cosine`` (to zero, step by step), ``step`` or ``constant``.
        step_epochs: Epochs between the drops of ``step``.
        step_factor: What such a drop multiplies the rate by.
        betas: Of Adam.
        weight_decay: Of Adam: added to the gradient, as an L2 penalty.
        mixup: Alpha of `mixup`; 0 leaves it out.
        patience: Epochs without a better `monitor` after which training stops; 0 never does.
        accumulate: Micro-batches of a step; more take less memory.
        clip_norm: Largest norm of the gradient; 0 leaves it as it is.
        precision: One of `thesislib.learning.processes.PRECISIONS`.
        strategy: ``auto``, ``ddp`` or ``fsdp``.
        devices: Processes, one a device.
        accelerator: ``cpu``, ``cuda`` or ``auto``.
        compile: Train through ``torch.compile``.
        checkpoint_every: Steps between checkpoints; 0: only at the end of each epoch.
        monitor: What the best epoch is chosen by: a name that `validate` returns, or without
            `validate` one that the loss returns.
        mode: ``min`` or ``max`` of it is best.
        seed: Of everything drawn.
        workers: Processes that fetch batches ahead; 0 fetches in this one.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    schedule: str = "cosine"
    step_epochs: int = 5
    step_factor: float = 0.5
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    mixup: float = 0.0
    patience: int = 0
    accumulate: int = 1
    clip_norm: float = 0.0
    precision: str = "32-true"
    strategy: str = "auto"
    devices: int = 1
    accelerator: str = "cpu"
    compile: bool = False
    checkpoint_every: int = 0
    monitor: str = "loss"
    mode: str = "min"
    seed: int = 0
    workers: int = 0

    def __post_init__(self) -> None:
        for name, smallest in {
            **dict.fromkeys(("epochs", "batch_size", "step_epochs", "accumulate", "devices"), 1),
            **dict.fromkeys(("patience", "checkpoint_every", "seed", "workers"), 0),
        }.items():
            value = getattr(self, name)
            if not isinstance(value, int) or value < smallest:
                raise InputError(name, f"{value!r} is not a whole number", f"use >= {smallest}")
        for name in "learning_rate", "mixup", "clip_norm", "weight_decay", "step_factor":
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise InputError(name, f"{value!r} is no finite number >= 0", "change it")
        for name, known in ("schedule", ("cosine", "step", "constant")), ("mode", ("min", "max")):
            if getattr(self, name) not in known:
                problem = f"{getattr(self, name)!r} is unknown"
                raise InputError(name, problem, f"use {', '.join(known)}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise InputError("betas", f"{self.betas} leave [0, 1)", "the usual are (0.9, 0.999)")
        if self.batch_size < self.accumulate * self.devices:
            raise InputError(
                "batch_size",
                f"{self.batch_size} samples do not give each of {self.accumulate} micro-batches"
                f" on {self.devices} devices one",
                "raise it, or lower accumulate or devices",
            )


@dataclass(frozen=True)
class Fitted:
    """A trained model and how it got there.

    Attributes:
        model: With the weights of its best epoch, in evaluation mode.
        history: One row an epoch: ``epoch`` (from 1), ``step``, ``learning_rate`` (after it, of
            the first group), ``train_<name>`` for each scalar of the loss (mean over samples), and
            what `validate` returned.
        best_epoch: Epoch of the best `monitor`, from 1.
        steps: Optimiser steps taken.
    """

    model: nn.Module
    history: pd.DataFrame
    best_epoch: int
    steps: int


def fit(
    model: nn.Module,
    loss: Loss,
    train: Dataset,
    *,
    config: TrainingConfig,
    validate: Validate | None = None,
    sample_weights: Tensor | None = None,
    parameter_groups: Sequence[dict] | None = None,
    folder: Path | None = None,
    key: str = "",
    progress: bool = True,
) -> Fitted:
    """Train a model, or go on with it, or only load it where it is finished.

    Args:
        model: Changed in place, and moved to the device.
        loss: Takes the model, a batch and a generator (on the CPU, the same for a seed, step and
            micro-batch) and returns scalars, means over the samples; ``loss`` is minimised, the
            others are logged.
        train: With ``__len__``, and best with ``__getitems__(indices) -> {name: (B, …)}``; its
            attribute ``transform(batch, generator)``, if any, changes each batch.
        config: How.
        validate: Scores the model after each epoch; called in evaluation mode without gradients,
            in full precision, in every process.
        sample_weights: `(N,)`: draw samples in these proportions, with replacement. Weights of
            the training part alone; see `class_weights`.
        parameter_groups: As torch.optim takes them, each with an own ``lr`` if need be; by
            default all parameters that require a gradient.
        folder: For checkpoints and TensorBoard. Where it holds a checkpoint, training goes on
            from there; where it holds a finished run, that is loaded.
        key: What made the run: data, code, sizes. Another key in `folder` is refused.
        progress: A bar on a terminal, a line an epoch elsewhere; False for neither.

    Raises:
        InputError: Nothing to train on, weights that do not fit, another run in `folder`, a
            `monitor` that nobody measures.
        DivergenceError: A loss or gradient is NaN or infinite; nothing of that step is saved.

    >>> data = TensorData(x=torch.randn(8, 2), y=torch.zeros(8, 1))
    >>> def loss(model, batch, generator):
    ...     return {"loss": (model(batch["x"]) - batch["y"]).square().mean()}
    >>> config = TrainingConfig(epochs=2, batch_size=4, learning_rate=0.1)
    >>> fitted = fit(nn.Linear(2, 1), loss, data, config=config, progress=False)
    >>> fitted.steps, list(fitted.history.columns)
    (4, ['epoch', 'step', 'learning_rate', 'train_loss'])
    """
    n_samples = _check_data(train, config, sample_weights)
    groups = _named_groups(model, parameter_groups)
    fabric = make_fabric(
        accelerator=config.accelerator,
        devices=config.devices,
        strategy=config.strategy,
        precision=config.precision,
    )
    record = {"key": key, "config": asdict(config), "n_samples": n_samples}
    checkpoint = None if folder is None else _load(folder, record)
    if checkpoint is not None and checkpoint.record["finished"]:
        model.load_state_dict(checkpoint.best)
        return _fitted(model.to(fabric.device).eval(), checkpoint.record["position"])
    with contained_randomness(config.seed, fabric.global_rank, 1):
        run = Run(
            fabric,
            model,
            loss,
            train,
            n_samples,
            config,
            groups,
            sample_weights,
            folder,
            record,
            checkpoint,
        )
        first = fabric.global_rank == 0
        reporter = Reporter(
            folder / "tensorboard" if folder is not None and first else None,
            progress=progress and first,
            total_steps=config.epochs * run.epoch_steps,
            done_steps=run.position.step,
        )
        with reporter:
            run.train(validate, reporter)
        if folder is not None:
            fabric.barrier()
            finished = load_checkpoint(folder, key)
            assert finished is not None, "the run has just written it"
            run.best = finished.best
        run.load_best(run.best)
        return _fitted(model, asdict(run.position))


def _fitted(model: nn.Module, position: dict[str, Any]) -> Fitted:
    history = pd.DataFrame(position["history"])
    return Fitted(model, history, position["best_epoch"], position["step"])


def _load(folder: Path, record: dict[str, Any]) -> Checkpoint | None:
    """The checkpoint to go on from: the same one in every process."""
    checkpoint = load_checkpoint(folder, record["key"])
    steps = gather_objects(None if checkpoint is None else checkpoint.record["step"])
    if len(set(steps)) > 1:
        raise InputError(folder, f"processes see checkpoints {steps}", "use a shared file system")
    if checkpoint is not None:
        theirs = checkpoint.record
        for name, mine in record["config"].items():
            mine = list(mine) if isinstance(mine, tuple) else mine
            if name not in _FREE and theirs["config"].get(name) != mine:
                problem = f"holds a run with {name} {theirs['config'].get(name)!r}, not {mine!r}"
                raise InputError(folder, problem, "choose another folder, or remove this one")
        if theirs["n_samples"] != record["n_samples"]:
            problem = f"holds a run on {theirs['n_samples']} samples, not {record['n_samples']}"
            raise InputError(folder, problem, "choose another folder, or remove this one")
    if rank_and_processes()[0] == 0 and folder.is_dir():
        discard_damaged(folder, steps[0])
    return checkpoint


def _check_data(train: Dataset, config: TrainingConfig, sample_weights: Tensor | None) -> int:
    n_samples = len(train)  # type: ignore[arg-type]
    smallest = smallest_batch(config.batch_size, config.devices)
    if not steps_per_epoch(n_samples, config.batch_size, config.devices):
        raise InputError(
            "training set",
            f"has {n_samples} samples, fewer than the {smallest} that a batch needs"
            if n_samples
            else "is empty",
            "give more, or lower batch_size",
        )
    if sample_weights is None:
        return n_samples
    weights = sample_weights.double()
    if weights.shape != (n_samples,):
        raise InputError(
            "sample_weights",
            f"shape {tuple(weights.shape)} does not fit {n_samples} samples",
            "give one weight a training sample",
        )
    problem = ""
    if not bool(torch.isfinite(weights).all()) or bool((weights < 0).any()):
        problem = "hold negative or infinite values, or NaN"
    elif not bool((weights > 0).any()):
        problem = "are all zero"
    if problem:
        raise InputError("sample_weights", problem, "give weights >= 0, such as class_weights")
    return n_samples


def _named_groups(model: nn.Module, groups: Sequence[dict] | None) -> list[dict[str, Any]]:
    """Parameter groups with the names of their parameters, those that require a gradient."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    if groups is None:
        groups = [{"params": list(model.parameters())}]
    named = []
    for group in groups:
        parameters = group["params"]
        parameters = [parameters] if isinstance(parameters, Tensor) else list(parameters)
        if any(id(parameter) not in names for parameter in parameters):
            raise InputError(
                "parameter_groups",
                "hold a parameter that is not the model's",
                "make it part of the model, so that checkpoints have it",
            )
        trained = [names[id(p)] for p in parameters if p.requires_grad]
        named += [{**group, "params": trained}] if trained else []
    if not named:
        raise InputError("model", "has no parameter to train", "set requires_grad on some")
    return named
