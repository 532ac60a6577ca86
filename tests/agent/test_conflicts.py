"""Bytes that come again with other values: the first are delivered, both are kept."""

from dataclasses import replace

import pytest
from tcp_traffic import MS, SERVER, Peers, Result, Segment, batch_of, run, run_all_ways

from wiretape.agent.pipeline import Pipeline
from wiretape.agent.tcp.conflict import MAX_CONFLICTS, MAX_SHOWN_BYTES
from wiretape.agent.tcp.memory import PACKET_WEIGHT, Traffic
from wiretape.exchange.v1 import exchange_pb2 as pb

REQUEST = b"GET /first HTTP/1.1\r\nHost: a\r\n\r\n"
OTHER = b"GET /other HTTP/1.1\r\nHost: b\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789"


def conflicts(exchange: pb.Exchange | pb.ConnectionEnd) -> list[tuple[int, str]]:
    """Side and detail of each."""
    found = exchange.http.violations if isinstance(exchange, pb.Exchange) else exchange.violations
    return [(v.side, v.detail) for v in found if v.code == "conflicting-retransmission"]


def conversation() -> tuple[Peers, Segment, list[Segment]]:
    """Client and server, the request, and the answer in segments of 20 bytes."""
    peers = Peers()
    peers.open()
    (asked,) = peers.ask(REQUEST)
    return peers, asked, peers.answer(RESPONSE, 20)


def whole(result: Result) -> pb.Exchange:
    (exchange,) = result.exchanges
    assert exchange.http.request.target == b"/first"
    assert exchange.http.response.content.data == b"0123456789"
    return exchange


DETAIL = "offset 5, 23 bytes: first '{}', then '{}'".format(
    "first HTTP/1.1\\r\\nHost: a", "other HTTP/1.1\\r\\nHost: b"
)


@pytest.mark.parametrize("place", [4, 5, 6])
def test_whole_request_again_with_other_bytes(place: int) -> None:
    """Sent again, as long as its exchange is not recorded yet."""
    peers, asked, _ = conversation()
    again = replace(asked, payload=OTHER)
    result = run_all_ways([*peers.sent[:place], again, *peers.sent[place:]])
    assert conflicts(whole(result)) == [(pb.Violation.REQUEST, DETAIL)]
    assert result.ledger.conflicting_bytes == 6
    assert result.ledger.retransmitted_bytes == len(REQUEST)
    assert result.ends[0].client.conflicting_bytes == 6


def test_request_again_behind_its_exchange() -> None:
    """That is recorded by then; the end of the connection tells."""
    peers, asked, _ = conversation()
    peers.segment(0)
    result = run_all_ways([*peers.sent, replace(asked, payload=OTHER)])
    assert conflicts(whole(result)) == []
    assert conflicts(result.ends[0]) == [(pb.Violation.REQUEST, DETAIL)]
    assert result.ledger.conflicting_bytes == 6
    assert result.ledger.violations == 1


def test_overlap_with_what_waits() -> None:
    """Both came before the bytes in front of them."""
    peers, _, answer = conversation()
    first, second, third = answer[:3]
    other = replace(second, payload=second.payload[:5] + b"#####" + second.payload[10:])
    before = [s for s in peers.sent if s not in answer]
    result = run_all_ways([*before, second, other, first, third])
    assert conflicts(whole(result)) == [
        (pb.Violation.RESPONSE, "offset 25, 5 bytes: first 'Lengt', then '#####'")
    ]
    assert result.ledger.overlapping_bytes == 20


def test_part_old_and_part_new() -> None:
    """The old part is compared, the new one delivered."""
    peers, _, answer = conversation()
    first, second, third = answer[:3]
    merged = replace(second, seq=first.seq + 10, payload=b"x" * 10 + second.payload)
    before = [s for s in peers.sent if s not in answer]
    result = run_all_ways([*before, first, merged, third])
    assert conflicts(whole(result)) == [
        (pb.Violation.RESPONSE, "offset 10, 10 bytes: first '00 OK\\r\\nCon', then 'xxxxxxxxxx'")
    ]


