"""The scoreboard as one picture: a square a cell, coloured and marked by its state.

Colours are those of Okabe and Ito; shapes differ where colours do.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from thesislib.records.scoreboard import (
    ABSENT,
    AGREES,
    MISSING,
    NO_TWIN,
    NOT_ATTEMPTED,
    NOT_REPRODUCED,
    OPPOSES,
    REFERENCE,
    REPRODUCED,
    SPLIT,
    Board,
    Cell,
)

MARKS = {
    REPRODUCED: '<rect width="10" height="10" fill="#009E73"/>'
    '<path d="M2 5.2 4.2 7.5 8 2.6" fill="none" stroke="#fff" stroke-width="1.6"/>',
    NOT_REPRODUCED: '<rect width="10" height="10" fill="#000"/>'
    '<path d="M2.5 2.5 7.5 7.5M7.5 2.5 2.5 7.5" stroke="#fff" stroke-width="1.6"/>',
    AGREES: '<rect width="10" height="10" fill="#0072B2"/>',
    OPPOSES: '<rect width="10" height="10" fill="#D55E00"/>'
    '<path d="M2.5 2.5 7.5 7.5M7.5 2.5 2.5 7.5" stroke="#fff" stroke-width="1.4"/>',
    SPLIT: '<rect width="10" height="10" fill="#F0E442" stroke="#7a7300" stroke-width=".8"/>'
    '<path d="M2.5 5H7.5" stroke="#000" stroke-width="1.4"/>',
    REFERENCE: '<rect width="10" height="10" fill="#8a8a8a"/>'
    '<circle cx="5" cy="5" r="1.8" fill="#fff"/>',
    MISSING: '<rect x=".6" y=".6" width="8.8" height="8.8" fill="none" stroke="#8a8a8a" '
    'stroke-width="1.2" stroke-dasharray="2 1.4"/>',
    ABSENT: '<path d="M1.5 8.5 8.5 1.5" stroke="#8a8a8a" stroke-width="1.2"/>'
    '<rect x=".6" y=".6" width="8.8" height="8.8" fill="none" stroke="#8a8a8a"/>',
    NO_TWIN: '<circle cx="5" cy="5" r="1.4" fill="#8a8a8a"/>',
}
"""State to its drawing in a square of 10 pixels."""
WORDS = {
    REPRODUCED: "reproduced on real recordings",
    NOT_REPRODUCED: "not reproduced on real recordings",
    AGREES: "every run of the twin has the reported sign",
    OPPOSES: "every run of the twin has the opposite sign",
    SPLIT: "runs of the twin differ in sign",
    REFERENCE: "a reference cell, without a sign",
    MISSING: "not recorded yet",
    ABSENT: "recorded, but the twin has no such windows or pairs",
    NO_TWIN: "no twin can tell",
}
CELL, SLOT, FIGURE_SLOT, WIDTH = 11, 62, 88, 712  # pixels


def state(cell: Cell) -> str:
    """What the picture shows of a cell: the verdict where there is one, else the direction."""
    return cell.direction if cell.verdict == NOT_ATTEMPTED else cell.verdict


def symbol(name: str) -> str:
    """A state's mark as a small drawing beside its name."""
    return (
        f'<svg class="mark" viewBox="0 0 10 10" width="10" height="10" aria-hidden="true">'
        f"{MARKS[name]}</svg>"
    )


def in_words(boards: Sequence[Board]) -> str:
    """The picture as sentences.

    >>> in_words([])
    '0 cells of 0 tables.'
    """
    counts = dict.fromkeys(MARKS, 0)
    for board in boards:
        for cell in board.cells:
            counts[state(cell)] += 1
    told = "; ".join(f"{WORDS[name]}: {number}" for name, number in counts.items() if number)
    total = sum(len(board.cells) for board in boards)
    return f"{total} cells of {len(boards)} tables{f'. {told}' if told else ''}."


def picture(boards: Sequence[Board]) -> str:
    """All tables as grids of squares, chapter by chapter, as an HTML fragment with a legend.

    Args:
        boards: What `thesislib.records.scoreboard.scoreboard` gives.
    """
    y, parts = 0.0, []
    for chapter in dict.fromkeys(board.chapter for board in boards):
        y += 22
        parts.append(f'<text class="head" x="0" y="{y:.0f}">Chapter {chapter}</text>')
        x, lowest, figures = 0.0, y, False
        for board in (board for board in boards if board.chapter == chapter):
            drawing, width, height = _grid(board)
            # Heat maps have lines of their own.
            is_figure = board.number.startswith("Figure")
            taken = max(FIGURE_SLOT if is_figure else SLOT, width + 14)
            if x + taken > WIDTH or (is_figure and not figures):
                x, y = 0.0, lowest + 14
            figures = figures or is_figure
            parts.append(f'<g transform="translate({x:.0f} {y + 8:.0f})">{drawing}</g>')
            x += taken
            lowest = max(lowest, y + 8 + height)
        y = lowest + 8
    symbols = "".join(
        f'<symbol id="cell-{_slug(name)}" viewBox="0 0 10 10">{mark}</symbol>'
        for name, mark in MARKS.items()
    )
    return (
        '<figure class="scoreboard"><div class="generated-table" role="region" tabindex="0" '
        'aria-label="Picture of the scoreboard">'
        f'<svg viewBox="0 0 {WIDTH} {y + 4:.0f}" role="img" '
        'aria-labelledby="scoreboard-title scoreboard-words">'
        '<title id="scoreboard-title">Scoreboard of all tables</title>'
        f'<desc id="scoreboard-words">{escape(in_words(boards))}</desc>'
        f"<defs>{symbols}</defs>{''.join(parts)}</svg></div>{legend(boards)}</figure>"
    )


def legend(boards: Sequence[Board]) -> str:
    """What each mark means, and of how many cells; marks that do not occur are left out."""
    counts = {
        name: sum(state(cell) == name for board in boards for cell in board.cells) for name in MARKS
    }
    items = "".join(
        f"<li>{symbol(name)} {WORDS[name]}: {number}</li>"
        for name, number in counts.items()
        if number
    )
    return f'<figcaption><ul class="scoreboard-legend">{items}</ul></figcaption>'


def _grid(board: Board) -> tuple[str, float, float]:
    """One table: its number, then rows and columns as printed; with width and height."""
    name, _, rest = board.number.removeprefix("Figure ").partition(", ")
    lines = [f"Fig. {name}" if rest else name, *rest.split(", ")] if rest else [name]
    rows = list(dict.fromkeys(cell.row for cell in board.cells))
    columns = list(dict.fromkeys(cell.column for cell in board.cells))
    if all(column.startswith("Annotator") for column in columns):
        columns.sort()
    top = 13.0 * len(lines) + 4
    text = "".join(
        f'<text x="0" y="{13 * n + 11}">{escape(line)}</text>' for n, line in enumerate(lines)
    )
    squares = "".join(
        f'<use href="#cell-{_slug(state(cell))}" x="{CELL * columns.index(cell.column)}" '
        f'y="{top + CELL * rows.index(cell.row):.0f}" width="10" height="10"/>'
        for cell in board.cells
    )
    return text + squares, CELL * len(columns), top + CELL * len(rows)


def _slug(name: str) -> str:
    return name.replace(" ", "-")
