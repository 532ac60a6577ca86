"""Which recorded answer a call gets, and what is said of calls that get none."""

import asyncio
import json
from collections.abc import Iterable

import pytest
from tapes import BEGIN_NS, MS, Tape, request_of, response_of

from wiretape.exchange.v1.exchange_pb2 import ConnectionEnd, Exchange, HttpRequest, HttpResponse
from wiretape.replayer.carried import plan
from wiretape.replayer.caused import InFlight, Interval, marks
from wiretape.replayer.io.listener import Listeners
from wiretape.replayer.mocks import (
    Answer,
    Answers,
    Calls,
    Mocks,
    UpstreamFinding,
    normal_name,
    upstream_names,
)
from wiretape.replayer.placeholders import expander
from wiretape.replayer.run import loop_factory
from wiretape.replayer.values import Correlation

UP, ADDRESS = "prices.internal:80", "10.0.0.3:80"
HOST = {"Host": "prices.internal"}
U1, U2 = "9d18e059-ea22-4a34-b185-206b1ed9eef8", "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"
L1, L2 = "0f72aa6c-cb16-4e13-b979-28ef0b973b73", "c56a4180-65aa-42ec-a945-5fd21dec0538"
NOW = 1_800_000_000 * 10**9
Pair = tuple[HttpRequest, HttpResponse | None]


def get(target: str, **fields: str) -> HttpRequest:
    return request_of("GET", target, fields={**HOST, **fields})


def post(target: str, value: object, **fields: str) -> HttpRequest:
    content = json.dumps(value).encode()
    return request_of(
        "POST", target, content, {**HOST, "Content-Type": "application/json", **fields}
    )


class Service:
    """Exchanges with the calls that each made, then live calls while they are in flight."""

    def __init__(self, *exchanges: Iterable[Pair], how: ConnectionEnd.How = ConnectionEnd.CLOSED):
        self.tape = Tape()
        self.inbound = [
            self.tape.inbound(request_of("GET", f"/{number}"), response_of(200), *calls)
            for number, calls in enumerate(exchanges)
        ]
        self.how = how
        self.in_flight = InFlight()
        self.correlation = Correlation()

    def outside(self, request: HttpRequest, response: HttpResponse) -> None:
        """A call of no exchange, long after the last."""
        made = self.tape.outbound(request, response)
        shift_ns = 10**9 * (1 + made.http.request.first_byte_at_ns - BEGIN_NS)
        made.http.request.first_byte_at_ns += shift_ns
        made.http.response.last_byte_at_ns += shift_ns

    def mocks(self, shift: bool = False, pace: float = 0) -> Mocks:
        outbound = [e for e in self.tape.exchanges if e.connection.id == "u1"]
        steps = [
            Interval(
                e.id,
                e.http.request.first_byte_at_ns,
                e.http.response.last_byte_at_ns,
                list(marks(e.http.request)),
            )
            for e in self.inbound
        ]
        correlation = self.correlation
        outbound.sort(key=lambda e: e.http.request.first_byte_at_ns)
        calls = Calls(outbound, steps, self.tape.ends(self.how))
        carried = plan(self.inbound, outbound, [call.place for call in calls.all])
        answers = Answers(correlation, carried, shift, pace)
        return Mocks(calls, correlation, self.in_flight, answers, self.inbound)

    def drive(self, position: int) -> None:
        """Only this one is in flight."""
        for place in tuple(self.in_flight.places):
            self.in_flight.end(place)
        self.in_flight.begin(position, marks(self.inbound[position].http.request))


def mocks_of(*pairs: Pair) -> Mocks:
    """All in one exchange, which is in flight."""
    service = Service(pairs)
    service.drive(0)
    return service.mocks()


def status(answer: Answer) -> int:
    return int(answer.wire.split(b" ")[1])


def content(answer: Answer) -> bytes:
    return answer.wire.partition(b"\r\n\r\n")[2]


def ask(mocks: Mocks, request: HttpRequest, name: str = UP) -> Answer:
    return mocks.answer(name, request, NOW)


def told(findings: list[UpstreamFinding]) -> list[tuple[str, str, int]]:
    return [(finding.kind, finding.call, finding.place) for finding in findings]


def test_repeats_are_answered_in_recorded_order_and_no_more_often() -> None:
    mocks = mocks_of((get("/a"), response_of(200, b"1")), (get("/a"), response_of(200, b"2")))
    assert [content(ask(mocks, get("/a"))) for _ in range(2)] == [b"1", b"2"]
    assert status(ask(mocks, get("/a"))) == 599
    (finding,) = mocks.findings([0])
    assert (finding.kind, finding.reason) == ("extra", "it was recorded 2 times, not more often")


