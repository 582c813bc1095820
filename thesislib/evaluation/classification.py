"""Metrics of classification, from predictions alone, with intervals over speakers.

A predictions frame has one row a clip: ``clip_id, speaker, fold, target, prediction`` and one
``p_<class>`` a class; ``sex`` and ``listener_recognition`` may follow. Everything here is a
function of such a frame, so that a stored run can be measured again.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from thesislib.evaluation.significance import Estimate, bootstrap_counts, percentile_interval


def confusion_by_group(
    targets: Sequence[str],
    predictions: Sequence[str],
    groups: Sequence[str],
    classes: Sequence[str],
) -> NDArray[np.int64]:
    """Confusion matrices, one a group in order of name.

    Returns:
        Counts of shape (groups, classes, classes): expected label in rows, predicted in columns.

    Raises:
        ValueError: a label is not among `classes`.
    """
    names, group = np.unique(np.asarray(groups), return_inverse=True)
    index = {name: number for number, name in enumerate(classes)}
    unknown = (set(targets) | set(predictions)) - index.keys()
    if unknown:
        raise ValueError(f"labels {sorted(unknown)} are not among the classes {list(classes)}")
    rows = np.array([index[label] for label in targets])
    columns = np.array([index[label] for label in predictions])
    counts = np.zeros((len(names), len(classes), len(classes)), dtype=np.int64)
    np.add.at(counts, (group, rows, columns), 1)
    return counts


def uar(confusion: NDArray) -> NDArray[np.float64]:
    """Unweighted average recall over the classes that occur.

    Args:
        confusion: Counts of shape (..., classes, classes).

    Returns:
        Values in [0, 1] of shape (...); NaN where no class occurs.

    >>> float(uar(np.array([[3, 1], [0, 1]])))
    0.875
    """
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    return _mean_of_defined(hits, confusion.sum(-1))


def micro_f1(confusion: NDArray) -> NDArray[np.float64]:
    """Micro-averaged F1, which equals accuracy where every clip has one label.

    >>> float(micro_f1(np.array([[3, 1], [0, 1]])))
    0.8
    """
    hits = np.trace(confusion, axis1=-2, axis2=-1)
    total = confusion.sum((-2, -1))
    return np.divide(hits, total, out=np.full(np.shape(hits), np.nan), where=total > 0)


def macro_f1(confusion: NDArray) -> NDArray[np.float64]:
    """Mean of the classes' F1 over the classes that occur.

    Where every class occurs this is the usual macro F1. A bootstrap replicate without a speaker
    lacks that class when speakers are the classes: a class that is only predicted then has no
    place in the mean, though its wrong hits still count against the recall of the others.

    >>> round(float(macro_f1(np.array([[3, 1], [0, 1]]))), 4)
    0.7619
    """
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    support = confusion.sum(-1)
    return _mean_of_defined(2 * hits, np.where(support > 0, support + confusion.sum(-2), 0))


def _mean_of_defined(numerator: NDArray, denominator: NDArray) -> NDArray[np.float64]:
    defined = denominator > 0
    ratio = np.divide(numerator, denominator, out=np.zeros(numerator.shape), where=defined)
    count = defined.sum(-1)
    return np.divide(ratio.sum(-1), count, out=np.full(count.shape, np.nan), where=count > 0)


def class_names(predictions: pd.DataFrame) -> list[str]:
    """The classes of a predictions frame, in the order of its ``p_<class>`` columns."""
    return [name.removeprefix("p_") for name in predictions.columns if name.startswith("p_")]


def classification_metrics(
    predictions: pd.DataFrame, *, replicates: int, seed: int
) -> dict[str, Estimate]:
    """UAR, micro and macro F1, UAR by sex, and agreement with the listeners where they judged.

    Intervals are percentiles of a bootstrap over speakers.

    Args:
        predictions: Frame as the module describes.
        replicates: Number of bootstrap replicates.
        seed: Seed of the bootstrap.
    """
    metrics = _with_intervals(predictions, "", replicates, seed)
    if "sex" in predictions:
        for sex, part in predictions.groupby("sex", sort=True):
            metrics |= {
                name: estimate
                for name, estimate in _with_intervals(part, f"_{sex}", replicates, seed).items()
                if name.startswith("uar")
            }
    of_speakers = (predictions["target"] == predictions["speaker"]).all()
    if (
        not of_speakers  # listeners judged the emotion, not who speaks
        and "listener_recognition" in predictions
        and predictions["listener_recognition"].notna().any()
    ):
        metrics["listener_spearman"] = listener_agreement(
            predictions, replicates=replicates, seed=seed
        )
    return metrics


def _with_intervals(
    predictions: pd.DataFrame, suffix: str, replicates: int, seed: int
) -> dict[str, Estimate]:
    counts = confusion_by_group(
        predictions["target"].tolist(),
        predictions["prediction"].tolist(),
        predictions["speaker"].tolist(),
        class_names(predictions),
    )
    draws = bootstrap_counts(len(counts), replicates, seed)
    resampled = np.einsum("rs,skl->rkl", draws, counts)
    pooled = counts.sum(0)
    return {
        f"{name}{suffix}": Estimate(
            float(metric(pooled)),
            *percentile_interval(metric(resampled)),
            n=len(predictions),
            unit="share",
        )
        for name, metric in (("uar", uar), ("micro_f1", micro_f1), ("macro_f1", macro_f1))
    }


def uar_by_speaker(predictions: pd.DataFrame) -> pd.Series:
    """UAR of each speaker over the classes that this speaker has, indexed by speaker."""
    counts = confusion_by_group(
        predictions["target"].tolist(),
        predictions["prediction"].tolist(),
        predictions["speaker"].tolist(),
        class_names(predictions),
    )
    return pd.Series(uar(counts), index=sorted(set(predictions["speaker"])), name="uar")


def probability_of_target(predictions: pd.DataFrame) -> NDArray[np.float64]:
    """Probability that the model gave to the expected label of each clip, in [0, 1]."""
    names = class_names(predictions)
    columns = predictions[[f"p_{name}" for name in names]].to_numpy()
    index = {name: number for number, name in enumerate(names)}
    return columns[np.arange(len(columns)), [index[label] for label in predictions["target"]]]


def listener_agreement(predictions: pd.DataFrame, *, replicates: int, seed: int) -> Estimate:
    """Do model and listeners stumble over the same clips?

    Spearman's rank correlation between the probability that the model gave to the expected label
    and the share of listeners who recognised it, with a bootstrap over speakers.
    """
    judged = predictions[predictions["listener_recognition"].notna()]
    model, listeners = probability_of_target(judged), judged["listener_recognition"].to_numpy()
    _, speaker = np.unique(judged["speaker"].to_numpy(), return_inverse=True)
    members = [np.flatnonzero(speaker == number) for number in range(speaker.max() + 1)]
    generator = np.random.default_rng(seed)
    drawn = np.full(replicates, np.nan)
    for replicate in range(replicates):
        chosen = generator.integers(len(members), size=len(members))
        rows = np.concatenate([members[number] for number in chosen])
        drawn[replicate] = _spearman(model[rows], listeners[rows])
    low, high = percentile_interval(drawn)
    return Estimate(_spearman(model, listeners), low, high, n=len(judged), unit="rho")


def _spearman(first: NDArray, second: NDArray) -> float:
    """Pearson's correlation of the ranks; NaN where one side does not vary."""
    ranks = stats.rankdata(np.stack([first, second]), axis=1)
    ranks -= ranks.mean(1, keepdims=True)
    norms = np.sqrt((ranks**2).sum(1))
    return float(ranks[0] @ ranks[1] / norms.prod()) if norms.all() else float("nan")
