"""Tables of accepted and refused pairs: time, duration, derived, composite, own address, floats."""

import base64
import gzip
import hashlib
import json
import time
import zlib
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import pytest
from tapes import request_of, response_of

from wiretape.replayer.values import Correlation, Judgement, Span, own_addresses

S, MS = 10**9, 10**6
RECORDED_S, LIVE_S = 1_700_000_000, 1_800_000_000
SPAN = Span(RECORDED_S * S, 20 * MS, LIVE_S * S, 30 * MS)
U1, L1 = "9d18e059-ea22-4a34-b185-206b1ed9eef8", "0f72aa6c-cb16-4e13-b979-28ef0b973b73"


def judge(known: Correlation | None = None, span: Span = SPAN) -> Judgement:
    return Judgement(known or Correlation(), span)


def b64(data: Any) -> str:
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def jwt(payload: Any, signature: bytes = b"s" * 32, header: Any = None) -> str:
    return f"{b64(header or {'alg': 'HS256'})}.{b64(payload)}.{b64(signature)}"


def kinds(judgement: Judgement) -> list[str]:
    return [accepted.kind for accepted in judgement.accepted]


# ----- time


@pytest.mark.parametrize(
    ("recorded", "live"),
    [
        ("Tue, 14 Nov 2023 22:13:20 +0000", "Fri, 15 Jan 2027 08:00:00 +0000"),
        ("x; expires=Tue, 14-Nov-2023 23:13:20 GMT", "x; expires=Fri, 15-Jan-2027 09:00:01 GMT"),
        ("20231114T221320Z", "20270115T080001Z"),
        ("2023-11-14T22:13:20.123456789Z", "2027-01-15T08:00:00.1234567Z"),
        ("2023-11-14T22:13:20.123456789Z", "2027-01-15T08:00:00.123456Z"),
        ("2023-11-14T22:13:20.1Z", "2027-01-15T08:00:00.9Z"),
    ],
)  # fmt: skip
def test_times(recorded: str, live: str) -> None:
    judgement = judge()
    assert judgement.same_text(recorded, live), judgement.reason()
    assert kinds(judgement) == ["time"]


@pytest.mark.parametrize(
    ("recorded", "live", "reason"),
    [
        ("2023-11-14T22:13:20Z", "2027-01-15T09:00:00Z", "1 h too late"),
        ("2023-11-14T22:13:20Z", "2027-01-15T04:00:00Z", "4 h too early"),
        ("2023-11-14T22:13:20Z", "2027-01-15T08:00:00+00:00", "a time in another form"),
        ("2023-11-14T22:13:20Z", "2027-01-15T08:00:00", "a time in another form"),
        ("2023-11-14T22:13:20Z", "2027-01-15 08:00:00Z", "a time in another form"),
        ("2023-11-14T22:13:20.123Z", "2027-01-15T08:00:00Z", "a time of another precision"),
        ("2023-11-14T22:13:20Z", "2027-01-15T08:00:00.123Z", "a time of another precision"),
        ("2023-11-14T22:13:20.123Z", "2027-01-15T08:00:00.123456Z", "a time of another precision"),
        ("2023-11-14T22:13:20.123456Z", "2027-01-15T08:00:00.123Z", "a time of another precision"),
        ("2023-11-14T22:13:20.1234567Z", "2027-01-15T08:00:00.123Z", "a time of another precision"),
        ("2023-11-14T23:13:20+01:00", "2027-01-15T08:00:00+00:00", "a time in another form"),
        ("2023-11-14T22:13:20Z", "soon", ""),
        ("1700000000", "1800000000000", ""),
        ("1990-05-01", "1991-05-01", "792.4 d too early"),
    ],
)  # fmt: skip
def test_other_times(recorded: str, live: str, reason: str) -> None:
    judgement = judge()
    assert not judgement.same_text(recorded, live)
    assert reason in judgement.reason()
    assert not judgement.accepted


def test_dropped_zeros_once_the_precision_was_shown() -> None:
    known = Correlation()
    first = judge(known)
    assert not first.same_text("2023-11-14T22:13:20.123456Z", "2027-01-15T08:00:00.123Z")
    assert first.same_text("2023-11-14T22:13:20.123456Z", "2027-01-15T08:00:00.765432Z")
    first.commit()
    later = judge(known)
    assert later.same_text("2023-11-14T22:13:21.123456Z", "2027-01-15T08:00:01.765Z")
    assert not later.same_text("2023-11-14T22:13:21.123456Z", "2027-01-15T08:00:01Z")
    assert not later.same_text(
        "2023-11-14T22:13:21.123456Z", "2027-01-15T08:00:01.765Z", "json", "$.other"
    )


