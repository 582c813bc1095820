"""Agreement over a whole set of annotations: every pair of annotators on every common recording."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from thesislib.corpora.annotation import IBAnnotation, pair_participants
from thesislib.evaluation.agreement import FileAgreement, compare
from thesislib.evaluation.significance import Estimate, bootstrap_counts, percentile_interval


def compare_all(annotations: Mapping[str, Mapping[str, IBAnnotation]]) -> list[FileAgreement]:
    """Compare every pair of annotators on every recording that both annotated.

    Args:
        annotations: Annotator to recording to annotation.
    """
    results = []
    for first, second in combinations(sorted(annotations), 2):
        for recording in sorted(annotations[first].keys() & annotations[second].keys()):
            results += compare(
                annotations[first][recording],
                annotations[second][recording],
                annotators=(first, second),
            )
    return results


def dyads_of(recordings: Mapping[str, IBAnnotation]) -> list[tuple[IBAnnotation, IBAnnotation]]:
    """The conversations of which both participants are annotated, in order of name."""
    pairs, _ = pair_participants([Path(f"{name}.eaf") for name in sorted(recordings)])
    return [(recordings[first.stem], recordings[second.stem]) for first, second in pairs]


def pair_grid(aggregated: pd.DataFrame, statistic: str, category: str) -> pd.DataFrame:
    """One statistic of all values of a category: first annotator in rows, second in columns."""
    chosen = aggregated[
        (aggregated["statistic"] == statistic)
        & (aggregated["category"] == category)
        & (aggregated["level"] == "all")
    ]
    names = sorted({*aggregated["annotator_a"], *aggregated["annotator_b"]})
    grid = chosen.pivot_table(index="annotator_a", columns="annotator_b", values="value")
    return grid.reindex(index=names[:-1], columns=names[1:])


def agreement_metrics(
    predictions: pd.DataFrame, *, replicates: int, seed: int
) -> dict[str, Estimate]:
    """Each statistic of each category and level: the mean over files and annotator pairs.

    Intervals come from a bootstrap over files. Files on which a statistic is not defined do not
    count for it; a statistic that no file defines is left out.

    Args:
        predictions: Frame of kind *agreement*.
        replicates: Number of bootstrap replicates.
        seed: Seed of the bootstrap.
    """
    files = sorted(set(predictions["file"]))
    counts = bootstrap_counts(len(files), replicates, seed)
    metrics = {}
    defined = predictions[predictions["value"].notna()]
    for (statistic, category, level), part in defined.groupby(["statistic", "category", "level"]):
        by_file = part.groupby("file")["value"].agg(["sum", "count"]).reindex(files, fill_value=0)
        total, number = counts @ by_file["sum"].to_numpy(), counts @ by_file["count"].to_numpy()
        drawn = np.divide(total, number, out=np.full(replicates, np.nan), where=number > 0)
        metrics[f"{statistic}_{category}_{level}".lower()] = Estimate(
            float(part["value"].mean()),
            *percentile_interval(drawn),
            n=len(part),
            unit=str(statistic),
        )
    return metrics