def test_equal_bytes_are_no_conflict() -> None:
    peers, asked, answer = conversation()
    result = run_all_ways([*peers.sent[:4], asked, *peers.sent[4:], answer[0], *answer])
    assert conflicts(whole(result)) == conflicts(result.ends[0]) == []
    assert result.ledger.conflicting_bytes == 0


def test_probe_of_a_living_peer_is_no_conflict() -> None:
    """It may carry any byte at the last acknowledged place (RFC 9293 §3.8.4)."""
    peers, _, answer = conversation()
    acknowledged = peers.segment(0)
    last = answer[-1]
    probe = replace(last, seq=last.seq + len(last.payload) - 1, payload=b"\0", at_ns=peers.at_ns)
    result = run_all_ways([*peers.sent, probe, acknowledged])
    assert conflicts(result.ends[0]) == []
    assert result.ledger.conflicting_bytes == 0
    two = replace(probe, seq=probe.seq - 1, payload=b"\0\0")
    assert run_all_ways([*peers.sent, two]).ledger.conflicting_bytes == 2


def test_long_conflicts_are_cut_short_and_all_are_counted() -> None:
    peers = Peers()
    peers.open()
    head = b"PUT / HTTP/1.1\r\nContent-Length: 500\r\n\r\n"
    peers.ask(head)
    (content,) = peers.ask(b"a" * 500)
    peers.segment(1)
    again = [
        replace(content, payload=b"b" * 500, at_ns=peers.at_ns + n * MS)
        for n in range(MAX_CONFLICTS + 5)
    ]
    result = run_all_ways([*peers.sent, *again], splits=((1,), (7,), (0,)))
    found = conflicts(result.exchanges[0])
    assert len(found) == MAX_CONFLICTS
    shown = "{!r}…, then {!r}…".format("a" * MAX_SHOWN_BYTES, "b" * MAX_SHOWN_BYTES)
    assert found[0][1] == f"offset {len(head)}, 500 bytes: first {shown}"
    assert result.ledger.conflicting_bytes == 500 * (MAX_CONFLICTS + 5)


def test_what_lies_too_far_back_is_not_compared() -> None:
    """How far is told by the traffic in between alone, so batches do not matter."""
    peers, asked, _ = conversation()
    segments = [*peers.sent[:4], *peers.sent[4:-1]]
    other = Peers(client=("10.0.0.3", 41000), at_ns=peers.at_ns)
    other.open()
    other.answer(b"z" * 3000, 100)
    again = replace(asked, payload=OTHER, at_ns=other.at_ns)
    between = sum(len(s.payload) + PACKET_WEIGHT for s in [*segments[4:], *other.sent, again])
    for weight, found in ((between, 6), (between - 1, 0)):
        for sizes in ((1,), (2,), (7,), (0,)):
            for fast in (True, False):
                result = run([*segments, *other.sent, again], sizes, fast, traffic=Traffic(weight))
                assert result.ledger.conflicting_bytes == found, (weight, sizes, fast)


def test_delivered_bytes_are_let_go_of() -> None:
    """What is remembered of all connections together is bounded by the traffic."""
    sent = [
        Segment(("10.0.0.1", 1024 + n), SERVER, 1, ack=1, payload=b"x" * 1400) for n in range(200)
    ]
    pipeline = Pipeline("pcap", 1 << 20)
    pipeline.traffic = Traffic(20 * (1400 + PACKET_WEIGHT))
    for at in range(0, 200, 10):
        pipeline.feed(batch_of(sent[at : at + 10], at))
    connections = pipeline._table._connections.values()
    remembered = sum(len(half._recent) for c in connections for half in c.halves)
    assert 20 <= remembered <= 30
    pipeline.close()
