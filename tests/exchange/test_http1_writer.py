"""What was read is written back to the same bytes."""

import pytest
from http_samples import GET, OK, SAMPLES, Sample, answer, ask
from http_talk import read

from wiretape.exchange.http1 import write_request, write_response
from wiretape.exchange.v1 import exchange_pb2 as pb

EXACT = [sample for sample in SAMPLES if sample.exact and not sample.left]

WEIRD_REQUESTS = [
    b"GET  /two-spaces  HTTP/1.1\r\nHost: a\r\n\r\n",
    b"get / http/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost:a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a \r\nX:\r\nY: \r\n\r\n",
    b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    b"GET / HTTP/1.1\r\nno colon at all\r\n\r\n",
    b"GET / HTTP/1.1\r\nX: a\r\n b\r\n\tc\r\n\r\n",
    b"GET / HTTP/1.1\nHost: a\nX: y\n\n",
    b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
    b"GET /\xff\x00 HTTP/1.1\r\nH\xc3\xb6st: \x00\xff\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/2.7\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\nHOST: a\r\n\r\n",
    b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
]
WEIRD_RESPONSES = [
    b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1  200  OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 \xe4\xf6\xfc\r\nContent-Length: 0\r\n\r\n",
    b"http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length:0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n folded\r\n\r\n",
    b"HTTP/1.0 200 OK\nServer: x\nContent-Length: 0\n\n",
]


def written(asked: bytes, answered: bytes) -> tuple[bytes, bytes]:
    talk = read(asked, answered)
    return (
        b"".join(write_request(m) for m in talk.of(0) if isinstance(m, pb.HttpRequest)),
        b"".join(write_response(m) for m in talk.of(1) if isinstance(m, pb.HttpResponse)),
    )


@pytest.mark.parametrize("sample", EXACT, ids=lambda sample: sample.name)
def test_conversations(sample: Sample) -> None:
    assert written(sample.asked, sample.answered) == (sample.asked, sample.answered)


@pytest.mark.parametrize("request_", WEIRD_REQUESTS)
def test_weird_requests(request_: bytes) -> None:
    assert written(request_ + GET, b"")[0] == request_ + GET


@pytest.mark.parametrize("response", WEIRD_RESPONSES)
def test_weird_responses(response: bytes) -> None:
    assert written(GET + GET, response + OK)[1] == response + OK


def test_only_weird_heads_are_kept_raw() -> None:
    talk = read(GET + ask(b"GET / HTTP/1.1\nHost:a"), OK + OK)
    plain, weird = talk.of(0)
    assert plain.head == b""
    assert weird.head == b"GET / HTTP/1.1\r\nHost:a\r\n\r\n"


def test_chunk_extensions_alone_are_not_kept() -> None:
    head = b"200 OK\nTransfer-Encoding: chunked"
    sent = answer(head, b"3;a=b\r\nabc\r\n0\r\n\r\n")
    assert written(GET, sent)[1] == answer(head, b"3\r\nabc\r\n0\r\n\r\n")


def test_cut_chunks_do_not_get_an_end() -> None:
    sent = answer(b"200 OK\nTransfer-Encoding: chunked", b"3\r\nabc\r\n")
    assert written(GET, sent)[1] == sent
