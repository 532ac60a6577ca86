"""tcpdump and the agent side by side on the same packets, and what both recorded of them."""

import json
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from agent_command import COMMAND, agent
from live_network import PATIENCE_S, Network, stop, wait_for_line

from wiretape.agent.ledger import Ledger
from wiretape.exchange.recording import read_recording
from wiretape.exchange.v1 import exchange_pb2 as pb

MS = 1_000_000
_APART = ("packets", "packets_skipped", "seconds")
"""What the ledgers may differ in: the two begin and end at different packets that are not TCP."""


@dataclass(frozen=True)
class Recorded:
    """A recording as it was read, and the ledger of what wrote it."""

    exchanges: list[pb.Exchange]
    ends: dict[str, pb.ConnectionEnd]
    """By the identifier of their connection."""
    ledger: dict[str, Any]

    @staticmethod
    def read(recording: Path, summary: Path) -> "Recorded":
        reader = read_recording(recording)
        exchanges = list(reader)
        assert reader.truncated is None
        ends = {end.id: end for end in read_recording(recording).connection_ends()}
        return Recorded(exchanges, ends, json.loads(summary.read_text()))

    @property
    def targets(self) -> list[str]:
        return sorted(e.http.request.target.decode() for e in self.exchanges)

    @property
    def faults(self) -> list[str]:
        """The sums of the ledger that do not hold."""
        return Ledger(**self.ledger).faults()


class AgentRun:
    """`capture-agent run` at work in a part of a network."""

    def __init__(
        self, network: Network, part: str, folder: Path, interfaces: Sequence[str] = ()
    ) -> None:
        self.recording, self.summary = folder / "live.mcap", folder / "live.json"
        chosen = [word for name in interfaces for word in ("-i", name)]
        to = ("-o", str(self.recording), "--summary-json", str(self.summary))
        command = (*COMMAND, "run", "--netns", network.name(part), *chosen, *to)
        self.process = network.watch(*command)
        wait_for_line(self.process, self.process.stderr, "capturing from")

    def has_recorded(self, target: str) -> bool:
        """Whether a request for that target is in the recording by now."""
        if not self.recording.exists():
            return False
        return any(e.http.request.target == target.encode() for e in read_recording(self.recording))

    def finish(self) -> Recorded:
        """Ends it as systemd would."""
        said = stop(self.process, signal.SIGTERM)
        assert self.process.returncode == 0, said
        assert "Traceback" not in said
        return Recorded.read(self.recording, self.summary)


class Tcpdump:
    """tcpdump at work in a part of a network, on one interface or on `any`."""

    def __init__(self, network: Network, part: str, folder: Path, interface: str = "any") -> None:
        self.file = folder / "offline.pcap"
        # Its ring is large, for it waits a second before it reads; as root to the end, for it may
        # not write here as the user whom it would become.
        options = ("-i", interface, "-s", "0", "-B", "65536", "--nano", "-U", "-Z", "root")
        inside = ("ip", "netns", "exec", network.name(part))
        self.process = network.watch(*inside, "tcpdump", *options, "-w", self.file)
        wait_for_line(self.process, self.process.stderr, "listening on")

    def finish(self, marker: str) -> Path:
        """Ends it after it has written the marker."""
        deadline = time.monotonic() + PATIENCE_S
        while marker.encode() not in self._tail():
            assert time.monotonic() < deadline, "tcpdump never saw the marker"
            time.sleep(0.02)
        said = stop(self.process, signal.SIGINT)
        assert "\n0 packets dropped by kernel" in f"\n{said}", (
            f"tcpdump lost packets, so there is nothing to compare with: {said}"
        )
        return self.file

    def _tail(self) -> bytes:
        with self.file.open("rb") as file:
            file.seek(max(self.file.stat().st_size - (1 << 16), 0))
            return file.read()


class Marker(NamedTuple):
    """Who sends the last datagram to whom, so that it passes where it is captured."""

    part: str
    address: str


@dataclass
class Compared:
    """Both recordings; filled when the capture is over."""

    _found: list[Recorded] = field(default_factory=list)

    @property
    def live(self) -> Recorded:
        return self._found[0]

    @property
    def offline(self) -> Recorded:
        return self._found[1]


