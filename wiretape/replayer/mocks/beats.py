"""Numbers with which a timer of the service counts its own calls.

A timer makes as many calls as there is time for, so the numbers go on beyond those recorded. One is
such where it rises from each recorded call of the timer to the next; live, it must rise as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise

from wiretape.exchange.v1.exchange_pb2 import HttpRequest
from wiretape.replayer.compare import Difference
from wiretape.replayer.mocks.calls import Call, Calls, shape_of

# From how many recorded calls on rising is no chance.
_LEAST_CALLS = 3

Timer = tuple[str, str, str]


class Beats:
    """Those of one run."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._rising: dict[Timer, frozenset[str]] = {}
        self._last: dict[tuple[Timer, str], int] = {}

    def go_on(self, call: Call, live: HttpRequest, differences: Sequence[Difference]) -> bool:
        """Whether nothing differs but such numbers, which have risen since the last call."""
        if not differences or not call.caused.timed:
            return not differences
        timer = _timer(call)
        numbers = dict(_numbers(live))
        places = self._places(timer, call.request)

        def has_risen(place: str) -> bool:
            last = self._last.get((timer, place))
            return place in numbers and (last is None or numbers[place] > last)

        return all(
            difference.kind == "json" and difference.place in places and has_risen(difference.place)
            for difference in differences
        )

    def came(self, call: Call, live: HttpRequest) -> None:
        """`live` was answered as `call` was."""
        if call.caused.timed:
            timer = _timer(call)
            self._last.update(((timer, place), number) for place, number in _numbers(live))

    def _places(self, timer: Timer, request: HttpRequest) -> frozenset[str]:
        if timer not in self._rising:
            made = [
                dict(_numbers(call.request))
                for call in self._calls.outside(timer[0], request)
                if call.caused.timed
            ]
            everywhere = set.intersection(*map(set, made)) if len(made) >= _LEAST_CALLS else set()
            self._rising[timer] = frozenset(
                place for place in everywhere
                if all(one[place] < other[place] for one, other in pairwise(made))
            )  # fmt: skip
        return self._rising[timer]


def _timer(call: Call) -> Timer:
    return call.names[0], *shape_of(call.request)


def _numbers(request: HttpRequest) -> Iterator[tuple[str, int]]:
    """The integers of a JSON content, by their path; none in lists."""
    try:
        waiting = [("$", json.loads(request.content.data))] if request.content.data else []
    except (ValueError, RecursionError):
        return
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, dict):
            waiting += [(f"{path}.{name}", member) for name, member in value.items()]
        elif isinstance(value, int) and not isinstance(value, bool):
            yield path, value
