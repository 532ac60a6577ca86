"""What the recording proves to be a counter, and how counters are renamed."""

import base64
import json
from typing import Any

import pytest
from tapes import Tape, request_of, response_of

from wiretape.exchange.v1.exchange_pb2 import Exchange
from wiretape.replayer.values import Correlation, Evidence, Judgement, Place, Span, endpoint_of

Json = dict[str, Any]


class Run:
    """A recording that is replayed value by value, in its order."""

    def __init__(self, *exchanges: tuple[str, str, int, Any] | tuple[Any, ...]) -> None:
        self.tape = Tape()
        self.exchanges: list[Exchange] = []
        for method, target, status, content, *more in exchanges:
            sent = more[0] if more else b"{}" if method == "POST" else b""
            fields = more[1] if len(more) > 1 else {}
            self.exchanges.append(
                self.tape.inbound(
                    request_of(method, target, sent), response_of(status, content, fields)
                )
            )
        self.correlation = Correlation(Evidence.of(self.exchanges))
        self.position = -1
        self.judgement = self.step()

    def step(self, *, commit: bool = True) -> Judgement:
        """On to the next exchange."""
        if self.position >= 0 and commit:
            self.judgement.commit()
        self.position += 1
        if self.position < len(self.exchanges):
            request = self.exchanges[self.position].http.request
            path = request.target.decode().partition("?")[0]
            self.correlation.begin(request.first_byte_at_ns, 0)
            place = Place(endpoint_of(request.method, path), "response", "", "")
            self.judgement = Judgement(
                self.correlation, Span(request.first_byte_at_ns, 0, 0, 0), place
            )
        return self.judgement

    def same(self, recorded: int | str, live: int | str, name: str = "$.id") -> bool:
        part = "json" if name.startswith("$") else "field"
        if isinstance(recorded, int) and isinstance(live, int):
            return self.judgement.same_number(recorded, live, part, name)
        assert isinstance(recorded, str)
        assert isinstance(live, str)
        return self.judgement.same_text(recorded, live, part, name)


def created(*ids: int, name: str = "id", **more: Any) -> list[tuple[str, str, int, Json]]:
    return [("POST", "/orders", 201, {name: number, **more}) for number in ids]


def answered(*ids: Any, name: str = "id") -> list[tuple[str, str, int, Json]]:
    return [("POST", "/orders", 200, {name: number}) for number in ids]


@pytest.mark.parametrize(
    ("exchanges", "name"),
    [
        (created(48213), "$.id"),
        (created(48213, name="order_id"), "$.order_id"),
        (created(48213, name="orderNumber"), "$.orderNumber"),
        ([("POST", "/orders", 201, {"data": {"id": 48213}})], "$.data.id"),
        ([("POST", "/orders", 201, [{"id": 48213}])], "$[*].id"),
        (answered(48213, 48214, 48220), "$.id"),
        (answered(48213, 48214, 48220, name="ticket"), "$.ticket"),
        ([*answered(48213), ("GET", "/orders/48213", 200, {})], "$.id"),
        ([*answered(48213), ("GET", "/v1/orders/48213/lines?x=1", 200, {})], "$.id"),
        ([("POST", "/checkout", 200, {"id": 48213}), ("GET", "/orders/48213", 200, {})], "$.id"),
        (
            [("POST", "/orders", 303, {"id": 48213}, b"{}", {"Location": "/orders/48213"})],
            "$.id",
        ),
        (
            [("POST", "/orders", 303, {"order": 48213}, b"{}", {"Location": "/orders/48213"})],
            "$.order",
        ),
    ],
)
def test_counters(exchanges: list[tuple[Any, ...]], name: str) -> None:
    run = Run(*exchanges)
    assert run.same(48213, 7, name), run.judgement.reason()
    assert [a.kind for a in run.judgement.accepted] == ["counter"]


@pytest.mark.parametrize(
    ("exchanges", "name"),
    [
        # Increasing is not enough.
        *[
            (answered(48213, 48214, 48220, name=name), f"$.{name}")
            for name in (
                "total", "price_cents", "count", "orders", "balance", "stock", "version", "items",
                "quantity", "total_number", "number_of_orders", "position", "amount", "page_no",
                "points", "max_no", "score", "size", "code", "visits",
            )
        ],
        # Nor that a 201 has it.
        *[(created(48213, name=name), f"$.{name}") for name in ("total", "count", "order_count")],
        # An identifier needs proof.
        (answered(48213), "$.id"),
        (answered(48213, 48214), "$.id"),
        (answered(48213, 48214, 48214), "$.id"),
        (answered(48213, 48215, 48214), "$.id"),
        (answered(48213, 48213, 48213), "$.id"),
        # What is not the created thing itself may be a choice: this warehouse, not that one.
        (created(1, warehouse_id=48213), "$.warehouse_id"),
        (created(1, warehouse={"id": 48213}), "$.warehouse.id"),
        # What the client named, the build hands on.
        ([("POST", "/orders", 201, {"id": 48213}, b'{"id": 48213}')], "$.id"),
        ([("GET", "/orders/48213", 200, {"id": 48213})], "$.id"),
        ([("GET", "/orders?id=48213", 200, {"id": 48213})], "$.id"),
        # A value that a later path has by chance.
        ([*answered(48213, name="total"), ("GET", "/orders/48213", 200, {})], "$.total"),
        ([*answered(48213, name="discount"), ("GET", "/products/48213", 200, {})], "$.discount"),
    ],
)  # fmt: skip
def test_no_counters(exchanges: list[tuple[Any, ...]], name: str) -> None:
    run = Run(*exchanges)
    assert not run.same(48213, 7, name)
    assert run.judgement.reason()
    assert not run.judgement.accepted


