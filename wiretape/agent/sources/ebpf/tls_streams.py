"""Which socket carries a TLS stream, and what is told twice.

The kernel knows it where the library reads and writes the socket. Where the application does, and
the library knows memory alone, all that there is to see is that ciphertext came before plaintext on
one thread, or went after it; that counts as a proof only where the lengths of the records agree,
and those of no other socket do.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from wiretape.agent.sources.ebpf.events import RECEIVED, SENT, EventBatch, Kind
from wiretape.agent.sources.ebpf.source import SocketConnection
from wiretape.agent.sources.ebpf.tls_records import Records, Tls, fits, tls_of

PATIENCE_NS = 5_000_000_000
"""How long a stream waits for its socket to be known."""
MAX_HELD_BYTES = 1 << 20
"""How much of a stream waits at most."""
_SILENT_NS = 2_000_000_000
_MAX_TURNS = 16
_MAX_THREADS = 4096
_MAX_TRIES = 32
_FEW_RECORDS = {"1.3": 2, "1.2": 1}
"""How many records with application data each side sends, if it sends any of that."""


class Socket:
    """A connection of which it is not known that what it carries is told as plaintext."""

    __slots__ = ("counts", "number", "records", "since_ns", "socket", "tries")

    def __init__(self, number: int, socket: SocketConnection, at_ns: int) -> None:
        self.number = number
        self.socket = socket
        self.records = (Records(), Records())
        self.counts = [0, 0]
        """Records with application data, of either direction."""
        self.since_ns = at_ns
        self.tries = 0

    def has_records(self) -> bool:
        return any(each.messages for each in self.records) or any(self.counts)

    @property
    def tls(self) -> Tls:
        return tls_of(bytes(self.records[0].messages), bytes(self.records[1].messages))

    def speaks_tls(self) -> bool:
        if not all(self.counts):
            return False
        few = _FEW_RECORDS.get(self.tls.version, 2)
        return all(count >= few for count in self.counts)


@dataclass
class Stream:
    """The plaintext of a session."""

    number: int
    plain: SocketConnection
    """As the kernel told of it."""
    since_ns: int
    socket: SocketConnection | None = None
    """With the addresses, where they are known."""
    tls: Tls = field(default_factory=Tls)
    is_settled: bool = False
    """The socket is known, or will not be."""
    is_foreign: bool = False
    """The socket's ports are not among those chosen, or that cannot be told."""
    held_bytes: int = 0


@dataclass
class _Thread:
    reads: deque[tuple[int, list[int]]] = field(default_factory=lambda: deque(maxlen=_MAX_TURNS))
    """Sockets that were read, and the records that ended so, which no stream has claimed."""
    taken: dict[int, int] = field(default_factory=dict)
    """Plaintext of streams since then."""
    given: dict[int, int] = field(default_factory=dict)
    """Plaintext of streams that was not seen to be written to a socket."""
    written: dict[int, list[int]] = field(default_factory=dict)
    """Records that were written to sockets since then."""


