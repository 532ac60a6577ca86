"""The recorded upstream answers, found by what the build asks.

A call is answered only where method, path, query, fields and content are equal, as they are or
under the rule for generated values. Nothing similar is ever served: a miss gets a 599 answer that
names the nearest recorded call and how it differs, and counts as a failure.

Among equal calls, those recorded during the exchange now in flight come first, then the recorded
order decides; so the same calls always get the same answers.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from wiretape.exchange.content import field_value
from wiretape.exchange.http1 import write_request, write_response
from wiretape.exchange.v1.exchange_pb2 import Content, Exchange, HttpRequest, HttpResponse
from wiretape.replayer.compare import Difference, compare_requests
from wiretape.replayer.compare.request import Key, exact_key, origin_form
from wiretape.replayer.correlate import Correlation, Judgement, Span, shape
from wiretape.replayer.rules import Rules
from wiretape.replayer.sessions import call_fault, server_of, spell
from wiretape.replayer.values import Place, endpoint_of

MISS_STATUS = 599
# How many recorded calls are compared in full to find the nearest one.
_NEAREST_OF = 200
_NOT_SENT = frozenset([100, 101])


@dataclass(frozen=True, slots=True)
class Answer:
    """What the listener writes, and whether it closes the connection then.

    Nothing to write repeats an upstream that closed without an answer.
    """

    wire: bytes
    close: bool


@dataclass(eq=False, slots=True)
class Call:
    """One recorded upstream call; `place` is the position of the exchange that it belongs to."""

    exchange: Exchange
    place: int
    names: tuple[str, ...]
    fault: str | None
    used: bool = False

    @property
    def request(self) -> HttpRequest:
        return self.exchange.http.request


@dataclass(frozen=True, slots=True)
class UpstreamFinding:
    """An upstream call that is not as recorded.

    `kind` is missing (recorded, never made), extra (made, not recorded) or changed (both, and they
    differ). `place` is the position of the exchange in flight, -1 before the first. `unreachable`:
    the build was never told where this upstream is mocked.
    """

    kind: str
    upstream: str
    call: str
    place: int
    reason: str
    nearest: str | None = None
    differences: tuple[Difference, ...] = ()
    unreachable: bool = False


@dataclass(slots=True)
class _Miss:
    name: str
    request: HttpRequest | None
    place: int
    span_at_ns: int
    reason: str = ""
    nearest: Call | None = None
    differences: list[Difference] = field(default_factory=list)


def upstream_names(exchange: Exchange) -> tuple[str, ...]:
    """`host:port` in lower case: what the build called it first, then its address."""
    address = spell(server_of(exchange))
    request = exchange.http.request
    authority = normal_name(request.authority.decode("latin-1"), request.scheme)
    return (authority, address) if authority and authority != address else (address,)


def normal_name(text: str, scheme: str = "http") -> str:
    """`host:port` in lower case, the scheme's port added; "" for no name."""
    name = text.lower()
    if not name:
        return ""
    has_port = ":" in name.rpartition("]")[2]
    return name if has_port else f"{name}:{443 if scheme == 'https' else 80}"


