"""Plain exchanges: read by templates, both messages at once, they are what the readers give.

`run_all_ways` holds every result against a run that has no templates and feeds packet by packet.
"""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tcp_traffic import SECOND, Peers, batch_of, run, run_all_ways

from wiretape.agent.cause import Call
from wiretape.agent.pipeline import Pipeline
from wiretape.exchange.records import Record
from wiretape.exchange.v1 import exchange_pb2 as pb

GET = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nX-Id: %d\r\nContent-Length: 2\r\n\r\nok"

REQUESTS = {
    "get": GET,
    "post": b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
    "empty content": b"PUT /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    "chunked": b"POST /%d HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
    "chunked in 1.0": b"POST /%d HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "head": b"HEAD /%d HTTP/1.1\r\nHost: a\r\n\r\n",
    "no fields": b"GET /%d HTTP/1.0\r\n\r\n",
    "percent": b"GET /%d%%s%%b HTTP/1.1\r\nHost: a%%b\r\nX-%%: %%d %d\r\n\r\n",
    "absolute": b"GET http://a/%d HTTP/1.1\r\nHost: a\r\n\r\n",
    "scheme in path": b"GET /a://%d HTTP/1.1\r\nHost: a\r\n\r\n",
    "space in target": b"GET /a %d HTTP/1.1\r\nHost: a\r\n\r\n",
    "white space": b"GET /%d HTTP/1.1\r\nHost: a\r\nX:  %d\r\n\r\n",
    "trailing space": b"GET /%d HTTP/1.1\r\nHost: a\r\nX: %d \r\n\r\n",
    "empty value": b"GET /%d HTTP/1.1\r\nHost: a\r\nX: \r\nY: %d\r\n\r\n",
    "fold": b"GET /%d HTTP/1.1\r\nHost: a\r\nX: b\r\n c%d\r\n\r\n",
    "bare line feed": b"GET /%d HTTP/1.1\nHost: a\n\n",
    "bare return": b"GET /%d HTTP/1.1\r\nHost: a\r\nX: a\rb%d\r\n\r\n",
    "host changes": b"GET /%d HTTP/1.1\r\nHost: a%d\r\n\r\n",
    "two hosts": b"GET /%d HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "lengths differ": b"POST /%d HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 01\r\n\r\na",
    "length and chunked": b"POST /%d HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked"
    b"\r\n\r\n0\r\n\r\n",
    "upgrade": b"GET /%d HTTP/1.1\r\nHost: a\r\nUpgrade: b\r\n\r\n",
    "empty lines": b"\r\n\r\nGET /%d HTTP/1.1\r\nHost: a\r\n\r\n",
    "other method": b"BREW /%d HTTP/1.1\r\nHost: a\r\n\r\n",
}
RESPONSES = {
    "ok": OK,
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Id: %d\r\n\r\n"
    b"3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n",
    "no chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Id: %d\r\n\r\n0\r\n\r\n",
    "extension": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Id: %d\r\n\r\n"
    b"3;a=b\r\nabc\r\n0;c\r\n\r\n",
    "trailers": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Id: %d\r\n\r\n",
    "chunk without end": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n%d00\r\n",
    "no content": b"HTTP/1.1 204 No Content\r\nX-Id: %d\r\n\r\n",
    "not modified": b"HTTP/1.1 304 Not Modified\r\nX-Id: %d\r\nContent-Length: 9\r\n\r\n",
    "interim": b"HTTP/1.1 103 Early Hints\r\nX-Id: %d\r\n\r\n" + OK,
    "zeros before": b"HTTP/1.1 200 OK\r\nX-Id: %d\r\nContent-Length: 0002\r\n\r\nok",
    "no reason": b"HTTP/1.1 200\r\nX-Id: %d\r\nContent-Length: 2\r\n\r\nok",
    "empty reason": b"HTTP/1.1 200 \r\nX-Id: %d\r\nContent-Length: 2\r\n\r\nok",
    "no length": b"HTTP/1.1 200 OK\r\nX-Id: %d\r\n\r\nall that follows",
    "too long": b"HTTP/1.1 200 OK\r\nX-Id: %d\r\nContent-Length: 999\r\n\r\nshort",
    "length of another kind": b"HTTP/1.1 200 OK\r\nX-Id: %d\r\nContent-Length: +2\r\n\r\nok",
    "very long value": b"HTTP/1.1 200 OK\r\nX-Id: %d" + b"0" * 5000 + b"\r\nContent-Length: 2"
    b"\r\n\r\nok",
    "large": b"HTTP/1.1 200 OK\r\nX-Id: %d\r\nContent-Length: 70000\r\n\r\n" + bytes(70_000),
}


@pytest.fixture(autouse=True)
def learn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wiretape.exchange.http1.template.SIGHTINGS", 1)


def numbered(message: bytes, number: int) -> bytes:
    """`message` with `number` in each of its places."""
    return message % ((number,) * (message.replace(b"%%", b"").count(b"%d")))


class Counting(Pipeline):
    """Knows how many exchanges were plain."""

    plain = 0

    def take_answered(self, records: Sequence[Record], calls: Sequence[Call] = ()) -> None:
        self.plain += len(records)
        super().take_answered(records, calls)


