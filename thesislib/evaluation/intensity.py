"""How detection depends on the intensity of laughs and smiles, which no model was told.

A predictions frame of chapter 6 has, beside what `thesislib.evaluation.classification` asks for,
the columns ``intensity`` (``low`` to ``high``, ``subtle`` for smiles only, or ``none``) and
``role``. Whether a frame is one of these is seen by the first of them.

Source: thesis sections 6.3.1 to 6.3.4, Figures 6.2 to 6.4; notes item 22.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from thesislib.evaluation.calibration import calibration_error
from thesislib.evaluation.classification import confusion_by_group
from thesislib.evaluation.significance import Estimate, bootstrap_counts, percentile_interval

CLASSES = ("Laughs", "Smiles", "None")
LEVELS: tuple[tuple[str, str], ...] = (
    ("Laughs", "high"),
    ("Laughs", "medium"),
    ("Laughs", "low"),
    ("Smiles", "high"),
    ("Smiles", "medium"),
    ("Smiles", "low"),
    ("Smiles", "subtle"),
    ("None", "none"),
)
"""Rows of the heat maps, in the order of Figures 6.2 to 6.4."""
REGROUPED: dict[str, tuple[tuple[str, str], ...]] = {
    "before": LEVELS[:3],
    "after": LEVELS[:5],
}
"""Levels that are to be found as laughs: as annotated, and with strong smiles among them."""


def level_counts(predictions: pd.DataFrame) -> NDArray[np.float64]:
    """How often each level of each speaker was predicted as each class: (speakers, 8, 3).

    Speakers come in order of name, levels as in `LEVELS`, classes as in `CLASSES`.

    Raises:
        ValueError: a clip has a class or an intensity that the scheme lacks.
    """
    names, speaker = np.unique(predictions["speaker"].to_numpy(str), return_inverse=True)
    level_of = {level: number for number, level in enumerate(LEVELS)}
    pairs = list(zip(predictions["target"], predictions["intensity"], strict=True))
    unknown = set(pairs) - level_of.keys()
    if unknown:
        raise ValueError(f"no level is called {sorted(unknown)}; known are {list(LEVELS)}")
    rows = np.array([level_of[pair] for pair in pairs], np.int64)
    columns = np.array([CLASSES.index(name) for name in predictions["prediction"]], np.int64)
    shape = (len(names), len(LEVELS), len(CLASSES))
    place = np.ravel_multi_index((speaker, rows, columns), shape)
    return np.bincount(place, minlength=int(np.prod(shape))).reshape(shape).astype(float)


def heat_map(predictions: pd.DataFrame) -> pd.DataFrame:
    """Per cent of each level predicted as each class; rows add up to 100, NaN where none is."""
    counts = level_counts(predictions).sum(0)
    index = pd.MultiIndex.from_tuples(LEVELS, names=["expression", "intensity"])
    return pd.DataFrame(100 * _shares(counts), index=index, columns=list(CLASSES))


def balanced_confusion(predictions: pd.DataFrame) -> pd.DataFrame:
    """Confusion matrix in per cent of each expected class, so that classes count alike."""
    counts = _confusion(predictions).sum(0)
    names = list(CLASSES)
    return pd.DataFrame(100 * _shares(counts), index=names, columns=names)


def expression_metrics(
    predictions: pd.DataFrame, *, replicates: int, seed: int
) -> dict[str, Estimate]:
    """Precision, recall and F1 both ways, recall of each class and level, calibration error.

    ``precision`` and ``recall`` are means over classes, ``f1_harmonic`` is their harmonic mean,
    which is what the thesis prints; the mean of the classes' F1 is ``macro_f1`` (note 22).
    ``laughs_before`` and ``laughs_after`` are mean detection rates over the levels of `REGROUPED`,
    with ``_sd`` their standard deviations (claim E).

    Args:
        predictions: Frame as the module describes.
        replicates: Of the bootstrap over speakers.
        seed: Of the bootstrap.
    """
    counts, confusions = level_counts(predictions), _confusion(predictions)
    draws = np.vstack([np.ones(len(counts)), bootstrap_counts(len(counts), replicates, seed)])
    levels = np.einsum("rs,slk->rlk", draws, counts)
    confusion = np.einsum("rs,sik->rik", draws, confusions)
    values = precision_recall(confusion)
    n = dict.fromkeys(values, len(predictions))
    support = confusions.sum((0, 2))
    rates = _shares(confusion)
    for number, name in enumerate(CLASSES):
        values[f"recall_{name}"] = rates[:, number, number]
        n[f"recall_{name}"] = int(support[number])
    by_level = detection_rates(levels)
    for number, (name, level) in enumerate(LEVELS[:-1]):
        values[f"rate_{name}_{level}"] = by_level[:, number]
        n[f"rate_{name}_{level}"] = int(counts[:, number].sum())
    for name, (mean, spread) in regrouped_rates(levels).items():
        values |= {f"laughs_{name}": mean, f"laughs_{name}_sd": spread}
        found = int(counts[:, [LEVELS.index(level) for level in REGROUPED[name]]].sum())
        n |= {f"laughs_{name}": found, f"laughs_{name}_sd": found}
    estimates = {
        name: Estimate(float(drawn[0]), *percentile_interval(drawn[1:]), n=n[name], unit="share")
        for name, drawn in values.items()
    }
    estimates["calibration_error"] = calibration_error(
        predictions, replicates=replicates, seed=seed
    )
    return estimates


def precision_recall(confusion: NDArray) -> dict[str, NDArray]:
    """Mean precision, mean recall and their harmonic mean, over the classes that occur.

    A class that occurs and is never predicted has precision 0.

    Args:
        confusion: Counts of shape (..., classes, classes), expected label in rows.

    >>> values = precision_recall(np.array([[1, 1], [0, 2]]))
    >>> [round(float(values[name]), 3) for name in ("precision", "recall", "f1_harmonic")]
    [0.833, 0.75, 0.789]
    """
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    support = confusion.sum(-1)
    occurs = support > 0
    precision = _ratio(hits, np.maximum(confusion.sum(-2), 1e-12))
    classes = np.maximum(occurs.sum(-1), 1)
    mean_precision = np.where(occurs, precision, 0).sum(-1) / classes
    mean_recall = np.where(occurs, _ratio(hits, support), 0).sum(-1) / classes
    harmonic = _ratio(2 * mean_precision * mean_recall, mean_precision + mean_recall)
    # No class is ever right: the harmonic mean of two zeros is zero.
    harmonic = np.where(mean_precision + mean_recall == 0, 0.0, harmonic)
    return {"precision": mean_precision, "recall": mean_recall, "f1_harmonic": harmonic}


def detection_rates(levels: NDArray) -> NDArray:
    """Share of each level that is predicted as its own class, (..., 8); NaN where none is.

    Args:
        levels: Counts of shape (..., 8, 3).
    """
    own = [CLASSES.index(name) for name, _ in LEVELS]
    hits = levels[..., np.arange(len(LEVELS)), own]
    return _ratio(hits, levels.sum(-1))


def intensity_slope(levels: NDArray, expression: str) -> NDArray:
    """By how much the detection rate of an expression rises from one level to the next.

    The slope of a line through detected (1) or not (0) over the level (subtle or low 0, then 1, 2,
    …), by least squares over clips.

    Args:
        levels: Counts of shape (..., 8, 3).
        expression: ``Laughs`` or ``Smiles``.

    Returns:
        Slopes of shape (...), as shares a level; NaN where all clips are of one level.
    """
    rows = [number for number, (name, _) in enumerate(LEVELS) if name == expression]
    score = np.arange(len(rows))[::-1]  # LEVELS falls from high to low
    chosen = levels[..., rows, :]
    clips = chosen.sum(-1)
    hits = chosen[..., CLASSES.index(expression)]
    total = np.maximum(clips.sum(-1), 1e-12)
    centred = score - (clips * score).sum(-1, keepdims=True) / total[..., None]
    return _ratio((hits * centred).sum(-1), (clips * centred**2).sum(-1))


def regrouped_rates(levels: NDArray) -> dict[str, tuple[NDArray, NDArray]]:
    """Laughs found, over levels, before and after strong smiles are counted among them.

    After regrouping there are two classes: medium and high smiles are laughs, subtle and low ones
    are *none*. A prediction *Smiles* follows the annotated level, as in section 6.3.4: it is right
    for a medium or high smile. That looks at the answer, so the gain is a property of the labels
    as much as of the model.

    Args:
        levels: Counts of shape (..., 8, 3).

    Returns:
        ``before`` and ``after``, each the mean and the standard deviation over the levels that
        are to be found as laughs, (...).
    """
    laughs, smiles = CLASSES.index("Laughs"), CLASSES.index("Smiles")
    hits = levels[..., laughs].copy()
    strong = [number for number, (name, _) in enumerate(LEVELS[:5]) if name == "Smiles"]
    hits[..., strong] += levels[..., strong, smiles]
    rates = _ratio(hits, levels.sum(-1))
    found = {}
    for name, chosen in REGROUPED.items():
        part = rates[..., : len(chosen)]
        there = np.isfinite(part)
        n = there.sum(-1)
        mean = _ratio(np.where(there, part, 0).sum(-1), n)
        squares = np.where(there, (part - mean[..., None]) ** 2, 0).sum(-1)
        found[name] = mean, np.sqrt(_ratio(squares, np.maximum(n - 1, 0)))
    return found


def confused_share(
    levels: NDArray, expression: str, intensities: Sequence[str], prediction: str
) -> NDArray:
    """Share of some levels of an expression that is predicted as a given class, (...).

    Args:
        levels: Counts of shape (..., 8, 3).
        expression: ``Laughs`` or ``Smiles``.
        intensities: Which levels, taken together.
        prediction: Of `CLASSES`.
    """
    rows = [LEVELS.index((expression, intensity)) for intensity in intensities]
    chosen = levels[..., rows, :].sum(-2)
    return _ratio(chosen[..., CLASSES.index(prediction)], chosen.sum(-1))


def _confusion(predictions: pd.DataFrame) -> NDArray[np.int64]:
    return confusion_by_group(
        predictions["target"].tolist(),
        predictions["prediction"].tolist(),
        predictions["speaker"].tolist(),
        CLASSES,
    )


def _shares(counts: NDArray) -> NDArray:
    return _ratio(counts, counts.sum(-1, keepdims=True))


def _ratio(numerator: NDArray, denominator: NDArray) -> NDArray[np.float64]:
    """Quotients, NaN where the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(
        np.asarray(numerator, float), np.asarray(denominator, float)
    )
    result = np.full(numerator.shape, np.nan)
    return np.divide(numerator, denominator, out=result, where=denominator > 0)
