"""Tables of fields: what a change of each means (RFC 9110, RFC 6265)."""

import pytest
from judging import U1, U2, places, view
from tapes import Fields, fields_of

from wiretape.replayer.compare.fields import compare_fields


@pytest.mark.parametrize(
    ("name", "recorded", "live"),
    [
        ("Vary", "Accept, Origin", "origin,Accept"),
        ("Vary", "a", "a, a"),
        ("Allow", "GET, POST", "POST, GET"),
        ("Access-Control-Allow-Methods", "GET, POST", "POST,GET"),
        ("Access-Control-Allow-Headers", "X-A, X-B", "x-b, x-a"),
        ("Cache-Control", "max-age=60, public", "Public, max-age=60"),
        ("Cache-Control", "max-age=60", 'max-age="60"'),
        ("Content-Type", "text/html; charset=utf-8", 'Text/HTML;Charset="UTF-8"'),
        ("Content-Type", "a/b; x=1; y=2", "a/b; y=2; x=1"),
        ("Content-Type", "multipart/form-data; boundary=a", "multipart/form-data; boundary=b"),
        ("Content-Disposition", 'attachment; filename="a.txt"', "attachment; filename=a.txt"),
        ("Accept", "text/html, */*;q=0.80", "Text/HTML;q=1.0 , */*; q=0.8"),
        ("Accept-Language", "de, en;q=0.5", "de,en;q=0.500"),
        ("Link", '</a>; rel=next; title="x"', '</a>;title=x;rel="next"'),
        ("Forwarded", "for=1.2.3.4;proto=http", 'Proto=http; For="1.2.3.4"'),
        ("Authorization", "bearer abc", "Bearer abc"),
        (
            "Strict-Transport-Security",
            "max-age=1; includeSubDomains",
            "includesubdomains;max-age=1",
        ),
        ("Content-Language", "de, en", "en, DE"),
        ("Age", "0", "7"),
        ("Date", "Tue, 14 Nov 2023 22:13:20 GMT", "Fri, 15 Jan 2027 08:00:01 GMT"),
        ("Location", f"/orders/{U1}", f"/orders/{U2}"),
        ("Via", "1.1 a, 1.1 b", "1.1 a,1.1 b"),
        ("Set-Cookie", "a=1; Path=/; HttpOnly", "a=1; httponly; path=/"),
        ("Set-Cookie", "a=1; Domain=.X.de; SameSite=Lax", "a=1; samesite=lax; Domain=x.de"),
        ("Set-Cookie", f"sid={U1}; Path=/", f"sid={U2}; Path=/"),
        (
            "Set-Cookie",
            "a=1; Expires=Tue, 14 Nov 2023 23:13:20 GMT",
            "a=1; Expires=Fri, 15-Jan-2027 09:00:01 GMT",
        ),
        ("Cookie", "a=1; b=2", "b=2; a=1"),
        ("X-Any", "a , b;c", "a,b ; c"),
        ("X-Any", 'say "a , b"', 'say "a , b"'),
    ],
)
def test_the_same_value(name: str, recorded: str, live: str) -> None:
    assert not compare_fields(fields_of({name: recorded}), fields_of({name: live}), view())


