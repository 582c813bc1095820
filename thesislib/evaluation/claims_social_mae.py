"""Claims F to H of chapter 7, as contrasts of stored predictions with intervals over speakers.

A model's predictions come as one frame a seed. What the seeds say of one speaker is added up
before speakers are resampled, so that an interval is over people and a seed is no person; two
models are compared on the same draws of speakers.

Source: claims F to H of the notes; thesis Tables 7.1 to 7.4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from thesislib.evaluation.claims_laughs import Contrast, contrasts_table
from thesislib.evaluation.classification import (
    class_names,
    confusion_by_group,
    macro_f1,
    micro_f1,
)
from thesislib.evaluation.regression import metrics_of, moments_by_group, traits_of
from thesislib.evaluation.significance import bootstrap_counts, percentile_interval

__all__ = [
    "MARGIN",
    "claim_f",
    "claim_f_regions",
    "claim_g",
    "claim_h",
    "contrasts_table",
    "of_trait",
    "p_over_clips",
]

Frames = Sequence[pd.DataFrame]
Score = Callable[[NDArray], NDArray]
"""From sums over drawn speakers `(R, …)` to one number a draw `(R,)`."""
MARGIN = 0.03
"""Claim H: micro and macro F1 are *close* where they differ by less. In Table 7.2 they differ by
0.007 at most for the two masked autoencoders, and by up to 0.073 for the others."""


def claim_f(part: str, several: Frames, one: Frames, *, replicates: int, seed: int) -> Contrast:
    """Several frames reconstruct the face better than one: log2 of the ratio of the errors.

    Args:
        part: What is compared.
        several: Frames of kind *reconstruction* of the model with several frames, one a seed.
        one: Of the model with one frame, or of any other method that should be worse.
        replicates: Of the bootstrap.
        seed: Of the bootstrap.
    """
    return _contrast(
        "F", part, several, one, lambda frame, names: _errors(frame, names, ("all",)),
        lambda sums: -_log_error(sums), replicates=replicates, seed=seed,
    )  # fmt: skip


def claim_f_regions(
    part: str, frames: Frames, region: str, rest: Sequence[str], *, replicates: int, seed: int
) -> Contrast:
    """Errors come from the parts that move: log2 of a region's error over that of the rest.

    Args:
        part: What is compared.
        frames: Frames of kind *reconstruction* with regions, one a seed.
        region: Such as ``mouth``.
        rest: The regions that it is compared with, together.
        replicates: Of the bootstrap.
        seed: Of the bootstrap.
    """

    def errors(frame: pd.DataFrame, names: list[str]) -> NDArray:
        return np.stack([_errors(frame, names, (region,)), _errors(frame, names, rest)], axis=1)

    return _contrast(
        "F", part, frames, None, errors,
        lambda sums: _log_error(sums[:, 0]) - _log_error(sums[:, 1]),
        replicates=replicates, seed=seed,
    )  # fmt: skip


def claim_g(part: str, better: Frames, worse: Frames, *, replicates: int, seed: int) -> Contrast:
    """One model does better than another: macro F1, or accuracy where traits are told.

    Args:
        part: What is compared.
        better: Frames of the model that the claim prefers, one a seed.
        worse: Of the other, on the same clips.
        replicates: Of the bootstrap.
        seed: Of the bootstrap.
    """
    if better and "target" not in better[0]:
        return _contrast(
            "G", part, better, worse, _moments,
            lambda sums: metrics_of(sums)["accuracy"].mean(axis=1),
            replicates=replicates, seed=seed,
        )  # fmt: skip
    return _contrast(
        "G", part, better, worse, _confusions, macro_f1, replicates=replicates, seed=seed
    )


def claim_h(part: str, frames: Frames, *, replicates: int, seed: int) -> Contrast:
    """Micro and macro F1 stay close: by how much their distance stays below `MARGIN`.

    Args:
        part: Which model.
        frames: Of kind *classification*, one a seed.
        replicates: Of the bootstrap.
        seed: Of the bootstrap.
    """
    return _contrast(
        "H", part, frames, None, _confusions,
        lambda sums: MARGIN - abs(micro_f1(sums) - macro_f1(sums)),
        replicates=replicates, seed=seed,
    )  # fmt: skip


def of_trait(frame: pd.DataFrame, trait: str) -> pd.DataFrame:
    """A frame of kind *regression* with one trait only."""
    return frame[["clip_id", "speaker", f"target_{trait}", f"prediction_{trait}"]]


def p_over_clips(first: pd.DataFrame, second: pd.DataFrame) -> float:
    """p-value of a difference between two runs that takes every clip for a case of its own.

    The stars of Tables 7.2 to 7.4 say *p < 1E-5* and no more: neither the test nor what is compared
    with what. Here classes are compared by McNemar's exact test, and traits by Wilcoxon's
    signed-rank test on the absolute errors, averaged over traits. Clips of one person resemble
    each other, so that such a value is too small; `claim_g` resamples people.

    Args:
        first: Of one run, of kind *classification* or *regression*.
        second: Of the other, on the same clips.

    Raises:
        ValueError: the two are not of the same clips.

    >>> columns = {"clip_id": [f"c{i}" for i in range(8)], "speaker": "p", "target": "smile"}
    >>> right = pd.DataFrame({**columns, "prediction": "smile"})
    >>> wrong = pd.DataFrame({**columns, "prediction": "none"})
    >>> p_over_clips(right, wrong) == 2 / 2**8
    True
    """
    a, b = (frame.sort_values("clip_id", ignore_index=True) for frame in (first, second))
    if a["clip_id"].tolist() != b["clip_id"].tolist():
        raise ValueError("the two runs were not tested on the same clips")
    if "target" in a:
        right, other = (frame["prediction"] == frame["target"] for frame in (a, b))
        won, lost = int((right & ~other).sum()), int((~right & other).sum())
        return float(stats.binomtest(won, won + lost).pvalue) if won + lost else 1.0
    errors = [
        np.mean([abs(f[f"prediction_{t}"] - f[f"target_{t}"]) for t in traits_of(f)], axis=0)
        for f in (a, b)
    ]
    return 1.0 if np.array_equal(*errors) else float(stats.wilcoxon(*errors).pvalue)


def _contrast(
    claim: str,
    part: str,
    first: Frames,
    second: Frames | None,
    sums_of: Callable[[pd.DataFrame, list[str]], NDArray],
    score: Score,
    *,
    replicates: int,
    seed: int,
) -> Contrast:
    """Score of the first less that of the second, or of the first alone.

    Raises:
        ValueError: there are no frames, or the two are not of the same clips.
    """
    if not first or (second is not None and _clips(first) != _clips(second)):
        raise ValueError(f"{part}: the two models were not tested on the same clips")
    names = sorted({name for frame in first for name in frame["speaker"]})
    draws = np.vstack([np.ones(len(names)), bootstrap_counts(len(names), replicates, seed)])

    def drawn(frames: Frames) -> NDArray[np.float64]:
        sums = np.sum([sums_of(frame, names) for frame in frames], axis=0)
        return score(np.tensordot(draws, sums, axes=1))

    values = drawn(first) - (0.0 if second is None else drawn(second))
    low, high = percentile_interval(values[1:])
    return Contrast(
        claim=claim,
        part=part,
        difference=float(values[0]),
        low=low,
        high=high,
        p_value=_p_value(values[1:]),
        seeds=len(first),
        speakers=len(names),
        clips=sum(frame["clip_id"].nunique() for frame in first),
    )


def _confusions(frame: pd.DataFrame, names: list[str]) -> NDArray[np.float64]:
    """Confusion matrices by speaker, `(speakers, K, K)`; zeros of those who are not there."""
    counts = confusion_by_group(
        frame["target"].tolist(),
        frame["prediction"].tolist(),
        frame["speaker"].tolist(),
        class_names(frame),
    )
    return _placed(counts.astype(float), frame, names)


def _moments(frame: pd.DataFrame, names: list[str]) -> NDArray[np.float64]:
    return _placed(moments_by_group(frame, frame["speaker"].to_numpy(str)), frame, names)


def _errors(frame: pd.DataFrame, names: list[str], regions: Sequence[str]) -> NDArray[np.float64]:
    """Sums of squared errors and of values of the video by speaker, `(speakers, 2)`."""
    chosen = frame[(frame["modality"] == "video") & frame["region"].isin(regions)]
    sums = chosen.groupby("speaker")[["squared_error", "n"]].sum().reindex(names, fill_value=0)
    return sums.to_numpy(float)


def _placed(values: NDArray, frame: pd.DataFrame, names: list[str]) -> NDArray[np.float64]:
    """Rows of the speakers of a frame at their places among all `names`."""
    there = sorted(set(frame["speaker"]))
    placed = np.zeros((len(names), *values.shape[1:]))
    placed[[names.index(name) for name in there]] = values
    return placed


def _log_error(sums: NDArray) -> NDArray[np.float64]:
    """log2 of the mean squared error, from sums `(R, 2)`; NaN without any value."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.log2(np.where(sums[..., 1] > 0, sums[..., 0] / sums[..., 1], np.nan))


def _clips(frames: Frames) -> list[list[str]]:
    return [sorted(set(frame["clip_id"])) for frame in frames]


def _p_value(drawn: NDArray) -> float:
    """Two-sided: how often the bootstrap lands on the other side of zero, counting itself once."""
    finite = drawn[np.isfinite(drawn)]
    if not finite.size:
        return float("nan")
    beyond = min((finite <= 0).sum(), (finite >= 0).sum())
    return float(min(1.0, 2 * (beyond + 1) / (finite.size + 1)))