class Mocks:
    """All recorded upstream calls of one run, and what was made of them."""

    def __init__(
        self,
        calls: Sequence[Exchange],
        places: Sequence[int],
        correlation: Correlation,
        rules: Rules | None = None,
    ) -> None:
        self._correlation = correlation
        self._rules = rules if rules is not None else Rules()
        self._misses: list[_Miss] = []
        self.answered = 0
        self.calls: list[Call] = []
        self._exact: dict[tuple[str, Key], deque[Call]] = {}
        self._exact_here: dict[tuple[str, Key, int], deque[Call]] = {}
        self._named: dict[str, list[Call]] = {}
        self._shaped: dict[tuple[str, str, str], list[Call]] = {}
        for exchange, place in zip(calls, places, strict=True):
            call = Call(exchange, place, upstream_names(exchange), call_fault(exchange))
            self.calls.append(call)
            self._file(call)
        # The names under which the build can reach its upstreams: all, until it is known better.
        self.reachable = frozenset(self._named)

    def _file(self, call: Call) -> None:
        """Under each of its names: a listener stands for one name."""
        for name in call.names:
            self._named.setdefault(name, []).append(call)
            if call.fault is None:
                key = self._key(call.names[0], call.request)
                self._exact.setdefault((name, key), deque()).append(call)
                self._exact_here.setdefault((name, key, call.place), deque()).append(call)
                self._shaped.setdefault((name, *_shape_of(call.request)), []).append(call)

    def _key(self, upstream: str, request: HttpRequest) -> Key:
        return exact_key(request, self._rules.here(_endpoint(upstream, request)))

    @property
    def names(self) -> list[str]:
        """Every upstream that was recorded, under every name that it has."""
        return sorted(self._named)

    def unfit(self) -> list[tuple[Call, str]]:
        """Calls that the recording holds too little of, with the reason."""
        return [(call, call.fault) for call in self.calls if call.fault is not None]

    def missing(self, places: Iterable[int]) -> list[Call]:
        """Recorded calls that belong to one of `places` and have not come."""
        wanted = set(places)
        return [c for c in self.calls if not c.used and c.fault is None and c.place in wanted]

    def answer(self, name: str, request: HttpRequest, place: int, at_ns: int) -> Answer:
        """The recorded answer to a call that came at `at_ns` while `place` was in flight."""
        if not request.content.complete:
            reason = f"the request ended after {len(request.content.data)} bytes of content"
            self._misses.append(_Miss(name, None, place, at_ns, f"{call_text(request)}: {reason}"))
            return Answer(b"", True)
        call = self._find_exact(name, request, place) or self._find_renamed(
            name, request, place, at_ns
        )
        if call is None:
            return self._miss(name, request, place, at_ns)
        call.used = True
        self.answered += 1
        self._correlation.saw(write_request(call.request), write_request(request))
        return self._recorded_answer(call, request)

    def refuse(self, name: str, reason: str, place: int) -> None:
        """Something came that is no HTTP request."""
        self._misses.append(_Miss(name, None, place, 0, reason))

    def _find_exact(self, name: str, request: HttpRequest, place: int) -> Call | None:
        known = self._named.get(name)
        upstream = known[0].names[0] if known else name
        key = self._key(upstream, _translated(request, self._correlation))
        here = self._exact_here.get((name, key, place))
        return _first_unused(here) or _first_unused(self._exact.get((name, key)))

    def _find_renamed(self, name: str, request: HttpRequest, place: int, at_ns: int) -> Call | None:
        alike = self._shaped.get((name, *_shape_of(request)), ())
        unused = [call for call in alike if not call.used]
        for call in sorted(unused, key=lambda call: call.place != place):
            judgement = self._judge(call, at_ns)
            if not compare_requests(call.request, request, judgement):
                judgement.commit()
                return call
        return None

    def _judge(self, call: Call, at_ns: int) -> Judgement:
        request = call.request
        duration_ns = max(0, request.last_byte_at_ns - request.first_byte_at_ns)
        # What was paired with one call of the build says nothing about a second one like it.
        known = Correlation() if call.used else self._correlation
        span = Span(request.first_byte_at_ns, duration_ns, at_ns, duration_ns)
        place = Place(_endpoint(call.names[0], request), "request", "", "")
        return Judgement(known, span, place, rules=self._rules)

    def _recorded_answer(self, call: Call, request: HttpRequest) -> Answer:
        recorded = call.exchange.http
        if not recorded.HasField("response"):
            return Answer(b"", True)
        written = b"".join(
            write_response(message)
            for message in (*recorded.interim, recorded.response)
            if message.status not in _NOT_SENT
        )
        wire = self._correlation.to_live(written)
        self._correlation.saw(written, wire)
        return Answer(wire, closes(recorded.response) or closes(request))

    def _miss(self, name: str, request: HttpRequest, place: int, at_ns: int) -> Answer:
        miss = _Miss(name, request, place, at_ns)
        miss.nearest, miss.differences = self._nearest(
            request, at_ns, self._named.get(name, ()), place
        )
        if miss.nearest is None:
            miss.reason = f"nothing asked of {name} was recorded"
        elif not miss.differences:
            times = sum(1 for call in self._named[name] if not self._differ(call, request, at_ns))
            miss.reason = f"it was recorded {times} time{'s' if times > 1 else ''}, not more often"
        else:
            miss.reason = "no recorded call is equal"
        self._misses.append(miss)
        return _miss_answer(miss, request)

    def _differ(self, call: Call, request: HttpRequest, at_ns: int) -> list[Difference]:
        if call.request.method != request.method:
            method = Difference(
                "method", "method", call.request.method, request.method, "another method"
            )
            return [
                method, *compare_requests(call.request, request, self._judge(call, at_ns))
            ]  # fmt: skip
        return compare_requests(call.request, request, self._judge(call, at_ns))

    def _nearest(
        self, request: HttpRequest, at_ns: int, calls: Iterable[Call], place: int
    ) -> tuple[Call | None, list[Difference]]:
        """The call with the fewest differences; one of this place and path before any other."""
        wanted = _shape_of(request)

        def distance(call: Call) -> tuple[bool, bool, bool]:
            return _shape_of(call.request) != wanted, call.place != place, call.used

        ranked = sorted((call for call in calls if call.fault is None), key=distance)
        judged = [(call, self._differ(call, request, at_ns)) for call in ranked[:_NEAREST_OF]]
        return min(judged, key=lambda pair: len(pair[1]), default=(None, []))

    def findings(self, places: Iterable[int]) -> list[UpstreamFinding]:
        """What was not as recorded, `places` being those that were driven to their end.

        A call that was made differently is one finding, not a missing one and an extra one.
        """
        left = self.missing(places)
        found: list[UpstreamFinding] = []
        for miss in self._misses:
            changed = self._changed(miss, left)
            if changed is None:
                found.append(_extra(miss))
                continue
            call, differences = changed
            left.remove(call)
            found.append(
                UpstreamFinding(
                    "changed", call.names[0], call_text(call.request), miss.place,
                    "the call differs from the recorded one", None, tuple(differences),
                )
            )  # fmt: skip
        found += [
            UpstreamFinding(
                "missing", call.names[0], call_text(call.request), call.place,
                self._why_missing(call), unreachable=self._is_unreachable(call),
            )
            for call in left
        ]  # fmt: skip
        return sorted(found, key=lambda finding: finding.place)

    def _is_unreachable(self, call: Call) -> bool:
        return self.reachable.isdisjoint(call.names)

    def _why_missing(self, call: Call) -> str:
        if self._is_unreachable(call):
            return f"the build was not told of {{mock:{call.names[0]}}} (--env)"
        return "the recorded call never came"

    def _changed(self, miss: _Miss, left: list[Call]) -> tuple[Call, list[Difference]] | None:
        request = miss.request
        if request is None:
            return None
        here = [
            call
            for call in left
            if call.place == miss.place
            and miss.name in call.names
            and call.request.method == request.method
        ]
        call, differences = self._nearest(request, miss.span_at_ns, here, miss.place)
        if call is None or any(d.kind == "path" for d in differences):
            return None
        return call, differences


