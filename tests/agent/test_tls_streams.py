"""Which socket carries a TLS stream, where only lengths and order can tell."""

import struct
from collections.abc import Iterable
from ipaddress import IPv4Address

import numpy as np
import pytest

from wiretape.agent.sources.ebpf.events import I64, IS_TLS, RECEIVED, SENT, EventBatch, Kind
from wiretape.agent.sources.ebpf.source import SocketConnection
from wiretape.agent.sources.ebpf.tls_streams import MAX_HELD_BYTES, PATIENCE_NS, TlsStreams

A, B, X, Y = 1, 2, 101, 102
"""Sockets, and streams."""
LATER = PATIENCE_NS + 1


def records(*sizes: int) -> bytes:
    """As TLS 1.3 carries so much plaintext each."""
    return b"".join(struct.pack(">BHH", 23, 0x0303, size + 17) + bytes(size + 17) for size in sizes)


HELLO = struct.pack(">BHH", 22, 0x0303, 4) + b"\1\0\0\0"


def column(values: Iterable[int]) -> I64:
    return np.array(list(values), np.int64)


class Told:
    """Events as they come, one thread's unless it is said."""

    def __init__(self, selects_ports: bool = False) -> None:
        self.streams = TlsStreams(selects_ports)
        self._known: dict[int, SocketConnection] = {}
        self.settled: dict[int, int | None] = {}
        """Sockets of the streams that are settled."""
        self.now_ns = 0

    def tell(self, *events: tuple[Kind, int, int, bytes | int, int], at_ns: int = 0) -> "Told":
        """(kind, connection, direction, payload or length, thread), in one batch."""
        payloads = [each[3] if isinstance(each[3], bytes) else b"" for each in events]
        sizes = [len(each[3]) if isinstance(each[3], bytes) else each[3] for each in events]
        numbers = [each[1] for each in events]
        times = column([at_ns] * len(events))
        batch = EventBatch(
            buffer=np.frombuffer(b"".join(payloads), np.uint8),
            kind=column(each[0] for each in events),
            connection=column(numbers),
            direction=column(each[2] for each in events),
            position=times,
            length=column(sizes),
            start=column(np.cumsum([0, *map(len, payloads)])[:-1]),
            captured=column(map(len, payloads)),
            at_ns=times,
            ended_ns=times,
            offset_ns=0,
            reason=times,
            flags=column(IS_TLS if number > 100 else 0 for number in numbers),
            process=times,
            thread=column(each[4] for each in events),
        )
        for number in numbers:
            self._known[number] = connection(number)
        self.streams.look(batch, self._known)
        for stream in self.streams.take_settled():
            self.settled[stream.number] = stream.socket.carrier if stream.socket else None
        return self


def connection(number: int) -> SocketConnection:
    is_plain = number > 100
    end = (IPv4Address(f"10.0.0.{number % 100}"), 443)
    return SocketConnection(
        number, end, end, True, 0, False, (0, 0), 7, b"server", "", "", 0,
        carrier=0 if is_plain else None,
    )  # fmt: skip


def opened(*numbers: int) -> list:
    return [(Kind.OPENED, number, 0, 0, 1) for number in numbers]


def data(number: int, direction: int, what: bytes | int, thread: int = 1) -> tuple:
    return (Kind.DATA, number, direction, what, thread)


def got(number: int, what: bytes | int, thread: int = 1) -> tuple:
    return data(number, RECEIVED, what, thread)


def put(number: int, what: bytes | int, thread: int = 1) -> tuple:
    return data(number, SENT, what, thread)


