"""Tables of chapter 8, from its records: beside the thesis, claim I, controls, and factors.

A record's configuration says which main branch, losses and branches it is of and which corpus was
probed; the corpus that the auxiliary branch was trained on stands among its parameters.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from thesislib.evaluation.claims_branches import Side, claim_i, compare
from thesislib.evaluation.factors import factor_confusion, factor_matrix
from thesislib.evaluation.significance import Estimate, holm
from thesislib.records.laughs import spread
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
    "emodb": "EmoDB, real",
}
"""What is probed, as a record spells it, to its name on a page."""
SETTINGS = {
    "controls": {
        "both branches": ("all", "plain"),
        "main branch alone": ("all", "decode-main"),
        "auxiliary branch alone": ("all", "decode-auxiliary"),
        "auxiliary output of another clip": ("all", "decode-shuffled"),
        "hidden bands blanked": ("all", "blank"),
    },
    "losses": {
        "all three": ("all", "plain"),
        "without reconstruction": ("no-reconstruction", "plain"),
        "without contrast": ("no-contrast", "plain"),
        "without information": ("no-information", "plain"),
        "reconstruction alone": ("reconstruction", "plain"),
        "all three, information by CLUB": ("all", "club"),
    },
    "perspectives": {
        "as in the thesis": ("all", "plain"),
        "both branches masked": ("all", "mask-both"),
        "two auxiliary layers": ("all", "layers-2"),
    },
}
"""Groups of runs that are compared with the first of them: losses and branches, by name."""
LEVEL = 0.05


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


def runs_table(records: Iterable[RunRecord]) -> pd.DataFrame:
    """How many runs there are: settings in rows, corpora of the training across."""
    cells: dict[tuple[str, str], set[int]] = {}
    for r in jobs(records):
        told = r.configuration
        row = f"{told['encoder']}, {told['losses']}, {told['branches']}"
        cells.setdefault((row, str(r.config["corpus"])), set()).add(r.seed)
    if not cells:
        return pd.DataFrame()
    counts = pd.Series({place: len(seeds) for place, seeds in cells.items()})
    return counts.unstack(fill_value=0).rename_axis("seeds of")


def jobs(records: Iterable[RunRecord]) -> list[RunRecord]:
    """The records of reconstructions, of which each job writes one."""
    return [record for record in records if record.experiment == RECONSTRUCTION]


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
            cells[name, "twin, what is minimised"] = _three(total_loss(r) for r in runs)
            cells[name, "twin, reconstruction"] = _three(_mse(r) for r in runs)
            cells[name, "runs"] = str(len(runs))
    return pd.Series(cells).unstack(sort=False).rename_axis("held-out loss")


def total_loss(record: RunRecord) -> float:
    """What a run minimised, on its held-out windows: equation 8.1 with the terms that count."""
    weight, losses = float(record.config["weight"]), record.configuration["losses"]
    total = 0.0 if losses == "no-reconstruction" else _mse(record)
    for term in ("contrast", "information"):
        if losses not in ("reconstruction", f"no-{term}"):
            total += weight * record.metrics[term].value
    return total


def f1_table(records: Sequence[RunRecord], table: str) -> pd.DataFrame:
    """Table 8.2, 8.3 or 8.4 beside the twin: micro and macro F1, mean over seeds with extremes."""
    tasks = {"8.4": ("ndc-me-twin", "expression")}
    evaluated, factor = tasks.get(table, ("crema-d-twin", "emotion"))
    cells = {}
    for row in reported_table(table).index:
        runs, branch = _runs_of(records, cell_of(table, str(row)), evaluated)
        for short in ("micro", "macro"):
            printed = reported(table, str(row), f"{short} f1-score")
            cells[row, f"{short} F1, reported"] = f"{printed:.3f}"
            cells[row, f"{short} F1, twin"] = _probe(runs, factor, branch, f"{short}_f1")
    return pd.Series(cells).unstack(sort=False).rename_axis("configuration")


def real_table(records: Sequence[RunRecord]) -> pd.DataFrame:
    """Emotion and speaker on real EmoDB, in the rows of Tables 8.2 and 8.3; no reported column."""
    rows = {str(row): cell_of("8.2", str(row)) for row in reported_table("8.2").index}
    for model, encoder in ENCODERS.items():
        for losses, name in LOSSES.items():
            cell = Cell(encoder, "auxiliary", name, CLEAN)
            rows[f"{model}-{losses} / auxiliary-only, Librispeech"] = cell
    cells = {}
    for row, cell in rows.items():
        runs, branch = _runs_of(records, cell, "emodb")
        for factor in ("emotion", "speaker"):
            for metric in ("micro_f1", "macro_f1"):
                column = f"{factor}, {metric.replace('_f1', ' F1')}"
                cells[row, column] = _probe(runs, factor, branch, metric)
    return pd.Series(cells).unstack(sort=False).rename_axis("configuration")


def confusion_table(records: Sequence[RunRecord], results: Path) -> pd.DataFrame:
    """Table 8.5 beside the twin: confusion of the frozen main branch, in percent of each row."""
    names = {"Laughs": "laugh", "Smiles": "smile", "None": "none"}
    cells: dict[tuple[str, str], str] = {}
    for model in ENCODERS:
        runs, branch = _runs_of(records, cell_of("8.5", f"{model}-main-only"), "ndc-me-twin")
        twin = None
        if runs:  # it is frozen: every run says the same of it
            frame = runs[0].load_predictions(results)
            shares = factor_confusion(frame, "expression", branch, list(names.values()))
            twin = shares.to_numpy()
        for i, expected in enumerate(names):
            row = f"{model}-main-only / {expected}"
            for j, predicted in enumerate(names):
                cells[row, f"{predicted}, reported"] = f"{reported('8.5', row, predicted):.1f}"
                value = "–" if twin is None else f"{twin[i, j]:.1f}"
                cells[row, f"{predicted}, twin"] = value
    return pd.Series(cells).unstack(sort=False).rename_axis("expected")


# ---------------------------------------------------------------------------------------- claim I


def claim_rows(
    records: Sequence[RunRecord], results: Path, *, replicates: int = 2000
) -> pd.DataFrame:
    """Every comparison of claim I that the records allow, of plain runs, on macro F1.

    Returns:
        What `thesislib.evaluation.claims_branches.claim_i` returns, after ``encoder`` and
        ``evaluated``, with a ``verdict``, see `verdict`; empty without records.
    """
    tables = []
    for model, encoder in ENCODERS.items():
        for evaluated in EVALUATED:
            cells = {}
            for trained_on in CORPORA.values():
                for losses in LOSSES.values():
                    runs = chosen(
                        records, encoder=encoder, losses=losses, trained_on=trained_on,
                        evaluated=evaluated,
                    )  # fmt: skip
                    if runs:
                        frames = [run.load_predictions(results) for run in runs]
                        cells[trained_on, losses] = frames
            if cells:
                factor = "expression" if evaluated == "ndc-me-twin" else "emotion"
                table = claim_i(cells, factor, replicates=replicates)
                table.insert(0, "encoder", model)
                table.insert(1, "evaluated", evaluated)
                tables.append(table)
    if not tables:
        return pd.DataFrame()
    rows = pd.concat(tables, ignore_index=True)
    rows["verdict"] = [
        verdict(row["low"], row["high"], row["p_holm"]) for row in rows.to_dict("records")
    ]
    return rows


def verdict(low: float, high: float, p_holm: float) -> str:
    """*holds* or *reversed* where interval and corrected test agree; else *undecided*.

    >>> verdict(0.1, 0.3, 0.01), verdict(-0.3, -0.1, 0.01), verdict(0.1, 0.3, 0.2)
    ('holds', 'reversed', 'undecided')
    """
    if not p_holm < LEVEL or low <= 0 <= high:
        return "undecided"
    return "holds" if low > 0 else "reversed"


def claim_table(rows: pd.DataFrame, part: str) -> pd.DataFrame:
    """One part of claim I: comparisons in rows, probed corpora across, the thesis's first.

    Args:
        rows: From `claim_rows`.
        part: ``I1``, ``I2`` or ``I3``.
    """
    rows = rows if rows.empty else rows[rows["part"] == part]
    if rows.empty:
        return pd.DataFrame()
    cells: dict[tuple[str, str], str] = {}
    for row in rows.to_dict("records"):
        model, first = str(row["encoder"]), str(row["first"])
        place = f"{model}: {first} less {row['second']}"
        for column, task in (("reported, emotion", "8.2"), ("reported, laughs", "8.4")):
            cells[place, column] = _reported_difference(part, model, first, task)
        numbers = f"{row['difference']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}]"
        cells[place, EVALUATED[row["evaluated"]]] = f"{numbers} {row['verdict']}"
    order = ["reported, emotion", "reported, laughs", *EVALUATED.values()]
    table = pd.Series(cells, dtype=object).unstack(sort=False, fill_value="–")
    return table[[name for name in order if name in table]].rename_axis(part)


def verdict_counts(rows: pd.DataFrame) -> pd.DataFrame:
    """How often each part of claim I holds, by what was probed."""
    if rows.empty:
        return rows
    cells: dict[tuple[str, str], str] = {}
    for (part, evaluated), found in rows.groupby(["part", "evaluated"], sort=False)["verdict"]:
        counts = found.value_counts()
        told = [f"{name} in {counts[name]}" for name in ("holds", "reversed") if name in counts]
        summary = ", ".join(told) or "undecided"
        cells[str(part), EVALUATED[str(evaluated)]] = f"{summary} of {len(found)}"
    table = pd.Series(cells).unstack(sort=False, fill_value="–")
    return table[[name for name in EVALUATED.values() if name in table]].sort_index()


def _reported_difference(part: str, model: str, first: str, task: str) -> str:
    """The same difference of macro F1 in the thesis's own tables, where they have both cells."""
    told = {}
    for table in ("8.2", "8.3") if task == "8.2" else (task,):
        for row in reported_table(table).index:
            value = reported(table, str(row), "macro f1-score")
            told[cell_of(table, str(row))] = value
    trained_on, losses = first.removesuffix(", main").split(" ")
    own = Cell(ENCODERS[model], "auxiliary", losses, trained_on)
    pairs = {
        "I1": (Cell(ENCODERS[model], "main"), own),
        "I2": (own, own._replace(losses="reconstruction")),
        "I3": (own, own._replace(trained_on=CLEAN)),
    }
    a, b = pairs[part]
    return f"{told[a] - told[b]:+.2f}" if a in told and b in told else "–"