def test_a_quantity_that_equals_the_id() -> None:
    run = Run(*[("POST", "/orders", 201, {"id": n, "quantity": n}) for n in (1, 2, 3)])
    assert run.same(1, 51)
    assert not run.same(1, 51, "$.quantity")
    run.step()
    assert run.same(2, 52)
    assert not run.same(1, 51, "$.quantity")
    assert not run.same(2, 51, "$.quantity")


def in_base64(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return base64.urlsafe_b64encode(text.encode()).decode()


PAGED = [*created(1, 2, 3), ("GET", "/orders?limit=2", 200, {"next": "…"})]


@pytest.mark.parametrize(
    ("recorded", "live", "same"),
    [
        (in_base64({"after": 2, "limit": 2}), in_base64({"after": 502, "limit": 2}), True),
        (in_base64({"after": 2, "limit": 2}), in_base64({"after": 502, "limit": 502}), False),
        (in_base64({"after": 2, "limit": 2}), in_base64({"after": 503, "limit": 2}), False),
        (in_base64({"after": 2, "limit": 2}), in_base64({"after": 1, "limit": 2}), False),
        (in_base64({"after_count": 2, "x": "a"}), in_base64({"after_count": 502, "x": "a"}), False),
        (in_base64({"offset": 2, "limit": 2}), in_base64({"offset": 502, "limit": 2}), False),
        (in_base64({"last_id": 2, "limit": 2}), in_base64({"last_id": 502, "limit": 2}), True),
        (in_base64({"id": 2, "by": "id"}), in_base64({"id": 502, "by": "id"}), True),
        (in_base64({"id": 2, "by": "id"}), in_base64({"id": 501, "by": "id"}), False),
        (in_base64(["created", 2]), in_base64(["created", 502]), True),
        (in_base64("order:2"), in_base64("order:502"), True),
        ("/orders?after=2&limit=2", "/orders?after=502&limit=2", True),
        ("/orders?after=2&limit=2", "/orders?after=503&limit=2", False),
        ("/orders?after=2&limit=2", "/orders?after=2&limit=502", False),
        ("/orders?page=2&limit=2", "/orders?page=502&limit=2", False),
    ],
)
def test_ids_in_cursors(recorded: str, live: str, same: bool) -> None:
    run = Run(*PAGED)
    for number in (1, 2, 3):
        assert run.same(number, 500 + number)
        run.step()
    assert run.same(recorded, live, "$.next") == same, run.judgement.reason()


def test_one_to_one_in_the_family() -> None:
    run = Run(*created(9, 10, 11))
    assert run.same(9, 10)
    assert not run.same(9, 11), "one recorded, two live"
    run.step()
    assert not run.same(10, 9), "the live ones must rise"
    assert not run.same(11, 10), "two recorded, one live"
    assert run.same(10, 11)
    run.step()
    assert not run.same(11, 10)
    assert run.same(11, 12)
    assert run.same("/orders/10", "/orders/11", "location")
    assert not run.same("/orders/10", "/orders/12", "location")


def test_live_counters_strictly_increase() -> None:
    run = Run(*created(9, 10, 11))
    assert run.same(9, 100)
    run.step()
    assert not run.same(10, 99)
    assert run.judgement.reason() == "it does not come after what became of order 9"
    assert run.same(10, 101)


def test_what_stood_for_itself_stays() -> None:
    run = Run(*created(9, 10, 11), ("GET", "/orders/9", 200, {"id": 9}))
    run.step()
    assert not run.same(10, 9), "9 is another one of the recording"
    assert not run.same(10, 5), "9 came before, and was 9"
    assert run.same(10, 12)
    run.step()
    run.step()
    assert not run.same(9, 13)


def test_order_of_exchanges_that_overlapped_does_not_count() -> None:
    tape = Tape()
    first = tape.inbound(request_of("POST", "/orders"), response_of(201, {"id": 6}))
    second = tape.inbound(request_of("POST", "/orders"), response_of(201, {"id": 5}))
    first.http.response.last_byte_at_ns = second.http.response.last_byte_at_ns
    known = Correlation(Evidence.of([first, second]))
    for exchange, recorded, live in ((first, 6, 105), (second, 5, 106)):
        at_ns = exchange.http.request.first_byte_at_ns
        known.begin(at_ns, 0)
        place = Place("POST /orders", "response", "", "")
        judgement = Judgement(known, Span(at_ns, 0, 0, 0), place)
        assert judgement.same_number(recorded, live, "json", "$.id"), judgement.reason()
        judgement.commit()


def test_two_families_do_not_mix() -> None:
    exchanges = [
        ("POST", "/orders", 201, {"id": n, "items": [{"id": 2 * n}, {"id": 2 * n + 1}]})
        for n in (1, 2, 3)
    ]
    run = Run(*exchanges)
    assert run.same(1, 51)
    assert run.same(2, 902, "$.items[*].id")
    assert run.same(3, 903, "$.items[*].id")
    run.step()
    assert run.same(2, 52)
    assert run.same("/orders/2", "/orders/52", "location")
    assert not run.same("/orders/2", "/orders/902", "location")
    assert not run.same(4, 903, "$.items[*].id")


@pytest.mark.parametrize(
    ("recorded", "live", "name"),
    [
        ("/orders/48213", "/orders/7", "location"),
        ("http://a.b/v2/orders/48213/items?x=1", "http://a.b/v2/orders/7/items?x=1", "$.url"),
        ("order 48213 is cancelled", "order 7 is cancelled", "$.message"),
        ("Order #48213: paid", "Order #7: paid", "$.message"),
        ('<a href="/orders/48213">', '<a href="/orders/7">', "$.html"),
        ("?order_id=48213&x=2", "?order_id=7&x=2", "$.query"),
        ("ORD-48213", "ORD-7", "$.id"),
        ("48213", "7", "$.id"),
        ("order-48213-x", "order-7-x", "$.reference"),
    ],
)  # fmt: skip
def test_text_that_names_what_it_numbers(recorded: str, live: str, name: str) -> None:
    run = Run(*created(48213))
    assert run.same(48213, 7)
    assert run.same(recorded, live, name), run.judgement.reason()


@pytest.mark.parametrize(
    ("recorded", "live", "name"),
    [
        ("48213 items are left", "7 items are left", "$.message"),
        ("48213", "7", "$.message"),
        ("/products/48213", "/products/7", "location"),
        ("total 48213", "total 7", "$.message"),
        ("order 48213 costs 48213", "order 7 costs 7", "$.message"),
        ("order 48213", "order 8", "$.message"),
        ("order 48213", "orders 7", "$.message"),
        ("order-0048213", "order-7", "$.message"),
        ("order-48213", "order-0007", "$.message"),
    ],
)
def test_text_that_numbers_something_else(recorded: str, live: str, name: str) -> None:
    run = Run(*created(48213))
    assert run.same(48213, 7)
    assert not run.same(recorded, live, name)


def test_an_upstream_call_may_bind() -> None:
    tape = Tape()
    call = (request_of("POST", "/charges", b'{"reference": "order-1001"}'), response_of(200, {}))
    inbound = tape.inbound(request_of("POST", "/orders"), response_of(201, {"number": 1001}), call)
    calls = [exchange for exchange in tape.exchanges if exchange is not inbound]
    known = Correlation(Evidence.of([inbound], calls))
    known.begin(inbound.http.request.first_byte_at_ns, 0)
    asked = Judgement(known, Span(0, 0, 0, 0), Place("pay:80 POST /charges", "request", "", ""))
    assert asked.same_text("order-1001", "order-7", "json", "$.reference"), asked.reason()
    asked.commit()
    place = Place("POST /orders", "response", "", "")
    judgement = Judgement(known, Span(0, 0, 0, 0), place)
    assert not judgement.same_number(1001, 8, "json", "$.number")
    assert judgement.same_number(1001, 7, "json", "$.number")


def test_no_recording_no_counter() -> None:
    place = Place("POST /orders", "response", "", "")
    judgement = Judgement(Correlation(), Span(0, 0, 0, 0), place)
    assert not judgement.same_number(1, 2, "json", "$.id")


def test_a_refused_text_binds_nothing() -> None:
    run = Run(*created(48213))
    assert not run.same("order 48213 of 3", "order 7 of 4", "$.message")
    assert run.same("order 48213 of 3", "order 8 of 3", "$.message")


def test_a_fork_may_be_thrown_away() -> None:
    run = Run(*created(48213))
    fork = run.judgement.fork()
    assert fork.same_number(48213, 7, "json", "$.id")
    kept = run.judgement.fork()
    assert kept.same_number(48213, 8, "json", "$.id")
    kept.commit()
    assert not run.same(48213, 7)
    assert run.same(48213, 8)
