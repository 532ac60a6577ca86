"""Which differences have one cause, and what is folded into it."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from tapes import BEGIN_NS, MS, response_of
from verdicts import LIVE_NS, OTHER, TOKEN, json_change, made, status_change

from wiretape.replayer.causes import Cause, causes_of
from wiretape.replayer.compare import Difference
from wiretape.replayer.kept import keep
from wiretape.replayer.mocks import UpstreamFinding
from wiretape.replayer.verdict import Attempt, Condition, Lacking, State, Verdict

HOUR_NS = 3600 * 10**9


def differing(*rows: tuple[str, list[Difference]]) -> Verdict:
    verdict = made(*((endpoint, State.DIFFERS) for endpoint, _ in rows))
    for result, (_, differences) in zip(verdict.results, rows, strict=True):
        result.differences = differences
    return verdict


def field_change(name: str, expected: str | None, actual: str | None) -> Difference:
    return Difference("field", name, expected, actual, "the field has another value")


def http_date(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns // 10**9, UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")


def iso(at_ns: int, zone: str) -> str:
    """As JSON spells it."""
    return datetime.fromtimestamp(at_ns // 10**9, UTC).strftime(f'"%Y-%m-%dT%H:%M:%S{zone}"')


TOTAL = json_change("$.total", "20", "21")
GONE = Difference("response", "response", "200", None, "the connection was closed")


def later(position: int, hours: int) -> Difference:
    """A Date field of the exchange at `position` that is off by some hours."""
    at_ns = position * 10 * MS
    return field_change(
        "date", http_date(BEGIN_NS + at_ns), http_date(LIVE_NS + at_ns + hours * HOUR_NS)
    )


CASES: dict[str, tuple[Verdict, list[tuple[str, tuple[int, ...]]]]] = {
    "one path at one endpoint, other values": (
        differing(
            ("GET /orders/1", [json_change("$.items[0].total", "1", "2")]),
            ("GET /orders/2?x=1", [json_change("$.items[7].total", "3", "4")]),
        ),
        [("content", (0, 1))],
    ),
    "one path at an endpoint with generated segments": (
        differing((f"GET /orders/{TOKEN}", [TOTAL]), (f"GET /orders/{OTHER}", [TOTAL])),
        [("content", (0, 1))],
    ),
    "two paths that the same exchanges show": (
        differing(
            ("GET /a", [TOTAL, json_change("$.tax", "1", "2")]),
            ("GET /a", [TOTAL, json_change("$.tax", "1", "2")]),
        ),
        [("content", (0, 1))],
    ),
    "two paths that other exchanges show": (
        differing(("GET /a", [TOTAL]), ("GET /a", [TOTAL, json_change("$.tax", "1", "2")])),
        [("content", (0, 1)), ("content", (1,))],
    ),
    "two endpoints, unrelated": (
        differing(("GET /a", [TOTAL]), ("GET /b", [json_change("$.total", "5", "6")])),
        [("content", (0,)), ("content", (1,))],
    ),
    "one wrong value under one name, shown at two endpoints": (
        differing(("POST /a", [TOTAL]), ("GET /b", [json_change("$.order.total", "20", "21")])),
        [("content", (0, 1))],
    ),
    "the same wrong value, and others besides": (
        differing(
            ("GET /a", [TOTAL]), ("GET /b", [TOTAL]), ("GET /b", [json_change("$.total", "5", "1")])
        ),
        [("content", (1, 2)), ("content", (0,))],
    ),
    "a status and all that comes with it": (
        differing(("GET /a", [status_change(200, 500), TOTAL, field_change("x", "1", None)])),
        [("server error", (0,))],
    ),
    "one status at two endpoints": (
        differing(("GET /a", [status_change(200, 500)]), ("GET /b", [status_change(200, 500)])),
        [("server error", (0,)), ("server error", (1,))],
    ),
    "a refusal at two endpoints": (
        differing(("GET /a", [status_change(200, 401)]), ("GET /b", [status_change(201, 401)])),
        [("status", (0, 1))],
    ),
    "no response before any status, a status before contents, these before fields": (
        differing(
            ("GET /a", [field_change("x", "1", "2")]),
            ("GET /b", [TOTAL]),
            ("GET /c", [status_change(200, 404)]),
            ("GET /d", [GONE]),
        ),
        [("no response", (3,)), ("status", (2,)), ("content", (1,)), ("field", (0,))],
    ),
    "a field that is missing everywhere": (
        differing(*((f"GET /{name}", [field_change("etag", '"1"', None)]) for name in "abc")),
        [("field", (0, 1, 2))],
    ),
    "another field at each endpoint": (
        differing(
            ("GET /a", [field_change("etag", "1", None)]),
            ("GET /b", [field_change("vary", "1", None)]),
        ),
        [("field", (0,)), ("field", (1,))],
    ),
    "every clock is four hours off": (
        differing(("GET /a", [later(0, 4)]), ("GET /b", [later(1, 4)]), ("GET /c", [later(2, 4)])),
        [("field", (0, 1, 2))],
    ),
    "clocks that are off by other hours": (
        differing(("GET /a", [later(0, 4)]), ("GET /b", [later(1, 5)])),
        [("field", (0,)), ("field", (1,))],
    ),
    "every time in another form": (
        differing(
            ("GET /a", [json_change("$.made", iso(BEGIN_NS, "Z"), iso(LIVE_NS, "+00:00"))]),
            ("GET /b", [json_change("$.seen", iso(BEGIN_NS, "Z"), iso(LIVE_NS, "+00:00"))]),
        ),
        [("content", (0, 1))],
    ),
    "one member that became another type": (
        differing(
            ("GET /a", [json_change("$.id", "1", '"1"', "integer became string")]),
            ("GET /b", [json_change("$[0].id", "2", '"2"', "integer became string")]),
        ),
        [("content", (0, 1))],
    ),
    "the most frequent one first": (
        differing(
            ("GET /a", [TOTAL]),
            ("GET /b", [json_change("$.n", "1", "2")]),
            ("GET /b", [json_change("$.n", "3", "4")]),
        ),
        [("content", (1, 2)), ("content", (0,))],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_grouping(name: str) -> None:
    verdict, expected = CASES[name]
    causes = causes_of(verdict)
    assert [(cause.kind, cause.positions) for cause in causes] == expected
    check_every_place_is_told_once(verdict, causes)


def check_every_place_is_told_once(verdict: Verdict, causes: list[Cause]) -> None:
    told = {p for cause in causes for p in (*cause.positions, *cause.consequences)}
    assert {r.position for r in verdict.results if r.state is State.DIFFERS} <= told
    calls = [i for cause in causes for i in (*cause.calls, *cause.calls_following)]
    assert sorted(calls) == list(range(len(verdict.upstream)))


def test_gates_with_other_answers_are_other_causes() -> None:
    verdict = differing(
        ("GET /a", [status_change(200, 401)]), ("GET /b", [status_change(200, 401)])
    )
    for result, why in zip(verdict.results, (b"no token", b"expired"), strict=True):
        result.live_response = keep(response_of(401, why))
    assert [cause.positions for cause in causes_of(verdict)] == [(0,), (1,)]


def test_what_a_cause_at_many_endpoints_is_called() -> None:
    verdict = differing(("GET /a", [later(0, -4)]), ("GET /b", [later(1, -4)]))
    (cause,) = causes_of(verdict)
    assert cause.title == "times off by -4 h at 2 endpoints"
    assert cause.endpoints == ("GET /a", "GET /b")


def test_who_lacks_a_value_follows_from_who_did_not_give_it() -> None:
    ident = json_change("$.id", '"a1"', None, "the member is missing")
    verdict = differing(
        ("POST /orders", [status_change(201, 200), ident]),
        ("GET /orders/1", [status_change(200, 404)]),
        ("POST /orders/1/pay", [status_change(200, 404)]),
        ("GET /other", [TOTAL]),
    )
    verdict.results[1].lacking = [Lacking(0, "$.id", "a1")]
    # Of a response that itself follows from another.
    verdict.results[2].lacking = [Lacking(1, "$.href", "/orders/1/pay")]
    first, second = causes_of(verdict)
    assert (first.positions, first.consequences) == ((0,), (1, 2))
    assert first.via == {1: "$.id of exchange 1", 2: "$.href of exchange 2"}
    assert second.positions == (3,)


def test_who_lacks_a_value_follows_from_the_cause_at_that_place() -> None:
    verdict = differing(
        ("POST /orders", [json_change("$.id", "1", None)]),
        ("POST /orders", [json_change("$.id", "2", None), TOTAL]),
        ("GET /orders/2", [status_change(200, 404)]),
    )
    verdict.results[2].lacking = [Lacking(1, "$.id", "2")]
    causes = {cause.positions: cause for cause in causes_of(verdict)}
    assert causes[(0, 1)].consequences == (2,)
    assert causes[(1,)].consequences == ()


def test_a_value_that_is_lacking_without_a_difference_is_a_cause() -> None:
    verdict = made(("POST /login", State.SAME), ("GET /me", State.DIFFERS))
    verdict.results[1].differences = [status_change(200, 401)]
    verdict.results[1].lacking = [Lacking(0, "field set-cookie", "sid")]
    (cause,) = causes_of(verdict)
    assert (cause.kind, cause.positions, cause.consequences) == ("lacking", (0,), (1,))


def test_a_value_that_a_call_at_start_up_did_not_give() -> None:
    verdict = differing(("GET /a", [TOTAL]), ("GET /b", [TOTAL]))
    for result in verdict.results:
        result.lacking = [Lacking(-1, "upstream call: $.key", "k")]
    (cause,) = causes_of(verdict)
    assert (cause.kind, cause.positions, cause.consequences) == ("lacking", (), (0, 1))
    assert cause.via[0] == "upstream call: $.key"


def test_upstream_calls_of_who_lacks_a_value_follow_too() -> None:
    verdict = differing(("POST /a", [json_change("$.id", "1", None)]), ("GET /b", [TOTAL]))
    verdict.results[1].lacking = [Lacking(0, "$.id", "1")]
    verdict.upstream = [UpstreamFinding("changed", "up:80", "GET /x", 1, "it differs")]
    (cause,) = causes_of(verdict)
    assert (cause.consequences, cause.calls_following) == ((1,), (0,))


EXTRA = UpstreamFinding("extra", "up:80", "GET /stock/2", 0, "no recorded call is equal")
MISSING = UpstreamFinding("missing", "up:80", "GET /stock", 0, "the recorded call never came")
UNREACHABLE = UpstreamFinding(
    "missing", "up:80", "GET /stock", 0, "the build was not told", unreachable=True
)


@pytest.mark.parametrize(
    ("findings", "difference", "expected"),
    [
        # What could not be answered made the response differ.
        ([EXTRA], status_change(200, 502), [("upstream", (0,), (0,), ())]),
        # It also kept the build from the next call.
        ([EXTRA, MISSING], status_change(200, 502), [("upstream", (0,), (0,), (1,))]),
        # The build failed before it could call.
        ([MISSING], status_change(200, 500), [("server error", (0,), (), (0,))]),
        ([MISSING], GONE, [("no response", (0,), (), (0,))]),
        # It answers, and did not call: that is why it answers so.
        ([MISSING], TOTAL, [("upstream", (0,), (0,), ())]),
        ([UNREACHABLE], status_change(200, 500), [("unreachable", (0,), (0,), ())]),
    ],
)
def test_upstream_calls_and_responses(
    findings: list[UpstreamFinding],
    difference: Difference,
    expected: list[tuple[str, tuple[int, ...], tuple[int, ...], tuple[int, ...]]],
) -> None:
    verdict = differing(("POST /a", [difference]))
    verdict.upstream = findings
    causes = causes_of(verdict)
    shown = [(c.kind, c.positions, c.consequences, c.calls_following) for c in causes]
    assert shown == expected
    check_every_place_is_told_once(verdict, causes)


@pytest.mark.parametrize(
    ("ended_ms", "causes"),
    [
        (9, ["missing: up:80 GET /price", "changed: up:80 POST /audit"]),
        (11, ["changed: up:80 POST /audit"]),  # both were on their way at once
    ],
)
def test_what_is_missing_before_a_changed_call_is_nearer_to_the_cause(
    ended_ms: int, causes: list[str]
) -> None:
    verdict = differing(("GET /quote", [TOTAL]))
    verdict.upstream = [
        UpstreamFinding(
            "changed", "up:80", "POST /audit", 0, "it differs", None, (TOTAL,),
            recorded_ns=(10 * MS, 12 * MS),
        ),
        UpstreamFinding(
            "missing", "up:80", "GET /price", 0, "it never came", recorded_ns=(5, ended_ms * MS)
        ),
    ]  # fmt: skip
    found = causes_of(verdict)
    assert [cause.title.removeprefix("upstream call ").rsplit(": ", 1)[0] for cause in found] == (
        causes
    )
    assert found[0].consequences == (0,)
    assert found[0].calls_following == ((1,) if len(causes) == 1 else ())


def test_one_kind_of_upstream_call_at_many_exchanges_is_one_cause() -> None:
    verdict = made(*[("GET /a", State.SAME)] * 3)
    verdict.upstream = [
        UpstreamFinding("extra", "up:80", f"GET /stock/{place}?n=1", place, "nothing was recorded")
        for place in range(3)
    ]
    (cause,) = causes_of(verdict)
    assert (cause.positions, cause.calls) == ((0, 1, 2), (0, 1, 2))


def test_state_that_the_recording_never_created_is_one_cause() -> None:
    verdict = differing(
        ("GET /orders/7", [status_change(200, 404)]),
        ("GET /users/9", [status_change(200, 404)]),
        ("GET /users/1", [status_change(200, 500)]),
        ("GET /me", [status_change(200, 401)]),
    )
    for result, value in zip(verdict.results, ("7", "9", "1", "token"), strict=True):
        result.uncreated = value
    # A build that fails is not explained by what it was not given.
    first, second, third = causes_of(verdict)
    assert (third.kind, third.positions) == ("state", (3,))
    assert (first.kind, first.positions) == ("server error", (2,))
    assert (second.kind, second.positions) == ("state", (0, 1))
    assert "404 for 7, 9, from no recorded response" in second.title
    assert second.hint


Change = Callable[[Verdict], None]


def test_attempts_and_conditions_are_causes_where_they_count() -> None:
    verdict = made(("GET /", State.SAME))
    verdict.attempts = [
        Attempt("tcp", "db:5432"), Attempt("udp", "stats:8125"), Attempt("tcp", "ok:1", 1, True),
    ]  # fmt: skip
    verdict.conditions = [Condition("a > 1", True, "2"), Condition("b > 1", False, "1")]
    assert [cause.kind for cause in causes_of(verdict)] == ["attempt", "condition"]
    assert verdict.exit_code == 3
    verdict.attempts = verdict.attempts[1:]
    assert verdict.exit_code == 1
    verdict.conditions = verdict.conditions[1:]
    assert verdict.exit_code == 0


@pytest.mark.parametrize(
    ("reason", "remedy", "hinted"),
    [
        ("the same elements in another order", "unordered", True),
        # A family may be called so.
        ("another integer: that is another order#number in the recording", "", False),
    ],
)
def test_another_order_names_the_remedy(reason: str, remedy: str, hinted: bool) -> None:
    change = Difference("json", "$.tags", "[1,2]", "[2,1]", reason, remedy=remedy)
    (cause,) = causes_of(differing(("GET /a", [change])))
    assert ("replay learn" in cause.hint) is hinted
