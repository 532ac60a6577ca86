"""Conversations as bytes, with what a reader must find in them."""

from dataclasses import dataclass

from wiretape.exchange.v1 import exchange_pb2 as pb

NONE, LENGTH, CHUNKED, CLOSE = (
    pb.Content.NONE, pb.Content.LENGTH, pb.Content.CHUNKED, pb.Content.CLOSE,
)  # fmt: skip
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass(frozen=True)
class Sample:
    """`requests` are (method, content, framing), `responses` (status, content, framing).

    `codes` are all violations; `exact` tells that the writer gives the bytes back; `left` is what
    belongs to no message, in both directions.
    """

    name: str
    asked: bytes
    answered: bytes
    requests: tuple[tuple[str, bytes, int], ...]
    responses: tuple[tuple[int, bytes, int], ...]
    codes: tuple[str, ...] = ()
    exact: bool = True
    left: int = 0


def get(count: int = 1) -> tuple[tuple[str, bytes, int], ...]:
    return (("GET", b"", NONE),) * count


def answer(head: bytes, content: bytes = b"") -> bytes:
    return b"HTTP/1.1 " + head.replace(b"\n", b"\r\n") + b"\r\n\r\n" + content


def ask(head: bytes, content: bytes = b"") -> bytes:
    return head.replace(b"\n", b"\r\n") + b"\r\n\r\n" + content


CHUNKS = b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"

