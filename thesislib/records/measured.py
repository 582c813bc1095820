"""Which records tell of which reported cell, and what a cell's direction is taken against.

One `Measure` a table of the thesis. Each chapter's own selection of records is used, so that the
scoreboard and the chapters cannot disagree about what stands beside a reported number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from thesislib.evaluation.factors import factor_confusion
from thesislib.evaluation.intensity import CLASSES, LEVELS, heat_map
from thesislib.evaluation.significance import Estimate
from thesislib.records import disentanglement, laughs, social_mae
from thesislib.records.record import RunRecord
from thesislib.records.reported import reported_cells, reported_tables

Place = tuple[str, str, str]
"""Table, row and column."""


class Sample(NamedTuple):
    """One cell in one run.

    Attributes:
        key: Of what is compared with what: the seed, and the corpus where a cell is of several.
        value: Of the metric.
        low: Lower end of its 95 % interval; NaN where it has none.
        high: Upper end.
        runs: The record, or none where it is derived.
    """

    key: str
    value: float
    low: float = math.nan
    high: float = math.nan
    runs: tuple[RunRecord, ...] = ()


Samples = dict[tuple[str, str], list[Sample]]


@dataclass(frozen=True, slots=True)
class Measure:
    """How one table of the thesis is measured here.

    Attributes:
        corpora: Manifests of the real corpora that it takes.
        direction: What its direction means, in words.
        reference: Row and column to the cell that a cell is compared with; None for a reference.
        collect: Records and their folder to samples by row and column.
        trained: Whether it takes training.
        note: What has to be known of our side.
        people: What only people could do again.
        twinless: Why no twin can say anything of it, in a few words; empty where one can.
        complete: Whether one run tells of every cell that its corpus has.
    """

    corpora: tuple[str, ...]
    direction: str
    reference: Callable[[str, str], Place | None]
    collect: Callable[[Sequence[RunRecord], Path], Samples]
    trained: bool = True
    note: str = ""
    people: str = ""
    twinless: str = ""
    complete: bool = False


def measures() -> dict[str, Measure]:
    """One for every table of ``results/reported.yaml``.

    >>> sorted(measures()) == sorted(reported_tables())
    True
    """
    found = {**_annotation(), **_laughs(), **_social_mae(), **_branches()}
    for number in reported_tables():
        if number.startswith("Figure"):
            found[number] = _heat_map(number)
    return found


# -------------------------------------------------------------------------------------- chapter 5

IB = ("ib", "ndc-me", "ifadv", "ccdb")
OVERLAPS = {"overlap_perc": "Overlap_perc", "iou": "IoU", "overlap_levels": "Overlap_levels"}
NUMBERS = (
    "The twin's six annotators have the numbers of the thesis's and habits of their own, so a pair "
    "is compared with itself in another table. Means over the twins of three corpora."
)


def _annotation() -> dict[str, Measure]:
    def nothing(records: Sequence[RunRecord], results: Path) -> Samples:
        return {}

    def alone(row: str, column: str) -> None:
        return None

    def elsewhere(table: str, row: str, column: str) -> Place | None:
        return None if row == column else (table, row, column)

    described = partial(Measure, IB, reference=alone, collect=nothing, trained=False)
    pairs = partial(Measure, IB, trained=False, note=NUMBERS, complete=True)
    found = {
        "5.3": described(
            direction="None: how much was annotated is no finding.",
            note="How much there is to annotate is set when a twin is made.",
            twinless="the amount is chosen",
        ),
        "5.4": described(
            direction="None: a simulated annotator takes no time.",
            people="Only six people with a clock could measure it again.",
            twinless="it takes no time",
        ),
        # A difference between two tables is counted in one of them only.
        "5.5": pairs(
            direction="None: Table 5.6 is compared with it.",
            reference=alone,
            collect=partial(_kappas, everything=False),
        ),
        "5.6": pairs(
            direction="The mean kappa of a pair less its kappa for roles in Table 5.5.",
            reference=partial(elsewhere, "5.5"),
            collect=partial(_kappas, everything=True),
        ),
    }
    for table, category, name in (("5.7", "Role", "roles"), ("5.9", "Laughs", "laughs")):
        found[table] = pairs(
            direction=f"A pair's value for {name} less the same pair's for smiles in Table 5.8, "
            "where that prints one.",
            reference=partial(elsewhere, "5.8"),
            collect=partial(_overlaps, category=category),
        )
    found["5.8"] = pairs(
        direction="None: Tables 5.7 and 5.9 are compared with it.",
        reference=alone,
        collect=partial(_overlaps, category="Smiles"),
    )
    return found


def _agreement_frames(
    records: Sequence[RunRecord], results: Path
) -> Iterable[tuple[RunRecord, pd.DataFrame]]:
    for record in records:
        if record.experiment == "agreement" and not record.config["effects"]:
            frame = record.load_predictions(results)
            yield record, frame[frame["value"].notna()]


def _kappas(records: Sequence[RunRecord], results: Path, *, everything: bool) -> Samples:
    """Kappa of each pair, of roles or the mean over all categories and levels."""
    found: Samples = {}
    for record, frame in _agreement_frames(records, results):
        part = frame[frame["statistic"] == "kappa"]
        if not everything:
            part = part[(part["category"] == "Role") & (part["level"] == "all")]
        keys = ["annotator_a", "annotator_b"]
        means = part.groupby([*keys, "category", "level"])["value"].mean().groupby(keys).mean()
        for row in means.reset_index().to_dict("records"):
            place = (_person(row["annotator_a"]), _person(row["annotator_b"]))
            _add(found, place, record, float(row["value"]), key=record.corpus)
    return found


def _overlaps(records: Sequence[RunRecord], results: Path, *, category: str) -> Samples:
    """Overlap, IoU and shared levels of each pair, in per cent."""
    found: Samples = {}
    for record, frame in _agreement_frames(records, results):
        part = frame[(frame["category"] == category) & (frame["level"] == "all")]
        means = part.groupby(["annotator_a", "annotator_b", "statistic"])["value"].mean()
        for row in means.reset_index().to_dict("records"):
            if row["statistic"] in OVERLAPS:
                first = f"{_person(row['annotator_a'])} / {OVERLAPS[row['statistic']]}"
                place = (first, _person(row["annotator_b"]))
                _add(found, place, record, 100 * float(row["value"]), key=record.corpus)
    return found


def _person(name: object) -> str:
    """``annotator_1`` as the thesis spells it."""
    return str(name).replace("_", " ").capitalize()


# -------------------------------------------------------------------------------------- chapter 6


def _laughs() -> dict[str, Measure]:
    def reference(table: str, row: str, column: str) -> Place | None:
        corpus, start = row.split(" / ")
        if start == "Finetuned":
            return table, f"{corpus} / From scratch", column
        return None if corpus == "NDC-ME" else (table, "NDC-ME / From scratch", column)

    return {
        table: Measure(
            ("ndc-me", "ifadv", "ib"),
            "Fine-tuned rows less the row from scratch of the same corpus; from scratch, IFADV "
            "(unseen) less NDC-ME, which is the reference.",
            partial(reference, table),
            partial(_expressions, model=model),
        )
        for model, table in laughs.TABLES.items()
    }


def _expressions(records: Sequence[RunRecord], results: Path, *, model: str) -> Samples:
    found: Samples = {}
    for (tested, start), row in laughs.ROWS.items():
        for run in laughs.chosen(records, model=model, tested=tested, start=start):
            for column, metric in laughs.COLUMNS.items():
                _estimate(found, (row, column), run, run.metrics[metric])
    return found


def _heat_map(number: str) -> Measure:
    figure, start, corpus = number.split(", ")
    model = {f"Figure {name}": model for model, name in laughs.HEAT_MAPS.items()}[figure]

    def reference(row: str, column: str) -> Place | None:
        return None if row == "None / none" else (number, "None / none", column)

    def collect(records: Sequence[RunRecord], results: Path) -> Samples:
        begun = "scratch" if start == "scratch" else "pretrained"
        found: Samples = {}
        for run in laughs.chosen(records, model=model, tested=corpus.lower(), start=begun):
            shares = heat_map(run.load_predictions(results))
            for (expression, level), values in zip(LEVELS, shares.to_numpy(), strict=True):
                for predicted, value in zip(CLASSES, values, strict=True):
                    if math.isfinite(value):
                        place = (f"{expression} / {level}", predicted)
                        _add(found, place, run, float(value))
        return found

    return Measure(
        ("ndc-me", "ifadv", "ib"),
        "How much more often a class is predicted at this level than in windows of neither smile "
        "nor laugh, which is the reference row.",
        reference,
        collect,
        complete=True,
    )


# -------------------------------------------------------------------------------------- chapter 7


def _social_mae() -> dict[str, Measure]:
    def reference(table: str, row: str, column: str) -> Place | None:
        return None if row == "CAV-MAE" else (table, "CAV-MAE", column)

    tables = {
        "7.1": (("voxceleb2", "crema-d", "first-impressions", "ndc-me"), _reconstructions),
        "7.2": (("voxceleb2", "crema-d"), _emotions),
        "7.3": (("voxceleb2", "first-impressions"), _traits),
        "7.4": (("voxceleb2", "ndc-me", "ib"), _smiles),
    }
    return {
        table: Measure(
            corpora,
            "Each row less CAV-MAE, the model of one frame, which is the reference row.",
            partial(reference, table),
            collect,
        )
        for table, (corpora, collect) in tables.items()
    }


def _reconstructions(records: Sequence[RunRecord], results: Path) -> Samples:
    found: Samples = {}
    for pretraining in _both(social_mae.IN_DOMAIN):
        for frames, row in social_mae.MODELS.items():
            for run in social_mae.chosen(
                records, social_mae.ZERO_SHOT, frames=frames, model="mae", pretraining=pretraining
            ):
                for letter, modality in (("A", "audio"), ("V", "video")):
                    metric = f"mse_{modality}_all"
                    if run.corpus in social_mae.CORPORA and metric in run.metrics:
                        column = f"{social_mae.CORPORA[run.corpus]} {letter}."
                        _estimate(found, (row, column), run, run.metrics[metric])
    return found


def _emotions(records: Sequence[RunRecord], results: Path) -> Samples:
    found: Samples = {}
    for mode, label in social_mae.MODES.items():
        for run in social_mae.chosen(records, corpus="crema-d", mode=mode):
            for short, metric in (("Mi", "micro_f1"), ("Ma", "macro_f1")):
                place = (social_mae.row_of(run), f"{label} {short}")
                _estimate(found, place, run, run.metrics[metric])
    return found


def _traits(records: Sequence[RunRecord], results: Path) -> Samples:
    found: Samples = {}
    for run in social_mae.chosen(records, corpus="first-impressions", mode="both"):
        for trait, column in [*social_mae.TRAITS.items(), ("", "Avg.")]:
            metric = f"accuracy_{trait}" if trait else "accuracy"
            _estimate(found, (social_mae.row_of(run), column), run, run.metrics[metric])
    return found


def _smiles(records: Sequence[RunRecord], results: Path) -> Samples:
    found: Samples = {}
    columns = {"audio": "Audio", "video": "Visual", "both": "Audiovisual"}
    for mode, column in columns.items():
        for run in social_mae.chosen(records, corpus="ndc-me", mode=mode):
            place = (social_mae.row_of(run), column)
            _estimate(found, place, run, run.metrics["f1_harmonic"])
        for run in social_mae.lsn_tcn_runs(records, mode):
            _estimate(found, ("LSN-TCN", column), run, run.metrics["f1_harmonic"])
    return found


# -------------------------------------------------------------------------------------- chapter 8

F1 = {"micro f1-score": "micro_f1", "macro f1-score": "macro_f1"}


def _branches() -> dict[str, Measure]:
    def losses(row: str, column: str) -> Place | None:
        first = "reconstruction only"
        return None if row == first else ("8.1", first, column)

    def main_only(table: str, row: str, column: str) -> Place | None:
        first = f"{row.partition('-')[0]}-main-only"
        return None if row == first else (table, first, column)

    def confusion(row: str, column: str) -> Place | None:
        model, expected = row.split(" / ")
        return None if expected == "None" else ("8.5", f"{model} / None", column)

    told = "Each row less the frozen main branch alone of the same encoder, the reference row."
    tasks = {"8.2": ("crema-d", "emotion"), "8.3": ("crema-d", "emotion")}
    tasks["8.4"] = ("ndc-me", "expression")
    found = {
        "8.1": Measure(
            ("voxceleb2", "librispeech"),
            "The loss with all three terms less that of the reconstruction alone.",
            losses,
            _losses,
        ),
        "8.5": Measure(
            ("ndc-me", "ib"),
            "How much more often a class is predicted for laughs, or for smiles, than for neither, "
            "the reference row of each model.",
            confusion,
            _confusions,
        ),
    }
    for table, (corpus, factor) in tasks.items():
        trained_on = "librispeech" if table == "8.3" else "voxceleb2"
        corpora = (trained_on, corpus, *(("librispeech", "ib") if table == "8.4" else ()))
        collect = partial(_probes, table=table, corpus=corpus, factor=factor)
        found[table] = Measure(corpora, told, partial(main_only, table), collect)
    return found


def _losses(records: Sequence[RunRecord], results: Path) -> Samples:
    found: Samples = {}
    for row, column, _ in reported_cells("8.1"):
        model, corpus = column.split(" / ")
        kept = "reconstruction" if row == "reconstruction only" else "all"
        for trained_on in _both(disentanglement.CORPORA[corpus]):
            for run in disentanglement.chosen(
                _with_encoder(records, model.lower()), disentanglement.RECONSTRUCTION,
                losses=kept, trained_on=trained_on,
            ):  # fmt: skip
                if kept == "all":  # a sum of three means has no interval of its own
                    _add(found, (row, column), run, disentanglement.total_loss(run))
                else:
                    _estimate(found, (row, column), run, run.metrics["mse_audio_hidden"])
    return found


def _probes(
    records: Sequence[RunRecord], results: Path, *, table: str, corpus: str, factor: str
) -> Samples:
    found: Samples = {}
    for row, column, _ in reported_cells(table):
        runs, branch = _runs(records, table, row, corpus)
        for run in runs:
            metric = f"{factor}/{branch}/{F1[column]}"
            if metric in run.metrics:
                _estimate(found, (row, column), run, run.metrics[metric])
    return found


def _confusions(records: Sequence[RunRecord], results: Path) -> Samples:
    found: Samples = {}
    names = {"Laughs": "laugh", "Smiles": "smile", "None": "none"}
    for model in disentanglement.ENCODERS:
        runs, branch = _runs(records, "8.5", f"{model}-main-only", "ndc-me")
        for run in runs[:1]:  # it is frozen: every run says the same of it
            frame = run.load_predictions(results)
            shares = factor_confusion(frame, "expression", branch, list(names.values()))
            for expected, row in zip(names, shares.to_numpy(), strict=True):
                for predicted, value in zip(names, row, strict=True):
                    place = (f"{model}-main-only / {expected}", predicted)
                    _add(found, place, run, float(value))
    return found


def _runs(
    records: Sequence[RunRecord], table: str, row: str, corpus: str
) -> tuple[list[RunRecord], str]:
    """Runs that tell of a row, on the corpus or its twin, and the branch that is read of them."""
    cell = disentanglement.cell_of(table, row)
    own = _with_encoder(records, row.partition("-")[0])
    found: dict[int, RunRecord] = {}
    for evaluated in _both(f"{corpus}-twin"):
        for trained_on in _both(cell.trained_on) if cell.trained_on else ("",):
            asked = cell._replace(encoder="", trained_on=trained_on)
            runs, _ = disentanglement.runs_of(own, asked, evaluated)
            found |= {run.seed: run for run in runs}
    return list(found.values()), cell.branch


def _with_encoder(records: Sequence[RunRecord], model: str) -> list[RunRecord]:
    """Runs whose main branch is the named one, or what stands for it on a twin."""
    twin = disentanglement.ENCODERS[model]
    return [
        r
        for r in records
        if (encoder := r.configuration.get("encoder", "")) == twin
        or (encoder not in disentanglement.ENCODERS.values() and model in encoder)
    ]


# ---------------------------------------------------------------------------------------- helpers


def _both(name: str) -> tuple[str, str]:
    """A twin and the real corpus; of the records of one side only one of them is found."""
    return name, name.removesuffix("-twin")


def _add(
    found: Samples, place: tuple[str, str], run: RunRecord, value: float, *, key: str = ""
) -> None:
    found.setdefault(place, []).append(Sample(f"{key}{run.seed}", value, runs=(run,)))


def _estimate(found: Samples, place: tuple[str, str], run: RunRecord, estimate: Estimate) -> None:
    sample = Sample(f"{run.seed}", estimate.value, estimate.low, estimate.high, (run,))
    found.setdefault(place, []).append(sample)
