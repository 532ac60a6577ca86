"""Which places a recorded message has, so that a rule for none of them can be told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from wiretape.exchange.content import ContentError
from wiretape.exchange.v1.exchange_pb2 import Exchange, HttpRequest
from wiretape.replayer.compare.content import Message, is_json, plain, sent_by
from wiretape.replayer.compare.cookies import cookie_pairs
from wiretape.replayer.compare.field_values import parse_media_type
from wiretape.replayer.compare.fields import grouped
from wiretape.replayer.compare.form import read_form, read_multipart
from wiretape.replayer.compare.json_value import parse_json
from wiretape.replayer.compare.request import origin_form
from wiretape.replayer.compare.stream import read_events, read_lines
from wiretape.replayer.compare.table import column_names
from wiretape.replayer.compare.xml_tree import Element, local_name, parse_xml
from wiretape.replayer.rules import Rule, Rules, spell_member
from wiretape.replayer.values.place import endpoint_of

_Place = tuple[str, str]


def unused_rules(
    rules: Rules, inbound: Iterable[Exchange], calls: Iterable[tuple[str, Exchange]]
) -> tuple[Rule, ...]:
    """The rules for which nothing was recorded, and that nothing asked for meanwhile.

    Compared are the responses of `inbound`, and the requests of `calls`, each with its upstream.
    """
    sides: list[tuple[str, HttpRequest, Message]] = []
    if rules.unused():
        sides += [("", e.http.request, e.http.response) for e in inbound]
        sides += [(name, e.http.request, e.http.request) for name, e in calls]
    for upstream, request, message in sides:
        path, query = origin_form(request.target)
        here = rules.here(endpoint_of(request.method, path, upstream))
        if not here or here.all_used:
            continue
        if upstream:
            here.at("path", "path")
            for part in query:
                here.at("query", part.partition("=")[0])
        for part, name in dict.fromkeys(places_of(message)):
            here.at(part, name)
    return rules.unused()


def places_of(message: Message) -> Iterator[_Place]:
    """Part and name of everything in a message; some more than once."""
    for part, fields in (("field", message.fields), ("trailer", message.trailers)):
        for name, values in grouped(fields, frozenset()).items():
            yield part, name
            if name == "set-cookie":
                yield from ((part, f"{name}: {v.partition('=')[0].strip()}") for v in values)
            elif name == "cookie":
                yield from ((part, f"{name}: {key}") for key, _ in cookie_pairs(values))
    if not message.content.data:
        return
    yield "content", "content"
    content = sent_by(message)
    try:
        yield from _content_places(content.type, plain(content))
    except (ContentError, ValueError, RecursionError):
        return


def _content_places(declared: str, data: bytes) -> Iterator[_Place]:
    kind, parameters = parse_media_type(declared)
    if is_json(kind) or not kind:
        yield from (("json", name) for name in _json_names(parse_json(data), "$"))
    elif kind == "application/x-www-form-urlencoded":
        yield from (("form", name) for name, _ in read_form(data))
    elif kind.startswith("multipart/"):
        for part in read_multipart(data, parameters.get("boundary", "")) or ():
            yield "multipart", part.name
            inner = part.fields.get("content-type", ["text/plain"])[0]
            for _, name in _content_places(inner, part.data):
                yield "multipart", f"{part.name}: {name}"
    elif kind.endswith(("/xml", "+xml")):
        yield from (("xml", name) for name in _xml_names(parse_xml(data), ""))
    elif kind == "text/event-stream":
        yield from (("event", n) for n in _json_names(read_events(data.decode()), "$"))
    elif kind.endswith(("ndjson", "jsonl", "json-lines", "jsonlines")):
        yield from (("json", name) for name in _json_names(read_lines(data), "$"))
    else:
        text = data.decode("latin-1")
        lines = "csv" if kind == "text/csv" else "text"
        yield lines, "*"
        yield from ((lines, f"line {number}") for number in range(1, text.count("\n") + 2))
        if lines == "csv":
            yield from ((lines, name) for name in column_names(text))


def _json_names(value: Any, name: str) -> Iterator[str]:
    yield name
    if isinstance(value, dict):
        for key, member in value.items():
            yield from _json_names(member, name + spell_member(key))
    elif isinstance(value, list):
        for element in value:
            yield from _json_names(element, f"{name}[*]")


def _xml_names(element: Element, name: str) -> Iterator[str]:
    yield from (f"{name}/@{local_name(key)}" for key in element.attributes)
    for child in element.children:
        if isinstance(child, Element):
            below = f"{name}/{local_name(child.name)}"
            yield below
            yield from _xml_names(child, below)
