"""The scoreboard: every cell, verdicts only from real runs, directions only from twins."""

import dataclasses
from pathlib import Path

import pandas as pd
import pytest

from thesislib.config import LaughConfig, for_profile
from thesislib.evaluation.intensity import CLASSES, LEVELS
from thesislib.evaluation.significance import Estimate
from thesislib.figures.scoreboard import MARKS, in_words, picture, state
from thesislib.records import scoreboard as board
from thesislib.records.measured import Sample, measures
from thesislib.records.record import RunRecord
from thesislib.records.reported import reported, reported_cells, reported_tables

RESULTS = Path(__file__).resolve().parents[2] / "results"
PLACE = ("IFADV / Finetuned", "F1-score")


def of(value):
    return Estimate(value, value - 0.05, value + 0.05, n=50, unit="share")


def frame():
    rows = [
        (f"{expression}-{level}-{n}", f"p{n}", expression, level, "Laughs" if n else expression)
        for expression, level in LEVELS
        if (expression, level) != ("Smiles", "high")
        for n in range(4)
    ]
    columns = ["clip_id", "speaker", "target", "intensity", "prediction"]
    found = pd.DataFrame(rows, columns=columns)
    for name in CLASSES:
        found[f"p_{name}"] = (found["prediction"] == name).astype(float)
    return found


@pytest.fixture
def laugh(tmp_path):
    """Writes one run of the voice on a twin or on the real corpora, with the same F1 everywhere."""

    def make(f1, *, seed=0, start="scratch", tested="ifadv", real=False, profile="small"):
        config = for_profile(LaughConfig, profile, seed=seed, start=start)
        record = RunRecord(
            run_id=f"{start}-{tested}-{seed}-{real}-{profile}",
            kind="classification",
            chapter="06",
            experiment="laughs",
            configuration={
                "model": "audio", "start": start, "scope": config.scope, "split": "speaker",
                "tested": tested,
            },
            profile=profile,
            corpus="ndc-me",
            variant="real" if real else "twin",
            synthetic=not real,
            seed=seed,
            config=config.as_dict(),
            metrics={"f1_harmonic": of(f1), "precision": of(f1), "recall": of(f1)},
        )  # fmt: skip
        record = record.save(tmp_path, frame())
        return dataclasses.replace(record, metrics=record.metrics)

    return make


def cell(records, results, table="6.1", place=PLACE):
    (found,) = (b for b in board.scoreboard(records, results) if b.number == table)
    (one,) = (c for c in found.cells if (c.row, c.column) == place)
    return one


def test_every_reported_cell_is_there_once_and_as_printed():
    boards = board.scoreboard([], RESULTS)
    assert [b.number for b in boards] == reported_tables()
    found = {(c.table, c.row, c.column): c.reported for b in boards for c in b.cells}
    printed = {
        (t, row, column): v for t in reported_tables() for row, column, v in reported_cells(t)
    }
    assert found == printed
    assert sum(len(b.cells) for b in boards) == len(printed) > 500


def test_without_records_nothing_is_attempted_and_every_reason_is_given():
    for b in board.scoreboard([], RESULTS):
        assert {c.verdict for c in b.cells} == {board.NOT_ATTEMPTED}
        assert all(c.reason for c in b.cells)
        assert b.reason
        assert {c.direction for c in b.cells} <= {board.MISSING, board.REFERENCE, board.NO_TWIN}


def test_every_table_says_what_its_direction_is():
    known = measures()
    assert set(known) == set(reported_tables())
    for number, measure in known.items():
        assert measure.direction
        for row, column, _ in reported_cells(number):
            place = measure.reference(row, column)
            if place is not None:  # it stands in a table that exists, though maybe not that cell
                assert place[0] in known
                assert place != (number, row, column)


def test_no_difference_is_counted_twice():
    """A cell that is compared with another one is not compared with by that one."""
    known = measures()
    for number, measure in known.items():
        for row, column, _ in reported_cells(number):
            place = measure.reference(row, column)
            if place is not None:
                assert known[place[0]].reference(*place[1:]) != (number, row, column)


def test_a_cell_names_what_is_subtracted_and_why_there_is_no_twin():
    cells = {(c.table, c.row, c.column): c for b in board.scoreboard([], RESULTS) for c in b.cells}
    assert cells["6.1", *PLACE].against == "less IFADV / From scratch"
    assert cells["5.6", "Annotator 1", "Annotator 2"].against == "less Table 5.5"
    assert cells["5.5", "Annotator 1", "Annotator 2"].against == ""
    assert cells["5.3", "Annotator 1", "Roles"].against == "the amount is chosen"
    for found in cells.values():
        assert bool(found.against) == (found.direction != board.REFERENCE)


