"""Whole captures to exchanges: neither batches nor the fast lane may change anything."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from numbered_traffic import keep_alive, paired, request, response
from tcp_traffic import (
    ACK,
    BEGIN_NS,
    CLIENT,
    FIN,
    MS,
    PSH,
    RST,
    SECOND,
    SERVER,
    SYN,
    Peers,
    Segment,
    run,
    run_all_ways,
)

from wiretape.agent.pipeline import Pipeline
from wiretape.agent.sources.pcap_file import open_capture
from wiretape.exchange.endpoints import parse_service
from wiretape.exchange.records import EXCHANGES
from wiretape.exchange.v1 import exchange_pb2 as pb

SHOP = Path(__file__).resolve().parents[2] / "fixtures" / "pcaps" / "shop"
HOUR = 3600 * SECOND


@pytest.fixture(autouse=True)
def learn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every head may be read by a template from its second sighting on."""
    monkeypatch.setattr("wiretape.exchange.http1.template.SIGHTINGS", 1)


def test_keep_alive() -> None:
    peers = Peers()
    peers.open()
    keep_alive(peers)
    peers.close()
    result = run_all_ways(peers.sent)
    assert paired(result.exchanges) == [(str(n), str(n)) for n in range(4)]
    assert [e.ordinal for e in result.exchanges] == [0, 1, 2, 3]
    (end,) = result.ends
    assert end.how == pb.ConnectionEnd.CLOSED
    assert result.ledger.complete == 4
    assert result.ledger.connections == 1


@pytest.mark.parametrize("first", [0, 1])
def test_end_is_told_at_the_packet_that_showed_it(first: int) -> None:
    """What comes behind the second FIN must not change when the connection ended."""
    peers = Peers()
    peers.open()
    keep_alive(peers, 1)
    peers.close(first)
    closed_at_ns = peers.sent[-2].at_ns
    peers.at_ns += 2 * SECOND
    peers.segment(first)
    late = replace(peers.sent[3], at_ns=peers.at_ns)
    result = run_all_ways([*peers.sent, late])
    (end,) = result.ends
    assert end.closed_at_ns == closed_at_ns
    assert end.how == pb.ConnectionEnd.CLOSED
    assert end.client.retransmitted_bytes == 0
    assert result.ledger.retransmitted_bytes == len(late.payload)


def test_connections_that_end_in_turn() -> None:
    """Records stand in the order of the packets that finished them."""
    one, other = Peers(), Peers(client=("10.0.0.3", 41000))
    for peers in (one, other):
        peers.open()
        keep_alive(peers, 2)
        peers.close()
    mixed = [s for pair in zip(one.sent, other.sent, strict=True) for s in pair]
    result = run_all_ways(mixed)
    assert len(result.exchanges) == 4
    assert len(result.ends) == 2


def test_long_silence_ends_a_connection() -> None:
    peers = Peers()
    peers.open()
    keep_alive(peers, 2)
    peers.at_ns += 2 * HOUR
    keep_alive(peers, 2)
    result = run_all_ways(peers.sent)
    assert result.ledger.connections == 2
    assert [end.how for end in result.ends] == [pb.ConnectionEnd.OPEN] * 2
    assert [e.connection.midstream for e in result.exchanges] == [False, False, True, True]
    assert len(result.exchanges) == 4


def test_silence_is_seen_by_the_packets_of_others() -> None:
    quiet, busy = Peers(), Peers(client=("10.0.0.3", 41000), at_ns=BEGIN_NS + 7)
    quiet.open()
    keep_alive(quiet, 1)
    busy.open()
    busy.at_ns += HOUR
    keep_alive(busy, 1)
    busy.at_ns += HOUR
    keep_alive(busy, 1)
    quiet.at_ns = busy.at_ns
    keep_alive(quiet, 1)
    result = run_all_ways(sorted(quiet.sent + busy.sent, key=lambda s: s.at_ns))
    assert len(result.exchanges) == 4


