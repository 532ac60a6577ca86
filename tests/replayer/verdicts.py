"""Verdicts made by hand, with everything that a report can show."""

from collections.abc import Callable

from tapes import BEGIN_NS, MS, request_of, response_of

from wiretape.replayer.accepted import Acceptance
from wiretape.replayer.compare import Difference
from wiretape.replayer.kept import keep
from wiretape.replayer.mocks import MadeCall, MovedCall, UpstreamFinding
from wiretape.replayer.verdict import (
    Attempt,
    Condition,
    Failure,
    Lacking,
    Latency,
    Lateness,
    Percentiles,
    Result,
    State,
    UnfitCall,
    Verdict,
)

LIVE_NS = BEGIN_NS + 10**15
TOKEN = "9d18e059-ea22-4a34-b185-206b1ed9eef8"
OTHER = "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"
HOSTILE = (
    "</script><script>document.title='pwned'</script><img src=x onerror=\"document.title='pwned'\">"
    "<!--<script>\u2028\u0000\x1b[2J\ud800'\"&amp;"
)
# What of it a text can hold.
HOSTILE_TEXT = HOSTILE.replace("\0", "").replace("\ud800", "")


def made(*rows: tuple[str, State]) -> Verdict:
    """A result for each (endpoint, state), 10 ms after one another, that took 2 and 3 ms."""
    verdict = Verdict("rec.mcap", "http://127.0.0.1:{port}", mocked=True)
    for position, (endpoint, state) in enumerate(rows):
        method, _, target = endpoint.partition(" ")
        result = Result(position, f"e{position:04d}", method, target, 2 * MS, state)
        result.recorded_at_ns = BEGIN_NS + position * 10 * MS
        if state in (State.SAME, State.DIFFERS):
            result.live_ns = 3 * MS
            result.live_at_ns = LIVE_NS + position * 10 * MS
        verdict.results.append(result)
    return verdict


def json_change(place: str, expected: str | None, actual: str | None, why: str = "") -> Difference:
    return Difference("json", place, expected, actual, why or "another value")


def status_change(expected: int, actual: int) -> Difference:
    return Difference("status", "status", str(expected), str(actual), "another status")


def with_messages(result: Result, recorded: object, live: object | None = None) -> None:
    """A request and JSON contents; `live` None for the same answer."""
    content = b'{"sku": "a"}' if result.method != "GET" else b""
    result.request = keep(request_of(result.method, result.target, content))
    result.response = keep(response_of(200, recorded))
    if live is not None:
        result.live_response = keep(response_of(200, live))