def test_an_exact_instant_comes_again_as_its_pair_only() -> None:
    known = Correlation()
    first = judge(known)
    assert first.same_text("2023-11-14T22:13:20.123Z", "2027-01-15T08:00:00.500Z")
    first.commit()
    later = judge(known, Span((RECORDED_S + 600) * S, 0, (LIVE_S + 60) * S, 0))
    assert later.same_text("2023-11-14T22:13:20.123Z", "2027-01-15T08:00:00.500Z")
    assert not later.same_text("2023-11-14T22:13:20.123Z", "2027-01-15T08:00:59.900Z")
    assert later.reason() == "some seconds too late"


def at(seconds: float, live: bool = False) -> str:
    moment = datetime.fromtimestamp((LIVE_S if live else RECORDED_S) + seconds, UTC)
    return moment.isoformat(timespec="milliseconds")


@pytest.mark.parametrize(
    ("recorded", "live", "reason"),
    [
        # Created in this exchange, as the one before was in its own.
        (1.01, 0.3, ""),
        (1.01, 0.1, "that instant stands for another"),
        (1.01, 0.2, "that instant stands for another"),
        # Cached for a while, so it may have been there before.
        (0.9, 0.1, ""),
        (0.1, 0.1, ""),
        (0.1, 0.2, "that instant stands for another"),
        (0.1, 0.15, ""),
        (0.1, 0.25, "made anew; the recorded one was there before"),
    ],
)
def test_an_exact_instant_is_not_that_of_another(recorded: float, live: float, reason: str) -> None:
    known = Correlation()
    first = judge(known, Span(RECORDED_S * S, 600 * MS, LIVE_S * S, 200 * MS))
    assert first.same_text(at(0.1), at(0.1, live=True))
    assert first.same_text(at(0.5), at(0.2, live=True))
    first.commit()
    later = judge(known, Span((RECORDED_S + 1) * S, 20 * MS, LIVE_S * S + 250 * MS, 100 * MS))
    assert later.same_text(at(recorded), at(live, live=True)) == (not reason)
    assert later.reason() == reason


