"""Tables of two messages each: what is the same, and what difference is found where."""

import gzip
import hashlib
import json
import zlib

import pytest
from tapes import Fields, fields_of, request_of, response_of

from wiretape.exchange.v1.exchange_pb2 import (
    Content,
    HttpExchange,
    HttpRequest,
    HttpResponse,
)
from wiretape.replayer.compare import Difference, compare_requests, compare_responses
from wiretape.replayer.compare.fields import compare_fields
from wiretape.replayer.compare.json_tree import compare_json
from wiretape.replayer.compare.json_value import parse_json
from wiretape.replayer.compare.request import exact_key
from wiretape.replayer.compare.text import compare_bytes, compare_text
from wiretape.replayer.compare.view import View
from wiretape.replayer.values import Correlation, Judgement, Span

S = 10**9
JSON, PLAIN = {"Content-Type": "application/json"}, {"Content-Type": "text/plain"}
U1, U2 = "9d18e059-ea22-4a34-b185-206b1ed9eef8", "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"


def judge() -> Judgement:
    return Judgement(Correlation(), Span(1_700_000_000 * S, 0, 1_800_000_000 * S, 0))


def view() -> View:
    return View(judge())


def brief(differences: list[Difference]) -> list[tuple[str, str, str | None, str | None]]:
    return [(d.kind, d.place, d.expected, d.actual) for d in differences]


@pytest.mark.parametrize(
    ("recorded", "live"),
    [
        ('{"a": 1, "b": [2, null]}', '{"b":[2,null],\n"a":1}'),
        ('{"a": 1.0}', '{"a": 1.00}'),
        ('{"a": 1e2}', '{"a": 100.0}'),
        ('"é"', '"\\u00e9"'),
        ('{"at": 1700000000}', '{"at": 1800000001}'),
        (f'{{"{U1}": 1}}', f'{{"{U2}": 1}}'),
        ("12345678901234567890123", "12345678901234567890123"),
    ],
)
def test_the_same_json(recorded: str, live: str) -> None:
    assert not compare_json(parse_json(recorded.encode()), parse_json(live.encode()), view())


@pytest.mark.parametrize(
    ("recorded", "live", "expected"),
    [
        ('{"a": 1}', '{"a": 2}', [("$.a", "1", "2")]),
        ('{"a": 1}', '{"a": 1.0}', [("$.a", "1", "1.0")]),
        ('{"a": 1}', '{"a": "1"}', [("$.a", "1", '"1"')]),
        ('{"a": 1}', '{"a": true}', [("$.a", "1", "true")]),
        ('{"a": true}', '{"a": false}', [("$.a", "true", "false")]),
        ('{"a": null}', "{}", [("$.a", "null", None)]),
        ("{}", '{"a": null}', [("$.a", None, "null")]),
        ('{"a": []}', '{"a": {}}', [("$.a", "[]", "{}")]),
        ('{"a": [1, 2, 3]}', '{"a": [1, 9]}', [("$.a[1]", "2", "9"), ("$.a[2]", "3", None)]),
        ("[1]", "[1, 2]", [("$[1]", None, "2")]),
        ('{"odd key": 1}', '{"odd key": 2}', [('$["odd key"]', "1", "2")]),
        ('{"a": 0.1}', '{"a": 0.10000000000000001}', [("$.a", "0.1", "0.10000000000000001")]),
        (
            '{"n": 12345678901234567890123}',
            '{"n": 12345678901234567890124}',
            [("$.n", "12345678901234567890123", "12345678901234567890124")],
        ),
    ],
)
def test_json_differences(
    recorded: str, live: str, expected: list[tuple[str, str | None, str | None]]
) -> None:
    found = compare_json(parse_json(recorded.encode()), parse_json(live.encode()), view())
    assert [(d.place, d.expected, d.actual) for d in found] == expected