def rich_verdict() -> Verdict:
    """Something of everything, with hostile text wherever a build or a recording can put it."""
    verdict = made(
        ("POST /orders", State.DIFFERS),
        (f"GET /orders/{OTHER}", State.DIFFERS),
        ("GET /products?q=" + HOSTILE.replace(" ", "+"), State.DIFFERS),
        ("GET /healthz", State.SAME),
        ("GET /old/7", State.DIFFERS),
        ("PUT /blob", State.UNFIT),
        ("GET /late", State.NOT_RUN),
        ("POST /pay", State.DIFFERS),
    )
    first, second, third, fourth, fifth, sixth, seventh, last = verdict.results
    first.differences = [json_change("$.items[0].total", "20", "21", "another integer")]
    first.accepted = [Acceptance("unique", "POST /orders", "json", "$.id", OTHER, TOKEN, "renamed")]
    with_messages(
        first,
        {"id": OTHER, "items": [{"total": 20, "name": HOSTILE}], "note": "as it was"},
        {"items": [{"name": HOSTILE, "total": 21}], "id": TOKEN, "note": "as it was"},
    )
    second.differences = [json_change("$.total", "20", "21", "another integer")]
    second.lacking = [Lacking(0, "$.items[0].total", "20")]
    third.differences = [
        Difference("text", "line 1", "a", HOSTILE, "the text differs"),
        Difference("field", "x-evil", None, HOSTILE, "the field was not recorded"),
    ]
    third.request = keep(request_of("GET", "/products"))
    third.response = keep(response_of(200, b"a", {"Content-Type": "text/plain"}))
    third.live_response = keep(response_of(200, HOSTILE_TEXT.encode(), {"X-Evil": "<b>bold</b>"}))
    with_messages(fourth, {"ok": True})
    fifth.differences = [status_change(200, 404)]
    fifth.uncreated = "7"
    sixth.note = "its request's content lacks 2 bytes at 4"
    seventh.note = "the run ended before it"
    last.differences = [status_change(200, 502)]
    verdict.upstream = [
        UpstreamFinding(
            "extra", "pay.internal:80", "POST /charges/" + TOKEN, 7, "no recorded call is equal",
            "POST /charges/" + OTHER, (json_change("$.amount", "20", "21"),),
        ),
        UpstreamFinding("missing", "mail.internal:80", "POST /mails", 7, "the call never came"),
    ]  # fmt: skip
    verdict.unfit_calls = [UnfitCall("e9", "up:80", "GET /a", "its request lacks 2 bytes at 4")]
    verdict.failure = Failure("the build exited with 1", 6, ("starting", HOSTILE))
    verdict.output = ("starting", HOSTILE)
    verdict.accepted.add(0, first.accepted)
    verdict.accepted.add(
        3, [Acceptance("time", "GET /healthz", "field", "date", "then", "now", "as far away")]
    )
    verdict.attempts = [
        Attempt("tcp", "10.0.0.9:5432", 3),
        Attempt("dns", "telemetry.example"),
        Attempt("udp", "127.0.0.1:8125", 9),
        Attempt("tcp", "auth.example:443", 1, let_out=True),
    ]
    verdict.moved = [MovedCall("keys.internal:80", "GET /jwks", 0, 3)]
    verdict.calls = [
        MadeCall(
            "c1", "pay.internal:80", "POST /charges", 0, "answered",
            BEGIN_NS + MS // 2, MS, LIVE_NS + MS, MS,
        ),
        MadeCall("c2", "mail.internal:80", "POST /mails", 7, "missing", BEGIN_NS + 71 * MS, MS),
    ]  # fmt: skip
    verdict.unused_rules = ["rules.toml:4 mask $.nothing"]
    verdict.conditions = [Condition("latency.p95 > 200ms", True, "231 ms")]
    verdict.latency = [
        Latency("", Percentiles(8, 900, 2000, 2500, 9000, 9100), None),
        Latency(
            "POST /orders",
            Percentiles(3, 800, 1500, 1900, 2100, 2100),
            Percentiles(3, 950, 40_000, 231_000, 300_000, 300_000),
        ),
        Latency("GET /" + HOSTILE, None, Percentiles(1, 1, 1, 1, 1, 1)),
    ]
    verdict.lateness = Lateness(10, 2000, 3000)
    verdict.notes = ["calls are intercepted in namespaces of their own (netns)"]
    verdict.truncated = "cut after 12 MiB"
    verdict.calls_recorded = 3
    verdict.calls_answered = 1
    verdict.duration_ns = 123_456_789
    verdict.started_at_ns = LIVE_NS
    return verdict


def large_verdict(exchanges: int, each: Callable[[Result], None] | None = None) -> Verdict:
    """As many exchanges at twenty endpoints, every hundredth of which differs."""
    rows = [
        (f"GET /things{n % 20}/{n}", State.DIFFERS if n % 100 == 7 else State.SAME)
        for n in range(exchanges)
    ]
    verdict = made(*rows)
    for result in verdict.results:
        if result.state is State.DIFFERS:
            result.differences = [json_change("$.size", "1", "2", "another integer")]
            with_messages(
                result, {"n": result.position, "size": 1}, {"n": result.position, "size": 2}
            )
        else:
            with_messages(result, {"n": result.position, "size": 1})
        if each is not None:
            each(result)
    return verdict
