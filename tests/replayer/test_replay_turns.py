"""Calls of one exchange that came in another order than they were recorded in."""

import pytest
from tapes import response_of
from test_replay_mocks import Pair, Service, ask, get, post

RESERVE = (post("/reserve", {"item": 1}), response_of(201, b"{}"))
CHARGE = (post("/charge", {"cents": 1}), response_of(201, b"{}"))
NOTICE = (post("/notices/a", {"event": 1}), response_of(202, b"{}"))
OTHER_NOTICE = (post("/notices/b", {"event": 2}), response_of(202, b"{}"))
READ, OTHER_READ = (get("/a"), response_of(200, b"1")), (get("/b"), response_of(200, b"2"))


def found(recorded: list[list[Pair]], live: list[list[Pair]], together: bool = False) -> list[str]:
    service = Service(*recorded)
    if together:
        for made in service.tape.exchanges:
            if made.http.request.target == b"/charge":
                made.http.request.first_byte_at_ns -= 1_500_000
    mocks = service.mocks()
    for place, calls in enumerate(live):
        service.drive(place)
        for request, _ in calls:
            ask(mocks, request)
    findings = mocks.findings(range(len(recorded)))
    assert all(finding.kind == "changed" for finding in findings)
    assert all(finding.differences[0].kind == "order" for finding in findings)
    return [f"{finding.place} {finding.call}" for finding in findings]


A, B = [RESERVE, CHARGE], [CHARGE, RESERVE]


@pytest.mark.parametrize(
    ("recorded", "live", "expected"),
    [
        ([A, A, A], [B, B, B], ["0 POST /charge", "1 POST /charge", "2 POST /charge"]),
        ([A, A, A], [A, A, A], []),
        # Chance may have been at work.
        ([A, A], [B, B], []),
        ([A, A, A, A], [B, B, A, B], []),
        ([A, B, A, A], [B, B, B, B], []),
        ([A, A, A, B], [B, B, B, A], []),
        # A call to each of a set, and questions.
        ([[NOTICE, OTHER_NOTICE]] * 3, [[OTHER_NOTICE, NOTICE]] * 3, []),
        ([[READ, OTHER_READ]] * 3, [[OTHER_READ, READ]] * 3, []),
        # Each that came too early is told of once.
        (
            [[RESERVE, NOTICE, CHARGE]] * 3,
            [[CHARGE, RESERVE, NOTICE]] * 3,
            ["0 POST /charge", "1 POST /charge", "2 POST /charge"],
        ),
        # Repeats count as one.
        (
            [A, [RESERVE, CHARGE, CHARGE], A],
            [B, [CHARGE, CHARGE, RESERVE], B],
            ["0 POST /charge", "1 POST /charge", "2 POST /charge"],
        ),
        ([A, [RESERVE, CHARGE, CHARGE], A], [B, [CHARGE, RESERVE, CHARGE], B], []),
    ],
)
def test_the_order_of_calls(
    recorded: list[list[Pair]], live: list[list[Pair]], expected: list[str]
) -> None:
    assert found(recorded, live) == expected


def test_calls_that_overlapped_have_no_order() -> None:
    assert found([A] * 3, [B] * 3, together=True) == []
