"""JSON as values (RFC 8259), and the same bytes for the same value.

Floats are Decimals with every digit that was written. What two readers may take for different
values (a member that comes twice, NaN, invalid UTF-8) is no JSON here.
"""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

# A member that stands for a Decimal in canonical JSON; contents that have it are no JSON here.
_FRACTION = "\0"
# Beyond this a reader may see infinity or zero (IEEE 754 binary64).
_MAX_EXPONENT = 300


class _NotComparableError(ValueError):
    """JSON that two readers may take for different values."""


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _NotComparableError("a member comes twice")
    if _FRACTION in members:
        raise _NotComparableError("a member is called NUL")
    return members


def _no_constant(name: str) -> NoReturn:
    raise _NotComparableError(f"{name} is no JSON")


def _fraction(text: str) -> Decimal:
    value = Decimal(text)
    if value and abs(value.adjusted()) > _MAX_EXPONENT:
        raise _NotComparableError("an exponent is too large")
    return value


_DECODER = json.JSONDecoder(
    object_pairs_hook=_members, parse_float=_fraction, parse_constant=_no_constant
)


def parse_json(data: bytes) -> Any:
    """The value; floats are Decimals. ValueError where `data` is not unambiguous JSON in UTF-8."""
    try:
        return _DECODER.decode(data.decode())
    except RecursionError as error:
        raise _NotComparableError("nested too deeply") from error
    except InvalidOperation as error:
        raise _NotComparableError("an exponent is too large") from error


def canonical_json(value: Any) -> bytes:
    """The same bytes for equal values, other bytes for all others."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=_spell_float).encode()


def _spell_float(value: Decimal) -> dict[str, str]:
    # Decimal.normalize would round to the precision of its context.
    sign, digits, exponent = value.as_tuple()
    written = "".join(map(str, digits)).lstrip("0")
    kept = written.rstrip("0")
    if not kept:
        return {_FRACTION: "0"}
    assert isinstance(exponent, int)
    return {_FRACTION: f"{'-' * sign}{kept}e{exponent + len(written) - len(kept)}"}


def kind_of(value: Any) -> str:
    """What a JSON value is called; 1 and 1.0 are of two kinds."""
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


def show_json(value: Any) -> str:
    """A value for people."""
    if isinstance(value, Decimal):
        return str(value)
    return json.dumps(value, ensure_ascii=False, default=float)
