"""When the order of a list may differ: only where it follows from values that are made anew.

A list that is sorted by a random id is in another order whenever its elements get other ids. That
is so only if both sides are sorted the same way by one value. Being sorted can be chance, so
another value by which the recorded list was sorted too, and the live one is not, speaks against it:
always where that value is an instant or a number that is made anew (the list was in the order of
creation), and in lists of two or three elements where it is any value at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any

from wiretape.replayer.values.instants import read_instant

# Lists of up to so many elements are sorted by something or other too often by chance.
_FEW = 3
_DEPTH = 3

Key = tuple[str, ...]
Value = str | int | Decimal


def pair(
    recorded: int, live: int, same: Callable[[int, int], bool]
) -> tuple[list[tuple[int, int]], list[int], list[int]]:
    """Pair each of `recorded` elements with the first of `live` that is the same and still free.

    `same` is given two indexes. Returns the pairs and what is left on each side.
    """
    free = list(range(live))
    pairs: list[tuple[int, int]] = []
    left: list[int] = []
    for index in range(recorded):
        found = next((other for other in free if same(index, other)), None)
        if found is None:
            left.append(index)
        else:
            free.remove(found)
            pairs.append((index, found))
    return pairs, left, free


def follows_generated_order(recorded: Sequence[Any], live: Sequence[Any]) -> bool:
    """Whether two lists of one length can differ in order because their sort key is made anew.

    That the elements are the same is not asked here.
    """
    columns = _columns(recorded), _columns(live)
    few = len(recorded) <= _FEW
    follows = False
    for key in columns[0].keys() & columns[1].keys():
        expected, actual = columns[0][key], columns[1][key]
        direction = _direction(expected)
        if not direction:
            continue
        made_anew = set(expected) != set(actual)
        if direction == _direction(actual):
            follows = follows or made_anew
        elif few or (made_anew and _is_order_of_creation(expected)):
            return False
    return follows


def _columns(elements: Sequence[Any]) -> dict[Key, list[Value]]:
    """The values of each place that every element has, in the order of the elements."""
    columns: dict[Key, list[Value]] = {}
    for count, element in enumerate(elements):
        for key, value in _leaves(element, ()):
            column = columns.setdefault(key, [])
            if len(column) == count:
                column.append(value)
    return {key: column for key, column in columns.items() if len(column) == len(elements)}


def _leaves(value: Any, key: Key) -> Iterator[tuple[Key, Value]]:
    if isinstance(value, dict):
        if len(key) < _DEPTH:
            for name, member in value.items():
                yield from _leaves(member, (*key, name))
    elif isinstance(value, str | int | Decimal) and not isinstance(value, bool):
        yield key, value


def _direction(column: list[Value]) -> int:
    """1 where strictly increasing, -1 where strictly decreasing, else 0."""
    if len({isinstance(value, str) for value in column}) != 1:
        return 0
    steps = {
        (later > earlier) - (later < earlier)  # type: ignore[operator]
        for earlier, later in pairwise(column)
    }
    return steps.pop() if len(steps) == 1 else 0


def _is_order_of_creation(column: list[Value]) -> bool:
    return all(not isinstance(value, str) or read_instant(value) is not None for value in column)
