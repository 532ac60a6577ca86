"""The packet source and the socket source side by side, and what both recorded."""

import signal
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from agent_command import COMMAND
from live_captures import Recorded
from live_network import Network, stop, wait_for_line

from wiretape.exchange.v1 import exchange_pb2 as pb

Key = tuple[str, int, int]
"""Address and port of the client, and the place on the connection."""

_CLOCK_NS = 2_000_000
"""What the clocks of packets and of calls may differ in: both are read, one after the other."""
_USUAL_NS = 50_000_000
_SMALL_BYTES = 10_000
"""Of a message that passes in one call."""


class Run:
    """`capture-agent run` with these options."""

    def __init__(self, network: Network, folder: Path, name: str, *options: str) -> None:
        self.recording, self.summary = folder / f"{name}.mcap", folder / f"{name}.json"
        to = ("-o", self.recording, "--summary-json", self.summary)
        self.process = network.watch(*COMMAND, "run", *options, *to)

    def wait(self) -> None:
        """Until it captures."""
        wait_for_line(self.process, self.process.stderr, "capturing from")

    def finish(self) -> Recorded:
        said = stop(self.process, signal.SIGTERM)
        assert self.process.returncode == 0, said
        assert "Traceback" not in said
        return Recorded.read(self.recording, self.summary)


@dataclass
class Both:
    """Both recordings; filled when the capture is over."""

    _found: list[Recorded] = field(default_factory=list)

    @property
    def packets(self) -> Recorded:
        return self._found[0]

    @property
    def sockets(self) -> Recorded:
        return self._found[1]


@contextmanager
def recorded_by_both(
    network: Network, part: str, folder: Path, *selection: str | int
) -> Iterator[Both]:
    """What passes meanwhile at all interfaces of a part, and through the sockets selected."""
    runs = (
        Run(network, folder, "packets", "--netns", network.name(part)),
        Run(network, folder, "sockets", "--source", "ebpf", *map(str, selection)),
    )
    for run in runs:
        run.wait()
    both = Both()
    yield both
    network.settle()
    both._found += [run.finish() for run in runs]


def keyed(exchanges: Sequence[pb.Exchange]) -> dict[Key, pb.Exchange]:
    """Each by its place; a place is never taken twice."""
    found: dict[Key, pb.Exchange] = {}
    for exchange in exchanges:
        client = exchange.connection.client
        key = client.address, client.port, exchange.ordinal
        assert key not in found, f"{key} twice: {exchange.http.request.target!r}"
        found[key] = exchange
    return found


def assert_agree(
    sockets: Sequence[pb.Exchange],
    packets: Sequence[pb.Exchange],
    at_server: bool = True,
    timed: bool = True,
) -> None:
    """The same exchanges with the same bytes, apart from what sendfile moved; at times that could
    have been. `at_server`: whose sockets these are."""
    mine, theirs = keyed(sockets), keyed(packets)
    assert sorted(mine) == sorted(theirs)
    late: list[int] = []
    for key, one in mine.items():
        other = theirs[key]
        where = f"{one.http.request.target[:80]!r} on {key}"
        assert bare(one, other) == bare(other), where
        if timed:
            late += _lateness(where, one.http, other.http, at_server)
    assert not late or statistics.median(late) < _USUAL_NS


def bare(exchange: pb.Exchange, other: pb.Exchange | None = None) -> pb.Exchange:
    """Without times and identifiers, and what only one of the sources knows. Where the kernel moved
    contents, they are as in the `other`, which must have all but these bytes in common."""
    made = pb.Exchange.FromString(exchange.SerializeToString())
    for message in (made.http.request, *made.http.interim, made.http.response):
        message.ClearField("first_byte_at_ns")
        message.ClearField("last_byte_at_ns")
    made.ClearField("id")
    for name in ("role", "cause_id", "cause_evidence"):
        made.ClearField(name)
    for name in ("id", "source", "opened_at_ns", "process"):
        made.connection.ClearField(name)
    if other is not None:
        for name in ("request", "response"):
            content = getattr(made.http, name).content
            if content.gaps:
                content.CopyFrom(_filled(content, getattr(other.http, name).content))
    return made


def _filled(content: pb.Content, whole: pb.Content) -> pb.Content:
    data, taken, end = b"", 0, 0
    for gap in content.gaps:
        assert gap.reason == pb.Gap.SENDFILE
        before = gap.offset - end
        data += content.data[taken : taken + before]
        data += whole.data[gap.offset : gap.offset + gap.length]
        taken += before
        end = gap.offset + gap.length
    filled = pb.Content.FromString(content.SerializeToString())
    filled.data = data + content.data[taken:]
    assert not filled.complete
    filled.complete = True
    filled.ClearField("gaps")
    return filled


def _lateness(
    where: str, one: pb.HttpExchange, other: pb.HttpExchange, at_server: bool
) -> Iterator[int]:
    """How much later than its packet each small message was read, or earlier it was written."""
    for name in ("request", "response"):
        mine, theirs = getattr(one, name), getattr(other, name)
        is_read = (name == "request") == at_server
        for which in ("first_byte_at_ns", "last_byte_at_ns"):
            late = getattr(mine, which) - getattr(theirs, which)
            late = late if is_read else -late
            assert late > -_CLOCK_NS, f"{where}: {name} {which}: {late} ns"
            if mine.content.length < _SMALL_BYTES:
                yield late


def of_role(recorded: Recorded, role: "pb.Role.ValueType") -> list[pb.Exchange]:
    return [exchange for exchange in recorded.exchanges if exchange.role == role]


def served_at(recorded: Recorded, port: int) -> list[pb.Exchange]:
    return [e for e in recorded.exchanges if e.connection.server.port == port]
