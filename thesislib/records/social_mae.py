"""Tables of chapter 7, from its records: beside the thesis, by pre-training, by labels.

A record's configuration says which model, how many frames, which pre-training and which mode it is
of; the strengths of planted effects and the number of labelled speakers stand among its
parameters.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from thesislib.records.laughs import spread
from thesislib.records.record import RunRecord
from thesislib.records.reported import reported, reported_table

TASK, ZERO_SHOT = "social-mae", "reconstruction"
CORPORA = {"crema-d": "CREMA-D", "first-impressions": "FI", "ndc-me": "NDC-ME"}
MODES = {"audio": "Audio", "video": "Visual", "both": "AV"}
MODELS = {"1": "CAV-MAE", "8": "Social-MAE"}
"""Number of frames to the name in the thesis's tables."""
NAMES = {
    "auxformer": "AuxFormer", "uavm": "UAVM", "vavl": "VAVL",
    "resnet": "DCC", "lstm": "evolgen", "average": "NJU-LAMDA",
}  # fmt: skip
"""Baseline to its row in the thesis's tables."""
FUNCTIONALS = {"functionals": "MFCC statistics, linear", "egemaps": "eGeMAPS, linear"}
"""Baselines that the thesis does not have."""
IN_DOMAIN, OUT_OF_DOMAIN = "voxceleb2-twin", "sound-events-twin"
MAIN_STRENGTH = {"crema-d": 2.0}
"""Strength of the planted effects in the twin that the tables are made of, where it is not 1, the
documented size: emotions of that size were hardly learnt from 168 clips (`experiments/`)."""
MAIN_SCOPE = {"first-impressions": "probe"}
"""Scope of the masked autoencoders that the tables are made of, where it is not the default."""
FULL, PROBE = "full", "probe"
"""Scopes: end to end, and a head on the frozen encoder."""
TRAITS = {
    "openness": "Ope.", "conscientiousness": "Con.", "extraversion": "Ext.",
    "agreeableness": "Agr.", "neuroticism": "Neu.",
}  # fmt: skip


def strength(record: RunRecord) -> float | None:
    """Common strength of the effects of emotion or laughs in a record's twin: 0 in a null twin.

    Effects that are named without being any of these, such as ``turn_end``, do not count. None
    where they were scaled apart.
    """
    given = dict(part.split("=") for part in str(record.config["effects"]).split())
    kinds = ("emotion_", "laugh_", "smile_", "personality_")
    scales = {float(value) for name, value in given.items() if name.startswith(kinds)}
    return 1.0 if not scales else scales.pop() if len(scales) == 1 else None


def is_of(record: RunRecord, at: float | None = None) -> bool:
    """Whether a record's twin has effects of that strength; by default, of its main strength."""
    return strength(record) == (MAIN_STRENGTH.get(record.corpus, 1.0) if at is None else at)


def for_pictures(config: Mapping[str, Any]) -> bool:
    """Whether a job is there for its pictures: its pre-training is another, and no table has it."""
    return bool(config.get("kept_drawings"))


def in_scope(record: RunRecord, scope: str = "") -> bool:
    """Whether a record is of that scope; by default, of its corpus's main one.

    A probe and a model that was trained end to end are never averaged. Baselines have no frozen
    encoder: they belong to the main tables of every corpus, and to no table of probes.
    """
    if not scope and record.config["model"] != "mae":
        return True
    found: str = record.configuration["scope"]
    return found == (scope or MAIN_SCOPE.get(record.corpus, FULL))


def chosen(
    records: Iterable[RunRecord],
    experiment: str = TASK,
    *,
    at: float | None = None,
    scope: str = "",
    **wanted: str,
) -> list[RunRecord]:
    """Records of one experiment at one strength and scope, with all speakers labelled.

    Args:
        records: Of chapter 7.
        experiment: `TASK` or `ZERO_SHOT`.
        at: Strength of the planted effects; None for each corpus's main one.
        scope: `FULL` or `PROBE`; empty for each corpus's main one.
        **wanted: Fields of the record, or keys of its configuration.
    """
    return [
        record
        for record in records
        if record.experiment == experiment
        and is_of(record, at)
        and in_scope(record, scope)
        and not for_pictures(record.config)
        and not record.config["labelled_speakers"]
        and all(
            getattr(record, name, record.configuration.get(name)) == value
            for name, value in wanted.items()
        )
    ]


