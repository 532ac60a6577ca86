"""Which exchange of the service made it issue an upstream call, recorded and live.

Recorded, what proves it is the cause that the recording names, a trace field that both requests
bear, or that one exchange alone was in flight. Live, it is the trace field, or the one exchange in
flight. Where several were in flight the call belongs to one of them; where none was, to none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from wiretape.exchange.trace import TRACE_FIELDS, Mark, marks_of
from wiretape.exchange.v1.exchange_pb2 import HttpRequest

# The place of what comes before the first inbound exchange.
START_UP = -1
# How soon after a response what the service goes on to do begins.
_SOON_NS = 100 * 10**6
# Of how many exchanges that are over live trace fields are remembered.
_MAX_LATE = 4096
_TRACE_FIELDS = frozenset(TRACE_FIELDS)
_SAFE = frozenset(["GET", "HEAD", "OPTIONS", "TRACE"])


class Interval(NamedTuple):
    """An inbound exchange on the recording's clock: ns since the epoch, and its marks."""

    id: str
    begin_ns: int
    end_ns: int
    marks: Iterable[Mark] = ()


class Begin(NamedTuple):
    """The begin of a recorded upstream call; `alone`: nothing equal was recorded besides."""

    at_ns: int
    cause_id: str
    marks: Iterable[Mark]
    safe: bool
    alone: bool


class Caused(NamedTuple):
    """`by`: positions of the exchanges of which one made the call; none for polling and the like.

    `after` is the position of the exchange that began last before it, START_UP for none. `late_ns`
    is how long after its response a call began that was still its own; `traced` says that a field
    proves it, live as well. `timed`: a timer of the service made it, so no exchange did.
    """

    by: tuple[int, ...]
    after: int
    late_ns: int = 0
    traced: bool = False
    timed: bool = False


def marks(request: HttpRequest) -> dict[Mark, str]:
    """The trace marks of a request, each with the name of its field."""
    fields = [(name, f.value) for f in request.fields if (name := f.name.lower()) in _TRACE_FIELDS]
    return marks_of(fields) if fields else {}


def is_safe(method: str) -> bool:
    """Asking changes nothing (RFC 9110 §9.2.1)."""
    return method in _SAFE


def recorded_causes(steps: Sequence[Interval], calls: Iterable[Begin]) -> list[Caused]:
    """The cause of each of `calls`; both come in the order in which they began."""
    position_of = {step.id: place for place, step in enumerate(steps)}
    bearers: dict[Mark, list[int]] = {}
    for place, step in enumerate(steps):
        for mark in step.marks:
            bearers.setdefault(mark, []).append(place)
    found: list[Caused] = []
    active: list[tuple[int, int]] = []
    ended: list[tuple[int, int]] = []
    begun = 0
    for call in calls:
        while begun < len(steps) and steps[begun].begin_ns <= call.at_ns:
            active.append((steps[begun].end_ns, begun))
            begun += 1
        ended = [entry for entry in ended if call.at_ns - entry[0] <= _SOON_NS]
        ended += [entry for entry in active if entry[0] < call.at_ns <= entry[0] + _SOON_NS]
        active = [entry for entry in active if entry[0] >= call.at_ns]
        by, traced = _told(call, position_of, bearers, begun)
        if not by:
            by = tuple(place for _, place in active)
        if not by and not call.safe and call.alone and len(ended) == 1:
            by = (ended[0][1],)
        over_ns = max((steps[place].end_ns for place in by), default=call.at_ns)
        found.append(Caused(by, begun - 1, max(0, call.at_ns - over_ns), traced))
    return found


def _told(
    call: Begin, position_of: dict[str, int], bearers: dict[Mark, list[int]], begun: int
) -> tuple[tuple[int, ...], bool]:
    """What the recording or a field says, and whether it was a field."""
    borne = _bearer(call.marks, bearers, range(begun))
    cause = position_of.get(call.cause_id) if call.cause_id else None
    if cause is None:
        cause = borne
    return ((cause,) if cause is not None else ()), cause is not None and cause == borne


def _bearer(
    marks: Iterable[Mark], bearers: dict[Mark, list[int]], among: Iterable[int]
) -> int | None:
    """The only one of `among` that bears the first of `marks` which any of them bears."""
    for mark in marks:
        places = [place for place in bearers.get(mark, ()) if place in among]
        if places:
            return places[0] if len(places) == 1 else None
    return None


class InFlight:
    """The exchanges that are being driven at this moment."""

    def __init__(self) -> None:
        self.places: dict[int, tuple[Mark, ...]] = {}
        """Positions, in the order in which they were begun, with the marks of their requests."""
        self.begun = START_UP
        """The last position that was begun."""
        self._bearers: dict[Mark, list[int]] = {}
        self._over: dict[int, tuple[Mark, ...]] = {}

    def begin(self, position: int, marks: Iterable[Mark]) -> None:
        self.places[position] = tuple(marks)
        self.begun = max(self.begun, position)
        for mark in self.places[position]:
            self._bearers.setdefault(mark, []).append(position)

    def end(self, position: int) -> None:
        marks = self.places.pop(position)
        if not marks:
            return
        self._over[position] = marks
        if len(self._over) > _MAX_LATE:
            oldest = next(iter(self._over))
            for mark in self._over.pop(oldest):
                self._bearers[mark].remove(oldest)
                if not self._bearers[mark]:
                    del self._bearers[mark]

    def cause_of(self, request: HttpRequest) -> int | None:
        """The position of the exchange that made the build issue this call; START_UP before the
        first; None where nothing tells."""
        if self._bearers and (borne := marks(request)):
            place = _bearer(borne, self._bearers, self.places)
            if place is None:
                place = _bearer(borne, self._bearers, self._over)
            if place is not None:
                return place
        if len(self.places) == 1:
            return next(iter(self.places))
        if self.places:
            return None
        return START_UP if self.begun == START_UP else None

    @property
    def latest(self) -> int:
        """Where to show what has no place of its own."""
        return next(reversed(self.places)) if self.places else self.begun
