"""The inventory: knows how many of each product there are, and sets some aside.

GET    /stock/{sku}          how many can still be reserved
POST   /reservations         set goods aside for an order: 201, or 409 where there are not enough
DELETE /reservations/{id}    put them back: 204
"""

import threading
import uuid
from datetime import UTC, datetime, timedelta

from web import (
    HttpError,
    Request,
    Response,
    Route,
    arguments,
    iso,
    json_response,
    now,
    serve,
)

STOCK = {
    "MUG-BLUE": 40,
    "COF-500": 25,
    "BOOK-HTTP": 12,
    "LAMP-01": 2,
    "CHAIR-9": 0,
    "CARD-25": 1000,
}
HELD_FOR = timedelta(minutes=30)


class Inventory:
    """The routes, over the stock and what of it is reserved."""

    def __init__(self) -> None:
        self._stock = dict(STOCK)
        self._reserved: dict[str, list[tuple[str, int]]] = {}
        self._lock = threading.Lock()

    def routes(self) -> list[Route]:
        """Every endpoint."""
        return [
            Route("GET", "/stock/{sku}", self.show_stock),
            Route("POST", "/reservations", self.reserve),
            Route("DELETE", "/reservations/{id}", self.release),
        ]

    def show_stock(self, request: Request) -> Response:
        """How many of a product can be reserved at this moment."""
        sku = request.params["sku"]
        with self._lock:
            available = self._stock.get(sku)
        if available is None:
            raise HttpError(404, "unknown_sku", f"unknown product: {sku}")
        return json_response(200, {"sku": sku, "available": available, "checked_at": now()})

    def reserve(self, request: Request) -> Response:
        """All goods of an order or none."""
        wanted = request.json()
        items = [(str(item["sku"]), int(item["quantity"])) for item in wanted["items"]]
        reservation_id = str(uuid.uuid4())
        with self._lock:
            for sku, quantity in items:
                if self._stock.get(sku, 0) < quantity:
                    raise HttpError(409, "not_enough", f"not enough of {sku}")
            for sku, quantity in items:
                self._stock[sku] -= quantity
            self._reserved[reservation_id] = items
        reservation = {
            "id": reservation_id,
            "order_id": wanted["order_id"],
            "expires_at": iso(datetime.now(UTC) + HELD_FOR),
        }
        return json_response(201, reservation, ("Location", f"/reservations/{reservation_id}"))

    def release(self, request: Request) -> Response:
        """The goods can be sold again."""
        with self._lock:
            items = self._reserved.pop(request.params["id"], None)
            if items is None:
                raise HttpError(404, "unknown_reservation", "no such reservation")
            for sku, quantity in items:
                self._stock[sku] += quantity
        return Response(204)


if __name__ == "__main__":
    options = arguments("The inventory behind the shop of Wiretape's demo.").parse_args()
    serve("inventory", Inventory().routes(), options)