def test_hole_is_given_up_at_the_packet_that_showed_the_time() -> None:
    """Be it one of another connection: records are ordered by it."""
    holed, busy = Peers(), Peers(client=("10.0.0.3", 41000), at_ns=BEGIN_NS + 7)
    holed.open()
    holed.ask(request(0))
    lost, *_ = holed.answer(response(0, b"x" * 3000), 1000)
    holed.segment(0)
    busy.open()
    busy.at_ns += 2 * SECOND
    for number in range(3):
        keep_alive(busy, 1)
    holed.at_ns = busy.at_ns
    keep_alive(holed, 1)
    segments = [s for s in holed.sent if s is not lost] + busy.sent
    result = run_all_ways(sorted(segments, key=lambda s: s.at_ns))
    assert result.ledger.gap_bytes == 1000


def test_reason_of_undecoded_bytes() -> None:
    """What is no response is called the same, whether or not a request came by then."""
    peers = Peers()
    peers.ask(request(0))
    peers.answer(response(0))
    peers.answer(b"no head\r\n")
    peers.ask(request(1))
    run_all_ways(peers.sent)


def test_reset() -> None:
    peers = Peers()
    peers.open()
    keep_alive(peers, 2)
    peers.ask(request(9))
    peers.segment(1, RST | ACK)
    result = run_all_ways(peers.sent)
    assert paired(result.exchanges) == [("0", "0"), ("1", "1"), ("9", "")]
    (end,) = result.ends
    assert end.how == pb.ConnectionEnd.RESET


@pytest.mark.parametrize(
    ("asked", "told", "how", "is_told"),
    [
        # By turns: C or S sends FIN, R is a RST of the client, A an answer.
        (True, "CAR", pb.ConnectionEnd.RESET, True),
        (True, "C", pb.ConnectionEnd.OPEN, True),
        (True, "CS", pb.ConnectionEnd.CLOSED, True),
        (True, "SC", pb.ConnectionEnd.CLOSED, False),
        (True, "R", pb.ConnectionEnd.RESET, False),
        (False, "CS", pb.ConnectionEnd.CLOSED, False),  # it had all that it asked for
        (False, "C", pb.ConnectionEnd.OPEN, True),
    ],
)
def test_a_client_that_went_first(
    asked: bool, told: str, how: pb.ConnectionEnd.How, is_told: bool
) -> None:
    peers = Peers()
    peers.open()
    keep_alive(peers, 2)
    if asked:
        peers.ask(request(9))
    left_ns = peers.at_ns
    for what in told:
        if what == "A":
            peers.answer(response(9))
        else:
            peers.segment(int(what == "S"), (RST if what == "R" else FIN) | ACK)
    (end,) = run_all_ways(peers.sent).ends
    assert (end.how, end.client_closed_at_ns) == (how, left_ns if is_told else 0)


def test_ports_used_again() -> None:
    """A SYN begins another connection, whatever was left of the one before."""
    peers = Peers()
    peers.open()
    keep_alive(peers, 2)
    peers.numbers = [900_000, 70]
    peers.open()
    keep_alive(peers, 2)
    peers.close()
    peers.numbers = [20_000, 40_000]
    peers.open()
    keep_alive(peers, 1)
    result = run_all_ways(peers.sent)
    assert [end.how for end in result.ends] == [
        pb.ConnectionEnd.REPLACED, pb.ConnectionEnd.CLOSED, pb.ConnectionEnd.OPEN,
    ]  # fmt: skip
    assert paired(result.exchanges) == [(n, n) for n in "01010"]
    assert len({e.connection.id for e in result.exchanges}) == 3


def test_handshake_in_the_other_order() -> None:
    peers = Peers()
    syn, syn_ack, ack = peers.open()
    keep_alive(peers, 2)
    result = run_all_ways([syn_ack, syn, ack, *peers.sent[3:]])
    assert {e.connection.client.port for e in result.exchanges} == {40000}
    assert len(result.exchanges) == 2


