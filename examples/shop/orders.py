"""Orders: what they cost, what state they are in, and where they are kept."""

import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from catalogue import CURRENCY, PRODUCTS, Product
from web import HttpError, now

SHIPPING_CENTS = 490
FREE_SHIPPING_FROM_CENTS = 5000
FIRST_NUMBER = 1001
MOST_OF_ONE = 20


@dataclass(frozen=True)
class Line:
    """So many of one product."""

    product: Product
    quantity: int

    @property
    def net_cents(self) -> int:
        """The price of the whole line without tax."""
        return self.product.price_cents * self.quantity

    @property
    def tax_cents(self) -> int:
        """The tax of the whole line, rounded half up."""
        return (self.net_cents * self.product.tax_percent + 50) // 100

    def as_json(self) -> dict[str, object]:
        """What a client sees of it."""
        return {
            "sku": self.product.sku,
            "name": self.product.name,
            "quantity": self.quantity,
            "unit_price_cents": self.product.price_cents,
            "net_cents": self.net_cents,
            "tax_cents": self.tax_cents,
        }


@dataclass
class Order:
    """One order that was reserved and paid for."""

    id: str
    customer: str
    lines: list[Line]
    reservation: dict[str, Any] = field(default_factory=dict)
    charge: dict[str, Any] = field(default_factory=dict)
    number: int = 0
    status: str = "new"
    note: str | None = None
    created_at: str = ""
    updated_at: str = ""

    @property
    def subtotal_cents(self) -> int:
        """All lines without tax."""
        return sum(line.net_cents for line in self.lines)

    @property
    def tax_cents(self) -> int:
        """The tax of all lines."""
        return sum(line.tax_cents for line in self.lines)

    @property
    def shipping_cents(self) -> int:
        """Nothing from a certain subtotal on."""
        return 0 if self.subtotal_cents >= FREE_SHIPPING_FROM_CENTS else SHIPPING_CENTS

    @property
    def total_cents(self) -> int:
        """What the customer pays."""
        return self.subtotal_cents + self.tax_cents + self.shipping_cents

    def as_json(self) -> dict[str, Any]:
        """The whole order as a client sees it."""
        return {
            "id": self.id,
            "number": self.number,
            "status": self.status,
            "customer": self.customer,
            "items": [line.as_json() for line in self.lines],
            "subtotal_cents": self.subtotal_cents,
            "tax_cents": self.tax_cents,
            "shipping_cents": self.shipping_cents,
            "total_cents": self.total_cents,
            "currency": CURRENCY,
            "note": self.note,
            "reservation": self.reservation,
            "charge": self.charge,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
        }

    def summary(self) -> dict[str, object]:
        """Its line in a list of orders."""
        return {
            "id": self.id,
            "number": self.number,
            "status": self.status,
            "total_cents": self.total_cents,
            "created_at": self.created_at,
        }


def read_order(wanted: dict[str, Any]) -> Order:
    """A new order out of a client's JSON; HttpError 422 where something in it is not right."""
    customer, items = wanted.get("customer"), wanted.get("items")
    if not isinstance(customer, str) or not customer:
        raise HttpError(422, "bad_order", "an order needs a customer")
    if not isinstance(items, list) or not items:
        raise HttpError(422, "bad_order", "an order needs items")
    return Order(str(uuid.uuid4()), customer, [_read_line(item) for item in items])


def _read_line(item: object) -> Line:
    if not isinstance(item, dict):
        raise HttpError(422, "bad_order", "an item is an object with sku and quantity")
    sku, quantity = item.get("sku"), item.get("quantity")
    product = PRODUCTS.get(sku) if isinstance(sku, str) else None
    if product is None:
        raise HttpError(422, "bad_order", f"unknown product: {sku}")
    if type(quantity) is not int or not 1 <= quantity <= MOST_OF_ONE:
        raise HttpError(422, "bad_order", f"the quantity of {sku} is from 1 to {MOST_OF_ONE}")
    return Line(product, quantity)


class OrderBook:
    """All orders that were paid for, in memory, in the order of their numbers."""

    def __init__(self) -> None:
        self._orders: dict[str, Order] = {}
        self._lock = threading.Lock()

    def add(self, order: Order) -> None:
        """Take in a paid order: it gets its number and its times."""
        with self._lock:
            order.number = FIRST_NUMBER + len(self._orders)
            order.status = "paid"
            order.created_at = order.updated_at = now()
            self._orders[order.id] = order

    def get(self, order_id: str) -> Order:
        """The order of that id; HttpError 404 where there is none."""
        with self._lock:
            order = self._orders.get(order_id)
        if order is None:
            raise HttpError(404, "no_such_order", f"no order {order_id}")
        return order

    def of(self, customer: str | None) -> Iterator[Order]:
        """The orders of a customer, or all of them for None."""
        with self._lock:
            orders = list(self._orders.values())
        return (order for order in orders if customer in (None, order.customer))

    def annotate(self, order: Order, note: str) -> None:
        """Put a note on the order."""
        with self._lock:
            order.note = note
            order.updated_at = now()

    def cancel(self, order: Order) -> None:
        """Mark it cancelled; HttpError 409 where it already is. Only one caller succeeds."""
        with self._lock:
            if order.status == "cancelled":
                raise HttpError(409, "already_cancelled", f"order {order.number} is cancelled")
            order.status = "cancelled"
            order.updated_at = now()