def _extra(miss: _Miss) -> UpstreamFinding:
    made = call_text(miss.request) if miss.request is not None else "(no request)"
    nearest = call_text(miss.nearest.request) if miss.nearest else None
    return UpstreamFinding(
        "extra", miss.name, made, miss.place, miss.reason, nearest, tuple(miss.differences)
    )


def call_text(request: HttpRequest) -> str:
    """`METHOD target`, for people."""
    return f"{request.method} {request.target.decode('latin-1')}"


def closes(message: HttpRequest | HttpResponse) -> bool:
    """Whether the connection ends after this message (RFC 9112 §9.3, §9.6)."""
    if message.content.framing == Content.CLOSE or not message.content.complete:
        return True
    options = field_value(message.fields, b"connection").lower()
    named = [option.strip() for option in options.split(b",")] if options else []
    return b"close" in named or (message.version < "1.1" and b"keep-alive" not in named)


def _endpoint(upstream: str, request: HttpRequest) -> str:
    return endpoint_of(request.method, origin_form(request.target)[0], upstream)


def _shape_of(request: HttpRequest) -> tuple[str, str]:
    return request.method, shape(origin_form(request.target)[0])


def _first_unused(calls: deque[Call] | None) -> Call | None:
    while calls:
        if not calls[0].used:
            return calls[0]
        calls.popleft()
    return None


def _translated(request: HttpRequest, correlation: Correlation) -> HttpRequest:
    """The request with recorded values in the place of the live ones that are known."""
    if not correlation.live_of:
        return request
    copy = HttpRequest()
    copy.CopyFrom(request)
    copy.target = correlation.to_recorded(request.target)
    copy.content.data = correlation.to_recorded(request.content.data)
    for line in copy.fields:
        line.value = correlation.to_recorded(line.value)
    return copy


def _miss_answer(miss: _Miss, request: HttpRequest) -> Answer:
    said = {
        "error": f"wiretape: no recorded answer to {call_text(request)} of {miss.name}",
        "reason": miss.reason,
        "nearest": call_text(miss.nearest.request) if miss.nearest else None,
        "differences": [
            {"place": d.place, "expected": d.expected, "actual": d.actual} for d in miss.differences
        ],
    }
    content = json.dumps(said, indent=2).encode() + b"\n"
    head = (
        f"HTTP/1.1 {MISS_STATUS} Not Recorded\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    ).encode()
    return Answer(head if request.method == "HEAD" else head + content, closes(request))
