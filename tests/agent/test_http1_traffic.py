"""HTTP/1 between two sides and across packets: what replies decide, and what follows a loss."""

from collections.abc import Sequence

import pytest
from tcp_traffic import MS, SECOND, Peers, Result, Segment, run_all_ways

from wiretape.exchange.v1 import exchange_pb2 as pb

Shape = tuple[str, int]
"""Target of the request, status of the response; "" and -1 where there is none."""


def shapes(result: Result) -> list[Shape]:
    return [
        (
            e.http.request.target.decode() if e.http.HasField("request") else "",
            e.http.response.status if e.http.HasField("response") else -1,
        )
        for e in result.exchanges
    ]


def codes(result: Result) -> list[str]:
    return [v.code for e in result.exchanges for v in e.http.violations]


def get(target: str) -> bytes:
    return b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % target.encode()


def ok(status: int = 200, content: bytes = b"ok", more: bytes = b"") -> bytes:
    return b"HTTP/1.1 %d X\r\n%bContent-Length: %d\r\n\r\n%b" % (
        status, more, len(content), content,
    )  # fmt: skip


def talked(*said: tuple[int, bytes], size: int = 1460, opened: bool = True) -> Result:
    """(side, bytes) in turn, in segments of `size`; whole and with single bytes."""
    results = []
    for step in (size, 1):
        peers = Peers()
        if opened:
            peers.open()
        for side, data in said:
            peers.say(side, data, step)
        peers.close()
        results.append(run_all_ways(peers.sent, splits=((1,), (7,), (0,))))
    assert shapes(results[0]) == shapes(results[1])
    assert codes(results[0]) == codes(results[1])
    return results[0]


# -- order of the two sides


def test_reply_begins_before_the_upload_ends() -> None:
    head = b"PUT /up HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n"
    result = talked(
        (0, head + b"0123456789"), (1, ok(200)[:30]), (0, b"0123456789"), (1, ok(200)[30:]),
        (0, get("/next")), (1, ok(201)),
    )  # fmt: skip
    assert shapes(result) == [("/up", 200), ("/next", 201)]
    assert result.exchanges[0].http.request.content.data == b"0123456789" * 2


def test_reply_ends_before_the_upload_does() -> None:
    """The rest of the upload belongs to it, and the next request follows."""
    head = b"PUT /up HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n"
    result = talked(
        (0, head + b"0123456789"), (1, ok(413)), (0, b"0123456789" + get("/next")), (1, ok(201))
    )
    assert shapes(result) == [("/up", 413), ("/next", 201)]
    assert result.exchanges[0].http.request.content.complete


def test_upload_given_up_after_an_early_reply() -> None:
    head = b"PUT /up HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n"
    result = talked((0, head + b"01234"), (1, ok(413)))
    assert shapes(result) == [("/up", 413)]
    assert not result.exchanges[0].http.request.content.complete
    assert codes(result) == ["incomplete-content"]


def test_several_replies_to_one_request() -> None:
    """The first one answers it; the second belongs to nobody, not to the next request."""
    result = talked((0, get("/1")), (1, ok(200) + ok(500)), (0, get("/2")), (1, ok(201)))
    assert shapes(result) == [("/1", 200), ("", 500), ("/2", 201)]


def test_reply_without_any_request() -> None:
    """A server that gives up a connection nobody used says so (RFC 9110 §15.5.9)."""
    result = talked((1, ok(408)))
    assert shapes(result) == [("", 408)]


def test_any_number_of_interim_replies() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n"
    result = talked((0, get("/1")), (1, interim + ok()), (0, get("/2")), (1, ok(201)))
    assert shapes(result) == [("/1", 200), ("/2", 201)]
    assert [r.status for r in result.exchanges[0].http.interim] == [100, 100, 100, 103]


# -- what takes the connection over


def test_tunnel_with_http_in_it() -> None:
    connect = b"CONNECT b:80 HTTP/1.1\r\nHost: b:80\r\n\r\n"
    result = talked(
        (0, connect), (1, b"HTTP/1.1 200 OK\r\n\r\n"), (0, get("/in")), (1, ok(201)),
        (0, get("/in2")), (1, ok(202)),
    )  # fmt: skip
    assert shapes(result) == [("b:80", 200), ("/in", 201), ("/in2", 202)]


def test_tunnel_with_something_else_in_it() -> None:
    connect = b"CONNECT b:443 HTTP/1.1\r\nHost: b:443\r\n\r\n"
    result = talked(
        (0, connect), (1, b"HTTP/1.1 200 OK\r\n\r\n"), (0, b"\x16\x03\x01\x00\x04abcd"),
        (1, b"\x16\x03\x03\x00\x04efgh"),
    )  # fmt: skip
    assert shapes(result) == [("b:443", 200)]
    assert result.ledger.undecoded_bytes == 18
    assert "tunnel" in result.ledger.undecoded_streams


