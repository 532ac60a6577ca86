"""Traffic that one lane once read in another way than the others, case by case."""

from dataclasses import replace

import pytest
from tcp_traffic import ACK, MS, SECOND, SYN, Peers, Segment, batch_of, run, run_all_ways

from wiretape.agent.pipeline import Pipeline
from wiretape.exchange.endpoints import parse_service
from wiretape.exchange.v1 import exchange_pb2 as pb

GET = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nX-Id: %d\r\nContent-Length: 2\r\n\r\nok"


def talk(peers: Peers, count: int, asked: bytes = GET, answered: bytes = OK) -> None:
    for number in range(count):
        peers.ask(asked % number)
        peers.answer(answered % number)


def opened(**at: object) -> Peers:
    peers = Peers(**at)  # type: ignore[arg-type]
    peers.open()
    return peers


def test_length_of_a_response_without_content_is_not_its_own() -> None:
    """Also where its request was not seen (RFC 9110 §15.4.5)."""
    unmodified = b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2%d\r\n\r\n"
    both = opened()
    talk(both, 12, answered=unmodified)
    alone = Peers(client=("10.0.0.1", 40001), at_ns=both.at_ns)
    for number in range(4):
        alone.answer(unmodified % number)
    result = run_all_ways(both.sent + alone.sent)
    assert result.ledger.response_only == 4


def test_transfer_coding_in_http_1_0_is_told_each_time() -> None:
    peers = opened()
    chunked = b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\nX: %d\r\n\r\n2\r\nab\r\n0\r\n\r\n"
    talk(peers, 12, answered=chunked)
    assert run_all_ways(peers.sent).ledger.violations == 12


@pytest.mark.parametrize("space", [b"\t", b"\x0b", b"\x0c"])
def test_target_with_white_space(space: bytes) -> None:
    peers = opened()
    talk(peers, 8)
    peers.ask(b"GET /a%bb HTTP/1.1\r\nHost: a\r\n\r\n" % space)
    peers.answer(OK % 8)
    *_, last = run_all_ways(peers.sent).exchanges
    assert [v.code for v in last.http.violations] == ["malformed-request-line"]


@pytest.mark.parametrize("more", [b"", b"0", b"0GET / HTTP/1.1\r\n\r\n"])
@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        (b"CONNECT / HTTP/1.1\r\nContent-Length: 2\r\n\r\n0", b"HTTP/1.1 101 x\r\n\r\nHH"),
        (b"CONNECT / HTTP/1.1\r\nContent-Length: 2\r\n\r\n0", b"HTTP/1.1 200 x\r\n\r\nHH"),
        (b"CONNECT / HTTP/1.1\r\nContent-Length: 2\r\n\r\n0", b"HTTP/1.1 400 x\r\n\r\nHH"),
        (
            b"POST / HTTP/1.1\r\nUpgrade: z\r\nContent-Length: 2\r\n\r\n0",
            b"HTTP/1.1 101 x\r\n\r\nHH",
        ),
        (b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n0", b"HTTP/1.1 101 x\r\n\r\nHH"),
    ],
)
def test_reply_that_takes_over_before_the_request_ends(
    asked: bytes, answered: bytes, more: bytes
) -> None:
    peers = opened()
    peers.ask(asked)
    peers.answer(answered)
    if more:
        peers.ask(more)
    peers.close()
    result = run_all_ways(peers.sent)
    assert result.exchanges[0].http.response.status in (101, 200, 400)


def test_acknowledgment_long_after_the_close() -> None:
    """It belongs to another connection, in the same batch too."""
    peers = opened()
    talk(peers, 3)
    peers.close()
    peers.at_ns += 11 * SECOND
    peers.segment(1)
    assert run_all_ways(peers.sent).ledger.connections == 2


def test_server_acknowledges_before_it_opens() -> None:
    """What it acknowledged was of a connection before (RFC 9293 §3.10.7.4)."""
    peers = Peers()
    peers.segment(0, SYN)
    peers.numbers[1] = 777
    peers.segment(1, ACK)
    peers.numbers[1] = 5000
    peers.segment(1, SYN | ACK)
    peers.segment(0)
    talk(peers, 6)
    peers.close()
    run_all_ways(peers.sent)


def test_role_where_the_service_shows_itself_late() -> None:
    """Since when an address is the service's is told by its first data, not by its SYN."""
    served = Peers(client=("10.0.0.1", 40000), server=("10.0.0.2", 80))
    asking = Peers(client=("10.0.0.2", 50000), server=("10.0.0.3", 9000))
    served.open()
    asking.at_ns = served.at_ns
    asking.open()
    talk(asking, 1)
    served.at_ns = asking.at_ns
    talk(served, 1)
    asking.at_ns = served.at_ns
    later = Peers(client=("10.0.0.2", 50001), server=("10.0.0.3", 9000), at_ns=served.at_ns)
    later.open()
    talk(later, 1)
    segments = sorted(served.sent + asking.sent + later.sent, key=lambda s: s.at_ns)
    result = run_all_ways(segments, [parse_service(":80")])
    roles = [e.role for e in result.exchanges]
    assert roles == [pb.ROLE_UNSPECIFIED, pb.ROLE_INBOUND, pb.ROLE_OUTBOUND]


def test_first_segment_alone_tells_who_speaks() -> None:
    peers = opened()
    peers.answer(b"GET /0 HT")
    peers.answer(b"TP/1.1\r\nHost: a\r\n\r\n")
    run_all_ways(peers.sent)


@pytest.mark.parametrize("size", [3, 7, 11])
def test_begun_before_the_capture_in_small_segments(size: int) -> None:
    peers = Peers()
    peers.answer(OK % 1, size)
    peers.close(1)
    assert run_all_ways(peers.sent).ledger.response_only == 1


def test_heads_that_are_too_large_are_not_learned() -> None:
    peers = opened()
    fields = b"".join(b"X-%d: %d\r\n" % (number, number) for number in range(200))
    for number in range(12):
        peers.ask(b"GET /%d HTTP/1.1\r\nHost: a\r\n%b\r\n" % (number, fields))
        peers.answer(OK % number)
    assert run_all_ways(peers.sent, splits=((1,), (0,))).ledger.complete == 12
    pipeline = Pipeline("pcap", 1 << 20)
    pipeline.feed(batch_of(peers.sent))
    heads = pipeline.sections.request_heads
    assert all(heads.match(s.payload, 0) is None for s in peers.sent if s.source == peers.client)


def _in_turn(*groups: list[Segment]) -> list[Segment]:
    return sorted((s for group in groups for s in group), key=lambda s: s.at_ns)


def test_connections_beside_each_other() -> None:
    groups = []
    for number in range(4):
        peers = opened(client=("10.0.0.1", 40000 + number), at_ns=10**18 + number * MS // 3)
        talk(peers, 5)
        peers.close()
        groups.append(peers.sent)
    together = run_all_ways(_in_turn(*groups))
    alone = [run([replace(s) for s in group]).exchanges for group in groups]
    assert sorted(e.id for e in together.exchanges) == sorted(e.id for a in alone for e in a)
