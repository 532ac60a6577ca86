"""The recorded upstream calls, filed by what a live call is told by."""

from __future__ import annotations

import marshal
from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b

from wiretape.exchange.v1.exchange_pb2 import ConnectionEnd, Exchange, HttpRequest, HttpResponse
from wiretape.replayer.caused import Begin, Caused, Interval, is_safe, marks, recorded_causes
from wiretape.replayer.compare.content import canonical_content
from wiretape.replayer.compare.field_values import normal_value
from wiretape.replayer.compare.fields import HOP_BY_HOP, grouped
from wiretape.replayer.compare.request import exact_key, origin_form
from wiretape.replayer.mocks.names import upstream_names
from wiretape.replayer.rules import NO_RULES, Rules
from wiretape.replayer.sessions import (
    began_ns,
    call_fault,
    came_too_late,
    server_of,
    unseen_end,
)
from wiretape.replayer.timers import Beat, timed
from wiretape.replayer.values import endpoint_of, shape

# What differs between two answers that are one and the same: when and for whom they were written.
_OF_ONE_TIME = HOP_BY_HOP | frozenset(
    ["age", "date", "expires", "server-timing", "traceparent", "x-correlation-id", "x-request-id"]
)

# Name of an upstream, method, and path with generated tokens blotted out.
Shape = tuple[str, str, str]


class Call:
    """One recorded upstream call. `used`: a live call was answered by it."""

    __slots__ = ("_calls", "_key", "_rules", "caused", "end", "fault", "names", "number", "used")

    def __init__(
        self,
        calls: Sequence[Exchange],
        number: int,
        names: tuple[str, ...],
        caused: Caused,
        fault: str | None,
        end: ConnectionEnd | None,
        rules: Rules,
    ) -> None:
        """`end`: how its connection ended, where that was the answer."""
        self._calls = calls
        self._rules = rules
        self._key: bytes | None = None
        self.number = number
        self.names = names
        self.caused = caused
        self.fault = fault
        self.end = end
        self.used = False

    @property
    def exchange(self) -> Exchange:
        return self._calls[self.number]

    @property
    def request(self) -> HttpRequest:
        return self.exchange.http.request

    @property
    def unanswered(self) -> bool:
        """The service got no response, or had gone before it came."""
        http = self.exchange.http
        if not http.HasField("response"):
            return True
        return self.end is not None and came_too_late(self.end, http.response.first_byte_at_ns)

    @property
    def key(self) -> bytes:
        if self._key is None:
            self._key = key_of(self.request, self.names[0], self._rules)
        return self._key

    @property
    def endpoint(self) -> str:
        """That of its Place."""
        return endpoint_of_call(self.request, self.names[0])

    @property
    def place(self) -> int:
        """The position of the exchange that it is shown at."""
        return self.caused.by[0] if self.caused.by else self.caused.after

    def may_be_of(self) -> Iterable[int]:
        """The positions of exchanges that may have made it; polling is of none. Of a response alone
        nothing tells what asked for it, but that it was before."""
        if self.caused.by or self.exchange.http.HasField("request"):
            return self.caused.by
        return range(self.caused.after + 1)


class Calls:
    """All recorded calls of a run, in the order in which they began."""

    def __init__(
        self,
        exchanges: Sequence[Exchange],
        steps: Sequence[Interval],
        ends: Mapping[str, ConnectionEnd],
        rules: Rules | None = None,
        let_out: Collection[str] = (),
    ) -> None:
        """`ends`: how connections ended, by id. `exchanges` come in the order of their begin.
        `let_out` are upstreams that are asked themselves: nothing is expected of those."""
        self.all: list[Call] = []
        self.upstreams: set[tuple[str, tuple[str, int], bool]] = set()
        """Each by its name, where it was, and whether it was asked by TLS."""
        self._let_out = frozenset(let_out)
        self.rules = rules if rules is not None else Rules()
        self._of: dict[int, list[Call]] = {}
        self._late: dict[str, deque[Call]] = {}
        self._free: dict[tuple[str, str, bytes], list[Call]] = {}
        self._outside: dict[Shape, list[Call]] = {}
        self._named: dict[str, list[Call]] = {}
        self._constant: dict[tuple[str, bytes], bool] = {}
        begins = list(_begins(exchanges))
        last = {call.connection: place for place, call in enumerate(begins)}
        known_names: dict[tuple[str, ...], tuple[str, ...]] = {}
        """Kept once, however many calls bear them."""
        causes = recorded_causes(steps, [call.begin for call in begins])
        timers = _timed(begins, causes, steps)
        for number, (call, caused) in enumerate(zip(begins, causes, strict=True)):
            if number in timers:
                caused = Caused((), caused.after, timed=True)
            fault, end = call.fault, ends.get(call.connection)
            if fault is None and call.torn:
                fault = unseen_end(end, last[call.connection] == number)
            elif end is not None and not came_too_late(end, call.answered_at_ns):
                end = None
            upstream = known_names.setdefault(call.names, call.names)
            made = Call(exchanges, number, upstream, caused, fault, end, self.rules)
            self._file(made, call)
        self.only_name = next(iter(known_names))[0] if len(known_names) == 1 else ""
        """The name of the only upstream there is; "" where there are several."""

    def _file(self, call: Call, summary: _Summary) -> None:
        self.all.append(call)
        if not self._let_out.isdisjoint(call.names):
            call.fault, call.used = None, True
            return
        self.upstreams.add((call.names[0], summary.server, summary.tls))
        for name in call.names:
            self._named.setdefault(name, []).append(call)
        if call.fault is not None:
            return
        for place in call.caused.by:
            self._of.setdefault(place, []).append(call)
        for name in call.names:
            if call.caused.late_ns:
                self._late.setdefault(name, deque()).append(call)
            if summary.begin.safe or not call.caused.by:
                self._free.setdefault((name, summary.method, summary.target), []).append(call)
            if not call.caused.by:
                self._outside.setdefault((name, *summary.shape), []).append(call)

    @property
    def names(self) -> list[str]:
        """Every upstream that was recorded, under every name that it has."""
        return sorted(self._named)

    def of(self, place: int) -> Sequence[Call]:
        """Those that the exchange at `place` made, or may have made."""
        return self._of.get(place, ())

    def named(self, name: str) -> Sequence[Call]:
        """All calls of one upstream."""
        return self._named.get(name, ())

    def late(self, name: str, begun: int) -> Iterator[Call]:
        """Unused ones that began after the response of their exchange, up to the one at `begun`."""
        waiting = self._late.get(name)
        if not waiting:
            return
        while waiting and waiting[0].used:
            waiting.popleft()
        for call in waiting:
            if call.caused.after > begun:
                return
            if not call.used:
                yield call

    def equal(self, name: str, request: HttpRequest, key: bytes) -> list[Call]:
        """Calls of any cause that are equal, if safe; and those of no cause."""
        filed = self._free.get((name, request.method, _target(request)), ())
        return [call for call in filed if call.key == key]

    def outside(self, name: str, request: HttpRequest) -> Sequence[Call]:
        """Calls of no cause that may be equal under a renaming."""
        return self._outside.get((name, *shape_of(request)), ())

    def is_constant(self, calls: Sequence[Call]) -> bool:
        """Whether these equal calls have one answer."""
        first = calls[0]
        at = (first.names[0], first.key)
        if at not in self._constant:
            self._constant[at] = same_answer(calls)
        return self._constant[at]


