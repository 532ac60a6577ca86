"""Causes of calls of real services, as their sockets show them."""

import http.server
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest
from calling_service import CALLS
from live_agent import until
from served_traffic import name_of
from tcp_traffic import MAX_CONTENT, joined

from wiretape.agent.feeding import SocketFeed
from wiretape.agent.pipeline import Pipeline
from wiretape.agent.sources.ebpf.loader import EbpfError
from wiretape.agent.sources.ebpf.selection import Selection
from wiretape.agent.sources.ebpf.source import EbpfSource
from wiretape.exchange.records import EXCHANGES
from wiretape.exchange.v1 import exchange_pb2 as pb

pytestmark = [pytest.mark.privileged, pytest.mark.alone]
SERVICE = Path(__file__).with_name("calling_service.py")
NAMES = "abcd"


@contextmanager
def upstream(together: int) -> Iterator[int]:
    """Its port; it answers once so many have asked the same."""
    barriers = [threading.Barrier(together) for _ in range(CALLS)]

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            barriers[int(self.path[-1])].wait(20)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *unused: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def captured(mode: str, together: int) -> list[pb.Exchange]:
    """What a service is asked by four clients, of which so many ask at once, and what it asks."""
    with (
        upstream(together) as port,
        subprocess.Popen(
            [sys.executable, SERVICE, mode, str(port)], stdout=subprocess.PIPE
        ) as process,
    ):
        try:
            assert process.stdout is not None
            served = int(process.stdout.readline())
            return _captured(process.pid, lambda: _ask(served, together))
        finally:
            process.kill()


def _ask(port: int, together: int) -> None:
    for first in range(0, len(NAMES), together):
        clients = [
            threading.Thread(target=_get, args=(port, name))
            for name in NAMES[first : first + together]
        ]
        for client in clients:
            client.start()
        for client in clients:
            client.join()


def _get(port: int, name: str) -> None:
    connection = HTTPConnection("127.0.0.1", port)
    connection.request("GET", f"/{name}")
    connection.getresponse().read()
    connection.close()


def _captured(pid: int, ask: Callable[[], None]) -> list[pb.Exchange]:
    try:
        source = EbpfSource(Selection(pids=(pid,)))
    except EbpfError as error:
        if os.geteuid() == 0 and "missing" not in str(error):
            raise
        pytest.skip(str(error).splitlines()[0])
    pipeline = Pipeline("ebpf", MAX_CONTENT)
    exchanges: list[pb.Exchange] = []

    def take(records: list) -> None:  # type: ignore[type-arg]
        exchanges.extend(
            pb.Exchange.FromString(joined(parts, size))
            for _, channel, parts, size, _ in records
            if channel == EXCHANGES
        )

    with SocketFeed(source, "") as feed:
        feed.prepare(pipeline)
        asking = threading.Thread(target=ask)
        asking.start()

        def all_there() -> bool:
            for records in feed.read(pipeline):
                take(records)
            return len(exchanges) == len(NAMES) * (1 + CALLS)

        until(all_there, "all exchanges")
        asking.join()
        take(pipeline.close())
    return exchanges


@pytest.mark.parametrize(
    ("mode", "together", "evidence"),
    [
        ("threads", 4, "thread"),
        ("threads", 1, "thread"),
        ("loop", 1, "thread"),
        ("loop", 4, ""),
    ],
)
def test_calls_of_a_real_service(mode: str, together: int, evidence: str) -> None:
    exchanges = captured(mode, together)
    asked = {name_of(e): e.id for e in exchanges if e.role == pb.ROLE_INBOUND}
    calls = [e for e in exchanges if e.role == pb.ROLE_OUTBOUND]
    assert sorted(asked) == list(NAMES)
    assert sorted(map(name_of, calls)) == [f"{n}-{c}" for n in NAMES for c in range(CALLS)]
    told = Counter(call.cause_evidence for call in calls)
    for call in calls:
        assert call.cause_id in ("", asked[name_of(call)[0]])
    if evidence:
        assert told == {evidence: len(calls)}
    else:
        # Only the very first may have come while nothing else was asked.
        assert told[""] >= len(calls) - 1