# ------------------------------------------------------------------------------- controls, lambda


def settings_table(
    records: Sequence[RunRecord], results: Path, group: str, *, replicates: int = 2000
) -> pd.DataFrame:
    """One group of `SETTINGS`: losses on held-out windows, and what the auxiliary branch knows.

    All with the speech encoder, trained in the wild. Of both corpora the macro F1 of the auxiliary
    branch is shown; the last column sets its emotion on the twin against the first row's.
    """
    base, cells = None, {}
    for row, (losses, branches) in SETTINGS[group].items():
        wanted = {"encoder": ENCODERS["whisper"], "losses": losses, "branches": branches}
        drawn = chosen(records, RECONSTRUCTION, trained_on=WILD, **wanted)
        cells[row, "hidden patches, MSE"] = _three(_mse(r) for r in drawn)
        for term in ("contrast", "information"):
            cells[row, f"{term}, nats"] = _three(r.metrics[term].value for r in drawn)
        for evaluated in ("emodb-twin", "emodb"):
            runs = chosen(records, trained_on=WILD, evaluated=evaluated, **wanted)
            for factor in ("emotion", "speaker"):
                column = f"{factor}, {EVALUATED[evaluated]}"
                cells[row, column] = _probe(runs, factor, "auxiliary", "macro_f1")
            if evaluated == "emodb-twin":
                frames = {r.seed: r.load_predictions(results) for r in runs}
        base = frames if base is None else base
        difference = _less(frames, base, replicates) if base is not frames else "–"
        cells[row, "emotion less first row, twin"] = difference
        cells[row, "runs"] = str(len(drawn))
    return pd.Series(cells).unstack(sort=False).rename_axis(group)