@pytest.mark.parametrize(
    ("zone", "live", "same"),
    [
        ("UTC0", "2023-11-14T22:13:40", 0),
        ("UTC0", "2023-11-14T23:59:59", 0),
        ("UTC0", "2023-11-15T00:00:00", 1),
        ("UTC0", "2023-11-16T22:13:20", 2),
        ("CET-1", "2023-11-14T22:59:00", 0),
        # In one of the two zones it is the next day.
        ("CET-1", "2023-11-14T23:13:00", 1),
        ("CET-1", "2023-11-15T01:13:20", 1),
    ],
)
def test_a_day_changes_as_midnights_passed(
    zone: str, live: str, same: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    live_ns = int(datetime.fromisoformat(f"{live}+00:00").timestamp()) * S
    known = Correlation()
    known.begin(RECORDED_S * S, live_ns)
    span = Span(RECORDED_S * S, 20 * MS, live_ns, 10 * MS)
    due = date(2023, 12, 14)
    try:
        passing = [
            days
            for days in range(-5, 6)
            if judge(known, span).same_text(str(due), str(due + timedelta(days=days)))
        ]
    finally:
        monkeypatch.undo()
        time.tzset()
    assert sorted({0, same}) == passing


def test_a_truncated_instant_belongs_to_the_exchange_within_it() -> None:
    known = Correlation()
    known.begin(RECORDED_S * S + 120 * MS, LIVE_S * S)
    known.begin((RECORDED_S + 60) * S, (LIVE_S + 60) * S - 59 * S)
    span = Span((RECORDED_S + 60) * S, 0, (LIVE_S + 1) * S, 0)
    recorded = "Tue, 14 Nov 2023 22:13:20 GMT"
    assert judge(known, span).same_text(recorded, "Fri, 15 Jan 2027 08:00:00 GMT")
    assert not judge(known, span).same_text(recorded, "Fri, 15 Jan 2027 07:59:30 GMT")


@pytest.mark.parametrize(
    ("lasted_ns", "live", "same"),
    [
        # Made in the second exchange, so it cannot be what the first one made.
        (20 * MS, "2027-01-15T08:00:00.005000Z", False),
        (20 * MS, "2027-01-15T08:00:01.007000Z", True),
        # It may have been there before.
        (1 * MS, "2027-01-15T08:00:00.005000Z", True),
        (-1, "2027-01-15T08:00:00.005000Z", True),
    ],
)
def test_an_instant_of_one_exchange_is_none_of_another(
    lasted_ns: int, live: str, same: bool
) -> None:
    known = Correlation()
    known.begin(RECORDED_S * S, LIVE_S * S, 20 * MS)
    known.begin((RECORDED_S + 1) * S, (LIVE_S + 1) * S, lasted_ns)
    known.begin((RECORDED_S + 2) * S, (LIVE_S + 2) * S, 20 * MS)
    first = judge(known)
    assert first.same_text("2023-11-14T22:13:20.005000Z", "2027-01-15T08:00:00.005000Z")
    first.commit()
    later = judge(known, Span((RECORDED_S + 2) * S, 20 * MS, (LIVE_S + 2) * S, 20 * MS))
    assert later.same_text("2023-11-14T22:13:21.006000Z", live) is same, later.reason()


@pytest.mark.parametrize(
    ("recorded", "live", "same"),
    [
        # An hour, eight hours, thirty days after the first exchange, 40 s before its own.
        ("2023-11-14T23:12:40Z", "2027-01-15T08:59:55Z", True),
        ("2023-11-15T06:12:40.250Z", "2027-01-15T15:59:55.250Z", True),
        ("2023-12-14T22:12", "2027-02-14T07:59", True),
        ("2023-11-14T23:12:40Z", "2027-01-15T09:59:55Z", False),
        ("2023-11-14T23:12:40Z", "2027-01-15T08:29:55Z", False),
        # Nobody chooses such a span, and no exchange began then.
        ("2023-11-14T23:11:17Z", "2027-01-15T08:58:32Z", False),
        ("2023-11-14T23:13:00Z", "2027-01-15T09:00:15Z", False),
    ],
)
def test_one_of_the_future_that_an_earlier_exchange_set(
    recorded: str, live: str, same: bool
) -> None:
    known = Correlation()
    known.begin((RECORDED_S - 40) * S, (LIVE_S - 5) * S, 300 * MS)
    known.begin(RECORDED_S * S, LIVE_S * S, 20 * MS)
    judgement = judge(known)
    assert judgement.same_text(recorded, live, "json", "$.due") is same, judgement.reason()


@pytest.mark.parametrize(
    ("recorded", "other", "live"),
    [
        (RECORDED_S * 1000 + 7, RECORDED_S * 1000 - 90, LIVE_S * 1000 - 3),
        (
            "2023-11-14T22:13:20.007000Z",
            "2023-11-14T22:13:19.900000Z",
            "2027-01-15T07:59:59.997000Z",
        ),
    ],
)
def test_what_was_given_comes_back_less_exact(recorded: Any, other: Any, live: Any) -> None:
    """By chance something else was made in the same millisecond, in the exchange before."""
    known = Correlation()
    known.instants[RECORDED_S * S + 7 * MS] = LIVE_S * S - 3 * MS + 137
    first = judge(known, Span((RECORDED_S - 1) * S, S, LIVE_S * S - 9 * MS, 8 * MS))
    same = first.same_text if isinstance(recorded, str) else first.same_number
    assert same(other, live, "json", "$.at")
    first.commit()
    later = judge(known, Span(RECORDED_S * S, 20 * MS, LIVE_S * S, 20 * MS))
    same = later.same_text if isinstance(recorded, str) else later.same_number
    assert same(recorded, live, "json", "$.of"), later.reason()


# ----- duration


@pytest.mark.parametrize(
    ("recorded", "live", "name"),
    [
        (3, 17, "$.took"),
        (3, 17, "$.duration_ms"),
        (3000, 17000, "$.elapsedMicros"),
        (Decimal("0.003"), Decimal("0.0291"), "$.duration"),
        (Decimal("3.25"), Decimal("29.5"), "$.runtime"),
        (3, 0, "$.meta.response_time_ms"),
        ("0.003", "0.0291", "x-runtime"),
        ("3ms", "29ms", "x-response-time"),
        ("3.1 ms", "12.25 ms", "$.took"),
        ("PT0.003S", "PT0.01S", "$.duration"),
        ('db;dur=5.3, app;desc="1";dur=7', 'db;dur=0, app;desc="1";dur=29.9', "server-timing"),
    ],
)  # fmt: skip
def test_durations(recorded: Any, live: Any, name: str) -> None:
    judgement = judge()
    same = judgement.same_text if isinstance(recorded, str) else judgement.same_number
    assert same(recorded, live, "json", name), judgement.reason()
    assert kinds(judgement) == ["duration"]


@pytest.mark.parametrize(
    ("recorded", "live", "name"),
    [
        (3, 32, "$.took"),
        (22, 3, "$.took"),
        (3600, 7200, "$.duration"),
        (3, 4, "$.duration_s"),
        (3, 4, "$.minutes"),
        (3, 4, "$.retries"),
        (3, 4, "$.time"),
        ("3ms", "3s", "$.took"),
        ("3ms", "3", "$.took"),
        ("1h", "2h", "$.duration"),
        ("db;dur=5", "db;dur=31.5", "server-timing"),
        ("db;dur=5", "cache;dur=5", "server-timing"),
        ('db;desc="1";dur=5', 'db;desc="2";dur=5', "server-timing"),
        (Decimal("3.25"), Decimal("31.5"), "$.runtime"),
    ],
)
def test_other_durations(recorded: Any, live: Any, name: str) -> None:
    judgement = judge()
    same = judgement.same_text if isinstance(recorded, str) else judgement.same_number
    assert not same(recorded, live, "json", name)
    assert not judgement.accepted


# ----- derived

ONE, TWO = b'{"id": "one"}', b'{"id": "two!"}'


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def b64_of(name: str, data: bytes) -> str:
    return base64.b64encode(hashlib.new(name, data).digest()).decode()


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("etag", lambda data: f'"{md5(data)}"'),
        ("etag", lambda data: f'W/"{md5(data)}"'),
        ("etag", lambda data: md5(data)),
        ("etag", lambda data: f'"{md5(data)[:10]}"'),
        ("etag", lambda data: f'"0{md5(data)}"'),
        ("etag", lambda data: f'W/"{len(data):x}-{b64_of("sha1", data).rstrip("=")}"'),
        ("etag", lambda data: f'"{zlib.crc32(data):08x}"'),
        ("etag", lambda data: f'"{hashlib.sha1(data).hexdigest().upper()}"'),
        ("etag", lambda data: f'"{b64(hashlib.sha256(data).digest())}"'),
        ("content-md5", lambda data: b64_of("md5", data)),
        ("digest", lambda data: f"SHA-256={b64_of('sha256', data)},MD5={b64_of('md5', data)}"),
        ("content-digest", lambda data: f"sha-512=:{b64_of('sha512', data)}:"),
        ("x-content-hash", lambda data: hashlib.sha256(data).hexdigest()),
    ],
)
@pytest.mark.parametrize("coded", [False, True])
def test_what_is_made_of_the_content(name: str, make: Any, coded: bool) -> None:
    fields = {"Content-Encoding": "gzip"} if coded else {}
    contents = [gzip.compress(data) if coded else data for data in (ONE, TWO)]
    for sides in (contents, [ONE, TWO]):
        judgement = judge()
        judgement.messages(
            [response_of(200, contents[0], fields)], [response_of(200, contents[1], fields)]
        )
        recorded, live = make(sides[0]), make(sides[1])
        assert judgement.same_text(recorded, live, "field", name), judgement.reason()
        assert kinds(judgement) == ["derived"]
        assert not judgement.same_text(recorded, make(b"other"), "field", name)
        assert judgement.reason()


