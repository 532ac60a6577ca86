"""Which recorded answer a call gets, and what is said of calls that get none."""

import json

import pytest
from tapes import Tape, request_of, response_of

from wiretape.exchange.v1.exchange_pb2 import Exchange, HttpRequest, HttpResponse
from wiretape.replayer.correlate import Correlation
from wiretape.replayer.mocks import Answer, Mocks, normal_name, upstream_names
from wiretape.replayer.placeholders import expander

UP, ADDRESS = "prices.internal:80", "10.0.0.3:80"
HOST = {"Host": "prices.internal"}
U1, U2 = "9d18e059-ea22-4a34-b185-206b1ed9eef8", "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"
L1, L2 = "0f72aa6c-cb16-4e13-b979-28ef0b973b73", "c56a4180-65aa-42ec-a945-5fd21dec0538"
NOW = 1_800_000_000 * 10**9


def get(target: str) -> HttpRequest:
    return request_of("GET", target, fields=HOST)


def post(target: str, value: object) -> HttpRequest:
    content = json.dumps(value).encode()
    return request_of("POST", target, content, {**HOST, "Content-Type": "application/json"})


def mocks_of(
    *pairs: tuple[HttpRequest, HttpResponse | None], places: list[int] | None = None
) -> Mocks:
    tape = Tape()
    calls = [tape.outbound(request, response) for request, response in pairs]
    return Mocks(calls, places or [0] * len(calls), Correlation())


def status(answer: Answer) -> int:
    return int(answer.wire.split(b" ")[1])


def content(answer: Answer) -> bytes:
    return answer.wire.partition(b"\r\n\r\n")[2]


def ask(mocks: Mocks, request: HttpRequest, place: int = 0, name: str = UP) -> Answer:
    return mocks.answer(name, request, place, NOW)


def test_repeats_are_answered_in_recorded_order_and_no_more_often() -> None:
    mocks = mocks_of((get("/a"), response_of(200, b"1")), (get("/a"), response_of(200, b"2")))
    assert [content(ask(mocks, get("/a"))) for _ in range(2)] == [b"1", b"2"]
    assert status(ask(mocks, get("/a"))) == 599
    (finding,) = mocks.findings([0])
    assert (finding.kind, finding.reason) == ("extra", "it was recorded 2 times, not more often")


def test_what_was_recorded_in_the_same_place_comes_first() -> None:
    pairs = [(get("/a"), response_of(200, text)) for text in (b"1", b"2", b"3")]
    mocks = mocks_of(*pairs, places=[0, 1, 1])
    assert [content(ask(mocks, get("/a"), place)) for place in (1, 1, 1)] == [b"2", b"3", b"1"]


def test_an_upstream_is_known_by_name_and_address() -> None:
    mocks = mocks_of((get("/a"), response_of(200, b"1")), (get("/a"), response_of(200, b"2")))
    assert mocks.names == [ADDRESS, UP]
    assert content(ask(mocks, get("/a"), name=ADDRESS)) == b"1"
    assert content(ask(mocks, get("/a"))) == b"2", "both names share what was used"


def test_a_fresh_value_in_a_call_binds_it() -> None:
    mocks = mocks_of(
        (post("/pay", {"key": U1, "cents": 5}), response_of(200, {"paid": U1})),
        (post("/pay", {"key": U2, "cents": 5}), response_of(200, {"paid": U2})),
    )
    assert json.loads(content(ask(mocks, post("/pay", {"key": L1, "cents": 5})))) == {"paid": L1}
    assert status(ask(mocks, post("/pay", {"key": L1, "cents": 5}))) == 599, "U2 is not L1"
    assert json.loads(content(ask(mocks, post("/pay", {"key": L2, "cents": 5})))) == {"paid": L2}
    assert status(ask(mocks, post("/pay", {"key": L2, "cents": 6}))) == 599


def test_nothing_similar_is_served() -> None:
    mocks = mocks_of((post("/pay", {"cents": 5}), response_of(200, {"ok": True})))
    answer = ask(mocks, post("/pay", {"cents": 6}))
    said = json.loads(content(answer))
    assert status(answer) == 599
    assert said["nearest"] == "POST /pay"
    assert said["differences"] == [{"place": "$.cents", "expected": "5", "actual": "6"}]
    (finding,) = mocks.findings([0])
    assert (finding.kind, finding.differences[0].place) == ("changed", "$.cents")


def test_another_path_is_one_missing_and_one_extra() -> None:
    mocks = mocks_of((get("/stock/mug"), response_of(200)))
    assert status(ask(mocks, get("/stock/cup"))) == 599
    kinds = [(f.kind, f.call, f.nearest) for f in mocks.findings([0])]
    assert kinds == [
        ("extra", "GET /stock/cup", "GET /stock/mug"),
        ("missing", "GET /stock/mug", None),
    ]


