"""Tables of contents: what is the same, and what differs where, for every media type."""

import gzip

import pytest
from judging import U1, U2, U3, U4, compared, places
from tapes import response_of

from wiretape.exchange.v1.exchange_pb2 import HttpExchange
from wiretape.replayer.compare import compare_responses

FORM, CSV, XML = "application/x-www-form-urlencoded", "text/csv", "application/xml"
EVENTS, LINES = "text/event-stream", "application/x-ndjson"


def parts(boundary: str, *written: tuple[str, str]) -> bytes:
    """A multipart content of parts that are given as header section and content."""
    body = "".join(f"--{boundary}\r\n{head}\r\n\r\n{text}\r\n" for head, text in written)
    return f"{body}--{boundary}--\r\n".encode()


A = ('Content-Disposition: form-data; name="a"', "one")
META = ("Content-Disposition: form-data; name=meta\r\nContent-Type: application/json", '{"n": 1}')
FILE = (
    'Content-Disposition: form-data; name="file"; filename="x.bin"\r\n'
    "Content-Type: application/octet-stream",
    "\x01\x02",
)


@pytest.mark.parametrize(
    ("kind", "recorded", "live"),
    [
        ("application/json", '{"a": 1, "b": "\\u00e9"}', '{"b":"é","a":1}'),
        ("application/problem+json", '{"a":1}', '{ "a": 1 }'),
        (FORM, "a=1&b=x%20y", "b=x+y&a=1"),
        (FORM, "a=%7e", "a=~"),
        (FORM, f"id={U1}", f"id={U2}"),
        (XML, "<a x='1' y='2'><b/></a>", '<?xml version="1.0"?><a y="2" x="1">\n  <b></b>\n</a>'),
        (XML, '<p:a xmlns:p="urn:x">1</p:a>', '<a xmlns="urn:x">1</a>'),
        (XML, "<a>&lt;&#65;</a>", "<a><![CDATA[<A]]><!-- no meaning --></a>"),
        (XML, f"<a id='{U1}'>2023-11-14T22:13:20Z</a>", f"<a id='{U2}'>2027-01-15T08:00:01Z</a>"),
        ("image/svg+xml", "<svg><g/></svg>", "<svg> <g/> </svg>"),
        (CSV, f"id,n\r\n{U1},1\r\n", f"id,n\r\n{U2},1\r\n"),
        (EVENTS, "data: 1\n\n", "\ufeffdata:1\r\n\r\n"),
        (EVENTS, 'id: 1\ndata: {"a": 1, "b": 2}\n\n', ': ping\n\ndata: {"b":2,"a":1}\nid:1\n\n'),
        (EVENTS, "data: a\ndata: b\n\n", "data: a\rdata: b\r\r"),
        (LINES, '{"a": 1, "b": 2}\n{"c": 3}\n', '{"b":2,"a":1}\r\n{"c":3}'),
        ("text/plain", f"id {U1}", f"id {U2}"),
        ("", '{"a": 1}', '{"a":1}'),
    ],
)
def test_the_same_contents(kind: str, recorded: str, live: str) -> None:
    assert not compared(recorded.encode(), live.encode(), kind)


