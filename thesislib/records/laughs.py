"""Tables of chapter 6, from its records: beside the thesis, by strength, by sex, by split.

A record's configuration says which model, start, scope and split it is of and on which corpus it
was tested; the strengths of the planted effects stand among its parameters.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from thesislib.config import LaughConfig, for_profile
from thesislib.evaluation.claims_laughs import (
    Contrast,
    Frames,
    claim_a,
    claim_b,
    claim_c1,
    claim_c2,
    claim_d,
    claim_e,
    contrast,
    contrasts_table,
    f1,
)
from thesislib.evaluation.intensity import heat_map
from thesislib.evaluation.significance import Estimate
from thesislib.records.record import RunRecord
from thesislib.records.reported import reported_table

TABLES = {"audio": "6.1", "video": "6.2", "mlp": "6.3"}
"""Model to the table of the thesis that reports on it."""
ROWS = {
    ("ndc-me", "scratch"): "NDC-ME / From scratch",
    ("ndc-me", "pretrained"): "NDC-ME / Finetuned",
    ("ifadv", "scratch"): "IFADV / From scratch",
    ("ifadv", "pretrained"): "IFADV / Finetuned",
}
COLUMNS = {"Precision": "precision", "Recall": "recall", "F1-score": "f1_harmonic"}
SEEN = ("laugh_face", "laugh_voice", "smile_face", "smile_voice")
"""Effects that are scaled together: what laughs and smiles do to face and voice."""


def strength(record: RunRecord) -> float | None:
    """Common strength of `SEEN` that a record's twin was written with; None for another effect.

    1 is the documented size, 0 the null twin, in which laughs and smiles are annotated and leave
    no trace.
    """
    usual = _effects(str(_default(record)["effects"]))
    given = _effects(str(record.config["effects"]))
    scales = {given.pop(name, 1.0) for name in SEEN}
    return scales.pop() if len(scales) == 1 and given == usual else None


def chosen(
    records: Iterable[RunRecord],
    *,
    at: float = 1.0,
    split: str = "speaker",
    scope: str = "chapter",
    **wanted: str,
) -> list[RunRecord]:
    """Records of experiment *laughs* at one strength; models from scratch have no scope."""
    return [
        record
        for record in records
        if record.experiment == "laughs"
        and record.configuration["split"] == split
        and (record.configuration["start"] == "scratch" or record.configuration["scope"] == scope)
        and all(record.configuration[name] == value for name, value in wanted.items())
        and strength(record) == at
    ]


def beside_the_thesis(records: Sequence[RunRecord], model: str) -> pd.DataFrame:
    """One table of the thesis with the twin's mean over seeds, lowest and highest beside it.

    Args:
        records: Of chapter 6.
        model: ``audio``, ``video`` or ``mlp``.
    """
    printed = reported_table(TABLES[model])
    cells = {}
    for (tested, start), row in ROWS.items():
        runs = chosen(records, model=model, tested=tested, start=start)
        for column, metric in COLUMNS.items():
            cells[row, f"{column}, reported"] = f"{float(printed[column][row]):.3f}"
            cells[row, f"{column}, twin"] = spread(run.metrics[metric] for run in runs)
    return pd.Series(cells).unstack(sort=False)


def models_table(
    records: Sequence[RunRecord], tested: str, metrics: Sequence[str] = ("f1_harmonic", "macro_f1")
) -> pd.DataFrame:
    """Metrics of every model, from scratch and pretrained, on one corpus."""
    cells: dict[str, dict[str, list[Estimate]]] = {}
    for record in chosen(records, tested=tested):
        cells.setdefault(record.configuration["model"], defaultdict(list))
        for metric in metrics:
            key = f"{metric}, {record.configuration['start']}"
            cells[record.configuration["model"]][key].append(record.metrics[metric])
    return pd.DataFrame(
        {
            model: {key: spread(found) for key, found in columns.items()}
            for model, columns in cells.items()
        }
    ).T.rename_axis("model")


def spread(estimates: Iterable[Estimate]) -> str:
    """Mean over seeds with the lowest and the highest; a dash where there is none."""
    values = [estimate.value for estimate in estimates]
    if not values:
        return "–"
    mean = sum(values) / len(values)
    return f"{mean:.2f} ({min(values):.2f} to {max(values):.2f})"


def laugh_contrasts(
    records: Sequence[RunRecord], results: Path, *, at: float = 1.0, replicates: int, seed: int = 0
) -> list[Contrast]:
    """Every part of claims A to E at one strength; those that lack records are left out."""

    def frames(tested: str, *starts: str) -> dict[str, dict[str, Frames]]:
        """By start and model, of the seeds that all of these have."""
        runs = {
            (start, model): {
                r.seed: r for r in chosen(records, at=at, tested=tested, start=start, model=model)
            }
            for start in starts
            for model in TABLES
        }
        shared = sorted(set.intersection(*(set(found) for found in runs.values())))
        return {
            start: {
                model: [runs[start, model][n].load_predictions(results) for n in shared]
                for model in TABLES
            }
            for start in starts
        }

    own = frames("ndc-me", "scratch")["scratch"]
    other = frames("ifadv", "scratch", "pretrained")
    options = {"replicates": replicates, "seed": seed}
    found: list[Contrast] = []
    if other["scratch"]["mlp"]:
        found += claim_a(other["scratch"], other["pretrained"], **options)
    voice, face, fusion = (own[model] for model in TABLES)
    if fusion:
        found += claim_b(voice, face, fusion, **options)
        models = {"voice": voice, "face": face, "both": fusion}
        found += claim_c1(models, **options)
        found += claim_c2("face", face, **options)
        found += claim_d(voice, face, fusion, **options)
        found += claim_e("face", face, **options)
    return found


def claims_table(
    records: Sequence[RunRecord], results: Path, *, at: float = 1.0, replicates: int = 2000
) -> pd.DataFrame:
    """Claims A to E at one strength: difference, interval, Holm's p-value, verdict."""
    table = contrasts_table(laugh_contrasts(records, results, at=at, replicates=replicates))
    if table.empty:
        return table
    return pd.DataFrame(
        {
            "claim": table["claim"],
            "difference": [_interval(row) for row in table.itertuples()],
            "p (Holm)": [f"{p:.3f}" for p in table["p_holm"]],
            "speakers": table["speakers"],
            "verdict": table["verdict"],
        }
    ).set_index(table["part"])


