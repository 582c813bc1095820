"""Metrics of regression, from predictions alone, with intervals over speakers.

A predictions frame of kind *regression* has one row a clip: ``clip_id, speaker, fold`` and, of
every trait, ``target_<trait>`` and ``prediction_<trait>``. The thesis gives the accuracy alone,
one minus the mean absolute error, which the mean of the targets reaches as well where they lie
close together; correlation and concordance cannot be had so.

Source: thesis section 7.5.2; lin1989concordance for the concordance.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from thesislib.evaluation.significance import Estimate, bootstrap_counts, percentile_interval

METRICS = {"accuracy": "1 - MAE", "pearson": "r", "ccc": "rho_c"}
"""Name of a metric to its unit."""
_FLAT = 1e-12  # a variance below this is that of rounding


def traits_of(predictions: pd.DataFrame) -> list[str]:
    """The traits of a predictions frame, in the order of its columns.

    >>> traits_of(pd.DataFrame(columns=["clip_id", "target_openness", "prediction_openness"]))
    ['openness']
    """
    names = [str(name) for name in predictions.columns]
    return [name.removeprefix("target_") for name in names if name.startswith("target_")]


def moments_by_group(predictions: pd.DataFrame, groups: NDArray) -> NDArray[np.float64]:
    """Sums of every group and trait from which all metrics follow, so that groups can be drawn.

    Args:
        predictions: N rows.
        groups: N names.

    Returns:
        `(groups, traits, 7)` in order of the groups' names: number, sums of absolute errors, of
        targets, predictions, their squares and their products.
    """
    traits = traits_of(predictions)
    target = predictions[[f"target_{name}" for name in traits]].to_numpy(float)
    given = predictions[[f"prediction_{name}" for name in traits]].to_numpy(float)
    centre = target.mean(axis=0)  # squares of what lies around zero lose no digits
    x, y = target - centre, given - centre
    rows = np.stack([np.ones_like(x), abs(x - y), x, y, x * x, y * y, x * y], axis=-1)
    names, place = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.zeros((len(names), *rows.shape[1:]))
    np.add.at(sums, place, rows)
    return sums


def metrics_of(moments: NDArray) -> dict[str, NDArray[np.float64]]:
    """Accuracy, Pearson's correlation and Lin's concordance from sums `(…, 7)`.

    Returns:
        Values `(…)`; a correlation is NaN, and a concordance 0, where the predictions do not vary.

    >>> moments = moments_by_group(pd.DataFrame(
    ...     {"target_o": [0.2, 0.4, 0.6], "prediction_o": [0.3, 0.4, 0.5]}), np.zeros(3)).sum(0)
    >>> {name: round(float(value[0]), 3) for name, value in metrics_of(moments).items()}
    {'accuracy': 0.933, 'pearson': 1.0, 'ccc': 0.8}
    """
    n, error, x, y, xx, yy, xy = np.moveaxis(np.asarray(moments, float), -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_x, mean_y = x / n, y / n
        var_x = np.maximum(xx / n - mean_x**2, 0)
        var_y = np.maximum(yy / n - mean_y**2, 0)
        shared = xy / n - mean_x * mean_y
        varies = (var_x > _FLAT) & (var_y > _FLAT)
        spread = var_x + var_y + (mean_x - mean_y) ** 2
        return {
            "accuracy": 1 - error / n,
            "pearson": np.where(varies, shared / np.sqrt(var_x * var_y), np.nan),
            "ccc": np.where(spread > _FLAT, 2 * shared / spread, np.nan),
        }


def regression_metrics(
    predictions: pd.DataFrame, *, replicates: int, seed: int
) -> dict[str, Estimate]:
    """Every metric of every trait, ``<metric>_<trait>``, and its mean over traits, ``<metric>``.

    Intervals are percentiles of a bootstrap over speakers.

    Args:
        predictions: Frame as the module describes.
        replicates: Number of bootstrap replicates.
        seed: Seed of the bootstrap.

    Raises:
        ValueError: the frame has no trait.
    """
    traits = traits_of(predictions)
    if not traits:
        raise ValueError("a frame of kind regression needs columns target_<trait>")
    moments = moments_by_group(predictions, predictions["speaker"].to_numpy(str))
    draws = bootstrap_counts(len(moments), replicates, seed)
    pooled = metrics_of(moments.sum(axis=0))
    drawn = metrics_of(np.einsum("rs,stm->rtm", draws, moments))
    found = {}
    for name, unit in METRICS.items():
        values = [
            (f"_{trait}", pooled[name][i], drawn[name][:, i]) for i, trait in enumerate(traits)
        ]
        values.append(("", pooled[name].mean(), drawn[name].mean(axis=1)))
        for suffix, value, replicas in values:
            low, high = percentile_interval(replicas)
            found[f"{name}{suffix}"] = Estimate(float(value), low, high, len(predictions), unit)
    return found
