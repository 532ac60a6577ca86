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
    ConnectionEnd,
    Exchange,
)
from wiretape.replayer.errors import UnfitRecordingError, UsageError
from wiretape.replayer.sessions import Party, assign_roles, party_of


@dataclass(frozen=True, slots=True)
class Traffic:
    """The recorded exchanges by role, each in the order in which they began; how connections
    ended, by id, where that is an answer of its own."""

    inbound: Sequence[Exchange]
    outbound: Sequence[Exchange]
    unrelated: int
    ends: Mapping[str, ConnectionEnd]


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
            self._begins_ns.append(http.request.first_byte_at_ns)
            party = party_of(exchange)
            self._party_of.append(self._parties.setdefault(party, len(self._parties)))
            if not http.HasField("response") or not http.response.content.complete:
                unanswered.add(exchange.connection.id)
        self.truncated = reader.truncated
        self._ends = {
            end.id: end for end in (reader.connection_ends() if unanswered else ())
            if end.id in unanswered
        }  # fmt: skip

    def traffic(self, service: ServiceEndpoint | None) -> Traffic:
        """Sorted by role; UsageError where which endpoint is the service is not certain."""
        roles = list(assign_roles(self._parties, service).values())
        by_role = {
            role: [number for number, party in enumerate(self._party_of) if roles[party] == role]
            for role in (ROLE_INBOUND, ROLE_OUTBOUND)
        }
        inbound, outbound = (ShelfView(self._shelf, self._in_order(n)) for n in by_role.values())
        unrelated = len(self._shelf) - len(inbound) - len(outbound)
        return Traffic(inbound, outbound, unrelated, self._ends)

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


def open_recording(path: Path) -> Recorded:
    """Raises UsageError where there is none, UnfitRecordingError where it cannot be read."""
    if not path.exists():
        raise UsageError(f"{path}: no such file or directory")
    try:
        return Recorded(read_recording(path))
    except RecordingError as error:
        raise UnfitRecordingError(str(error)) from error
