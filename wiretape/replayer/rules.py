"""What people have agreed to about one service: a TOML file, reviewed and committed beside it.

Each rule is one table of an array that is named by what it does:

    [[ignore]]      nothing at this place counts, nor whether it is there
    [[mask]]        any two values of one class are the same: `as`, or a `pattern` for both
    [[unordered]]   the elements of this list may come in any order
    [[tolerance]]   numbers may differ by `absolute` or `relative`, times by `within`
    [[match]]       this field of an upstream call counts, though it is left out by default
    [[rewrite]]     what `pattern` finds is replaced by `to` on both sides before they are compared

and has an `endpoint` (that of a Place; * is a segment, ** any rest; all without it), one place that
is named by its part (`json = "$.items[*].price"`, `field = "x-trace"`), and, where it was
learned, the `evidence`. No rule can name a status, or a call that never came.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache

from wiretape.replayer.values.instants import read_instant
from wiretape.replayer.values.place import Place

ACTIONS = ("ignore", "mask", "unordered", "tolerance", "match", "rewrite")
# Parts of a message that a rule may name; the first two by a JSON path.
PATHS = ("json", "event")
PARTS = (
    *PATHS, "field", "trailer", "query", "path", "form", "multipart", "xml", "csv", "text",
    "content",
)  # fmt: skip

Value = str | int | Decimal | None

_UUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_TEXTS = {
    "boolean": re.compile(r"true|false"),
    "integer": re.compile(r"-?\d+"),
    "number": re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"),
    "token": re.compile(r"[A-Za-z0-9_=.~+/-]{8,}"),
    "uuid": re.compile(_UUID),
}
CLASSES = ("any", "boolean", "integer", "number", "string", "time", "token", "uuid")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; `line` is where it stands in its file, 0 where it has not been written yet."""

    action: str
    part: str
    name: str
    endpoint: str = "**"
    evidence: str = ""
    as_class: str = ""
    pattern: str = ""
    to: str = ""
    absolute: Decimal | None = None
    relative: Decimal | None = None
    within_ns: int | None = None
    line: int = 0

    def __str__(self) -> str:
        at = f"line {self.line}: " if self.line else ""
        return f"{at}{self.action} {self.part} {self.name} of {self.endpoint}"

    def accepts(self, recorded: Value, live: Value) -> bool:
        """Of a mask or a tolerance: whether the two values are the same."""
        if self.action == "tolerance":
            return self._near(recorded, live)
        if self.pattern:
            return all(re.fullmatch(self.pattern, str(value)) for value in (recorded, live))
        return _of_class(self.as_class, recorded) and _of_class(self.as_class, live)

    def _near(self, recorded: Value, live: Value) -> bool:
        if self.within_ns is not None:
            expected, actual = read_instant(str(recorded)), read_instant(str(live))
            if expected is None or actual is None or expected.syntax != actual.syntax:
                return False
            return abs(expected.at_ns - actual.at_ns) <= self.within_ns
        if isinstance(recorded, str) is not isinstance(live, str):
            return False
        try:
            before, now = _number(recorded), _number(live)
            if before is None or now is None:
                return False
            away = abs(before - now)
            if self.absolute is not None and away <= self.absolute:
                return True
            return self.relative is not None and away <= self.relative * abs(before)
        except ArithmeticError:  # beyond any exponent that Decimal knows
            return False


def _number(value: Value) -> Decimal | None:
    if isinstance(value, str):
        return Decimal(value) if _TEXTS["number"].fullmatch(value) else None
    return None if value is None else Decimal(value)


def _of_class(wanted: str, value: Value) -> bool:
    if wanted == "any":
        return True
    if isinstance(value, bool):
        return wanted == "boolean"
    if isinstance(value, int | Decimal):
        if wanted == "time":
            return read_instant(str(value)) is not None
        return wanted == "number" or (wanted == "integer" and isinstance(value, int))
    if value is None:
        return False
    if wanted == "string":
        return True
    if wanted == "time":
        return read_instant(value) is not None
    return _TEXTS[wanted].fullmatch(value) is not None


def value_class(values: Sequence[Value]) -> str:
    """The narrowest class of a mask that holds all values, "" where none does but `any`."""
    for name in ("boolean", "integer", "number", "uuid", "time"):
        if all(_of_class(name, value) for value in values):
            return name
    if not all(isinstance(value, str) for value in values):
        return ""
    # Words are tokens too, but what makes a token look random is its digits.
    if all(_of_class("token", v) and any(map(str.isdigit, str(v))) for v in values):
        return "token"
    return "string"