def reconstruction_table(records: Sequence[RunRecord]) -> pd.DataFrame:
    """Table 7.1 beside the twins: the errors of either model and of copying, in-domain."""
    printed = reported_table("7.1")
    rows: dict[str, dict[str, str]] = {}
    for frames, row in MODELS.items():
        rows[f"{row}, reported"] = {
            str(column): as_printed(reported("7.1", row, str(column))) for column in printed.columns
        }
        for method, label in (("mae", "twin"), ("copy", "copying, twin")):
            runs = chosen(records, ZERO_SHOT, frames=frames, model=method, pretraining=IN_DOMAIN)
            rows[f"{row}, {label}"] = {
                f"{name} {letter}.": _three(
                    r.metrics[f"mse_{modality}_all"].value
                    for r in runs
                    if r.corpus == corpus and f"mse_{modality}_all" in r.metrics
                )
                for corpus, name in CORPORA.items()
                for letter, modality in (("A", "audio"), ("V", "video"))
            }
    return pd.DataFrame(rows).T[list(printed.columns)].rename_axis("mean squared error")


def emotion_table(records: Sequence[RunRecord]) -> pd.DataFrame:
    """Table 7.2 beside the twin: micro and macro F1, mean over seeds with the extremes.

    The unweighted average recall of the twin, which the thesis does not print, stands last.
    """
    printed = reported_table("7.2")
    cells = {}
    for row in printed.index:
        for mode, label in MODES.items():
            runs = [r for r in chosen(records, corpus="crema-d", mode=mode) if row_of(r) == row]
            for short, metric in (("Mi", "micro_f1"), ("Ma", "macro_f1")):
                column = f"{label} {short}"
                cells[row, f"{column}, reported"] = as_printed(float(printed.loc[row, column]))
                cells[row, f"{column}, twin"] = spread(r.metrics[metric] for r in runs)
            cells[row, f"{label} UAR, twin"] = spread(r.metrics["uar"] for r in runs)
    return pd.Series(cells).unstack(sort=False).rename_axis("F1 on CREMA-D")


def personality_table(records: Sequence[RunRecord]) -> pd.DataFrame:
    """Table 7.3 beside the twin: 1 - MAE of both modalities, with the mean of the training part."""
    printed = reported_table("7.3")
    runs = chosen(records, corpus="first-impressions", mode="both")
    # Every job records it, and for one seed it is the same in all of them.
    every = chosen(records, corpus="first-impressions", model="constant")
    constant = list({r.seed: r for r in every}.values())
    cells = {}
    for row in [*printed.index, "mean of the training part"]:
        own = constant if row not in printed.index else [r for r in runs if row_of(r) == row]
        for trait, column in [*TRAITS.items(), ("", "Avg.")]:
            if row in printed.index:
                cells[row, f"{column} reported"] = as_printed(float(printed.loc[row, column]))
            name = f"accuracy_{trait}" if trait else "accuracy"
            cells[row, f"{column} twin"] = _three(r.metrics[name].value for r in own)
        correlations = [r.metrics["pearson"] for r in own]
        cells[row, "r, twin"] = spread(c for c in correlations if not math.isnan(c.value))
        cells[row, "CCC, twin"] = spread(r.metrics["ccc"] for r in own)
    return pd.Series(cells).unstack(sort=False, fill_value="–").rename_axis("1 - MAE")


def laughs_table(records: Sequence[RunRecord]) -> pd.DataFrame:
    """Table 7.4 beside the twin: F1 by mode; LSN-TCN's from the records of chapter 6."""
    printed = reported_table("7.4")
    columns = {"audio": "Audio", "video": "Visual", "both": "Audiovisual"}
    cells = {}
    for row in printed.index:
        for mode, column in columns.items():
            if row == "LSN-TCN":
                runs = lsn_tcn_runs(records, mode)
            else:
                runs = [r for r in chosen(records, corpus="ndc-me", mode=mode) if row_of(r) == row]
            cells[row, f"{column}, reported"] = as_printed(float(printed.loc[row, column]))
            cells[row, f"{column}, twin"] = spread(r.metrics["f1_harmonic"] for r in runs)
    return pd.Series(cells).unstack(sort=False).rename_axis("F1 on NDC-ME")


