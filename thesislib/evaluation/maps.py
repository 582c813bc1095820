"""Numbers for pictures of chapter 6: what a map of embeddings suggests, and what occlusion shows.

Frames of kind *embedding*. A map has ``z_0, z_1, …`` (the embedding) and ``map_0, map_1`` (its
place in two dimensions); an ablation has ``drop_0, drop_1, …``, what each part that is taken away
costs the probability of the right class. Both have ``target`` and ``intensity``.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.manifold import trustworthiness
from sklearn.metrics import silhouette_score

from thesislib.evaluation.intensity import LEVELS
from thesislib.evaluation.significance import Estimate, bootstrap_counts, percentile_interval

NEIGHBOURS = 5
ORDER = {level: len(LEVELS) - 1 - number for number, level in enumerate(LEVELS)}
"""Rank of a level, from *none* (0) over smiles to the loudest laughs (7), as Figure 6.7b has it."""


def map_metrics(frame: pd.DataFrame, *, replicates: int, seed: int) -> dict[str, Estimate]:
    """What the map suggests, in numbers.

    ``trustworthiness``: are neighbours in the map neighbours in the embedding (1: all are)?
    ``silhouette``: how far the three classes lie apart in the embedding (-1 to 1).
    ``axis_order``: absolute rank correlation of the map's first axis with the level, from *none*
    over smiles to laughs. An axis has no sign, so its interval cannot fall below 0.

    Args:
        frame: A map.
        replicates: Of the bootstrap over speakers, for the last; the first two have no interval.
        seed: Of the bootstrap.
    """
    high = frame[numbered(frame, "z")].to_numpy()
    low = frame[numbered(frame, "map")].to_numpy()
    nan, n = float("nan"), len(frame)
    neighbours = min(NEIGHBOURS, (n - 1) // 2)
    trust = float(trustworthiness(high, low, n_neighbors=neighbours))
    several = 2 <= frame["target"].nunique() < n
    apart = float(silhouette_score(high, frame["target"])) if several else nan
    rank = np.array([ORDER[pair] for pair in zip(frame["target"], frame["intensity"], strict=True)])
    return {
        "trustworthiness": Estimate(trust, nan, nan, n=n, unit="share"),
        "silhouette": Estimate(apart, nan, nan, n=n, unit="silhouette"),
        "axis_order": _order(low[:, 0], rank, frame["speaker"], replicates, seed),
    }


def drop_metrics(frame: pd.DataFrame, *, replicates: int, seed: int) -> dict[str, Estimate]:
    """Mean cost of each part that is taken away, for each class, with intervals over speakers."""
    columns = numbered(frame, "drop")
    metrics = {}
    for name, part in frame.groupby("target", sort=True):
        sums = part.groupby("speaker", sort=True)[columns].sum().to_numpy()
        clips = part.groupby("speaker", sort=True).size().to_numpy()
        draws = bootstrap_counts(len(clips), replicates, seed)
        drawn = (draws @ sums) / (draws @ clips)[:, None]
        for number, column in enumerate(columns):
            metrics[f"{column}_{name}"] = Estimate(
                float(sums[:, number].sum() / clips.sum()),
                *percentile_interval(drawn[:, number]),
                n=len(part),
                unit="probability",
            )
    return metrics


def numbered(frame: pd.DataFrame, prefix: str) -> list[str]:
    """The columns ``prefix_0, prefix_1, …`` of a frame, in order of their numbers."""
    found = [name for name in frame.columns if name.rpartition("_")[0] == prefix]
    return sorted(found, key=lambda name: int(name.rpartition("_")[2]))


def _order(
    axis: NDArray, rank: NDArray, speakers: pd.Series, replicates: int, seed: int
) -> Estimate:
    names, speaker = np.unique(np.asarray(speakers, str), return_inverse=True)
    members = [np.flatnonzero(speaker == number) for number in range(len(names))]
    drawn = [
        _rho(axis[rows], rank[rows])
        for counts in bootstrap_counts(len(names), min(replicates, 500), seed)
        for rows in [np.concatenate([np.tile(m, c) for m, c in zip(members, counts, strict=True)])]
    ]
    low, high = percentile_interval(np.array(drawn))
    return Estimate(_rho(axis, rank), low, high, n=len(axis), unit="rho")


def _rho(axis: NDArray, rank: NDArray) -> float:
    if np.ptp(axis) == 0 or np.ptp(rank) == 0:
        return float("nan")
    return abs(float(spearmanr(axis, rank).statistic))
