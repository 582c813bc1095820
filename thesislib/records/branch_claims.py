"""Claim I of chapter 8 judged from its records: three parts, on twins with and without effects.

I1: the frozen main branch beats the auxiliary one. I2: all three losses beat reconstruction alone
on the auxiliary branch. I3: training in the wild beats clean training, on laughs and smiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from thesislib.evaluation.claims_branches import claim_i
from thesislib.records.disentanglement import (
    ABSENT,
    CLEAN,
    CORPORA,
    ENCODERS,
    EVALUATED,
    LOSSES,
    NULLS,
    Cell,
    cell_of,
    chosen,
)
from thesislib.records.record import RunRecord
from thesislib.records.reported import reported, reported_table
from thesislib.records.tables import show_p

PARTS = {
    "I1": "the frozen main branch beats the auxiliary one",
    "I2": "all three losses beat reconstruction alone, on the auxiliary branch",
    "I3": "training in the wild beats clean training, on laughs and smiles",
}
GROUPS = {
    "laughs and smiles, twin": ("ndc-me-twin",),
    "emotion, twins": ("crema-d-twin", "emodb-twin"),
    "emotion, real voices": ("emodb",),
    "twin, half the emotion": ("emodb-twin-emotion-0.5",),
    "twins without emotion": ("emodb-twin-emotion-0", "crema-d-twin-emotion-0"),
    "twin without a trace of laughs and smiles": ("ndc-me-twin-expression-0",),
}
"""What is probed, as the verdicts are put together."""
LEVEL = 0.05


def claim_rows(
    records: Sequence[RunRecord],
    results: Path,
    *,
    metric: str = "macro_f1",
    replicates: int = 2000,
) -> pd.DataFrame:
    """Every comparison of claim I that the records allow, of plain runs.

    Args:
        records: Of chapter 8.
        results: Folder that holds their predictions.
        metric: ``macro_f1`` or ``micro_f1``.
        replicates: Of the bootstrap over speakers and seeds.

    Returns:
        What `thesislib.evaluation.claims_branches.claim_i` returns, after ``encoder`` and
        ``evaluated``, with a ``verdict``, see `verdict`, and ``runs``, the ids of the runs of
        both sides; empty without records.
    """
    tables = []
    for model, encoder in ENCODERS.items():
        for evaluated in EVALUATED:
            cells, ids = {}, {}
            for trained_on in CORPORA.values():
                for losses in LOSSES.values():
                    runs = chosen(
                        records, encoder=encoder, losses=losses, trained_on=trained_on,
                        evaluated=evaluated,
                    )  # fmt: skip
                    if runs:
                        frames = [run.load_predictions(results) for run in runs]
                        cells[trained_on, losses] = frames
                        ids[f"{trained_on} {losses}"] = [run.run_id for run in runs]
            if cells:
                factor = "expression" if evaluated.startswith("ndc-me") else "emotion"
                table = claim_i(cells, factor, metric=metric, replicates=replicates)
                table.insert(0, "encoder", model)
                table.insert(1, "evaluated", evaluated)
                table["runs"] = [
                    tuple(sorted({*ids[_cell_name(first)], *ids[_cell_name(second)]}))
                    for first, second in zip(table["first"], table["second"], strict=True)
                ]
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

    What null twins gave is counted by `verdict_table` and shown in full by the ledger.

    Args:
        rows: From `claim_rows`.
        part: ``I1``, ``I2`` or ``I3``.
    """
    rows = rows if rows.empty else rows[(rows["part"] == part) & ~rows["evaluated"].isin(NULLS)]
    if rows.empty:
        return pd.DataFrame()
    cells: dict[tuple[str, str], str] = {}
    for row in rows.to_dict("records"):
        model, first = str(row["encoder"]), str(row["first"])
        place = f"{model}: {first} less {row['second']}"
        for column, task in (("reported, emotion", "8.2"), ("reported, laughs", "8.4")):
            cells[place, column] = _reported_difference(part, model, first, task)
        numbers = f"{row['difference']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}]"
        shown = f"{numbers}, p {show_p(row['p_holm'])}, {row['verdict']}"
        cells[place, EVALUATED[row["evaluated"]]] = shown
    order = ["reported, emotion", "reported, laughs", *EVALUATED.values()]
    table = pd.Series(cells, dtype=object).unstack(sort=False, fill_value=ABSENT)
    return table[[name for name in order if name in table]].rename_axis(part)


def verdict_table(rows: pd.DataFrame) -> pd.DataFrame:
    """The verdict on each part of claim I, a row for what was probed; *not recorded* if nothing.

    Args:
        rows: From `claim_rows`.
    """
    cells = {}
    for group, corpora in GROUPS.items():
        for part in PARTS:
            found = []
            if len(rows):
                chosen_rows = (rows["part"] == part) & rows["evaluated"].isin(corpora)
                found = rows.loc[chosen_rows, "verdict"].tolist()
            cells[group, part] = judged(found)
    return pd.Series(cells).unstack(sort=False).rename_axis("probed on")


def judged(verdicts: Sequence[str]) -> str:
    """One verdict for several comparisons, with how many of them say so.

    >>> judged(["holds", "undecided"]), judged(["holds", "reversed"])
    ('holds (1 of 2)', 'mixed (holds in 1, reversed in 1 of 2)')
    >>> judged(["undecided"]), judged([])
    ('undecided (1)', 'not recorded')
    """
    n, holds, reverses = len(verdicts), verdicts.count("holds"), verdicts.count("reversed")
    if holds and reverses:
        return f"mixed (holds in {holds}, reversed in {reverses} of {n})"
    if holds or reverses:
        return f"{'holds' if holds else 'reversed'} ({holds or reverses} of {n})"
    return f"undecided ({n})" if n else "not recorded"


def null_words(rows: pd.DataFrame) -> str:
    """Whether null twins were left undecided, as they have to be."""
    null = rows if rows.empty else rows[rows["evaluated"].isin(NULLS)]
    if null.empty:
        return "No null twin is recorded."
    wrong = null.loc[null["verdict"] != "undecided", "part"].tolist()
    found = f"{len(wrong)} ({', '.join(wrong)})" if wrong else "none"
    return f"Of {len(null)} comparisons on null twins {found} found a difference."


def _cell_name(side: str) -> str:
    """A side of a comparison without its branch."""
    return side.partition(",")[0]


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
    return f"{told[a] - told[b]:+.2f}" if a in told and b in told else ABSENT
