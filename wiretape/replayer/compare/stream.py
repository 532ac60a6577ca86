"""Contents that are one value after another: event streams by event, NDJSON by line."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from wiretape.replayer.compare.difference import Difference
from wiretape.replayer.compare.json_tree import compare_json
from wiretape.replayer.compare.json_value import parse_json
from wiretape.replayer.compare.view import View

_LINE_END = re.compile(r"\r\n|\n|\r")
_INDEX = re.compile(r"\$\[(\d+)\]\.?")
_TEXTS = ("event", "id", "retry")


def read_lines(data: bytes) -> list[Any]:
    """The value of each line of NDJSON; ValueError where one is no JSON. Empty lines are none."""
    return [parse_json(line) for line in data.split(b"\n") if line.strip()]


def compare_lines(recorded: list[Any], live: list[Any], view: View) -> list[Difference]:
    """Differences by line; for rules it is one array."""
    return list(_placed(compare_json(recorded, live, view), "line"))


def read_events(text: str) -> list[dict[str, Any]]:
    """The events of a text/event-stream, those without any field left out.

    Comments are left out too: they keep a connection open for as long as that takes. `data` is the
    value where it is JSON, else text. What no empty line ends is `unfinished`: a browser drops it.
    """
    events: list[dict[str, Any]] = []
    event: dict[str, Any] = {}
    lines = _LINE_END.split(text.removeprefix("\ufeff"))
    # What follows the last line end is no line unless something stands there.
    for line in lines if lines[-1] else lines[:-1]:
        if not line:
            if event:
                events.append(_with_value(event))
            event = {}
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            event["data"] = f"{event['data']}\n{value}" if "data" in event else value
        elif name in _TEXTS:
            event[name] = value
    if event:
        events.append({**_with_value(event), "unfinished": True})
    return events


def _with_value(event: dict[str, Any]) -> dict[str, Any]:
    if "data" not in event:
        return event
    try:
        return {**event, "data": parse_json(event["data"].encode())}
    except ValueError:
        return event


def compare_events(recorded: str, live: str, view: View) -> list[Difference]:
    """Differences by event; for rules the events are one array of objects."""
    found = compare_json(read_events(recorded), read_events(live), view, "event")
    return list(_placed(found, "event"))


def _placed(found: Iterable[Difference], what: str) -> Iterable[Difference]:
    """Say which line or event it is, from 1, instead of an index."""
    for difference in found:
        match = _INDEX.search(difference.place)
        if match is None:
            yield difference
            continue
        number, rest = int(match[1]) + 1, difference.place[match.end() :]
        if rest and what == "line":
            rest = f"$.{rest}" if not rest.startswith("[") else f"${rest}"
        before = difference.place[: match.start()]
        place = f"{before}{what} {number}: {rest}" if rest else f"{before}{what} {number}"
        yield replace(difference, place=place, line=number if what == "line" else None)
