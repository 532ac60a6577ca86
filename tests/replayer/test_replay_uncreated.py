"""Which value of a request no recorded response created."""

import gzip

import pytest
from tapes import Tape, request_of, response_of
from verdicts import TOKEN, made, status_change

from wiretape.exchange.v1.exchange_pb2 import HttpRequest, HttpResponse
from wiretape.replayer.uncreated import name_uncreated
from wiretape.replayer.verdict import Lacking, State

Talk = tuple[HttpRequest, HttpResponse]
PACKED = response_of(
    200, gzip.compress(b'{"id": 17}'), {"Content-Encoding": "gzip", "Content-Type": "text/plain"}
)


@pytest.mark.parametrize(
    ("before", "target", "expected"),
    [
        ([], "/orders/17", "17"),
        ([], f"/orders/{TOKEN}/items", TOKEN),
        ([], "/orders", ""),
        ([], "/orders?customer=c42", "c42"),
        ([], "/orders?sort=name", ""),
        ([(request_of("POST", "/orders"), response_of(201, {"id": 17}))], "/orders/17", ""),
        ([(request_of("POST", "/orders"), response_of(201, {"id": 170}))], "/orders/17", "17"),
        (
            [(request_of("POST", "/o"), response_of(201, b"", {"Location": "/orders/17"}))],
            "/orders/17", "",
        ),
        ([(request_of("GET", "/orders"), PACKED)], "/orders/17", ""),
        # The client created it.
        ([(request_of("PUT", "/orders/17"), response_of(204))], "/orders/17", ""),
        ([(request_of("PUT", "/orders/17"), response_of(403))], "/orders/17", "17"),
        # To be asked for is not to be created.
        ([(request_of("GET", "/orders/17"), response_of(200, b"fine"))], "/orders/17", "17"),
        ([], "/caf%C3%A9-1/17", "17"),
    ],
)  # fmt: skip
def test_values_of_a_target(before: list[Talk], target: str, expected: str) -> None:
    tape = Tape()
    for request, response in before:
        tape.inbound(request, response)
    tape.inbound(request_of("GET", target), response_of(200, {"id": 17}))
    verdict = made(*[("GET /", State.SAME)] * len(before), (f"GET {target}", State.DIFFERS))
    last = verdict.results[-1]
    last.differences = [status_change(200, 404)]
    name_uncreated(verdict.results, tape.exchanges)
    assert last.uncreated == expected


@pytest.mark.parametrize(
    ("state", "status", "lacking"),
    [
        (State.SAME, 404, []),
        (State.DIFFERS, 500, []),
        (State.DIFFERS, 404, [Lacking(0, "$.id", "17")]),
    ],
)
def test_what_is_another_matter(state: State, status: int, lacking: list[Lacking]) -> None:
    tape = Tape()
    tape.inbound(request_of("GET", "/orders/17"), response_of(200))
    verdict = made(("GET /orders/17", state))
    (result,) = verdict.results
    result.lacking = lacking
    result.differences = [status_change(200, status)] if state is State.DIFFERS else []
    name_uncreated(verdict.results, tape.exchanges)
    assert result.uncreated == ""