def answer_of(text: bytes) -> HttpResponse:
    return response_of(200, text)


def test_a_call_is_answered_as_its_exchange_was() -> None:
    service = Service(
        [(get("/a"), answer_of(b"1"))],
        [(get("/a"), answer_of(b"2")), (get("/a"), answer_of(b"3"))],
    )
    mocks = service.mocks()
    service.drive(1)
    assert [content(ask(mocks, get("/a"))) for _ in range(2)] == [b"2", b"3"]
    assert status(ask(mocks, get("/a"))) == 599, "the first belongs to another exchange"
    assert told(mocks.findings([0, 1])) == [("missing", "GET /a", 0), ("extra", "GET /a", 1)]


def test_a_trace_field_tells_the_exchange() -> None:
    one, two = (get("/a", **{"x-request-id": value}) for value in ("one", "two"))
    service = Service([(one, answer_of(b"1"))], [(two, answer_of(b"2"))])
    for exchange, value in zip(service.inbound, (b"one", b"two"), strict=True):
        exchange.http.request.fields.add(name=b"X-Request-ID", value=value)
    mocks = service.mocks()
    for position in (0, 1):
        service.in_flight.begin(position, marks(service.inbound[position].http.request))
    assert [content(ask(mocks, call)) for call in (two, one)] == [b"2", b"1"]


def test_several_that_could_be_meant() -> None:
    for second, expected in ((b"1", 200), (b"2", 599)):
        service = Service([(get("/a"), answer_of(b"1"))], [(get("/a"), answer_of(second))])
        mocks = service.mocks()
        for position in (0, 1):
            service.in_flight.begin(position, ())
        assert status(ask(mocks, get("/a"))) == expected
        assert mocks.clash(0, 1) == (expected == 599)
    (finding,) = [f for f in mocks.findings([]) if f.kind == "extra"]
    assert finding.reason == "several exchanges in flight recorded it, with different answers"


def test_a_constant_answer_to_a_safe_call_is_given_anywhere() -> None:
    service = Service([(get("/keys"), answer_of(b"k"))], [], [])
    mocks = service.mocks()
    service.drive(1)
    assert content(ask(mocks, get("/keys"))) == b"k"
    assert [(m.call, m.recorded_place, m.place) for m in mocks.moved] == [("GET /keys", 0, 1)]
    assert not mocks.findings([0, 1, 2]), "the moved one stands for the recorded one"
    service.drive(0)
    assert content(ask(mocks, get("/keys"))) == b"k"
    assert status(ask(mocks, get("/keys"))) == 599, "it was not asked twice there"
    assert told(mocks.findings([0, 1, 2])) == [("extra", "GET /keys", 0)]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_is_not_moved(method: str) -> None:
    call = get("/a") if method == "GET" else post("/a", {})
    second = answer_of(b"2") if method == "GET" else answer_of(b"1")
    service = Service([(call, answer_of(b"1"))], [], [(call, second)])
    mocks = service.mocks()
    service.drive(1)
    assert status(ask(mocks, call)) == 599
    assert [kind for kind, _, _ in told(mocks.findings([0, 1, 2]))] == [
        "missing",
        "extra",
        "missing",
    ]


def test_a_safe_call_that_never_came_is_missing() -> None:
    service = Service([(get("/a"), answer_of(b"1"))], [(get("/a"), answer_of(b"1"))])
    mocks = service.mocks()
    assert told(mocks.findings([0, 1])) == [("missing", "GET /a", 0), ("missing", "GET /a", 1)]
    service.drive(0)
    ask(mocks, get("/a"))
    assert told(mocks.findings([0, 1])) == [("missing", "GET /a", 1)]


def test_a_call_that_the_service_cached_when_recorded_may_be_cached_longer() -> None:
    keys = [(get("/keys"), answer_of(b"k"))]
    service = Service(keys, [], keys)
    for exchange in service.inbound:
        exchange.http.request.target = b"/same"
    mocks = service.mocks()
    assert len(mocks.findings([0, 1, 2])) == 2, "it has to come at all"
    service.drive(0)
    ask(mocks, get("/keys"))
    assert not mocks.findings([0, 1, 2])


