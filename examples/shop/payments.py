"""The payments: charge cards and give money back.

POST /charges                 amount, currency, card; the same Idempotency-Key charges only once
GET  /charges/{id}            one charge
POST /charges/{id}/refunds    give back what was charged: 201
"""

import secrets
import threading
from typing import Any

from web import HttpError, Request, Response, Route, arguments, json_response, now, serve

DECLINED_CARD = "tok_declined"


class Payments:
    """The routes, over the charges made so far."""

    def __init__(self) -> None:
        self._charges: dict[str, dict[str, Any]] = {}
        self._by_key: dict[str, str] = {}
        self._lock = threading.Lock()

    def routes(self) -> list[Route]:
        """Every endpoint."""
        return [
            Route("POST", "/charges", self.charge),
            Route("GET", "/charges/{id}", self.show),
            Route("POST", "/charges/{id}/refunds", self.refund),
        ]

    def charge(self, request: Request) -> Response:
        """Charge a card: 201; 200 for a key that was seen before; 402 where it is declined."""
        wanted = request.json()
        key = request.fields.get("idempotency-key")
        if key is None:
            raise HttpError(400, "no_key", "a charge needs an Idempotency-Key")
        if wanted["card"] == DECLINED_CARD:
            raise HttpError(402, "card_declined", "the card was declined")
        with self._lock:
            if key in self._by_key:
                return json_response(200, self._charges[self._by_key[key]])
            charge = {
                "id": f"ch_{secrets.token_hex(12)}",
                "status": "captured",
                "amount": int(wanted["amount"]),
                "currency": wanted["currency"],
                "charged_at": now(),
            }
            self._charges[charge["id"]] = charge
            self._by_key[key] = charge["id"]
        return json_response(201, charge, ("Location", f"/charges/{charge['id']}"))

    def show(self, request: Request) -> Response:
        """One charge as it is now."""
        with self._lock:
            return json_response(200, self._known(request.params["id"]))

    def refund(self, request: Request) -> Response:
        """Give all of it back; 409 where that was done or the amount is another."""
        wanted = request.json()
        with self._lock:
            charge = self._known(request.params["id"])
            if charge["status"] == "refunded" or wanted["amount"] != charge["amount"]:
                raise HttpError(409, "not_refundable", "the charge cannot be refunded so")
            charge.update(status="refunded", refunded_at=now())
            return json_response(201, charge)

    def _known(self, charge_id: str) -> dict[str, Any]:
        charge = self._charges.get(charge_id)
        if charge is None:
            raise HttpError(404, "unknown_charge", "no such charge")
        return charge


if __name__ == "__main__":
    options = arguments("The payments behind the shop of Wiretape's demo.").parse_args()
    serve("payments", Payments().routes(), options)
