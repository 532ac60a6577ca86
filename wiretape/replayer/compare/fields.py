"""Fields compared by what they mean (RFC 9110 §5), not by how they stand on the wire.

The order of fields with different names, the case of names, white space around the commas of a
list and how a list is split into field lines have no meaning; `field_values` knows what else has
none. A field too many or too few is a difference.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from wiretape.exchange.v1.exchange_pb2 import Field
from wiretape.replayer.compare.cookies import compare_set_cookies, cookie_pairs
from wiretape.replayer.compare.difference import Difference
from wiretape.replayer.compare.field_values import elements, normal_value
from wiretape.replayer.compare.order import pair
from wiretape.replayer.compare.view import View

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
_SECONDS = re.compile(r"\d{1,10}")

Groups = dict[str, list[str]]


@lru_cache(maxsize=4096)
def _lower_name(name: bytes) -> str:
    return name.decode("latin-1").lower()


def grouped(fields: Iterable[Field], left_out: frozenset[str]) -> Groups:
    """Values by lower-case name, in order, without what Connection names: that is the hop's."""
    groups: Groups = {}
    for field in fields:
        name, value = _lower_name(field.name), field.value.decode("latin-1")
        if name in groups:
            groups[name].append(value)
        else:
            groups[name] = [value]
    if "connection" in groups:
        for option in ",".join(groups["connection"]).split(","):
            groups.pop(option.strip().lower(), None)
    for name in left_out & groups.keys():
        del groups[name]
    return groups


def compare_fields(
    recorded: Iterable[Field],
    live: Iterable[Field],
    view: View,
    kind: str = "field",
    left_out: frozenset[str] = HOP_BY_HOP,
) -> list[Difference]:
    """Differences in the order of the recorded fields, then the additional live ones.

    `kind` is "field" or "trailer".
    """
    return compare_groups(grouped(recorded, left_out), grouped(live, left_out), view, kind)


def compare_groups(
    expected: Groups, actual: Groups, view: View, kind: str = "field"
) -> list[Difference]:
    """As compare_fields, of fields that are grouped already; leaves `actual` empty."""
    found: list[Difference] = []
    for name, values in expected.items():
        others = actual.pop(name, None)
        if values == others or (view.rules and view.ignores(kind, name)):
            continue
        if others is None:
            text = ", ".join(values)
            found.append(view.difference(kind, name, name, text, None, f"the {kind} is missing"))
        else:
            found += compare_values(name, values, others, view, kind)
    for name, others in actual.items():
        if not (view.rules and view.ignores(kind, name)):
            text = ", ".join(others)
            found.append(
                view.difference(kind, name, name, None, text, f"the {kind} was not recorded")
            )
    actual.clear()
    return found


def compare_values(
    name: str, recorded: list[str], live: list[str], view: View, kind: str
) -> list[Difference]:
    """Differences between the values that the field lines of one name have."""
    if name == "set-cookie":
        return compare_set_cookies(recorded, live, view, kind)
    if name == "cookie":
        return _compare_cookies(recorded, live, view, kind)
    expected, actual = normal_value(name, recorded), normal_value(name, live)
    if expected == actual:
        return []
    if name == "age":
        # How long ago an answer was stored depends on when the run asked for it.
        same = _SECONDS.fullmatch(expected) is not None and _SECONDS.fullmatch(actual) is not None
    elif view.rules and view.unordered(kind, name):
        same = _same_elements(name, expected, actual, view, kind)
    else:
        same = view.same_text(expected, actual, kind, name)
    if same:
        return []
    reason = f"the {kind} has another value"
    return [
        view.difference(
            kind,
            name,
            name,
            ", ".join(recorded),
            ", ".join(live),
            f"{reason}: {view.why}" if view.why else reason,
        )
    ]


def _compare_cookies(
    recorded: list[str], live: list[str], view: View, kind: str
) -> list[Difference]:
    found: list[Difference] = []
    left = cookie_pairs(live)
    for cookie, value in cookie_pairs(recorded):
        name = f"cookie: {cookie}"
        other = next((other for key, other in left if key == cookie), None)
        if other is not None:
            left.remove((cookie, other))
            if not view.same_text(value, other, kind, name):
                reason = f"another value: {view.why}" if view.why else "another value"
                found.append(view.difference(kind, name, name, value, other, reason))
        elif not view.ignores(kind, name):
            found.append(view.difference(kind, name, name, value, None, "the cookie is missing"))
    for cookie, other in left:
        name = f"cookie: {cookie}"
        if not view.ignores(kind, name):
            found.append(
                view.difference(kind, name, name, None, other, "the cookie was not recorded")
            )
    return found


def _same_elements(name: str, recorded: str, live: str, view: View, kind: str) -> bool:
    expected, actual = elements(recorded), elements(live)

    def same(index: int, other: int) -> bool:
        return view.same_text(expected[index], actual[other], kind, name)

    _, left, free = pair(len(expected), len(actual), same)
    return not left and not free
