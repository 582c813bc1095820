"""Claim I of the thesis, from the predictions of chapter 8's probes.

I1: the frozen main branch beats the auxiliary one. I2: all three losses beat reconstruction alone
on the auxiliary branch. I3: training on recordings in the wild beats clean ones.

Source: Tables 8.2 to 8.4; claim I of the notes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from thesislib.evaluation.classification import confusion_by_group, macro_f1, micro_f1
from thesislib.evaluation.significance import (
    Estimate,
    bootstrap_counts,
    holm,
    paired_test,
    percentile_interval,
)

Cells = Mapping[tuple[str, str], Sequence[pd.DataFrame]]
"""Frames of factors, one a seed, by what was trained on and by which losses."""
WILD, CLEAN = "voxceleb2", "librispeech"
METRICS: Mapping[str, Callable[[NDArray], NDArray[np.float64]]] = {
    "micro_f1": micro_f1,
    "macro_f1": macro_f1,
}


class Side(NamedTuple):
    """One side of a comparison: frames of factors, one a seed, and the branch that is read."""

    frames: Sequence[pd.DataFrame]
    branch: str


def claim_i(
    cells: Cells, factor: str, *, metric: str = "macro_f1", replicates: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """Every comparison of claim I that the cells allow, for one factor of one evaluated corpus.

    Args:
        cells: Frames by (training corpus, losses), such as ``("voxceleb2-twin", "all")``; all
            of one encoder and one evaluated corpus.
        factor: Such as ``emotion`` or ``expression``.
        metric: ``macro_f1`` or ``micro_f1``.
        replicates: Of the bootstrap over speakers and seeds.
        seed: Of the bootstrap.

    Returns:
        Rows of ``part`` (I1, I2 or I3), ``first``, ``second``, and what `compare` measures, with
        ``p_holm``, corrected within each part.
    """
    rows = []
    for (corpus, losses), frames in cells.items():
        name = f"{corpus} {losses}"
        sides = Side(frames, "main"), Side(frames, "auxiliary")
        rows.append(("I1", f"{name}, main", f"{name}, auxiliary", *sides))
        if losses == "all" and (corpus, "reconstruction") in cells:
            other = cells[corpus, "reconstruction"]
            sides = Side(frames, "auxiliary"), Side(other, "auxiliary")
            rows.append(("I2", name, f"{corpus} reconstruction", *sides))
        clean = corpus.replace(WILD, CLEAN)
        if corpus.startswith(WILD) and (clean, losses) in cells:
            sides = Side(frames, "auxiliary"), Side(cells[clean, losses], "auxiliary")
            rows.append(("I3", name, f"{clean} {losses}", *sides))
    table = pd.DataFrame(
        [
            {"part": part, "first": first, "second": second}
            | compare(a, b, factor, metric=metric, replicates=replicates, seed=seed)
            for part, first, second, a, b in rows
        ]
    )
    if len(table):
        table["p_holm"] = np.nan
        for _, positions in table.groupby("part").groups.items():
            table.loc[positions, "p_holm"] = holm(table.loc[positions, "p_value"].tolist())
    return table.sort_values("part", kind="stable", ignore_index=True) if len(table) else table


def compare(
    first: Side,
    second: Side,
    factor: str,
    *,
    metric: str = "macro_f1",
    replicates: int = 2000,
    seed: int = 0,
) -> dict[str, float | int | bool | None]:
    """One side against another, on the same clips.

    Both are means over their seeds. The interval resamples speakers, the same for either side, and
    seeds. The test flips signs of the speakers' differences in accuracy, averaged over seeds: it is
    about these seeds.

    Args:
        first: One side.
        second: The other.
        factor: What was probed.
        metric: ``macro_f1`` or ``micro_f1``.
        replicates: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        ``value_first``, ``value_second``, ``difference``, ``low``, ``high``, ``effect_size``
        (Cohen's d_z of the speakers' differences in accuracy), ``p_value``, ``speakers``,
        ``seeds`` (the smaller number of either side) and ``holds``: True where the whole interval
        is above zero, False where it is below, None where it is neither.

    Raises:
        ValueError: the sides are not about the same speakers, or a side has no frame.
    """
    sides = [_confusions(side, factor) for side in (first, second)]
    if sides[0][0] != sides[1][0]:
        raise ValueError("both sides have to be about the same speakers and classes")
    speakers = len(sides[0][0][0])
    values, accuracies = [], []
    for number, (_, counts) in enumerate(sides):
        # Where both sides are branches of one run, they share its seed: the same draws for both.
        shift = 0 if first.frames is second.frames else number
        values.append(_drawn(counts, metric, replicates, seed, shift))
        hits = np.trace(counts, axis1=2, axis2=3) / counts.sum((2, 3))
        accuracies.append(hits.mean(axis=0))
    difference = values[0] - values[1]
    low, high = percentile_interval(difference[1:])
    test = paired_test(accuracies[0].tolist(), accuracies[1].tolist(), seed=seed)
    return {
        "value_first": float(values[0][0]),
        "value_second": float(values[1][0]),
        "difference": float(difference[0]),
        "low": low,
        "high": high,
        "effect_size": test.effect_size,
        "p_value": test.p_value,
        "speakers": speakers,
        "seeds": min(len(first.frames), len(second.frames)),
        "holds": True if low > 0 else False if high < 0 else None,
    }


def estimate(
    side: Side, factor: str, *, metric: str = "macro_f1", replicates: int = 2000, seed: int = 0
) -> Estimate:
    """One side by itself: mean over its seeds, with an interval over speakers and seeds.

    Args:
        side: Frames and branch.
        factor: What was probed.
        metric: ``macro_f1`` or ``micro_f1``.
        replicates: Of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        ValueError: as `compare`.
    """
    _, counts = _confusions(side, factor)
    values = _drawn(counts, metric, replicates, seed, 0)
    clips = int(counts[0].sum())
    return Estimate(float(values[0]), *percentile_interval(values[1:]), n=clips, unit="share")


def _drawn(
    counts: NDArray, metric: str, replicates: int, seed: int, shift: int
) -> NDArray[np.float64]:
    """Means over seeds: of the sample, first, and of replicates of speakers and of seeds.

    Args:
        counts: `(seeds, speakers, classes, classes)`.
        metric: Name.
        replicates: Of the bootstrap.
        seed: Of the draws of speakers, which are the same whatever the shift.
        shift: Sets the draws of seeds apart.
    """
    seeds, speakers = counts.shape[:2]
    draws = _with_whole(bootstrap_counts(speakers, replicates, seed))
    weights = _with_whole(bootstrap_counts(seeds, replicates, seed + 1 + shift))
    of_seeds = METRICS[metric](np.einsum("rs,gskl->rgkl", draws, counts))
    means: NDArray[np.float64] = (of_seeds * weights).sum(axis=1) / weights.sum(axis=1)
    return means


def _with_whole(draws: NDArray[np.int64]) -> NDArray[np.int64]:
    """Draws after the sample as it is."""
    return np.concatenate([np.ones((1, draws.shape[1]), dtype=np.int64), draws])


def _confusions(side: Side, factor: str) -> tuple[tuple[list[str], list[str]], NDArray]:
    """Speakers and classes, and counts `(seeds, speakers, classes, classes)`."""
    if not side.frames:
        raise ValueError("a side has no frame")
    parts = [
        frame[(frame["factor"] == factor) & (frame["branch"] == side.branch)]
        for frame in side.frames
    ]
    # What is predicted is always a class of some target: probes know no others.
    classes = sorted({label for part in parts for label in part["target"]})
    speakers = sorted(set(parts[0]["speaker"]))
    if any(sorted(set(part["speaker"])) != speakers for part in parts):
        raise ValueError("the seeds of a side are not about the same speakers")
    counts = [
        confusion_by_group(
            part["target"].tolist(), part["prediction"].tolist(), part["speaker"].tolist(), classes
        )
        for part in parts
    ]
    return (speakers, classes), np.stack(counts)