def front_points(records: Sequence[RunRecord]) -> pd.DataFrame:
    """What the opposing losses come to, a row a setting: means over seeds, on held-out windows.

    The weights of the sweep, and the runs without one or both of the terms. CLUB's estimate is
    another number and is left out.

    Returns:
        Columns ``contrast``, ``information``, ``reconstruction``, ``runs`` and ``front``: True
        where no other setting has both of the opposing losses lower.
    """
    wanted = {"encoder": ENCODERS["whisper"], "trained_on": WILD}
    plain = {"reconstruction alone": "reconstruction", "λ = 0.01": "all"}
    plain |= {"without contrast": "no-contrast", "without information": "no-information"}
    groups = {
        name: chosen(records, RECONSTRUCTION, losses=losses, **wanted)
        for name, losses in plain.items()
    }
    for r in records:
        branches = r.configuration.get("branches", "")
        if r.experiment == RECONSTRUCTION and branches.startswith("lambda-"):
            name = f"λ = {r.config['weight']:g}"
            groups[name] = chosen(
                records, RECONSTRUCTION, losses="all", branches=branches, **wanted
            )
    rows = {
        name: {
            "contrast": _mean(r.metrics["contrast"].value for r in runs),
            "information": _mean(r.metrics["information"].value for r in runs),
            "reconstruction": _mean(_mse(r) for r in runs),
            "runs": len(runs),
        }
        for name, runs in groups.items()
        if runs
    }
    table = pd.DataFrame(rows).T
    if not table.empty:
        both = table[["contrast", "information"]].to_numpy(dtype=float)
        better = (both[:, None] <= both[None]).all(-1) & (both[:, None] < both[None]).any(-1)
        table["front"] = np.logical_not(better.any(axis=0)).tolist()
    return table.rename_axis("setting")