@pytest.mark.parametrize(
    ("kind", "recorded", "live", "expected"),
    [
        ("application/json", '{"a": 1, "a": 2}', '{"a": 2}', ["text line 1"]),
        ("application/json", '{"a": NaN}', '{"a": 1}', ["text line 1"]),
        ("application/json", "1e99999999999999999999", "1", ["text line 1"]),
        ("application/json", "[1]", "<p>", ["text line 1"]),
        (FORM, "a=1&a=2", "a=2&a=1", ["form a", "form a"]),
        (FORM, "a=1&b=2", "a=1", ["form b"]),
        (FORM, "a=1", "a=1&b=2", ["form b"]),
        (FORM, "a=1", "A=1", ["form a", "form A"]),
        (FORM, "a=%ff", "a=%fe", ["form a"]),
        (XML, "<a><b>1</b><b>2</b></a>", "<a><b>1</b><b>3</b></a>", ["xml /a[1]/b[2]"]),
        (XML, "<a><b/><c/></a>", "<a><c/><b/></a>", ["xml /a[1]/c", "xml /a[1]/c[1]"]),
        (XML, "<a><b/><c/></a>", "<a><c/></a>", ["xml /a[1]/b[1]"]),
        (XML, "<a><c/></a>", "<a><b/><c/></a>", ["xml /a[1]/b"]),
        (XML, "<a>x y</a>", "<a>x  y</a>", ["xml /a[1]"]),
        (XML, "<a> </a>", "<a></a>", ["xml /a[1]"]),
        (XML, "<a>x <b/> y</a>", "<a>x<b/>y</a>", ["xml /a[1]/text()[1]", "xml /a[1]/text()[2]"]),
        (XML, '<a x="1"/>', '<a x="2"/>', ["xml /a[1]/@x"]),
        (XML, "<a/>", '<a x="2"/>', ["xml /a[1]/@x"]),
        (XML, '<a xmlns="urn:x"/>', '<a xmlns="urn:y"/>', ["xml /a[1]", "xml /a"]),
        (
            XML,
            '<a xmlns:t="urn:x" k="t:b"/>',
            '<a xmlns:t="urn:y" k="t:b"/>',
            ["xml /a[1]/@k"],
        ),
        (XML, "<a>1</a", "<a>2</a", ["text line 1"]),
        (CSV, "id,n\na,1\nb,2\n", "id,n\na,1\nb,3\n", ["csv row 3, column n"]),
        (CSV, "1,2\n3,4", "1,2\n3,5", ["csv row 2, column 2"]),
        (CSV, '"a,b",1\n', '"a,c",1\n', ["csv row 1, column 1"]),
        (CSV, "a,b\n1,2\n", "a,b\n", ["text line 2"]),
        (CSV, "a,b\n1,2\n", 'a,b\n"1",2\n', ["csv row 2, column a"]),
        (CSV, "a\r\n1\r\n", "a\n1\n", ["text lines 1-2"]),
        (EVENTS, "data: 1\n\ndata: 2\n\n", "data: 1\n\ndata: 3\n\n", ["event event 2: data"]),
        (EVENTS, "data: 1\n\ndata: 2\n\n", "data: 2\n\n", ["event event 1"]),
        (EVENTS, "event: a\ndata: x\n\n", "event: b\ndata: x\n\n", ["event event 1: event"]),
        (EVENTS, 'data: {"a": [1]}\n\n', 'data: {"a": [2]}\n\n', ["event event 1: data.a[0]"]),
        (EVENTS, "data: 1\n\n", "data: 1\n", ["event event 1: unfinished"]),
        (LINES, '{"a": 1}\n{"a": 2}\n', '{"a": 1}\n{"a": 3}\n', ["json line 2: $.a"]),
        (LINES, "[1]\n[2]\n", "[1]\n", ["json line 2"]),
        (LINES, "[1]\n[2]\n", "[1]\n[9]\n", ["json line 2: $[0]"]),
        ("text/html", "<p>\na\n</p>", "<p>\nb\n</p>", ["text line 2"]),
        ("image/png", "abc", "abd", ["bytes offset 2"]),
        ("application/octet-stream", U1, U2, ["bytes offset 0"]),
    ],
)
def test_content_differences(kind: str, recorded: str, live: str, expected: list[str]) -> None:
    found = compared(recorded.encode(), live.encode(), kind)
    assert places(found) == expected
    assert all(d.at is not None and d.at.endpoint == "GET /orders/*" for d in found)


def test_bytes_say_where_and_how_long() -> None:
    found = compared(b"\x00" * 1000 + b"\x01", b"\x00" * 1000 + b"\x02\x03", "image/png")
    assert [(d.offset, d.expected, d.actual, d.reason) for d in found] == [
        (1000, "01", "02 03", "1001 bytes were recorded, 1002 came")
    ]


