"""Nothing is mixed between connections, nothing is made up, and nothing is left behind."""

import random
import re
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_agent import until
from live_captures import Recorded
from live_ebpf_captures import Run, assert_agree, of_role, recorded_by_both
from live_ebpf_programs import links_of, loaded_links, loaded_programs, programs_of
from live_ebpf_services import socket_server, what_lacks
from live_network import HERE, Network

from wiretape.agent.sources.netns import inside
from wiretape.exchange.recording import read_recording
from wiretape.exchange.v1 import exchange_pb2 as pb

pytestmark = [pytest.mark.privileged, pytest.mark.alone]
MARKED_CLIENT = HERE / "live_ebpf_client.py"
MARKS = re.compile(rb"<([0-9]+-[0-9]+)>")
HOST = "127.0.0.1"


@pytest.fixture
def network() -> Iterator[Network]:
    """One host, on its own."""
    if lacking := what_lacks():
        pytest.skip(lacking)
    with Network() as made:
        made.add("host")
        yield made


@pytest.fixture
def port() -> int:
    """One that no other test on this host takes at the same time."""
    return random.randrange(20_000, 30_000)


def both_ends(network: Network, folder: Path, port: int, *words: str | int) -> Recorded:
    """What is recorded of a client with marks, and of the server that answers it."""
    with socket_server(network, "host", port, "non_blocking"):
        run = Run(network, folder, "sockets", "--source", "ebpf", "--port", str(port))
        run.wait()
        command = (sys.executable, MARKED_CLIENT, HOST, str(port), *map(str, words))
        assert network.start("host", *command).wait(100) == 0
        network.settle()
        recorded = run.finish()
    assert recorded.faults == []
    assert recorded.ledger["kernel_drops"] == 0
    assert recorded.ledger["packets_skipped"] == {}
    return recorded


def marks_of(exchange: pb.Exchange) -> set[str]:
    """Whose bytes are in it."""
    http = exchange.http
    found = {http.request.target.decode()[1:], http.response.content.data.split()[3].decode()[1:]}
    for content in (http.request.content, http.response.content):
        found |= {mark.decode() for mark in MARKS.findall(content.data)}
    return found


def assert_no_strangers(recorded: Recorded, wanted: set[str]) -> None:
    """Each exchange was recorded at both ends, complete, and holds its own mark alone."""
    for role in (pb.ROLE_INBOUND, pb.ROLE_OUTBOUND):
        found = Counter[str]()
        for exchange in of_role(recorded, role):
            (mark,) = marks_of(exchange)
            found[mark] += 1
            content, answer = exchange.http.request.content, exchange.http.response.content
            assert content.complete
            assert answer.data == f"you asked for /{mark}\n".encode() + content.data
        assert found == dict.fromkeys(wanted, 1)
    assert len(recorded.exchanges) == 2 * len(wanted)


def test_many_connections_at_once(network: Network, tmp_path: Path, port: int) -> None:
    count, rounds = 1200, 3
    recorded = both_ends(network, tmp_path, port, "at_once", count, rounds)
    assert_no_strangers(recorded, {f"{n}-{turn}" for n in range(count) for turn in range(rounds)})
    assert recorded.ledger["connections"] == 2 * count
    first: dict[str, str] = {}
    for exchange in recorded.exchanges:
        number, turn = exchange.http.request.target.decode()[1:].split("-")
        assert exchange.ordinal == int(turn)
        assert first.setdefault(exchange.connection.id, number) == number


def test_descriptors_used_again(network: Network, tmp_path: Path, port: int) -> None:
    count, threads = 250, 8
    recorded = both_ends(network, tmp_path, port, "short", count, threads)
    assert_no_strangers(recorded, {f"{t}-{n}" for n in range(count) for t in range(threads)})
    assert recorded.ledger["connections"] == 2 * count * threads


HOSTILE = [
    b"",
    b"\0" * 70_000,
    random.Random(3).randbytes(100_000),
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + random.Random(4).randbytes(500),
    b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 300_000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\nHost: bare\n\nGET /2 HTTP/1.1\n\n",
    b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\nabc",
    b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\nabc",
    b"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET",
    b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nx",
    b"GET /\xff\xfe\x80 HTTP/1.1\r\n\0: \0\r\n: empty\r\n\r\n" * 50,
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello" * 3,
    b"GET / HTTP/9.9\r\n\r\n\r\n\r\n\r\nBREW /pot HTCPCP/1.0\r\n\r\n",
]


