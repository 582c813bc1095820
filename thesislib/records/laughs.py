"""Tables of chapter 6, from its records: beside the thesis, by strength, by sex, by split.

A record's configuration says which model, start, scope and split it is of and on which corpus it
was tested; the strengths of the planted effects stand among its parameters.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from thesislib.config import EXPRESSIONS, LaughConfig, for_profile
from thesislib.evaluation.classification import class_names
from thesislib.evaluation.intensity import CLASSES, balanced_confusion, heat_map
from thesislib.evaluation.significance import Estimate
from thesislib.records.record import RunRecord
from thesislib.records.reported import reported_table
from thesislib.records.tables import show

TABLES = {"audio": "6.1", "video": "6.2", "mlp": "6.3"}
"""Model to the table of the thesis that reports on it."""
HEAT_MAPS = {"audio": "6.2", "mlp": "6.4"}
"""Model to the figure that prints its detection by intensity, in numbers."""
ROWS = {
    ("ndc-me", "scratch"): "NDC-ME / From scratch",
    ("ndc-me", "pretrained"): "NDC-ME / Finetuned",
    ("ifadv", "scratch"): "IFADV / From scratch",
    ("ifadv", "pretrained"): "IFADV / Finetuned",
}
COLUMNS = {"Precision": "precision", "Recall": "recall", "F1-score": "f1_harmonic"}


def strength(record: RunRecord) -> float | None:
    """Common strength of `EXPRESSIONS` that a record's twin has; None where another effect differs.

    1 is the documented size, 0 the null twin, in which laughs and smiles are annotated and leave
    no trace.
    """
    unusual = planted(record)
    scales = {unusual.pop(name, 1.0) for name in EXPRESSIONS}
    return scales.pop() if len(scales) == 1 and not unusual else None


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
    runs = chosen(records, tested=tested)
    for record in sorted(runs, key=lambda r: r.configuration["start"], reverse=True):
        cells.setdefault(record.configuration["model"], defaultdict(list))
        for metric in metrics:
            key = f"{metric}, {record.configuration['start']}"
            cells[record.configuration["model"]][key].append(record.metrics[metric])
    table = pd.DataFrame(
        {
            model: {key: spread(found) for key, found in columns.items()}
            for model, columns in cells.items()
        }
    ).T
    return table.fillna(spread([])).rename_axis("model")


def spread(estimates: Iterable[Estimate]) -> str:
    """Mean over seeds with the lowest, the highest and their number; a dash where there is none.

    >>> spread(Estimate(value, 0, 1, n=9, unit="share") for value in (0.5, 0.6))
    '0.55 (0.50 to 0.60; 2)'
    >>> spread([])
    '–'
    """
    values = [estimate.value for estimate in estimates]
    if not values:
        return "–"
    mean = sum(values) / len(values)
    if len(values) == 1:
        return f"{mean:.2f} (1)"
    return f"{mean:.2f} ({min(values):.2f} to {max(values):.2f}; {len(values)})"


def strengths(records: Iterable[RunRecord]) -> list[float]:
    """Strengths that any record is of, from the null twin up."""
    return sorted({at for record in records if (at := strength(record)) is not None})


def coverage(records: Iterable[RunRecord], planned: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """How much of a grid is recorded: conditions in rows, seeds planned and recorded.

    Args:
        records: Of chapter 6.
        planned: Parameters of each run of the grid.
    """
    done = {_condition(r.config, r.profile) for r in records if r.experiment == "laughs"}
    counts: dict[tuple[str, ...], list[int]] = {}
    for config in planned:
        *condition, seed = _condition(config, str(config["profile"]))
        count = counts.setdefault(tuple(condition), [0, 0])
        count[0] += 1
        count[1] += (*condition, seed) in done
    index = pd.MultiIndex.from_tuples(counts, names=["start", "scope", "split", "twin"])
    return pd.DataFrame(list(counts.values()), index=index, columns=["seeds planned", "recorded"])


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
    """F1 on unseen people, F1 of the thesis's random split, and the optimism of the latter.

    Of both splits the seeds are taken that both have.
    """
    rows = {}
    for model in TABLES:
        runs = {
            split: {
                run.seed: run.metrics["f1_harmonic"]
                for run in chosen(
                    records, split=split, tested="ndc-me", start="scratch", model=model
                )
            }
            for split in ("speaker", "random")
        }
        shared = sorted(runs["speaker"].keys() & runs["random"].keys())
        speaker, random = ([runs[split][n] for n in shared] for split in ("speaker", "random"))
        gains = [r.value - s.value for r, s in zip(random, speaker, strict=True)]
        rows[model] = {
            "people unseen": spread(speaker),
            "random": spread(random),
            "optimism": f"{sum(gains) / len(gains):+.2f}" if gains else "–",
        }
    return pd.DataFrame(rows).T.rename_axis("F1")


def recalls_by_strength(records: Sequence[RunRecord], tested: str = "ndc-me") -> pd.DataFrame:
    """Recall of each class by model and strength, from scratch: who is at a ceiling, who at chance.

    A recall of 1 leaves a difference no room to grow, one third is what guessing reaches.
    """
    cells = {}
    for at in strengths(records):
        for model in TABLES:
            runs = chosen(records, at=at, tested=tested, start="scratch", model=model)
            if runs:
                for name in CLASSES:
                    found = spread(r.metrics[f"recall_{name}"] for r in runs)
                    cells[model, name, f"strength {at:g}"] = found
    if not cells:
        return pd.DataFrame()
    shown = pd.Series(cells).unstack(fill_value="–", sort=False)
    return shown.rename_axis(index=["model", "recall of"])


def balanced_confusions(records: Sequence[RunRecord], results: Path) -> pd.DataFrame:
    """Per cent of each expected class by prediction, from scratch, all seeds of a model together.

    Source: as the confusion matrices of notes item 22, in which classes count alike.
    """
    tables = {}
    for model in TABLES:
        if runs := chosen(records, tested="ndc-me", start="scratch", model=model):
            tables[model] = balanced_confusion(pooled_predictions(runs, results))
    if not tables:
        return pd.DataFrame()
    return pd.concat(tables, names=["model", "expected"]).round(1).rename_axis(columns="predicted")


def by_leakage(records: Sequence[RunRecord]) -> pd.DataFrame:
    """Recall of the laughs by amplitude of the other person in the microphone, 1 as documented."""
    cells: dict[tuple[float, str], list[Estimate]] = defaultdict(list)
    for record in records:
        unusual, configuration = planted(record), record.configuration
        leakage = unusual.pop("leakage", 1.0)
        if (
            record.experiment == "laughs"
            and not unusual
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


def pretext_table(records: Iterable[RunRecord], results: Path) -> pd.DataFrame:
    """How well sentences are told of people who were not trained on, beside guessing.

    The pretext task has a seed of its own and runs share its weights, so that their records differ
    by the resampling of their intervals alone: one row a modality, of the lowest seed's record.

    Args:
        records: Of chapter 6.
        results: Folder that holds their predictions.
    """
    ordered = sorted(records, key=lambda record: (record.seed, record.run_id), reverse=True)
    first = {r.configuration["model"]: r for r in ordered if r.experiment == "pretext"}
    rows = {}
    for model in ("audio", "video"):
        if model in first:
            names = class_names(first[model].load_predictions(results))
            rows[model] = {
                "sentences told (UAR)": show(first[model].metrics["uar"]),
                "guessing": f"{1 / len(names):.2f}",
                "sentences": len(names),
                "clips": first[model].metrics["uar"].n,
            }
    return pd.DataFrame(rows).T.rename_axis("pretext task") if rows else pd.DataFrame()


def pooled_predictions(records: Sequence[RunRecord], results: Path) -> pd.DataFrame:
    """Several seeds' predictions together."""
    return pd.concat([r.load_predictions(results) for r in records], ignore_index=True)


