"""Claims F to H of chapter 7 on its records, by strength of the planted effects.

Source: claims F to H of the notes; thesis Tables 7.2 to 7.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from thesislib.evaluation.claims_laughs import contrasts_table
from thesislib.evaluation.claims_social_mae import (
    claim_f,
    claim_f_regions,
    claim_g,
    claim_h,
    of_trait,
    p_over_clips,
)
from thesislib.evaluation.regression import traits_of
from thesislib.records.record import RunRecord
from thesislib.records.social_mae import (
    CORPORA,
    FULL,
    IN_DOMAIN,
    MODELS,
    MODES,
    OUT_OF_DOMAIN,
    TRAITS,
    ZERO_SHOT,
    chosen,
    lsn_tcn_runs,
    strength,
)
from thesislib.records.tables import show_p
from thesislib.records.traced import Traced, traced

FACE = ("skin",)
"""What the moving regions are compared with: the still part of the face."""
REAL_VOICES = "EmoDB, Audio: pre-training on a twin's speech less none"
"""The part of claim G on real recordings: neither corpus of it is the thesis's."""


def contrasts(
    records: Sequence[RunRecord],
    results: Path,
    *,
    at: float | None = None,
    replicates: int,
    seed: int = 0,
) -> list[Traced]:
    """Every part of claims F to H at one strength; those that lack records are left out.

    Args:
        records: Of chapter 7, and those of chapter 6 for the comparison with LSN-TCN.
        results: Folder of results.
        at: Strength of the planted effects; None for each corpus's main one.
        replicates: Of the bootstrap.
        seed: Of the bootstrap.
    """
    options = {"replicates": replicates, "seed": seed}
    found: list[Traced] = []
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
            first, second, runs = _paired(several, other, results)
            if first:
                found.append(traced(claim_f(part, first, second, **options), runs))
        frames = [r.load_predictions(results) for r in several]
        for region in ("eyes", "mouth") if frames and _has_regions(frames[0]) else ():
            part = f"{name}: error of {region} over still skin"
            contrast = claim_f_regions(part, frames, region, FACE, **options)
            found.append(traced(contrast, several))
        found += _task_contrasts(records, results, corpus, name, at, options)
    return found


def _task_contrasts(
    records: Sequence[RunRecord],
    results: Path,
    corpus: str,
    name: str,
    at: float | None,
    options: dict[str, int],
) -> list[Traced]:
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
            first, second, used = _paired(social, other, results)
            if first:
                contrast = claim_g(f"{name}, {label}: {part}", first, second, **options)
                found.append(traced(contrast, used))
        if corpus == "ndc-me" and at in (None, 1):
            first, second, used = _paired(social, lsn_tcn_runs(records, mode), results)
            if first:
                part = f"{name}, {label}: Social-MAE less LSN-TCN"
                contrast = replace(claim_g(part, first, second, **options), claim="7.4")
                found.append(traced(contrast, used))
        if social and social[0].kind == "classification":
            frames = [r.load_predictions(results) for r in social]
            contrast = claim_h(f"{name}, {label}: micro and macro F1", frames, **options)
            found.append(traced(contrast, social))
    return found


def real_voices(
    records: Sequence[RunRecord], results: Path, *, replicates: int, seed: int = 0
) -> list[Traced]:
    """The part of claim G on EmoDB: pre-training on the speech of a twin less none, macro F1.

    Sound alone, in folds of people unseen; the same people on both sides.

    Args:
        records: Of chapter 7.
        results: Folder of results.
        replicates: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        One contrast, or none without records of both sides.
    """
    pretrained, none = (
        chosen(
            records, at=1.0, corpus="emodb", model="mae", mode="audio", pretraining=pretraining,
            scope=FULL,
        )
        for pretraining in ("librispeech-twin", "none")
    )  # fmt: skip
    first, second, runs = _paired(
        [r for r in pretrained if not r.synthetic], [r for r in none if not r.synthetic], results
    )
    if not first:
        return []
    contrast = claim_g(REAL_VOICES, first, second, replicates=replicates, seed=seed)
    return [traced(contrast, runs)]


