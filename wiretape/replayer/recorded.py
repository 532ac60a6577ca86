"""The recording as a run sees it: what was asked of the service, and what it asked of others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from wiretape.exchange.endpoints import ServiceEndpoint
from wiretape.exchange.recording import RecordingError, RecordingReader, read_recording
from wiretape.exchange.v1.exchange_pb2 import ConnectionEnd, Exchange
from wiretape.replayer.errors import UnfitRecordingError, UsageError
from wiretape.replayer.schedule import in_order
from wiretape.replayer.sessions import assign_roles


@dataclass(frozen=True, slots=True)
class Traffic:
    """The recorded exchanges by role, each in the order in which they began; how connections
    ended, by id."""

    inbound: Sequence[Exchange]
    outbound: Sequence[Exchange]
    unrelated: int
    ends: Mapping[str, ConnectionEnd]


class Recorded:
    """An open recording."""

    def __init__(self, reader: RecordingReader) -> None:
        self._exchanges = list(reader)
        self.truncated = reader.truncated
        self.ends = {end.id: end for end in reader.connection_ends()}

    def traffic(self, service: ServiceEndpoint | None) -> Traffic:
        """Sorted by role; UsageError where which endpoint is the service is not certain."""
        found = assign_roles(self._exchanges, service)
        inbound = sorted(found.inbound, key=in_order)
        outbound = sorted(found.outbound, key=in_order)
        return Traffic(inbound, outbound, found.unrelated, self.ends)


def open_recording(path: Path) -> AbstractContextManager[Recorded]:
    """Raises UsageError where there is none, UnfitRecordingError where it cannot be read."""
    if not path.exists():
        raise UsageError(f"{path}: no such file or directory")
    try:
        return nullcontext(Recorded(read_recording(path)))
    except RecordingError as error:
        raise UnfitRecordingError(str(error)) from error