def test_acknowledgments_out_of_order() -> None:
    """An older acknowledgment after a newer one takes nothing back: the bytes were received."""
    peers = Peers()
    peers.open()
    keep_alive(peers, 1)
    peers.ask(request(1))
    lost = peers.answer(response(1, b"x" * 500))
    newer = peers.segment(0)
    older = replace(newer, ack=lost[0].seq, at_ns=newer.at_ns + MS)
    peers.at_ns += 10 * SECOND
    tick = Peers(client=("10.0.0.9", 1), at_ns=peers.at_ns)
    tick.open()
    segments = [s for s in peers.sent if s not in lost]
    result = run_all_ways([*segments, older, *tick.sent])
    assert result.ledger.gap_bytes == sum(len(s.payload) for s in lost)


def test_midstream() -> None:
    peers = Peers()
    peers.answer(b"{tail of something\r\n\r\n")
    keep_alive(peers, 3)
    result = run_all_ways(peers.sent)
    assert paired(result.exchanges) == [(n, n) for n in "012"]
    assert all(e.connection.midstream for e in result.exchanges)
    assert result.ledger.undecoded_bytes == 22


def test_snapped_packets_leave_gaps() -> None:
    peers = Peers()
    peers.open()
    keep_alive(peers, 1)
    peers.ask(request(1))
    (whole,) = peers.answer(response(1, b"y" * 600))
    peers.ask(request(2))
    peers.answer(response(2))
    segments = [replace(s, captured=300) if s is whole else s for s in peers.sent]
    result = run_all_ways(segments)
    content = result.exchanges[1].http.response.content
    assert content.length == 600
    assert [g.reason for g in content.gaps] == [pb.Gap.SNAPLEN]
    assert len(content.data) + content.gaps[0].length == 600
    assert paired(result.exchanges) == [(n, n) for n in "012"]


def test_service_gives_roles() -> None:
    inbound, outbound = Peers(), Peers(client=("10.0.0.2", 50000), server=("10.0.0.3", 8080))
    for peers in (inbound, outbound):
        peers.open()
        keep_alive(peers, 1)
    segments = inbound.sent + outbound.sent
    for service in ("10.0.0.2:80", ":80"):
        result = run_all_ways(segments, [parse_service(service)])
        assert [e.role for e in result.exchanges] == [pb.ROLE_INBOUND, pb.ROLE_OUTBOUND]


# -- real traffic


def test_shop_is_read_as_its_services_logged_it() -> None:
    expected = json.loads((SHOP / "expected.json").read_text())
    services = [expected["endpoints"]["shop"]]
    wanted = {
        (
            c["client"]["address"],
            c["client"]["port"],
            c["server"]["address"],
            c["server"]["port"],
        ): [(r["method"], r["target"], r["status"]) for r in c["requests"]]
        for c in expected["connections"]
    }
    roles = {
        (c["client"]["address"], c["client"]["port"]): c["role"] for c in expected["connections"]
    }
    service = parse_service(f"{services[0]['address']}:{services[0]['port']}")
    seen: list[list[tuple[int, bytes]]] = []
    for batch_bytes in (4096, 20_000, 1 << 20):
        for fast in (True, False):
            pipeline = Pipeline("pcap", 1 << 20, [service], fast)
            records: list[tuple[int, bytes]] = []
            with open_capture(str(SHOP / "shop.pcap"), batch_bytes) as capture:
                for batch in capture.batches():
                    records += [(r[1], b"".join(r[2])) for r in pipeline.feed(batch)]
            records += [(r[1], b"".join(r[2])) for r in pipeline.close()]
            assert pipeline.ledger.faults() == []
            assert pipeline.ledger.gap_bytes == pipeline.ledger.undecoded_bytes == 0
            seen.append(records)
    assert all(records == seen[0] for records in seen)
    found: dict[tuple[str, int, str, int], list[tuple[str, str, int]]] = {}
    for channel, data in seen[0]:
        if channel != EXCHANGES:
            continue
        exchange = pb.Exchange.FromString(data)
        client, server, http = exchange.connection.client, exchange.connection.server, exchange.http
        key = client.address, client.port, server.address, server.port
        found.setdefault(key, []).append(
            (http.request.method, http.request.target.decode(), http.response.status)
        )
        role = pb.Role.Name(exchange.role).removeprefix("ROLE_").lower()
        assert role == roles[client.address, client.port]
        assert http.request.content.complete
        assert http.response.content.complete
        assert not http.violations
    assert found == wanted


