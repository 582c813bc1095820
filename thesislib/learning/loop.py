"""The inside of `thesislib.learning.training.fit`: steps, epochs, and what is kept of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from thesislib.errors import InputError
from thesislib.learning.checkpointing import (
    Checkpoint,
    random_states,
    save_checkpoint,
    set_random_states,
)
from thesislib.learning.datasets import (
    Batch,
    Share,
    batches,
    epoch_order,
    mixup,
    seeded,
    step_shares,
    steps_per_epoch,
)
from thesislib.learning.processes import (
    full_states,
    gather_objects,
    load_full_optimiser,
    load_full_weights,
)
from thesislib.learning.reporting import Reporter

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from thesislib.learning.training import TrainingConfig

Loss = Callable[[nn.Module, Batch, torch.Generator], dict[str, Tensor]]
Validate = Callable[[nn.Module], Mapping[str, float]]


class DivergenceError(RuntimeError):
    """A loss, gradient or weight is no longer finite; the checkpoints before it are kept.

    Attributes:
        step: Of the optimiser, counted from 1, that did not succeed.
        epoch: Counted from 1.
    """

    def __init__(self, step: int, epoch: int, problem: str, folder: Path | None) -> None:
        self.step, self.epoch = step, epoch
        has_one = folder is not None and any(folder.glob("checkpoint-*.json"))
        kept = f"; the last good checkpoint is kept in {folder}" if has_one else ""
        super().__init__(f"step {step} (epoch {epoch}): {problem}{kept}")


@dataclass
class Position:
    """Where a run is, and what it has measured; all of it lies in the checkpoint.

    Attributes:
        step: Optimiser steps done.
        epoch: Epochs done.
        batch: Steps done of the current epoch.
        samples: Samples seen in it.
        sums: Sums over them of the loss's scalars.
        history: Rows of the epochs done.
        best_epoch: From 1; 0 before the first ends.
        best_step: Steps done when it ended.
        best_value: Of the monitored name.
        finished: Nothing is left to do.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    samples: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    best_step: int | None = None
    best_value: float = math.nan
    finished: bool = False


