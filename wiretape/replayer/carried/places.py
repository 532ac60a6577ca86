"""Where in a message a value stands, said so that the same place is found in another message.

A place is a part of the message (a field, a cookie by name, a JSON path, an input of a form, a
spot in text) and steps into the text there: a segment or parameter of a URL, a claim of a JWT, a
token between fixed text.
"""

from __future__ import annotations

import html
import json
import re
from functools import cached_property, lru_cache
from itertools import zip_longest
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from wiretape.exchange.v1.exchange_pb2 import HttpRequest
from wiretape.replayer.carried.candidates import (
    Message,
    is_json,
    lines_of,
    media_type,
    plain_content,
)
from wiretape.replayer.carried.json_paths import Path, at, json_path
from wiretape.replayer.carried.tokens import MAX_VALUE, from_base64, spans

_NOTHING: Any = object()
_TAG = re.compile(r"<(input|meta)\b([^>]*)>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"([\w:-]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+))")
_ENTITY_TAG = re.compile(r'(?:W/)?"([^"]+)"')
_BEFORE = 24
# Numbers, and what dates are written with.
_CHANGING = re.compile(
    r"(\d+|\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun|Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*\b"
    r"|\b[AP]M\b)"
)
_JSON = json.JSONDecoder(parse_float=str)


class Seen:
    """A message that values are taken from; its content is read once, and only if asked for."""

    def __init__(self, message: Message) -> None:
        self.message = message
        self.lines = lines_of(message)

    @cached_property
    def fields(self) -> dict[str, list[str]]:
        """Values by lower-case name."""
        return self.fields_but(frozenset())

    def fields_but(self, left_out: frozenset[bytes]) -> dict[str, list[str]]:
        groups: dict[str, list[str]] = {}
        for name, value in self.lines:
            if name not in left_out:
                values = groups.setdefault(name.decode("latin-1").lower(), [])
                values.append(value.decode("utf-8", "surrogateescape"))
        return groups

    @cached_property
    def kind(self) -> str:
        return media_type(self.lines)

    @cached_property
    def content(self) -> bytes | None:
        return plain_content(self.message, self.lines)

    @cached_property
    def json(self) -> Any:
        """The value; `_NOTHING` where the content is no JSON. Fractions are kept as text."""
        if self.content is None or not is_json(self.kind, self.content):
            return _NOTHING
        try:
            text = self.content.decode(json.detect_encoding(self.content), "surrogatepass")
            return _JSON.decode(text)
        except (ValueError, RecursionError):
            return _NOTHING

    @property
    def has_json(self) -> bool:
        return self.json is not _NOTHING

    @cached_property
    def text(self) -> str:
        return "" if self.content is None else self.content.decode("utf-8", "surrogateescape")

    @cached_property
    def tags(self) -> dict[tuple[str, str], str]:
        """What inputs and meta elements of HTML hold, by tag and name; the first of a name."""
        found: dict[tuple[str, str], str] = {}
        for match in _TAG.finditer(self.text):
            attributes = {
                name.lower(): html.unescape(quoted or single or bare)
                for name, quoted, single, bare in _ATTRIBUTE.findall(match[2])
            }
            tag = match[1].lower()
            name = attributes.get("name") or attributes.get("property")
            value = attributes.get("value" if tag == "input" else "content")
            if name and value is not None:
                found.setdefault((tag, name), value)
        return found


class InField(NamedTuple):
    """The value of the field line that is number `nth` of its name."""

    name: str
    nth: int

    def take(self, seen: Seen) -> str | None:
        values = seen.fields.get(self.name, ())
        return values[self.nth] if self.nth < len(values) else None

    def __str__(self) -> str:
        return self.name if not self.nth else f"{self.name} ({self.nth + 1})"


class InCookie(NamedTuple):
    """What Set-Cookie gives the cookie of that name; the last one counts (RFC 6265 §5.3)."""

    name: str

    def take(self, seen: Seen) -> str | None:
        for line in reversed(seen.fields.get("set-cookie", ())):
            pair = line.partition(";")[0]
            name, mark, value = pair.partition("=")
            if mark and name.strip() == self.name:
                return value.strip().strip('"')
        return None

    def __str__(self) -> str:
        return f"set-cookie: {self.name}"


class InJson(NamedTuple):
    """A string or number in JSON content; `text` is what it was when it stood in an array."""

    path: Path
    text: str

    def take(self, seen: Seen) -> str | None:
        # An element that still is what it was is the same one, wherever in its array it stands.
        if self.text and self.text in at(seen.json, self.path, everywhere=True):
            return self.text
        return next(iter(at(seen.json, self.path, everywhere=False)), None)

    def __str__(self) -> str:
        return json_path(self.path)


class InTag(NamedTuple):
    """What an input or meta element of HTML holds."""

    tag: str
    name: str

    def take(self, seen: Seen) -> str | None:
        return seen.tags.get((self.tag, self.name))

    def __str__(self) -> str:
        return f"{self.tag} {self.name}"


class InText(NamedTuple):
    """What follows the text `before`, which comes for the time number `nth`, up to `stop`."""

    before: str
    nth: int
    stop: str

    def take(self, seen: Seen) -> str | None:
        text = seen.text
        start = 0
        if self.before:
            place = -1
            for _ in range(self.nth + 1):
                place = text.find(self.before, place + 1)
                if place < 0:
                    return None
            start = place + len(self.before)
        end = text.find(self.stop, start, start + MAX_VALUE) if self.stop else len(text)
        return text[start:end] if start < end else None

    def __str__(self) -> str:
        return f"text after {self.before.strip()!r}" if self.before else "text"


