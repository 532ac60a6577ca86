"""Customers of the shop: a fixed scenario, one request after the other.

    python examples/shop/client.py http://127.0.0.1:8080

Prints a line for every answer; the exit code is 1 where a status was not the one expected. The
scenario needs a shop, an inventory and payments that were just started.
"""

import argparse
import gzip
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import TextIO
from urllib.parse import urlsplit

JSON = {"Content-Type": "application/json"}
NOBODYS_ORDER = "/orders/00000000-0000-4000-8000-000000000000"


@dataclass(frozen=True)
class Answer:
    """A response: its status, its fields by lower-case name, its content as it was sent."""

    status: int
    fields: dict[str, str]
    content: bytes

    def text(self) -> str:
        """The content, unpacked where it came packed."""
        packed = self.fields.get("content-encoding") == "gzip"
        return (gzip.decompress(self.content) if packed else self.content).decode()


class Customer:
    """One keep-alive connection to the shop."""

    def __init__(self, crowd: "Crowd", name: str, connection: HTTPConnection) -> None:
        self._crowd = crowd
        self.name = name
        self._connection = connection

    def ask(
        self,
        expected: int,
        method: str,
        target: str,
        content: bytes | None = None,
        fields: dict[str, str] | None = None,
    ) -> Answer:
        """Send one request and note its answer."""
        sent = {"User-Agent": f"{self.name}/1.0", "Accept": "*/*", **(fields or {})}
        self._connection.request(method, target, content, sent)
        response = self._connection.getresponse()
        received = {name.lower(): value for name, value in response.getheaders()}
        answer = Answer(response.status, received, response.read())
        self._crowd.note(self.name, method, target, expected, answer)
        return answer

    def get(self, target: str, expected: int = 200, **fields: str) -> Answer:
        """GET; `fields` are named with underscores."""
        named = {name.replace("_", "-").title(): value for name, value in fields.items()}
        return self.ask(expected, "GET", target, None, named)

    def order(self, expected: int, card: str, *items: tuple[str, int]) -> Answer:
        """Order `items`, pairs of product and quantity."""
        wanted = {
            "customer": self.name,
            "card": card,
            "items": [{"sku": sku, "quantity": quantity} for sku, quantity in items],
        }
        return self.ask(expected, "POST", "/orders", json.dumps(wanted).encode(), JSON)


class Crowd:
    """Everyone who asks the shop; counts what was not as expected."""

    def __init__(self, url: str, transcript: TextIO | None = None) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._transcript = transcript
        self.surprises = 0

    @contextmanager
    def customer(self, name: str) -> Iterator[Customer]:
        """A new connection, closed at the end."""
        connection = HTTPConnection(self._host, self._port, timeout=30)
        try:
            yield Customer(self, name, connection)
        finally:
            connection.close()

    def note(self, name: str, method: str, target: str, expected: int, answer: Answer) -> None:
        """Print a line for the answer, and all of it into the transcript."""
        wrong = "" if answer.status == expected else f"  ← expected {expected}"
        self.surprises += bool(wrong)
        print(f"{name:8} {method:6} {target:52} {answer.status}{wrong}", flush=True)
        if self._transcript:
            entry = {
                "method": method,
                "target": target,
                "status": answer.status,
                "fields": answer.fields,
                "content": answer.text(),
            }
            print(json.dumps(entry), file=self._transcript)


def scenario(crowd: Crowd) -> None:
    """Everything the customers do, in a fixed order."""
    check_health(crowd)
    with crowd.customer("ada") as ada, crowd.customer("grace") as grace:
        browse(ada)
        buy(ada)
        mistakes(ada)
        check_health(crowd)
        last_lamps(ada, grace)
        read_back(grace)
    check_health(crowd)


def check_health(crowd: Crowd) -> None:
    """As a load balancer does: a connection for one request."""
    with crowd.customer("monitor") as monitor:
        monitor.get("/healthz", connection="close")


