"""The worked example of chapter 2: a hundred windows of conversation, and what a detector says.

All measures of section 2.4 are computed on it: losses, measures of classes and of intensities, and
a test between two detectors. The windows are made up; expressions are as rare as in conversation.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

CLASSES = ("none", "smile", "laugh")
COUNTS = np.array([[66, 4, 0], [9, 10, 1], [2, 5, 3]])
"""Windows by true class, in rows, and by what the detector says."""
PEOPLE = 10
LOST = "lost"


def detections(seed: int = 0) -> pd.DataFrame:
    """The hundred windows, ten of each of ten people.

    Args:
        seed: Draws probabilities, intensities and who is seen in which window.

    Returns:
        ``person``; ``truth`` and ``says``, of `CLASSES`; probabilities ``p_none``, ``p_smile`` and
        ``p_laugh``, of which that of ``says`` is the highest; ``intensity`` 0 to 3, 0 without an
        expression, and ``estimate`` of it; ``lost``, true for the one window in which the tracker
        took the curtain for a face, whose estimate is far beyond the scale.

    >>> windows = detections()
    >>> int((windows["truth"] == windows["says"]).sum())
    79
    """
    rng = np.random.default_rng(seed)
    true, said = (np.repeat(axis.ravel(), COUNTS.ravel()) for axis in np.indices(COUNTS.shape))
    n, rows = len(true), np.arange(len(true))
    scores = rng.normal(0, 0.5, size=(n, 3))
    scores[rows, true] += 1.0
    scores[rows, said] = scores.max(axis=1) + rng.uniform(0.2, 2.0, size=n)
    shares = np.exp(scores)
    shares /= shares.sum(axis=1, keepdims=True)
    intensity = np.where(true == 0, 0, rng.integers(1, 4, size=n))
    estimate = np.clip(intensity + rng.normal(0, 0.4, size=n), 0, 3)
    lost = rows == n // 2
    frame = pd.DataFrame(
        {
            "person": 0,
            "truth": np.take(CLASSES, true),
            "says": np.take(CLASSES, said),
            **{f"p_{name}": shares[:, i] for i, name in enumerate(CLASSES)},
            "intensity": intensity,
            "estimate": np.where(lost, 12.0, estimate),
            LOST: lost,
        }
    ).iloc[rng.permutation(n)]
    return frame.assign(person=rows % PEOPLE).reset_index(drop=True)


def sharpened(windows: pd.DataFrame, power: float) -> pd.DataFrame:
    """The same decisions, surer for a power above 1 and more hesitant below it.

    Args:
        windows: From `detections`.
        power: To which probabilities are raised before they are brought back to a sum of 1.

    Returns:
        Probabilities, `(n, 3)`.
    """
    raised = windows[[f"p_{name}" for name in CLASSES]] ** power
    return raised.div(raised.sum(axis=1), axis=0)
