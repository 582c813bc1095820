"""The metrics of each kind of predictions: what a record holds and a test computes again."""

from __future__ import annotations

import pandas as pd

from thesislib.evaluation.annotation_sets import agreement_metrics
from thesislib.evaluation.classification import classification_metrics
from thesislib.evaluation.embeddings import embedding_metrics
from thesislib.evaluation.factors import factor_metrics
from thesislib.evaluation.intensity import expression_metrics
from thesislib.evaluation.maps import drop_metrics, map_metrics
from thesislib.evaluation.reconstruction import reconstruction_metrics
from thesislib.evaluation.regression import regression_metrics
from thesislib.evaluation.significance import Estimate


def _classification(
    predictions: pd.DataFrame, *, replicates: int, seed: int
) -> dict[str, Estimate]:
    """A frame of chapter 6 says how intense each expression is, and is measured by that too.

    One of chapter 8 holds the probes of several factors and branches.
    """
    if "factor" in predictions:
        return factor_metrics(predictions, replicates=replicates, seed=seed)
    metrics = classification_metrics(predictions, replicates=replicates, seed=seed)
    if "intensity" in predictions:
        metrics |= expression_metrics(predictions, replicates=replicates, seed=seed)
    return metrics


def _embedding(predictions: pd.DataFrame, *, replicates: int, seed: int) -> dict[str, Estimate]:
    """Maps and ablations of chapter 6 are known by their columns."""
    for column, metrics in (("map_0", map_metrics), ("drop_0", drop_metrics)):
        if column in predictions:
            return metrics(predictions, replicates=replicates, seed=seed)
    return embedding_metrics(predictions, replicates=replicates, seed=seed)


MEASURES = {
    "agreement": agreement_metrics,
    "classification": _classification,
    "embedding": _embedding,
    "reconstruction": reconstruction_metrics,
    "regression": regression_metrics,
}


def measure(
    kind: str, predictions: pd.DataFrame, *, replicates: int, seed: int
) -> dict[str, Estimate]:
    """All metrics of a predictions frame.

    Args:
        kind: Kind of a run record.
        predictions: Frame with the columns of that kind.
        replicates: Number of bootstrap replicates.
        seed: Seed of the bootstrap.

    Raises:
        ValueError: nothing is measured for this kind.
    """
    if kind not in MEASURES:
        raise ValueError(f"no metrics for kind {kind!r}; known: {', '.join(MEASURES)}")
    return MEASURES[kind](predictions, replicates=replicates, seed=seed)