@contextmanager
def captured_twice(
    network: Network,
    part: str,
    folder: Path,
    marker: Marker,
    *interfaces: str,
    tcpdump_on: str = "any",
    before_end: Callable[[], object] = lambda: None,
) -> Iterator[Compared]:
    """What passes meanwhile in a part, at these interfaces or at all, is recorded by the agent, and
    by an import of what tcpdump wrote, which knows one interface or `any`.

    `before_end` runs when no connection has anything left to send.
    """
    run = AgentRun(network, part, folder, interfaces)
    tcpdump = Tcpdump(network, part, folder, tcpdump_on)
    compared = Compared()
    yield compared
    network.settle()
    before_end()
    text = f"the end of {folder}"
    network.send_marker(*marker, text)
    capture = tcpdump.finish(text)
    live = run.finish()
    recording, summary = folder / "offline.mcap", folder / "offline.json"
    done = agent("import", capture, "-o", recording, "--summary-json", summary)
    assert done.code == 0, done.err
    compared._found += [live, Recorded.read(recording, summary)]


def assert_equal(live: Recorded, offline: Recorded) -> None:
    """The same exchanges with the same bytes, the same ends and the same sums; every time within a
    millisecond."""
    assert live.ledger["kernel_drops"] == 0, (
        "the kernel dropped packets before the agent took them: the two saw different traffic"
    )
    mine, theirs = _by_place(live), _by_place(offline)
    assert [_place(exchange) for exchange in mine] == [_place(exchange) for exchange in theirs]
    for one, other in zip(mine, theirs, strict=True):
        where = f"{one.http.request.target!r} on {_place(one)}"
        _assert_near(where, _times(one.http), _times(other.http))
        _assert_near(where, [one.connection.opened_at_ns], [other.connection.opened_at_ns])
        assert _timeless(one) == _timeless(other), where
        end, other_end = live.ends[one.connection.id], offline.ends[other.connection.id]
        times, other_times = (
            [each.closed_at_ns, each.client_closed_at_ns] for each in (end, other_end)
        )
        _assert_near(where, times, other_times)
        assert _timeless_end(end) == _timeless_end(other_end), where
    assert len(live.ends) == len(offline.ends)
    assert _sums(live) == _sums(offline)
    assert live.faults == offline.faults == []


def _sums(recorded: Recorded) -> dict[str, Any]:
    return {name: value for name, value in recorded.ledger.items() if name not in _APART}


def _place(exchange: pb.Exchange) -> tuple[str, int, str, int, tuple[int, ...], int]:
    """What tells an exchange from others, but for connections that had the same ports."""
    connection = exchange.connection
    client, server = connection.client, connection.server
    vlans = tuple(connection.vlans)
    return client.address, client.port, server.address, server.port, vlans, exchange.ordinal


def _by_place(recorded: Recorded) -> list[pb.Exchange]:
    return sorted(recorded.exchanges, key=lambda e: (_place(e), e.connection.opened_at_ns))


def _messages(http: pb.HttpExchange) -> list[pb.HttpRequest | pb.HttpResponse]:
    return [http.request, *http.interim, http.response]


def _times(http: pb.HttpExchange) -> list[int]:
    return [
        at_ns
        for message in _messages(http)
        for at_ns in (message.first_byte_at_ns, message.last_byte_at_ns)
    ]


def _assert_near(where: str, times: Sequence[int], others: Sequence[int]) -> None:
    assert len(times) == len(others), where
    for one, other in zip(times, others, strict=True):
        # Two sockets see a packet one after the other, and a busy machine lies between them.
        assert abs(one - other) <= 50 * MS, f"{where}: {one} and {other} ns"


def _timeless(exchange: pb.Exchange) -> pb.Exchange:
    """Without times, the identifiers that are made of them, and what saw it."""
    bare = pb.Exchange.FromString(exchange.SerializeToString())
    for message in _messages(bare.http):
        message.ClearField("first_byte_at_ns")
        message.ClearField("last_byte_at_ns")
    bare.ClearField("id")
    for name in ("id", "source", "opened_at_ns"):
        bare.connection.ClearField(name)
    return bare


def _timeless_end(end: pb.ConnectionEnd) -> pb.ConnectionEnd:
    bare = pb.ConnectionEnd.FromString(end.SerializeToString())
    bare.ClearField("id")
    bare.ClearField("closed_at_ns")
    bare.ClearField("client_closed_at_ns")
    return bare
