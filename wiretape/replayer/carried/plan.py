"""Reads a recording through, and finds which value each message carries on from which place.

Once to gather what is carried at all, then in the order of time. A value belongs to who sent it
first: what a client, or an upstream, brought in by itself is never renamed.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import NamedTuple, TypeVar, cast

from wiretape.exchange.v1.exchange_pb2 import Exchange, HttpRequest
from wiretape.replayer.carried.candidates import (
    Candidate,
    Message,
    Scope,
    candidates,
    path_of,
)
from wiretape.replayer.carried.expiry import Token
from wiretape.replayer.carried.families import is_stored
from wiretape.replayer.carried.owners import Sessions
from wiretape.replayer.carried.places import Place
from wiretape.replayer.carried.produced import produced
from wiretape.replayer.carried.rewriting import Parts, Use
from wiretape.replayer.carried.unknown import Unknown, named, note_tokens, tells
from wiretape.replayer.carried.wanted import Wanted
from wiretape.replayer.sessions import server_of, spell

# Values that are remembered at a time, and that are looked for at a time: those that nobody has
# used for longest are forgotten, and requests further on than that are not looked ahead to.
MOST_VALUES = 500_000
# How many candidates are kept from when they are looked ahead to until they are taken.
_MOST_FOUND = 65_536
_MOST_PLACES = 4

# What follows at one instant: a response before the request that comes after it.
_INBOUND, _CALL, _ANSWER, _RESPONSE = range(4)
_CARRYING = (_INBOUND, _ANSWER)

# A value that was brought in by who sends it, and one that was left with the service that way.
_BROUGHT, _LEFT = -1, -2


class Made(NamedTuple):
    """Where a message made a value: `event` is a position, or -1 - the number of a call."""

    event: int
    places: tuple[Place, ...]


Found = list[tuple[int, tuple[Candidate, ...]]]
"""The candidates of one message, by part."""

Makes = tuple[tuple[int, tuple[Place, ...]], ...]
"""The slots that one message fills, with their places."""

Shared = TypeVar("Shared", Parts, Makes)


@dataclass(slots=True)
class Plan:
    """What each message carries and fills; messages that do the same share one tuple.

    `needs` holds, for the request at each position, the events that fill what it carries; those of
    position n begin at `needs_from[n]`.
    """

    sent: list[Parts]
    answered: list[Parts]
    made: list[Makes]
    called: list[Makes]
    unknown: list[tuple[Unknown, ...]]
    values: list[str] = field(default_factory=list)
    needs: array[int] = field(default_factory=lambda: array("q"))
    needs_from: array[int] = field(default_factory=lambda: array("q"))
    needs_to: array[int] = field(default_factory=lambda: array("q"))
    tokens: dict[str, Token] = field(default_factory=dict)
    sessions: array[int] = field(default_factory=lambda: array("q"))
    call_places: Sequence[int] = ()
    forgotten: int = 0


def read_through(
    inbound: Sequence[Exchange], calls: Sequence[Exchange], places: Sequence[int]
) -> Plan:
    """The plan of a recording: `inbound` by position, `calls` with the position each belongs to."""
    return _Reading(inbound, calls, places).plan


class _Taken:
    """Spans that do not meet, in order."""

    __slots__ = ("_spans",)

    def __init__(self) -> None:
        self._spans: list[tuple[int, int]] = []

    def meets(self, start: int, end: int) -> bool:
        """Whether one of them has a place in common with that span."""
        spans = self._spans
        if not spans:
            return False
        before = bisect_left(spans, (end, 0))
        return before > 0 and spans[before - 1][1] > start

    def add(self, start: int, end: int) -> None:
        insort(self._spans, (start, end))


class _Reading:
    def __init__(
        self, inbound: Sequence[Exchange], calls: Sequence[Exchange], places: Sequence[int]
    ) -> None:
        self._inbound, self._calls = inbound, calls
        self._wanted = Wanted()
        self._table: dict[str, int | Made] = {}
        self._shared: dict[object, object] = {}
        # The event that filled a slot last.
        self._filled_by: list[int] = []
        count = len(inbound)
        self.plan = Plan(
            [()] * count, [()] * len(calls), [()] * count, [()] * len(calls), [()] * count,
            needs_from=array("q", bytes(8 * count)), needs_to=array("q", bytes(8 * count)),
            call_places=places,
        )  # fmt: skip
        kinds, numbers = self._in_time(places)
        # What was found further on, for when it is taken.
        self._found: dict[tuple[int, int], tuple[Found, int]] = {}
        self._room = _MOST_FOUND
        ahead, end = 0, len(kinds)
        for now, (kind, number) in enumerate(zip(kinds, numbers, strict=True)):
            while ahead < end and len(self._wanted) < MOST_VALUES:
                if kinds[ahead] in _CARRYING:
                    self._gather(kinds[ahead], numbers[ahead])
                ahead += 1
            ahead = max(ahead, now + 1)
            self._take(kind, number)

    def _scope(self, position: int, request: HttpRequest) -> Scope:
        return Scope(f"{self.plan.sessions[position]} ", "", path_of(request.target))

    def _find(self, kind: int, number: int) -> Found:
        """What may have been carried by a request or by an upstream's answer."""
        if kind == _INBOUND:
            request = self._inbound[number].http.request
            return candidates(request, self._scope(number, request))
        call = self._calls[number]
        if not call.http.HasField("response"):
            return []
        return candidates(call.http.response, _scope_of_call(call))

    def _gather(self, kind: int, number: int) -> None:
        """What a message further on carries."""
        found = self._find(kind, number)
        needed = 1
        for _, part in found:
            needed += self._gather_keys(part)
        if needed <= self._room:
            self._room -= needed
            self._found[kind, number] = found, needed

    def _gather_keys(self, found: Sequence[Candidate]) -> int:
        """How many candidates there are."""
        count = len(found)
        for candidate in found:
            self._wanted.add(candidate.keys)
            if candidate.inner:
                count += self._gather_keys(candidate.inner)
        return count

    def _in_time(self, places: Sequence[int]) -> tuple[array[int], array[int]]:
        """Kind and number of every message, in the order in which a client could know of them."""
        times, order, kinds, numbers = array("q"), array("q"), array("b"), array("q")

        def note(exchange: Exchange, place: int, number: int, of_both: tuple[int, int]) -> None:
            http = exchange.http
            begun = http.request.first_byte_at_ns
            answered = http.response.first_byte_at_ns
            times.extend((begun, answered if answered > begun else begun))
            order.extend((place, place))
            kinds.extend(of_both)
            numbers.extend((number, number))

        sessions = Sessions()
        for position, exchange in enumerate(self._inbound):
            self.plan.sessions.append(sessions.of(exchange))
            note(exchange, position, position, (_INBOUND, _RESPONSE))
        for number, call in enumerate(self._calls):
            note(call, places[number], number, (_CALL, _ANSWER))
        rows = list(range(len(times)))
        # Sorts are stable, and find what is nearly in order; the least significant comes first.
        for column in (numbers, kinds, order, times):
            rows.sort(key=column.__getitem__)
        return (
            array("b", map(kinds.__getitem__, rows)),
            array("q", map(numbers.__getitem__, rows)),
        )

    def _take(self, kind: int, number: int) -> None:
        plan = self.plan
        if kind == _INBOUND:
            self._take_request(number)
        elif kind == _RESPONSE:
            http = self._inbound[number].http
            if http.HasField("response"):
                scope = self._scope(number, http.request)
                plan.made[number] = self._make(http.response, scope, number)
        elif kind == _CALL:
            call = self._calls[number]
            plan.called[number] = self._make(call.http.request, _scope_of_call(call), -1 - number)
        elif found := self._found_in(kind, number):
            plan.answered[number], _, _ = self._uses(found, _BROUGHT)

    def _found_in(self, kind: int, number: int) -> Found:
        if (known := self._found.pop((kind, number), None)) is None:
            return self._find(kind, number)
        found, needed = known
        self._room += needed
        return found

    def _take_request(self, position: int) -> None:
        plan = self.plan
        plan.needs_from[position] = plan.needs_to[position] = len(plan.needs)
        found = self._found_in(_INBOUND, position)
        if not found:
            return
        http = self._inbound[position].http
        request, status, method = http.request, http.response.status, http.request.method
        leaves = method in ("POST", "PUT", "PATCH") and 200 <= status < 300
        parts, slots, unknown = self._uses(found, _LEFT if leaves else _BROUGHT)
        plan.sent[position] = parts
        if slots:
            plan.needs.extend(sorted({self._filled_by[slot] for slot in slots}))
            plan.needs_to[position] = len(plan.needs)
        told = [(part, c) for part, c in unknown if tells(request, part, c)]
        if not told:
            return
        note_tokens(plan.tokens, position, request, told)
        if 200 <= status < 400 and not (method == "PUT" and status == 201):
            plan.unknown[position] = tuple(named(request, part, c) for part, c in told[:2])

    def _uses(
        self, found: Found, brought: int
    ) -> tuple[Parts, list[int], list[tuple[int, Candidate]]]:
        """What a message carries, the slots of that, and what it names that nothing created."""
        parts: list[tuple[int, tuple[Use, ...]]] = []
        slots: list[int] = []
        unknown: list[tuple[int, Candidate]] = []
        for part, candidates_there in found:
            missing: list[Candidate] = []
            if uses := self._resolve(candidates_there, brought, slots, missing):
                parts.append((part, uses))
            unknown += [(part, candidate) for candidate in missing]
        return self._share(tuple(parts)) if parts else (), slots, unknown

    def _resolve(
        self, found: Iterable[Candidate], brought: int, slots: list[int], missing: list[Candidate]
    ) -> tuple[Use, ...]:
        uses: list[Use] = []
        unmade: list[Candidate] = []
        taken = _Taken()
        for candidate in found:
            start, end, keys, codings, text, within = candidate
            if uses and taken.meets(start, end):
                continue
            if within:
                inner = self._resolve(within, brought, slots, missing)
                if inner:
                    uses.append(Use(start, end, -1, codings, text, inner))
                    taken.add(start, end)
                continue
            slot = self._slot(keys)
            if slot is not None:
                slots.append(slot)
                uses.append(Use(start, end, slot, codings, text))
                taken.add(start, end)
                continue
            fresh = [key for key in keys if self._table.get(key) != _LEFT]
            if len(fresh) == len(keys):
                unmade.append(candidate)
            for key in fresh:
                self._remember(key, brought)
            self._wanted.settle(fresh)
        # Of what lies within each other the whole is named, unless a part of it was made.
        for candidate in unmade:
            if not taken.meets(candidate.start, candidate.end):
                taken.add(candidate.start, candidate.end)
                missing.append(candidate)
        uses.sort()
        return tuple(uses)

    def _slot(self, keys: tuple[str, ...]) -> int | None:
        """The slot of the first key that some message made; None where the value was brought."""
        for key in keys:
            known = self._table.pop(key, None)
            if known is None:
                continue
            if isinstance(known, Made):
                known = self._open(key, known)
            # What is used again is remembered longest.
            self._table[key] = known
            return known if known >= 0 else None
        return None

    def _open(self, key: str, made: Made) -> int:
        """A slot for a value that turned out to be carried."""
        slot = len(self.plan.values)
        self.plan.values.append(key)
        self._filled_by.append(made.event)
        self._fill(slot, made)
        return slot

    def _fill(self, slot: int, made: Made) -> None:
        self._filled_by[slot] = made.event
        place = made.event if made.event >= 0 else -1 - made.event
        filled = self.plan.made if made.event >= 0 else self.plan.called
        filled[place] = self._share((*filled[place], (slot, made.places)))

    def _make(self, message: Message, scope: Scope, event: int) -> Makes:
        found: dict[str, list[Place]] = {}
        for key, place in produced(message, scope, self._wanted):
            if key not in self._wanted:
                continue
            places = found.setdefault(key, [])
            if len(places) < _MOST_PLACES and place not in places:
                places.append(place)
        makes: list[tuple[int, tuple[Place, ...]]] = []
        for key, places in found.items():
            known = self._table.get(key)
            made = Made(event, tuple(places))
            if known is None or (is_stored(key) and not (isinstance(known, int) and known >= 0)):
                self._remember(key, made)
                self._wanted.settle((key,))
            elif isinstance(known, int) and is_stored(key):
                self._filled_by[known] = event
                makes.append((known, made.places))
        return self._share(tuple(makes)) if makes else ()

    def _remember(self, key: str, what: int | Made) -> None:
        table = self._table
        table[key] = what
        if len(table) > MOST_VALUES:
            half = len(table) // 2
            self.plan.forgotten += half
            self._table = dict(islice(table.items(), half, None))

    def _share(self, parts: Shared) -> Shared:
        if len(self._shared) > MOST_VALUES:
            self._shared.clear()
        return cast(Shared, self._shared.setdefault(parts, parts))


# An upstream is spelled for each of its messages.
_spell = lru_cache(256)(spell)


def _scope_of_call(call: Exchange) -> Scope:
    upstream = _spell(server_of(call))
    return Scope(f"{upstream} ", upstream, path_of(call.http.request.target))