def beside_heat_maps(
    records: Sequence[RunRecord], results: Path, model: str, start: str
) -> dict[str, pd.DataFrame]:
    """Reported and twin heat maps of one model and start, by title, for both corpora.

    Figure 6.3 (the face) has no numbers in the thesis's text; what lacks records is left out.
    """
    maps = {}
    told = "scratch" if start == "scratch" else "fine-tuned"
    for tested in ("ndc-me", "ifadv"):
        if model in HEAT_MAPS:
            printed = reported_table(f"Figure {HEAT_MAPS[model]}, {told}, {tested.upper()}")
            maps[f"reported, {tested.upper()}"] = printed
        if runs := chosen(records, tested=tested, start=start, model=model):
            seeds = f"{len(runs)} seed{'s' if len(runs) > 1 else ''}"
            title = f"twin of {tested.upper()}, {seeds}"
            maps[title] = heat_map(pooled_predictions(runs, results))
    return maps


def planted(record: RunRecord) -> dict[str, float]:
    """Scales of planted effects that a record's twin was written with, where they are not usual."""
    return _unusual(str(record.config["effects"]), record.profile)


def _unusual(effects: str, profile: str) -> dict[str, float]:
    """Effects that differ from the profile's; what the profile scales and these do not is 1."""
    usual, given = _usual(profile), _effects(effects)
    scales = {name: given.get(name, 1.0) for name in {*usual, *given}}
    return {n: scale for n, scale in sorted(scales.items()) if scale != usual.get(n, 1.0)}


def _condition(config: Mapping[str, Any], profile: str) -> tuple[str, ...]:
    """Start, scope, split, twin and seed of a run, as words."""
    scratch = config["start"] == "scratch"
    scales = _unusual(str(config["effects"]), profile)
    told = ", ".join(f"{name} x {scale:g}" for name, scale in scales.items())
    common = {scales.get(name, 1.0) for name in EXPRESSIONS}
    if scales.keys() <= set(EXPRESSIONS) and len(common) == 1:
        told = f"strength {common.pop():g}"
    scope = "–" if scratch else str(config["scope"])
    return str(config["start"]), scope, str(config["split"]), told, str(config["seed"])


@cache
def _usual(profile: str) -> dict[str, float]:
    return _effects(for_profile(LaughConfig, profile).effects)


def _effects(text: str) -> dict[str, float]:
    return {name: float(value) for name, _, value in (p.partition("=") for p in text.split())}
