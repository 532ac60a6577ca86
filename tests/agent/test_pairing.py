"""Which response answers which request, where some of them were lost: never a stranger."""

from collections.abc import Sequence

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tcp_traffic import MS, SECOND, Peers, Segment, run

from wiretape.exchange.v1 import exchange_pb2 as pb


def request(number: int) -> bytes:
    return b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number


def response(number: int, size: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\nX-Id: %d\r\nContent-Length: %d\r\n\r\n%b" % (
        number, size, bytes([97 + number % 26]) * size,
    )  # fmt: skip


def pairs(exchanges: Sequence[pb.Exchange]) -> list[tuple[int | None, int | None]]:
    """Planted ids of request and response, None where there is none or it was not seen."""
    found = []
    for exchange in exchanges:
        http = exchange.http
        asked = int(http.request.target[1:]) if http.HasField("request") else None
        ids = [int(f.value) for f in http.response.fields if f.name == b"X-Id"]
        found.append((asked, ids[0] if ids else None))
    return found


def no_stranger(exchanges: Sequence[pb.Exchange]) -> None:
    for asked, answered in pairs(exchanges):
        assert None in (asked, answered) or asked == answered, pairs(exchanges)


def talk(count: int, pipelined: bool, size: int, segment: int, opened: bool) -> Peers:
    peers = Peers()
    if opened:
        peers.open()
    if pipelined:
        for number in range(count):
            peers.ask(request(number), segment)
    for number in range(count):
        if not pipelined:
            peers.ask(request(number), segment)
        peers.answer(response(number, size), segment)
    peers.segment(0)
    peers.close()
    return peers


def without(sent: Sequence[Segment], lost: Sequence[int]) -> list[Segment]:
    return [s for n, s in enumerate(sent) if n not in lost]


def test_lost_response() -> None:
    peers = talk(4, False, 30, 1460, True)
    response_of_1 = 3 + 2 * 1 + 1
    result = run(without(peers.sent, [response_of_1]))
    assert pairs(result.exchanges) == [(0, 0), (1, None), (2, 2), (3, 3)]


def test_lost_request() -> None:
    """Its response is still there, and answers nobody else."""
    peers = talk(4, False, 30, 1460, True)
    request_1 = 3 + 2 * 1
    result = run(without(peers.sent, [request_1]))
    assert sorted(pairs(result.exchanges), key=str) == sorted(
        [(0, 0), (None, 1), (2, 2), (3, 3)], key=str
    )


def test_lost_request_and_response() -> None:
    peers = talk(4, False, 30, 1460, True)
    result = run(without(peers.sent, [5, 6]))
    assert pairs(result.exchanges) == [(0, 0), (2, 2), (3, 3)]


def test_lost_first_response() -> None:
    peers = talk(3, False, 30, 1460, True)
    result = run(without(peers.sent, [4]))
    assert pairs(result.exchanges) == [(0, None), (1, 1), (2, 2)]


def test_pipelined_with_a_lost_response_stays_unpaired_or_right() -> None:
    """Acknowledgments cannot tell pipelined requests apart."""
    peers = talk(4, True, 30, 1460, True)
    for lost in range(3 + 4, 3 + 8):
        result = run(without(peers.sent, [lost]))
        no_stranger(result.exchanges)
        asked = [asked for asked, _ in pairs(result.exchanges) if asked is not None]
        assert sorted(asked) == [0, 1, 2, 3]
        answered = [answered for _, answered in pairs(result.exchanges) if answered is not None]
        assert sorted(answered) == sorted({0, 1, 2, 3} - {lost - 7})


def test_response_behind_holes_in_both_directions_is_not_known() -> None:
    for opened in (True, False):
        peers = talk(2, False, 0, 1460, opened)
        first = 3 if opened else 0
        result = run(without(peers.sent, [first + 1, first + 2]))
        assert pairs(result.exchanges) in ([(0, None), (None, 1)], [(None, 1), (0, None)])


def test_retransmission_pairs_as_if_nothing_had_happened() -> None:
    peers = talk(4, False, 30, 1460, True)
    sent = peers.sent
    late = [*sent[:6], sent[7], sent[6], *sent[8:]]
    assert pairs(run(late).exchanges) == [(n, n) for n in range(4)]


def test_response_before_its_request_was_sent_whole() -> None:
    """An early refusal belongs to the request that is still being sent."""
    peers = Peers()
    peers.open()
    content = b"x" * 3000
    head = b"POST /0 HTTP/1.1\r\nHost: a\r\nContent-Length: 3000\r\n\r\n"
    peers.ask(head + content[:1000])
    peers.answer(response(0, 5))
    peers.ask(content[1000:])
    peers.ask(request(1))
    peers.answer(response(1, 5))
    result = run(peers.sent)
    assert pairs(result.exchanges) == [(0, 0), (1, 1)]
    assert result.exchanges[0].http.request.content.complete


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    count=st.integers(1, 6),
    pipelined=st.booleans(),
    size=st.sampled_from([0, 3, 100]),
    segment=st.sampled_from([17, 50, 1460]),
    opened=st.booleans(),
    lost=st.sets(st.integers(0, 80), max_size=5),
    pause=st.sampled_from([MS, 2 * SECOND, 61 * SECOND]),
    begin=st.integers(0, 12),
)
def test_never_a_stranger(
    count: int,
    pipelined: bool,
    size: int,
    segment: int,
    opened: bool,
    lost: set[int],
    pause: int,
    begin: int,
) -> None:
    # Of a pipeline that began before the capture nothing tells how many requests were ahead.
    peers = talk(count, pipelined, size, segment, opened or pipelined)
    kept = without(peers.sent, sorted(lost))[0 if pipelined else begin :]
    kept = [
        Segment(s.source, s.target, s.seq, s.ack, s.flags, s.payload, s.at_ns + n * pause)
        for n, s in enumerate(kept)
    ]
    result = run(kept)
    no_stranger(result.exchanges)
    for exchange in result.exchanges:
        for message in (exchange.http.request, exchange.http.response):
            content = message.content
            assert not (content.complete and content.gaps)
            assert len(set(content.data)) <= 1, "bytes of one content only"
