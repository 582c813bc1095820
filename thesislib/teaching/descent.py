"""Gradient descent on two parameters, so that its path can be drawn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from thesislib.errors import InputError

LINE = (0.8, -0.5)
"""Weight and bias of the line that the points of :func:`noisy_line` scatter around."""


def noisy_line(n: int, *, noise: float = 0.4, seed: int) -> tuple[NDArray, NDArray]:
    """Points around a line: `x` uniform in [-1, 2], `y` with normal errors, both `(N,)`."""
    generator = np.random.default_rng(seed)
    x = generator.uniform(-1, 2, n)
    return x, LINE[0] * x + LINE[1] + generator.normal(0, noise, n)


def squared_error(parameters: NDArray, x: NDArray, y: NDArray) -> NDArray:
    """Mean squared error of the lines ``w x + b``.

    Args:
        parameters: `(..., 2)`, weight and bias.
        x: `(N,)`.
        y: `(N,)`.

    Returns:
        `(...)`.
    """
    errors = parameters[..., :1] * x + parameters[..., 1:] - y
    return (errors**2).mean(-1)


def descend(
    x: NDArray,
    y: NDArray,
    *,
    batch_size: int,
    learning_rate: float,
    epochs: int,
    start: tuple[float, float] = (-1.5, 1.5),
    seed: int = 0,
) -> NDArray[np.float64]:
    """The parameters after each step of gradient descent on the mean squared error.

    Args:
        x: `(N,)`.
        y: `(N,)`.
        batch_size: N for batch gradient descent, 1 for stochastic gradient descent.
        learning_rate: Step size.
        epochs: Passes over the points, in a new random order each.
        start: Weight and bias at the beginning.
        seed: Seed of the order.

    Returns:
        `(steps + 1, 2)`, the start first.

    Source: thesis equations 2.4 and 2.5.
    """
    if not 1 <= batch_size <= len(x):
        raise InputError("batch_size", f"cannot be {batch_size}", f"choose from 1 to {len(x)}")
    generator = np.random.default_rng(seed)
    path = [np.array(start)]
    for _ in range(epochs):
        order = generator.permutation(len(x))
        for begin in range(0, len(x), batch_size):
            batch = order[begin : begin + batch_size]
            error = path[-1][0] * x[batch] + path[-1][1] - y[batch]
            gradient = 2 * np.array([(error * x[batch]).mean(), error.mean()])
            path.append(path[-1] - learning_rate * gradient)
    return np.stack(path)