SAMPLES = [
    Sample("length", GET, OK, get(), ((200, b"ok", LENGTH),)),
    Sample(
        "request with content",
        ask(b"POST /a HTTP/1.1\nHost: a\nContent-Length: 4", b"body"),
        answer(b"204 No Content"),
        (("POST", b"body", LENGTH),),
        ((204, b"", NONE),),
    ),
    Sample(
        "length of zero",
        ask(b"POST /a HTTP/1.1\nHost: a\nContent-Length: 0"),
        answer(b"200 OK\nContent-Length: 0"),
        (("POST", b"", LENGTH),),
        ((200, b"", LENGTH),),
    ),
    Sample(
        "pipelined",
        GET + ask(b"PUT /x HTTP/1.1\nHost: a\nContent-Length: 3", b"abc") + GET,
        OK + answer(b"201 Created\nContent-Length: 1", b"x") + OK,
        (*get(), ("PUT", b"abc", LENGTH), *get()),
        ((200, b"ok", LENGTH), (201, b"x", LENGTH), (200, b"ok", LENGTH)),
    ),
    Sample(
        "head has the length of what it leaves out",
        ask(b"HEAD / HTTP/1.1\nHost: a") + GET,
        answer(b"200 OK\nContent-Length: 5000") + OK,
        (("HEAD", b"", NONE), *get()),
        ((200, b"", NONE), (200, b"ok", LENGTH)),
    ),
    Sample(
        "not modified has a length too",
        GET + GET,
        answer(b"304 Not Modified\nContent-Length: 77") + OK,
        get(2),
        ((304, b"", NONE), (200, b"ok", LENGTH)),
    ),
    Sample(
        "head of a chunked resource",
        ask(b"HEAD / HTTP/1.1\nHost: a") + GET,
        answer(b"200 OK\nTransfer-Encoding: chunked") + OK,
        (("HEAD", b"", NONE), *get()),
        ((200, b"", NONE), (200, b"ok", LENGTH)),
    ),
    Sample(
        "interim responses",
        ask(b"POST / HTTP/1.1\nHost: a\nExpect: 100-continue\nContent-Length: 1", b"x") + GET,
        answer(b"100 Continue") + answer(b"103 Early Hints\nLink: </a>") + OK + OK,
        (("POST", b"x", LENGTH), *get()),
        ((100, b"", NONE), (103, b"", NONE), (200, b"ok", LENGTH), (200, b"ok", LENGTH)),
    ),
    Sample(
        "chunked both ways",
        ask(b"POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked", CHUNKS) + GET,
        answer(b"200 OK\nTransfer-Encoding: chunked", CHUNKS) + OK,
        (("POST", b"abcde", CHUNKED), *get()),
        ((200, b"abcde", CHUNKED), (200, b"ok", LENGTH)),
    ),
    Sample(
        "one chunk, and none",
        GET + GET,
        answer(b"200 OK\nTransfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n")
        + answer(b"200 OK\nTransfer-Encoding: chunked", b"0\r\n\r\n"),
        get(2),
        ((200, b"hello", CHUNKED), (200, b"", CHUNKED)),
    ),
    Sample(
        "chunk extensions",
        GET + GET,
        answer(
            b"200 OK\nTransfer-Encoding: chunked",
            b'3;a=b\r\nabc\r\n002 ; c="\\"d"\r\nde\r\n0;end\r\n\r\n',
        )
        + OK,
        get(2),
        ((200, b"abcde", CHUNKED), (200, b"ok", LENGTH)),
        codes=("space-in-chunk-size",),
        exact=False,
    ),
    Sample(
        "trailers",
        GET + GET,
        answer(
            b"200 OK\nTrailer: Digest\nTransfer-Encoding: chunked",
            b"a\r\n0123456789\r\n0\r\nDigest: x\r\nMore: y\r\n\r\n",
        )
        + OK,
        get(2),
        ((200, b"0123456789", CHUNKED), (200, b"ok", LENGTH)),
    ),
    Sample(
        "up to the end of the connection",
        GET,
        answer(b"200 OK", b"as long\r\n\r\nas it lasts"),
        get(),
        ((200, b"as long\r\n\r\nas it lasts", CLOSE),),
    ),
    Sample(
        "HTTP/1.0",
        ask(b"GET / HTTP/1.0"),
        b"HTTP/1.0 200 OK\r\n\r\nx",
        get(),
        ((200, b"x", CLOSE),),
    ),
    Sample(
        "HTTP/0.9",
        b"GET /old\r\n",
        b"<p>no head at all\r\n\r\n",
        get(),
        ((0, b"<p>no head at all\r\n\r\n", CLOSE),),
    ),
    Sample(
        "bare LF",
        b"GET / HTTP/1.1\nHost: a\nAccept: b\n\n" + GET,
        b"HTTP/1.1 200 OK\nServer: x\nContent-Length: 2\n\nok" + OK,
        get(2),
        ((200, b"ok", LENGTH), (200, b"ok", LENGTH)),
        codes=("bare-lf", "bare-lf"),
    ),
    Sample(
        "folded field",
        ask(b"GET / HTTP/1.1\nHost: a\nX: one\n two\n\tthree") + GET,
        answer(b"200 OK\nContent-Length:\n 2", b"ok") + OK,
        get(2),
        ((200, b"ok", LENGTH), (200, b"ok", LENGTH)),
        codes=("obs-fold", "obs-fold"),
    ),
    Sample(
        "odd white space",
        ask(b"GET / HTTP/1.1\nHost:a\nX:  two  \nEmpty:\nBlank: ") + GET,
        answer(b"200 OK\ncontent-length:2\t", b"ok") + OK,
        get(2),
        ((200, b"ok", LENGTH), (200, b"ok", LENGTH)),
    ),
    Sample(
        "repeated length, the same",
        GET + GET,
        answer(b"200 OK\nContent-Length: 2\nContent-Length: 2", b"ok")
        + answer(b"200 OK\nContent-Length: 2, 2", b"ok"),
        get(2),
        ((200, b"ok", LENGTH), (200, b"ok", LENGTH)),
        codes=("repeated-content-length",),
    ),
    Sample(
        "transfer coding stands before the length",
        GET + GET,
        answer(b"200 OK\nContent-Length: 3\nTransfer-Encoding: chunked", CHUNKS) + OK,
        get(2),
        ((200, b"abcde", CHUNKED), (200, b"ok", LENGTH)),
        codes=("transfer-encoding-with-content-length",),
    ),
    Sample(
        "refused upgrade and tunnel",
        ask(b"GET / HTTP/1.1\nHost: a\nConnection: upgrade\nUpgrade: websocket")
        + ask(b"CONNECT b:1 HTTP/1.1\nHost: b:1")
        + GET,
        OK + answer(b"403 Forbidden\nContent-Length: 2", b"no") + OK,
        (*get(), ("CONNECT", b"", NONE), *get()),
        ((200, b"ok", LENGTH), (403, b"no", LENGTH), (200, b"ok", LENGTH)),
    ),
    Sample(
        "upgraded",
        ask(b"GET / HTTP/1.1\nHost: a\nConnection: upgrade\nUpgrade: x") + b"\x81\x05GET /",
        answer(b"101 Switching Protocols\nUpgrade: x") + b"\x81\x01HTTP/1.1 200 ",
        get(),
        ((101, b"", NONE),),
        left=7 + 15,
    ),
    Sample(
        "tunnel of plain HTTP",
        ask(b"CONNECT b:80 HTTP/1.1\nHost: b:80"),
        answer(b"200 OK"),
        (("CONNECT", b"", NONE),),
        ((200, b"", NONE),),
    ),
    Sample(
        "several responses to one request",
        GET,
        OK + OK,
        get(),
        ((200, b"ok", LENGTH), (200, b"ok", LENGTH)),
    ),
    Sample("response without a request", b"", OK, (), ((200, b"ok", LENGTH),)),
    Sample("requests without a response", GET + GET, b"", get(2), ()),
    Sample(
        "no reason, and no space before it",
        GET + GET,
        b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok",
        get(2),
        ((200, b"ok", LENGTH), (200, b"ok", LENGTH)),
        codes=("missing-reason-space",),
    ),
    Sample(
        "extension method, absolute form, asterisk",
        ask(b"BREW http://a:1/pot HTTP/1.1\nHost: a") + ask(b"OPTIONS * HTTP/1.1\nHost: a"),
        OK + OK,
        (("BREW", b"", NONE), ("OPTIONS", b"", NONE)),
        ((200, b"ok", LENGTH), (200, b"ok", LENGTH)),
    ),
]

BAD_LENGTHS = [
    ("conflicting", b"Content-Length: 2\r\nContent-Length: 3\r\n", "conflicting-content-length"),
    ("conflicting in a list", b"Content-Length: 2, 3\r\n", "conflicting-content-length"),
    ("overflowing", b"Content-Length: 99999999999999999999\r\n", "invalid-content-length"),
    ("negative", b"Content-Length: -2\r\n", "invalid-content-length"),
    ("signed", b"Content-Length: +2\r\n", "invalid-content-length"),
    ("hexadecimal", b"Content-Length: 0x2\r\n", "invalid-content-length"),
    ("empty", b"Content-Length: \r\n", "invalid-content-length"),
    ("digits of another script", "Content-Length: ٢\r\n".encode(), "invalid-content-length"),
]