def test_hostile_data(network: Network, tmp_path: Path, port: int) -> None:
    """Both sources make the same of it."""
    with (
        socket_server(network, "host", port, "silent") as service,
        recorded_by_both(network, "host", tmp_path, "--pid", service.pid) as both,
    ):
        for data in HOSTILE:
            with inside(network.name("host")):
                opened = socket.create_connection((HOST, port), timeout=20)
            with opened:
                opened.sendall(data)
                opened.shutdown(socket.SHUT_WR)
                while opened.recv(1 << 16):
                    pass
    packets, sockets = both.packets, both.sockets
    assert packets.faults == sockets.faults == []
    # Where a message begins in what is none depends on where segments do.
    assert_agree(sockets.exchanges, packets.exchanges, timed=False)
    for name in ("delivered_bytes", "message_bytes", "undecoded_streams", "violations"):
        assert sockets.ledger[name] == packets.ledger[name], name
    assert sockets.ledger["gap_bytes"] == 0


def test_killed_in_a_call(network: Network, tmp_path: Path, port: int) -> None:
    """A thread writes when its process is killed: what the kernel had taken of it was sent."""
    with socket_server(network, "host", port, "endless") as service:
        run = Run(network, tmp_path, "sockets", "--source", "ebpf", "--pid", str(service.pid))
        run.wait()
        with inside(network.name("host")):
            opened = socket.socket()
        with opened:
            # Or the kernel would take more than what the agent can be shown at once.
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
            opened.settimeout(20)
            opened.connect((HOST, port))
            opened.sendall(b"GET /endless HTTP/1.1\r\n\r\n")
            got = bytearray()
            while len(got) < 1 << 20:
                got += opened.recv(1 << 16)
            until(lambda: _is_asleep(service.pid), "the server to wait")
            service.process.send_signal(signal.SIGKILL)
            service.process.wait(20)
            while data := opened.recv(1 << 16):
                got += data
        recorded = run.finish()
    (exchange,) = recorded.exchanges
    content = exchange.http.response.content
    assert content.data == got.partition(b"\r\n\r\n")[2]
    assert not content.complete
    assert not [gap for gap in content.gaps if gap.offset < len(content.data)]
    assert recorded.faults == []
    (end,) = recorded.ends.values()
    assert end.how == pb.ConnectionEnd.CLOSED


def _is_asleep(pid: int) -> bool:
    """All of its threads, for some time: who writes without end waits in a call then."""

    def states() -> list[tuple[str, ...]]:
        stats = [(thread / "stat").read_text() for thread in Path(f"/proc/{pid}/task").iterdir()]
        words = [stat.rpartition(")")[2].split() for stat in stats]
        return [(word[0], *word[11:13]) for word in words]

    before = states()
    time.sleep(0.1)
    return before == states() and all(state == "S" for state, *_ in before)


def test_killed_the_agent_leaves_nothing_behind(
    network: Network, tmp_path: Path, port: int
) -> None:
    """No program and nothing that holds one; what was recorded can be read."""
    with socket_server(network, "host", port, "threaded"):
        run = Run(network, tmp_path, "sockets", "--source", "ebpf", "--port", str(port))
        run.wait()
        programs, links = programs_of(run.process.pid), links_of(run.process.pid)
        assert len(programs) >= 7
        assert len(links) >= 7
        assert programs <= loaded_programs()
        assert links <= loaded_links()
        command = (sys.executable, MARKED_CLIENT, HOST, str(port), "sized", "10", "500")
        assert network.start("host", *command).wait(20) == 0
        until(lambda: _recorded(run.recording) == 4, "the exchanges to be recorded")
        run.process.send_signal(signal.SIGKILL)
        run.process.wait(20)
        # The kernel takes programs down when it comes to it.
        until(lambda: not links & loaded_links(), "links to go")
        until(lambda: not programs & loaded_programs(), "programs to go")
        assert network.start("host", *command).wait(20) == 0
    assert _recorded(run.recording) == 4


def _recorded(recording: Path) -> int:
    return len(list(read_recording(recording))) if recording.exists() else 0
