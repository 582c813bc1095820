"""What the thesis reports: ``results/reported.yaml``, addressed by table, row and column."""

from __future__ import annotations

from functools import cache
from typing import Any

import pandas as pd
import yaml

from thesislib import files
from thesislib.errors import InputError


@cache
def _document() -> dict[str, dict[str, Any]]:
    path = files.project_root() / "results" / "reported.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def reported(table: str, row: str, column: str) -> float:
    """One value as the thesis prints it.

    Args:
        table: Number of the table, as in ``8.2``.
        row: Label of the row; as in ``A / B`` where there are two labels.
        column: Label of the column.

    Raises:
        InputError: there is no such cell; the line lists what there is.

    >>> reported("8.2", "whisper-main-only", "micro f1-score")
    0.665
    """
    place: Any = {number: entry["rows"] for number, entry in _document().items()}
    for name, key in (("table", table), ("row", row), ("column", column)):
        if key not in place:
            raise InputError(
                "results/reported.yaml",
                f"has no {name} {key!r}",
                f"choose from {', '.join(place)}",
                where=f"table {table}",
            )
        place = place[key]
    return float(place)


def reported_table(table: str) -> pd.DataFrame:
    """A whole table: rows and columns as printed.

    Raises:
        InputError: there is no such table.

    >>> reported_table("8.5").shape
    (6, 3)
    """
    if table not in _document():
        raise InputError(
            "results/reported.yaml",
            f"has no table {table!r}",
            f"choose from {', '.join(_document())}",
        )
    return pd.DataFrame.from_dict(_document()[table]["rows"], orient="index")


def not_attempted(table: str, rows: list[str], reason: str) -> pd.DataFrame:
    """Reported cells of some rows, each with the verdict *not attempted* and its reason."""
    printed = reported_table(table).loc[rows]
    cells = [
        {
            "table": table,
            "row": row,
            "column": column,
            "reported": printed.loc[row, column],
            "verdict": f"not attempted: {reason}",
        }
        for row in rows
        for column in printed.columns
    ]
    return pd.DataFrame(cells)


def reported_pairs(table: str, statistic: str = "") -> pd.DataFrame:
    """A table of annotator pairs, or one statistic of it: first annotator in rows, second across.

    Pairs without a value, printed *n.a.*, are NaN.
    """
    chosen = reported_table(table)
    if statistic:
        chosen = chosen[chosen.index.str.endswith(f" / {statistic}")]
        chosen.index = chosen.index.str.removesuffix(f" / {statistic}")
    names = [f"{number}" for number in range(1, 7)]
    chosen.index, chosen.columns = chosen.index.str[-1], chosen.columns.str[-1]
    return chosen.reindex(index=names[:-1], columns=names[1:])
