"""Claims F to H of chapter 7 on its records, by strength of the planted effects.

Source: claims F to H of the notes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from thesislib.evaluation.claims_laughs import Contrast, contrasts_table
from thesislib.evaluation.claims_social_mae import claim_f, claim_f_regions, claim_g, claim_h
from thesislib.records.record import RunRecord
from thesislib.records.social_mae import (
    CORPORA,
    IN_DOMAIN,
    MODELS,
    MODES,
    OUT_OF_DOMAIN,
    ZERO_SHOT,
    chosen,
    strength,
)

FACE = ("skin",)
"""What the moving regions are compared with: the still part of the face."""


def contrasts(
    records: Sequence[RunRecord], results: Path, *, at: float = 1.0, replicates: int, seed: int = 0
) -> list[Contrast]:
    """Every part of claims F to H at one strength; those that lack records are left out."""
    options = {"replicates": replicates, "seed": seed}
    found: list[Contrast] = []
    for corpus, name in CORPORA.items():
        drawn = {
            (frames, method): chosen(
                records, ZERO_SHOT, at=at, corpus=corpus, frames=frames, model=method,
                pretraining=IN_DOMAIN,
            )
            for frames in MODELS
            for method in ("mae", "copy")
        }  # fmt: skip
        several = drawn["8", "mae"]
        pairs = {
            f"{name}: pictures, eight frames less one": drawn["1", "mae"],
            f"{name}: pictures, eight frames less copying": drawn["8", "copy"],
        }
        for part, other in pairs.items():
            first, second = _paired(several, other, results)
            if first:
                found.append(claim_f(part, first, second, **options))
        frames = [r.load_predictions(results) for r in several]
        for region in ("eyes", "mouth") if frames and _has_regions(frames[0]) else ():
            part = f"{name}: error of {region} over still skin"
            found.append(claim_f_regions(part, frames, region, FACE, **options))
        found += _task_contrasts(records, results, corpus, name, at, options)
    return found


def _task_contrasts(
    records: Sequence[RunRecord],
    results: Path,
    corpus: str,
    name: str,
    at: float,
    options: dict[str, int],
) -> list[Contrast]:
    found = []
    for mode, label in MODES.items():
        runs = {
            (frames, pretraining): chosen(
                records, at=at, corpus=corpus, model="mae", mode=mode, frames=frames,
                pretraining=pretraining,
            )
            for frames in MODELS
            for pretraining in ("none", OUT_OF_DOMAIN, IN_DOMAIN)
        }  # fmt: skip
        social = runs["8", IN_DOMAIN]
        pairs = {
            "eight frames less one": runs["1", IN_DOMAIN],
            "in-domain less no pre-training": runs["8", "none"],
            "in-domain less out-of-domain": runs["8", OUT_OF_DOMAIN],
        }
        for part, other in pairs.items():
            first, second = _paired(social, other, results)
            if first:
                found.append(claim_g(f"{name}, {label}: {part}", first, second, **options))
        if social and social[0].kind == "classification":
            frames = [r.load_predictions(results) for r in social]
            found.append(claim_h(f"{name}, {label}: micro and macro F1", frames, **options))
    return found


def claims_table(
    records: Sequence[RunRecord], results: Path, *, at: float = 1.0, replicates: int = 2000
) -> pd.DataFrame:
    """Claims F to H at one strength: difference, interval, Holm's p-value, verdict."""
    table = contrasts_table(contrasts(records, results, at=at, replicates=replicates))
    if table.empty:
        return table
    shown = pd.DataFrame(
        {
            "claim": table["claim"],
            "difference": [
                f"{row.difference:+.2f} [{row.low:+.2f}, {row.high:+.2f}]"
                for row in table.itertuples()
            ],
            "p (Holm)": [f"{p:.3f}" for p in table["p_holm"]],
            "speakers": table["speakers"],
            "verdict": table["verdict"],
        }
    )
    return shown.set_index(table["part"])


def claims_by_strength(
    records: Sequence[RunRecord], results: Path, *, replicates: int = 2000
) -> pd.DataFrame:
    """Claim G in columns by strength of the planted effects: a null twin must not show it."""
    columns = {}
    for at in sorted({s for r in records if r.chapter == "07" and (s := strength(r)) is not None}):
        table = contrasts_table(contrasts(records, results, at=at, replicates=replicates))
        if table.empty:
            continue
        table = table[table["claim"] == "G"]
        cells = [f"{row.difference:+.2f} {row.verdict}" for row in table.itertuples()]
        columns[f"strength {at:g}"] = pd.Series(cells, index=table["part"], dtype=object)
    return pd.DataFrame(columns).fillna("–")


def _paired(
    first: Sequence[RunRecord], second: Sequence[RunRecord], results: Path
) -> tuple[list[pd.DataFrame], list[pd.DataFrame]]:
    """Predictions of both in order of seed, of the seeds that both have."""
    a, b = ({r.seed: r for r in runs} for runs in (first, second))
    shared = sorted(a.keys() & b.keys())
    return (
        [a[n].load_predictions(results) for n in shared],
        [b[n].load_predictions(results) for n in shared],
    )


def _has_regions(frame: pd.DataFrame) -> bool:
    return bool((frame["region"] == "mouth").any())
