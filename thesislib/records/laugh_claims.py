"""Claims A to E of chapter 6 judged from its records, by strength of what was planted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypedDict

import pandas as pd

from thesislib.evaluation.claims_laughs import (
    EXTREMES,
    Contrast,
    Frames,
    claim_a,
    claim_b,
    claim_c1,
    claim_c2,
    claim_d,
    claim_e,
    class_f1,
    contrast,
    contrasts_table,
    f1,
)
from thesislib.records.laughs import TABLES, chosen, planted, strengths
from thesislib.records.record import RunRecord
from thesislib.records.tables import show_p
from thesislib.records.traced import Traced, traced

NAMES = {"audio": "voice", "video": "face", "mlp": "both"}
"""Models as claims call them."""


class _Options(TypedDict):
    replicates: int
    seed: int


def laugh_contrasts(
    records: Sequence[RunRecord], results: Path, *, at: float = 1.0, replicates: int, seed: int = 0
) -> list[Traced]:
    """Every part of claims A to E at one strength; those that lack records are left out.

    Models are compared over the seeds that all of them have.

    Args:
        records: Of chapter 6.
        results: Folder that holds their predictions.
        at: Strength of what laughs and smiles do to face and voice.
        replicates: Of the bootstrap over speakers.
        seed: Of the bootstrap.
    """

    def chosen_runs(tested: str, *starts: str) -> dict[str, dict[str, list[RunRecord]]]:
        """By start and model, in order of seed."""
        runs = {
            (start, model): {
                r.seed: r for r in chosen(records, at=at, tested=tested, start=start, model=model)
            }
            for start in starts
            for model in TABLES
        }
        shared = sorted(set.intersection(*(set(found) for found in runs.values())))
        return {
            start: {NAMES[model]: [runs[start, model][n] for n in shared] for model in TABLES}
            for start in starts
        }

    def load(runs: dict[str, list[RunRecord]]) -> dict[str, Frames]:
        return {name: [r.load_predictions(results) for r in own] for name, own in runs.items()}

    def of(contrasts: Iterable[Contrast], *models: tuple[str, ...]) -> list[Traced]:
        """Contrasts on the corpus itself with the runs of their models."""
        pairs = zip(contrasts, models, strict=True)
        return [traced(found, *(own[name] for name in names)) for found, names in pairs]

    own = chosen_runs("ndc-me", "scratch")["scratch"]
    other = chosen_runs("ifadv", "scratch", "pretrained")
    options: _Options = {"replicates": replicates, "seed": seed}
    found: list[Traced] = []
    if other["scratch"]["both"]:
        scratch, pretrained = (other[start] for start in ("scratch", "pretrained"))
        parts = claim_a(load(scratch), load(pretrained), **options)
        found += [
            traced(part, scratch[name], pretrained[name])
            for part, name in zip(parts, scratch, strict=True)
        ]
    if own["both"]:
        models = load(own)
        voice, face, fusion = (models[name] for name in ("voice", "face", "both"))
        pairs = ("face", "voice"), ("both", "face"), ("voice",)
        found += of(claim_b(voice, face, fusion, **options), *pairs)
        found += of(claim_c1(models, **options), *((name,) for name in models))
        found += of(claim_c2("face", face, **options), *[("face",)] * len(EXTREMES))
        found += of(claim_d(voice, face, fusion, **options), ("both", "voice"), ("both", "face"))
        found += of(claim_e("face", face, **options), ("face",), ("face",))
    return found


def claims_table(
    records: Sequence[RunRecord], results: Path, *, at: float = 1.0, replicates: int = 2000
) -> pd.DataFrame:
    """Claims A to E at one strength: difference, interval, Holm's p-value, verdict."""
    return as_shown(laugh_contrasts(records, results, at=at, replicates=replicates))


