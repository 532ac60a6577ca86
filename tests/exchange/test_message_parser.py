"""The parser of live connections: one direction, messages as they become whole."""

import pytest
from http_samples import GET, OK, answer, ask

from wiretape.exchange.http1 import MessageParser
from wiretape.exchange.v1 import exchange_pb2 as pb


def test_requests_come_as_they_are_whole() -> None:
    parser = MessageParser.requests()
    stream = ask(b"POST /a HTTP/1.1\nHost: a\nContent-Length: 3", b"abc") + GET
    found: list[object] = []
    ends = []
    for at in range(len(stream)):
        messages = parser.receive_data(stream[at : at + 1], at + 1)
        found += messages
        ends += [at] * len(messages)
        assert parser.failed is None
    assert [m.method for m in found if isinstance(m, pb.HttpRequest)] == ["POST", "GET"]
    assert ends == [len(stream) - len(GET) - 1, len(stream) - 1]
    assert not parser.in_message


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_responses_need_the_methods_of_their_requests(size: int) -> None:
    parser = MessageParser.responses()
    for method in ("HEAD", "GET", "GET"):
        parser.expect(method)
    stream = answer(b"200 OK\nContent-Length: 9") + answer(b"100 Continue") + OK
    stream += answer(b"200 OK", b"up to the end")
    found = []
    for at in range(0, len(stream), size):
        found += parser.receive_data(stream[at : at + size], 1)
    assert [(m.status, m.content.data) for m in found if isinstance(m, pb.HttpResponse)] == [
        (200, b""), (100, b""), (200, b"ok"),
    ]  # fmt: skip
    assert parser.in_message
    (last,) = parser.receive_eof(2)
    assert last.content.data == b"up to the end"
    assert last.content.complete
    assert not parser.in_message


def test_end_in_the_middle_is_not_complete() -> None:
    parser = MessageParser.responses()
    parser.expect("GET")
    assert parser.receive_data(answer(b"200 OK\nContent-Length: 9", b"four"), 1) == []
    assert parser.in_message
    (message,) = parser.receive_eof(2)
    assert message.content.data == b"four"
    assert not message.content.complete


def test_end_between_messages_gives_nothing() -> None:
    parser = MessageParser.requests()
    assert parser.receive_eof(1) == []
    assert parser.failed is None


@pytest.mark.parametrize("data", [b"\x16\x03\x01\x02\x00\x01\x00", b"\x00\x01\x02\r\n\r\n"])
def test_what_is_no_http_is_told(data: bytes) -> None:
    parser = MessageParser.requests()
    assert parser.receive_data(data, 1) == []
    assert parser.failed


def test_upgrade_ends_the_messages() -> None:
    parser = MessageParser.responses()
    parser.expect("GET")
    (message,) = parser.receive_data(answer(b"101 Switching Protocols\nUpgrade: x"), 1)
    assert isinstance(message, pb.HttpResponse)
    assert message.status == 101
    assert parser.receive_data(OK, 2) == []
    assert parser.failed == "upgraded"


def test_request_goes_on_after_an_upgrade_was_asked_for() -> None:
    parser = MessageParser.requests()
    upgrade = ask(b"GET / HTTP/1.1\nHost: a\nUpgrade: x")
    assert len(parser.receive_data(upgrade + GET, 1)) == 2


def test_what_was_searched_for_one_head_says_nothing_of_the_next() -> None:
    parser = MessageParser.requests()
    long_head = b"GET /" + b"a" * 60 + b" HTTP/1.1\r\nHost: a\r\n\r\n"
    assert parser.receive_data(long_head[:-4], 1) == []
    assert len(parser.receive_data(long_head[-4:], 2)) == 1
    assert len(parser.receive_data(b"GET / HTTP/1.1\nHost: a\n\n", 3)) == 1
