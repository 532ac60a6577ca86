"""The rules file: TOML read with the line of what is wrong, and written for people to review."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

from wiretape.exchange import quantities
from wiretape.replayer.errors import UsageError
from wiretape.replayer.rules import ACTIONS, CLASSES, PARTS, PATHS, Rule, Rules, json_path_pattern

VERSION = 1
_NEEDS: dict[str, tuple[str, ...]] = {
    "mask": ("as", "pattern"),
    "tolerance": ("absolute", "relative", "within"),
    "rewrite": ("pattern", "to"),
}
_COMMON = ("endpoint", "evidence")


class _ProblemError(ValueError):
    """What is wrong with one rule, and at which key."""

    def __init__(self, message: str, key: str = "") -> None:
        super().__init__(message)
        self.key = key


def load_rules(path: Path) -> Rules:
    """The rules in a file; UsageError with its line for what is wrong in it."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        raise UsageError(f"--rules: {path}: {reason}") from None
    return parse_rules(text, str(path))


def parse_rules(text: str, source: str) -> Rules:
    """As load_rules, of a text that was read from `source`."""
    try:
        tables = tomllib.loads(text, parse_float=Decimal)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        at = re.search(r"line (\d+)", str(error))
        raise UsageError(f"{source}:{at[1] if at else 1}: {error}") from None
    lines = _Lines(text)
    rules: list[Rule] = []
    for action, entries in tables.items():
        if action == "version":
            if entries != VERSION or isinstance(entries, bool):
                raise UsageError(f"{source}:{lines.of_key('version')}: version is not {VERSION}")
            continue
        if action not in ACTIONS:
            known = ", ".join(ACTIONS)
            raise UsageError(f"{source}:{lines.of_key(action)}: unknown '{action}'; known: {known}")
        if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
            raise UsageError(f"{source}:{lines.of_key(action)}: write [[{action}]]")
        for number, entry in enumerate(entries):
            try:
                rule = _read_rule(action, entry, lines.of_table(action, number))
            except _ProblemError as problem:
                line = lines.of_key(problem.key, lines.of_table(action, number))
                raise UsageError(f"{source}:{line}: [[{action}]]: {problem}") from None
            rules.append(rule)
    rules.sort(key=lambda rule: rule.line)
    return Rules(tuple(rules), source)


class _Lines:
    """Where tables and keys stand, which tomllib does not tell; from 1."""

    def __init__(self, text: str) -> None:
        self._lines = text.splitlines()

    def of_table(self, action: str, number: int) -> int:
        header = re.compile(rf"\s*\[\[\s*[\"']?{re.escape(action)}[\"']?\s*\]\]")
        found = [at for at, line in enumerate(self._lines, 1) if header.match(line)]
        return found[number] if number < len(found) else self.of_key(action)

    def of_key(self, key: str, after: int = 1) -> int:
        """The first line from `after` on that begins with the key; else `after`."""
        if not key:
            return after
        begin = re.compile(rf"\s*\[*\s*[\"']?{re.escape(key)}\b")
        for at, line in enumerate(self._lines[after - 1 :], after):
            if begin.match(line):
                return at
        return after


def _read_rule(action: str, entry: dict[str, Any], line: int) -> Rule:
    own = _NEEDS.get(action, ())
    for key in entry:
        if key not in (*_COMMON, *PARTS, *own):
            known = f"{', '.join((*_COMMON, *own))}, and one of {', '.join(PARTS)}"
            raise _ProblemError(f"unknown key '{key}'; known: {known}", key)
    parts = [key for key in entry if key in PARTS]
    if len(parts) != 1:
        raise _ProblemError(
            f"needs exactly one place: {', '.join(PARTS)}", parts[1] if parts else ""
        )
    part = parts[0]
    for key in (*_COMMON, "as", "pattern", "to", "within", part):
        if key in entry and not isinstance(entry[key], str):
            raise _ProblemError(f"'{key}' is not text", key)
    name = entry[part]
    if part in PATHS:
        try:
            json_path_pattern(name)
        except ValueError as error:
            raise _ProblemError(str(error), part) from None
    elif not name:
        raise _ProblemError(f"'{part}' is empty; * is any", part)
    if action == "match" and part != "field":
        raise _ProblemError("only a field is left out by default", part)
    if action == "mask" and ("as" in entry) == ("pattern" in entry):
        raise _ProblemError("needs either as or pattern")
    if action == "rewrite" and not ("pattern" in entry and "to" in entry):
        raise _ProblemError("needs pattern and to")
    if action == "tolerance" and not any(key in entry for key in own):
        raise _ProblemError(f"needs one of {', '.join(own)}")
    _check_pattern(entry)
    as_class = entry.get("as", "")
    if as_class and as_class not in CLASSES:
        raise _ProblemError(f"'{as_class}' is no class; known: {', '.join(CLASSES)}", "as")
    return Rule(
        action,
        part,
        name.lower() if part in ("field", "trailer") else name,
        entry.get("endpoint", "**"),
        entry.get("evidence", ""),
        as_class,
        entry.get("pattern", ""),
        entry.get("to", ""),
        _limit(entry, "absolute"),
        _limit(entry, "relative"),
        _within_ns(entry),
        line,
    )


def _check_pattern(entry: dict[str, Any]) -> None:
    if "pattern" not in entry:
        return
    try:
        pattern = re.compile(entry["pattern"])
    except (re.error, RecursionError, OverflowError) as error:
        raise _ProblemError(
            f"'{entry['pattern']}' is no regular expression: {error}", "pattern"
        ) from None
    if "to" in entry:
        try:
            pattern.sub(entry["to"], "")
        except (re.error, IndexError) as error:
            raise _ProblemError(f"'{entry['to']}' cannot replace: {error}", "to") from None


def _limit(entry: dict[str, Any], key: str) -> Decimal | None:
    if key not in entry:
        return None
    value = entry[key]
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        limit = Decimal(value)
        if limit.is_finite() and limit >= 0:
            return limit
    raise _ProblemError(f"'{key}' is not a number from 0", key)


def _within_ns(entry: dict[str, Any]) -> int | None:
    if "within" not in entry:
        return None
    try:
        return quantities.parse_duration_ns(entry["within"])
    except ValueError as error:
        raise _ProblemError(str(error), "within") from None


def write_rules(rules: Iterable[Rule]) -> str:
    """The text of a rules file; reading it gives the same rules."""
    return f"version = {VERSION}\n" + "".join(f"\n{write_rule(rule)}" for rule in rules)


def write_rule(rule: Rule) -> str:
    """One table, ending in a line feed."""
    entries: list[tuple[str, str]] = []
    if rule.endpoint != "**":
        entries.append(("endpoint", _quote(rule.endpoint)))
    entries.append((rule.part, _quote(rule.name)))
    if rule.as_class:
        entries.append(("as", _quote(rule.as_class)))
    if rule.pattern:
        entries.append(("pattern", _quote(rule.pattern)))
    if rule.action == "rewrite":
        entries.append(("to", _quote(rule.to)))
    if rule.absolute is not None:
        entries.append(("absolute", f"{rule.absolute:f}"))
    if rule.relative is not None:
        entries.append(("relative", f"{rule.relative:f}"))
    if rule.within_ns is not None:
        entries.append(("within", _quote(f"{rule.within_ns // 10**6}ms")))
    if rule.evidence:
        entries.append(("evidence", _quote(rule.evidence)))
    return f"[[{rule.action}]]\n" + "".join(f"{key} = {value}\n" for key, value in entries)


def _quote(text: str) -> str:
    """A basic string (TOML 1.0): as JSON writes it, but for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
