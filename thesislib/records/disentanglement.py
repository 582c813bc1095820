"""Tables of chapter 8 beside the thesis's, from its records, and what other tables choose from.

A record's configuration says which main branch, losses and branches it is of and which corpus was
probed; the corpus that the auxiliary branch was trained on stands among its parameters.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from thesislib.config import DisentanglementConfig, for_profile
from thesislib.evaluation.claims_branches import Side, estimate
from thesislib.evaluation.factors import factor_confusion
from thesislib.records.record import RunRecord
from thesislib.records.reported import reported, reported_table

PROBES, RECONSTRUCTION = "disentanglement", "branch-reconstruction"
ENCODERS = {"whisper": "speech-encoder", "ast": "ast-twin"}
"""Main branch of the thesis to what stands for it here."""
LOSSES = {"reconstruction-only": "reconstruction", "all-losses": "all"}
WILD, CLEAN = "voxceleb2-twin", "librispeech-twin"
CORPORA = {"VoxCeleb2": WILD, "Librispeech": CLEAN}
BRANCHES = ("main", "auxiliary", "concatenated")
EVALUATED = {
    "crema-d-twin": "CREMA-D twin",
    "ndc-me-twin": "NDC-ME twin",
    "emodb-twin": "EmoDB twin",
    "emodb-twin-emotion-0.5": "EmoDB twin, half the emotion",
    "emodb-twin-emotion-0": "EmoDB twin, no emotion",
    "crema-d-twin-emotion-0": "CREMA-D twin, no emotion",
    "ndc-me-twin-expression-0": "NDC-ME twin, no trace of laughs and smiles",
    "emodb": "EmoDB, real",
}
"""What is probed, as a record spells it, to its name on a page."""
NULLS = tuple(name for name in EVALUATED if name.endswith("-0"))
"""Twins in which emotions, or laughs and smiles, leave no trace; turns hint at the latter."""
ABSENT = "–"
"""What a table shows of runs that are not recorded."""


def planted_in(evaluated: str) -> tuple[str, float]:
    """What was probed, and how strong the effects are in it, of which 1 is the documented size.

    >>> planted_in("emodb-twin-emotion-0.5"), planted_in("ndc-me-twin"), planted_in("emodb")
    (('emodb-twin', 0.5), ('ndc-me-twin', 1.0), ('emodb', nan))
    """
    if "-twin" not in evaluated:
        return evaluated, math.nan
    corpus, _, told = evaluated.partition("-twin")
    return f"{corpus}-twin", float(told.rpartition("-")[2] or 1)


class Cell(NamedTuple):
    """What a row of the thesis's tables is about, in this project's words.

    Attributes:
        encoder: Main branch.
        branch: That is probed.
        losses: Of the training; empty for the main branch alone, which is not trained.
        trained_on: Corpus of the training; likewise.
    """

    encoder: str
    branch: str
    losses: str = ""
    trained_on: str = ""


def cell_of(table: str, row: str) -> Cell:
    """What a row of Tables 8.2 to 8.5 is about.

    >>> cell_of("8.2", "ast-all-losses / concatenated")[:3]
    ('ast-twin', 'concatenated', 'all')
    >>> cell_of("8.4", "ast-reconstruction-only / Librispeech").trained_on
    'librispeech-twin'
    """
    head, _, tail = row.partition(" / ")
    model, _, losses = head.partition("-")
    if losses == "main-only":
        return Cell(ENCODERS[model], "main")
    corpus = "Librispeech" if table == "8.3" else tail if tail in CORPORA else "VoxCeleb2"
    branch = "concatenated" if tail == "concatenated" else "auxiliary"
    return Cell(ENCODERS[model], branch, LOSSES[losses], CORPORA[corpus])


def chosen(
    records: Iterable[RunRecord],
    experiment: str = PROBES,
    *,
    trained_on: str = "",
    branches: str = "plain",
    **wanted: str,
) -> list[RunRecord]:
    """Records of one experiment, in order of seed.

    Args:
        records: Of chapter 8.
        experiment: `PROBES` or `RECONSTRUCTION`.
        trained_on: Corpus of the auxiliary branch; empty for any.
        branches: What sets the runs apart from the plain ones.
        **wanted: Further keys of the configuration; empty for any value.
    """
    found = [
        record
        for record in records
        if record.experiment == experiment
        and record.configuration["branches"] == branches
        and trained_on in ("", record.config["corpus"])
        and all(value in ("", record.configuration[name]) for name, value in wanted.items())
    ]
    return sorted(found, key=lambda record: record.seed)


def runs_of(
    records: Sequence[RunRecord], cell: Cell, evaluated: str
) -> tuple[list[RunRecord], str]:
    """Runs that tell of a cell, and the branch to be read of them."""
    runs = chosen(
        records, encoder=cell.encoder, losses=cell.losses, trained_on=cell.trained_on,
        evaluated=evaluated,
    )  # fmt: skip
    return runs, cell.branch


def jobs(records: Iterable[RunRecord]) -> list[RunRecord]:
    """The records of reconstructions, of which each job writes one."""
    return [record for record in records if record.experiment == RECONSTRUCTION]


def runs_table(
    records: Iterable[RunRecord], planned: Iterable[Mapping[str, Any]] = ()
) -> pd.DataFrame:
    """How many seeds are recorded of how many: settings in rows, corpora of the training across.

    Args:
        records: Of chapter 8.
        planned: Parameters of each run of the grid; others of the chapter are passed over.

    >>> planned = for_profile(DisentanglementConfig, "small", inputs="main").as_dict()
    >>> runs_table([], [planned]).to_dict()
    {'librispeech-twin': {'speech-encoder, all, inputs main': 'none of 1'}}
    """
    done = {(*_setting(r.config), r.seed) for r in jobs(records)}
    grid = {(*_setting(c), int(c["seed"])) for c in planned if "auxiliary_layers" in c}
    cells: dict[tuple[str, str], list[int]] = {}
    for setting, corpus, seed in sorted(grid | done):
        count = cells.setdefault((setting, corpus), [0, 0])
        count[0] += (setting, corpus, seed) in done
        count[1] += 1
    if not cells:
        return pd.DataFrame()
    told = {place: f"{found or 'none'} of {of}" for place, (found, of) in cells.items()}
    table = pd.Series(told).unstack(sort=False, fill_value=ABSENT)
    return table.rename_axis("seeds recorded")


def _setting(config: Mapping[str, Any]) -> tuple[str, str]:
    """Main branch, losses and what else is unusual of a run, and what it was trained on."""
    told = for_profile(
        DisentanglementConfig,
        str(config["profile"]),
        **{k: v for k, v in config.items() if k != "profile"},
    ).changed()
    of_jobs = ("corpus", "seed", "evaluate", "encoder", "losses", "replicates", "threads")
    unusual = [
        name.replace("_", " ") if value is True else f"{name.replace('_', ' ')} {value}"
        for name, value in told.items()
        if name not in of_jobs
    ]
    name = ", ".join([str(config["encoder"]), str(config["losses"]), *unusual])
    return name, str(config["corpus"])


# ------------------------------------------------------------------------------ beside the thesis


def loss_table(records: Sequence[RunRecord]) -> pd.DataFrame:
    """Table 8.1 beside ours: held-out loss, mean over seeds with the lowest and the highest.

    Ours is the sum of 8.1 where all three losses count; the reconstruction alone follows.
    """
    rows = {"reconstruction only": "reconstruction", "recon-cont-mi": "all"}
    cells = {}
    for row, losses in rows.items():
        for column in reported_table("8.1").columns:
            model, corpus = str(column).split(" / ")
            runs = chosen(
                records, RECONSTRUCTION, encoder=ENCODERS[model.lower()], losses=losses,
                trained_on=CORPORA[corpus],
            )  # fmt: skip
            name = f"{row}, {column}"
            cells[name, "reported"] = f"{reported('8.1', row, str(column)):.4f}"
            cells[name, "twin, what is minimised"] = three(total_loss(r) for r in runs)
            cells[name, "twin, reconstruction"] = three(hidden_mse(r) for r in runs)
            cells[name, "runs"] = str(len(runs))
    return pd.Series(cells).unstack(sort=False).rename_axis("held-out loss")


def total_loss(record: RunRecord) -> float:
    """What a run minimised, on its held-out windows: equation 8.1 with the terms that count."""
    weight, losses = float(record.config["weight"]), record.configuration["losses"]
    total = 0.0 if losses == "no-reconstruction" else hidden_mse(record)
    for term in ("contrast", "information"):
        if losses not in ("reconstruction", f"no-{term}"):
            total += weight * record.metrics[term].value
    return total


def f1_table(
    records: Sequence[RunRecord], results: Path, table: str, *, replicates: int = 2000
) -> pd.DataFrame:
    """Table 8.2, 8.3 or 8.4 beside the twin: micro and macro F1, see `f1_cell`.

    Args:
        records: Of chapter 8.
        results: Folder that holds their predictions.
        table: Its number.
        replicates: Of the bootstrap over speakers and seeds.
    """
    tasks = {"8.4": ("ndc-me-twin", "expression")}
    evaluated, factor = tasks.get(table, ("crema-d-twin", "emotion"))
    cells = {}
    for row in reported_table(table).index:
        runs, branch = runs_of(records, cell_of(table, str(row)), evaluated)
        for short in ("micro", "macro"):
            printed = reported(table, str(row), f"{short} f1-score")
            cells[row, f"{short} F1, reported"] = f"{printed:.3f}"
            cells[row, f"{short} F1, twin"] = f1_cell(
                runs, results, factor, branch, f"{short}_f1", replicates=replicates
            )
        cells[row, "runs"] = str(len(runs))
    return pd.Series(cells).unstack(sort=False).rename_axis("configuration")


def real_table(
    records: Sequence[RunRecord], results: Path, *, replicates: int = 2000
) -> pd.DataFrame:
    """Emotion and speaker on real EmoDB, in the rows of Tables 8.2 and 8.3; no reported column."""
    rows = {str(row): cell_of("8.2", str(row)) for row in reported_table("8.2").index}
    for model, encoder in ENCODERS.items():
        for losses, name in LOSSES.items():
            cell = Cell(encoder, "auxiliary", name, CLEAN)
            rows[f"{model}-{losses} / auxiliary-only, Librispeech"] = cell
    cells = {}
    for row, cell in rows.items():
        runs, branch = runs_of(records, cell, "emodb")
        for factor in ("emotion", "speaker"):
            for metric in ("micro_f1", "macro_f1"):
                column = f"{factor}, {metric.replace('_f1', ' F1')}"
                cells[row, column] = f1_cell(
                    runs, results, factor, branch, metric, replicates=replicates
                )
        cells[row, "runs"] = str(len(runs))
    return pd.Series(cells).unstack(sort=False).rename_axis("configuration")


def confusion_table(records: Sequence[RunRecord], results: Path) -> pd.DataFrame:
    """Table 8.5 beside the twin: confusion of the frozen main branch, in percent of each row."""
    names = {"Laughs": "laugh", "Smiles": "smile", "None": "none"}
    cells: dict[tuple[str, str], str] = {}
    for model in ENCODERS:
        runs, branch = runs_of(records, cell_of("8.5", f"{model}-main-only"), "ndc-me-twin")
        twin = None
        if runs:  # it is frozen: every run says the same of it
            frame = runs[0].load_predictions(results)
            shares = factor_confusion(frame, "expression", branch, list(names.values()))
            twin = shares.to_numpy()
        for i, expected in enumerate(names):
            row = f"{model}-main-only / {expected}"
            for j, predicted in enumerate(names):
                cells[row, f"{predicted}, reported"] = f"{reported('8.5', row, predicted):.1f}"
                value = ABSENT if twin is None else f"{twin[i, j]:.1f}"
                cells[row, f"{predicted}, twin"] = value
    return pd.Series(cells).unstack(sort=False).rename_axis("expected")


# --------------------------------------------------------------------------------------- helpers


def f1_cell(
    runs: Sequence[RunRecord],
    results: Path,
    factor: str,
    branch: str,
    metric: str = "macro_f1",
    *,
    replicates: int = 2000,
) -> str:
    """Mean over seeds with its interval over speakers and seeds; a dash without runs.

    The frozen main branch is the same whatever was trained beside it, so that one run says all.
    """
    if not runs:
        return ABSENT
    frames = [r.load_predictions(results) for r in (runs[:1] if branch == "main" else runs)]
    if factor not in set(frames[0]["factor"]):
        return ABSENT
    found = estimate(Side(frames, branch), factor, metric=metric, replicates=replicates)
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"


def hidden_mse(record: RunRecord) -> float:
    """Mean squared error of the hidden patches of held-out windows."""
    return record.metrics["mse_audio_hidden"].value


def mean(values: Iterable[float]) -> float:
    """Plain mean."""
    return float(np.mean(list(values)))


def three(values: Iterable[float]) -> str:
    """Mean over seeds to three decimals with the lowest and the highest.

    >>> three([0.1, 0.2]), three([])
    ('0.150 (0.100 to 0.200)', '–')
    """
    found = list(values)
    if not found:
        return ABSENT
    return f"{mean(found):.3f} ({min(found):.3f} to {max(found):.3f})"