@pytest.mark.parametrize(
    ("name", "recorded", "live"),
    [
        ("Vary", "a, b", "a"),
        ("Allow", "GET", "get"),
        ("Cache-Control", "max-age=60", "max-age=61"),
        ("Cache-Control", "private, max-age=60", "max-age=60"),
        ("Content-Type", "text/html", "text/plain"),
        ("Content-Type", "text/html; charset=utf-8", "text/html"),
        ("Content-Type", "a/b; boundary=a", "a/b; boundary=b"),
        ("Content-Disposition", "attachment; filename=a", "attachment; filename=A"),
        ("Accept", "text/html, text/plain", "text/plain, text/html"),
        ("Accept", "text/html; q=0.8", "text/html; q=0.9"),
        ("Link", "</a>; rel=next, </b>; rel=prev", "</b>; rel=prev, </a>; rel=next"),
        ("Forwarded", "for=a, for=b", "for=b, for=a"),
        ("Via", "1.1 a, 1.1 b", "1.1 b, 1.1 a"),
        ("Authorization", "Bearer abc", "Basic abc"),
        ("Authorization", "Bearer abc", "Bearer abd"),
        ("Age", "0", "soon"),
        ("ETag", '"a"', 'W/"a"'),
        ("Retry-After", "5", "6"),
        ("Date", "Tue, 14 Nov 2023 22:13:20 GMT", "Fri, 15 Jan 2027 09:00:00 GMT"),
        ("X-Any", 'say "a, b"', 'say "a,b"'),
        ("X-Any", "a, b", "b, a"),
        ("Server-Timing", "db;dur=1, app;dur=2", "app;dur=2, db;dur=1"),
        ("Server-Timing", "db;dur=1", "db;dur=1, app;dur=2"),
        ("Server-Timing", 'db;desc="x"', 'db;desc="y"'),
    ],
)
def test_another_value(name: str, recorded: str, live: str) -> None:
    found = compare_fields(fields_of({name: recorded}), fields_of({name: live}), view())
    assert [(d.kind, d.place, d.expected, d.actual) for d in found] == [
        ("field", name.lower(), recorded, live)
    ]
    assert found[0].at is not None
    assert found[0].at[2:] == ("field", name.lower())


@pytest.mark.parametrize(
    ("recorded", "live", "expected"),
    [
        (["a=1", "b=2"], ["b=2", "a=1"], []),
        (["a=1", "a=2"], ["a=2", "a=1"], ["field set-cookie: a"] * 2),
        (["a=1"], ["a=2"], ["field set-cookie: a"]),
        (["a=1"], ["A=1"], ["field set-cookie: a", "field set-cookie: A"]),
        (["a=1; Secure"], ["a=1"], ["field set-cookie: a; secure"]),
        (["a=1"], ["a=1; HttpOnly"], ["field set-cookie: a; httponly"]),
        (["a=1; Path=/a"], ["a=1; Path=/A"], ["field set-cookie: a; path"]),
        (["a=1; SameSite=Lax"], ["a=1; SameSite=None"], ["field set-cookie: a; samesite"]),
        (
            ["a=1; Max-Age=1700000000"],
            ["a=1; Max-Age=1800000000"],
            ["field set-cookie: a; max-age"],
        ),
        (
            ["a=1; Expires=Tue, 14 Nov 2023 23:13:20 GMT"],
            ["a=1; Expires=Fri, 15 Jan 2027 10:00:00 GMT"],
            ["field set-cookie: a; expires"],
        ),
        (["a=1", "b=1"], ["a=1"], ["field set-cookie: b"]),
    ],
)
def test_cookies(recorded: list[str], live: list[str], expected: list[str]) -> None:
    sides = [
        [f for line in lines for f in fields_of({"Set-Cookie": line})] for lines in (recorded, live)
    ]
    assert places(compare_fields(*sides, view())) == expected


@pytest.mark.parametrize(
    ("recorded", "live", "expected"),
    [
        ({"Cookie": "a=1; b=2"}, {"Cookie": "a=1"}, ["field cookie: b"]),
        ({"Cookie": "a=1"}, {"Cookie": "a=2; c=1"}, ["field cookie: a", "field cookie: c"]),
        ({"A": "1", "B": "2"}, {"b": "2"}, ["field a"]),
        ({}, {"X-New": "1"}, ["field x-new"]),
        ({"Trailer": "X"}, {}, []),
    ],
)
def test_missing_and_added(recorded: Fields, live: Fields, expected: list[str]) -> None:
    assert places(compare_fields(fields_of(recorded), fields_of(live), view())) == expected
