"""First appearances: who chose a value, and when."""

import uuid

import pytest
from tapes import Tape, request_of, response_of

from wiretape.replayer.values import Correlation, Evidence, Judgement, Span, firsts
from wiretape.replayer.values.firsts import Firsts, Origin

U = [f"9d18e059-ea22-4a34-b185-206b1ed9ee{n:02x}" for n in range(8)]
L = [f"0f72aa6c-cb16-4e13-b979-28ef0b973b{n:02x}" for n in range(8)]


def test_who_chose_a_value() -> None:
    tape = Tape()
    call = (
        request_of("POST", "/charges", b"{}", {"Idempotency-Key": U[1]}),
        response_of(200, {"charge": U[2], "key": U[1]}),
    )
    inbound = tape.inbound(
        request_of("POST", f"/baskets/{U[0]}"),
        response_of(
            200, {"id": U[3], "charge": U[2]}, {"X-Trace": "d41d8cd98f00b204e9800998ecf8427e"}
        ),
        call,
    )
    later = tape.inbound(request_of("GET", f"/orders/{U[3]}"), response_of(404, {"no": U[4]}))
    calls = [exchange for exchange in tape.exchanges if exchange not in (inbound, later)]
    evidence = Evidence.of([later, inbound], calls)
    origins = [evidence.tokens.get(token) for token in U[:6]]
    found = [(first.origin, first.again) for first in origins if first is not None]
    assert found == [
        (Origin.CLIENT, False),
        (Origin.CALL, True),
        (Origin.UPSTREAM, True),
        (Origin.RESPONSE, True),
        (Origin.RESPONSE, False),
    ]
    assert origins[5] is None
    at_ns = [first.at_ns for first in origins if first is not None]
    assert at_ns == [inbound.http.request.first_byte_at_ns] * 4 + [
        later.http.request.first_byte_at_ns
    ]
    assert "d41d8cd98f00b204e9800998ecf8427e" in evidence.tokens
    assert "application/json" not in evidence.tokens


def test_compacted_first_appearances_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firsts, "_RECENT", 5)
    tokens = [str(uuid.UUID(int=n, version=4)) for n in range(40)]
    compacted, plain = Firsts(), {}
    order = [n * 7 % 40 for n in range(40)] + [n * 3 % 40 for n in range(0, 40, 2)]
    for at_ns, number in enumerate(order):
        compacted.note([tokens[number]], at_ns, Origin.RESPONSE)
        first, times = plain.get(number, (at_ns, 0))
        plain[number] = first, times + 1
    for number, (at_ns, times) in plain.items():
        assert compacted.get(tokens[number]) == (at_ns, Origin.RESPONSE, times > 1)
    assert compacted.get("x") is None


def test_what_is_named_once_is_still_one_to_one() -> None:
    tape = Tape()
    exchanges = [
        tape.inbound(request_of("POST", "/orders"), response_of(201, {"id": token}))
        for token in U[:3]
    ]
    known = Correlation(Evidence.of(exchanges))

    def same(recorded: str, live: str) -> bool:
        judgement = Judgement(known, Span(0, 0, 0, 0))
        accepted = judgement.same_text(recorded, live)
        judgement.commit()
        return accepted

    known.begin(exchanges[0].http.request.first_byte_at_ns, 0)
    assert same(U[0], L[0])
    known.begin(exchanges[1].http.request.first_byte_at_ns, 0)
    assert not same(U[1], L[0])
    assert same(U[1], L[1])
    assert not known.live_of, "nothing that is yet to come needs them"


def test_calls_outside_of_any_exchange_and_halves_are_read() -> None:
    tape = Tape()
    early = tape.outbound(request_of("GET", f"/keys/{U[0]}"), response_of(200, {"id": U[1]}))
    inbound = tape.inbound(request_of("GET", "/"), response_of(200, {"id": U[1]}))
    lost = tape.outbound(request_of("GET", f"/keys/{U[2]}"), None)
    evidence = Evidence.of([inbound], [early, lost])
    first = evidence.tokens.get(U[1])
    assert first is not None
    assert first.origin == Origin.UPSTREAM
    assert U[2] in evidence.tokens
    assert not Evidence.of([], []).tokens
