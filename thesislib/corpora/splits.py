"""Folds for cross-validation in which nothing of the held-out group is seen in training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def leave_one_group_out(groups: Sequence[str]) -> list[tuple[str, NDArray, NDArray]]:
    """One fold a group: its name, the training indices, the test indices.

    With speakers as groups this is leave-one-speaker-out; with sentences it is the matching
    protocol for speaker identity, where the speaker must be known and the words must not be.

    Args:
        groups: Group of every sample, length N.

    Returns:
        (name, training indices, test indices) in order of name.

    Raises:
        ValueError: fewer than two groups.

    >>> [(name, test.tolist()) for name, _, test in leave_one_group_out(["b", "a", "b"])]
    [('a', [1]), ('b', [0, 2])]
    """
    labels = np.asarray(groups)
    names = sorted(set(groups))
    if len(names) < 2:
        raise ValueError(f"leave-one-group-out needs two groups or more, got {names}")
    return [
        (name, np.flatnonzero(labels != name), np.flatnonzero(labels == name)) for name in names
    ]
