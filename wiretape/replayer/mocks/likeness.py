"""How a live call differs from recorded ones, and which of them is nearest."""

from __future__ import annotations

from collections.abc import Iterable

from wiretape.exchange.v1.exchange_pb2 import HttpRequest
from wiretape.replayer.compare import Difference, compare_requests
from wiretape.replayer.mocks.calls import Call, shape_of
from wiretape.replayer.rules import Rules
from wiretape.replayer.values import Correlation, Judgement, Place, Span

# How many recorded calls are compared in full to find the nearest one.
_NEAREST_OF = 200
# How many calls of other exchanges are looked at for that.
_MOST_LOOKED_AT = 2000


class Likeness:
    """Compares under what a run knows of its values; nothing of it counts until it is committed."""

    def __init__(self, correlation: Correlation, rules: Rules) -> None:
        self._correlation = correlation
        self._rules = rules

    def judge(self, call: Call, at_ns: int) -> Judgement:
        """For comparing with `call` a request that came at `at_ns`."""
        request = call.request
        duration_ns = max(0, request.last_byte_at_ns - request.first_byte_at_ns)
        # What was paired with one call of the build says nothing about a second one like it.
        known = Correlation(self._correlation.evidence) if call.used else self._correlation
        span = Span(request.first_byte_at_ns, duration_ns, at_ns, duration_ns)
        place = Place(call.endpoint, "request", "", "")
        return Judgement(known, span, place, rules=self._rules)

    def differ(self, call: Call, request: HttpRequest, at_ns: int) -> list[Difference]:
        """All differences, the method first."""
        found = compare_requests(call.request, request, self.judge(call, at_ns))
        if call.request.method == request.method:
            return found
        methods = call.request.method, request.method
        return [Difference("method", "method", *methods, "another method"), *found]

    def ranked(self, request: HttpRequest, calls: Iterable[Call], place: int) -> list[Call]:
        """Those that are compared in full: of this place and path before any other."""
        wanted = shape_of(request)

        def distance(call: Call) -> tuple[bool, bool, bool]:
            return place not in call.caused.by, shape_of(call.request) != wanted, call.used

        own = [call for call in calls if call.fault is None and place in call.caused.by]
        others = (call for call in calls if call.fault is None and place not in call.caused.by)
        alike = [call for _, call in zip(range(_MOST_LOOKED_AT), others, strict=False)]
        return sorted([*own, *alike], key=distance)[:_NEAREST_OF]

    def nearest(
        self, request: HttpRequest, at_ns: int, calls: Iterable[Call], place: int
    ) -> tuple[Call | None, list[Difference]]:
        """The call with the fewest differences."""
        ranked = self.ranked(request, calls, place)
        judged = [(call, self.differ(call, request, at_ns)) for call in ranked]
        return min(judged, key=lambda pair: len(pair[1]), default=(None, []))


def translated(request: HttpRequest, correlation: Correlation) -> HttpRequest:
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
