"""Errors of reconstructions, from frames of kind *reconstruction*.

A row a clip, modality and region: ``clip_id, modality, region, squared_error, n``, the sum of
squared errors over `n` values; ``speaker`` may follow, and further numbers of the model.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from thesislib.evaluation.significance import Estimate, bootstrap_counts, percentile_interval

TERMS = ("contrast", "information")
"""Columns of chapter 8's frames: other losses on the same clips, the same number in every row."""


def reconstruction_metrics(
    predictions: pd.DataFrame, *, replicates: int, seed: int
) -> dict[str, Estimate]:
    """Mean squared error of each modality and region, ``mse_<modality>_<region>``.

    Every value counts alike. Intervals are percentiles of a bootstrap over speakers, or over clips
    where a frame names none. Of the columns `TERMS` the number itself is given, without interval.

    Args:
        predictions: Frame as the module describes.
        replicates: Number of bootstrap replicates.
        seed: Seed of the bootstrap.

    >>> frame = pd.DataFrame(
    ...     {"clip_id": ["a", "b"], "modality": "audio", "region": "hidden",
    ...      "squared_error": [2.0, 4.0], "n": [10, 20]})
    >>> reconstruction_metrics(frame, replicates=10, seed=0)["mse_audio_hidden"].value
    0.2
    """
    unit = "speaker" if "speaker" in predictions else "clip_id"
    metrics = {}
    for (modality, region), part in predictions.groupby(["modality", "region"], sort=True):
        sums = part.groupby(unit, sort=True)[["squared_error", "n"]].sum().to_numpy(dtype=float)
        drawn = bootstrap_counts(len(sums), replicates, seed) @ sums
        error, n = sums.sum(axis=0)
        metrics[f"mse_{modality}_{region}"] = Estimate(
            float(error / n),
            *percentile_interval(drawn[:, 0] / drawn[:, 1]),
            n=len(part),
            unit="squared units of the input",
        )
    for term in TERMS:
        if term in predictions:
            value = float(predictions[term].iloc[0])
            metrics[term] = Estimate(value, np.nan, np.nan, n=len(predictions), unit="nats")
    return metrics
