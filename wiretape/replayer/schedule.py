"""In which order the recorded requests are driven, and which of them wait for which."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from wiretape.exchange.v1.exchange_pb2 import Exchange
from wiretape.replayer.caused import Interval, marks
from wiretape.replayer.sessions import began_ns, inbound_fault

# How far ahead of what was judged requests are begun, times the concurrency.
_LOOK_AHEAD = 16


class Step:
    """One inbound exchange in its place; `fault` says why it cannot be driven and judged."""

    __slots__ = ("_exchanges", "fault", "last_on_connection", "position")

    def __init__(
        self, exchanges: Sequence[Exchange], position: int, fault: str | None, last: bool
    ) -> None:
        self._exchanges = exchanges
        self.position = position
        self.fault = fault
        self.last_on_connection = last

    @property
    def exchange(self) -> Exchange:
        return self._exchanges[self.position]


def plan(inbound: Sequence[Exchange]) -> list[Step]:
    """The steps of a run, which come in recorded order; a connection is kept until
    its last exchange."""
    last = {exchange.connection.id: place for place, exchange in enumerate(inbound)}
    return [
        Step(inbound, place, inbound_fault(exchange), last[exchange.connection.id] == place)
        for place, exchange in enumerate(inbound)
    ]


def intervals(inbound: Iterable[Exchange]) -> Iterator[Interval]:
    """When each exchange took place; one without a response ends where its request did."""
    for exchange in inbound:
        request, response = exchange.http.request, exchange.http.response
        ended_ns = response.last_byte_at_ns or request.last_byte_at_ns
        yield Interval(exchange.id, began_ns(exchange), ended_ns, tuple(marks(request)))


@dataclass(frozen=True, slots=True)
class Touch:
    """What an exchange has to do with others: its session, its path, whether it changes anything,
    when it took place, and which exchanges made what its request carries."""

    session: int
    path: str
    changes: bool
    begin_ns: int
    end_ns: int
    needs: Collection[int] = ()

    def must_follow(self, position: int, earlier: Touch) -> bool:
        """Whether it waits for `earlier`, the one at `position`.

        It does within a session, where it carries what that one made, and where one of both may
        change what the other one gets to see, unless they took place at the same time.
        """
        if self.session == earlier.session or position in self.needs:
            return True
        if not (self.changes or earlier.changes) or earlier.end_ns > self.begin_ns:
            return False
        return is_within(self.path, earlier.path) or is_within(earlier.path, self.path)


def is_within(path: str, other: str) -> bool:
    """Whether `path` is `other`, or lies below it."""
    return path == other or path.startswith(f"{other}/")


class Order:
    """Hands out positions so that nothing overtakes what it must follow.

    `follows(later, earlier)` tells of two positions; those it holds for keep their order.
    """

    def __init__(
        self, positions: Iterable[int], follows: Callable[[int, int], bool], concurrency: int
    ) -> None:
        self._coming = iter(positions)
        self._follows = follows
        self._concurrency = concurrency
        self._unfinished: dict[int, list[int]] = {}
        """All that were handed out or wait, in order, each with those that were found to follow."""
        self._cleared: dict[int, int] = {}
        """Up to which of the earlier ones each does not, or no longer, have to wait."""
        self._waiting: list[int] = []
        """A heap of those of which it is to be seen whether they wait for any."""
        self._running = 0

    def next(self) -> int | None:
        """A position that may begin now; None for none at this moment."""
        if self._running >= self._concurrency:
            return None
        self._look_ahead()
        while self._waiting:
            position = heappop(self._waiting)
            earlier = self._followed(position)
            if earlier is None:
                self._cleared.pop(position, None)
                self._running += 1
                return position
            self._cleared[position] = earlier
            self._unfinished[earlier].append(position)
        return None

    def _followed(self, position: int) -> int | None:
        """The first that it must wait for still. No two are compared twice."""
        cleared = self._cleared.get(position, -1)
        for other in self._unfinished:
            if other >= position:
                return None
            if other > cleared and self._follows(position, other):
                return other
        return None

    def _look_ahead(self) -> None:
        while len(self._unfinished) < _LOOK_AHEAD * self._concurrency:
            position = next(self._coming, None)
            if position is None:
                return
            heappush(self._waiting, position)
            self._unfinished[position] = []

    def answered(self) -> None:
        """One that was handed out has its answer; another may begin in its stead."""
        self._running -= 1

    def finished(self, position: int) -> None:
        """It was judged: what it made can be used."""
        for later in self._unfinished.pop(position):
            heappush(self._waiting, later)

    @property
    def is_done(self) -> bool:
        self._look_ahead()
        return not self._unfinished