# ---------------------------------------------------------------------------------------- factors


def mean_matrix(
    records: Sequence[RunRecord], evaluated: str, metric: str = "skill", **wanted: str
) -> pd.DataFrame:
    """The factor-by-branch matrix of a probed corpus, averaged over seeds; empty without records.

    Args:
        records: Of chapter 8.
        evaluated: What was probed.
        metric: Such as ``skill`` or ``information``.
        **wanted: As for `chosen`.
    """
    found = [
        factor_matrix(r.metrics, metric) for r in chosen(records, evaluated=evaluated, **wanted)
    ]
    if not found:
        return pd.DataFrame()
    mean: pd.DataFrame = sum(found[1:], start=found[0]) / len(found)
    return mean.loc[list(found[0].index), [b for b in BRANCHES if b in mean]].rename_axis("factor")


def scores_table(records: Sequence[RunRecord], evaluated: str, **wanted: str) -> pd.DataFrame:
    """Disentanglement, completeness and gaps of a probed corpus: spread over seeds.

    Args:
        records: Of chapter 8.
        evaluated: What was probed.
        **wanted: As for `chosen`.
    """
    runs = chosen(records, evaluated=evaluated, **wanted)
    names = [n for n in runs[0].metrics if len(n.split("/")) < 3] if runs else []
    cells: dict[str, dict[str, str]] = {}
    for name in names:
        subject, _, score = name.partition("/")
        row, column = (subject, score) if score else ("all factors", "mean size of the gaps")
        estimates = [r.metrics[name] for r in runs if name in r.metrics]
        cells.setdefault(row, {})[column] = spread(estimates)
    return pd.DataFrame(cells).T.fillna("–").rename_axis("of")


def compared_factors(
    records: Sequence[RunRecord],
    results: Path,
    evaluated: str,
    *,
    replicates: int = 2000,
    **wanted: str,
) -> pd.DataFrame:
    """What either branch, and both, know of each factor of a probed corpus; macro F1.

    Returns:
        A row a factor: ``main``, ``auxiliary`` and ``concatenated`` (means over seeds), and two
        comparisons, ``auxiliary less main`` and ``both less main``, each a text with its verdict:
        *more*, *less* or *undecided*, corrected after Holm over the factors. Empty without records.
    """
    frames = [r.load_predictions(results) for r in chosen(records, evaluated=evaluated, **wanted)]
    if not frames:
        return pd.DataFrame()
    factors = list(dict.fromkeys(frames[0]["factor"]))
    pairs = {"auxiliary less main": "auxiliary", "both less main": "concatenated"}
    table = pd.DataFrame(index=pd.Index(factors, name="factor"))
    for column, branch in pairs.items():
        found = [
            compare(Side(frames, branch), Side(frames, "main"), factor, replicates=replicates)
            for factor in factors
        ]
        table["main"] = [f"{row['value_second']:.2f}" for row in found]
        table[branch] = [f"{row['value_first']:.2f}" for row in found]
        words = {"holds": "more", "reversed": "less", "undecided": "undecided"}
        p_values = holm([float(row["p_value"] or 0.0) for row in found])
        table[column] = [
            f"{row['difference']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}] "
            + words[verdict(float(row["low"] or 0), float(row["high"] or 0), p)]
            for row, p in zip(found, p_values, strict=True)
        ]
    return table


