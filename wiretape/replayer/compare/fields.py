"""Fields compared by what they mean (RFC 9110 §5), not by how they stand on the wire.

The order of fields with different names, the case of names, white space around the commas of a
list and how a list is split into field lines have no meaning. A field too many or too few is a
difference.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from wiretape.exchange.v1.exchange_pb2 import Field
from wiretape.replayer.compare.difference import Difference, shorten
from wiretape.replayer.correlate import Judgement

# Of the connection, not of the message (RFC 9110 §7.6.1); the content is compared without framing.
HOP_BY_HOP = frozenset(
    [
        "connection",
        "content-length",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ]
)
_AROUND_MARK = re.compile(r"[ \t]*([,;])[ \t]*")


def grouped(fields: Iterable[Field], left_out: frozenset[str]) -> dict[str, list[str]]:
    """Values by lower-case name, in order, without what Connection names: that is the hop's."""
    groups: dict[str, list[str]] = {}
    for field in fields:
        name = field.name.decode("latin-1").lower()
        groups.setdefault(name, []).append(field.value.decode("latin-1"))
    for option in ",".join(groups.get("connection", ())).split(","):
        groups.pop(option.strip().lower(), None)
    for name in left_out:
        groups.pop(name, None)
    return groups


def compare_fields(
    recorded: Iterable[Field],
    live: Iterable[Field],
    judgement: Judgement,
    kind: str = "field",
    left_out: frozenset[str] = HOP_BY_HOP,
) -> list[Difference]:
    """Differences in the order of the recorded fields, then the additional live ones."""
    expected, actual = grouped(recorded, left_out), grouped(live, left_out)
    found: list[Difference] = []
    for name, values in expected.items():
        others = actual.pop(name, None)
        if others is None:
            found.append(_difference(kind, name, values, None, "is missing"))
        elif values != others and not _same(name, values, others, judgement):
            found.append(_difference(kind, name, values, others, "has another value"))
    for name, others in actual.items():
        found.append(_difference(kind, name, None, others, "was not recorded"))
    return found


def _same(name: str, recorded: list[str], live: list[str], judgement: Judgement) -> bool:
    if name == "set-cookie":
        # Not a list: its commas are part of the value (RFC 6265 §3).
        return len(recorded) == len(live) and all(map(judgement.same_text, recorded, live))
    return judgement.same_text(normal_value(name, recorded), normal_value(name, live))


def normal_value(name: str, values: list[str]) -> str:
    """The values of one field as one text, the same for whatever means the same."""
    value = _AROUND_MARK.sub(r"\1 ", ", ".join(values)).strip()
    # Type, subtype, parameter names and charsets have no case (RFC 9110 §8.3.1).
    if name == "content-type" and "boundary" not in value:
        return value.lower().replace('"', "")
    return value


def _difference(
    kind: str, name: str, expected: list[str] | None, actual: list[str] | None, reason: str
) -> Difference:
    return Difference(
        kind,
        name,
        None if expected is None else shorten(", ".join(expected)),
        None if actual is None else shorten(", ".join(actual)),
        f"the {kind} {reason}",
    )
