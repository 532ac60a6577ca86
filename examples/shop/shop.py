"""The shop: sells what the inventory has in stock and takes the money through the payments.

    INVENTORY_URL=http://… PAYMENTS_URL=http://… python examples/shop/shop.py --port 8080

Endpoints:

    GET  /healthz                is it there?
    GET  /products[?search=…]    the catalogue; gzip for clients that accept it
    GET  /products/export        the same as CSV, sent line by line
    GET  /products/{sku}         one product and how many the inventory has; with an ETag
    POST /orders                 reserve, charge, remember: 201, or 402, 409, 422
    GET  /orders[?customer=…]    a list of orders
    GET  /orders/{id}            one order, the state of its charge asked for anew
    PUT  /orders/{id}/note       put a note on it: 204
    POST /orders/{id}/cancel     give the money and the goods back
"""

import argparse
import gzip
import hashlib
import os
import uuid
from collections.abc import Iterator
from urllib.parse import quote

from call_faults import CALL_FAULTS
from catalogue import CURRENCY, PRODUCTS, search
from changes import Changes
from faults import FAULTS
from orders import Order, OrderBook, read_order
from upstream import Upstream
from variants import VARIANTS
from web import HttpError, Request, Response, Route, arguments, json_response, serve

INVENTORY_URL = "http://inventory.internal:80"
PAYMENTS_URL = "http://payments.internal:80"
MOST_OF_A_NOTE = 500
CHANGES = {"fault": Changes(FAULTS | CALL_FAULTS), "variant": VARIANTS}


