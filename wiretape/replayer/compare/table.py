"""CSV compared by cell (RFC 4180), a cell being named by its column.

How a cell is quoted and how a row ends count: whoever reads lines would see it.
"""

from __future__ import annotations

import re

from wiretape.replayer.compare.difference import Difference
from wiretape.replayer.compare.text import compare_text
from wiretape.replayer.compare.view import View

# A cell as it is written, and what ends it.
_CELL = re.compile(r'("(?:[^"]|"")*"[^,\r\n]*|[^,\r\n]*)(,|\r\n|\n|\r|\Z)')
_NUMBER = re.compile(r'"?[-+]?\d[\d.]*"?')
# Quotes that never close make reading quadratic.
_MAX_CHARACTERS = 4 << 20

# Its cells as they are written, and the end of its line.
_Row = tuple[list[str], str]


def compare_csv(recorded: str, live: str, view: View) -> list[Difference]:
    """Cell by cell where both sides have the same rows and columns, else by line."""
    if len(recorded) > _MAX_CHARACTERS or view.unordered("csv", "*"):
        return compare_text(recorded, live, view, "csv")
    expected, actual = _rows(recorded), _rows(live)
    shapes = [[(len(cells), end) for cells, end in rows] for rows in (expected, actual)]
    if shapes[0] != shapes[1]:
        return compare_text(recorded, live, view, "csv")
    names = _names(expected[0][0])
    found: list[Difference] = []
    for row, ((cells, _), (others, _)) in enumerate(zip(expected, actual, strict=True), 1):
        for column, (cell, other) in enumerate(zip(cells, others, strict=True)):
            name = names[column] if column < len(names) else str(column + 1)
            if not view.same_text(cell, other, "csv", name):
                reason = f"another cell: {view.why}" if view.why else "another cell"
                place = f"row {row}, column {name}"
                found.append(view.difference("csv", name, place, cell, other, reason, line=row))
    return found


def column_names(text: str) -> list[str]:
    """What the first row calls the columns, else their numbers."""
    row = _rows(text.partition("\n")[0])[0][0]
    return _names(row) or [str(number) for number in range(1, len(row) + 1)]


def _rows(text: str) -> list[_Row]:
    rows: list[_Row] = []
    cells: list[str] = []
    at = 0
    while (match := _CELL.match(text, at)) is not None:
        cells.append(match[1])
        at = match.end()
        if match[2] != ",":
            rows.append((cells, match[2]))
            cells = []
        if not match[2]:
            break
    return rows


def _names(cells: list[str]) -> list[str]:
    """The first row, where it can be names: all different, none empty or a number."""
    if len(set(cells)) != len(cells) or any(not c or _NUMBER.fullmatch(c) for c in cells):
        return []
    return [cell.strip('"') for cell in cells]
