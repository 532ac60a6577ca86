"""Recordings made by hand, and the command as a user starts it."""

import itertools
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wiretape.exchange.recording import RecordingWriter
from wiretape.exchange.records import CONNECTION_ENDS
from wiretape.exchange.v1.exchange_pb2 import (
    ConnectionEnd,
    Content,
    Exchange,
    Field,
    HttpRequest,
    HttpResponse,
)

TARGET = ("--target", "http://127.0.0.1:{port}")
UPSTREAM_ENV = ("--env", "UPSTREAM_URL=http://{mock:prices.internal}")
SERVER = Path(__file__).with_name("build_server.py")
BEGIN_NS = 1_700_000_000 * 10**9
MS = 10**6
CLIENT, SERVICE, UPSTREAM = ("10.0.0.1", 5000), ("10.0.0.2", 8080), ("10.0.0.3", 80)

Fields = dict[str, str]


def fields_of(fields: Fields) -> list[Field]:
    return [Field(name=n.encode("latin-1"), value=v.encode("latin-1")) for n, v in fields.items()]


def content_of(data: bytes) -> Content:
    framing = Content.LENGTH if data else Content.NONE
    return Content(data=data, length=len(data), framing=framing, complete=True)


def request_of(
    method: str, target: str, content: bytes = b"", fields: Fields | None = None
) -> HttpRequest:
    named = {"Host": "shop.example", **(fields or {})}
    if content:
        named["Content-Length"] = str(len(content))
    return HttpRequest(
        version="1.1",
        method=method,
        target=target.encode(),
        scheme="http",
        authority=named["Host"].encode(),
        fields=fields_of(named),
        content=content_of(content),
    )


def response_of(
    status: int, content: bytes | object = b"", fields: Fields | None = None
) -> HttpResponse:
    named = dict(fields or {})
    if not isinstance(content, bytes):
        content = json.dumps(content).encode()
        named = {"Content-Type": "application/json", **named}
    named.setdefault("Content-Length", str(len(content)))
    body = content_of(content)
    body.framing = Content.LENGTH
    return HttpResponse(
        version="1.1", status=status, reason=b"OK", fields=fields_of(named), content=body
    )


@dataclass
class Tape:
    """Exchanges one after the other on a clock of its own; a recording once it is written."""

    exchanges: list[Exchange] = field(default_factory=list)
    _now: Iterator[int] = field(default_factory=lambda: itertools.count(BEGIN_NS, MS))
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def inbound(
        self,
        request: HttpRequest,
        response: HttpResponse | None,
        *calls: tuple[HttpRequest, HttpResponse | None],
        connection: str = "c1",
        server: tuple[str, int] = SERVICE,
    ) -> Exchange:
        """One request to the service, and the upstream calls that it made meanwhile."""
        made = self._exchange(request, connection, CLIENT, server)
        for asked, answered in calls:
            self.outbound(asked, answered)
        self._answer(made, response)
        return made

    def outbound(self, request: HttpRequest, response: HttpResponse | None) -> Exchange:
        made = self._exchange(request, "u1", (SERVICE[0], 40000), UPSTREAM)
        self._answer(made, response)
        return made

    def _exchange(
        self,
        request: HttpRequest,
        connection: str,
        client: tuple[str, int],
        server: tuple[str, int],
    ) -> Exchange:
        made = Exchange(id=f"e{next(self._numbers):04d}")
        made.connection.id = connection
        made.connection.client.address, made.connection.client.port = client
        made.connection.server.address, made.connection.server.port = server
        made.http.request.CopyFrom(request)
        made.http.request.first_byte_at_ns = made.http.request.last_byte_at_ns = next(self._now)
        return made

    def _answer(self, made: Exchange, response: HttpResponse | None) -> None:
        if response is not None:
            made.http.response.CopyFrom(response)
            made.http.response.first_byte_at_ns = next(self._now)
            made.http.response.last_byte_at_ns = next(self._now)
        self.exchanges.append(made)

    def ends(self, how: ConnectionEnd.How = ConnectionEnd.CLOSED) -> dict[str, ConnectionEnd]:
        """How each connection ended: as `how`, a ms after its last byte."""
        found: dict[str, ConnectionEnd] = {}
        for exchange in self.exchanges:
            http, name = exchange.http, exchange.connection.id
            last_ns = max(http.request.last_byte_at_ns, http.response.last_byte_at_ns)
            known = found.setdefault(name, ConnectionEnd(id=name, how=how))
            known.closed_at_ns = max(known.closed_at_ns, last_ns + MS)
        return found

    def write(
        self, path: Path, how: ConnectionEnd.How = ConnectionEnd.CLOSED, undecoded: int = 0
    ) -> Path:
        """`undecoded`: so many bytes of each server belong to no message."""
        with RecordingWriter(path) as writer:
            for exchange in self.exchanges:
                writer.write(exchange)
            found = list(self.ends(how).values())
            for end in found:
                end.server.undecoded_bytes = undecoded
            ends = [end.SerializeToString() for end in found]
            writer.write_records([(0, CONNECTION_ENDS, (end,), len(end), 0) for end in ends])
        return path


@dataclass(frozen=True)
class Outcome:
    """What the command left behind."""

    code: int
    out: str
    err: str
    report: dict[str, Any] | None

    @property
    def complaint(self) -> str:
        """The one line of a run that never began."""
        lines = [line for line in self.err.splitlines() if line]
        assert len(lines) == 1, self.err
        return lines[0]


def replay_command(*arguments: str | Path) -> list[str]:
    program = "import sys; from wiretape.replayer.cli import main; sys.exit(main())"
    return [sys.executable, "-c", program, *map(str, arguments)]


def build(*arguments: str) -> list[str]:
    """The build's command, to be put at the end."""
    return ["--", sys.executable, str(SERVER), "--port", "{port}", *arguments]
