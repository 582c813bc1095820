"""The scoreboard: every reported cell beside what is recorded here, with a verdict and a direction.

A verdict is about real recordings at the thesis's size and nothing else. A twin has a column of its
own, which says whether its difference to a reference cell has the sign of the reported one.

Source: Tables 5.3 to 8.5, Figures 6.2 and 6.4 (``results/reported.yaml``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from thesislib.corpora.manifest import load_manifest
from thesislib.records.measured import Measure, Place, Sample, measures
from thesislib.records.record import RunRecord
from thesislib.records.reported import reported_cells, reported_entry, reported_tables

REPRODUCED, NOT_REPRODUCED = "reproduced", "not reproduced"
NOT_ATTEMPTED = "not attempted"
AGREES, OPPOSES, SPLIT = "agrees", "opposes", "runs differ"
REFERENCE, MISSING, ABSENT = "reference", "not recorded yet", "not in the twin"
NO_TWIN = "no twin"
VERDICTS = (REPRODUCED, NOT_REPRODUCED, NOT_ATTEMPTED)
DIRECTIONS = (AGREES, OPPOSES, SPLIT, REFERENCE, MISSING, ABSENT, NO_TWIN)


@dataclass(frozen=True, slots=True)
class Summary:
    """Several runs of one cell.

    Attributes:
        value: Mean over runs.
        low: Mean of the lower ends of their 95 % intervals; the lowest value where runs have none.
        high: Likewise.
        interval: Whether the runs have intervals.
        runs: The records.
    """

    value: float
    low: float
    high: float
    interval: bool
    runs: tuple[RunRecord, ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """One printed number and what stands beside it.

    Attributes:
        table: Such as ``6.1`` or ``Figure 6.2, scratch, IFADV``.
        row: Label of the row.
        column: Label of the column.
        reported: As printed.
        real: Ours on the real corpus; None without records.
        twin: Ours on its twin; None without records.
        verdict: One of `VERDICTS`.
        reason: Why it was not attempted, in a word or two; empty otherwise.
        direction: One of `DIRECTIONS`.
        against: What is subtracted for the direction: its table, row and column as far as they
            differ from the cell's own; why there is no twin; empty for a reference.
    """

    table: str
    row: str
    column: str
    reported: float
    real: Summary | None
    twin: Summary | None
    verdict: str
    reason: str
    direction: str
    against: str


@dataclass(frozen=True, slots=True)
class Board:
    """One table of the thesis.

    Attributes:
        number: As in ``results/reported.yaml``.
        chapter: Its first digit.
        title: Of the table.
        unit: Of its cells.
        reason: Why it is not attempted where it is not, in full.
        direction: What *direction* means here, in words.
        note: What has to be known of our side.
        cells: All of them, row by row.
    """

    number: str
    chapter: str
    title: str
    unit: str
    reason: str
    direction: str
    note: str
    cells: tuple[Cell, ...]

    def count(self, name: str) -> int:
        """Number of cells with a verdict or a direction."""
        return sum(name in (cell.verdict, cell.direction) for cell in self.cells)


def scoreboard(records: Sequence[RunRecord], results: Path) -> list[Board]:
    """Every table that the thesis reports, in its order.

    Args:
        records: Of any chapter, size and corpus; runs at ``tiny`` are left out.
        results: Folder that holds their predictions.
    """
    kept = [record for record in records if record.profile != "tiny"]
    sides = {
        # A verdict is about the thesis's sizes, a direction about any.
        "real": [r for r in kept if not r.synthetic and r.profile == "paper"],
        "twin": [r for r in kept if r.synthetic and r.profile == "small"],
    }
    known = measures()
    found = {
        side: {
            number: known[number].collect(runs, results) if runs else {}
            for number in reported_tables()
        }
        for side, runs in sides.items()
    }
    return [_board(number, known[number], found) for number in reported_tables()]


def _board(
    number: str,
    measure: Measure,
    found: Mapping[str, Mapping[str, Mapping[tuple[str, str], list[Sample]]]],
) -> Board:
    entry = reported_entry(number)
    short, reason = reasons(measure.corpora, trained=measure.trained, people=measure.people)
    printed = {t: {(r, c): v for r, c, v in reported_cells(t)} for t in reported_tables()}
    cells = []
    for (row, column), value in printed[number].items():
        here = {side: samples[number].get((row, column), []) for side, samples in found.items()}
        place = measure.reference(row, column)
        told = math.nan if place is None else printed[place[0]].get(place[1:], math.nan)
        against = ""
        if measure.twinless:
            direction, against = NO_TWIN, measure.twinless
        elif place is None or math.isnan(told):
            direction = REFERENCE
        else:
            against = "less " + ", ".join(_told((number, row, column), place))
            others = found["twin"][place[0]].get(place[1:], [])
            direction = _direction(value - told, here["twin"], others)
            if direction == MISSING and measure.complete and found["twin"][number]:
                direction = ABSENT
        cells.append(
            Cell(
                table=number,
                row=row,
                column=column,
                reported=value,
                real=(real := summarise(here["real"])),
                twin=summarise(here["twin"]),
                verdict=_verdict(value, real),
                reason="" if real else short,
                direction=direction,
                against=against,
            )
        )
    return Board(
        number=number,
        chapter=number.removeprefix("Figure ")[0],
        title=str(entry["title"]),
        unit=str(entry["unit"]),
        reason=reason,
        direction=measure.direction,
        note=measure.note,
        cells=tuple(cells),
    )


def summarise(samples: Sequence[Sample]) -> Summary | None:
    """Several runs of one cell as one number; None without any.

    >>> round(summarise([Sample("0", 0.5, 0.4, 0.6), Sample("1", 0.6, 0.5, 0.7)]).high, 2)
    0.65
    >>> summarise([Sample("0", 0.5), Sample("1", 0.75)]).high
    0.75
    """
    if not samples:
        return None
    values = [sample.value for sample in samples]
    interval = not any(math.isnan(sample.low) for sample in samples)
    lows = [sample.low for sample in samples] if interval else [min(values)]
    highs = [sample.high for sample in samples] if interval else [max(values)]
    runs = {run.run_id: run for sample in samples for run in sample.runs}
    return Summary(_mean(values), _mean(lows), _mean(highs), interval, tuple(runs.values()))


def _verdict(reported: float, real: Summary | None) -> str:
    """Reproduced where our interval holds the reported value."""
    if real is None:
        return NOT_ATTEMPTED
    return REPRODUCED if real.low <= reported <= real.high else NOT_REPRODUCED


def _direction(reported: float, samples: Sequence[Sample], others: Sequence[Sample]) -> str:
    """Whether every run's difference has the sign of the reported one, none has, or some have."""
    second = {sample.key: sample.value for sample in others}
    signs = {_sign(sample.value - second[sample.key]) for sample in samples if sample.key in second}
    if not signs:
        return MISSING
    if signs == {_sign(reported)}:
        return AGREES
    return OPPOSES if signs == {-_sign(reported)} else SPLIT