def claims_by_strength(
    records: Sequence[RunRecord], results: Path, *, replicates: int = 2000
) -> pd.DataFrame:
    """The same in columns by strength: the null twin must not be found, the others may grow.

    Each cell holds the difference, the verdict and the number of seeds.
    """
    columns = {}
    for at in strengths(records):
        table = contrasts_table(laugh_contrasts(records, results, at=at, replicates=replicates))
        if not table.empty:
            cells = [
                f"{_signed(difference)} {verdict} ({seeds})"
                for difference, verdict, seeds in zip(
                    table["difference"], table["verdict"], table["seeds"], strict=True
                )
            ]
            index = pd.MultiIndex.from_frame(table[["claim", "part"]])
            columns[f"strength {at:g}"] = pd.Series(cells, index=index)
    if not columns:
        return pd.DataFrame()
    # In the order of the fullest strength: another one may lack records.
    order = max(columns.values(), key=len).index
    for column in columns.values():
        order = order.union(column.index, sort=False)
    shown = pd.DataFrame(columns).reindex(order).fillna("–")
    return shown.sort_index(level="claim", sort_remaining=False, kind="stable")


def fusions_table(
    records: Sequence[RunRecord], results: Path, *, tested: str = "ndc-me", replicates: int = 2000
) -> pd.DataFrame:
    """F1 of every way of fusing less that of either modality, from scratch, on the same windows.

    Each fusion is compared over the seeds that it and both branches have; p-values are corrected
    over the whole table.
    """
    runs: dict[str, dict[int, RunRecord]] = {}
    for record in chosen(records, tested=tested, start="scratch"):
        runs.setdefault(record.configuration["model"], {})[record.seed] = record
    branches = ("audio", "video")
    found = []
    for model in runs.keys() - branches if runs.keys() >= set(branches) else ():
        shared = sorted(set.intersection(*(set(runs[name]) for name in (model, *branches))))
        if shared:
            fused, *alone = (
                [runs[name][seed].load_predictions(results) for seed in shared]
                for name in (model, *branches)
            )
            found += [
                contrast(
                    "–", f"{model} less {NAMES[name]}", fused, frames, f1,
                    replicates=replicates, seed=0,
                )
                for name, frames in zip(branches, alone, strict=True)
            ]  # fmt: skip
    shown = as_shown(sorted(found, key=lambda contrast: contrast.part))
    return shown if shown.empty else shown.drop(columns="claim")


def leakage_table(
    records: Sequence[RunRecord], results: Path, *, replicates: int = 2000
) -> pd.DataFrame:
    """F1 of laughs without the other person's voice less with it, for voice, face and both.

    The two twins have the same conversations; windows that one of them lacks are left out.
    """
    found = []
    for model in TABLES:
        runs: dict[float, dict[int, RunRecord]] = {0.0: {}, 1.0: {}}
        for record in records:
            unusual, told = planted(record), record.configuration
            leakage = unusual.pop("leakage", 1.0)
            wanted = {"model": model, "tested": "ndc-me", "start": "scratch", "split": "speaker"}
            if (
                record.experiment == "laughs"
                and not unusual
                and leakage in runs
                and wanted.items() <= told.items()
            ):
                runs[leakage][record.seed] = record
        pairs = [
            _same_clips(*(runs[leakage][seed].load_predictions(results) for leakage in runs))
            for seed in sorted(runs[0.0].keys() & runs[1.0].keys())
        ]
        pairs = [pair for pair in pairs if len(pair[0])]
        if pairs:
            without, with_it = ([pair[side] for pair in pairs] for side in (0, 1))
            part = f"{NAMES[model]}: F1 of laughs without the other's voice less with it"
            statistic = class_f1("Laughs")
            found.append(
                contrast("–", part, without, with_it, statistic, replicates=replicates, seed=0)
            )
    return as_shown(found)


def as_shown(contrasts: Iterable[Contrast]) -> pd.DataFrame:
    """Contrasts as a page prints them, parts in rows."""
    table = contrasts_table(contrasts)
    if table.empty:
        return table
    return pd.DataFrame(
        {
            "claim": table["claim"],
            "verdict": table["verdict"],
            "difference": [
                "–" if math.isnan(difference) else f"{difference:+.2f} [{low:+.2f}, {high:+.2f}]"
                for difference, low, high in zip(
                    table["difference"], table["low"], table["high"], strict=True
                )
            ],
            "p (Holm)": ["–" if math.isnan(p) else show_p(p) for p in table["p_holm"]],
            "seeds": table["seeds"],
            "speakers": table["speakers"],
        }
    ).set_index(table["part"])


def _signed(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:+.2f}"


def _same_clips(first: pd.DataFrame, second: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    shared = set(first["clip_id"]) & set(second["clip_id"])
    return first[first["clip_id"].isin(shared)], second[second["clip_id"].isin(shared)]
