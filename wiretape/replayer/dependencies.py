"""What a recorded exchange has to do with others: its session, and what it needs of them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase

from wiretape.exchange.v1.exchange_pb2 import Exchange, HttpRequest, HttpResponse
from wiretape.replayer.carried import Carried
from wiretape.replayer.caused import is_safe
from wiretape.replayer.compare.request import origin_form
from wiretape.replayer.errors import UsageError
from wiretape.replayer.schedule import Touch

# What could be the name of something: a word with a digit in it, or a number in a path.
_WORD = re.compile(rb"[A-Za-z0-9_-]*[0-9][A-Za-z0-9_-]*")
_SHORT = 4
_NUMBER = re.compile(rb"(?<=/)[0-9]+(?=[/?#\"]|$)")
_ANY_NUMBER = re.compile(rb"(?<![\w.-])[0-9]+(?![\w.-])")
_OF_THE_CLIENT = frozenset([b"user-agent", b"host", b"accept", b"content-length", b"date"])
# Shorter values of a cookie tell no session from another.
_COOKIE_VALUE = 16


def touches(inbound: Sequence[Exchange], carried: Carried) -> list[Touch]:
    """What each exchange has to do with those before it."""
    session_of = sessions(inbound)
    found: list[Touch] = []
    for position, (exchange, needs) in enumerate(zip(inbound, needed(inbound), strict=True)):
        request = exchange.http.request
        ended_ns = exchange.http.response.last_byte_at_ns or request.last_byte_at_ns
        found.append(
            Touch(
                session_of[position],
                origin_form(request.target)[0],
                not is_safe(request.method),
                request.first_byte_at_ns,
                ended_ns,
                tuple(sorted({*needs, *carried.needs(position)})),
            )
        )
    return found


def sessions(inbound: Iterable[Exchange]) -> list[int]:
    """The session of each: exchanges are of one where they share a connection, a cookie or an
    authorization. A session is called by its first position."""
    first: dict[tuple[str, bytes], int] = {}
    joined: list[int] = []

    def root(position: int) -> int:
        while joined[position] != position:
            joined[position] = joined[joined[position]]
            position = joined[position]
        return position

    for position, exchange in enumerate(inbound):
        joined.append(position)
        for sign in _signs(exchange):
            one, other = root(first.setdefault(sign, position)), root(position)
            joined[max(one, other)] = min(one, other)
    return [root(position) for position in range(len(joined))]


def _signs(exchange: Exchange) -> Iterator[tuple[str, bytes]]:
    yield "connection", exchange.connection.id.encode()
    for field in exchange.http.request.fields:
        name = field.name.lower()
        if name == b"authorization":
            yield "authorization", field.value
        elif name == b"cookie":
            for pair in field.value.split(b";"):
                if len(pair.partition(b"=")[2]) >= _COOKIE_VALUE:
                    yield "cookie", pair.strip()


def needed(inbound: Sequence[Exchange]) -> Iterator[tuple[int, ...]]:
    """For each exchange the positions of those that first gave what its request carries.

    A value that only looks the same costs some concurrency and nothing else.
    """
    carried = {hash(word) for exchange in inbound for word in _words(exchange.http.request)}
    first: dict[int, tuple[int, int]] = {}
    for position, exchange in enumerate(inbound):
        http = exchange.http
        begin_ns = http.request.first_byte_at_ns
        words = {hash(word) for word in _words(http.request)}
        makers = (first[word] for word in words if word in first)
        yield tuple(sorted({place for place, end_ns in makers if end_ns <= begin_ns}))
        made = {hash(word) for word in _words(http.response)}
        if not is_safe(http.request.method):
            made |= words
        for word in made & carried:
            first.setdefault(word, (position, http.response.last_byte_at_ns))


def _words(message: HttpRequest | HttpResponse) -> Iterator[bytes]:
    if isinstance(message, HttpRequest):
        yield from _NUMBER.findall(message.target)
        yield from _long_words(message.target)
    else:
        # What a response counts, a later path may name.
        yield from _ANY_NUMBER.findall(message.content.data)
    for field in message.fields:
        if field.name.lower() not in _OF_THE_CLIENT:
            yield from _NUMBER.findall(field.value)
            yield from _long_words(field.value)
    yield from _long_words(message.content.data)


def _long_words(data: bytes) -> Iterator[bytes]:
    return (word for word in _WORD.findall(data) if len(word) >= _SHORT)


def chosen(inbound: Sequence[Exchange], only: Sequence[str], touched: Sequence[Touch]) -> list[int]:
    """Positions of the exchanges that `only` names, and of all that they depend on.

    Each of `only` is the beginning of an id, or a pattern for the path or for `METHOD path`, in
    which * stands for anything. Raises UsageError where it names nothing.
    """
    named: set[int] = set()
    for text in only:
        matching = [p for p, exchange in enumerate(inbound) if _is_named(exchange, text)]
        if not matching:
            raise UsageError(f"--only: no request of the recording is called '{text}'")
        named.update(matching)
    needed_too = set(named)
    paths: set[str] = set()
    above: set[str] = set()
    for position in range(len(touched) - 1, -1, -1):
        touch = touched[position]
        if position not in needed_too and not (
            touch.changes and (touch.path in above or not paths.isdisjoint(_above(touch.path)))
        ):
            continue
        needed_too.add(position)
        needed_too.update(touch.needs)
        paths.add(touch.path)
        above.update(_above(touch.path))
    return sorted(needed_too)


def _is_named(exchange: Exchange, text: str) -> bool:
    request = exchange.http.request
    target = request.target.decode("latin-1")
    path = origin_form(request.target)[0]
    if exchange.id.startswith(text) and len(text) >= _SHORT:
        return True
    wanted = (path, target, f"{request.method} {path}", f"{request.method} {target}")
    return any(fnmatchcase(each, text) for each in wanted)


def _above(path: str) -> Collection[str]:
    """The path and all that it lies below."""
    parts = path.split("/")
    return {"/".join(parts[:count]) for count in range(2, len(parts) + 1)}
