"""Claims A to E of chapter 6, as contrasts of stored predictions with intervals over speakers.

A model's predictions come as one frame a seed. What the seeds say of one speaker is added up
before speakers are resampled, so that an interval is over people and a seed is no person. Two
models are compared on the same draws of speakers.

Source: claims A to E of the notes; notes items 22 and 23.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from thesislib.evaluation.intensity import (
    CLASSES,
    LEVELS,
    confused_share,
    intensity_slope,
    level_counts,
    precision_recall,
    regrouped_rates,
)
from thesislib.evaluation.significance import bootstrap_counts, holm, percentile_interval

Frames = Sequence[pd.DataFrame]
Statistic = Callable[[NDArray], NDArray]
"""From counts (..., 8, 3) of levels and predictions to values (...)."""
LEVEL_OF_TEST = 0.05
FEWEST_SPEAKERS = 6
"""With five people or fewer even a sign that all of them share is no finding: 2 / 2**5 > 0.05."""
EXTREMES = (
    ("low laughs taken for smiles", "Laughs", ("low",), ("medium", "high"), "Smiles"),
    ("high smiles taken for laughs", "Smiles", ("high",), ("subtle", "low", "medium"), "Laughs"),
    ("subtle smiles taken for none", "Smiles", ("subtle",), ("low", "medium", "high"), "None"),
)
"""Claim C2: these levels of an expression are confused with that class more than the others."""


class _Options(TypedDict):
    replicates: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """One part of a claim: a difference that the claim says is above zero.

    Attributes:
        claim: ``A``, ``B``, ``C1``, ``C2``, ``D`` or ``E``.
        part: What is compared.
        difference: Over all seeds.
        low: Lower end of the 95 % bootstrap interval over speakers.
        high: Upper end.
        p_value: Two-sided, from the same bootstrap.
        seeds: How many runs of each model it rests on.
        speakers: How many were resampled.
        clips: Predictions that it rests on, all seeds together.
    """

    claim: str
    part: str
    difference: float
    low: float
    high: float
    p_value: float
    seeds: int
    speakers: int
    clips: int


def contrast(
    claim: str,
    part: str,
    first: Frames,
    second: Frames,
    statistic: Statistic,
    other: Statistic | None = None,
    *,
    replicates: int,
    seed: int,
) -> Contrast:
    """How much higher a statistic is for one model than for another, or one than another.

    Args:
        claim: Of the notes.
        part: What is compared.
        first: Frames of one model, one a seed.
        second: Of the other model, on the same clips; the same frames to compare two statistics.
        statistic: Of the first.
        other: Of the second; the same by default.
        replicates: Of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        ValueError: there are no frames, or the two are not of the same clips.
    """
    if not first or [_ids(frame) for frame in first] != [_ids(frame) for frame in second]:
        raise ValueError(f"{part}: the two models were not tested on the same clips")
    speakers = sorted({name for frame in first for name in frame["speaker"]})
    counts = [_pooled(frames, speakers) for frames in (first, second)]
    draws = np.vstack([np.ones(len(speakers)), bootstrap_counts(len(speakers), replicates, seed)])
    resampled = [np.einsum("rs,slk->rlk", draws, values) for values in counts]
    drawn = statistic(resampled[0]) - (other or statistic)(resampled[1])
    low, high = percentile_interval(drawn[1:])
    return Contrast(
        claim=claim,
        part=part,
        difference=float(drawn[0]),
        low=low,
        high=high,
        p_value=_p_value(drawn[1:]),
        seeds=len(first),
        speakers=len(speakers),
        clips=int(counts[0].sum()),
    )


def claim_a(
    scratch: Mapping[str, Frames], pretrained: Mapping[str, Frames], *, replicates: int, seed: int
) -> list[Contrast]:
    """Pre-training improves generalisation: F1 on the corpus that was not trained on.

    Args:
        scratch: Zero-shot frames by model.
        pretrained: The same of pretrained models.
        replicates: Of the bootstrap.
        seed: Of the bootstrap.
    """
    return [
        contrast(
            "A", f"{name}: F1 pretrained less scratch, zero-shot",
            pretrained[name], scratch[name], f1, replicates=replicates, seed=seed,
        )
        for name in scratch
    ]  # fmt: skip


def claim_b(
    voice: Frames, face: Frames, fusion: Frames, *, replicates: int, seed: int
) -> list[Contrast]:
    """The face tells smiles better than the voice, and laughs need the voice."""
    smiles, laughs = class_f1("Smiles"), class_f1("Laughs")
    options: _Options = {"replicates": replicates, "seed": seed}
    return [
        contrast("B", "F1 of smiles, face less voice", face, voice, smiles, **options),
        contrast("B", "F1 of laughs, with the voice less without", fusion, face, laughs, **options),
        contrast("B", "voice: F1 of laughs less smiles", voice, voice, laughs, smiles, **options),
    ]


def claim_c1(models: Mapping[str, Frames], *, replicates: int, seed: int) -> list[Contrast]:
    """Laughs are found more often the more intense they are: the slope over the three levels."""
    return [
        contrast(
            "C1", f"{name}: laughs found, a level up",
            frames, frames, lambda levels: intensity_slope(levels, "Laughs"), _nothing,
            replicates=replicates, seed=seed,
        )
        for name, frames in models.items()
    ]  # fmt: skip


def claim_c2(name: str, frames: Frames, *, replicates: int, seed: int) -> list[Contrast]:
    """Extremes are confused most: low laugh and high smile, subtle smile and none."""
    found = []
    for part, expression, extreme, rest, prediction in EXTREMES:

        def at(
            levels: NDArray,
            which: tuple[str, ...] = extreme,
            expression: str = expression,
            prediction: str = prediction,
        ) -> NDArray:
            return confused_share(levels, expression, which, prediction)

        def elsewhere(
            levels: NDArray,
            which: tuple[str, ...] = rest,
            expression: str = expression,
            prediction: str = prediction,
        ) -> NDArray:
            return confused_share(levels, expression, which, prediction)

        found.append(
            contrast(
                "C2", f"{name}: {part}, less the other levels", frames, frames, at, elsewhere,
                replicates=replicates, seed=seed,
            )
        )  # fmt: skip
    return found


def claim_d(
    voice: Frames, face: Frames, fusion: Frames, *, replicates: int, seed: int
) -> list[Contrast]:
    """Fusion against either modality: it beats the best one where it beats both (note 23).

    Nobody has to be chosen as the best beforehand, which would flatter the fusion or the branch.
    """
    options: _Options = {"replicates": replicates, "seed": seed}
    return [
        contrast("D", "F1 of the fusion less the voice", fusion, voice, f1, **options),
        contrast("D", "F1 of the fusion less the face", fusion, face, f1, **options),
    ]


def claim_e(name: str, frames: Frames, *, replicates: int, seed: int) -> list[Contrast]:
    """Strong smiles counted as laughs raise the rate of laughs found, and steady it over levels."""

    def of(when: str, which: int) -> Statistic:
        return lambda levels: regrouped_rates(levels)[when][which]

    options: _Options = {"replicates": replicates, "seed": seed}
    return [
        contrast(
            "E", f"{name}: laughs found, regrouped less as annotated", frames, frames,
            of("after", 0), of("before", 0), **options,
        ),
        contrast(
            "E", f"{name}: spread over levels, as annotated less regrouped", frames, frames,
            of("before", 1), of("after", 1), **options,
        ),
    ]  # fmt: skip


def contrasts_table(contrasts: Iterable[Contrast]) -> pd.DataFrame:
    """Contrasts in rows, with p-values corrected after Holm over all of them, and verdicts.

    A part *holds* where its interval lies above zero and its corrected p-value below 0.05, is
    *reversed* where the same is so below zero, and else is *undecided*. With fewer people than
    `FEWEST_SPEAKERS` there is no verdict, since a bootstrap over so few is too narrow by far, nor
    is there one where the level that a part is about does not occur.
    """
    rows = pd.DataFrame(list(contrasts))
    if rows.empty:
        return rows
    known = rows["p_value"].notna() & rows["difference"].notna()
    rows["p_holm"] = np.nan
    rows.loc[known, "p_holm"] = holm(rows.loc[known, "p_value"].tolist())
    clear = rows["p_holm"] < LEVEL_OF_TEST
    conditions = {
        "no such windows": rows["difference"].isna(),
        "too few people": rows["speakers"] < FEWEST_SPEAKERS,
        "holds": clear & (rows["low"] > 0),
        "reversed": clear & (rows["high"] < 0),
    }
    rows["verdict"] = np.select(list(conditions.values()), list(conditions), "undecided")
    return rows


def f1(levels: NDArray) -> NDArray:
    """Harmonic mean of mean precision and mean recall, which the thesis prints (note 22)."""
    return precision_recall(_confusion(levels))["f1_harmonic"]


def class_f1(name: str) -> Statistic:
    """F1 of one class."""
    place = CLASSES.index(name)

    def statistic(levels: NDArray) -> NDArray:
        confusion = _confusion(levels)
        hits = confusion[..., place, place]
        total = confusion[..., place, :].sum(-1) + confusion[..., :, place].sum(-1)
        return np.divide(2 * hits, total, out=np.full(hits.shape, np.nan), where=total > 0)

    return statistic


def _confusion(levels: NDArray) -> NDArray:
    """Counts (..., 3, 3) by class from counts (..., 8, 3) by level."""
    rows = [[n for n, level in enumerate(LEVELS) if level[0] == name] for name in CLASSES]
    return np.stack([levels[..., chosen, :].sum(-2) for chosen in rows], axis=-2)


def _nothing(levels: NDArray) -> NDArray:
    return np.zeros(levels.shape[:-2])


def _pooled(frames: Frames, speakers: list[str]) -> NDArray[np.float64]:
    """Counts (speakers, 8, 3) of all seeds together."""
    total = np.zeros((len(speakers), len(LEVELS), len(CLASSES)))
    for frame in frames:
        names = sorted(set(frame["speaker"]))
        total[[speakers.index(name) for name in names]] += level_counts(frame)
    return total


def _ids(frame: pd.DataFrame) -> list[str]:
    return sorted(frame["clip_id"])


def _p_value(drawn: NDArray) -> float:
    """Two-sided: how often the bootstrap lands on the other side of zero, counting itself once."""
    finite = drawn[np.isfinite(drawn)]
    if not finite.size:
        return float("nan")
    beyond = min((finite <= 0).sum(), (finite >= 0).sum())
    return float(min(1.0, 2 * (beyond + 1) / (finite.size + 1)))
