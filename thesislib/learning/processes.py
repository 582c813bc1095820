"""One process or several: how they start, and what they tell each other."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from thesislib.errors import InputError

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from torch.distributed.device_mesh import DeviceMesh

Value = TypeVar("Value")

PRECISIONS = ("32-true", "64-true", "bf16-true", "bf16-mixed", "16-mixed")
STRATEGIES = ("auto", "ddp", "fsdp")


def make_fabric(*, accelerator: str, devices: int, strategy: str, precision: str) -> Fabric:
    """Lightning Fabric for these choices, with the processes started.

    With more than one device, either the script is started by ``torchrun --nproc-per-node N``, or
    Fabric starts the same command line N - 1 times more; a notebook has one process.

    Args:
        accelerator: ``cpu``, ``cuda``, or ``auto``: CUDA where it is available.
        devices: Processes on this machine, one a device.
        strategy: ``auto``, ``ddp`` (a copy of the model in each) or ``fsdp`` (sharded, by
            ``torch.distributed.fsdp.fully_shard``).
        precision: One of `PRECISIONS`.

    Raises:
        InputError: A choice is unknown, or this machine does not have it.
    """
    choices = {"strategy": (strategy, STRATEGIES), "precision": (precision, PRECISIONS)}
    choices["accelerator"] = (accelerator, ("cpu", "cuda", "auto"))
    for name, (value, known) in choices.items():
        if value not in known:
            raise InputError(name, f"{value!r} is unknown", f"use {', '.join(known)}")
    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    if accelerator == "cuda" and torch.cuda.device_count() < devices:
        raise InputError(
            "accelerator",
            f"cuda has {torch.cuda.device_count()} devices here, not {devices}",
            "use accelerator cpu, or fewer devices",
        )
    if strategy == "fsdp" and precision == "16-mixed":
        raise InputError("precision", "16-mixed does not go with fsdp", "use bf16-mixed")
    # Imported here: it takes seconds, which whoever only reads records should not wait for.
    from lightning_fabric import Fabric
    from lightning_fabric.plugins import MixedPrecision
    from lightning_fabric.strategies.model_parallel import ModelParallelStrategy

    class Autocast(MixedPrecision):
        """Autocast alone: inputs stay as they are, since targets and noise come with them."""

        def convert_input(self, data: object) -> object:
            return data

    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    options: dict[str, Any] = {"precision": precision}
    if precision in ("16-mixed", "bf16-mixed") and strategy != "fsdp":
        kind: Any = precision
        options = {"plugins": [Autocast(kind, accelerator)]}
    chosen: Any = strategy
    if strategy == "fsdp":
        chosen = ModelParallelStrategy(_shard, data_parallel_size=devices, tensor_parallel_size=1)
    fabric = Fabric(accelerator=accelerator, devices=devices, strategy=chosen, **options)
    fabric.launch()
    return fabric


def _shard(model: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """Shard every layer of a list of layers by itself, inner ones first, then what is left."""
    from torch.distributed.fsdp import fully_shard

    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    for layers in reversed(lists):
        for layer in layers:
            fully_shard(layer, mesh=mesh["data_parallel"])
    fully_shard(model, mesh=mesh["data_parallel"])
    return model


def rank_and_processes() -> tuple[int, int]:
    """This process's number and how many there are: (0, 1) where only one runs."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def shared_noise(*shape: int, generator: torch.Generator) -> Tensor:
    """Uniform noise for this process's rows of a micro-batch, as one process would have drawn it.

    Processes take every n-th row of a micro-batch, and their generators are alike. So each draws
    for all rows and keeps its own; masks made of it do not depend on the number of processes.

    Args:
        *shape: `(B, …)` with the B rows that this process has.
        generator: The one that the loss is given.

    Returns:
        `shape`, float32 in [0, 1), on the generator's device.

    >>> shared_noise(2, 3, generator=torch.Generator().manual_seed(0)).shape
    torch.Size([2, 3])
    """
    rank, processes = rank_and_processes()
    rows, *rest = shape
    every = torch.rand(rows * processes, *rest, generator=generator, device=generator.device)
    return every[rank::processes]