def test_what_was_recorded_outside_of_any_exchange_may_come_any_number_of_times() -> None:
    service = Service([], [])
    service.outside(get("/poll"), answer_of(b"1"))
    service.outside(get("/poll"), answer_of(b"2"))
    mocks = service.mocks()
    assert not mocks.findings([0, 1])
    assert content(ask(mocks, get("/poll"))) == b"1", "before all exchanges"
    service.drive(1)
    assert [content(ask(mocks, get("/poll"))) for _ in range(3)] == [b"1", b"2", b"2"]
    assert not mocks.findings([0, 1])
    assert not mocks.moved


def test_a_call_at_start_up_that_was_not_recorded() -> None:
    mocks = Service([(post("/a", {}), answer_of(b"1"))]).mocks()
    assert status(ask(mocks, get("/config"))) == 599
    (finding,) = mocks.findings([])
    assert finding.place == -1
    assert "start-up" in finding.reason


def test_a_call_that_came_after_its_response_may_come_during_another() -> None:
    service = Service([], [])
    service.tape.outbound(post("/events", {"n": 1}), answer_of(b"ok"))
    late = service.tape.exchanges[-1]
    late.cause_id = service.inbound[0].id
    mocks = service.mocks()
    service.drive(0)
    assert [call.request.target for call in mocks.waiting(0)] == [b"/events"]
    service.drive(1)
    assert content(ask(mocks, post("/events", {"n": 1}))) == b"ok"
    assert not mocks.findings([0, 1])
    assert status(ask(mocks, post("/events", {"n": 1}))) == 599


def test_an_upstream_is_known_by_name_and_address() -> None:
    mocks = mocks_of((get("/a"), response_of(200, b"1")), (get("/a"), response_of(200, b"2")))
    assert mocks.names == [ADDRESS, UP]
    assert content(ask(mocks, get("/a"), name=ADDRESS)) == b"1"
    assert content(ask(mocks, get("/a"))) == b"2", "both names share what was used"


def test_one_address_may_have_several_names() -> None:
    service = Service(
        [
            (get("/a"), answer_of(b"1")),
            (request_of("GET", "/a", fields={"Host": "other.internal"}), answer_of(b"2")),
        ]
    )
    service.drive(0)
    mocks = service.mocks()
    other = request_of("GET", "/a", fields={"Host": "other.internal"})
    assert content(ask(mocks, other, name=ADDRESS)) == b"2"
    assert status(ask(mocks, other, name=ADDRESS)) == 599


def test_the_request_says_which_upstream_where_the_listener_does_not() -> None:
    mocks = mocks_of((get("/a"), answer_of(b"1")))
    assert content(ask(mocks, get("/a"), name="")) == b"1"


def test_a_fresh_value_in_a_call_binds_it() -> None:
    mocks = mocks_of(
        (post("/pay", {"key": U1, "cents": 5}), response_of(200, {"paid": U1})),
        (post("/pay", {"key": U2, "cents": 5}), response_of(200, {"paid": U2})),
    )
    assert json.loads(content(ask(mocks, post("/pay", {"key": L1, "cents": 5})))) == {"paid": L1}
    assert status(ask(mocks, post("/pay", {"key": L1, "cents": 5}))) == 599, "U2 is not L1"
    assert json.loads(content(ask(mocks, post("/pay", {"key": L2, "cents": 5})))) == {"paid": L2}
    assert status(ask(mocks, post("/pay", {"key": L2, "cents": 6}))) == 599


def test_an_answer_given_before_is_given_in_the_values_of_now() -> None:
    service = Service([])
    service.outside(get("/last"), response_of(200, {"last": U1, "at": "2023-11-14T22:13:20Z"}))
    mocks = service.mocks(shift=True)
    service.drive(0)
    first = json.loads(content(ask(mocks, get("/last"))))
    later = mocks.answer(UP, get("/last", Connection="close"), NOW + 10**9)
    assert json.loads(content(later)) == first, "one instant has one live one"
    assert later.close
    assert not ask(mocks, get("/last")).close
    service.correlation.add({U1: L1})
    assert json.loads(content(ask(mocks, get("/last")))) == {**first, "last": L1}
    service.correlation.instants.clear()
    later = mocks.answer(UP, get("/last"), NOW + 10**9)
    assert json.loads(content(later))["at"] > first["at"]


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
    service = Service([(get("/a"), response_of(200))], [(get("/b"), response_of(200))])
    mocks = service.mocks()
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
    for how, reset in ((ConnectionEnd.CLOSED, False), (ConnectionEnd.RESET, True)):
        for response, expected in ((None, b""), (torn, b"all")):
            service = Service([(get("/a"), response)], how=how)
            service.drive(0)
            mocks = service.mocks()
            answer = ask(mocks, get("/a"))
            assert content(answer) == expected
            assert (answer.close, answer.reset, answer.hold_ns) == (True, reset, 0)
            assert not mocks.findings([0])


