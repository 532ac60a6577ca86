"""The recording as a run sees it: what was asked of the service, and what it asked of others."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from wiretape.exchange.endpoints import ServiceEndpoint
from wiretape.exchange.recording import RecordingError, RecordingReader, read_recording
from wiretape.exchange.recording.shelf import Shelf, ShelfView
from wiretape.exchange.records import EXCHANGES
from wiretape.exchange.v1.exchange_pb2 import (
    ROLE_INBOUND,
    ROLE_OUTBOUND,
    ROLE_UNSPECIFIED,
    ConnectionEnd,
    Exchange,
)
from wiretape.replayer.errors import UnfitRecordingError, UsageError
from wiretape.replayer.sessions import Address, Party, assign_roles, began_ns, party_of


@dataclass(frozen=True, slots=True)
class Traffic:
    """The recorded exchanges by role, each in the order in which they began; how connections
    ended, by id, where that is an answer of its own; where whole messages may be missing; the
    endpoints that are the service; connections on which it sent what belongs to no message."""

    inbound: Sequence[Exchange]
    outbound: Sequence[Exchange]
    unrelated: int
    ends: Mapping[str, ConnectionEnd]
    holes: Sequence[Hole] = ()
    services: frozenset[Address] = frozenset()
    overlong: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Hole:
    """Bytes of a connection that were sent between messages and never seen: no exchange shows what
    they held. `known` is one that the connection did carry, None where all of it is gone."""

    length: int
    role: int
    known: Exchange | None


class Recorded:
    """A recording that was read once, and is read again piece by piece: no exchange is kept."""

    def __init__(self, reader: RecordingReader) -> None:
        self._shelf = Shelf(reader)
        self._begins_ns = array("Q")
        self._parties: dict[Party, int] = {}
        self._party_of = array("I")
        unanswered: set[str] = set()
        for location, encoded in reader.located(EXCHANGES):
            exchange = Exchange.FromString(encoded)
            http = exchange.http
            self._shelf.put(location)
            self._begins_ns.append(began_ns(exchange))
            party = party_of(exchange)
            self._party_of.append(self._parties.setdefault(party, len(self._parties)))
            if not http.HasField("response") or not http.response.content.complete:
                unanswered.add(exchange.connection.id)
        self.truncated = reader.truncated
        self._ends: dict[str, ConnectionEnd] = {}
        self._lost: dict[str, int] = {}
        overlong: set[str] = set()
        for end in reader.connection_ends():
            if end.id in unanswered or end.client_closed_at_ns:
                self._ends[end.id] = end
            if lost := _lost(end):
                self._lost[end.id] = lost
            if end.server.undecoded_bytes:
                overlong.add(end.id)
        self._overlong = frozenset(overlong)

    def traffic(self, service: ServiceEndpoint | None) -> Traffic:
        """Sorted by role; UsageError where which endpoint is the service is not certain."""
        roles = list(assign_roles(self._parties, service).values())
        by_role = {
            role: [number for number, party in enumerate(self._party_of) if roles[party] == role]
            for role in (ROLE_INBOUND, ROLE_OUTBOUND)
        }
        inbound, outbound = (ShelfView(self._shelf, self._in_order(n)) for n in by_role.values())
        unrelated = len(self._shelf) - len(inbound) - len(outbound)
        services = frozenset(
            party.server
            for party, role in zip(self._parties, roles, strict=True)
            if role == ROLE_INBOUND
        )
        holes = self._holes(roles)
        return Traffic(inbound, outbound, unrelated, self._ends, holes, services, self._overlong)

    def _holes(self, roles: Sequence[int]) -> list[Hole]:
        """Of connections that are unrelated there are none; one that shows nothing may be any."""
        if not self._lost:
            return []
        carried: dict[str, tuple[int, Exchange]] = {}
        for exchange, party in zip(
            map(self._shelf.get, range(len(self._shelf))), self._party_of, strict=True
        ):
            if exchange.connection.id in self._lost:
                carried.setdefault(exchange.connection.id, (roles[party], exchange))
        return [
            Hole(length, *carried.get(name, (ROLE_UNSPECIFIED, None)))
            for name, length in self._lost.items()
            if name not in carried or carried[name][0] != ROLE_UNSPECIFIED
        ]

    def _in_order(self, numbers: list[int]) -> list[int]:
        """By when the request began, then by id."""
        begins_ns = self._begins_ns
        ordered: list[int] = []
        for _, group in groupby(sorted(numbers, key=begins_ns.__getitem__), begins_ns.__getitem__):
            alike = list(group)
            if len(alike) > 1:
                alike.sort(key=lambda number: self._shelf.get(number).id)
            ordered += alike
        return ordered


def _lost(end: ConnectionEnd) -> int:
    """How many bytes between messages are missing. What follows an upgrade is no message; of a
    connection that carried none, only one without a single byte may have been to carry them."""
    halves = (end.client, end.server)
    if not any(half.message_bytes for half in halves) and any(h.undecoded_bytes for h in halves):
        return 0
    return sum(h.gap_bytes_outside_messages for h in halves if h.undecoded_reason != "upgraded")


def open_recording(path: Path) -> Recorded:
    """Raises UsageError where there is none, UnfitRecordingError where it cannot be read."""
    if not path.exists():
        raise UsageError(f"{path}: no such file or directory")
    try:
        return Recorded(read_recording(path))
    except RecordingError as error:
        raise UnfitRecordingError(str(error)) from error