class _Summary:
    """What filing a call needs of its exchange."""

    __slots__ = (
        "answered_at_ns", "begin", "connection", "fault", "kind", "method", "names", "proven",
        "server", "shape", "target", "tls", "torn",
    )  # fmt: skip

    def __init__(self, exchange: Exchange, alone: bool) -> None:
        request, response = exchange.http.request, exchange.http.response
        self.connection = exchange.connection.id
        self.fault = call_fault(exchange)
        self.torn = not (exchange.http.HasField("response") and response.content.complete)
        self.answered_at_ns = response.first_byte_at_ns
        self.names = upstream_names(exchange)
        self.server, self.tls = server_of(exchange), request.scheme == "https"
        self.method, self.target = request.method, _target(request)
        # That nothing else was in flight says little of what a timer makes.
        self.proven = bool(exchange.cause_id) and exchange.cause_evidence != "time"
        self.shape = shape_of(request)
        self.kind = hash((self.names[0], _kind_of_target(request)))
        self.begin = Begin(
            began_ns(exchange), exchange.cause_id, marks(request), is_safe(self.method), alone
        )


def _begins(exchanges: Sequence[Exchange]) -> Iterator[_Summary]:
    """In two passes, so that no exchange need be kept."""
    alike = Counter(_written(exchange.http.request) for exchange in exchanges)
    for exchange in exchanges:
        yield _Summary(exchange, alike[_written(exchange.http.request)] == 1)


def _timed(
    calls: Sequence[_Summary], causes: Sequence[Caused], steps: Sequence[Interval]
) -> set[int]:
    """The numbers of those that a timer made."""
    beats = (
        Beat(call.kind, call.begin.at_ns, call.proven or caused.traced)
        for call, caused in zip(calls, causes, strict=True)
    )
    return timed(beats, [(step.begin_ns, step.end_ns) for step in steps])


def _kind_of_target(request: HttpRequest) -> tuple[object, ...]:
    path, query = origin_form(request.target)
    return request.method, shape(path), *sorted(map(shape, query))


def _written(request: HttpRequest) -> int:
    return hash((request.method, request.target, request.authority, request.content.data))


def _target(request: HttpRequest) -> bytes:
    """The target, the same for each order of its query."""
    path, query = origin_form(request.target)
    return "&".join([path, *sorted(query)]).encode("latin-1")


def endpoint_of_call(request: HttpRequest, upstream: str) -> str:
    return endpoint_of(request.method, origin_form(request.target)[0], upstream)


def key_of(request: HttpRequest, upstream: str, rules: Rules) -> bytes:
    """Equal for two requests that mean the same without any renaming; rules may say what counts."""
    here = rules.here(endpoint_of_call(request, upstream)) if rules else NO_RULES
    # Version 0 of marshal writes equal values as equal bytes; the later ones may not.
    return blake2b(marshal.dumps(exact_key(request, here), 0), digest_size=16).digest()


def shape_of(request: HttpRequest) -> tuple[str, str]:
    return request.method, shape(origin_form(request.target)[0])


def kind_of(request: HttpRequest) -> bytes:
    """Equal for two requests that differ in nothing but what could be generated."""
    path, query = origin_form(request.target)
    content = shape(request.content.data.decode("latin-1"))
    kind = (request.method, shape(path), sorted(map(shape, query)), content)
    return blake2b(marshal.dumps(kind, 0), digest_size=16).digest()


def same_answer(calls: Sequence[Call]) -> bool:
    """Whether it makes no difference to the build by which of these it is answered."""
    if len(calls) == 1:
        return True
    first, *others = (_answer_key(call) for call in calls)
    return all(other == first for other in others)


def _answer_key(call: Call) -> tuple[object, ...]:
    if call.unanswered:
        return ()
    response: HttpResponse = call.exchange.http.response
    fields = grouped(response.fields, _OF_ONE_TIME)
    return (
        response.status,
        sorted((name, normal_value(name, values)) for name, values in fields.items()),
        canonical_content(response),
        response.content.complete,
    )