@pytest.mark.parametrize(
    ("how", "closed_s", "left_s", "answered_s", "hold_s"),
    [
        (ConnectionEnd.CLOSED, 5, 0, None, 5),  # the upstream went, in its own time
        (ConnectionEnd.CLOSED, 0.1, 0, None, 0),
        (ConnectionEnd.CLOSED, 9, 5, None, 6),  # the service went: be sure to outlast it
        (ConnectionEnd.CLOSED, 0.2, 0.1, None, 1.1),
        (ConnectionEnd.RESET, 5, 0, None, 6),
        (ConnectionEnd.RESET, 9, 5, None, 6),
        (ConnectionEnd.OPEN, 9, 5, None, 6),
        (ConnectionEnd.RESET, 9, 5, 9, 6),  # the answer came when nobody was there
        (ConnectionEnd.RESET, 9, 5, 4, None),
        (ConnectionEnd.RESET, 9, 0, 9, None),
        (ConnectionEnd.OPEN, 9, 5, 9, None),  # it may still have been read
    ],
)
def test_an_upstream_that_let_the_service_wait_does_so_again(
    how: ConnectionEnd.How,
    closed_s: float,
    left_s: float,
    answered_s: float | None,
    hold_s: float | None,
) -> None:
    service = Service([(get("/a"), answer_of(b"1") if answered_s is not None else None)])
    http = service.tape.exchanges[0].http
    asked_ns = http.request.last_byte_at_ns
    if answered_s is not None:
        http.response.first_byte_at_ns = asked_ns + int(answered_s * 10**9)
        http.response.last_byte_at_ns = http.response.first_byte_at_ns
    end = ConnectionEnd(id="u1", how=how, closed_at_ns=asked_ns + int(closed_s * 10**9))
    end.client_closed_at_ns = asked_ns + int(left_s * 10**9) if left_s else 0
    service.tape.ends = lambda how: {"u1": end}  # type: ignore[method-assign]
    service.drive(0)
    answer = ask(service.mocks(), get("/a"))
    assert content(answer) == (b"1" if hold_s is None else b"")
    assert (answer.close, answer.hold_ns) == (hold_s is not None, int((hold_s or 0) * 10**9))


@pytest.mark.parametrize("reset", [False, True])
def test_a_build_need_not_wait_for_the_end(reset: bool) -> None:
    """The answer that never comes ends when the build has gone."""
    failed: list[dict[str, object]] = []

    async def leave() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: failed.append(context))
        mocks = mocks_of()
        answer = Answer(b"", True, 0, 20 * MS, reset)
        mocks.answer = lambda *_: answer  # type: ignore[method-assign]
        listeners = Listeners(mocks)
        _, writer = await asyncio.open_connection("127.0.0.1", await listeners.listen(UP))
        writer.write(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
        await asyncio.sleep(0.01)
        writer.close()
        await asyncio.sleep(0.1)
        listeners.close()

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(leave())
    assert not failed


def test_what_the_recording_did_not_see_is_no_fault() -> None:
    mocks = Service([(get("/a"), None)], how=ConnectionEnd.OPEN).mocks()
    ((_, reason),) = mocks.unfit([0])
    assert reason == "its response was not recorded: its connection was not seen to its end"
    assert not mocks.unfit([])


@pytest.mark.parametrize(("pace", "wait_ns"), [(0, 0), (1, MS), (2.5, int(2.5 * MS))])
def test_answers_take_their_time(pace: float, wait_ns: int) -> None:
    service = Service([(get("/a"), answer_of(b"1"))])
    service.drive(0)
    assert ask(service.mocks(pace=pace), get("/a")).wait_ns == wait_ns


def test_a_call_with_gaps_cannot_be_answered() -> None:
    response = response_of(200, b"abc")
    response.content.gaps.add(offset=1, length=1)
    mocks = mocks_of((get("/a"), response))
    ((call, reason),) = mocks.unfit([0])
    assert call.request.target == b"/a"
    assert reason == "its response's content lacks 1 bytes at 1"
    assert status(ask(mocks, get("/a"))) == 599


def test_what_is_no_whole_request() -> None:
    mocks = mocks_of((get("/a"), response_of(200)))
    torn = post("/a", {"n": 1})
    torn.content.complete = False
    assert ask(mocks, torn) == Answer(b"", True)
    mocks.refuse(UP, "what came is not HTTP/1: tls")
    mocks.is_over = True
    assert ask(mocks, torn) == Answer(b"", True)
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
