"""Summaries of embeddings: rows of ``clip_id, speaker, sex, labels…, z_0, z_1, …``."""

from __future__ import annotations

import numpy as np
import pandas as pd

from thesislib.evaluation.significance import Estimate, bootstrap_counts, percentile_interval


def embedding_metrics(
    predictions: pd.DataFrame, *, replicates: int, seed: int
) -> dict[str, Estimate]:
    """Median of the first dimension by sex, the speakers' medians resampled.

    What the first dimension is, the record's ``config["dimensions"]`` says: in the acoustic
    descriptions of chapter 8 it is a clip's median fundamental frequency, in hertz.
    """
    metrics = {}
    for sex, part in predictions.groupby("sex", sort=True):
        medians = part.groupby("speaker")["z_0"].median().to_numpy()
        counts = bootstrap_counts(len(medians), replicates, seed)
        drawn = np.array([np.median(np.repeat(medians, row)) for row in counts])
        metrics[f"z_0_median_{sex}"] = Estimate(
            float(np.median(medians)), *percentile_interval(drawn), n=len(part), unit="z_0"
        )
    return metrics