def test_refused_tunnel() -> None:
    connect = b"CONNECT b:80 HTTP/1.1\r\nHost: b:80\r\n\r\n"
    result = talked(
        (0, connect), (1, ok(407)), (0, connect), (1, ok(403)), (0, get("/")), (1, ok())
    )
    assert shapes(result) == [("b:80", 407), ("b:80", 403), ("/", 200)]


@pytest.mark.parametrize("length", [b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_lengths_of_a_tunnels_reply_mean_nothing(length: bytes) -> None:
    """RFC 9110 §9.3.6."""
    connect = b"CONNECT b:80 HTTP/1.1\r\nHost: b:80\r\n\r\n"
    result = talked(
        (0, connect), (1, b"HTTP/1.1 200 OK\r\n" + length + b"\r\n"), (0, get("/in")), (1, ok(201))
    )
    assert shapes(result) == [("b:80", 200), ("/in", 201)]


def test_upgrade() -> None:
    """What follows a 101 is another protocol, whatever it looks like."""
    upgrade = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    switch = b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    result = talked((0, upgrade), (1, switch), (0, get("/no")), (1, ok(500)))
    assert shapes(result) == [("/ws", 101)]
    assert result.ledger.undecoded_streams == {"upgraded": 2}


def test_refused_upgrade() -> None:
    upgrade = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    result = talked((0, upgrade), (1, ok(200)), (0, get("/next")), (1, ok(201)))
    assert shapes(result) == [("/ws", 200), ("/next", 201)]


# -- framing that says two things


CHUNKED = b"3\r\nabc\r\n0\r\n\r\n"
SMUGGLED = [
    (
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", CHUNKED, b"abc",
        "chunked is read; Content-Length says 4",
    ),
    (
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", CHUNKED, b"abc",
        "chunked is read; Content-Length says 4",
    ),
    (
        b"Transfer-Encoding: chunked\r\nContent-Length: -4\r\n", CHUNKED, b"abc",
        "chunked is read; Content-Length is invalid",
    ),
    (
        b"Transfer-Encoding: gzip\r\nContent-Length: 4\r\n", b"abcd", b"abcd",
        "Transfer-Encoding does not end in chunked; Content-Length says 4",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "content", "read", "detail"), SMUGGLED)
def test_transfer_encoding_with_content_length(
    fields: bytes, content: bytes, read: bytes, detail: str
) -> None:
    """Both readings stand in the violation: this is how requests are smuggled."""
    ask = b"POST /1 HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n" + content
    result = talked((0, ask + get("/2")), (1, ok() + ok(201)))
    assert shapes(result) == [("/1", 200), ("/2", 201)]
    http = result.exchanges[0].http
    assert http.request.content.data == read
    found = [v for v in http.violations if v.code == "transfer-encoding-with-content-length"]
    assert [(v.detail, v.side) for v in found] == [(detail, pb.Violation.REQUEST)]


def test_a_response_that_is_not_chunked_in_the_end_goes_on_to_the_end() -> None:
    """RFC 9112 §6.3 rules 3 and 4: Transfer-Encoding overrides the length."""
    reply = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcdefgh"
    result = talked((0, get("/1")), (1, reply))
    (exchange,) = result.exchanges
    assert exchange.http.response.content.data == b"abcdefgh"
    assert exchange.http.response.content.framing == pb.Content.CLOSE
    assert "transfer-encoding-with-content-length" in codes(result)


def test_conflicting_lengths_are_both_told() -> None:
    ask = b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 5\r\n\r\nab"
    result = talked((0, ask + get("/2")), (1, ok() + ok(201)))
    assert shapes(result) == [("/1", 200), ("/2", 201)]
    (violation,) = result.exchanges[0].http.violations
    assert (violation.code, violation.detail) == ("conflicting-content-length", "2 is read; then 5")


@pytest.mark.parametrize("value", [b"\x0bchunked", b"chunked\x00", b"\x0cchunked"])
def test_transfer_encoding_hidden_by_control_characters(value: bytes) -> None:
    ask = b"POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: " + value + b"\r\n\r\n" + CHUNKED
    result = talked((0, ask + get("/2")), (1, ok() + ok(201)))
    assert "unusual-transfer-encoding" in codes(result)


def test_request_whose_length_cannot_be_known() -> None:
    """RFC 9112 §6.3 rule 4: nothing is read of its content."""
    ask = b"POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n"
    result = talked((0, ask), (1, ok(400)))
    assert shapes(result) == [("/1", 400)]
    assert "request-length-unknown" in codes(result)


@pytest.mark.parametrize("side", [0, 1])
def test_transfer_encoding_in_http_1_0(side: int) -> None:
    """RFC 9112 §6.1: its sender cannot know chunked; read it is all the same."""
    ask = b"POST /1 HTTP/1.%d\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" % side + CHUNKED
    reply = b"HTTP/1.%d 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" % (1 - side) + CHUNKED
    result = talked((0, ask), (1, reply))
    (exchange,) = result.exchanges
    assert codes(result) == ["transfer-encoding-in-http-1.0"]
    assert exchange.http.request.content.data == b"abc"
    assert exchange.http.response.content.data == b"abc"


# -- loss


def lossy(sent: Sequence[Segment], lost: Sequence[Segment]) -> Result:
    """The capture without `lost`, and a later packet of somebody else."""
    late = Peers(client=("10.0.0.9", 9), at_ns=sent[-1].at_ns + 70 * SECOND).open()
    return run_all_ways([*(s for s in sent if s not in lost), *late])


REPLY = b"HTTP/1.1 200 X\r\nServer: s\r\nTransfer-Encoding: chunked\r\n\r\n"


def in_pieces(peers: Peers, side: int, *pieces: bytes) -> list[Segment]:
    return [segment for piece in pieces for segment in peers.say(side, piece)]


@pytest.mark.parametrize("acked", [False, True])
@pytest.mark.parametrize(
    ("pieces", "lost", "gaps", "head_gaps"),
    [
        ((ok()[:20], ok()[20:30], ok()[30:]), 1, [], [(20, 10)]),
        ((REPLY + b"1", b"0\r\n0123456789abcdef\r\n0", b"\r\n\r\n"), 1, [(0, 22)], []),
        ((REPLY + b"10\r\n0123", b"456789ab", b"cdef\r\n0\r\n\r\n"), 1, [(4, 8)], []),
        ((REPLY + b"10\r\n0123456789abcdef", b"\r\n0\r\n", b"\r\n"), 1, [(16, 5)], []),
        ((ok(content=b"x" * 10), b"", b""), -1, [], []),
        ((ok(content=b"x" * 10)[:-6], b"x" * 3, b"x" * 3), 1, [(4, 3)], []),
    ],
)
def test_a_gap_and_the_next_message(
    pieces: tuple[bytes, ...],
    lost: int,
    gaps: list[tuple[int, int]],
    head_gaps: list[tuple[int, int]],
    acked: bool,
) -> None:
    """In a header section, a chunk size, a content: told in the message; the next one is found."""
    peers = Peers()
    peers.open()
    peers.ask(get("/1"))
    sent = in_pieces(peers, 1, *pieces)
    if acked:
        peers.segment(0)
    peers.at_ns += MS
    peers.ask(get("/2"))
    peers.answer(ok(201))
    result = lossy(peers.sent, [sent[lost]] if lost >= 0 else [])
    first, second = result.exchanges[:2]
    assert [(g.offset, g.length) for g in first.http.response.content.gaps] == gaps
    assert [(g.offset, g.length) for g in first.http.response.head_gaps] == head_gaps
    assert first.http.request.target == b"/1"
    assert (second.http.request.target, second.http.response.status) == (b"/2", 201)
    assert second.http.response.content.complete
    if gaps:
        assert codes(result) == []
        assert not first.http.response.content.complete
        assert result.ledger.with_gaps == 1


@pytest.mark.parametrize("cut", [10, 25, len(REPLY), len(REPLY) + 1])
def test_hole_from_a_message_over_others(cut: int) -> None:
    """Pipelined: how many responses it took cannot be known, so what follows answers nobody."""
    peers = Peers()
    peers.open()
    peers.ask(get("/1") + get("/2") + get("/3"))
    whole = REPLY + CHUNKED
    _, lost, _ = in_pieces(peers, 1, whole[:cut], whole[cut:] + ok(202), ok(203))
    result = lossy(peers.sent, [lost])
    assert ("/2", 203) not in shapes(result)
    assert ("/1", 200) in shapes(result) or cut < 15


def test_a_status_of_one_digit_is_no_interim_one() -> None:
    """Only 1xx has no content (RFC 9110 §15.2)."""
    result = talked((0, get("/1")), (1, b"HTTP/1.1 2XX OK\r\nContent-Length: 4\r\n\r\nabcd"))
    (exchange,) = result.exchanges
    assert exchange.http.response.content.data == b"abcd"
    assert codes(result) == ["malformed-status-line"]
