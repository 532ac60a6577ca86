"""Which recorded upstream calls a timer of the service makes, whatever it is asked: polling,
heartbeats, metrics.

A timer shows in the recording: calls of one kind that come at one pace from before the first
exchange, or soon after, to the end of the last, and that do so as well where nothing was asked of
the service since the one before. Then those that began while an exchange was in flight are the
timer's too.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable, Iterable, Sequence
from itertools import pairwise
from statistics import median_low
from typing import NamedTuple

# A pace needs some calls to be one, and keeps within these parts of it: one may have been lost, and
# a service that is busy is late.
_LEAST_CALLS = 4
_SHORTEST, _LONGEST = 0.5, 2.5


class Beat(NamedTuple):
    """A recorded call: `kind` is equal for those that one timer may make; `told` says that the
    recording or a field proves which exchange made it."""

    kind: Hashable
    at_ns: int
    told: bool


def timed(beats: Iterable[Beat], exchanges: Sequence[tuple[int, int]]) -> set[int]:
    """The places of those that a timer made; `exchanges` are the times at which each began and
    ended. Both come in the order of their begin."""
    if not exchanges:
        return set()
    kinds: dict[Hashable, list[int]] = {}
    times: list[int] = []
    told: set[Hashable] = set()
    for place, beat in enumerate(beats):
        times.append(beat.at_ns)
        kinds.setdefault(beat.kind, []).append(place)
        if beat.told:
            told.add(beat.kind)
    busy = _Busy(exchanges)
    return {
        place
        for kind, places in kinds.items()
        if kind not in told and busy.has_timer([times[place] for place in places])
        for place in places
    }


class _Busy:
    """When exchanges were in flight: stretches that do not touch, in their order."""

    def __init__(self, exchanges: Sequence[tuple[int, int]]) -> None:
        self._begins: list[int] = []
        self._ends: list[int] = []
        for begin_ns, end_ns in exchanges:
            if self._ends and begin_ns <= self._ends[-1]:
                self._ends[-1] = max(self._ends[-1], end_ns)
            else:
                self._begins.append(begin_ns)
                self._ends.append(end_ns)

    def has_timer(self, times: Sequence[int]) -> bool:
        if len(times) < _LEAST_CALLS:
            return False
        gaps = [later - earlier for earlier, later in pairwise(times)]
        pace = median_low(gaps)
        longest = int(_LONGEST * pace)
        return (
            min(gaps) >= _SHORTEST * pace
            and max(gaps) <= longest
            and times[0] <= self._begins[0] + longest
            and times[-1] >= self._ends[-1] - longest
            and any(self._is_idle(earlier, later) for earlier, later in pairwise(times))
        )

    def _is_idle(self, begin_ns: int, end_ns: int) -> bool:
        """Whether nothing was in flight from one time to the other."""
        place = bisect_right(self._begins, end_ns) - 1
        return place < 0 or self._ends[place] < begin_ns
