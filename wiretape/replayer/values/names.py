"""What the name of a value says: that it identifies something, measures time, or is a digest.

Names are those of JSON members, fields, parameters and path segments. An identifier is one of an
entity: `order_id`, the `id` of what `/orders` answers and the segment after it all name an order.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
# The last member of a JSON path; a decoded composite continues it after #.
_MEMBER = re.compile(r"(?:[.#]|\[['\"]|^)([^.\[\]'\"#?$*]+)(?:['\"]\])?(?:\[\*\]|\[\d+\])*$")
_MEMBERS = re.compile(r"[^.\[\]'\"#?$*]+")

_IDENTIFIERS = frozenset(["id", "ids", "key", "oid", "pk", "sub", "uid"])
_NUMBERS = frozenset(
    [
        "booking", "invoice", "no", "nr", "number", "receipt", "ref", "reference", "seq",
        "sequence", "serial", "ticket",
    ]
)  # fmt: skip
# A name with one of these counts, measures or limits something, whatever its other words say.
_QUANTITIES = frozenset(
    [
        "age", "amount", "average", "avg", "balance", "cents", "code", "cost", "count", "fee",
        "hits", "length", "level", "limit", "line", "max", "maximum", "min", "minimum", "of",
        "page", "percent", "phone", "points", "port", "price", "qty", "quantity", "rank", "rate",
        "remaining", "revision", "score", "size", "status", "stock", "sum", "tax", "total",
        "version", "weight", "year",
    ]
)  # fmt: skip
# These say nothing of what is identified.
_MODIFIERS = frozenset(["current", "first", "last", "latest", "new", "next", "old", "prev", "x"])
_WRAPPERS = frozenset(
    [
        "attributes", "content", "data", "edge", "embedded", "entity", "item", "list", "node",
        "object", "payload", "record", "resource", "response", "result", "value",
    ]
)  # fmt: skip
# Where a page begins or ends, said by what it comes after or before.
_POSITIONS = frozenset(
    ["after", "before", "cursor", "last", "marker", "next", "prev", "previous", "since", "until"]
)
_TAKEN = frozenset(["took", "elapsed", "runtime", "duration", "dur", "latency", "timing"])
_TIMED = frozenset(
    ["exec", "execution", "process", "processing", "query", "render", "request", "response", "run"]
)
UNITS_NS = {
    "ns": 1, "nanos": 1, "nanoseconds": 1,
    "us": 10**3, "µs": 10**3, "μs": 10**3, "micros": 10**3, "microseconds": 10**3,
    "ms": 10**6, "millis": 10**6, "milliseconds": 10**6, "msec": 10**6,
    "s": 10**9, "sec": 10**9, "secs": 10**9, "second": 10**9, "seconds": 10**9,
}  # fmt: skip
# What a value is that changes as time passes; the second pattern is for names with a unit.
_CLOCKS = (
    (
        "reset",
        re.compile(r"\bresets?(?: (?:in|after|at|on|time|date))?$|\bretry (?:in|after)$"),
        re.compile(r"wait$"),
    ),
    (
        "left",
        re.compile(
            r"\b(?:(?:expir(?:es?|y|ation)|refresh|renews?|valid|available) in|valid for|ttl"
            r"|time to live|max ?age|time (?:left|remaining)|remaining (?:time|ttl|life|lifetime))$"
        ),
        re.compile(r"\b(?:left|remaining)$|\buntil \w+$"),
    ),
    ("uptime", re.compile(r"\bup ?time$"), re.compile(r"\bup$")),
    ("age", re.compile(r"(?!)"), re.compile(r"\b(?:age|idle|ago|since)$")),
)
_STARTS = frozenset(["start", "started", "startup", "boot", "booted", "launched", "running", "up"])
_AT = frozenset(["at", "on", "since", "time", "timestamp", "ts", "date"])
_CASE = re.compile(r"([a-z0-9])([A-Z])")
_DIGESTS = re.compile(
    r"(?:^|[^a-z])(?:etag|digest|checksum|hash|content-md5|md5|sha-?(?:1|224|256|384|512)|crc32c?)$"
)


@lru_cache(4096)
def words_of(name: str) -> tuple[str, ...]:
    """The words of a name in lower case: orderId, order-id and order_id are alike."""
    return tuple(word.lower() for word in _WORDS.findall(name))


@lru_cache(4096)
def singular(word: str) -> str:
    """One form for a word and its plural; it need not be a word itself."""
    word = word.lower()
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "ches", "shes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


@lru_cache(16384)
def member_of(name: str) -> str:
    """The last member of a JSON path; any other name as it is."""
    match = _MEMBER.search(name)
    return match[1] if match else name


@lru_cache(16384)
def entities_of(endpoint: str, name: str) -> tuple[str, ...]:
    """What a number of this name identifies: families, the likeliest first; () for a quantity.

    `order` is an order by its id, `order#number` by its number.
    """
    match = _MEMBER.search(name)
    words = words_of(match[1]) if match else ()
    if match is None or not words:
        return ()
    last = words[-1]
    if last not in _IDENTIFIERS:
        if not _QUANTITIES.isdisjoint(words):
            return ()
        if last not in _NUMBERS:
            # {"order": 17} refers to one order; {"orders": 17} counts them.
            return (last,) if singular(last) == last else ()
    suffix = f"#{last}" if last in _NUMBERS else ""
    if named := [word for word in words[:-1] if word not in _MODIFIERS]:
        return (singular(named[-1]) + suffix,)
    # What is decoded stands by itself, whatever holds it.
    path = name[: match.start() + 1].rpartition("#")[2]
    return tuple(entity + suffix for entity in _around(path, endpoint))


@lru_cache(16384)
def is_identifier(name: str) -> bool:
    """Whether the name says by itself that its value identifies something."""
    match = _MEMBER.search(name)
    words = words_of(match[1]) if match else ()
    if not words or words[-1] in _IDENTIFIERS:
        return bool(words)
    return words[-1] in _NUMBERS and _QUANTITIES.isdisjoint(words)


@lru_cache(4096)
def is_position(name: str) -> bool:
    """Whether the name says where in a list a page begins; decoded values may have no name."""
    words = words_of(member_of(name))
    return name.endswith("#[*]") or (
        bool(words) and words[-1] in _POSITIONS and _QUANTITIES.isdisjoint(words)
    )


def _around(path: str, endpoint: str) -> tuple[str, ...]:
    """What an object is, by the member that holds it; else by what its endpoint is about."""
    found: list[str] = []
    for member in reversed(_MEMBERS.findall(path)):
        word = singular((words_of(member) or ("data",))[-1])
        if word not in _WRAPPERS:
            return (*found, word)
        if word == "item":
            # The items of an order, or merely those of a list of orders.
            found.append(word)
    return (*found, *collections_of(endpoint))


@lru_cache(4096)
def collections_of(endpoint: str) -> tuple[str, ...]:
    """What `POST /customers/*/orders` is about: order first, then customer."""
    path = endpoint.rpartition(" ")[2]
    segments = [segment for segment in path.split("/") if segment]
    found: list[str] = []
    for segment, after in pairwise([*segments, ""]):
        words = words_of(segment)
        if words and after in ("", "*"):
            found.insert(0, singular(words[-1]))
    return tuple(found[:2])


@lru_cache(4096)
def duration_unit_ns(name: str) -> int | None:
    """The unit in ns where the name says that its value is a duration; 0: but not in which unit."""
    match = _MEMBER.search(name)
    words = words_of(match[1]) if match else ()
    unit_ns = 0
    if words and words[-1] in UNITS_NS:
        unit_ns = UNITS_NS[words[-1]]
        words = words[:-1]
    if words and words[-1] in ("in", "per"):
        words = words[:-1]
    if not words:
        return None
    if words[-1] in _TAKEN or (words[-1] == "time" and not _TIMED.isdisjoint(words)):
        return unit_ns
    return None


class Clock(NamedTuple):
    """That a value changes as time passes: what is left (`left`; `reset` of a limit), or for how
    long something has been so (`age`; `uptime` of the build). Without a unit it is in seconds."""

    kind: str
    unit_ns: int


@lru_cache(4096)
def clock_of(name: str) -> Clock | None:
    """None where the name says no such thing."""
    match = _MEMBER.search(name)
    words = words_of(match[1]) if match else ()
    units = [word for word in (*words[-2:], *words[:1]) if word in UNITS_NS]
    spelled = " ".join(word for word in words if word not in UNITS_NS)
    for kind, by_itself, with_unit in _CLOCKS:
        if by_itself.search(spelled) or (units and with_unit.search(spelled)):
            return Clock(kind, UNITS_NS[units[0]] if units else UNITS_NS["s"])
    return None


@lru_cache(4096)
def is_start(name: str) -> bool:
    """Whether the name says of an instant that something, perhaps the build, was started then."""
    words = words_of(member_of(name))
    return not _STARTS.isdisjoint(words[-2:]) and words[-1] in _STARTS | _AT


@lru_cache(4096)
def is_digest(name: str) -> bool:
    """Whether the name says that its value was made of other bytes."""
    match = _MEMBER.search(name)
    if match is None:
        return False
    spelled = _CASE.sub(r"\1-\2", match[1]).lower().replace("_", "-")
    return _DIGESTS.search(spelled) is not None
