"""The faults of the shop in what it asks of the inventory and the payments."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from changes import Changes, swap
from upstream import Reply

if TYPE_CHECKING:
    from shop import Shop

CALL_FAULTS = Changes()
# Changes target, value and fields of what is posted, in place.
EditPost = Callable[[str, dict[str, Any], dict[str, str]], object]


@CALL_FAULTS
def stock_unchecked(shop: Shop) -> None:
    """goods are reserved without a look at the stock"""
    swap(shop, "check_stock", lambda order: None)


@CALL_FAULTS
def stock_asked_twice(shop: Shop) -> None:
    """the stock of a product is asked for twice"""
    available = shop.available
    swap(shop, "available", lambda sku: min(available(sku), available(sku)))


@CALL_FAULTS
def stock_query(shop: Shop) -> None:
    """the stock is asked for with a query"""
    get = shop.inventory.get
    swap(shop.inventory, "get", lambda target: get(f"{target}?fresh=true"))


@CALL_FAULTS
def goods_kept(shop: Shop) -> None:
    """the goods of a cancelled order stay reserved"""
    swap(shop.inventory, "delete", lambda target: Reply(204, {}))


@CALL_FAULTS
def currency(shop: Shop) -> None:
    """cards are charged in dollars"""
    posts(shop, lambda target, value, fields: value.update(currency="USD"))


@CALL_FAULTS
def refund_of_subtotal(shop: Shop) -> None:
    """a refund leaves out tax and shipping"""

    def edit(target: str, value: dict[str, Any], fields: dict[str, str]) -> None:
        if target.endswith("/refunds"):
            value["amount"] = value["amount"] * 100 // 119

    posts(shop, edit)


@CALL_FAULTS
def one_key_for_all(shop: Shop) -> None:
    """every charge is made with the same Idempotency-Key"""
    key = str(uuid.uuid4())

    def edit(target: str, value: dict[str, Any], fields: dict[str, str]) -> None:
        fields.update(dict.fromkeys(fields, key))

    posts(shop, edit)


@CALL_FAULTS
def no_key(shop: Shop) -> None:
    """charges are made without an Idempotency-Key"""
    posts(shop, lambda target, value, fields: fields.clear())


def posts(shop: Shop, edit: EditPost) -> None:
    """What is posted to the payments passes through `edit`."""
    post = shop.payments.post

    def wrong_post(target: str, value: Any, fields: dict[str, str] | None = None) -> Reply:
        fields = dict(fields or {})
        edit(target, value, fields)
        return post(target, value, fields)

    swap(shop.payments, "post", wrong_post)


@CALL_FAULTS
def charged_twice(shop: Shop) -> None:
    """a card is charged twice, each time with a key of its own"""
    post = shop.payments.post

    def wrong_post(target: str, value: Any, fields: dict[str, str] | None = None) -> Reply:
        if target == "/charges":
            post(target, value, {"Idempotency-Key": str(uuid.uuid4())})
        return post(target, value, fields)

    swap(shop.payments, "post", wrong_post)


@CALL_FAULTS
def declined_accepted(shop: Shop) -> None:
    """what the payments answer to a charge is not looked at"""
    post = shop.payments.post

    def wrong_post(target: str, value: Any, fields: dict[str, str] | None = None) -> Reply:
        return replace(post(target, value, fields), status=201)

    swap(shop.payments, "post", wrong_post)
