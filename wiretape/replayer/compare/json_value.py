"""JSON compared as values (RFC 8259): order of members and white space have no meaning.

Numbers are exact: 1 and 1.0 differ in kind, 1.0 and 1.00 do not differ, nothing is rounded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NoReturn

from wiretape.replayer.compare.difference import Difference, shorten
from wiretape.replayer.correlate import Judgement

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class _NotComparableError(ValueError):
    """JSON that two readers may take for different values."""


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _NotComparableError("a member comes twice")
    return members


def _no_constant(name: str) -> NoReturn:
    raise _NotComparableError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_members, parse_float=Decimal, parse_constant=_no_constant
)


def parse_json(data: bytes) -> Any:
    """The value; floats are Decimals. ValueError where `data` is not unambiguous JSON in UTF-8."""
    try:
        return _DECODER.decode(data.decode())
    except RecursionError as error:
        raise _NotComparableError("nested too deeply") from error


def canonical_json(value: Any) -> bytes:
    """The same bytes for equal values, other bytes for all others."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=_spell_float).encode()


def _spell_float(value: Decimal) -> dict[str, str]:
    return {"": str(value.normalize())}


def compare_json(recorded: Any, live: Any, judgement: Judgement) -> list[Difference]:
    """Differences at their JSON paths, in the order of the recorded members."""
    return list(_compare("$", recorded, live, judgement))


def _compare(path: str, recorded: Any, live: Any, judgement: Judgement) -> Iterator[Difference]:
    if type(recorded) is not type(live):
        yield _difference(path, recorded, live, f"{_kind(recorded)} became {_kind(live)}")
    elif isinstance(recorded, dict):
        yield from _compare_members(path, recorded, live, judgement)
    elif isinstance(recorded, list):
        for index, (expected, actual) in enumerate(zip(recorded, live, strict=False)):
            yield from _compare(f"{path}[{index}]", expected, actual, judgement)
        both = min(len(recorded), len(live))
        for index, value in enumerate(recorded[both:], both):
            yield _missing(f"{path}[{index}]", value, "the element is missing")
        for index, value in enumerate(live[both:], both):
            yield _added(f"{path}[{index}]", value, "the element was not recorded")
    elif isinstance(recorded, str):
        if not judgement.same_text(recorded, live):
            yield _difference(path, recorded, live, "another string")
    elif recorded != live and (
        isinstance(recorded, bool) or not judgement.same_number(recorded, live)
    ):
        yield _difference(path, recorded, live, f"another {_kind(recorded)}")


def _compare_members(
    path: str, recorded: dict[str, Any], live: dict[str, Any], judgement: Judgement
) -> Iterator[Difference]:
    added = [name for name in live if name not in recorded]
    for name, value in recorded.items():
        place = f"{path}.{name}" if _NAME.fullmatch(name) else f"{path}[{json.dumps(name)}]"
        if name in live:
            yield from _compare(place, value, live[name], judgement)
            continue
        # A member may be named by a generated value.
        renamed = next((other for other in added if judgement.same_text(name, other)), None)
        if renamed is None:
            yield _missing(place, value, "the member is missing")
        else:
            added.remove(renamed)
            yield from _compare(place, value, live[renamed], judgement)
    for name in added:
        place = f"{path}.{name}" if _NAME.fullmatch(name) else f"{path}[{json.dumps(name)}]"
        yield _added(place, live[name], "the member was not recorded")


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case Decimal():
            return "fraction"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def _show(value: Any) -> str:
    if isinstance(value, Decimal):
        return str(value)
    return shorten(json.dumps(value, ensure_ascii=False, default=float))


def _difference(path: str, recorded: Any, live: Any, reason: str) -> Difference:
    return Difference("json", path, _show(recorded), _show(live), reason)


def _missing(path: str, recorded: Any, reason: str) -> Difference:
    return Difference("json", path, _show(recorded), None, reason)


def _added(path: str, live: Any, reason: str) -> Difference:
    return Difference("json", path, None, _show(live), reason)
