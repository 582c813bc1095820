"""What the thesis reports: ``results/reported.yaml``, addressed by table, row and column."""

from __future__ import annotations

from functools import cache
from typing import Any

import pandas as pd
import yaml

from thesislib import files
from thesislib.errors import InputError


def _text() -> str:
    return (files.project_root() / "results" / "reported.yaml").read_text(encoding="utf-8")


@cache
def _document() -> dict[str, dict[str, Any]]:
    return yaml.safe_load(_text())


@cache
def _digits() -> dict[str, dict[str, Any]]:
    """The same with every value as it is written: a number would lose its last zeros."""
    return yaml.load(_text(), Loader=yaml.BaseLoader)


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
    return float(_cell(_document(), table, row, column))


def printed(table: str, row: str, column: str) -> str:
    """One value with the digits that the thesis prints; otherwise as `reported`.

    >>> printed("8.2", "ast-main-only", "macro f1-score")
    '0.590'
    """
    return str(_cell(_digits(), table, row, column))


def _cell(document: dict[str, dict[str, Any]], table: str, row: str, column: str) -> Any:  # noqa: ANN401 - a number or its digits
    place: Any = {number: entry["rows"] for number, entry in document.items()}
    for name, key in (("table", table), ("row", row), ("column", column)):
        if key not in place:
            raise InputError(
                "results/reported.yaml",
                f"has no {name} {key!r}",
                f"choose from {', '.join(place)}",
                where=f"table {table}",
            )
        place = place[key]
    return place


def reported_table(table: str) -> pd.DataFrame:
    """A whole table: rows and columns as printed.

    Raises:
        InputError: there is no such table.

    >>> reported_table("8.5").shape
    (6, 3)
    """
    return pd.DataFrame.from_dict(reported_entry(table)["rows"], orient="index")


def reported_tables() -> list[str]:
    """Names of all tables and heat maps, in the order in which the thesis prints them.

    >>> reported_tables()[0], reported_tables()[-1]
    ('5.3', '8.5')
    """

    def place(name: str) -> tuple[str, bool]:
        number = name.removeprefix("Figure ")
        return number[0], name.startswith("Figure")  # the figures of a chapter follow its tables

    return sorted(_document(), key=lambda name: (*place(name), name.partition(",")[0]))


def reported_entry(table: str) -> dict[str, Any]:
    """Title, unit, note and rows of a table.

    Raises:
        InputError: there is no such table.
    """
    if table not in _document():
        raise InputError(
            "results/reported.yaml",
            f"has no table {table!r}",
            f"choose from {', '.join(_document())}",
        )
    return _document()[table]


def reported_cells(table: str) -> list[tuple[str, str, float]]:
    """Row, column and value of every cell that a table prints.

    >>> reported_cells("5.6")[0]
    ('Annotator 1', 'Annotator 2', 0.55)
    """
    return [
        (row, str(column), float(value))
        for row, cells in reported_entry(table)["rows"].items()
        for column, value in cells.items()
    ]


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