def reasons(corpora: Sequence[str], *, trained: bool = True, people: str = "") -> tuple[str, str]:
    """Why cells were not attempted: in a word or two, and in full.

    Args:
        corpora: Manifests of what would be needed.
        trained: Whether it also takes training at the thesis's size.
        people: What only people could do again.

    >>> reasons(["emodb"], trained=False)[0]
    'corpus'
    >>> reasons(["ndc-me"])[0]
    'licence, compute'
    """
    if people:
        return "people", people
    closed: list[str] = []
    free: list[str] = []
    for name in corpora:
        manifest = load_manifest(name)
        kind = closed if manifest.about("acceptanceNeeded") else free
        kind.append(str(manifest.document.get("alternateName", name)))
    short = ["licence" if closed else "corpus"]
    heads = {
        "Not at hand, and the owners' terms have to be accepted by each user": closed,
        "Not at hand": free,
    }
    told = " ".join(f"{head}: {'; '.join(names)}." for head, names in heads.items() if names)
    if trained:
        short.append("compute")
        told += " Training at the thesis's size takes a GPU."
    return ", ".join(short), told


def _told(own: Place, other: Place) -> list[str]:
    """Table, row and column of another cell, less what it shares with one's own."""
    names = (f"Table {other[0]}", *other[1:])
    return [name for name, a, b in zip(names, own, other, strict=True) if a != b]


def _sign(value: float) -> int:
    return 0 if abs(value) < 1e-12 else 1 if value > 0 else -1


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
