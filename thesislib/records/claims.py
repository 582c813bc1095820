"""Claims of the thesis, judged from stored predictions: one verdict for several seeds.

Source: claims A to J of the notes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from thesislib.evaluation.claims import claim_j
from thesislib.evaluation.interaction_rows import contrast
from thesislib.records.record import RunRecord

QUANTITIES = ("Role - Smiles", "Role - Laughs", "Laughs - Smiles")
CONTRASTS = {
    "smiles answered, beyond chance": ("answered", "Smiles", "true", "shuffled"),
    "laughs answered, beyond chance": ("answered", "Laughs", "true", "shuffled"),
    "smiles a minute, listening less speaking": ("per_minute", "Smiles", "lsn", "spk"),
    "laughs a minute, listening less speaking": ("per_minute", "Laughs", "lsn", "spk"),
}


def judge(verdicts: Iterable[bool | None]) -> str:
    """How several runs of one test came out, as pages print it.

    >>> judge([True, True]), judge([None, True, False]), judge([None])
    ('above zero in 2 of 2', 'above zero in 1, below in 1 of 3', 'undecided')
    """
    found = list(verdicts)
    above, below = found.count(True), found.count(False)
    if above and below:
        return f"above zero in {above}, below in {below} of {len(found)}"
    if above or below:
        return f"{'above' if above else 'below'} zero in {above or below} of {len(found)}"
    return "undecided"


def sign(low: float, high: float) -> bool | None:
    """Whether an interval lies above zero (True), below it (False), or on both sides (None)."""
    return low > 0 if low > 0 or high < 0 else None


def claim_j_table(records: Sequence[RunRecord], results: Path) -> pd.DataFrame:
    """Claim J on several agreement records: corpora in rows, differences in columns.

    Each cell holds the mean over seeds of the difference and how the intervals over files of the
    single seeds came out.

    Args:
        records: Of experiment *agreement*.
        results: Folder that holds their predictions.
    """
    rows = []
    for record in records:
        table = claim_j(
            record.load_predictions(results),
            n_bootstrap=int(record.config["replicates"]),
            seed=record.seed,
        )
        rows.append(table[table["quantity"].isin(QUANTITIES)].assign(corpus=record.corpus))
    if not rows:
        return pd.DataFrame()
    cells = {
        key: f"{part['value'].mean():+.2f}, {judge(part['holds'])}"
        for key, part in pd.concat(rows).groupby(["statistic", "corpus", "quantity"])
    }
    return pd.Series(cells).unstack()[list(QUANTITIES)].rename_axis(["measure", "corpus"])


def interaction_table(records: Sequence[RunRecord], results: Path) -> pd.DataFrame:
    """Mimicry and roles on several interaction records: strengths in rows, contrasts in columns.

    Args:
        records: Of experiment *interaction*; those with the same planted strengths share a row.
        results: Folder that holds their predictions.
    """
    found: dict[tuple[str, str], list[tuple[float, bool | None]]] = {}
    for record in records:
        frame = record.load_predictions(results)
        planted = str(record.config["effects"]) or "as documented"
        for name, (statistic, category, first, second) in CONTRASTS.items():
            test = contrast(frame, statistic, category, first, second, seed=record.seed)
            found.setdefault((planted, name), []).append(
                (test.difference, sign(test.low, test.high))
            )
    cells = {
        key: f"{sum(value for value, _ in tests) / len(tests):+.2f}, {judge(v for _, v in tests)}"
        for key, tests in found.items()
    }
    if not cells:
        return pd.DataFrame()
    return pd.Series(cells).unstack()[list(CONTRASTS)].rename_axis("planted")