def lsn_tcn_runs(records: Iterable[RunRecord], mode: str) -> list[RunRecord]:
    """Records of chapter 6 of LSN-TCN on the twin of NDC-ME that this chapter's tasks are on.

    Both chapters choose the same windows of the same twin and part its people alike by the seed,
    so that their test parts are the same clips. The branches were pre-trained with labels.
    """
    branch = {"audio": "audio", "video": "video", "both": "mlp"}[mode]
    return [
        r
        for r in records
        if r.experiment == "laughs"
        and r.profile == "small"
        and r.configuration["model"] == branch
        and r.configuration["start"] == "pretrained"
        and r.configuration["scope"] == "chapter"
        and r.configuration["split"] == "speaker"
        and r.configuration["tested"] == "ndc-me"
        and is_of(r)
    ]


def pretraining_table(
    records: Sequence[RunRecord], corpus: str, *, scope: str = ""
) -> pd.DataFrame:
    """Macro F1, or mean accuracy, by pre-training and frames in rows and by mode across.

    Args:
        records: Of chapter 7.
        corpus: Name without ``-twin``.
        scope: As of `chosen`: a table has models of one scope only.
    """
    cells = {}
    for frames, row in MODELS.items():
        for pretraining in ("none", OUT_OF_DOMAIN, IN_DOMAIN, "librispeech-twin"):
            for mode in (*MODES, "missing_audio", "missing_video"):
                runs = chosen(
                    records, corpus=corpus, model="mae", mode=mode, frames=frames,
                    pretraining=pretraining, scope=scope,
                )  # fmt: skip
                if runs:
                    name = "accuracy" if runs[0].kind == "regression" else "macro_f1"
                    cells[f"{row}, {pretraining}", mode] = spread(r.metrics[name] for r in runs)
    if not cells:
        return pd.DataFrame()
    return pd.Series(cells).unstack(sort=False, fill_value="–").rename_axis("pre-training")


def baselines_table(records: Sequence[RunRecord], corpus: str) -> pd.DataFrame:
    """Macro F1, or mean accuracy, of every baseline beside the masked autoencoders, by mode."""
    cells = {}
    for mode in MODES:
        runs = chosen(records, corpus=corpus, mode=mode)
        rows: dict[str, list[RunRecord]] = defaultdict(list)
        for r in runs:
            model, frames = r.configuration["model"], r.configuration["frames"]
            name = {**NAMES, **FUNCTIONALS}.get(model, "")
            if model == "mae":
                name = f"{MODELS.get(frames, frames)}, {r.configuration['pretraining']}"
            rows[name].append(r)
        for name, own in rows.items():
            metric = "accuracy" if own[0].kind == "regression" else "macro_f1"
            cells[name, mode] = spread(r.metrics[metric] for r in own)
    if not cells:
        return pd.DataFrame()
    table = pd.Series(cells, dtype=object).unstack(fill_value="–")
    return table.reindex(columns=list(MODES), fill_value="–").rename_axis("model")


def few_shot_table(records: Sequence[RunRecord]) -> pd.DataFrame:
    """Macro F1 on both modalities by number of labelled speakers in rows and pre-training."""
    cells: dict[tuple[int, str], list[float]] = defaultdict(list)
    for r in records:
        if (
            r.experiment == TASK
            and r.corpus == "crema-d"
            and r.configuration["mode"] == "both"
            and r.configuration["model"] == "mae"
            and is_of(r)
            and in_scope(r)
            and r.config["labelled_speakers"]
        ):
            place = (int(r.config["labelled_speakers"]), r.configuration["pretraining"])
            cells[place].append(r.metrics["macro_f1"].value)
    shown = {
        key: f"{sum(v) / len(v):.2f} ({min(v):.2f} to {max(v):.2f})"
        for key, v in sorted(cells.items())
    }
    if not shown:
        return pd.DataFrame()
    return pd.Series(shown).unstack(fill_value="–").rename_axis("labelled speakers")


def row_of(record: RunRecord) -> str:
    """The row of the thesis's tables that a record belongs to; none without in-domain weights."""
    if record.configuration["model"] == "mae":
        own = record.configuration["pretraining"] in (IN_DOMAIN, "voxceleb2")
        return MODELS.get(record.configuration["frames"], "") if own else ""
    return NAMES.get(record.configuration["model"], "")


def as_printed(value: float) -> str:
    """A value of the thesis with the digits that it prints, three or more.

    >>> as_printed(0.56), as_printed(0.1125)
    ('0.560', '0.1125')
    """
    return f"{value:.3f}" if round(value, 3) == value else f"{value:g}"


def _three(values: Iterable[float]) -> str:
    """Mean over seeds to three decimals; a dash where there is none."""
    found = list(values)
    return f"{sum(found) / len(found):.3f}" if found else "–"