def test_no_packets_at_all() -> None:
    result = run([])
    assert result.records == []
    assert result.ledger.packets == 0


def test_response_that_waited_for_a_lost_request_is_finished_by_the_loss() -> None:
    """It acknowledges bytes that were never seen: its place is where they were given up."""
    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    size, third = len(ok), ("10.0.0.1", 40001)
    run_all_ways(
        [
            Segment(third, SERVER, 1000, 5000, 24, b"GET / HTTP/1.1\r\n\r\n", BEGIN_NS),
            Segment(SERVER, third, 5000, 1098, 24, ok, BEGIN_NS + MS),
            Segment(SERVER, third, 5000 + size, 1098, 24, ok, BEGIN_NS + 2 * MS),
            Segment(SERVER, CLIENT, 75003, 71040, 24, ok, BEGIN_NS + 3 * MS),
            Segment(third, SERVER, 1099, 5000, 24, b"late bytes", BEGIN_NS + 2 * SECOND),
        ]
    )


def test_role_of_calls_whose_answer_came_first() -> None:
    """The service's address is known from the first connection to it, not its first answer."""
    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    inbound = Peers()
    inbound.open()
    inbound.ask(b"GET / HTTP/1.1\r\n\r\n")
    outbound = Peers(client=("10.0.0.2", 50000), server=("10.0.0.3", 8080), at_ns=inbound.at_ns)
    outbound.open()
    outbound.ask(b"GET / HTTP/1.1\r\n\r\n")
    outbound.answer(ok)
    first = len(inbound.sent)
    inbound.answer(ok)
    segments = [*inbound.sent[:first], *outbound.sent, *inbound.sent[first:]]
    result = run_all_ways(segments, [parse_service(":80")])
    assert sorted(e.role for e in result.exchanges) == [pb.ROLE_INBOUND, pb.ROLE_OUTBOUND]


def test_response_that_acknowledges_nothing_is_paired_with_nobody() -> None:
    """What its sender had by then is not known; nor is its place where its request came later."""
    answer = Segment(SERVER, CLIENT, 5000, 1057, SYN, response(1), BEGIN_NS)
    asked = Segment(CLIENT, SERVER, 1001, 5001, PSH | ACK, request(0), BEGIN_NS + MS)
    result = run_all_ways([answer, asked])
    assert paired(result.exchanges) == [("", "1"), ("0", "")]


def test_response_that_acknowledges_less_than_was_seen_is_paired_with_nobody() -> None:
    peers = Peers()
    peers.segment(0)
    answer = Segment(SERVER, CLIENT, 5000, 500, PSH | ACK, response(1), BEGIN_NS)
    asked = Segment(CLIENT, SERVER, 1000, 5000, PSH | ACK, request(0), BEGIN_NS + MS)
    result = run_all_ways([*peers.sent, answer, asked])
    assert paired(result.exchanges) == [("", "1"), ("0", "")]


def test_a_stream_without_a_method_is_no_http_from_its_beginning() -> None:
    """Whether its first line came whole with it, or much later."""
    peers = Peers()
    peers.open()
    peers.ask(b"c" * 188 + request(0), 64)
    result = run_all_ways(peers.sent)
    assert [e.http.request.method for e in result.exchanges] == []


def test_request_line_cut_over_two_batches_midstream() -> None:
    """Who is the client is not decided before the line is whole."""
    peers = Peers()
    peers.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 7)
    result = run_all_ways(peers.sent)
    assert len(result.exchanges) == 1