class TlsStreams:
    """Is shown batches in the order of the ring."""

    def __init__(self, selects_ports: bool) -> None:
        """`selects_ports`: what is of an unknown port is not wanted."""
        self._selects_ports = selects_ports
        self.streams: dict[int, Stream] = {}
        """By number, until they are closed."""
        self.carries: dict[int, list[int]] = {}
        """Sockets whose bytes are told as plaintext, and the streams that they carry."""
        self.since: dict[int, int] = {}
        """From which event of the latest batch on; of sockets that were known before, from all."""
        self._settled: list[Stream] = []
        self._notices: list[tuple[str, int, bytes]] = []
        self.unknown = 0
        """Streams whose socket will not be known."""
        self._proven: list[int] = []
        self._waiting: dict[int, Stream] = {}
        """Streams that are not settled."""
        self._over: list[int] = []
        """Those that the latest batch closed."""
        self._sockets: dict[int, Socket] = {}
        self._threads: dict[int, _Thread] = {}
        self._speakers: set[int] = set()
        """Processes of which plaintext was seen."""
        self._noticed: set[tuple[str, int]] = set()

    def look(self, batch: EventBatch, connections: Mapping[int, SocketConnection]) -> None:
        """Takes what the batch tells of sockets."""
        self.since.clear()
        for number in self._over:
            self.streams.pop(number, None)
        self._over.clear()
        new = batch.connection[batch.kind == Kind.OPENED].tolist()
        mine = np.isin(batch.connection, np.array([*self._sockets, *new], np.int64))
        rows = ((batch.flags != 0) | mine).nonzero()[0]
        columns = (
            rows, batch.kind[rows], batch.connection[rows], batch.direction[rows],
            batch.length[rows], batch.thread[rows], batch.flags[rows], batch.ended_ns[rows],
        )  # fmt: skip
        for n, kind, number, direction, length, thread, is_tls, at_ns in zip(
            *(column.tolist() for column in columns), strict=True
        ):
            if kind == Kind.OPENED:
                if is_tls:
                    self._open(number, connections[number], at_ns, n)
                else:
                    self._sockets[number] = Socket(number, connections[number], at_ns)
            elif kind == Kind.CLOSED:
                self._close(number)
            elif is_tls:
                if kind == Kind.DATA:
                    self._plaintext(number, thread, direction, length, n)
            elif kind in (Kind.DATA, Kind.HOLE) and number in self._sockets:
                payload = batch.payload(n) if kind == Kind.DATA else None
                self._ciphertext(self._sockets[number], thread, direction, payload, n)
        if len(batch):
            self.wait(int(batch.ended_ns.max()))

    def wait(self, now_ns: int) -> None:
        """It is so late; who has waited long enough waits no more."""
        for stream in list(self._waiting.values()):
            if stream.since_ns < now_ns - PATIENCE_NS:
                self._give_up(stream)
        for socket in self._sockets.values():
            if socket.since_ns < now_ns - _SILENT_NS and socket.speaks_tls():
                self._notice_silent(socket)

    def give_up(self) -> None:
        """Nothing more will come."""
        for stream in list(self._waiting.values()):
            self._give_up(stream)
        for socket in self._sockets.values():
            self._notice_silent(socket)

    def take_settled(self) -> list[Stream]:
        """Streams that wait no more, since this was last asked."""
        settled, self._settled = self._settled, []
        return settled

    def take_notices(self) -> list[tuple[str, int, bytes]]:
        """What is to be said of processes, once of each, with its number and name: "silent" (it
        speaks TLS, and nobody sees its plaintext), "unknown" (not all of its sockets are known)."""
        notices, self._notices = self._notices, []
        return notices

    def take_proven(self) -> list[int]:
        """Sockets of which the kernel does not know what they carry, since this was last asked."""
        proven, self._proven = self._proven, []
        return proven

    def hold(self, number: int, size: int) -> None:
        """So many bytes of a stream wait."""
        stream = self._waiting.get(number)
        if stream is not None:
            stream.held_bytes += size
            if stream.held_bytes > MAX_HELD_BYTES:
                self._give_up(stream)

    # -- streams

    def _open(self, number: int, plain: SocketConnection, at_ns: int, n: int) -> None:
        stream = self.streams.get(number)
        if stream is None:
            stream = self.streams[number] = Stream(number, plain, at_ns)
            self._waiting[number] = stream
            self._speakers.add(plain.pid)
        if not plain.carrier:
            return
        socket = self._sockets.get(plain.carrier)
        self._bind(stream, plain.carrier, plain, socket, n)

    def _bind(
        self,
        stream: Stream,
        carrier: int,
        known: SocketConnection,
        socket: Socket | None,
        n: int,
    ) -> None:
        if socket is not None:
            stream.tls = socket.tls
            del self._sockets[carrier]
        self.carries.setdefault(carrier, []).append(stream.number)
        self.since.setdefault(carrier, n)
        stream.socket = known
        if not stream.is_settled:
            stream.is_foreign = known.of_other_port
            self._settle(stream)

    def _settle(self, stream: Stream) -> None:
        stream.is_settled = True
        del self._waiting[stream.number]
        self._settled.append(stream)

    def _give_up(self, stream: Stream) -> None:
        self.unknown += 1
        stream.is_foreign = self._selects_ports
        self._settle(stream)
        self._notice("unknown", stream.plain)

    def _close(self, number: int) -> None:
        if number in self.streams:
            self._over.append(number)
        if number in self._waiting:
            self._give_up(self._waiting[number])
        socket = self._sockets.pop(number, None)
        if socket is not None:
            self._notice_silent(socket)

    def forget(self, socket: int) -> list[int]:
        """The socket is closed; the streams that it carried."""
        return self.carries.pop(socket, [])

    # -- proofs

    def _thread(self, number: int) -> _Thread:
        thread = self._threads.get(number)
        if thread is None:
            if len(self._threads) >= _MAX_THREADS:
                self._threads.clear()
            thread = self._threads[number] = _Thread()
        return thread

    def _plaintext(
        self, number: int, thread_number: int, direction: int, size: int, n: int
    ) -> None:
        stream = self.streams.get(number)
        if stream is None or stream.socket is not None:
            return
        thread = self._thread(thread_number)
        if direction == SENT:
            if thread.written:
                thread.given.clear()
                thread.written.clear()
            thread.given[number] = thread.given.get(number, 0) + size
            return
        taken = thread.taken[number] = thread.taken.get(number, 0) + size
        if not thread.reads:
            return
        fitting = {at for at, lengths in thread.reads if self._fits(at, lengths, taken)}
        last = thread.reads[-1][0]
        if fitting == {last}:
            thread.reads.pop()
            self._prove(stream, last, n)

    def _ciphertext(
        self, socket: Socket, thread_number: int, direction: int, payload: memoryview | None, n: int
    ) -> None:
        records = socket.records[direction]
        lengths: list[int] = []
        if payload is None:
            records.lose()
        else:
            lengths = records.feed(payload)
        if records.is_broken and not self._begin_again(socket, direction):
            return
        socket.counts[direction] += len(lengths)
        thread = self._thread(thread_number)
        if direction == RECEIVED:
            thread.taken.clear()
            if lengths:
                thread.reads.append((socket.number, lengths))
            return
        if not thread.given:
            return
        thread.written.setdefault(socket.number, []).extend(lengths)
        fitting = [
            (number, at)
            for number, given in thread.given.items()
            for at, written in thread.written.items()
            if self._fits(at, written, given)
        ]
        if len(fitting) == 1:
            ((number, at),) = fitting
            stream = self.streams.get(number)
            if stream is not None and stream.socket is None:
                self._prove(stream, at, n)
            thread.given.clear()
            thread.written.clear()

    def _begin_again(self, socket: Socket, direction: int) -> bool:
        """Its bytes are no records; whether they may be from what comes next on, as what is read
        often begins with a record."""
        if not socket.socket.open_before and not socket.has_records():
            del self._sockets[socket.number]  # plaintext itself
            return False
        socket.tries += 1
        if socket.tries > _MAX_TRIES:
            del self._sockets[socket.number]
            return False
        socket.records[direction].begin_again()
        return True

    def _fits(self, number: int, lengths: list[int], plaintext: int) -> bool:
        socket = self._sockets.get(number)
        return socket is not None and fits(lengths, plaintext, socket.tls.overheads)

    def _prove(self, stream: Stream, number: int, n: int) -> None:
        socket = self._sockets[number]
        there = socket.socket
        known = replace(
            stream.plain,
            local=there.local,
            remote=there.remote,
            accepted=there.accepted,
            open_before=stream.plain.open_before or there.open_before,
            netns=there.netns,
            carrier=number,
        )
        self._bind(stream, number, known, socket, n)
        self._proven.append(number)

    # -- what is said of it

    def _notice_silent(self, socket: Socket) -> None:
        if socket.socket.pid not in self._speakers and socket.speaks_tls():
            self._notice("silent", socket.socket)

    def _notice(self, what: str, whose: SocketConnection) -> None:
        if (what, whose.pid) not in self._noticed:
            self._noticed.add((what, whose.pid))
            self._notices.append((what, whose.pid, whose.command))
