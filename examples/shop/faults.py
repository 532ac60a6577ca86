"""The deliberate faults of the shop: one can be switched on, by name, to see it caught.

Each stands for a regression as it happens in practice; what the client's scenario does shows it.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import orders
from catalogue import PRODUCTS
from changes import Changes, answers, edited, every_order, swap, without
from orders import FIRST_NUMBER, Line, Order
from web import HttpError, Request, Response, iso, json_response

if TYPE_CHECKING:
    from shop import Shop

FAULTS = Changes()


def an_hour_later(moment: str) -> str:
    """The instant of `moment` and an hour, in the same form."""
    return iso(datetime.fromisoformat(moment) + timedelta(hours=1))


# Amounts.


@FAULTS
def wrong_total(shop: Shop) -> None:
    """the total in the answer to a new order leaves out the tax"""

    def edit(order: dict[str, Any]) -> None:
        order["total_cents"] -= order["tax_cents"]

    answers(shop, "create_order", lambda _, response: edited(response, edit))


@FAULTS
def cent_too_much(shop: Shop) -> None:
    """the total is a cent too high where shipping is free"""

    def edit(order: dict[str, Any]) -> None:
        order["total_cents"] += order["shipping_cents"] == 0

    every_order(shop, edit)


@FAULTS
def tax_rounded_down(_: Shop) -> None:
    """the tax of a line is cut off instead of rounded"""
    cut_off = property(lambda line: line.net_cents * line.product.tax_percent // 100)
    swap(Line, "tax_cents", cut_off)


@FAULTS
def shipping_border(_: Shop) -> None:
    """shipping is free from 49 euros on, not from 50"""
    orders.FREE_SHIPPING_FROM_CENTS = 4900


@FAULTS
def total_as_text(shop: Shop) -> None:
    """the total is a string"""
    every_order(shop, lambda order: order.update(total_cents=str(order["total_cents"])))


@FAULTS
def total_as_fraction(shop: Shop) -> None:
    """the total is 6129.0 instead of 6129"""
    every_order(shop, lambda order: order.update(total_cents=float(order["total_cents"])))


# Times.


@FAULTS
def time_zone(shop: Shop) -> None:
    """the time of an order is local, an hour ahead, and still says UTC"""
    add = shop.orders.add

    def wrong_add(order: Order) -> None:
        add(order)
        order.created_at = an_hour_later(order.created_at)

    swap(shop.orders, "add", wrong_add)


@FAULTS
def held_too_long(shop: Shop) -> None:
    """a reservation expires an hour later than the inventory said"""

    def edit(order: dict[str, Any]) -> None:
        order["reservation"]["expires_at"] = an_hour_later(order["reservation"]["expires_at"])

    every_order(shop, edit)


@FAULTS
def no_zone(shop: Shop) -> None:
    """the time of an order lost its zone"""
    every_order(shop, lambda order: order.update(created_at=order["created_at"].rstrip("Z")))


@FAULTS
def time_as_epoch(shop: Shop) -> None:
    """the time of an order is in milliseconds since 1970"""

    def edit(order: dict[str, Any]) -> None:
        order["created_at"] = int(datetime.fromisoformat(order["created_at"]).timestamp() * 1000)

    every_order(shop, edit)


# Identifiers and counters.


@FAULTS
def other_id(shop: Shop) -> None:
    """the answer to a new order names an id that is not the stored one"""

    def edit(order: dict[str, Any]) -> None:
        order["id"] = str(uuid.uuid4())

    answers(shop, "create_order", lambda _, response: edited(response, edit))


@FAULTS
def other_location(shop: Shop) -> None:
    """the Location of a new order leads nowhere"""

    def change(_: Request, response: Response) -> Response:
        nowhere = ("Location", f"/orders/{uuid.uuid4()}")
        fields = without(response, "Location").fields
        return replace(response, fields=(*fields, nowhere))

    answers(shop, "create_order", change)


@FAULTS
def number_repeats(shop: Shop) -> None:
    """every second order gets the number of the one before"""
    add, count = shop.orders.add, itertools.count()

    def wrong_add(order: Order) -> None:
        add(order)
        order.number = FIRST_NUMBER + next(count) // 2

    swap(shop.orders, "add", wrong_add)


@FAULTS
def charge_of_another(shop: Shop) -> None:
    """an order is shown with the charge of the first one"""
    charges: list[dict[str, Any]] = []

    def edit(order: dict[str, Any]) -> None:
        charges.append(order["charge"])
        order["charge"] = charges[0]

    answers(shop, "show_order", lambda _, response: edited(response, edit))


# Stale and mixed-up answers.


@FAULTS
def stale_order(shop: Shop) -> None:
    """an order is shown as it was when it was first looked at"""
    first: dict[str, Response] = {}
    answers(shop, "show_order", lambda request, r: first.setdefault(request.params["id"], r))


@FAULTS
def stale_stock(shop: Shop) -> None:
    """a product is shown with the stock that it had when it was first looked at"""
    first: dict[str, int] = {}

    def edit(product: dict[str, Any]) -> None:
        product["available"] = first.setdefault(product["sku"], product["available"])

    def change(_: Request, response: Response) -> Response:
        return edited(response, edit) if response.content else response

    answers(shop, "show_product", change)


@FAULTS
def list_of_all(shop: Shop) -> None:
    """the list of a customer's orders holds everybody's"""
    of = shop.orders.of
    swap(shop.orders, "of", lambda _: of(None))


@FAULTS
def list_reversed(shop: Shop) -> None:
    """lists of orders are the wrong way round"""
    edit_list(shop, lambda value: value["orders"].reverse())


@FAULTS
def list_without_first(shop: Shop) -> None:
    """lists of orders leave out the first one, and still count it"""
    edit_list(shop, lambda value: value["orders"].pop(0))


def edit_list(shop: Shop, edit: Any) -> None:
    """Lists of orders pass through `edit`."""
    answers(shop, "list_orders", lambda _, response: edited(response, edit))


@FAULTS
def search_by_case(shop: Shop) -> None:
    """a search finds words only in the case in which they are written"""

    def change(request: Request, response: Response) -> Response:
        words = request.query.get("search", "")
        found = [p.as_json() for p in PRODUCTS.values() if words in p.name]
        return json_response(200, {"products": found}, *response.fields[1:]) if words else response

    answers(shop, "list_products", change)


# Statuses, fields, members.


@FAULTS
def status_200(shop: Shop) -> None:
    """a new order is answered with 200 instead of 201"""
    answers(shop, "create_order", lambda _, response: replace(response, status=200))


@FAULTS
def error_code(shop: Shop) -> None:
    """an order of what is sold out is refused with another code"""
    check = shop.check_stock

    def wrong_check(order: Order) -> None:
        try:
            check(order)
        except HttpError as error:
            raise HttpError(error.status, "conflict", str(error)) from error

    swap(shop, "check_stock", wrong_check)


@FAULTS
def cancelled_twice(shop: Shop) -> None:
    """an order that is cancelled already can be cancelled once more"""
    cancel = shop.cancel_order

    def wrong_cancel(request: Request) -> Response:
        order = shop.orders.get(request.params["id"])
        if order.status == "cancelled":
            return json_response(200, order.as_json())
        return cancel(request)

    swap(shop, "cancel_order", wrong_cancel)


@FAULTS
def no_vary(shop: Shop) -> None:
    """the catalogue does not say that it depends on Accept-Encoding"""
    answers(shop, "list_products", lambda _, response: without(response, "Vary"))


@FAULTS
def debug_field(shop: Shop) -> None:
    """a product comes with a field for developers"""

    def change(_: Request, response: Response) -> Response:
        return replace(response, fields=(*response.fields, ("X-Debug", "inventory")))

    answers(shop, "show_product", change)


@FAULTS
def member_dropped(shop: Shop) -> None:
    """an order without a note lacks the member"""

    def edit(order: dict[str, Any]) -> None:
        if order["note"] is None:
            del order["note"]

    every_order(shop, edit)


@FAULTS
def card_told(shop: Shop) -> None:
    """the answer to a new order holds the card"""

    def change(request: Request, response: Response) -> Response:
        return edited(response, lambda order: order.update(card=request.json()["card"]))

    answers(shop, "create_order", change)


# Contents and validators.


@FAULTS
def note_cut(shop: Shop) -> None:
    """a note keeps its first ten characters"""
    annotate = shop.orders.annotate
    swap(shop.orders, "annotate", lambda order, note: annotate(order, note[:10]))


@FAULTS
def note_garbled(shop: Shop) -> None:
    """a note is read as Latin-1"""
    annotate = shop.orders.annotate

    def wrong_annotate(order: Order, note: str) -> None:
        annotate(order, note.encode().decode("latin-1"))

    swap(shop.orders, "annotate", wrong_annotate)


@FAULTS
def csv_unquoted(shop: Shop) -> None:
    """a name with a comma breaks the line of its product in the export"""

    def change(_: Request, response: Response) -> Response:
        return replace(response, chunks=[c.replace(b'"', b"") for c in response.chunks or ()])

    answers(shop, "export_products", change)


@FAULTS
def content_cut(shop: Shop) -> None:
    """the export ends in the middle, and the connection with it"""

    def half(chunks: Any) -> Iterator[bytes]:
        yield from list(chunks)[:3]
        raise ConnectionAbortedError

    def change(_: Request, response: Response) -> Response:
        return replace(response, chunks=half(response.chunks))

    answers(shop, "export_products", change)


@FAULTS
def gzip_unsaid(shop: Shop) -> None:
    """the packed catalogue does not say that it is packed"""
    answers(shop, "list_products", lambda _, response: without(response, "Content-Encoding"))


@FAULTS
def head_length(shop: Shop) -> None:
    """HEAD tells another length than GET"""

    def change(request: Request, response: Response) -> Response:
        if request.method != "HEAD":
            return response
        return replace(response, content=response.content + b"\n")

    answers(shop, "list_products", change)


@FAULTS
def etag_constant(shop: Shop) -> None:
    """the ETag of a product stays when its stock changes"""

    def change(request: Request, response: Response) -> Response:
        etag = f'"{uuid.uuid5(uuid.NAMESPACE_URL, request.path).hex[:16]}"'
        if request.fields.get("if-none-match") == etag:
            return Response(304, fields=(("ETag", etag),))
        return replace(response, fields=(*without(response, "ETag").fields, ("ETag", etag)))

    answers(shop, "show_product", change)


@FAULTS
def etag_ignored(shop: Shop) -> None:
    """who has the product already is sent it again"""
    show = shop.show_product

    def wrong_show(request: Request) -> Response:
        return show(replace(request, fields={}))

    swap(shop, "show_product", wrong_show)
