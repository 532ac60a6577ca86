"""The harmless variants of the shop: other on the wire, and yet as good for every client.

One can be switched on, by name, to see that it raises no alarm.
"""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

import upstream
import web
from changes import Changes, answers, swap
from upstream import Reply, Upstream
from web import Connection, Request, Response, WebServer

if TYPE_CHECKING:
    from shop import Shop

VARIANTS = Changes()


def all_answers(change: Callable[[Request, Response], Response]) -> None:
    """Every response passes through `change`, those to mistakes too."""
    answer = WebServer.answer
    swap(WebServer, "answer", lambda server, request: change(request, answer(server, request)))


# How JSON is written.


@VARIANTS
def json_order(_: Shop) -> None:
    """members of JSON objects stand in another order"""
    spelled = web.spelled
    swap(web, "spelled", lambda value: spelled(backwards(value)))


def backwards(value: Any) -> Any:
    """The same value, the members of its objects the other way round."""
    if isinstance(value, dict):
        return {name: backwards(value[name]) for name in reversed(value)}
    return [backwards(element) for element in value] if isinstance(value, list) else value


@VARIANTS
def json_compact(_: Shop) -> None:
    """JSON has no white space"""
    swap(web, "spelled", lambda value: json.dumps(value, separators=(",", ":")).encode())


@VARIANTS
def json_escaped(_: Shop) -> None:
    """JSON is in ASCII, everything else escaped"""
    swap(web, "spelled", lambda value: json.dumps(value, indent=2).encode() + b"\n")


# How fields are written.


@VARIANTS
def field_case(_: Shop) -> None:
    """names of fields are in lower case"""
    send = Connection.send_header
    swap(Connection, "send_header", lambda self, name, value: send(self, name.lower(), value))


@VARIANTS
def field_order(_: Shop) -> None:
    """fields stand in another order"""
    all_answers(lambda _, response: replace(response, fields=response.fields[::-1]))


@VARIANTS
def field_values(_: Shop) -> None:
    """values that have no case are written in another one"""
    spellings = {
        "text/csv; charset=utf-8": 'Text/CSV;charset="UTF-8"',
        "application/json": "Application/JSON",
        "Accept-Encoding": "accept-encoding",
        "gzip": "GZIP",
    }

    def change(_: Request, response: Response) -> Response:
        fields = tuple((name, spellings.get(value, value)) for name, value in response.fields)
        return replace(response, fields=fields)

    all_answers(change)


# How contents are sent.


@VARIANTS
def chunked(_: Shop) -> None:
    """contents are chunked that had a length"""

    def change(request: Request, response: Response) -> Response:
        if not response.content or request.method == "HEAD":
            return response
        return replace(response, content=b"", chunks=pieces(response.content, 100))

    all_answers(change)


@VARIANTS
def length(_: Shop) -> None:
    """contents have a length that were chunked"""

    def change(_: Request, response: Response) -> Response:
        return replace(
            response, content=b"".join(response.chunks or [response.content]), chunks=None
        )

    all_answers(change)


@VARIANTS
def dribble(_: Shop) -> None:
    """contents come byte by byte"""

    def change(request: Request, response: Response) -> Response:
        whole = b"".join(response.chunks or [response.content])
        if not whole or request.method == "HEAD":
            return response
        return replace(response, content=b"", chunks=pieces(whole, 1))

    all_answers(change)


def pieces(content: bytes, most: int) -> Iterator[bytes]:
    """`content` in parts of up to `most` bytes."""
    return (content[start : start + most] for start in range(0, len(content), most))


@VARIANTS
def gzip_level(shop: Shop) -> None:
    """what is packed is packed less, with the time in it"""

    def change(_: Request, response: Response) -> Response:
        if ("Content-Encoding", "gzip") not in response.fields:
            return response
        return replace(response, content=gzip.compress(gzip.decompress(response.content), 1))

    answers(shop, "list_products", change)


# Connections and time.


@VARIANTS
def closes(_: Shop) -> None:
    """the connection is closed after each answer, which says so"""

    def change(_: Request, response: Response) -> Response:
        return replace(response, fields=(*response.fields, ("Connection", "close")))

    all_answers(change)


@VARIANTS
def closes_silently(_: Shop) -> None:
    """the connection is closed after each answer, which does not say so"""
    serve = Connection._serve

    def wrong_serve(connection: Connection) -> None:
        serve(connection)
        connection.close_connection = True

    for method in ("GET", "HEAD", "POST", "PUT", "DELETE"):
        swap(Connection, f"do_{method}", wrong_serve)


@VARIANTS
def slow(_: Shop) -> None:
    """every answer takes longer"""

    def change(_: Request, response: Response) -> Response:
        time.sleep(0.04)
        return response

    all_answers(change)


# How the inventory and the payments are asked.


@VARIANTS
def calls_slow(_: Shop) -> None:
    """every call takes longer to begin"""
    ask = Upstream._ask

    def slow_ask(self: Upstream, *what: Any) -> Reply:
        time.sleep(0.03)
        return ask(self, *what)

    swap(Upstream, "_ask", slow_ask)


@VARIANTS
def calls_close(_: Shop) -> None:
    """every call has a connection of its own"""
    swap(Upstream, "_connection", lambda self: HTTPConnection(self._host, self._port, timeout=10))


@VARIANTS
def calls_json(_: Shop) -> None:
    """the JSON of calls has another order and no white space"""

    def spelled(value: object) -> bytes:
        return json.dumps(backwards(value), separators=(",", ":"), ensure_ascii=False).encode()

    swap(upstream, "spelled", spelled)


@VARIANTS
def calls_chunked(_: Shop) -> None:
    """contents of calls are chunked, names of their fields in lower case"""
    ask = Upstream._ask

    def chunked_ask(self: Upstream, method: str, target: str, content: Any, more: Any) -> Reply:
        fields = {name.lower(): value for name, value in more.items()}
        return ask(self, method, target, pieces(content, 20) if content else None, fields)

    swap(Upstream, "_ask", chunked_ask)