def rate_factor(config: TrainingConfig, step: int, epoch_steps: int) -> float:
    """What the learning rates are multiplied by at a step, counted from 0.

    >>> from thesislib.learning.training import TrainingConfig
    >>> config = TrainingConfig(epochs=2, batch_size=4, learning_rate=0.1)
    >>> [round(rate_factor(config, step, 2), 3) for step in range(4)]
    [1.0, 0.854, 0.5, 0.146]
    """
    if config.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * step / (config.epochs * epoch_steps)))
    if config.schedule == "step":
        return config.step_factor ** (step // epoch_steps // config.step_epochs)
    return 1.0


class Run:
    """One training run in one process.

    Args:
        fabric: Started.
        model: On the CPU or the device, with its first weights.
        loss: See `fit`.
        train: Its data.
        n_samples: Their number.
        config: How.
        groups: Parameter groups with the names of parameters for ``params``.
        sample_weights: See `fit`.
        folder: For checkpoints, or None.
        record: What every checkpoint says besides the position.
        checkpoint: Where to go on from, or None.
    """

    def __init__(
        self,
        fabric: Fabric,
        model: nn.Module,
        loss: Loss,
        train: Dataset,
        n_samples: int,
        config: TrainingConfig,
        groups: Sequence[dict[str, Any]],
        sample_weights: Tensor | None,
        folder: Path | None,
        record: Mapping[str, Any],
        checkpoint: Checkpoint | None,
    ) -> None:
        self.fabric, self.model, self.loss, self.config = fabric, model, loss, config
        self.train_data, self.n_samples, self.sample_weights = train, n_samples, sample_weights
        self.folder, self.record = folder, record
        self.sharded = config.strategy == "fsdp"
        self.epoch_steps = steps_per_epoch(n_samples, config.batch_size, fabric.world_size)
        self.position = Position()
        self.best: dict[str, Tensor] = {}
        if checkpoint is not None:
            self.position = Position(**checkpoint.record["position"])
            model.load_state_dict(checkpoint.weights)
        _train_mode(model)
        trained: Any = torch.compile(model) if config.compile else model
        self.wrapped: Any = fabric.setup_module(trained)
        # By name, since sharding puts other parameters in the place of those that the caller gave.
        parameters = dict(model.named_parameters())
        self.parameters = [parameters[name] for group in groups for name in group["params"]]
        self.scaler = getattr(fabric.strategy.precision, "scaler", None)
        optimiser = torch.optim.Adam(
            [{**group, "params": [parameters[n] for n in group["params"]]} for group in groups],
            lr=config.learning_rate,
            betas=config.betas,
            weight_decay=config.weight_decay,
            # One pass over memory instead of a dozen; but it would unscale the gradients itself,
            # before they can be looked at.
            fused=self.scaler is None and not self.sharded,
        )
        self.rates = [group["lr"] for group in optimiser.param_groups]
        self.optimiser: Any = fabric.setup_optimizers(optimiser)
        if checkpoint is not None:
            self._restore(checkpoint.state)

    def _restore(self, state: Mapping[str, Any]) -> None:
        if self.sharded:
            load_full_optimiser(self.model, self.optimiser.optimizer, state["optimiser"])
        else:
            self.optimiser.load_state_dict(state["optimiser"])
        self.fabric.strategy.precision.load_state_dict(state["scaler"])
        if self.fabric.global_rank < len(state["random"]):
            set_random_states(state["random"][self.fabric.global_rank])

    # ------------------------------------------------------------------------------------- epochs

    def train(self, validate: Validate | None, reporter: Reporter) -> None:
        """Do what is left of the epochs."""
        while not self.position.finished:
            self._train_epoch(reporter)
            self._close_epoch(validate, reporter)

    def _train_epoch(self, reporter: Reporter) -> None:
        config, position = self.config, self.position
        order = epoch_order(
            self.n_samples,
            seed=config.seed,
            epoch=position.epoch,
            sample_weights=self.sample_weights,
        )
        plan = [
            step_shares(
                order,
                batch,
                batch_size=config.batch_size,
                accumulate=config.accumulate,
                rank=self.fabric.global_rank,
                processes=self.fabric.world_size,
            )
            for batch in range(position.batch, self.epoch_steps)
        ]
        indices = [share.indices for shares in plan for share in shares]
        feed = batches(self.train_data, indices, workers=config.workers)
        for shares in plan:
            reporter.step(position.step + 1, self._step(feed, shares))
            position.step += 1
            every, within = config.checkpoint_every, position.batch < self.epoch_steps
            if every and position.step % every == 0 and within:
                self._save()

    def _close_epoch(self, validate: Validate | None, reporter: Reporter) -> None:
        config, position = self.config, self.position
        row: dict[str, float] = {
            "epoch": position.epoch + 1,
            "step": position.step,
            "learning_rate": self.rates[0]
            * rate_factor(config, position.step - 1, self.epoch_steps),
        }
        means = {name: total / position.samples for name, total in position.sums.items()}
        measured = means
        row |= {f"train_{name}": mean for name, mean in means.items()}
        if validate is not None:
            measured = self._validate(validate)
            row |= measured
        if config.monitor not in measured:
            raise InputError(
                "monitor",
                f"{config.monitor!r} is not measured",
                f"use {', '.join(measured)}, or let validate return it",
            )
        value = measured[config.monitor]
        position.epoch, position.batch, position.samples = position.epoch + 1, 0, 0
        position.sums = {}
        position.history.append(row)
        sign = 1 if config.mode == "min" else -1
        # A monitor that is undefined for now gives way to any other.
        is_best = not position.best_epoch or math.isnan(position.best_value)
        is_best |= sign * value < sign * position.best_value
        if is_best:
            position.best_epoch, position.best_step = position.epoch, position.step
            position.best_value = value
        waited = position.epoch - position.best_epoch
        stops = 0 < config.patience <= waited
        position.finished = stops or position.epoch == config.epochs
        self._save(is_best=is_best)
        reporter.epoch(row, config.epochs)

    def _validate(self, validate: Validate) -> dict[str, float]:
        modes = {module: module.training for module in self.model.modules()}
        self.model.eval()
        with torch.no_grad():
            measured = {name: float(value) for name, value in validate(self.model).items()}
        for module, mode in modes.items():
            module.training = mode
        # All processes have to decide alike, even if their last digits differ.
        return gather_objects(measured)[0]

    # -------------------------------------------------------------------------------------- steps

    def _step(self, feed: Iterator[Batch], shares: Sequence[Share]) -> dict[str, float]:
        """One optimiser step; returns the mean of each scalar over the batch."""
        config, position, fabric = self.config, self.position, self.fabric
        factor = rate_factor(config, position.step, self.epoch_steps)
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        names: list[str] = []
        totals: Any = 0.0
        for part, share in enumerate(shares):
            outputs = self._losses(next(feed), part, share, last=part + 1 == len(shares))
            names = names or sorted(outputs)
            self._check_names(names, outputs)
            values = torch.stack([outputs[name].detach().double() for name in names])
            totals = totals + values * share.weight
        if fabric.world_size > 1:
            totals = fabric.all_reduce(totals, reduce_op="sum")
        means = dict(zip(names, totals.tolist(), strict=True))
        if not math.isfinite(means["loss"]):
            raise self._divergence(f"the loss is {means['loss']}")
        means["gradient_norm"] = self._update()
        means["learning_rate"] = self.rates[0] * factor
        n_samples = min(config.batch_size, self.n_samples - position.batch * config.batch_size)
        for name in names:
            position.sums[name] = position.sums.get(name, 0.0) + means[name] * n_samples
        position.samples += n_samples
        position.batch += 1
        return means

    def _losses(self, batch: Batch, part: int, share: Share, *, last: bool) -> dict[str, Tensor]:
        """Loss and gradients of one micro-batch."""
        fabric = self.fabric
        generator = seeded(self.config.seed, self.position.step, part, 2)
        transform = getattr(self.train_data, "transform", None)
        if transform is not None:
            batch = transform(batch, generator)
        batch = fabric.to_device(batch)
        if self.config.mixup > 0:
            batch = mixup(batch, self.config.mixup, generator)
        several = fabric.world_size > 1
        with fabric.no_backward_sync(self.wrapped, not last) if several else nullcontext():
            with fabric.autocast():
                outputs = self.loss(self.wrapped, batch, generator)
            if "loss" not in outputs or outputs["loss"].ndim:
                raise InputError("loss", "does not return a scalar 'loss'", "return its mean")
            # Processes average their gradients, hence times their number.
            fabric.backward(outputs["loss"] * (share.weight * fabric.world_size))
        return outputs

    def _check_names(self, names: list[str], outputs: Mapping[str, Tensor]) -> None:
        known = sorted(self.position.sums) or names
        if sorted(outputs) != known:
            raise InputError(
                "loss", f"returns {sorted(outputs)} after {known}", "return the same names always"
            )

    def _update(self) -> float:
        """Clip, look at the gradient, and move the weights; returns the norm before clipping."""
        if self.scaler is not None:
            self.fabric.strategy.precision.unscale_gradients(self.optimiser.optimizer)
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        value = float(norm)
        if self.scaler is None and not math.isfinite(value):
            raise self._divergence(f"the gradient's norm is {value}")
        if self.config.clip_norm:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, self.config.clip_norm, norm)
        # With float16 an overflow is no divergence: the scaler skips the step and halves its
        # scale. Below 1 the gradients themselves are too large.
        self.optimiser.step()
        if self.scaler is not None and self.scaler.get_scale() < 1:
            raise self._divergence(f"the gradient's norm is {value} at any scale of float16")
        self.wrapped.zero_grad(set_to_none=True)
        return value

    def _divergence(self, problem: str, *, done: bool = False) -> DivergenceError:
        """At the step under way, or at the one that is `done`."""
        step = self.position.step + (not done)
        return DivergenceError(step, math.ceil(step / self.epoch_steps), problem, self.folder)

    # -------------------------------------------------------------------------------- checkpoints

    def _save(self, *, is_best: bool = False) -> None:
        weights, optimiser = full_states(self.model, self.optimiser.optimizer, sharded=self.sharded)
        floats = [tensor for tensor in weights.values() if tensor.is_floating_point()]
        if not all(bool(torch.isfinite(tensor).all()) for tensor in floats):
            raise self._divergence("a weight is no longer finite", done=True)
        if self.folder is None:
            if is_best:
                self.best = {name: tensor.detach().clone() for name, tensor in weights.items()}
            return
        states = gather_objects(random_states())
        if self.fabric.global_rank == 0:
            save_checkpoint(
                self.folder,
                {
                    **self.record,
                    "step": self.position.step,
                    "finished": self.position.finished,
                    "position": asdict(self.position),
                },
                weights,
                {
                    "optimiser": optimiser,
                    "scaler": self.fabric.strategy.precision.state_dict(),
                    "random": states,
                },
                best_step=self.position.best_step,
            )

    def load_best(self, best: Mapping[str, Tensor]) -> None:
        """Put the best weights into the model."""
        load_full_weights(self.model, best, sharded=self.sharded)
        self.model.eval()


def _train_mode(model: nn.Module) -> None:
    """Training mode, but for parts of which no parameter is trained.

    Batch normalisation there would go on adapting to the data of a part that is meant to stay.
    """
    model.train()
    for module in model.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()