CASES = {
    "read, then decrypted": ([got(A, records(30)), got(X, 30)], A),
    "in pieces": ([got(A, records(30)), got(X, 10), got(X, 20)], A),
    "two records": ([got(A, records(30, 40)), got(X, 30), got(X, 40)], A),
    "after the handshake": ([got(A, HELLO), got(A, records(52, 30)), got(X, 30)], A),
    "not so much": ([got(A, records(30)), got(X, 29)], None),
    "on another thread": ([got(A, records(30)), got(X, 30, 2)], None),
    "the record ends later": (
        [got(A, records(30)[:20]), got(A, records(30)[20:]), got(X, 30)], A
    ),
    "the last one read": ([got(B, records(50)), got(A, records(30)), got(X, 30)], A),
    "not the last one read": ([got(A, records(30)), got(B, records(50)), got(X, 30)], None),
    "either of two": ([got(B, records(30)), got(A, records(30)), got(X, 30)], None),
    "encrypted, then written": ([put(X, 30), put(A, records(30))], A),
    "written in pieces": (
        [put(X, 30), put(A, records(30)[:9]), put(A, records(30)[9:])], A
    ),
    "after the handshake's end": ([put(X, 30), put(A, records(52, 30))], A),
    "with another's between": ([put(X, 30), put(B, records(31)), put(A, records(30))], A),
    "one of two streams": ([put(X, 30), put(Y, 30), put(A, records(30))], None),
    "the stream that fits": ([put(X, 30), put(Y, 40), put(A, records(30))], A),
    "written before": ([put(A, records(30)), put(X, 30)], None),
    "written on another thread": ([put(X, 30), put(A, records(30), 2)], None),
    "plaintext": ([got(A, b"GET / HTTP/1.1\r\n\r\n"), got(X, 18)], None),
}  # fmt: skip


@pytest.mark.parametrize(("events", "socket"), CASES.values(), ids=list(CASES))
@pytest.mark.parametrize("apart", [False, True], ids=["at once", "one by one"])
def test_what_proves_a_socket(events: list, socket: int | None, apart: bool) -> None:
    told = Told()
    if apart:
        told.tell(*opened(A, B, X, Y))
        for event in events:
            told.tell(event)
    else:
        told.tell(*opened(A, B, X, Y), *events)
    assert told.settled.get(X) == socket
    assert (X in told.settled) is (socket is not None)
    assert set(told.streams.carries) == ({socket} if socket else set())
    assert told.streams.take_proven() == ([socket] if socket else [])


def test_a_socket_that_is_proven_is_no_other_stream_s() -> None:
    told = Told().tell(*opened(A, B, X, Y), got(A, records(30)), got(X, 30))
    told.tell(got(B, records(30)), got(A, records(30)), got(Y, 30))
    assert told.settled == {X: A, Y: B}


def test_what_was_not_seen_proves_nothing_but_what_comes_next_may() -> None:
    told = Told().tell(*opened(A, X), got(A, records(20)), (Kind.HOLE, A, RECEIVED, 40, 1))
    told.tell(got(X, 40))
    assert not told.settled
    told.tell(got(A, records(30)), got(X, 30))
    assert told.settled == {X: A}


def test_who_waits_too_long() -> None:
    told = Told().tell(*opened(X), got(X, 30))
    told.tell(*opened(A), at_ns=LATER)
    assert told.settled == {X: None}
    assert told.streams.unknown == 1
    assert told.streams.take_notices() == [("unknown", 7, b"server")]
    # From then on what it carries is not told twice, all the same.
    told.tell(got(A, records(30)), got(X, 30), at_ns=LATER)
    assert told.streams.carries == {A: [X]}
    assert told.streams.unknown == 1


def test_who_has_too_much() -> None:
    told = Told().tell(*opened(X), got(X, 30))
    told.streams.hold(X, MAX_HELD_BYTES + 1)
    assert [stream.number for stream in told.streams.take_settled()] == [X]


def test_who_is_closed_first() -> None:
    told = Told().tell(*opened(X), got(X, 30), (Kind.CLOSED, X, 0, 0, 1))
    assert told.settled == {X: None}


@pytest.mark.parametrize("selects", [True, False])
def test_of_an_unknown_port_nothing_is_wanted(selects: bool) -> None:
    told = Told(selects)
    told.tell(*opened(X), got(X, 30))
    told.streams.give_up()
    (stream,) = told.streams.take_settled()
    assert stream.is_foreign is selects


def test_who_speaks_tls_unseen_is_named_once() -> None:
    told = Told().tell(*opened(A, B))
    for number in (A, B):
        told.tell(got(number, records(3, 4)), put(number, records(5, 6)))
        told.tell((Kind.CLOSED, number, 0, 0, 1))
    assert told.streams.take_notices() == [("silent", 7, b"server")]
    assert told.streams.take_notices() == []


def test_who_is_refused_is_not_named() -> None:
    told = Told().tell(*opened(A), got(A, HELLO), put(A, HELLO + records(9, 9, 9)))
    told.tell(got(A, records(2)), (Kind.CLOSED, A, 0, 0, 1))
    assert told.streams.take_notices() == []