class RulesHere:
    """The rules that hold for one endpoint; false where there are none."""

    def __init__(self, rules: Iterable[Rule], used: set[Rule]) -> None:
        self._used = used
        self._rules: dict[str, list[tuple[re.Pattern[str], Rule]]] = {}
        self.matched: frozenset[str] = frozenset()
        for rule in rules:
            if rule.action == "match":
                self.matched |= {rule.name}
            pair = (_place_pattern(rule), rule)
            self._rules.setdefault(rule.part, []).append(pair)

    def __bool__(self) -> bool:
        return bool(self._rules)

    @property
    def all_used(self) -> bool:
        return all(rule in self._used for found in self._rules.values() for _, rule in found)

    def at(self, part: str, name: str) -> list[Rule]:
        """The rules for this place, in the order of their file; each counts as used."""
        found = [rule for where, rule in self._rules.get(part, ()) if where.fullmatch(name)]
        self._used.update(found)
        return found

    def judge(self, part: str, name: str, recorded: Value, live: Value) -> tuple[bool, str] | None:
        """Whether two values are the same, and by which rule or why not; None without a rule.

        Of several masks and tolerances one is enough.
        """
        refused = ""
        for rule in self.at(part, name):
            if rule.action == "ignore" or (
                rule.action in ("mask", "tolerance") and rule.accepts(recorded, live)
            ):
                return True, str(rule)
            if rule.action in ("mask", "tolerance"):
                refused = refused or str(rule)
        return (False, f"not accepted by the rule ({refused})") if refused else None

    def ignores(self, part: str, name: str) -> bool:
        return any(rule.action == "ignore" for rule in self.at(part, name))

    def unordered(self, part: str, name: str) -> bool:
        return any(rule.action == "unordered" for rule in self.at(part, name))

    def rewritten(self, part: str, name: str, recorded: str, live: str) -> tuple[str, str]:
        for rule in self.at(part, name):
            if rule.action == "rewrite":
                recorded, live = (
                    re.sub(rule.pattern, rule.to, recorded),
                    re.sub(rule.pattern, rule.to, live),
                )
        return recorded, live


NO_RULES = RulesHere((), set())


@dataclass(slots=True)
class Rules:
    """All rules of one run; false where there are none."""

    rules: Sequence[Rule] = ()
    source: str = ""
    _used: set[Rule] = field(default_factory=set)
    _here: dict[str, RulesHere] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.rules)

    def here(self, endpoint: str) -> RulesHere:
        """Those of one endpoint; only one side of its messages is ever compared."""
        found = self._here.get(endpoint)
        if found is None:
            rules = [r for r in self.rules if _endpoint_pattern(r.endpoint).fullmatch(endpoint)]
            found = self._here[endpoint] = RulesHere(rules, self._used)
        return found

    def at(self, place: Place) -> tuple[Rule, ...]:
        """The rules for one place, in the order of their file; each counts as used."""
        return tuple(self.here(place.endpoint).at(place.part, place.name))

    def unused(self) -> tuple[Rule, ...]:
        """Rules for places that nothing has asked about; what was recorded asks beforehand."""
        return tuple(rule for rule in self.rules if rule not in self._used)


@lru_cache(maxsize=4096)
def _endpoint_pattern(text: str) -> re.Pattern[str]:
    """* is one word or path segment, ** any rest."""
    pieces = re.split(r"(\*\*|\*)", text)
    wild = {"**": ".*", "*": r"[^/ ]+"}
    return re.compile("".join(wild.get(piece, re.escape(piece)) for piece in pieces), re.DOTALL)


def _place_pattern(rule: Rule) -> re.Pattern[str]:
    """What an `ignore` names includes all that lies below it."""
    if rule.part in PATHS:
        here, below = json_path_pattern(rule.name), r"(?:[.\[].*)?"
    else:
        name = rule.name.lower() if rule.part in ("field", "trailer") else rule.name
        here = "".join(
            ".*" if piece == "*" else re.escape(piece) for piece in re.split(r"(\*)", name)
        )
        below = r"(?:[:;/\[].*)?"
    return re.compile(here + (below if rule.action == "ignore" else ""), re.DOTALL)


PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_STEP = re.compile(
    r"""(\.\.)?(?:\.?([A-Za-z_][A-Za-z0-9_]*)|\.?(\*)|\[(\*)\]"""
    r"""|\['((?:[^'\\]|\\.)*)'\]|\[("(?:[^"\\]|\\.)*")\])"""
)
_ANY_MEMBER = r"""(?:\.[A-Za-z_][A-Za-z0-9_]*|\["(?:[^"\\]|\\.)*"\]|\['\*'\])"""
_ANY_INDEX = r"\[(?:\d+|\*)\]"


def spell_member(name: str) -> str:
    """One step of a JSON path into an object."""
    return f".{name}" if PLAIN_NAME.fullmatch(name) else f"[{json.dumps(name)}]"


def json_path_pattern(path: str) -> str:
    """A regular expression for the places that a JSON path names (RFC 9535, a part of it).

    Steps are .name, .* or ['*'] for any member, ['any name'], [*] for any element, and ..name for
    any depth. ValueError for anything else: an index, for one, says nothing of the next run.
    """
    if not path.startswith("$"):
        raise ValueError(f"'{path}' is no JSON path: it begins with $")
    made, at = [r"\$"], 1
    while at < len(path):
        step = _STEP.match(path, at)
        if step is None or (path[at] not in ".["):
            raise ValueError(
                f"'{path}': '{path[at:]}' is not .name, ['name'], .*, [*] or ..name (no indexes)"
            )
        deep, name, star, element, single, double = step.groups()
        if deep:
            made.append(f"(?:{_ANY_MEMBER}|{_ANY_INDEX})*")
        if single == "*" or star:
            made.append(_ANY_MEMBER)
        elif element:
            made.append(_ANY_INDEX)
        else:
            if single is not None:
                name = re.sub(r"\\(.)", r"\1", single)
            made.append(re.escape(spell_member(name if name is not None else json.loads(double))))
        at = step.end()
    return "".join(made)
