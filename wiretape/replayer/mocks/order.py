"""Calls of one exchange that came in another order than they were recorded in.

Requests that a build sends at once come in any order, and so may those that it sends to one of a
set after another. So an order counts only where it is surely meant: two different calls that change
something and say different things, the second of which began when the first was answered, in every
exchange that made both, at least three of them; and where the second came first in all of these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import combinations
from typing import Any

from wiretape.replayer.caused import is_safe
from wiretape.replayer.compare import Difference
from wiretape.replayer.compare.form import read_form
from wiretape.replayer.compare.json_value import parse_json
from wiretape.replayer.mocks.calls import Call
from wiretape.replayer.mocks.findings import UpstreamFinding, changed_order

_ENOUGH = 3
_MOST_KINDS = 16


def out_of_order(
    calls: Iterable[Call], places: Iterable[int], came: Callable[[Call], int]
) -> Iterator[UpstreamFinding]:
    """What came before what it had to follow, at `places`, which were driven to their end; `came`
    counts live calls from 1, 0 for one that never came."""
    all_calls = [call for call in calls if len(call.caused.by) == 1]
    if not _has_inversion(all_calls, came):
        return
    driven = set(places)
    of: dict[int, dict[str, list[Call]]] = {}
    for call in all_calls:
        if call.fault is None and not is_safe(call.request.method):
            of.setdefault(call.place, {}).setdefault(call.endpoint, []).append(call)
    found: dict[tuple[str, str], list[tuple[Call, Call]]] = {}
    unsure: set[tuple[str, str]] = set()
    for place, kinds in sorted(of.items()):
        # They were filed in the order in which they were first made.
        for pair in combinations(list(kinds)[:_MOST_KINDS], 2):
            before, after = kinds[pair[0]], kinds[pair[1]]
            unsure.add(pair[::-1])
            if not _are_in_turn(before, after):
                unsure.add(pair)
            elif place in driven:
                if _is_reversed(before, after, came):
                    found.setdefault(pair, []).append((before[0], after[0]))
                else:
                    unsure.add(pair)
    told: set[int] = set()
    for pair, instances in found.items():
        if pair in unsure or len(instances) < _ENOUGH or _say_the_same(instances[0]):
            continue
        for earlier, later in instances:
            if later.number not in told:
                told.add(later.number)
                yield changed_order(later, _difference(earlier))


def _has_inversion(calls: Iterable[Call], came: Callable[[Call], int]) -> bool:
    """Whether any came before another of its exchange that was recorded before it."""
    latest: dict[int, int] = {}
    for call in calls:
        number = came(call)
        if 0 < number < latest.get(call.place, 0):
            return True
        latest[call.place] = max(number, latest.get(call.place, 0))
    return False


def _are_in_turn(before: list[Call], after: list[Call]) -> bool:
    """Whether the recorded ones were all answered before the others began."""
    answered_ns = max(call.exchange.http.response.last_byte_at_ns for call in before)
    begun_ns = min(call.request.first_byte_at_ns for call in after)
    return 0 < answered_ns < begun_ns


def _is_reversed(before: list[Call], after: list[Call], came: Callable[[Call], int]) -> bool:
    numbers, others = list(map(came, before)), list(map(came, after))
    return min(numbers) > 0 < min(others) and max(others) < min(numbers)


def _say_the_same(pair: tuple[Call, Call]) -> bool:
    """Whether both tell the same, but for the values: one call may be made to each of a set."""
    return bool(_names(pair[0]) == _names(pair[1]))


def _names(call: Call) -> Any:
    data = call.request.content.data
    try:
        value = parse_json(data)
    except ValueError:
        return sorted({name for name, _ in read_form(data)})
    return sorted(value) if isinstance(value, dict) else type(value)


def _difference(before: Call) -> Difference:
    return Difference(
        "order",
        "order",
        f"after the answer to {before.endpoint}",
        f"before {before.endpoint}",
        "it was recorded in this order in every exchange that makes both",
    )
