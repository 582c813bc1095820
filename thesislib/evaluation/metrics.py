"""The metrics of each kind of predictions: what a record holds and a test computes again."""

from __future__ import annotations

import pandas as pd

from thesislib.evaluation.annotation_sets import agreement_metrics
from thesislib.evaluation.classification import classification_metrics
from thesislib.evaluation.embeddings import embedding_metrics
from thesislib.evaluation.significance import Estimate

MEASURES = {
    "agreement": agreement_metrics,
    "classification": classification_metrics,
    "embedding": embedding_metrics,
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