@pytest.mark.parametrize(
    ("recorded", "live", "same"),
    [
        ('"5f3a2b4c"', '"65a1b2c3"', True),
        ('W/"5f3a2b4c"', 'W/"65a1b2c3"', True),
        ('"65a1b2c3-1f4"', '"65b1b2c3-1f4"', True),
        ('W/"5f3a2b4c"', '"65a1b2c3"', False),
        ('"5f3a2b4c"', "65a1b2c3", False),
        ('"5f3a2b4c"', '"65a1b2c"', False),
        ('"5f3a2b4c"', '"65A1B2C3"', False),
        ('"5f3a2b4c"', '"nothing!"', False),
        ('"65a1b2c3-1f4"', '"65b1b2c3-1f5"', False),
        ('"3"', '"4"', False),
        ('"v1"', '"v2"', False),
        ('"1234567"', '"1234568"', False),
        ('"1700000000-500"', '"1800000000-500"', True),
        ('"1700000000-500"', '"1800000000-501"', False),
    ],
)
def test_tags_of_unknown_making(recorded: str, live: str, same: bool) -> None:
    judgement = judge()
    judgement.messages([response_of(200, ONE)], [response_of(200, TWO)])
    assert judgement.same_text(recorded, live, "field", "etag") is same, judgement.reason()
    assert not judgement._pairs, "nothing is renamed"