@pytest.mark.parametrize(
    "data", [b"", b"{", b'{"a": 1, "a": 2}', b"NaN", b"[" * 100_000, b'"\xff"', b"9" * 5000]
)
def test_not_comparable_as_json(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - json's own and ours are both ValueErrors
        parse_json(data)


@pytest.mark.parametrize(
    ("recorded", "live"),
    [
        ({"A": "1", "b": "2"}, {"B": "2", "a": "1"}),
        ({"Vary": "a,b"}, {"Vary": "a , b"}),
        (
            {"Content-Type": "Text/HTML;charset=UTF-8"},
            {"Content-Type": 'text/html; charset="utf-8"'},
        ),
        ({"Connection": "close"}, {"Keep-Alive": "timeout=5"}),
        ({"Content-Length": "3"}, {"Transfer-Encoding": "chunked"}),
        ({"X-Hop": "1", "Connection": "x-hop"}, {}),
        ({"Date": "Tue, 14 Nov 2023 22:13:20 GMT"}, {"Date": "Fri, 15 Jan 2027 08:00:01 GMT"}),
        ({"Location": f"/o/{U1}"}, {"Location": f"/o/{U2}"}),
    ],
)
def test_the_same_fields(recorded: Fields, live: Fields) -> None:
    assert not compare_fields(fields_of(recorded), fields_of(live), view())


@pytest.mark.parametrize(
    ("recorded", "live", "expected"),
    [
        ({"A": "1"}, {}, ("a", "1", None)),
        ({}, {"A": "1"}, ("a", None, "1")),
        ({"A": "x"}, {"A": "X"}, ("a", "x", "X")),
        ({"X-List": "a, b"}, {"X-List": "b, a"}, ("x-list", "a, b", "b, a")),
        (
            {"Date": "Tue, 14 Nov 2023 22:13:20 GMT"},
            {"Date": "Fri, 15 Jan 2027 09:00:00 GMT"},
            ("date", "Tue, 14 Nov 2023 22:13:20 GMT", "Fri, 15 Jan 2027 09:00:00 GMT"),
        ),
    ],
)
def test_field_differences(
    recorded: Fields, live: Fields, expected: tuple[str, str | None, str | None]
) -> None:
    found = compare_fields(fields_of(recorded), fields_of(live), view())
    assert brief(found) == [("field", *expected)]


def test_lines_of_one_field_are_one_list_but_cookies_are_not() -> None:
    split = fields_of({"Accept": "a"}) + fields_of({"accept": "b"})
    assert not compare_fields(split, fields_of({"Accept": "a, b"}), view())
    split = fields_of({"Set-Cookie": "a"}) + fields_of({"set-cookie": "b"})
    assert compare_fields(split, fields_of({"Set-Cookie": "a, b"}), view())


@pytest.mark.parametrize(
    ("recorded", "live", "expected"),
    [
        ("a\nb\nc", "a\nX\nc", [("line 2", "b", "X")]),
        ("a\nb\nc\nd", "X\nb\nc\nY", [("line 1", "a", "X"), ("line 4", "d", "Y")]),
        ("a\nb\nc", "a\nc", [("line 2", "b", None)]),
        ("a\nc", "a\nb\nc", [("line 2", None, "b")]),
        ("a\nb\nc\nd", "a\nX\nd", [("lines 2-3", "b\nc", "X")]),
        (f"id {U1}\nb", f"id {U2}\nX", [("line 2", "b", "X")]),
    ],
)
def test_text_differs_by_line(
    recorded: str, live: str, expected: list[tuple[str, str | None, str | None]]
) -> None:
    found = compare_text(recorded, live, view())
    assert [(d.place, d.expected, d.actual) for d in found] == expected


def test_bytes_differ_at_an_offset() -> None:
    assert brief(compare_bytes(b"\x00\x01\x02", b"\x00\x01\x03", view())) == [
        ("bytes", "offset 2", "02", "03")
    ]
    assert brief(compare_bytes(b"ab", b"abc", view())) == [("bytes", "offset 2", None, "63")]
    assert not compare_bytes(b"ab", b"ab", view())


def compared(recorded: HttpResponse, live: HttpResponse, method: str = "GET") -> list[Difference]:
    exchange = HttpExchange(request=request_of(method, "/"), response=recorded)
    return compare_responses(exchange, live, [], judge())


def chunked(status: int, content: object) -> HttpResponse:
    made = response_of(status, content)
    del made.fields[:]
    made.fields.extend(fields_of({"Transfer-Encoding": "chunked", **JSON}))
    made.content.framing = Content.CHUNKED
    return made


PACKED = {**JSON, "Content-Encoding": "gzip"}
VALUE = json.dumps({"a": list(range(50))}).encode()


@pytest.mark.parametrize(
    ("recorded", "live"),
    [
        (response_of(200, {"a": 1}), chunked(200, {"a": 1})),
        (
            response_of(200, gzip.compress(VALUE, 1), PACKED),
            response_of(200, gzip.compress(VALUE, 9), PACKED),
        ),
        (response_of(204), response_of(204)),
        (response_of(200, b'{"a": 1}'), response_of(200, b'{"a":1}')),
    ],
)
def test_the_same_responses(recorded: HttpResponse, live: HttpResponse) -> None:
    assert not compared(recorded, live)


def broken(response: HttpResponse) -> HttpResponse:
    response.content.complete = False
    response.content.data = response.content.data[:3]
    return response


@pytest.mark.parametrize(
    ("recorded", "live", "expected"),
    [
        (response_of(200, {}), response_of(500, {}), ("status", "status", "200", "500")),
        (response_of(200, {"a": 1}), response_of(200, {"a": 2}), ("json", "$.a", "1", "2")),
        (response_of(200, b"{", JSON), response_of(200, b"[", JSON), ("text", "line 1", "{", "[")),
        (
            response_of(200, b"\xff\x00", PLAIN),
            response_of(200, b"\xff\x01", PLAIN),
            ("bytes", "offset 1", "00", "01"),
        ),
        (
            response_of(200, zlib.compress(VALUE)[:-1], PACKED),
            response_of(200, gzip.compress(VALUE), PACKED),
            ("content", "content", None, None),
        ),
        (
            response_of(200, {"a": 1}),
            broken(response_of(200, {"a": 1})),
            ("content", "content", "8 bytes", "3 bytes, then the connection closed"),
        ),
    ],
)
def test_response_differences(
    recorded: HttpResponse, live: HttpResponse, expected: tuple[str, str, str, str]
) -> None:
    assert brief(compared(recorded, live)) == [expected]


def test_the_length_that_a_head_response_tells() -> None:
    ten, nine = (response_of(200, b"", {"Content-Length": n}) for n in ("10", "9"))
    assert brief(compared(ten, nine, "HEAD")) == [("field", "content-length", "10", "9")]
    unknown = response_of(200)
    del unknown.fields[:]
    assert not compared(ten, unknown, "HEAD"), "a response without the field tells no length"
    assert not compared(ten, nine), "of a GET the content itself is compared"


def test_trailers_and_interim_responses() -> None:
    recorded, live = response_of(200), response_of(200)
    recorded.trailers.extend(fields_of({"X-Sum": "1"}))
    live.trailers.extend(fields_of({"X-Sum": "2"}))
    assert brief(compared(recorded, live)) == [("trailer", "x-sum", "1", "2")]
    exchange = HttpExchange(request=request_of("GET", "/"), response=response_of(200))
    exchange.interim.add(status=103)
    exchange.interim.add(status=100)
    found = compare_responses(exchange, response_of(200), [], judge())
    assert brief(found) == [("interim", "interim", "103", None)]


CALL = request_of("POST", "/a?x=1&y=2", b'{"n": 1}', JSON)


@pytest.mark.parametrize(
    ("target", "content", "fields", "expected"),
    [
        ("/a?y=2&x=1", b'{"n":1}', JSON, []),
        ("http://up.internal/a?x=1&y=2", b'{"n": 1}', JSON, []),
        ("/a?x=1&y=2", b'{"n": 1}', {**JSON, "User-Agent": "x", "traceparent": "y"}, []),
        ("/b?x=1&y=2", b'{"n": 1}', JSON, [("path", "path", "/a", "/b")]),
        ("/a?x=1&y=3", b'{"n": 1}', JSON, [("query", "y", "2", "3")]),
        ("/a?x=1", b'{"n": 1}', JSON, [("query", "y", "2", None)]),
        ("/a?x=1&y=2&x=1", b'{"n": 1}', JSON, [("query", "x", None, "1")]),
        ("/a?x=1&y=2", b'{"n": 2}', JSON, [("json", "$.n", "1", "2")]),
        (
            "/a?x=1&y=2",
            b'{"n": 1}',
            {**JSON, "Authorization": "Bearer x"},
            [("field", "authorization", None, "Bearer x")],
        ),
    ],
)
def test_requests(
    target: str, content: bytes, fields: Fields, expected: list[tuple[str, str, str, str]]
) -> None:
    live = request_of("POST", target, content, fields)
    assert brief(compare_requests(CALL, live, judge())) == expected
    assert (exact_key(CALL) == exact_key(live)) is (not expected)


@pytest.mark.parametrize("made_of", [U2, "x"])
def test_the_digest_of_a_request_is_that_of_its_content(made_of: str) -> None:
    def call(content: str, summed: str) -> HttpRequest:
        digest = hashlib.sha256(summed.encode()).hexdigest()
        return request_of("PUT", "/a", content.encode(), {**PLAIN, "X-Content-SHA256": digest})

    found = compare_requests(call(U1, U1), call(U2, made_of), judge())
    assert [d.place for d in found] == ([] if made_of == U2 else ["x-content-sha256"])