@pytest.mark.parametrize(
    ("recorded", "live"),
    [
        ("<!DOCTYPE a [<!ENTITY e 'x'>]><a>&e;</a>", "<!DOCTYPE a [<!ENTITY e 'x'>]><a>x</a>"),
        (
            "<!DOCTYPE a [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><a>&e;</a>",
            "<!DOCTYPE a [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><a></a>",
        ),
        (
            "<!DOCTYPE a [<!ATTLIST a x CDATA 'd'>]><a/>",
            "<!DOCTYPE a [<!ATTLIST a x CDATA 'd'>]><a x='d'/>",
        ),
    ],
)
def test_entities_are_never_expanded(recorded: str, live: str) -> None:
    assert places(compared(recorded.encode(), live.encode(), XML)) == ["text line 1"]


def test_a_billion_laughs_end_at_once() -> None:
    lines = [f"<!ENTITY l{n} '{f'&l{n - 1};' * 10}'>" for n in range(1, 30)]
    bomb = f"<!DOCTYPE a [<!ENTITY l0 'ha'>{''.join(lines)}]><a>&l29;</a>"
    assert places(compared(bomb.encode(), bomb.encode() + b" ", XML)) == ["text line 1"]


MIXED = "multipart/form-data; boundary={}"


@pytest.mark.parametrize(
    ("recorded", "live", "expected"),
    [
        ((A, META, FILE), (META, FILE, A), []),
        (
            (META,),
            ((META[0].replace("=meta", '="meta"'), '{"n":1}'),),
            [],
        ),
        ((A, META), (A, (META[0], '{"n": 2}')), ["json meta: $.n"]),
        ((A, A), (A, (A[0], "two")), ["text a: line 1"]),
        ((A, META), (META,), ["multipart a"]),
        ((A,), (A, META), ["multipart meta"]),
        ((FILE,), ((FILE[0], "\x01\x03"),), ["bytes file: offset 1"]),
        ((FILE,), ((FILE[0].replace("x.bin", "y"), FILE[1]),), ["field file: content-disposition"]),
        (((A[0], U1), META), ((A[0], U2), META), []),
    ],
)
def test_multipart(
    recorded: tuple[tuple[str, str], ...],
    live: tuple[tuple[str, str], ...],
    expected: list[str],
) -> None:
    found = compared(
        parts("one", *recorded),
        parts("--other", *live),
        MIXED.format("one"),
        live_kind=MIXED.format('"--other"'),
    )
    assert places(found) == expected


@pytest.mark.parametrize("cut", [0, 4, 20])
def test_multipart_that_is_none_is_compared_by_byte(cut: int) -> None:
    whole = parts("one", A)
    found = compared(whole, whole[:cut], MIXED.format("one"))
    assert [d.kind for d in found] == ["bytes"]


def test_text_in_a_charset_of_its_own() -> None:
    latin, kind = "é\nb".encode("latin-1"), "text/plain; charset=iso-8859-1"
    assert places(compared(latin, "é\nc".encode("latin-1"), kind)) == ["text line 2"]
    assert places(compared(b"\xff", b"\xfe", "text/plain")) == ["bytes offset 0"]
    assert places(compared(b"6162", b"6163", "text/plain; charset=hex")) == ["bytes offset 3"]


@pytest.mark.parametrize(
    ("recorded", "live", "expected"),
    [
        ("a\nb\nc\nd\ne", "a\nc\nd\nX\ne", ["line 2", "line 5"]),
        ("a\nb\nc", "new\na\nb\nc", ["line 1"]),
        (f"a\nat {U1}\nb\nc", f"x\na\nat {U2}\nb\nc", ["line 1"]),
        (f"a {U1}\nb {U3}\nc", f"b {U4}\na {U2}\nc", ["lines"]),
    ],
)
def test_hunks(recorded: str, live: str, expected: list[str]) -> None:
    found = compared(recorded.encode(), live.encode(), "text/plain")
    assert [d.place for d in found] == expected


