"""Data that a background chapter can draw: points in a plane, handwritten digits, a photograph."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits, load_sample_image
from sklearn.model_selection import train_test_split
from torch import Tensor

from thesislib.errors import InputError


class Labelled(NamedTuple):
    """Inputs and their classes.

    Attributes:
        x: Inputs `(N, ...)`, float32.
        y: Classes `(N,)`, int64.
    """

    x: Tensor
    y: Tensor


def blobs(n: int, *, distance: float = 3.0, seed: int) -> Labelled:
    """Two round clouds of unit variance; a straight line separates them up to their overlap.

    Args:
        n: Points in each cloud.
        distance: From centre to centre.
        seed: Seed of the points.

    >>> blobs(5, seed=0).x.shape
    torch.Size([10, 2])
    """
    _positive(n)
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(2).repeat_interleave(n)
    x = torch.randn(2 * n, 2, generator=generator)
    x[:, 0] += distance * (y - 0.5)
    return Labelled(x, y)


def spirals(n: int, *, noise: float = 0.08, seed: int) -> Labelled:
    """Two interleaved spirals, which no straight line separates.

    Args:
        n: Points on each arm.
        noise: Standard deviation around the arm; the outermost radius is 2.
        seed: Seed of the points.
    """
    _positive(n)
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(2).repeat_interleave(n)
    along = torch.rand(2 * n, generator=generator).sqrt()
    angle = 1.25 * 2 * torch.pi * along + torch.pi * y
    x = 2 * along.unsqueeze(1) * torch.stack([angle.cos(), angle.sin()], dim=1)
    return Labelled(x + noise * torch.randn(2 * n, 2, generator=generator), y)


def plane(extent: float, n: int) -> Tensor:
    """A square grid of points, for drawing what a classifier says everywhere.

    Args:
        extent: Half the side of the square around the origin.
        n: Points along a side.

    Returns:
        `(n * n, 2)`: the first coordinate runs fastest, the second from -extent upwards.
    """
    axis = torch.linspace(-extent, extent, n)
    second, first = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([first.flatten(), second.flatten()], dim=1)


def digits(*classes: int) -> Labelled:
    """Real handwritten digits of 8 x 8 pixels that come with scikit-learn.

    Args:
        classes: The digits to keep, relabelled 0, 1, ... in this order; all ten by default.

    Returns:
        Pictures `(N, 1, 8, 8)` in [0, 1]; ink is 1.

    Source: alpaydin1998digits.

    >>> digits().x.shape, digits(5, 6).y.unique().tolist()
    (torch.Size([1797, 1, 8, 8]), [0, 1])
    """
    bunch = load_digits()
    chosen = classes or tuple(range(10))
    if not set(chosen) <= set(range(10)) or len(set(chosen)) < len(chosen):
        raise InputError("classes", f"{chosen} are not digits, each once", "choose from 0 to 9")
    kept = np.isin(bunch.target, chosen)
    position = {digit: number for number, digit in enumerate(chosen)}
    x = torch.from_numpy(bunch.images[kept]).float().unsqueeze(1) / 16
    return Labelled(x, torch.tensor([position[int(digit)] for digit in bunch.target[kept]]))


def split(data: Labelled, *sizes: int, seed: int) -> tuple[Labelled, ...]:
    """Disjoint random parts in which each class keeps its share.

    Args:
        data: What to split.
        sizes: Number of examples of each part but the last, which gets the rest.
        seed: Seed of the draw.

    >>> [len(part.y) for part in split(blobs(50, seed=0), 60, 20, seed=0)]
    [60, 20, 20]
    """
    parts, rest = [], np.arange(len(data.y))
    for size in sizes:
        if not 0 < size < len(rest):
            raise InputError("sizes", f"{size} of {len(rest)} leave an empty part", "take fewer")
        chosen, rest = train_test_split(
            rest, train_size=size, random_state=seed, stratify=data.y.numpy()[rest]
        )
        parts.append(chosen)
    return tuple(Labelled(data.x[part], data.y[part]) for part in [*parts, rest])


def few_of_each(data: Labelled, shots: int, *, seed: int) -> Labelled:
    """A random choice of `shots` examples of each class, in order of class.

    >>> few_of_each(digits(), 2, seed=0).y.bincount().tolist()
    [2, 2, 2, 2, 2, 2, 2, 2, 2, 2]
    """
    _positive(shots)
    generator = torch.Generator().manual_seed(seed)
    chosen = []
    for label in data.y.unique():
        members = (data.y == label).nonzero().flatten()
        if len(members) < shots:
            raise InputError("shots", f"class {int(label)} has {len(members)}", "take fewer")
        chosen.append(members[torch.randperm(len(members), generator=generator)[:shots]])
    index = torch.cat(chosen)
    return Labelled(data.x[index], data.y[index])


def flip_labels(data: Labelled, share: float, *, seed: int) -> Labelled:
    """The same data with a share of the labels replaced by another class, drawn at random."""
    if not 0 <= share <= 1:
        raise InputError("share", f"{share} is no share", "choose from 0 to 1")
    generator = torch.Generator().manual_seed(seed)
    n_classes = int(data.y.max()) + 1
    wrong = torch.randperm(len(data.y), generator=generator)[: round(share * len(data.y))]
    y = data.y.clone()
    shift = torch.randint(1, n_classes, (len(wrong),), generator=generator)
    y[wrong] = (y[wrong] + shift) % n_classes
    return Labelled(data.x, y)


def photograph() -> NDArray[np.float32]:
    """A tower under a bright sky: a real photograph that comes with scikit-learn.

    Returns:
        `(256, 256, 3)` in [0, 1]: a part of `china.jpg` by danielbuechele, CC BY 2.0.
    """
    return (load_sample_image("china.jpg")[20:276, 60:316] / 255).astype(np.float32)


def _positive(n: int) -> None:
    if n < 1:
        raise InputError("number of examples", f"cannot be {n}", "give 1 or more")