def claims_table(
    records: Sequence[RunRecord], results: Path, *, at: float | None = None, replicates: int = 2000
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
            "p (Holm)": [show_p(p) for p in table["p_holm"]],
            "speakers": table["speakers"],
            "verdict": table["verdict"],
        }
    )
    return shown.set_index(table["part"])


def claims_by_strength(
    records: Sequence[RunRecord], results: Path, *, replicates: int = 2000
) -> pd.DataFrame:
    """Claim G in columns by strength of the planted effects: a null twin must not show it.

    Strength 1 is the documented size, which is not that of every corpus's main runs.
    """
    columns = {}
    for at in sorted({s for r in records if r.chapter == "07" and (s := strength(r)) is not None}):
        table = contrasts_table(contrasts(records, results, at=at, replicates=replicates))
        if table.empty:
            continue
        table = table[table["claim"] == "G"]
        cells = [f"{row.difference:+.2f} {row.verdict}" for row in table.itertuples()]
        columns[f"strength {at:g}"] = pd.Series(cells, index=table["part"], dtype=object)
    return pd.DataFrame(columns).fillna("–")


def p_values_table(
    records: Sequence[RunRecord], results: Path, *, replicates: int = 2000
) -> pd.DataFrame:
    """What the thesis stars in Tables 7.2 to 7.4, tested over clips and over speakers.

    A row is a cell of Social-MAE, compared with CAV-MAE at the same pre-training, which is what
    the stars may mean. The p-values over clips are those of the seeds apart, as the thesis had one
    run; a test part of a twin has some dozens of clips, that of the thesis thousands.
    """
    rows = {}
    for corpus, name in CORPORA.items():
        for mode, label in MODES.items():
            runs = [
                chosen(
                    records, corpus=corpus, model="mae", mode=mode, frames=frames,
                    pretraining=IN_DOMAIN,
                )
                for frames in ("8", "1")
            ]  # fmt: skip
            first, second, _ = _paired(runs[0], runs[1], results)
            if not first:
                continue
            traits = traits_of(first[0]) if runs[0][0].kind == "regression" else []
            for trait in [*traits, ""]:
                pair = [[of_trait(f, trait) if trait else f for f in x] for x in (first, second)]
                part = f"{name}, {label}" + (f", {TRAITS[trait]}" if trait else "")
                found = claim_g(part, pair[0], pair[1], replicates=replicates, seed=0)
                clips = [p_over_clips(a, b) for a, b in zip(*pair, strict=True)]
                rows[part] = {
                    "thesis": "p < 1E-5",
                    "p over clips, by seed": ", ".join(f"{p:.1g}" for p in clips),
                    "p over speakers": show_p(found.p_value),
                    "difference": f"{found.difference:+.3f} [{found.low:+.3f}, {found.high:+.3f}]",
                    "speakers": found.speakers,
                }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("Social-MAE less CAV-MAE")


def _paired(
    first: Sequence[RunRecord], second: Sequence[RunRecord], results: Path
) -> tuple[list[pd.DataFrame], list[pd.DataFrame], list[RunRecord]]:
    """Predictions of both in order of seed, of the seeds that both have on the same clips.

    The runs of both come last.
    """
    a, b = ({r.seed: r for r in runs} for runs in (first, second))
    frames: tuple[list[pd.DataFrame], list[pd.DataFrame]] = [], []
    used = []
    for n in sorted(a.keys() & b.keys()):
        x, y = a[n].load_predictions(results), b[n].load_predictions(results)
        if set(x["clip_id"]) == set(y["clip_id"]):
            frames[0].append(x)
            frames[1].append(y)
            used += [a[n], b[n]]
    return *frames, used


def _has_regions(frame: pd.DataFrame) -> bool:
    return bool((frame["region"] == "mouth").any())
