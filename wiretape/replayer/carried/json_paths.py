"""The strings and numbers of a JSON value, and the paths to them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

Path = tuple[str | int, ...]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def leaves(value: Any, counts: Callable[[str], bool]) -> Iterator[tuple[Path, str]]:
    """The strings and numbers of a JSON value, as text, that count."""
    path: list[Any] = []
    levels = [_members(value) if isinstance(value, dict | list) else iter([(None, value)])]
    while levels:
        for step, member in levels[-1]:
            kind = type(member)
            if kind is dict or kind is list:
                path.append(step)
                levels.append(_members(member))
                break
            # Of floats there are but NaN and infinities: fractions are text.
            if kind is str or kind is int or (kind is float and type(step) is str):
                text = member if kind is str else str(member)
                if counts(text):
                    yield ((*path, step) if step is not None else ()), text
        else:
            levels.pop()
            if path:
                path.pop()


def _members(value: dict[str, Any] | list[Any]) -> Iterator[tuple[Any, Any]]:
    return iter(value.items()) if isinstance(value, dict) else iter(enumerate(value))


def at(value: Any, path: Path, everywhere: bool) -> list[str]:
    """The string or number at a path; `everywhere`: at every index that the path passes."""
    reached = [value]
    for step in path:
        following: list[Any] = []
        for node in reached:
            if isinstance(step, str):
                if isinstance(node, dict) and step in node:
                    following.append(node[step])
            elif isinstance(node, list):
                following += node if everywhere else node[step : step + 1]
        reached = following
    scalar = (v for v in reached if isinstance(v, str | int) and not isinstance(v, bool))
    return [str(v) for v in scalar]


def json_path(path: Path) -> str:
    """As in RFC 9535: $.orders[0].id"""
    spelled = [
        f"[{step}]"
        if isinstance(step, int)
        else (f".{step}" if _NAME.fullmatch(step) else f"[{json.dumps(step)}]")
        for step in path
    ]
    return "$" + "".join(spelled)