def browse(ada: Customer) -> None:
    """Look around, with and without compression, and once again what did not change."""
    ada.get("/products", accept_encoding="gzip")
    ada.ask(200, "HEAD", "/products")
    ada.get("/products?search=caf%C3%A9")
    ada.get("/products?search=piano")
    ada.get("/products/export", accept="text/csv")
    mug = ada.get("/products/MUG-BLUE")
    ada.get("/products/MUG-BLUE", 304, if_none_match=mug.fields["etag"])
    ada.get("/products/CHAIR-9")
    ada.get("/products/PIANO", 404)


def buy(ada: Customer) -> None:
    """Order, note, look, change one's mind."""
    first = ada.order(201, "tok_visa", ("MUG-BLUE", 2), ("BOOK-HTTP", 1))
    location = first.fields["location"]
    ada.get(location)
    ada.get("/products/MUG-BLUE")
    note = "Bitte beim Nachbarn abgeben – danke!".encode()
    ada.ask(204, "PUT", f"{location}/note", note, {"Content-Type": "text/plain; charset=utf-8"})
    ada.get(location)
    second = ada.order(201, "tok_visa", ("COF-500", 3))
    ada.get(second.fields["location"])
    ada.ask(200, "POST", f"{second.fields['location']}/cancel")
    ada.ask(409, "POST", f"{second.fields['location']}/cancel")
    ada.get(second.fields["location"])
    ada.get("/orders?customer=ada")


def mistakes(ada: Customer) -> None:
    """What the shop refuses."""
    ada.order(409, "tok_visa", ("CHAIR-9", 1))
    ada.order(402, "tok_declined", ("BOOK-HTTP", 1), ("CARD-25", 2))
    ada.get("/products/BOOK-HTTP")
    ada.order(422, "tok_visa", ("MUG-BLUE", 0))
    ada.order(422, "tok_visa", ("PIANO", 1))
    ada.ask(400, "POST", "/orders", b'{"customer": "ada", "items": [', JSON)
    ada.ask(405, "DELETE", "/products")
    ada.get(NOBODYS_ORDER, 404)
    ada.get("/basket", 404)


def last_lamps(ada: Customer, grace: Customer) -> None:
    """Two customers, two lamps: the second customer waits until the first gives them back."""
    both = ada.order(201, "tok_visa", ("LAMP-01", 2))
    grace.order(409, "tok_master", ("LAMP-01", 1), ("COF-500", 1))
    grace.get("/products/LAMP-01")
    ada.ask(200, "POST", f"{both.fields['location']}/cancel")
    grace.order(201, "tok_master", ("LAMP-01", 1), ("COF-500", 1))


def read_back(grace: Customer) -> None:
    """Small and large orders, and what is left in the end."""
    grace.order(201, "tok_master", ("CARD-25", 1))
    large = grace.order(201, "tok_master", ("BOOK-HTTP", 10), ("MUG-BLUE", 20), ("COF-500", 20))
    grace.get(large.fields["location"])
    grace.get("/orders?customer=grace")
    grace.get("/orders")
    grace.get("/products/LAMP-01")
    grace.get("/products", accept_encoding="gzip")


def main() -> int:
    """Run the scenario; 1 where a status was not the one expected."""
    parser = argparse.ArgumentParser(description="Customers of the shop of Wiretape's demo.")
    parser.add_argument("url", help="where the shop is, such as http://127.0.0.1:8080")
    parser.add_argument("--transcript", type=Path, help="file for one JSON line per answer")
    options = parser.parse_args()
    if options.transcript is None:
        crowd = Crowd(options.url)
        scenario(crowd)
    else:
        with options.transcript.open("w") as file:
            crowd = Crowd(options.url, file)
            scenario(crowd)
    return 1 if crowd.surprises else 0


if __name__ == "__main__":
    sys.exit(main())
