"""What a training step is fed: samples in memory, their order, shares of processes, mixing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from thesislib.errors import InputError

Batch = Mapping[str, Tensor]
Transform = Callable[[Batch, torch.Generator], Batch]


class TensorData(Dataset):
    """Tensors of one first dimension, in memory or memory-mapped, indexed a batch at a time.

    Args:
        transform: Changes a batch before it reaches the loss, such as an augmentation; what it
            draws comes from the generator it is given, which is on the CPU.
        **tensors: Each `(N, …)`; their names are those of the batch.

    Raises:
        InputError: There is no tensor, or their first dimensions differ.

    >>> data = TensorData(features=torch.arange(6.0).view(3, 2), target=torch.tensor([0, 1, 0]))
    >>> data.__getitems__([2, 0])["features"].tolist()
    [[4.0, 5.0], [0.0, 1.0]]
    """

    def __init__(self, *, transform: Transform | None = None, **tensors: Tensor) -> None:
        sizes = {name: len(tensor) for name, tensor in tensors.items()}
        if len(set(sizes.values())) != 1:
            raise InputError(
                "TensorData",
                f"first dimensions {sizes} are not one" if sizes else "holds no tensor",
                "give tensors of the same samples",
            )
        self.tensors, self.transform = tensors, transform

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {name: tensor[index] for name, tensor in self.tensors.items()}

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """The samples of one batch, `{name: (B, …)}`, by one indexing a tensor."""
        rows = torch.as_tensor(indices, dtype=torch.long)
        return {name: tensor[rows] for name, tensor in self.tensors.items()}


def fetch(dataset: Dataset, indices: Tensor) -> Batch:
    """A batch of a data set, by its ``__getitems__`` if it has one, else sample by sample."""
    rows: list[int] = indices.tolist()
    if hasattr(dataset, "__getitems__"):
        batch = dataset.__getitems__(rows)
        return batch if isinstance(batch, Mapping) else default_collate(batch)
    return default_collate([dataset[row] for row in rows])


class _Batches(Dataset):
    """Whole batches as the items of a data set, so that a worker process fetches one at once."""

    def __init__(self, dataset: Dataset, indices: Sequence[Tensor]) -> None:
        self.dataset, self.indices = dataset, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Batch:
        return fetch(self.dataset, self.indices[index])


def batches(dataset: Dataset, indices: Sequence[Tensor], *, workers: int = 0) -> Iterator[Batch]:
    """The batches at `indices`, in that order, fetched ahead by `workers` processes if any."""
    if not workers:
        yield from (fetch(dataset, rows) for rows in indices)
        return
    # The generator only keeps the loader from drawing a number from the global one.
    yield from DataLoader(
        _Batches(dataset, indices),
        batch_size=None,
        num_workers=workers,
        generator=torch.Generator().manual_seed(0),
        pin_memory=torch.cuda.is_available(),
    )


# ------------------------------------------------------------------------------- order and shares


def seeded(*numbers: int) -> torch.Generator:
    """A generator on the CPU for these whole numbers (>= 0), unlike those of their neighbours.

    >>> torch.equal(torch.rand(2, generator=seeded(1, 0)), torch.rand(2, generator=seeded(0, 1)))
    False
    """
    seed = int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]) >> 1
    return torch.Generator().manual_seed(seed)


def epoch_order(
    n_samples: int, *, seed: int, epoch: int, sample_weights: Tensor | None = None
) -> Tensor:
    """Which samples an epoch visits, `(N,)`, in order.

    Args:
        n_samples: N.
        seed: Of the run.
        epoch: Counted from 0; with the seed it decides everything.
        sample_weights: `(N,)`, not negative: draw N samples with replacement in these
            proportions. Without them, a permutation.

    >>> epoch_order(4, seed=0, epoch=0).sort().values.tolist()
    [0, 1, 2, 3]
    """
    generator = seeded(seed, epoch, 0)
    if sample_weights is None:
        return torch.randperm(n_samples, generator=generator)
    return torch.multinomial(
        sample_weights.double(), n_samples, replacement=True, generator=generator
    )


class Share(NamedTuple):
    """What one process takes of one micro-batch.

    Attributes:
        indices: Of its samples, `(n,)`.
        weight: n over the samples of the whole batch: what the loss, a mean over samples, counts.
    """

    indices: Tensor
    weight: float


def smallest_batch(batch_size: int, processes: int = 1) -> int:
    """Fewest samples that the last batch of an epoch may have; with fewer it is left out.

    A single sample has no variance for batch normalisation and no negatives for a contrastive
    loss, and every process needs one. A `batch_size` of 1 is taken as meant.
    """
    return min(batch_size, max(2, processes))


def steps_per_epoch(n_samples: int, batch_size: int, processes: int = 1) -> int:
    """Optimiser steps of one epoch.

    >>> steps_per_epoch(10, 4), steps_per_epoch(9, 4)
    (3, 2)
    """
    whole, rest = divmod(n_samples, batch_size)
    return whole + (rest >= smallest_batch(batch_size, processes) if rest else 0)


def step_shares(
    order: Tensor, batch: int, *, batch_size: int, accumulate: int, rank: int, processes: int
) -> list[Share]:
    """The micro-batches of one step that fall to one process.

    The union over micro-batches and processes is the same batch whatever their numbers are.

    Args:
        order: What the epoch visits, `(N,)`.
        batch: Which batch of the epoch, from 0.
        batch_size: Samples of a batch, all processes together.
        accumulate: Micro-batches that a full batch is cut into; a short one into fewer.
        rank: Of this process.
        processes: Their number.

    >>> order = torch.arange(8)
    >>> shares = step_shares(order, 0, batch_size=8, accumulate=2, rank=1, processes=2)
    >>> [share.indices.tolist() for share in shares]
    [[1, 3], [5, 7]]
    """
    rows = order[batch * batch_size : (batch + 1) * batch_size]
    size = math.ceil(batch_size / accumulate)
    # A short batch is cut so that no process is left with one sample where it can be helped.
    fewest = min(size, 2 * processes)
    n_parts = min(math.ceil(len(rows) / size), max(1, len(rows) // fewest))
    shares = [part[rank::processes] for part in rows.tensor_split(n_parts)]
    return [Share(share, len(share) / len(rows)) for share in shares]


# --------------------------------------------------------------------------- balance and mixing


def class_weights(targets: Tensor, classes: Sequence[str]) -> Tensor:
    """One weight a sample, `(N,)`, that makes every class equally frequent; they sum to 1.

    Args:
        targets: Class of each sample, whole numbers `(N,)` in [0, number of classes).
        classes: Their names.

    Raises:
        InputError: A class has no sample (named), or a target lies outside the classes.

    >>> class_weights(torch.tensor([0, 0, 1]), ["none", "smile"])
    tensor([0.2500, 0.2500, 0.5000], dtype=torch.float64)
    """
    if len(targets) and (int(targets.min()) < 0 or int(targets.max()) >= len(classes)):
        raise InputError(
            "targets",
            f"values {int(targets.min())} to {int(targets.max())} leave 0 to {len(classes) - 1}",
            "map the labels to the classes",
        )
    counts = torch.bincount(targets, minlength=len(classes))
    missing = [name for name, count in zip(classes, counts.tolist(), strict=True) if not count]
    if missing:
        raise InputError(
            "training set",
            f"has no sample of class {', '.join(missing)}",
            "add some, split otherwise, or leave the class out",
        )
    return (1 / counts.double() / len(classes))[targets]


def mixup(batch: Batch, alpha: float, generator: torch.Generator) -> dict[str, Tensor]:
    """Mix every sample with another of its batch; inputs and targets by the same share.

    One share is drawn from Beta(alpha, alpha) for the batch. Everything in the batch is mixed, so
    all of it must be real numbers, the targets too: one-hot, or values to regress.

    Args:
        batch: Tensors `(B, …)`.
        alpha: Above 0; small values mostly leave one of the two.
        generator: On the CPU.

    Raises:
        InputError: A tensor holds whole numbers or truth values, which have no mean.

    Source: zhang2018mixup.

    >>> mixed = mixup({"target": torch.eye(2)}, 1.0, torch.Generator().manual_seed(0))
    >>> mixed["target"].sum(dim=1)
    tensor([1., 1.])
    """
    whole = [name for name, tensor in batch.items() if not tensor.is_floating_point()]
    if whole:
        raise InputError(
            "mixup",
            f"{', '.join(whole)} cannot be mixed, being no real numbers",
            "give one-hot targets (torch.nn.functional.one_hot(…).float()), or set mixup to 0",
        )
    n_samples = len(next(iter(batch.values())))
    draw = int(torch.randint(2**62, (), generator=generator))
    share = float(np.random.default_rng(draw).beta(alpha, alpha))
    partner = torch.randperm(n_samples, generator=generator)
    return {
        name: torch.lerp(tensor[partner.to(tensor.device)], tensor, share)
        for name, tensor in batch.items()
    }