def test_a_twin_is_never_a_reproduction(laugh, tmp_path):
    exactly = reported("6.1", *PLACE)
    one = cell([laugh(exactly, start="pretrained"), laugh(0.3)], tmp_path)
    assert one.verdict == board.NOT_ATTEMPTED
    assert one.real is None
    assert one.twin.value == exactly
    assert one.reason == "licence, compute"


@pytest.mark.parametrize(
    ("seeds", "expected"),
    [
        ([(0.5, 0.4), (0.6, 0.5)], board.AGREES),
        ([(0.4, 0.5), (0.5, 0.6)], board.OPPOSES),
        ([(0.5, 0.4), (0.4, 0.5)], board.SPLIT),
        ([(0.5, 0.5)], board.SPLIT),
    ],
)
def test_direction_is_the_sign_of_every_run(laugh, tmp_path, seeds, expected):
    assert reported("6.1", *PLACE) > reported("6.1", "IFADV / From scratch", "F1-score")
    records = []
    for seed, (pretrained, scratch) in enumerate(seeds):
        records += [laugh(pretrained, seed=seed, start="pretrained"), laugh(scratch, seed=seed)]
    assert cell(records, tmp_path).direction == expected


def test_runs_of_other_seeds_are_not_compared(laugh, tmp_path):
    records = [laugh(0.5, seed=0, start="pretrained"), laugh(0.4, seed=1)]
    assert cell(records, tmp_path).direction == board.MISSING


def test_a_reference_has_no_direction(laugh, tmp_path):
    records = [laugh(0.4, tested="ndc-me")]
    place = ("NDC-ME / From scratch", "F1-score")
    assert cell(records, tmp_path, place=place).direction == board.REFERENCE


@pytest.mark.parametrize(
    ("offset", "expected"), [(0.04, board.REPRODUCED), (0.06, board.NOT_REPRODUCED)]
)
def test_a_real_run_of_the_papers_size_is_judged_by_its_interval(laugh, tmp_path, offset, expected):
    value = reported("6.1", *PLACE) + offset
    run = laugh(value, start="pretrained", real=True, profile="paper")
    one = cell([run], tmp_path)
    assert one.verdict == expected
    assert one.twin is None
    assert one.reason == ""


def test_a_real_run_of_another_size_is_no_attempt(laugh, tmp_path):
    run = laugh(reported("6.1", *PLACE), start="pretrained", real=True)
    assert cell([run], tmp_path).verdict == board.NOT_ATTEMPTED


def test_a_level_that_the_twin_lacks_is_told_from_a_missing_run(laugh, tmp_path):
    records = [laugh(0.4, tested="ifadv")]
    name = "Figure 6.2, scratch, IFADV"
    assert cell(records, tmp_path, name, ("Smiles / high", "Laughs")).direction == board.ABSENT
    assert cell(records, tmp_path, name, ("Smiles / low", "Laughs")).direction == board.SPLIT
    other = "Figure 6.2, scratch, NDC-ME"
    assert cell(records, tmp_path, other, ("Smiles / low", "Laughs")).direction == board.MISSING


def test_a_summary_averages_values_and_ends():
    found = board.summarise([Sample("0", 0.5, 0.4, 0.7), Sample("1", 0.7, 0.6, 0.7)])
    assert (found.value, found.low, found.high) == pytest.approx((0.6, 0.5, 0.7))
    assert found.interval
    found = board.summarise([Sample("0", 0.5), Sample("1", 0.7)])
    assert (found.low, found.high, found.interval) == (0.5, 0.7, False)


def test_people_are_a_reason_of_their_own():
    assert board.reasons(["ib"], trained=False) != board.reasons(["ib"])
    assert board.reasons([], people="Only they.") == ("people", "Only they.")


def test_a_corpus_that_is_free_to_use_is_not_said_to_need_an_agreement():
    short, told = board.reasons(["crema-d", "librispeech"], trained=False)
    assert short == "licence"
    asked, free = told.split(". ")
    assert "accepted by each user" in asked
    assert "CREMA-D" in asked
    assert free == "Not at hand: LibriSpeech ASR corpus."
    assert board.reasons(["librispeech"], trained=False) == ("corpus", free)


def test_the_picture_has_a_square_a_cell_and_says_what_it_shows():
    boards = board.scoreboard([], RESULTS)
    drawn = picture(boards)
    assert drawn.count("<use ") == sum(len(b.cells) for b in boards)
    assert in_words(boards) in drawn
    assert 'role="img"' in drawn
    assert {state(c) for b in boards for c in b.cells} <= set(MARKS)
    assert set(MARKS) >= {*board.VERDICTS, *board.DIRECTIONS} - {board.NOT_ATTEMPTED}