def claims_by_strength(
    records: Sequence[RunRecord], results: Path, *, replicates: int = 2000
) -> pd.DataFrame:
    """The same in columns by strength: the null twin must not be found, the others may grow."""
    strengths = sorted({at for r in records if (at := strength(r)) is not None})
    columns = {}
    for at in strengths:
        table = contrasts_table(laugh_contrasts(records, results, at=at, replicates=replicates))
        if table.empty:
            continue
        names = [
            f"{claim}: {part}" for claim, part in zip(table["claim"], table["part"], strict=True)
        ]
        cells = [f"{row.difference:+.2f} {row.verdict}" for row in table.itertuples()]
        columns[f"strength {at:g}"] = pd.Series(cells, index=names)
    return pd.DataFrame(columns).fillna("–")


def by_sex(records: Sequence[RunRecord], tested: str = "ndc-me") -> pd.DataFrame:
    """UAR of women's and of men's clips, from scratch, mean over seeds with the extremes."""
    cells = {}
    for model in TABLES:
        runs = chosen(records, tested=tested, start="scratch", model=model)
        for sex in ("female", "male"):
            name = f"uar_{sex}"
            cells[model, sex] = spread(r.metrics[name] for r in runs if name in r.metrics)
    return pd.Series(cells).unstack().rename_axis("UAR")