def test_an_upstream_that_was_never_asked() -> None:
    mocks = mocks_of()
    said = json.loads(content(ask(mocks, get("/a"))))
    assert said["reason"] == f"nothing asked of {UP} was recorded"


def test_calls_are_expected_only_of_what_was_driven() -> None:
    mocks = mocks_of(
        (get("/start"), response_of(200)),
        (get("/a"), response_of(200)),
        (get("/b"), response_of(200)),
        places=[-1, 0, 1],
    )
    assert [call.request.target for call in mocks.missing([0])] == [b"/a"]
    assert [f.call for f in mocks.findings([0])] == ["GET /a"]
    assert [f.call for f in mocks.findings([0, 1])] == ["GET /a", "GET /b"]


def test_answers_are_written_byte_for_byte() -> None:
    response = response_of(200, b"x", {"x-Odd": "1", "Content-Length": "1"})
    mocks = mocks_of((get("/a"), response))
    wire = b"HTTP/1.1 200 OK\r\nx-Odd: 1\r\nContent-Length: 1\r\n\r\nx"
    assert ask(mocks, get("/a")) == Answer(wire, False)


@pytest.mark.parametrize(
    ("fields", "asked", "close"),
    [
        ({"Connection": "close"}, {}, True),
        ({"Connection": "Keep-Alive, Close"}, {}, True),
        ({}, {"Connection": "close"}, True),
        ({}, {"Connection": "keep-alive"}, False),
    ],
)
def test_when_the_connection_ends(
    fields: dict[str, str], asked: dict[str, str], close: bool
) -> None:
    request = request_of("GET", "/a", fields={**HOST, **asked})
    mocks = mocks_of((request, response_of(200, b"", fields)))
    assert ask(mocks, request).close is close


def test_faults_of_the_upstream_are_repeated() -> None:
    torn = response_of(200, b"all of it")
    torn.content.data, torn.content.complete = b"all", False
    mocks = mocks_of((get("/reset"), None), (get("/torn"), torn))
    assert ask(mocks, get("/reset")) == Answer(b"", True)
    answer = ask(mocks, get("/torn"))
    assert (content(answer), answer.close) == (b"all", True)
    assert not mocks.findings([0])


def test_a_call_with_gaps_cannot_be_answered() -> None:
    response = response_of(200, b"abc")
    response.content.gaps.add(offset=1, length=1)
    mocks = mocks_of((get("/a"), response))
    ((call, reason),) = mocks.unfit()
    assert call.request.target == b"/a"
    assert reason == "its response's content lacks 1 bytes at 1"
    assert status(ask(mocks, get("/a"))) == 599


def test_what_is_no_whole_request() -> None:
    mocks = mocks_of((get("/a"), response_of(200)))
    torn = post("/a", {"n": 1})
    torn.content.complete = False
    assert ask(mocks, torn) == Answer(b"", True)
    mocks.refuse(UP, "what came is not HTTP/1: tls", 0)
    reasons = [f.reason for f in mocks.findings([])]
    assert reasons == [
        "POST /a: the request ended after 8 bytes of content",
        "what came is not HTTP/1: tls",
    ]


def test_a_miss_of_a_head_request_has_no_content() -> None:
    answer = ask(mocks_of(), request_of("HEAD", "/a", fields=HOST))
    assert (status(answer), content(answer)) == (599, b"")


@pytest.mark.parametrize(
    ("text", "scheme", "name"),
    [
        ("Prices.Internal", "http", "prices.internal:80"),
        ("prices.internal:8080", "http", "prices.internal:8080"),
        ("prices.internal", "https", "prices.internal:443"),
        ("[2001:db8::1]", "http", "[2001:db8::1]:80"),
        ("[2001:db8::1]:81", "http", "[2001:db8::1]:81"),
        ("", "http", ""),
    ],
)
def test_names(text: str, scheme: str, name: str) -> None:
    assert normal_name(text, scheme) == name


def test_the_name_that_the_build_used_comes_first() -> None:
    made: Exchange = Tape().outbound(get("/a"), None)
    assert upstream_names(made) == (UP, ADDRESS)
    made.http.request.authority = b"10.0.0.3"
    assert upstream_names(made) == (ADDRESS,)


def test_placeholders() -> None:
    expand = expander(4000, {"a.internal:80": 5001, "[::1]:81": 5002})
    text = '{port} {mock:A.internal} {mock:a.internal:80} {mock:[::1]:81} {"json": {}}'
    assert expand(text) == '4000 127.0.0.1:5001 127.0.0.1:5001 127.0.0.1:5002 {"json": {}}'
