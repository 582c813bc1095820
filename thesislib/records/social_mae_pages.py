"""What chapter 7's page shows besides its tables.

How much of the grid is recorded and how long it took, the few-shot curve, drawings that were kept
and how well they follow the originals, and the thesis's own differences beside those of the twins.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from thesislib.evaluation.claims_social_mae import MARGIN
from thesislib.records.drawings import Drawing, band_correlation, region_correlation, unpack
from thesislib.records.record import RunRecord
from thesislib.records.reported import reported_table
from thesislib.records.social_mae import (
    CORPORA,
    IN_DOMAIN,
    MODELS,
    MODES,
    TASK,
    chosen,
    for_pictures,
    in_scope,
    is_of,
)
from thesislib.records.tables import show
from thesislib.reproduce.jobs import State, whole_file

EVERYBODY = "all"
PLANTED = {"emotion": ("emotion_",), "expressions": ("laugh_", "smile_")}
"""What twins are told apart by in the table of coverage, and the effects that make it."""


def coverage(records: Iterable[RunRecord], planned: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """How much of the grid is recorded: conditions in rows, jobs planned and recorded.

    Args:
        records: Of chapter 7.
        planned: Parameters of each job of the grid.
    """
    done = {(*_condition(r.config), r.seed) for r in records if r.experiment == TASK}
    counts: dict[tuple[str, ...], list[int]] = {}
    for config in planned:
        condition = _condition(config)
        count = counts.setdefault(condition, [0, 0])
        count[0] += 1
        count[1] += (*condition, config["seed"]) in done
    names = ["corpus", "model", "frames", "pre-training", "scope", "twin"]
    index = pd.MultiIndex.from_tuples(counts, names=names)
    return pd.DataFrame(list(counts.values()), index=index, columns=["planned", "recorded"])


def intervals(records: Iterable[RunRecord], corpus: str, metrics: Sequence[str]) -> pd.DataFrame:
    """Metrics of each single run with 95 % intervals over people, which the thesis does not give.

    Args:
        records: Of chapter 7.
        corpus: Whose tables, such as ``crema-d``; its models that were pre-trained in domain.
        metrics: Columns; those that a run has no value of are left out.

    Returns:
        Rows by modality, model of the thesis and seed; empty without records.
    """
    rows: dict[tuple[str, str, int], dict[str, str]] = {}
    for mode, modality in MODES.items():
        for frames, model in MODELS.items():
            for run in chosen(
                records,
                corpus=corpus,
                model="mae",
                mode=mode,
                frames=frames,
                pretraining=IN_DOMAIN,
            ):
                rows[modality, model, run.seed] = {
                    name: show(run.metrics[name]) for name in metrics if name in run.metrics
                }
    index = pd.MultiIndex.from_tuples(rows, names=["modality", "model", "seed"])
    return pd.DataFrame(list(rows.values()), index=index).sort_index(sort_remaining=False)


def _condition(config: Mapping[str, Any]) -> tuple[str, ...]:
    of_twin = []
    scales = dict(part.split("=") for part in str(config["effects"]).split())
    for planted, prefixes in PLANTED.items():
        values = {value for name, value in scales.items() if name.startswith(prefixes)}
        if values:
            of_twin.append(f"{planted} {', '.join(sorted(values))}")
    if for_pictures(config):
        of_twin.append("for pictures")
    if config["labelled_speakers"]:
        of_twin.append(f"{config['labelled_speakers']} labelled people")
    return (
        str(config["corpus"]), str(config["model"]), str(config["n_frames"]),
        str(config["pretraining"]), str(config["scope"]), ", ".join(of_twin) or EVERYBODY,
    )  # fmt: skip


def job_seconds(records: Iterable[RunRecord], results: Path, names: Sequence[str]) -> list[float]:
    """How long the jobs of a grid took, in seconds; those that are not recorded are left out.

    A job's own file says so if the job ran when the file was written; one that found its records
    there, or has no file, took at least until its last record.

    Args:
        records: Of the chapter.
        results: Folder of results, with or without ``jobs/``.
        names: Of the jobs.
    """
    known = {record.run_id: record.seconds for record in records}
    found = []
    for name in names:
        try:
            document = json.loads(whole_file(results, name).read_text(encoding="utf-8"))
            own = [known[run_id] for run_id in document["records"] if run_id in known]
            ran = [float(document["seconds"])] if document["state"] == State.RUN else []
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if own:
            found.append(max([*own, *ran]))
    return found


def few_shot_points(records: Sequence[RunRecord]) -> pd.DataFrame:
    """Macro F1 of emotion on face and voice by labelled people, a row a run.

    Columns ``people`` (a number, or *all*), ``pretraining``, ``seed`` and ``macro_f1``; only where
    some runs with fewer people are recorded.
    """
    whole = chosen(records, corpus="crema-d", mode="both", model="mae", frames="8")
    fewer = [
        r
        for r in records
        if r.experiment == TASK
        and r.corpus == "crema-d"
        and r.configuration["mode"] == "both"
        and r.configuration["model"] == "mae"
        and r.configuration["frames"] == "8"
        and r.config["labelled_speakers"]
        and is_of(r)
        and in_scope(r)
    ]
    starts = {r.configuration["pretraining"] for r in fewer}
    rows = [
        {
            "people": str(r.config["labelled_speakers"] or EVERYBODY),
            "pretraining": r.configuration["pretraining"],
            "seed": r.seed,
            "macro_f1": r.metrics["macro_f1"].value,
        }
        for r in [*sorted(fewer, key=lambda r: int(r.config["labelled_speakers"])), *whole]
        if r.configuration["pretraining"] in starts
    ]
    return pd.DataFrame(rows, columns=["people", "pretraining", "seed", "macro_f1"])


def kept_drawings(
    records: Sequence[RunRecord],
    results: Path,
    modality: str,
    corpus: str,
    *,
    frames: str = "8",
    pretraining: str = IN_DOMAIN,
) -> list[Drawing]:
    """Pictures of one corpus that are kept with this book; maybe none.

    Those of the lowest seed come first. The strength of planted effects does not count, since
    pre-training knows nothing of them.

    Args:
        records: Of chapter 7.
        results: Folder of results.
        modality: ``audio`` or ``video``.
        corpus: Name of the corpus, without ``-twin``.
        frames: Of the model.
        pretraining: Of the model.
    """
    wanted = {"frames": frames, "pretraining": pretraining, "model": "mae"}
    found = [
        r
        for r in records
        if r.experiment == "drawings"
        and r.corpus == corpus
        and wanted.items() <= dict(r.configuration).items()
    ]
    if not found:
        return []
    rows = min(found, key=lambda r: r.seed).load_predictions(results)
    own = rows[rows["modality"] == modality]
    return [unpack({**row}) for _, row in own.iterrows()]


def outlines(drawing: Drawing, numbers: Iterable[int]) -> NDArray[np.bool_] | None:
    """Where some regions of a drawn face are, `(K, T, H, W)`; None where it is not known."""
    if drawing.regions is None:
        return None
    return np.stack([drawing.regions == number for number in numbers])


def drawn_correlations(
    faces: Mapping[str, Sequence[Drawing]],
    sounds: Mapping[str, Sequence[Drawing]],
    regions: Mapping[str, int],
) -> pd.DataFrame:
    """Pearson's r of hidden values with what stands in their place, mean over the clips shown.

    Args:
        faces: Corpus to its drawings of pictures.
        sounds: Corpus to its drawings of sound.
        regions: Name of a part of the face to its number, such as that of the eyes.

    Returns:
        A row a corpus and method, *drawn* or *copied*; columns ``mel bands`` and those of
        `regions`. NaN where a drawing does not know its regions.
    """
    rows = {}
    for corpus, name in CORPORA.items():
        for part in ("drawn", "copied"):
            found = {"mel bands": [band_correlation(d, part) for d in sounds.get(corpus, ())]}
            for region, number in regions.items():
                own = faces.get(corpus, ())
                found[region] = [region_correlation(d, [number], part) for d in own]
            if any(found.values()):
                rows[name, part] = {title: _mean(values) for title, values in found.items()}
    if not rows:
        return pd.DataFrame()
    index = pd.MultiIndex.from_tuples(rows, names=["corpus", "method"])
    return pd.DataFrame(list(rows.values()), index=index)


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def beside_the_thesis(claims: pd.DataFrame) -> pd.DataFrame:
    """A table of claims with what the thesis's own tables say of each part, where they do.

    Columns ``thesis`` (the same difference, from Tables 7.1 to 7.4) and ``direction``: whether the
    twin's difference has its sign.

    Args:
        claims: From `thesislib.records.social_mae_claims.claims_table`.
    """
    if claims.empty:
        return claims
    printed = reported_differences()
    known = [printed.get(str(part), math.nan) for part in claims.index]
    signs = claims["difference"].str.startswith("+")
    shown = claims.copy()
    shown.insert(1, "thesis", ["–" if math.isnan(x) else f"{x:+.2f}" for x in known])
    shown["direction"] = [
        "–" if math.isnan(x) else "agrees" if (x > 0) == sign else "disagrees"
        for x, sign in zip(known, signs, strict=True)
    ]
    return shown


def reported_differences() -> dict[str, float]:
    """The thesis's own differences by part of a claim, as `claims_table` names the parts.

    >>> found = reported_differences()
    >>> round(2 ** found["NDC-ME: pictures, eight frames less one"], 1)
    7.2
    >>> round(found["CREMA-D, Audio: eight frames less one"], 3)
    -0.087
    """
    one, eight = "CAV-MAE", "Social-MAE"
    drawn, emotion = _numbers("7.1"), _numbers("7.2")
    traits, laughs = _numbers("7.3"), _numbers("7.4")
    found = {}
    for name in CORPORA.values():
        errors = drawn[f"{name} V."]
        found[f"{name}: pictures, eight frames less one"] = math.log2(errors[one] / errors[eight])
    for label in MODES.values():
        micro, macro = (emotion[f"{label} {short}"] for short in ("Mi", "Ma"))
        found[f"CREMA-D, {label}: eight frames less one"] = macro[eight] - macro[one]
        found[f"CREMA-D, {label}: micro and macro F1"] = MARGIN - abs(micro[eight] - macro[eight])
        f1 = laughs["Audiovisual" if label == "AV" else label]
        found[f"NDC-ME, {label}: eight frames less one"] = f1[eight] - f1[one]
        found[f"NDC-ME, {label}: Social-MAE less LSN-TCN"] = f1[eight] - f1["LSN-TCN"]
    found["FI, AV: eight frames less one"] = traits["Avg."][eight] - traits["Avg."][one]
    return found


def _numbers(number: str) -> dict[str, dict[str, float]]:
    """Column to row to value of a reported table."""
    return {
        str(column): {str(row): float(value) for row, value in values.items()}
        for column, values in reported_table(number).items()
    }