def gather_with_gradient(rows: Tensor) -> Tensor:
    """The rows of all processes, `(B, …)` to `(sum of B, …)`, with gradients to each.

    What the contrastive loss of a batch spread over processes compares with one another. The
    number of rows may differ between processes. Every process then has the loss of the whole
    batch, and `fit`'s averaged gradient is that of one process with all rows.

    >>> gather_with_gradient(torch.ones(2, 3)).shape
    torch.Size([2, 3])
    """
    _, processes = rank_and_processes()
    if processes == 1:
        return rows
    sizes = [torch.zeros((), dtype=torch.long, device=rows.device) for _ in range(processes)]
    dist.all_gather(sizes, torch.tensor(len(rows), device=rows.device))
    counts = [int(size) for size in sizes]
    padding = rows.new_zeros(max(counts) - len(rows), *rows.shape[1:])
    gathered: Tensor = _Gather.apply(torch.cat([rows, padding]))
    return torch.cat([part[:count] for part, count in zip(gathered, counts, strict=True)])


class _Gather(torch.autograd.Function):
    """`(B, …)` of every process to `(processes, B, …)`; backwards, the sum of their gradients."""

    @staticmethod
    def forward(_: object, rows: Tensor) -> Tensor:
        everyone = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(everyone, rows.contiguous())
        return torch.stack(everyone)

    @staticmethod
    def backward(_: object, gradient: Tensor) -> Tensor:
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return gradient[dist.get_rank()]


def gather_objects(value: Value) -> list[Value]:
    """A small object of every process, in the order of their ranks."""
    _, processes = rank_and_processes()
    if processes == 1:
        return [value]
    everyone = [value] * processes
    dist.all_gather_object(everyone, value)
    return everyone


# ---------------------------------------------------------------------------------------- states


def full_states(
    model: nn.Module, optimiser: torch.optim.Optimizer, *, sharded: bool
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights and optimiser state as one process would have them; all processes must ask.

    Of a sharded model, only the first process is given them.
    """
    if not sharded:
        return model.state_dict(), optimiser.state_dict()
    from torch.distributed.checkpoint.state_dict import (
        StateDictOptions,
        get_model_state_dict,
        get_optimizer_state_dict,
    )

    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights: Any = get_model_state_dict(model, options=options)
    return weights, get_optimizer_state_dict(model, optimiser, options=options)


def load_full_weights(model: nn.Module, weights: Mapping[str, Tensor], *, sharded: bool) -> None:
    """Load whole weights into a model, sharded or not; of a sharded one, the first process's."""
    if not sharded:
        model.load_state_dict(weights)
        return
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
    set_model_state_dict(model, dict(weights), options=options)


def load_full_optimiser(
    model: nn.Module, optimiser: torch.optim.Optimizer, state: dict[str, Any]
) -> None:
    """Load a whole optimiser state of `full_states` into that of a sharded model."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_optimizer_state_dict

    options = StateDictOptions(full_state_dict=True)
    set_optimizer_state_dict(model, optimiser, state, options=options)


def checkpoint_activations(model: nn.Module, kind: type[nn.Module]) -> int:
    """Compute the activations inside every `kind` of layer again when gradients ask for them.

    A step takes about a third longer and keeps only what goes into each such layer. Results, names
    of weights and random draws stay what they are.

    Args:
        model: Changed in place.
        kind: Such as `thesislib.models.transformer.Block`.

    Returns:
        How many layers.

    Raises:
        InputError: The model has no layer of this kind.
    """
    layers = [module for module in model.modules() if isinstance(module, kind)]
    if not layers:
        raise InputError("model", f"has no {kind.__name__}", "name the kind of its layers")
    for layer in layers:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
    return len(layers)
