"""The recorded upstream answers, found by what the build asks.

A call is answered only where upstream, method, path, query, fields and content are equal, as they
are or under the rule for generated values. Nothing similar is ever served: a miss gets a 599 answer
that names the nearest recorded call and how it differs, and counts as a failure.

Repeats are answered in recorded order within the exchange that causes them. Beyond it go calls that
began after the response of theirs, calls that were recorded outside of any exchange, and safe calls
that have one constant answer. Whatever else could be meant by several is a miss.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from wiretape.exchange.v1.exchange_pb2 import Exchange, HttpRequest
from wiretape.replayer.accepted import AcceptedValues, acceptances
from wiretape.replayer.caused import InFlight, is_safe
from wiretape.replayer.compare import Difference, compare_requests
from wiretape.replayer.mocks.answers import Answer, Answers, miss_answer
from wiretape.replayer.mocks.beats import Beats
from wiretape.replayer.mocks.calls import Call, Calls, key_of, kind_of, same_answer, shape_of
from wiretape.replayer.mocks.findings import (
    MadeCall,
    Miss,
    MovedCall,
    UpstreamFinding,
    changed,
    extra,
    made,
    missing,
)
from wiretape.replayer.mocks.likeness import Likeness, translated
from wiretape.replayer.mocks.names import call_text, normal_name
from wiretape.replayer.mocks.order import out_of_order
from wiretape.replayer.values import Correlation, Judgement

_MAX_KEYS, _MAX_KEYED_BYTES = 2048, 4096
# To how many calls that came already one that comes again is compared.
_MOST_REPEATED = 20


@dataclass(slots=True)
class _Asked:
    """A live call: `cause` is the exchange that made the build issue it, None for not known;
    `places` are those that it could be; `key` has recorded values in the place of live ones."""

    name: str
    request: HttpRequest
    at_ns: int
    cause: int | None
    places: tuple[int, ...]
    place: int
    key: bytes


class Mocks:
    """All recorded upstream calls of one run, and what was made of them."""

    def __init__(
        self,
        calls: Calls,
        correlation: Correlation,
        in_flight: InFlight,
        answers: Answers,
        inbound: Sequence[Exchange] = (),
        keeps_all: bool = False,
    ) -> None:
        """`inbound`: the exchanges of the service, in the order of their positions. `keeps_all`:
        every call is remembered for `timeline`."""
        self._calls = calls
        self._beats = Beats(calls)
        self._inbound = inbound
        self._correlation = correlation
        self._likeness = Likeness(correlation, calls.rules)
        self._in_flight = in_flight
        self._answers = answers
        self._misses: list[Miss] = []
        self._moved: dict[tuple[str, str], MovedCall] = {}
        self._moved_keys: dict[tuple[str, bytes], int] = {}
        self._came: set[bytes] = set()
        self._came_as: dict[int, int] = {}
        self._kinds: list[bytes] = []
        self._keys: dict[bytes, bytes] = {}
        self._made: list[MadeCall] | None = [] if keeps_all else None
        self.accepted = AcceptedValues()
        """What was accepted as generated in calls of exchanges."""
        self.is_over = False
        """The build is being ended: what it leaves half asked is our doing."""
        self.answered = 0
        self.answered_outside = 0
        """Of those, calls of no exchange; how many there are is chance."""
        # The names under which the build can reach its upstreams: all, until it is known better.
        self.reachable = frozenset(calls.names)

    def answer(self, name: str, request: HttpRequest, at_ns: int) -> Answer:
        """The answer to a call that came at `at_ns`: a recorded one, or that of a miss."""
        cause = self._in_flight.cause_of(request)
        place = cause if cause is not None else self._in_flight.latest
        if not request.content.complete:
            reason = f"the request ended after {len(request.content.data)} bytes of content"
            self._note(Miss(name, None, place, at_ns, f"{call_text(request)}: {reason}"))
            return Answer(b"", True)
        name = self._meant(name, request)
        places = (cause,) if cause is not None else tuple(self._in_flight.places)
        key = self._key_of(name, request)
        asked = _Asked(name, request, at_ns, cause, places, place, key)
        call = self._find(asked)
        if isinstance(call, str):
            return self._miss(asked, call)
        self.answered += 1
        self.answered_outside += not call.caused.by
        self._came.add(call.key)
        self._came_as[call.number] = self.answered
        answer = self._answers.recorded(call, request, at_ns)
        if self._made is not None:
            self._made.append(made(call, asked.place, answer.wait_ns or 1, at_ns))
        return answer

    def _key_of(self, name: str, request: HttpRequest) -> bytes:
        """The key with recorded values in the place of live ones; as long as none is known, the
        same request has the same key."""
        known = self._calls.named(name)
        upstream, rules = known[0].names[0] if known else name, self._calls.rules
        if self._correlation.live_of:
            return key_of(translated(request, self._correlation), upstream, rules)
        if len(request.content.data) > _MAX_KEYED_BYTES:
            return key_of(request, upstream, rules)
        written = upstream.encode() + request.SerializeToString()
        key = self._keys.get(written)
        if key is None:
            key = self._keys[written] = key_of(request, upstream, rules)
            if len(self._keys) > _MAX_KEYS:
                del self._keys[next(iter(self._keys))]
        return key

    def refuse(self, name: str, reason: str) -> None:
        """Something came that is no HTTP request."""
        self._note(Miss(name, None, self._in_flight.latest, 0, reason))

    def _note(self, miss: Miss) -> None:
        if miss.request is not None or not self.is_over:
            self._misses.append(miss)

    def _meant(self, name: str, request: HttpRequest) -> str:
        """The upstream: a listener for an address may stand for several names, one without a name
        for all."""
        authority = normal_name(request.authority.decode("latin-1"), request.scheme)
        if authority == name:
            return name
        named = self._calls.named(authority)
        if named and (not name or name in named[0].names):
            return authority
        return name or self._calls.only_name or authority

    # -- which recorded call

    def _find(self, asked: _Asked) -> Call | str:
        """The recorded call, or why there is none; "" for no reason of its own."""
        own = self._own(asked)
        found = self._equal_one([call for call in own if call.key == asked.key], asked)
        if found:
            return found
        late = list(self._calls.late(asked.name, self._in_flight.begun))
        if exact := [call for call in late if call.key == asked.key]:
            exact[0].used = True
            return exact[0]
        if call := self._free(asked):
            return call
        for pool in (own, late, self._outside(asked)):
            found = self._renamed(pool, asked)
            if found:
                return found
        return ""

    def _own(self, asked: _Asked) -> list[Call]:
        """Unused calls of the exchanges that could be the cause, in recorded order."""
        found = {
            call.number: call
            for place in asked.places
            for call in self._calls.of(place)
            if not call.used and asked.name in call.names
        }
        return [found[number] for number in sorted(found)]

    def _equal_one(self, calls: Sequence[Call], asked: _Asked) -> Call | str:
        if not calls:
            return ""
        if asked.cause is None and not same_answer(calls):
            return "several exchanges in flight recorded it, with different answers"
        calls[0].used = True
        return calls[0]

    def _free(self, asked: _Asked) -> Call | None:
        """A call that needs no cause: one recorded outside of any, or a constant one."""
        equal = self._calls.equal(asked.name, asked.request, asked.key)
        if not equal:
            return None
        outside = [call for call in equal if not call.caused.by]
        if outside:
            return self._as_of_now(outside)
        if not is_safe(asked.request.method) or not self._calls.is_constant(equal):
            return None
        if any(asked.place in call.caused.by for call in equal):
            return None  # that exchange has made as many as it did when recorded
        call = equal[0]
        text = call_text(call.request)
        moved = MovedCall(asked.name, text, call.place, asked.place)
        self._moved.setdefault((asked.name, text), moved)
        at = (asked.name, call.key)
        self._moved_keys[at] = self._moved_keys.get(at, 0) + 1
        return call

    def _as_of_now(self, calls: Sequence[Call]) -> Call:
        """The next one that was recorded by the time of the exchange in flight; else the last."""
        past = [call for call in calls if call.caused.after <= self._in_flight.begun]
        if not past:
            return calls[0]
        found = next((call for call in past if not call.used), past[-1])
        found.used = True
        return found

    def _outside(self, asked: _Asked) -> Iterator[Call]:
        """They may come any number of times, so the last of those that came may come again."""
        calls = self._calls.outside(asked.name, asked.request)
        yield from (call for call in calls if not call.used)
        came = (call for call in reversed(calls) if call.used)
        yield from islice(came, _MOST_REPEATED)

    def _renamed(self, calls: Iterable[Call], asked: _Asked) -> Call | str:
        """The one that is equal under a renaming that breaks no pair known before."""
        wanted = shape_of(asked.request)
        found: list[tuple[Call, Judgement]] = []
        for call in calls:
            if shape_of(call.request) != wanted:
                continue
            judgement = self._likeness.judge(call, asked.at_ns)
            differences = compare_requests(call.request, asked.request, judgement)
            if self._beats.go_on(call, asked.request, differences):
                found.append((call, judgement))
                if asked.cause is not None or call.used or call.caused.timed:
                    break  # in the order of one exchange, or of a timer, the first is meant
        if not found:
            return ""
        if not same_answer([call for call, _ in found]):
            return "several recorded calls could be meant, with different answers"
        call, judgement = found[0]
        judgement.commit()
        if call.caused.by:
            self.accepted.add(asked.place, acceptances(judgement))
        self._beats.came(call, asked.request)
        call.used = True
        return call

    # -- calls that are not as recorded

    def _miss(self, asked: _Asked, reason: str) -> Answer:
        name, request = asked.name, asked.request
        if asked.cause is None:
            asked.place = self._likely_place(asked)
        miss = Miss(name, request, asked.place, asked.at_ns, reason)
        calls = self._calls.named(name)
        miss.nearest, miss.differences = self._likeness.nearest(
            request, asked.at_ns, calls, asked.place
        )
        if miss.nearest is None and calls:
            miss.reason = f"what was recorded of {name} is not fit: {calls[0].fault}"
        elif miss.nearest is None:
            miss.reason = f"nothing asked of {name} was recorded"
        elif not miss.reason and miss.differences:
            miss.reason = "no recorded call is equal"
        elif not miss.reason:
            miss.reason = self._how_often(asked, calls)
        self._note(miss)
        return miss_answer(miss, request)

    def _likely_place(self, asked: _Asked) -> int:
        """Of several in flight, the one that is still to make such a call, if it is one."""
        wanted = shape_of(asked.request)
        places = {
            place
            for place in asked.places
            for call in self._calls.of(place)
            if not call.used and asked.name in call.names and shape_of(call.request) == wanted
        }
        return places.pop() if len(places) == 1 else asked.place

    def _how_often(self, asked: _Asked, calls: Sequence[Call]) -> str:
        equal = [
            call
            for call in self._likeness.ranked(asked.request, calls, asked.place)
            if not self._likeness.differ(call, asked.request, asked.at_ns)
        ]
        here = [call for call in equal if asked.place in call.caused.by]
        times = len(here or equal)
        where = "" if here or not equal else ", in other exchanges"
        return f"it was recorded {times} time{'s' if times > 1 else ''}, not more often{where}"

    # -- the end of a run

    @property
    def names(self) -> list[str]:
        """Every upstream that was recorded, under every name that it has."""
        return self._calls.names

    def is_https(self, name: str) -> bool:
        """Whether this upstream was asked by TLS."""
        calls = self._calls.named(name)
        return calls[0].request.scheme == "https" if calls else name.endswith(":443")

    @property
    def moved(self) -> list[MovedCall]:
        """Calls that were answered in another exchange than they were recorded in."""
        return sorted(self._moved.values())

    def timeline(self, places: Iterable[int]) -> Iterator[MadeCall]:
        """Every call that was made, and those of `places` that were not though recorded."""
        yield from self._made or ()
        for miss in self._misses:
            state = "let out" if miss.passed_on else "unanswered"
            yield MadeCall("", miss.name, miss.text, miss.place, state, live_at_ns=miss.at_ns)
        for call in self.missing(places):
            yield made(call, call.place)

    @property
    def passed_on(self) -> list[Miss]:
        """Calls that the upstream itself answered."""
        return [miss for miss in self._misses if miss.passed_on]

    def unfit(self, places: Iterable[int]) -> list[tuple[Call, str]]:
        """Calls that the recording holds too little of, with the reason: those that belong to some
        of `places`, or may do so, and those that the build has asked for."""
        wanted = set(places)
        asked = {(miss.name, *shape_of(miss.request)) for miss in self._misses if miss.request}

        def counts(call: Call) -> bool:
            looks = ((name, *shape_of(call.request)) for name in call.names)
            return not (wanted.isdisjoint(call.may_be_of()) and asked.isdisjoint(looks))

        torn = ((call, call.fault) for call in self._calls.all if call.fault is not None)
        return [(call, fault) for call, fault in torn if counts(call)]

    def waiting(self, place: int) -> list[Call]:
        """Calls that belong to the exchange at `place` alone, and may still come."""
        return [
            call
            for call in self._calls.of(place)
            if not call.used and len(call.caused.by) == 1 and not self._is_unreachable(call)
        ]

    def clash(self, one: int, other: int) -> bool:
        """Whether calls of these two exchanges could be taken for each other, though answered
        differently: then only one exchange may be in flight."""
        looks: dict[tuple[str, str, str], list[Call]] = {}
        for call in self._calls.of(one):
            if not call.caused.traced:
                looks.setdefault((call.names[0], *shape_of(call.request)), []).append(call)
        return any(
            not same_answer([call, *alike])
            for call in self._calls.of(other)
            if not call.caused.traced
            if (alike := looks.get((call.names[0], *shape_of(call.request))))
        )

    def _is_unreachable(self, call: Call) -> bool:
        return self.reachable.isdisjoint(call.names)

    def missing(self, places: Iterable[int]) -> list[Call]:
        """Calls that belong to some of `places` and have not come, though they had to."""
        wanted = set(places)
        left = [
            call
            for call in self._calls.all
            if not call.used and call.fault is None and call.caused.by
            if wanted.issuperset(call.caused.by)
        ]
        moved = dict(self._moved_keys)
        return [call for call in left if not self._is_made_up_for(call, moved)]

    def _is_made_up_for(self, call: Call, moved: dict[tuple[str, bytes], int]) -> bool:
        """Whether a call in another exchange stands for it: it was moved, or is cached."""
        request = call.request
        if not is_safe(request.method) or call.key not in self._came:
            return False
        for name in call.names:
            if moved.get((name, call.key)):
                moved[name, call.key] -= 1
                return True
        equal = self._calls.equal(call.names[0], request, call.key)
        return self._calls.is_constant(equal) and self._is_cached(call, equal)

    def _is_cached(self, call: Call, equal: Sequence[Call]) -> bool:
        """The recording itself shows that the service does not make it each time: it answered the
        same request without it, after it had made it."""
        if not self._kinds:
            self._kinds = [kind_of(exchange.http.request) for exchange in self._inbound]
        made_by = {place for other in equal for place in other.caused.by}
        kind = self._kinds[call.place]
        first = min(made_by)
        return any(
            other == kind and place not in made_by
            for place, other in enumerate(self._kinds[first:], first)
        )

    def findings(self, places: Iterable[int]) -> list[UpstreamFinding]:
        """What was not as recorded, `places` being those that were driven to their end.

        A call that was made differently is one finding, not a missing one and an extra one.
        """
        places = list(places)
        left = self.missing(places)
        found = list(
            out_of_order(self._calls.all, places, lambda c: self._came_as.get(c.number, 0))
        )
        for miss in self._misses:
            if miss.passed_on:
                continue
            pair = self._changed(miss, left)
            if pair is None:
                found.append(extra(miss))
                continue
            call, differences = pair
            left.remove(call)
            found.append(changed(miss, call, differences))
        found += [missing(call, self._is_unreachable(call)) for call in left]
        return sorted(found, key=lambda finding: finding.place)

    def _changed(self, miss: Miss, left: list[Call]) -> tuple[Call, list[Difference]] | None:
        request = miss.request
        if request is None:
            return None
        here = [
            call
            for call in left
            if miss.place in call.caused.by
            and miss.name in call.names
            and call.request.method == request.method
        ]
        call, differences = self._likeness.nearest(request, miss.at_ns, here, miss.place)
        if call is None or any(difference.kind == "path" for difference in differences):
            return None
        return call, differences