def by_split(records: Sequence[RunRecord]) -> pd.DataFrame:
    """F1 on unseen people, F1 of the thesis's random split, and the optimism of the latter."""
    rows = {}
    for model in TABLES:
        means = {}
        for split in ("speaker", "random"):
            runs = chosen(records, split=split, tested="ndc-me", start="scratch", model=model)
            values = [run.metrics["f1_harmonic"].value for run in runs]
            means[split] = sum(values) / len(values) if values else float("nan")
        rows[model] = {
            "people unseen": f"{means['speaker']:.2f}",
            "random": f"{means['random']:.2f}",
            "optimism": f"{means['random'] - means['speaker']:+.2f}",
        }
    return pd.DataFrame(rows).T.rename_axis("F1")


def by_leakage(records: Sequence[RunRecord]) -> pd.DataFrame:
    """Recall of the laughs by amplitude of the other person in the microphone, 1 as documented."""
    cells: dict[tuple[float, str], list[Estimate]] = defaultdict(list)
    for record in records:
        given = _effects(str(record.config["effects"]))
        leakage = given.pop("leakage", 1.0)
        configuration = record.configuration
        if (
            record.experiment == "laughs"
            and given == _effects(str(_default(record)["effects"]))
            and (configuration["start"], configuration["split"]) == ("scratch", "speaker")
            and configuration["tested"] == "ndc-me"
            and configuration["model"] in TABLES
        ):
            cells[leakage, configuration["model"]].append(record.metrics["recall_Laughs"])
    shown = pd.Series({key: spread(found) for key, found in sorted(cells.items())})
    return shown.unstack().rename_axis("amplitude of leakage") if len(shown) else pd.DataFrame()


def by_scope(records: Sequence[RunRecord]) -> pd.DataFrame:
    """F1 by what is trained of a pretrained branch, on the corpus and zero-shot."""
    cells = {}
    for scope in ("chapter", "full", "head"):
        for tested in ("ndc-me", "ifadv"):
            for model in TABLES:
                runs = chosen(records, scope=scope, tested=tested, start="pretrained", model=model)
                cells[scope, f"{model}, {tested}"] = spread(r.metrics["f1_harmonic"] for r in runs)
    return pd.Series(cells).unstack(sort=False).rename_axis("what is trained")


def pooled_heat_map(records: Sequence[RunRecord], results: Path) -> pd.DataFrame:
    """Heat map of several seeds' predictions together."""
    return heat_map(pd.concat([r.load_predictions(results) for r in records]))


def leakage_contrast(
    records: Sequence[RunRecord], results: Path, model: str, *, replicates: int = 2000
) -> Contrast | None:
    """F1 without the other person's voice less with it, over the seeds that both have."""
    without: dict[tuple[int, str, str], RunRecord] = {}
    with_it: dict[tuple[int, str, str], RunRecord] = {}
    for record in records:
        if record.experiment != "laughs" or record.configuration["model"] != model:
            continue
        given = _effects(str(record.config["effects"]))
        kind = given.pop("leakage", None)
        if given == _effects(str(_default(record)["effects"])) and kind in (0.0, None):
            place = without if kind == 0.0 else with_it
            key = (record.seed, record.configuration["tested"], record.configuration["start"])
            if record.configuration["split"] == "speaker":
                place[key] = record
    shared = sorted(without.keys() & with_it.keys())
    if not shared:
        return None
    return contrast(
        "leakage", f"{model}: F1 without the other's voice less with it",
        _frames([without[key] for key in shared], results),
        _frames([with_it[key] for key in shared], results), f1, replicates=replicates, seed=0,
    )  # fmt: skip


def _default(record: RunRecord) -> Mapping[str, object]:
    return for_profile(LaughConfig, record.profile).as_dict()


def _effects(text: str) -> dict[str, float]:
    return {name: float(value) for name, _, value in (p.partition("=") for p in text.split())}


def _frames(records: Sequence[RunRecord], results: Path) -> Frames:
    """Predictions in order of seed."""
    return [r.load_predictions(results) for r in sorted(records, key=lambda r: r.seed)]


def _interval(row: object) -> str:
    difference, low, high = (getattr(row, name) for name in ("difference", "low", "high"))
    return f"{difference:+.2f} [{low:+.2f}, {high:+.2f}]"