GZIP = {"Content-Type": "text/plain", "Content-Encoding": "gzip"}
PLAIN = {"Content-Type": "text/plain"}
VARY = {"Vary": "Accept-Encoding, Origin"}


@pytest.mark.parametrize(
    ("accepted", "recorded", "live", "expected"),
    [
        ("gzip, br", GZIP, PLAIN, []),
        ("gzip, br", PLAIN, GZIP, []),
        ("*", PLAIN, GZIP, []),
        ("gzip", {**GZIP, **VARY}, {**PLAIN, "Vary": "Origin"}, []),
        ("gzip", {**GZIP, **VARY}, PLAIN, ["field vary"]),
        ("br", PLAIN, GZIP, ["field content-encoding"]),
        ("", GZIP, PLAIN, ["field content-encoding"]),
        ("gzip;q=0", PLAIN, GZIP, ["field content-encoding"]),
        ("gzip, identity;q=0", GZIP, PLAIN, ["field content-encoding"]),
        ("gzip, *;q=0.0", GZIP, PLAIN, ["field content-encoding"]),
        ("gzip", GZIP, {**GZIP, "Content-Encoding": "x-gzip"}, []),
        ("gzip", {**GZIP, "ETag": 'W/"ab1"'}, {**PLAIN, "ETag": '"ab1"'}, []),
        ("gzip", {**PLAIN, "ETag": '"ab1"'}, {**GZIP, "ETag": 'W/"ab1-gzip"'}, []),
        ("gzip", {**PLAIN, "ETag": '"ab1"'}, {**GZIP, "ETag": '"ab2"'}, ["field etag"]),
        ("gzip", {**GZIP, "ETag": 'W/"ab1"'}, {**GZIP, "ETag": '"ab1"'}, ["field etag"]),
        ("", {**PLAIN, "ETag": 'W/"ab1"'}, {**PLAIN, "ETag": '"ab1"'}, ["field etag"]),
    ],
)
def test_another_content_coding(
    accepted: str, recorded: dict[str, str], live: dict[str, str], expected: list[str]
) -> None:
    from judging import judge
    from tapes import request_of

    messages = [
        response_of(
            200, gzip.compress(b"text") if "Content-Encoding" in fields else b"text", fields
        )
        for fields in (recorded, live)
    ]
    asked = request_of("GET", "/", fields={"Accept-Encoding": accepted} if accepted else {})
    exchange = HttpExchange(request=asked, response=messages[0])
    assert places(compare_responses(exchange, messages[1], [], judge())) == expected


def test_a_coding_that_is_not_what_it_says() -> None:
    from judging import judge
    from tapes import request_of

    exchange = HttpExchange(
        request=request_of("GET", "/", fields={"Accept-Encoding": "gzip"}),
        response=response_of(200, b"text", PLAIN),
    )
    found = compare_responses(exchange, response_of(200, b"text", GZIP), [], judge())
    assert [d.kind for d in found] == ["content"]


@pytest.mark.parametrize("accepted", ["gzip", ""])
@pytest.mark.parametrize(
    ("content", "fields", "place"),
    [
        (gzip.compress(b"text", mtime=0), GZIP, "field content-encoding"),
        (b"text", PLAIN, "field content-encoding"),
        (gzip.compress(b"a file", mtime=0), PLAIN, "bytes offset 10"),
    ],
)
def test_a_coding_that_is_not_said(
    accepted: str, content: bytes, fields: dict[str, str], place: str
) -> None:
    from judging import judge
    from tapes import request_of

    asked = request_of("GET", "/", fields={"Accept-Encoding": accepted} if accepted else {})
    exchange = HttpExchange(request=asked, response=response_of(200, content, fields))
    live = response_of(200, gzip.compress(b"text", mtime=0), PLAIN)
    found = compare_responses(exchange, live, [], judge())
    assert places(found) == [place]
    assert (found[0].reason == "the content is in gzip, and no Content-Encoding says so") == (
        place == "field content-encoding"
    )
