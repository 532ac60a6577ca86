"""What the whole recording tells about its values before a run begins.

*First appearances.* Where a random token or an identifying number came first tells who chose it: a
client and an upstream send again in a run what they sent then, so the build must hand it on as it
is. What the build chose is new in the exchange where it came first, and only there.

*Counters.* A number is one where its name or its place in a path says that it identifies something
(`names.py`), and where the recording proves that the build counts with it: it strictly increased
over three exchanges of that endpoint, or a 201, a Location or a later path carried it. What merely
increases, such as a price, a count or a balance, is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from operator import le
from typing import NamedTuple, Self

from wiretape.exchange.v1.exchange_pb2 import Exchange, HttpRequest, HttpResponse
from wiretape.replayer.values.firsts import Firsts, Origin
from wiretape.replayer.values.identifiers import numbers_in_path, plain, read_content
from wiretape.replayer.values.lengths import tells_length
from wiretape.replayer.values.names import (
    collections_of,
    entities_of,
    is_identifier,
    member_of,
    singular,
)
from wiretape.replayer.values.place import Place, endpoint_of
from wiretape.replayer.values.tokens import tokens_in

# A number in an identifying member, with what may stand before it.
_NUMBER = re.compile(r"(?:([A-Za-z]{1,16})[-_]?)?([0-9]{1,20})")
_ENOUGH_EXCHANGES = 3
# Fewer may come by chance where one entity has two names.
_LEAST_SHARED = 2
_UNLIKELY = 100


class _Line(NamedTuple):
    """A field whose value counts, by its name in lower case."""

    name: str
    is_coding: bool


@lru_cache(4096)
def _line(name: bytes) -> _Line | None:
    """None for a field that has neither a location, nor a number of something, nor a coding."""
    lower = name.decode("latin-1").lower()
    is_coding = lower == "content-encoding"
    if not (is_coding or lower == "location" or is_identifier(lower)):
        return None
    return _Line(lower, is_coding)


class First(NamedTuple):
    """Where a number came first: in the exchange that began then, and who chose it.

    `ended_ns` is when that exchange had ended, `place` where in it the value stood.
    """

    at_ns: int
    origin: Origin
    ended_ns: int = 0
    place: Place | None = None


Spot = tuple[str, str, str]
"""Method and path, side, and the last name of a place: what is told apart where counters come."""


def spot_of(place: Place) -> Spot:
    return " ".join(place.endpoint.split(" ")[-2:]), place.side, member_of(place.name)


@dataclass(slots=True)
class Rise:
    """How the new numbers at one spot went on from exchange to exchange."""

    last: int = -1
    exchanges: int = 0
    fell: bool = False
    repeated: bool = False
    created: bool = False


@dataclass(slots=True)
class Family:
    """The numbers of one entity, and the spots where the build is known to count with them.

    `carried` are the spots of numbers that a Location or a later path carried.
    """

    name: str
    values: dict[int, First] = field(default_factory=dict)
    producers: set[Spot] = field(default_factory=set)
    ordered: list[int] = field(default_factory=list)
    rising: bool = False
    rises: dict[Spot, Rise] = field(default_factory=dict)
    carried: set[Spot] = field(default_factory=set)
    named_by_path: bool = False

    def proves(self, first: First) -> bool:
        """Whether the build is known to count where this number came first."""
        return first.place is not None and spot_of(first.place) in self.producers


class Evidence:
    """First appearances of tokens, and families of counters. Empty: nothing is known."""

    def __init__(self) -> None:
        self.tokens = Firsts()
        # Targets of which a response tells how long a content is without sending it.
        self.told: set[bytes] = set()
        self.families: dict[str, Family] = {}
        self._numbered: dict[str, list[str]] = {}

    @classmethod
    def of(cls, inbound: Sequence[Exchange], calls: Sequence[Exchange] = ()) -> Self:
        """Read the exchanges of a run, one by one: those to be driven, and the upstream calls."""
        found = cls()
        steps, made = _in_order(inbound), _in_order(calls)
        of_step: dict[int, list[int]] = {}
        for spell, position in zip(made, _positions(steps, made), strict=True):
            of_step.setdefault(position, []).append(spell.number)
        for number in of_step.get(-1, ()):
            call = calls[number]
            found._read_call(call, call.http.request.first_byte_at_ns)
        for position, step in enumerate(steps):
            own = [calls[number] for number in of_step.get(position, ())]
            found._read_inbound(inbound[step.number], own)
        found._conclude()
        return found

    def _read_inbound(self, exchange: Exchange, calls: Sequence[Exchange]) -> None:
        http = exchange.http
        at_ns, ended_ns = http.request.first_byte_at_ns, http.response.last_byte_at_ns
        endpoint = _endpoint(http.request)
        sent = First(at_ns, Origin.CLIENT, ended_ns)
        self._read_message(http.request, endpoint, "request", sent)
        before = [call for call in calls if call.http.request.first_byte_at_ns <= ended_ns]
        for call in before:
            self._read_call(call, at_ns)
        made = First(at_ns, Origin.RESPONSE, ended_ns)
        self._read_message(http.response, endpoint, "response", made)
        if tells_length(http.request, http.response):
            self.told.add(http.request.target)
        # Calls come in order, so the rest is what came later.
        for call in calls[len(before) :]:
            self._read_call(call, at_ns)

    def _read_call(self, call: Exchange, at_ns: int) -> None:
        http = call.http
        ended_ns = http.response.last_byte_at_ns
        host = http.request.authority.decode("latin-1").lower()
        endpoint = _endpoint(http.request, host)
        made = First(at_ns, Origin.CALL, ended_ns)
        self._read_message(http.request, endpoint, "request", made)
        answered = First(at_ns, Origin.UPSTREAM, ended_ns)
        self._read_message(http.response, endpoint, "response", answered)

    def _read_message(
        self, message: HttpRequest | HttpResponse, endpoint: str, side: str, first: First
    ) -> None:
        """Note the random tokens and the identifying numbers of a message."""
        target = message.target if isinstance(message, HttpRequest) else b""
        values = [target]
        named: list[tuple[_Line, bytes]] = []
        for field_line in message.fields:
            value = field_line.value
            values.append(value)
            if (line := _line(field_line.name)) is not None:
                named.append((line, value))
        content = message.content.data
        codings = [value for line, value in named if line.is_coding] if content else None
        if codings:
            content = plain(content, b", ".join(codings))
        tokens, identifiers = read_content(content)
        self.tokens.note(tokens | tokens_in(b"\n".join(values)), first.at_ns, first.origin)
        path, _, query = target.decode("latin-1").partition("?")
        for entity, number in numbers_in_path(path) if path else ():
            self._carried(entity, number, first, None)
        created = first.origin == Origin.RESPONSE and message.status == 201  # type: ignore[union-attr]
        notes = _Notes(self, endpoint, side, first, created)
        for part in query.split("&") if query else ():
            name, _, given = part.partition("=")
            notes.add("query", name, given)
        for line, value in named:
            if line.name == "location":
                place = Place(endpoint, side, "field", line.name)
                for entity, number in numbers_in_path(value.decode("latin-1")):
                    self._carried(entity, number, first, place)
            elif not line.is_coding:
                notes.add("field", line.name, value.decode("latin-1"))
        for name, inner in identifiers:
            notes.add("json", name, inner)
        notes.close()

    def _carried(self, entity: str, number: int, first: First, location: Place | None) -> None:
        """A path or a Location names this number: whoever chose it counts with it."""
        for key in (entity, *self._numbered.get(entity, ())):
            family = self.family(key)
            known = family.values.get(number)
            if known is not None:
                if known.place is not None:
                    family.carried.add(spot_of(known.place))
                return
        family = self.family(entity)
        family.values[number] = first._replace(place=location)
        family.named_by_path = True
        if location is not None:
            family.carried.add(spot_of(location))

    def family(self, key: str) -> Family:
        """The family of that name, made where there is none."""
        family = self.families.get(key)
        if family is None:
            family = self.families[key] = Family(key)
            entity, _, number = key.partition("#")
            if number:
                self._numbered.setdefault(entity, []).append(key)
        return family

    def families_of(self, entities: Iterable[str], numbered: bool) -> Iterator[Family]:
        """The families by these names; where `numbered`, also those that number these entities."""
        for entity in entities:
            for key in (entity, *(self._numbered.get(entity, ()) if numbered else ())):
                if (family := self.families.get(key)) is not None:
                    yield family

    def _conclude(self) -> None:
        for family in self.families.values():
            for spot, rise in family.rises.items():
                rose = rise.exchanges >= _ENOUGH_EXCHANGES and not rise.fell
                carried = spot in family.carried and not rise.repeated
                if rose or rise.created or carried:
                    family.producers.add(spot)
            family.producers |= family.carried - family.rises.keys()
        self._join()
        for family in self.families.values():
            family.ordered = sorted(family.values)
            begun = [family.values[number].at_ns for number in family.ordered]
            family.rising = all(map(le, begun, begun[1:]))
            family.rises.clear()

    def _join(self) -> None:
        """A path may call by another name what a response created: /orders/17 of a checkout."""
        joined: dict[str, Family] = {}
        for key, family in self.families.items():
            if family.producers or not family.values:
                continue
            if len(family.values) < _LEAST_SHARED and min(family.values) < _UNLIKELY:
                continue
            holders = [other for other in self.families.values() if _holds(other, family)]
            if len(holders) == 1:
                joined[key] = holders[0]
        for key, holder in joined.items():
            family = self.families[key]
            if family.named_by_path:
                found = (holder.values[number].place for number in family.values)
                holder.producers |= {spot_of(place) for place in found if place is not None}
            self.families[key] = holder


class _Notes:
    """The identifying numbers of one message, filed with their families."""

    def __init__(
        self, evidence: Evidence, endpoint: str, side: str, first: First, created: bool
    ) -> None:
        self._evidence = evidence
        self._endpoint = endpoint
        self._side = side
        self._first = first
        self._created = created
        self._new: dict[tuple[str, Spot], list[int]] = {}

    def add(self, part: str, name: str, value: int | str) -> None:
        match = _NUMBER.fullmatch(str(value))
        if match is None or not is_identifier(name):
            return
        keys = entities_of(self._endpoint, name)
        if match[1] and name.endswith(("ref", "reference", "key")):
            # "order-17" as a reference says itself what it refers to.
            keys = (singular(match[1].lower()), *keys)
        if not keys:
            return
        number = int(match[2])
        families = [self._evidence.family(key) for key in keys]
        if not self._created and any(number in other.values for other in families[1:]):
            return
        place = _place(self._endpoint, self._side, part, name)
        family, spot = families[0], spot_of(place)
        known = family.values.get(number)
        if known is None:
            family.values[number] = self._first._replace(place=place)
            self._new.setdefault((family.name, spot), []).append(number)
        elif known.at_ns != self._first.at_ns and spot in family.rises:
            family.rises[spot].fell = family.rises[spot].repeated = True

    def close(self) -> None:
        """All numbers of the message are known now."""
        if not self._new:
            return
        own = collections_of(self._endpoint)
        for (key, spot), numbers in self._new.items():
            rise = self._evidence.family(key).rises.setdefault(spot, Rise())
            # What was created is the endpoint's own entity, or the only one that is new.
            if self._created and (key.partition("#")[0] in own or len(self._new) == 1):
                rise.created = True
            if min(numbers) > rise.last:
                rise.exchanges += 1
            else:
                rise.fell = True
            rise.last = max(rise.last, *numbers)


def _holds(holder: Family, family: Family) -> bool:
    """Whether the build chose every number of `family` there, earlier or at once."""
    if holder is family:
        return False
    for number, first in family.values.items():
        known = holder.values.get(number)
        if known is None or known.at_ns > first.at_ns or known.origin < Origin.RESPONSE:
            return False
    return True


class _Spell(NamedTuple):
    """When an exchange took place, and which one of its sequence it is."""

    at_ns: int
    id: str
    ended_ns: int
    cause_id: str
    number: int


def _in_order(exchanges: Sequence[Exchange]) -> list[_Spell]:
    """Those of HTTP, by their begin."""
    return sorted(
        _Spell(
            each.http.request.first_byte_at_ns,
            each.id,
            each.http.response.last_byte_at_ns,
            each.cause_id,
            number,
        )
        for number, each in enumerate(exchanges)
        if each.HasField("http")
    )


def _positions(steps: Sequence[_Spell], calls: Iterable[_Spell]) -> Iterator[int]:
    """For each call the position of its cause; else of what began last before it, or -1."""
    position_of = {step.id: position for position, step in enumerate(steps)}
    lasting: list[int] = []
    begun = 0
    for call in calls:
        while begun < len(steps) and steps[begun].at_ns <= call.at_ns:
            lasting.append(begun)
            begun += 1
        lasting = [p for p in lasting if steps[p].ended_ns >= call.at_ns]
        yield position_of.get(call.cause_id, lasting[-1] if lasting else begun - 1)


@lru_cache(4096)
def _place(endpoint: str, side: str, part: str, name: str) -> Place:
    """One object for all numbers of a place."""
    return Place(endpoint, side, part, name)


def _endpoint(request: HttpRequest, upstream: str = "") -> str:
    path = request.target.decode("latin-1").partition("?")[0]
    return endpoint_of(request.method, path, upstream)