def test_a_tag_without_its_content_is_one_that_came_before() -> None:
    known = Correlation()
    first = judge(known)
    first.messages([response_of(200, ONE)], [response_of(200, TWO)])
    # With the length of what it was made of, which may be another one.
    recorded, live = f'"{len(ONE):x}-{md5(ONE)}"', f'"{len(TWO):x}-{md5(TWO)}"'
    assert first.same_text(recorded, live, "field", "etag")
    first.commit()
    later = judge(known)
    later.messages([response_of(304)], [response_of(304)])
    assert later.same_text(recorded, live, "field", "etag")
    assert not later.same_text(recorded, f'"{md5(b"x")}"', "field", "etag")


def test_a_digest_of_what_was_sent() -> None:
    judgement = judge()
    recorded = [request_of("PUT", "/f", ONE), response_of(200, {"md5": md5(ONE)})]
    live = [request_of("PUT", "/f", TWO), response_of(200, {"md5": md5(TWO)})]
    judgement.messages(recorded, live)
    assert judgement.same_text(md5(ONE), md5(TWO), "json", "$.md5")
    assert not judgement.same_text(md5(ONE), md5(b"other"), "json", "$.md5")


FILE, OTHER_FILE = b"one\x00file\r\n", b"another\x00file"


@pytest.mark.parametrize(
    "content",
    [
        lambda data: (
            b'--b\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\n'
            + data
            + b"\r\n--b--\r\n"
        ),
        lambda data: b"n=1&f=" + quote(data).encode(),
        lambda data: json.dumps({"of": [{"text": data.decode()}]}).encode(),
        lambda data: json.dumps({"file": base64.b64encode(data).decode()}).encode(),
    ],
)
def test_a_digest_of_what_was_within_what_was_sent(content: Any) -> None:
    sides = [request_of("POST", "/f", content(data)) for data in (FILE, OTHER_FILE)]
    judgement = judge()
    judgement.messages([sides[0], response_of(200)], [sides[1], response_of(200)])
    assert judgement.same_text(md5(FILE), md5(OTHER_FILE), "json", "$.md5")
    assert not judgement.same_text(md5(FILE), md5(b"other"), "json", "$.md5")


@pytest.mark.parametrize("coded", [0, 1])
def test_a_digest_of_what_one_side_alone_has_in_a_coding(coded: int) -> None:
    fields = [{}, {"Content-Encoding": "gzip"}]
    messages = [
        response_of(200, gzip.compress(data) if place == coded else data, fields[place == coded])
        for place, data in enumerate((ONE, TWO))
    ]
    judgement = judge()
    judgement.messages(messages[:1], messages[1:])
    assert judgement.same_text(f'"{md5(ONE)}"', f'"{md5(TWO)}"', "field", "etag")
    assert not judgement.same_text(f'"{md5(ONE)}"', f'"{md5(b"x")}"', "field", "etag")


# ----- composite


