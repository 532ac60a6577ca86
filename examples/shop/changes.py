"""Changes of the shop that can be switched on by name, and what most of them are made of."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import web
from web import Request, Response

if TYPE_CHECKING:
    from shop import Shop

Change = Callable[["Shop"], None]
# A value of JSON, changed in place.
Edit = Callable[[dict[str, Any]], object]

HANDLERS_OF_ORDERS = ("create_order", "show_order", "cancel_order")


class Changes(dict[str, Change]):
    """Name → what changes the shop. As a decorator it takes in a function under its name."""

    def __call__(self, change: Change) -> Change:
        """Enter `change`; its docstring says what is another then."""
        self[change.__name__.replace("_", "-")] = change
        return change

    def __str__(self) -> str:
        """A line for each."""
        return "\n".join(f"  {name:24}{change.__doc__}" for name, change in self.items())


def swap(owner: object, method: str, put: object) -> None:
    """Put something in the place of a method, of one object or of a class."""
    setattr(owner, method, put)


def answers(shop: Shop, handler: str, change: Callable[[Request, Response], Response]) -> None:
    """Every response of a handler of the shop passes through `change`."""
    handle: Callable[[Request], Response] = getattr(shop, handler)
    swap(shop, handler, lambda request: change(request, handle(request)))


def edited(response: Response, edit: Edit) -> Response:
    """The response with its JSON changed in place."""
    value = json.loads(response.content)
    edit(value)
    return replace(response, content=web.spelled(value))


def every_order(shop: Shop, edit: Edit) -> None:
    """Every single order that a client gets to see passes through `edit`."""
    for handler in HANDLERS_OF_ORDERS:
        answers(shop, handler, lambda _, response: edited(response, edit))


def without(response: Response, name: str) -> Response:
    """The response without one field."""
    return replace(response, fields=tuple(f for f in response.fields if f[0] != name))