def in_words(table: pd.DataFrame, name: str) -> str:
    """What `compared_factors` found, as sentences.

    Args:
        table: From `compared_factors`.
        name: Of the probed corpus.

    >>> table = pd.DataFrame(
    ...     {"auxiliary less main": ["-0.2 less", "+0.1 undecided"],
    ...      "both less main": ["+0.1 more", "+0.0 undecided"]}, index=["emotion", "sex"])
    >>> in_words(table, "A twin")
    'A twin: the auxiliary branch knows less than the main branch of emotion; undecided: sex. \
Both branches together know more than the main branch of emotion; undecided: sex.'
    """
    if table.empty:
        return f"{name}: no runs yet."
    told = {}
    for column in ("auxiliary less main", "both less main"):
        words = table[column].str.split().str[-1]
        told[column] = {word: _listed(words.index[words == word]) for word in set(words)}
    first, second = told["auxiliary less main"], told["both less main"]
    return (
        f"{name}: the auxiliary branch knows {_than_main(first)}. "
        f"Both branches together know {_than_main(second)}."
    )


def control_words(records: Sequence[RunRecord]) -> list[str]:
    """What taking away either branch does to the reconstruction, in sentences, seed by seed."""
    wanted = {"encoder": ENCODERS["whisper"], "losses": "all", "trained_on": WILD}
    plain = {r.seed: _mse(r) for r in chosen(records, RECONSTRUCTION, **wanted)}
    told = []
    for name, (_, branches) in list(SETTINGS["controls"].items())[1:]:
        runs = chosen(records, RECONSTRUCTION, branches=branches, **wanted)
        ratios = [_mse(r) / plain[r.seed] for r in runs if r.seed in plain]
        if ratios:
            each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
            told.append(f"{name}: error {_mean(ratios):.2f} times that of both branches ({each})")
    return told


# --------------------------------------------------------------------------------------- helpers


def _runs_of(
    records: Sequence[RunRecord], cell: Cell, evaluated: str
) -> tuple[list[RunRecord], str]:
    """Runs that tell of a cell, and the branch to be read of them."""
    runs = chosen(
        records, encoder=cell.encoder, losses=cell.losses, trained_on=cell.trained_on,
        evaluated=evaluated,
    )  # fmt: skip
    return runs, cell.branch


def _probe(runs: Iterable[RunRecord], factor: str, branch: str, metric: str) -> str:
    name = f"{factor}/{branch}/{metric}"
    found: list[Estimate] = [r.metrics[name] for r in runs if name in r.metrics]
    return spread(found)


def _less(frames: dict[int, pd.DataFrame], base: dict[int, pd.DataFrame], replicates: int) -> str:
    """Emotion of the auxiliary branch against that of the base, of the seeds that both have."""
    shared = sorted(frames.keys() & base.keys())
    if not shared:
        return "–"
    first = Side([frames[seed] for seed in shared], "auxiliary")
    second = Side([base[seed] for seed in shared], "auxiliary")
    found = compare(first, second, "emotion", replicates=replicates)
    return f"{found['difference']:+.2f} [{found['low']:+.2f}, {found['high']:+.2f}]"


def _mse(record: RunRecord) -> float:
    return record.metrics["mse_audio_hidden"].value


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def _three(values: Iterable[float]) -> str:
    """Mean over seeds to three decimals with the lowest and the highest."""
    found = list(values)
    if not found:
        return "–"
    return f"{_mean(found):.3f} ({min(found):.3f} to {max(found):.3f})"


def _than_main(told: dict[str, str]) -> str:
    """Less and more of what than the main branch, and what is undecided, where there is any."""
    clear = [
        f"{word} than the main branch of {told[word]}" for word in ("less", "more") if word in told
    ]
    text = ", ".join(clear) or "neither less nor more of anything, as far as the runs tell"
    return f"{text}; undecided: {told['undecided']}" if "undecided" in told else text


def _listed(names: Iterable[object]) -> str:
    *rest, last = [str(name) for name in names]
    return f"{', '.join(rest)} and {last}" if rest else last