class Shop:
    """The routes, over the orders and the two upstream services."""

    def __init__(self, inventory: Upstream, payments: Upstream) -> None:
        self.inventory = inventory
        self.payments = payments
        self.orders = OrderBook()

    def routes(self) -> list[Route]:
        """Every endpoint; of two that fit a path, the first is taken."""
        return [
            Route("GET", "/healthz", self.health),
            Route("GET", "/products", self.list_products),
            Route("GET", "/products/export", self.export_products),
            Route("GET", "/products/{sku}", self.show_product),
            Route("POST", "/orders", self.create_order),
            Route("GET", "/orders", self.list_orders),
            Route("GET", "/orders/{id}", self.show_order),
            Route("PUT", "/orders/{id}/note", self.annotate_order),
            Route("POST", "/orders/{id}/cancel", self.cancel_order),
        ]

    def health(self, _: Request) -> Response:
        """Answers without asking anyone."""
        return json_response(200, {"status": "ok"})

    def list_products(self, request: Request) -> Response:
        """The catalogue, or what of it was searched for."""
        found = [product.as_json() for product in search(request.query.get("search", ""))]
        answer = json_response(200, {"products": found}, ("Vary", "Accept-Encoding"))
        if "gzip" not in request.fields.get("accept-encoding", ""):
            return answer
        # Without a time in the gzip header the same catalogue is always the same bytes.
        packed = gzip.compress(answer.content, mtime=0)
        return Response(200, packed, (*answer.fields, ("Content-Encoding", "gzip")))

    def export_products(self, _: Request) -> Response:
        """The catalogue as CSV (RFC 4180), a chunk for every line."""

        def lines() -> Iterator[bytes]:
            yield b"sku,name,price_cents,tax_percent\r\n"
            for p in PRODUCTS.values():
                yield f'{p.sku},"{p.name}",{p.price_cents},{p.tax_percent}\r\n'.encode()

        return Response(200, fields=(("Content-Type", "text/csv; charset=utf-8"),), chunks=lines())

    def show_product(self, request: Request) -> Response:
        """One product, with what the inventory has of it now."""
        product = PRODUCTS.get(request.params["sku"])
        if product is None:
            raise HttpError(404, "no_such_product", f"no product {request.params['sku']}")
        answer = json_response(200, {**product.as_json(), "available": self.available(product.sku)})
        etag = f'"{hashlib.sha256(answer.content).hexdigest()[:16]}"'
        if request.fields.get("if-none-match") == etag:
            return Response(304, fields=(("ETag", etag),))
        return Response(200, answer.content, (*answer.fields, ("ETag", etag)))

    def create_order(self, request: Request) -> Response:
        """Reserve the goods, charge the card, and only then is it an order."""
        wanted = request.json()
        order = read_order(wanted)
        self.check_stock(order)
        order.reservation = self._reserve(order)
        order.charge = self._charge(order, str(wanted.get("card", "")))
        self.orders.add(order)
        return json_response(201, order.as_json(), ("Location", f"/orders/{order.id}"))

    def list_orders(self, request: Request) -> Response:
        """All orders, or those of one customer."""
        found = [order.summary() for order in self.orders.of(request.query.get("customer"))]
        return json_response(200, {"orders": found, "count": len(found)})

    def show_order(self, request: Request) -> Response:
        """One order, with the state of its charge as the payments tell it now."""
        order = self.orders.get(request.params["id"])
        reply = self.payments.get(f"/charges/{quote(order.charge['id'])}")
        if reply.status != 200:
            raise HttpError(502, "upstream_failed", f"payments answered {reply.status}")
        order.charge = reply.value
        return json_response(200, order.as_json())

    def annotate_order(self, request: Request) -> Response:
        """Put the content, a text, on the order."""
        order = self.orders.get(request.params["id"])
        note = request.content.decode("utf-8", "replace")
        if len(note) > MOST_OF_A_NOTE:
            raise HttpError(422, "bad_note", f"a note has at most {MOST_OF_A_NOTE} characters")
        self.orders.annotate(order, note)
        return Response(204)

    def cancel_order(self, request: Request) -> Response:
        """Refund the charge and release the goods."""
        order = self.orders.get(request.params["id"])
        self.orders.cancel(order)
        charge_id, reservation_id = quote(order.charge["id"]), quote(order.reservation["id"])
        reply = self.payments.post(
            f"/charges/{charge_id}/refunds", {"amount": order.total_cents, "currency": CURRENCY}
        )
        if reply.status != 201:
            raise HttpError(502, "upstream_failed", f"payments answered {reply.status}")
        order.charge = reply.value
        self.inventory.delete(f"/reservations/{reservation_id}")
        return json_response(200, order.as_json())

    def check_stock(self, order: Order) -> None:
        """HttpError 409 where there is not enough of something at this moment."""
        for line in order.lines:
            if self.available(line.product.sku) < line.quantity:
                raise HttpError(409, "out_of_stock", f"not enough of {line.product.sku}")

    def available(self, sku: str) -> int:
        """How many of a product can be reserved at this moment."""
        reply = self.inventory.get(f"/stock/{quote(sku)}")
        if reply.status != 200:
            raise HttpError(502, "upstream_failed", f"inventory answered {reply.status}")
        return int(reply.value["available"])

    def _reserve(self, order: Order) -> dict[str, object]:
        items = [{"sku": line.product.sku, "quantity": line.quantity} for line in order.lines]
        reply = self.inventory.post("/reservations", {"order_id": order.id, "items": items})
        if reply.status == 409:
            raise HttpError(409, "out_of_stock", "the goods were sold meanwhile")
        if reply.status != 201:
            raise HttpError(502, "upstream_failed", f"inventory answered {reply.status}")
        return {"id": reply.value["id"], "expires_at": reply.value["expires_at"]}

    def _charge(self, order: Order, card: str) -> dict[str, object]:
        reply = self.payments.post(
            "/charges",
            {
                "order_id": order.id,
                "amount": order.total_cents,
                "currency": CURRENCY,
                "card": card,
            },
            {"Idempotency-Key": str(uuid.uuid4())},
        )
        if reply.status == 201:
            return reply.value
        self.inventory.delete(f"/reservations/{quote(str(order.reservation['id']))}")
        if reply.status == 402:
            raise HttpError(402, "card_declined", "the card was declined")
        raise HttpError(502, "upstream_failed", f"payments answered {reply.status}")


def main() -> None:
    """Start the shop, as it is or changed on purpose."""
    parser = arguments("The shop of Wiretape's demo.")
    for kind in CHANGES:
        variable = f"SHOP_{kind.upper()}"
        parser.add_argument(
            f"--{kind}",
            default=os.environ.get(variable) or None,
            metavar="NAME",
            help=f"change one thing on purpose (or {variable}=NAME), one of the {kind}s below",
        )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = (
        f"faults, each a regression:\n{CHANGES['fault']}\n\n"
        f"variants, each as good as the shop itself:\n{CHANGES['variant']}"
    )
    options = parser.parse_args()
    try:
        shop = Shop(
            Upstream("inventory", os.environ.get("INVENTORY_URL", INVENTORY_URL)),
            Upstream("payments", os.environ.get("PAYMENTS_URL", PAYMENTS_URL)),
        )
        for kind, table in CHANGES.items():
            if (name := getattr(options, kind)) is None:
                continue
            if name not in table:
                raise ValueError(f"no {kind} is named {name!r}; --help lists them")
            table[name](shop)
    except ValueError as error:
        parser.error(str(error))
    serve("shop", shop.routes(), options)


if __name__ == "__main__":
    main()