@pytest.mark.parametrize("whole", [False, True])
def test_plain_exchanges_are_read_as_such(whole: bool) -> None:
    """But for the first of its kind, and where the shape proves to be wider."""
    peers = Peers()
    peers.open()
    for number in range(9):
        peers.ask(numbered(REQUESTS["get"], number))
        peers.answer(numbered(RESPONSES["chunked" if number % 2 else "ok"], number))
    peers.close()
    pipeline = Counting("pcap", 1 << 20)
    first = Peers(client=("10.0.0.9", 1))
    first.open()
    for number in range(10, 14):
        first.ask(numbered(REQUESTS["get"], number))
        first.answer(numbered(RESPONSES["chunked" if number % 2 else "ok"], number))
    pipeline.feed(batch_of(first.sent))
    before = pipeline.plain
    sent = peers.sent if whole else peers.sent[:-3]
    pipeline.feed(batch_of(sent, len(first.sent)))
    assert pipeline.plain - before == 9


@pytest.mark.parametrize(
    ("asked", "answered"),
    [*((asked, OK) for asked in REQUESTS.values()), *((GET, it) for it in RESPONSES.values())],
    ids=[*REQUESTS, *(f"answered by {name}" for name in RESPONSES)],
)
def test_each_kind_amid_others(asked: bytes, answered: bytes) -> None:
    peers = Peers()
    peers.open()
    for number, odd in enumerate([False, True, True, False, True, True]):
        peers.ask(numbered(asked if odd else GET, number))
        peers.answer(numbered(answered if odd else OK, number), 30_000)
    peers.close()
    run_all_ways(peers.sent, splits=((1,), (5,), (0,)))


messages = st.tuples(
    st.sampled_from(list(REQUESTS.values())),
    st.sampled_from([m for name, m in RESPONSES.items() if name != "large"]),
    st.integers(0, 120),
    st.sampled_from([7, 40, 1460]),
    st.booleans(),
)


@pytest.mark.timeout(600)  # it imports each traffic six times
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.lists(messages, max_size=7), min_size=1, max_size=4), st.integers(0, 6))
def test_any_messages_in_any_batches(
    connections: list[list[tuple[bytes, bytes, int, int, bool]]], batch: int
) -> None:
    segments = []
    for number, exchanges in enumerate(connections):
        peers = Peers(client=("10.0.0.1", 4000 + number), at_ns=10**18 + number)
        peers.open()
        late = b""
        for asked, answered, value, size, pipelined in exchanges:
            peers.ask(numbered(asked, value), size)
            late += numbered(answered, value)
            if not pipelined:
                peers.answer(late, size)
                late = b""
        peers.answer(late)
        if number % 2:
            peers.close()
        segments += peers.sent
    segments.sort(key=lambda s: s.at_ns)
    run_all_ways(segments, splits=((1,), (batch,), (0,)))


def test_many_shapes_and_layouts_stay_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wiretape.exchange.http1.template.MAX_SHAPES", 3)
    monkeypatch.setattr("wiretape.exchange.http1.template.MAX_LAYOUT_BYTES", 300)
    peers = Peers()
    peers.open()
    for number in range(60):
        peers.ask(b"GET /%b HTTP/1.1\r\nHost: h%d\r\n\r\n" % (b"x" * (number % 9), number % 7))
        peers.answer(numbered(OK, 10 ** (number % 5)))
    pipeline = Pipeline("pcap", 1 << 20)
    pipeline.feed(batch_of(peers.sent))
    shapes = pipeline.sections.request_heads._shapes.values()
    assert 0 < len(shapes) <= 3
    assert all(sum(map(len, shape.layouts.values())) <= 300 for shape in shapes)
    expected = [b"/" + b"x" * (number % 9) for number in range(60)]
    result = run_all_ways(peers.sent, splits=((1,), (0,)))
    assert [e.http.request.target for e in result.exchanges] == expected
    assert [e.http.request.authority for e in result.exchanges] == [
        b"h%d" % (number % 7) for number in range(60)
    ]


def test_connection_read_whole_is_remembered_for_late_segments() -> None:
    """And its ports may be used again, in the same batch and in a later one."""
    peers = Peers()
    for _ in range(3):
        peers.open()
        for number in range(3):
            peers.ask(numbered(GET, number))
            peers.answer(numbered(OK, number))
        peers.close()
        peers.sent.append(replace(peers.sent[-4], at_ns=peers.at_ns + SECOND))
        peers.at_ns += 2 * SECOND
        peers.numbers = [peers.numbers[0] + 5000, peers.numbers[1] + 5000]
    result = run_all_ways(peers.sent)
    assert result.ledger.connections == 3
    assert result.ledger.retransmitted_bytes == 3 * len(numbered(OK, 2))
    assert [end.how for end in result.ends] == [pb.ConnectionEnd.CLOSED] * 3


def test_connection_read_whole_is_forgotten_in_time() -> None:
    peers = Peers()
    peers.open()
    peers.ask(numbered(GET, 0))
    peers.answer(numbered(OK, 0))
    peers.close()
    late = peers.sent[4]
    other = Peers(client=("10.0.0.7", 7), at_ns=peers.at_ns + 11 * 10**9)
    other.open()
    other.at_ns += 10**9
    again = [*peers.sent, *other.sent, other.segment(0)]
    peers.at_ns = other.at_ns
    peers.sent = []
    peers.segment(1, payload=late.payload)
    result = run_all_ways([*again, *peers.sent])
    assert result.ledger.connections == 3
    assert run([*again, *peers.sent], (4, 0)).ledger.connections == 3
