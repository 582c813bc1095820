"""What each branch of a model keeps of each factor of its input: a matrix, and scores of it.

A frame of factors has one row a clip, factor and branch: ``clip_id, speaker, fold, factor, branch,
target, prediction``, the predictions of a linear probe that was fitted without the clip's fold.
What a probe can tell is a lower bound of what a branch knows.

Source: eastwood2018dci for disentanglement and completeness, chen2018mig for the information gap;
both are asked here of two branches, where those papers ask them of single dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from thesislib.evaluation.classification import confusion_by_group, macro_f1, micro_f1, uar
from thesislib.evaluation.significance import Estimate, bootstrap_counts, percentile_interval

MAIN, AUXILIARY = "main", "auxiliary"


def skill(confusion: NDArray) -> NDArray[np.float64]:
    """UAR above chance, as a share of what is above chance: 0 at chance, 1 without an error.

    Args:
        confusion: Counts of shape (..., classes, classes).

    >>> float(skill(np.array([[3, 1], [1, 3]])))
    0.5
    """
    classes = np.maximum((confusion.sum(-1) > 0).sum(-1), 2)
    return (uar(confusion) - 1 / classes) / (1 - 1 / classes)


def information_share(confusion: NDArray) -> NDArray[np.float64]:
    """Share of the target's entropy that the prediction tells: 0 to 1.

    The plain estimate is too high by about ``(classes - 1)**2 / 2n`` nats where nothing is told;
    that much is taken off, down to 0 at most.

    Args:
        confusion: Counts of shape (..., classes, classes), targets in rows.

    Returns:
        Values of shape (...); NaN where the target does not vary.

    >>> float(information_share(np.array([[500, 0], [0, 500]]))) > 0.99
    True
    >>> float(information_share(np.array([[500, 500], [500, 500]])))
    0.0
    """
    counts = np.asarray(confusion, dtype=np.float64)
    n = counts.sum((-2, -1), keepdims=True)
    joint = counts / n
    target, prediction = joint.sum(-1), joint.sum(-2)
    entropy = _entropy(target)
    plain = entropy + _entropy(prediction) - _entropy(joint.reshape(*joint.shape[:-2], -1))
    bias = ((target > 0).sum(-1) - 1) * ((prediction > 0).sum(-1) - 1) / (2 * n[..., 0, 0])
    corrected = np.maximum(plain - bias, 0)
    return np.divide(corrected, entropy, out=np.full(entropy.shape, np.nan), where=entropy > 0)


def disentanglement(importance: NDArray) -> NDArray[np.float64]:
    """How far each branch is about one factor alone: 1 for one factor, 0 for all alike.

    Args:
        importance: 0 or more, of shape (..., branches, factors), at least two factors.

    Returns:
        Shape (..., branches); NaN for a branch that is about nothing.

    Source: eastwood2018dci, section 2; with the axes exchanged the same formula is completeness.

    >>> disentanglement(np.array([[1.0, 0.0], [1.0, 1.0]])).tolist()
    [1.0, 0.0]
    """
    total = importance.sum(-1, keepdims=True)
    shares = np.divide(importance, total, out=np.full(importance.shape, np.nan), where=total > 0)
    return 1 - _entropy(shares) / np.log(importance.shape[-1]) + 0.0


def completeness(importance: NDArray) -> NDArray[np.float64]:
    """How far each factor lies in one branch alone: 1 for one branch, 0 for all alike.

    Args:
        importance: 0 or more, of shape (..., branches, factors), at least two branches.

    Returns:
        Shape (..., factors); NaN for a factor that no branch knows.

    >>> completeness(np.array([[1.0, 1.0], [0.0, 1.0]])).tolist()
    [1.0, 0.0]
    """
    return disentanglement(np.swapaxes(importance, -1, -2))


def factor_metrics(predictions: pd.DataFrame, *, replicates: int, seed: int) -> dict[str, Estimate]:
    """All metrics of a frame of factors, with intervals over speakers.

    ``<factor>/<branch>/<metric>`` with the metrics ``uar``, ``micro_f1``, ``macro_f1``, ``skill``
    and ``information`` (`information_share`). Of main and auxiliary branch also
    ``<factor>/gap``, what the main branch tells beyond the auxiliary one, as a share of the
    factor's entropy (below 0 where the auxiliary one tells more), and ``<factor>/completeness``;
    with two factors or more ``<branch>/disentanglement`` and ``mig``, the mean size of the gaps.

    Args:
        predictions: Frame as the module describes.
        replicates: Number of bootstrap replicates.
        seed: Of the bootstrap; every factor and branch is resampled alike.
    """
    metrics: dict[str, Estimate] = {}
    factors = list(dict.fromkeys(predictions["factor"]))
    skills: dict[tuple[str, str], NDArray] = {}
    gaps: dict[str, NDArray] = {}
    for factor in factors:
        of_factor = predictions[predictions["factor"] == factor]
        told: dict[str, NDArray] = {}
        for branch in dict.fromkeys(of_factor["branch"]):
            part = of_factor[of_factor["branch"] == branch]
            values = _values(part, replicates, seed)
            for name, row in values.items():
                key = f"{factor}/{branch}/{name}"
                metrics[key] = _estimate(row, len(part), "share")
            skills[branch, factor], told[branch] = values["skill"], values["information"]
        if {MAIN, AUXILIARY} <= told.keys():
            gaps[factor] = told[MAIN] - told[AUXILIARY]
            clips = of_factor["clip_id"].nunique()
            metrics[f"{factor}/gap"] = _estimate(gaps[factor], clips, "share of entropy")
    if gaps:
        rows = [[np.maximum(skills[b, f], 0) for f in gaps] for b in (MAIN, AUXILIARY)]
        importance = np.moveaxis(np.array(rows), -1, 0)  # (1 + replicates, branches, factors)
        n = predictions["clip_id"].nunique()
        for factor, row in zip(gaps, completeness(importance).T, strict=True):
            metrics[f"{factor}/completeness"] = _estimate(row, n, "share")
        if len(gaps) > 1:
            for branch, row in zip((MAIN, AUXILIARY), disentanglement(importance).T, strict=True):
                metrics[f"{branch}/disentanglement"] = _estimate(row, n, "share")
            sizes = np.abs(np.array(list(gaps.values()))).mean(axis=0)
            metrics["mig"] = _estimate(sizes, n, "share of entropy")
    return metrics


def factor_matrix(metrics: Mapping[str, Estimate], metric: str = "skill") -> pd.DataFrame:
    """One metric of every factor (rows) and branch (columns), from a record's metrics.

    >>> estimate = Estimate(0.5, 0.4, 0.6, n=10, unit="share")
    >>> factor_matrix({"emotion/main/skill": estimate, "mig": estimate}).to_dict()
    {'main': {'emotion': 0.5}}
    """
    rows: dict[str, dict[str, float]] = {}
    for name, estimate in metrics.items():
        parts = name.split("/")
        if len(parts) == 3 and parts[2] == metric:
            rows.setdefault(parts[1], {})[parts[0]] = estimate.value
    return pd.DataFrame(rows)


def factor_confusion(
    predictions: pd.DataFrame, factor: str, branch: str, classes: Sequence[str] | None = None
) -> pd.DataFrame:
    """Confusion of one factor in one branch: expected labels in rows, in percent of each.

    Source: Table 8.5.
    """
    chosen = (predictions["factor"] == factor) & (predictions["branch"] == branch)
    part = predictions[chosen]
    names = list(classes or sorted(set(part["target"]) | set(part["prediction"])))
    everyone = [""] * len(part)
    counts = confusion_by_group(
        part["target"].tolist(), part["prediction"].tolist(), everyone, names
    )[0]
    total = counts.sum(1, keepdims=True)
    percent = np.divide(100.0 * counts, total, out=np.zeros(counts.shape), where=total > 0)
    return pd.DataFrame(percent, index=names, columns=names)


def _values(part: pd.DataFrame, replicates: int, seed: int) -> dict[str, NDArray]:
    """Every metric on the whole sample, first, and on each replicate: `(1 + replicates,)`."""
    classes = sorted(set(part["target"]) | set(part["prediction"]))
    counts = confusion_by_group(
        part["target"].tolist(), part["prediction"].tolist(), part["speaker"].tolist(), classes
    )
    draws = bootstrap_counts(len(counts), replicates, seed)
    whole = np.ones((1, len(counts)), dtype=draws.dtype)
    resampled = np.einsum("rs,skl->rkl", np.concatenate([whole, draws]), counts)
    named = {
        "uar": uar,
        "micro_f1": micro_f1,
        "macro_f1": macro_f1,
        "skill": skill,
        "information": information_share,
    }
    return {name: metric(resampled) for name, metric in named.items()}


def _estimate(values: NDArray, n: int, unit: str) -> Estimate:
    return Estimate(float(values[0]), *percentile_interval(values[1:]), n=n, unit=unit)


def _entropy(shares: NDArray) -> NDArray[np.float64]:
    """In nats, over the last axis; a share of 0 counts nothing."""
    safe = np.where(shares > 0, shares, 1.0)
    result: NDArray[np.float64] = -(np.where(np.isnan(shares), np.nan, shares) * np.log(safe)).sum(
        -1
    )
    return result
