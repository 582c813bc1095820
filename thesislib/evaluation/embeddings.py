"""Summaries of embeddings: rows of ``clip_id, speaker, sex, labels…, z_0, z_1, …``."""

from __future__ import annotations

import numpy as np
import pandas as pd

from thesislib.evaluation.significance import Estimate, bootstrap_counts, percentile_interval


def embedding_metrics(
    predictions: pd.DataFrame, *, replicates: int, seed: int
) -> dict[str, Estimate]:
    """Median over speakers of each speaker's median of the first dimension, by sex.

    In the acoustic descriptions of chapter 8 that dimension is a clip's median fundamental
    frequency, in hertz; clips without any do not count.
    """
    metrics = {}
    for sex, part in predictions.dropna(subset=["z_0"]).groupby("sex", sort=True):
        medians = part.groupby("speaker")["z_0"].median().to_numpy()
        counts = bootstrap_counts(len(medians), replicates, seed)
        drawn = np.array([np.median(np.repeat(medians, row)) for row in counts])
        metrics[f"z_0_median_{sex}"] = Estimate(
            float(np.median(medians)), *percentile_interval(drawn), n=len(part), unit="z_0"
        )
    return metrics
