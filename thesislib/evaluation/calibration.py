"""Do probabilities mean what they say: calibration curve and expected calibration error.

A predictions frame of kind *classification* gives one probability a class; what is checked is the
probability of the class that was predicted, against how often that class was right.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from thesislib.evaluation.classification import class_names
from thesislib.evaluation.significance import Estimate, bootstrap_counts, percentile_interval

BINS = 10


def calibration_curve(predictions: pd.DataFrame, *, bins: int = BINS) -> pd.DataFrame:
    """Confidence and share of right predictions in bins of equal width.

    Args:
        predictions: Frame of kind *classification*.
        bins: Number of bins over [0, 1]; empty ones are left out.

    Returns:
        One row a bin that is not empty: ``confidence`` (mean), ``accuracy``, ``n``.

    >>> frame = pd.DataFrame({"target": ["a", "b"], "prediction": ["a", "a"], "speaker": "x",
    ...                       "p_a": [0.9, 0.9], "p_b": [0.1, 0.1]})
    >>> calibration_curve(frame).to_numpy().round(2).tolist()
    [[0.9, 0.5, 2.0]]
    """
    sums = _sums(predictions, bins).sum(0)
    there = sums[2] > 0
    confidence, hits, n = sums[:, there]
    return pd.DataFrame({"confidence": confidence / n, "accuracy": hits / n, "n": n.astype(int)})


def calibration_error(
    predictions: pd.DataFrame, *, replicates: int, seed: int, bins: int = BINS
) -> Estimate:
    """Expected calibration error: mean gap of confidence and accuracy in bins.

    Args:
        predictions: Frame of kind *classification*.
        replicates: Of the bootstrap over speakers.
        seed: Of the bootstrap.
        bins: Number of bins over [0, 1].

    Source: Guo et al. 2017, "On calibration of modern neural networks", equation 3. With few
    clips the error is biased upwards, for a bin of few clips is off by chance.
    """
    sums = _sums(predictions, bins)  # (speakers, 3, bins)
    draws = bootstrap_counts(len(sums), replicates, seed)
    low, high = percentile_interval(_error(np.einsum("rs,skb->rkb", draws, sums)))
    value = float(_error(sums.sum(0)))
    return Estimate(value, low, high, n=len(predictions), unit="share")


def _error(sums: NDArray) -> NDArray:
    """Of sums of confidence, hits and clips by bin (..., 3, bins)."""
    return np.asarray(np.abs(sums[..., 0, :] - sums[..., 1, :]).sum(-1) / sums[..., 2, :].sum(-1))


def _sums(predictions: pd.DataFrame, bins: int) -> NDArray[np.float64]:
    """Sums of confidence, of hits and of clips, for every speaker and bin: (speakers, 3, bins)."""
    probabilities = predictions[[f"p_{name}" for name in class_names(predictions)]].to_numpy(float)
    confidence = probabilities.max(axis=1)
    hit = (predictions["target"] == predictions["prediction"]).to_numpy(float)
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    names, speaker = np.unique(predictions["speaker"].to_numpy(str), return_inverse=True)
    sums = np.zeros((len(names), 3, bins))
    place = speaker * bins + bin_of
    for row, values in enumerate((confidence, hit, np.ones(len(hit)))):
        total = np.bincount(place, weights=values, minlength=len(names) * bins)
        sums[:, row] = total.reshape(len(names), bins)
    return sums