class InTarget(NamedTuple):
    """The request target."""

    def take(self, seen: Seen) -> str | None:
        message = seen.message
        return message.target.decode("latin-1") if isinstance(message, HttpRequest) else None

    def __str__(self) -> str:
        return "target"


class InForm(NamedTuple):
    """A form's content, which is written as a query is."""

    def take(self, seen: Seen) -> str | None:
        return f"?{seen.text}"

    def __str__(self) -> str:
        return "form"


class Segment(NamedTuple):
    """A segment of a URL's path, from 0; a scheme and authority before it do not count."""

    number: int

    def take(self, text: str) -> str | None:
        found = segments(text)
        return found[self.number] if self.number < len(found) else None


class Parameter(NamedTuple):
    """A parameter of a URL's query, or of its fragment."""

    name: str
    nth: int
    fragment: bool = False

    def take(self, text: str) -> str | None:
        values = [v for name, v in parameters(text, self.fragment) if name == self.name]
        return values[self.nth] if self.nth < len(values) else None


class EntityTag(NamedTuple):
    """What stands between the quotes of an entity tag, weak or strong (RFC 9110 §8.8.3)."""

    def take(self, text: str) -> str | None:
        match = _ENTITY_TAG.fullmatch(text)
        return match[1] if match else None


class Claim(NamedTuple):
    """A member of a JWT's payload (RFC 7519 §3)."""

    path: Path

    def take(self, text: str) -> str | None:
        return next(iter(at(claims(text), self.path, everywhere=False)), None)


class Link(NamedTuple):
    """One target in angle brackets of a Link field (RFC 8288)."""

    number: int

    def take(self, text: str) -> str | None:
        found = re.findall(r"<([^>]*)>", text)
        return found[self.number] if self.number < len(found) else None


class Between(NamedTuple):
    """The token number `number` of those that stand between the pieces of fixed text."""

    fixed: tuple[str, ...]
    number: int

    def take(self, text: str) -> str | None:
        match = _pattern(self.fixed).fullmatch(text)
        return match[self.number + 1] if match else None


Root = InField | InCookie | InJson | InTag | InText | InTarget | InForm
Step = Segment | Parameter | EntityTag | Claim | Link | Between


class Place(NamedTuple):
    root: Root
    steps: tuple[Step, ...] = ()

    def take(self, seen: Seen) -> str | None:
        """What stands there; None where there is nothing, or no such place."""
        text = self.root.take(seen)
        for step in self.steps:
            if not text:
                return None
            text = step.take(text)
        return text or None

    def __str__(self) -> str:
        """As differences spell it: the part alone, not the steps into its text."""
        return str(self.root)


@lru_cache(1 << 10)
def _pattern(fixed: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(r"(\S+?)".join(map(_like, fixed)), re.DOTALL)


def _like(fixed: str) -> str:
    """A pattern of this text and of what it is on another day."""
    pieces = _CHANGING.split(fixed)
    kinds = (r"\d+" if piece.isdigit() else r"[A-Za-z]+" for piece in pieces[1::2])
    return "".join(
        each
        for pair in zip_longest(map(re.escape, pieces[::2]), kinds, fillvalue="")
        for each in pair
    )


def between(text: str, start: int, end: int) -> Between:
    """The step that finds the token at start:end; others beside it may change with it."""
    taken = [(start, end)]
    for span in spans(text):
        if all(span[1] <= begin or finish <= span[0] for begin, finish in taken):
            taken.append(span)
    taken.sort()
    edges = [0, *(place for span in taken for place in span), len(text)]
    fixed = tuple(text[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True))
    return Between(fixed, taken.index((start, end)))


def in_text(text: str, start: int, end: int) -> InText:
    """The place of a token in the text of a content, told by what stands before it."""
    begin = start
    while begin > max(0, start - _BEFORE) and not text[begin - 1].isdigit():
        begin -= 1
    for span in reversed(spans(text[begin:start])):
        begin += span[1]
        break
    before = text[begin:start]
    nth = _count(text, before, start) if before else 0
    return InText(before, nth, text[end : end + 1])


def _count(text: str, before: str, start: int) -> int:
    """How often `before` comes ahead of the one that ends at `start`, overlapping ones too."""
    count, place = -1, -1
    while True:
        place = text.find(before, place + 1, start)
        if place < 0:
            return count
        count += 1


@lru_cache(1 << 10)
def segments(url: str) -> tuple[str, ...]:
    """The segments of a URL's path, decoded; none where it is no URL."""
    try:
        path = urlsplit(url).path
    except ValueError:
        return ()
    return tuple(map(unquote, path.split("/")))


@lru_cache(1 << 10)
def parameters(url: str, fragment: bool) -> tuple[tuple[str, str], ...]:
    """Names and values of a URL's query or fragment, decoded, in order."""
    try:
        split = urlsplit(url)
    except ValueError:
        return ()
    pairs = (split.fragment if fragment else split.query).split("&")
    return tuple(
        (unquote(name.replace("+", " ")), unquote(value.replace("+", " ")))
        for name, mark, value in (pair.partition("=") for pair in pairs)
        if mark
    )


@lru_cache(1 << 10)
def claims(token: str) -> Any:
    """The payload of a JWT, or `_NOTHING`."""
    parts = token.split(".")
    text = from_base64(parts[1]) if len(parts) == 3 and token.startswith("eyJ") else None
    if text is None:
        return _NOTHING
    try:
        return _JSON.decode(text)
    except (ValueError, RecursionError):
        return _NOTHING