@pytest.mark.parametrize(
    ("recorded", "live"),
    [
        (
            jwt({"sub": "ann", "iat": RECORDED_S, "exp": RECORDED_S + 3600, "jti": U1}),
            jwt({"sub": "ann", "iat": LIVE_S + 1, "exp": LIVE_S + 3601, "jti": L1}, b"t" * 32),
        ),
        (
            "Bearer " + jwt({"iat": RECORDED_S}),
            "Bearer " + jwt({"iat": LIVE_S + 1}, b"t" * 32),
        ),
        (
            f"session={jwt({'iat': RECORDED_S})}; Path=/; HttpOnly",
            f"session={jwt({'iat': LIVE_S}, b't' * 32)}; Path=/; HttpOnly",
        ),
        (b64({"after": U1, "n": 3}), b64({"after": L1, "n": 3})),
        (b64([U1, 3]), b64([L1, 3])),
        (b64(f"order:{U1}".encode()), b64(f"order:{L1}".encode())),
        (b64(f"2023-11-14T22:13:20Z|{U1}".encode()), b64(f"2027-01-15T08:00:00Z|{L1}".encode())),
        (
            f"https://cdn.example/f/{U1}?expires={RECORDED_S + 900}&signature=abcdef0123456789",
            f"https://cdn.example/f/{L1}?expires={LIVE_S + 900}&signature=0f0f0f0f12345678",
        ),
        (
            f"https://s3.example/f?X-Amz-Date=20231114T221320Z&X-Amz-Expires=9&X-Amz-Signature={md5(b'a')}",
            f"https://s3.example/f?X-Amz-Date=20270115T080000Z&X-Amz-Expires=9&X-Amz-Signature={md5(b'b')}",
        ),
        (
            f"{b64({'user': U1})}.{b64(RECORDED_S.to_bytes(4, 'big'))}.{b64(b's' * 20)}",
            f"{b64({'user': L1})}.{b64(LIVE_S.to_bytes(4, 'big'))}.{b64(b't' * 20)}",
        ),
        (f"/login?next=%2Forders%2F{U1}%3Fa%3D1", f"/login?next=%2Forders%2F{L1}%3Fa%3D1"),
    ],
)  # fmt: skip
def test_composites(recorded: str, live: str) -> None:
    judgement = judge()
    assert judgement.same_text(recorded, live, "json", "$.token"), judgement.reason()


@pytest.mark.parametrize(
    ("recorded", "live"),
    [
        (jwt({"sub": "ann", "iat": RECORDED_S}), jwt({"sub": "bob", "iat": LIVE_S})),
        (jwt({"role": "user"}), jwt({"role": "admin"})),
        (jwt({"exp": RECORDED_S + 3600}), jwt({"exp": LIVE_S + 7200})),
        (jwt({"sub": "ann"}), jwt({"sub": "ann", "admin": True})),
        (jwt({"n": 1}), jwt({"n": True})),
        (jwt({"n": 1}), jwt({"n": "1"})),
        (jwt({"iat": RECORDED_S}), jwt({"iat": LIVE_S}, header={"alg": "none"})),
        (jwt({"iat": RECORDED_S}), jwt({"iat": LIVE_S}, b"")),
        (jwt({"iat": RECORDED_S}), jwt({"iat": LIVE_S}).rpartition(".")[0]),
        (jwt({"iat": RECORDED_S}), "not-a-token"),
        (jwt({"iat": RECORDED_S}), U1),
        (b64({"page": 2}), b64({"page": 3})),
        (b64({"page": 2}), b64(["page", 2])),
        (b64(b"offset:20"), b64(b"offset:30")),
        (b64(b"customer/ann"), b64(b"customer/bob")),
        (b64(b"customer/ann"), "Zu3Hx81cDpVbS6yG"),
        (
            f"https://a.example/f?expires={RECORDED_S + 900}&signature=abcdef0123456789",
            f"https://a.example/f?expires={LIVE_S + 1900}&signature=0f0f0f0f12345678",
        ),
        (
            f"https://a.example/f?expires={RECORDED_S + 900}&signature=abcdef0123456789",
            f"https://a.example/g?expires={LIVE_S + 900}&signature=0f0f0f0f12345678",
        ),
        (
            f"https://a.example/f?expires={RECORDED_S + 900}&signature=abcdef0123456789",
            f"https://a.example/f?expires={LIVE_S + 900}&signature=",
        ),
        (f"/login?next=%2Forders%2F{U1}", f"/login?next=%2Fbaskets%2F{L1}"),
    ],
)
def test_other_composites(recorded: str, live: str) -> None:
    judgement = judge()
    assert not judgement.same_text(recorded, live, "json", "$.token")
    assert not judgement.accepted
    assert not judgement._pairs


def test_a_composite_is_not_renamed_but_carried() -> None:
    known = Correlation()
    first = judge(known)
    tokens = [jwt({"iat": RECORDED_S, "n": n}) for n in (1, 2)]
    live = jwt({"iat": LIVE_S, "n": 1}, b"t" * 32)
    assert first.same_text(tokens[0], live, "json", "$.token")
    first.commit()
    wire = f"GET / HTTP/1.1\r\nAuthorization: Bearer {tokens[0]}\r\n\r\n"
    assert known.to_live(wire.encode()) == wire.replace(tokens[0], live).encode()
    assert known.to_recorded(wire.replace(tokens[0], live).encode()) == wire.encode()
    again = judge(known)
    assert again.same_text(tokens[0], jwt({"iat": LIVE_S + 1, "n": 1}), "json", "$.token")


# ----- own address


@pytest.mark.parametrize(
    ("recorded", "live", "same"),
    [
        ("http://10.0.0.2:8080/orders", "http://127.0.0.1:4711/orders", True),
        (f"http://10.0.0.2:8080/orders/{U1}", f"http://127.0.0.1:4711/orders/{L1}", True),
        # As the request named it: it bears the recorded Host.
        (f"http://10.0.0.2:8080/orders/{U1}", f"http://10.0.0.2:8080/orders/{L1}", True),
        ("http://10.0.0.2:8080/orders", "http://127.0.0.1:4711/baskets", False),
        ("http://10.0.0.2:80801/orders", "http://127.0.0.1:47111/orders", False),
        ("http://110.0.0.2:8080/orders", "http://1127.0.0.1:4711/orders", False),
        ("http://10.0.0.2:8080/orders", "http://10.0.0.2:4711/orders", False),
    ],
)
def test_own_address(recorded: str, live: str, same: bool) -> None:
    known = Correlation()
    known.own["10.0.0.2:8080"] = "127.0.0.1:4711"
    judgement = judge(known)
    assert judgement.same_text(recorded, live, "field", "location") is same
    assert bool(judgement.accepted) is same


@pytest.mark.parametrize(
    ("recorded", "live", "named", "as_now"),
    [
        (("10.0.0.2", 8080), ("127.0.0.1", 4711), "10.0.0.2:8080", "127.0.0.1:4711"),
        (("10.0.0.2", 8080), ("localhost", 4711), "10.0.0.2:8080", "127.0.0.1:4711"),
        (("10.0.0.2", 8080), ("127.0.0.1", 4711), "localhost:8080", "localhost:4711"),
        (("127.0.0.1", 8080), ("::1", 4711), "127.0.0.1:8080", "127.0.0.1:4711"),
        (("127.0.0.1", 8080), ("127.0.0.1", 4711), "[::1]:8080", "[::1]:4711"),
        (("2001:db8::2", 8080), ("::1", 4711), "[2001:db8::2]:8080", "[::1]:4711"),
        (("127.0.0.1", 8080), ("127.0.0.1", 8080), "127.0.0.1:8080", None),
        (("127.0.0.1", 8080), ("127.0.0.1", 4711), "10.0.0.3:8080", None),
        (("127.0.0.1", 8080), ("127.0.0.1", 4711), "localhost:80", None),
    ],
)
def test_what_an_own_address_is(
    recorded: tuple[str, int], live: tuple[str, int], named: str, as_now: str | None
) -> None:
    assert own_addresses([recorded], *live).get(named) == as_now


# ----- numbers


@pytest.mark.parametrize(
    ("recorded", "live", "same"),
    [
        ("0.30000000000000004", "0.30000000000000010", True),
        ("1234567.12345678", "1234567.12345679", True),
        ("1234567.12345678", "1234567.12945678", False),
        ("0.3", "0.30000000000000004", False),
        ("12.34", "12.35", False),
        ("0.333333333333333", "0.333333333433333", True),
        ("-0.333333333333333", "0.333333333333333", False),
    ],
)
def test_floats(recorded: str, live: str, same: bool) -> None:
    judgement = judge()
    assert judgement.same_number(Decimal(recorded), Decimal(live), "json", "$.x") is same
    assert kinds(judgement) == (["float"] if same else [])


@pytest.mark.parametrize(("recorded", "live"), [(17, 18), (-1, 1), (0, 1), (10**30, 10**30 + 1)])
def test_integers_are_exact(recorded: int, live: int) -> None:
    assert not judge().same_number(recorded, live, "json", "$.id")
