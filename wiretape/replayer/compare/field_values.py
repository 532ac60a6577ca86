"""What a field's value means, as one text that is the same for whatever means the same (RFC 9110).

Most fields keep every character, but for white space around the commas and semicolons of lists and
parameters (§5.6). The tables below say of which fields more is known: sets, directives,
preferences, parameters. An order that could have a meaning is kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache

_ELEMENT = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*"?)+')
_PARAMETER = re.compile(r'(?:[^;"]|"(?:[^"\\]|\\.)*"?)+')
_AROUND_MARK = re.compile(r'("(?:[^"\\]|\\.)*")|[ \t]*([,;])[ \t]*')
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_WEIGHT = re.compile(r"q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)")

# Sets of names without case: order and repeats have no meaning.
_SETS = frozenset(
    [
        "accept-ranges",
        "access-control-allow-headers",
        "access-control-expose-headers",
        "access-control-request-headers",
        "clear-site-data",
        "content-language",
        "vary",
    ]
)
# Sets whose members have a case: methods, media types.
_CASED_SETS = frozenset(["accept-patch", "accept-post", "access-control-allow-methods", "allow"])
# Directives in any order, their names without case.
_DIRECTIVES = frozenset(
    [
        "cache-control",
        "cdn-cache-control",
        "pragma",
        "prefer",
        "preference-applied",
        "surrogate-control",
    ]
)
# Preferences by weight; the order is kept, as some recipients prefer what comes first.
_PREFERENCES = frozenset(["accept", "accept-charset", "accept-encoding", "accept-language"])
# Lists in which the parameters of each element have no order.
_PARAMETERS = frozenset(["content-disposition", "forwarded", "link"])
_CREDENTIALS = frozenset(["authorization", "proxy-authorization"])


def normal_value(name: str, values: list[str]) -> str:
    """The values of one field as one text, the same for whatever means the same."""
    value = ", ".join(values) if len(values) > 1 else values[0]
    read = _READERS.get(name)
    return (read or _spaced)(value).strip()


def elements(value: str) -> list[str]:
    """The elements of a list (RFC 9110 §5.6.1); empty ones have no meaning."""
    return [text for found in _ELEMENT.findall(value) if (text := found.strip(" \t"))]


def parameters(element: str) -> tuple[str, list[tuple[str, str | None]]]:
    """What stands before the first semicolon, and the parameters (RFC 9110 §5.6.6).

    Names are in lower case; a value is without quotes, None where there is no `=`.
    """
    pieces = [text for found in _PARAMETER.findall(element) if (text := found.strip(" \t"))]
    first = pieces.pop(0) if pieces and not element.lstrip(" \t").startswith(";") else ""
    found: list[tuple[str, str | None]] = []
    for piece in pieces:
        name, equals, value = piece.partition("=")
        found.append((name.strip(" \t").lower(), unquoted(value.strip(" \t")) if equals else None))
    return first, found


def unquoted(text: str) -> str:
    """The text that a quoted string stands for (RFC 9110 §5.6.4)."""
    match = _QUOTED.fullmatch(text)
    return re.sub(r"\\(.)", r"\1", match[1]) if match else text


@lru_cache(maxsize=1024)
def parse_media_type(value: str) -> tuple[str, Mapping[str, str]]:
    """Type and subtype in lower case, and the parameters by name (RFC 9110 §8.3.1)."""
    kind, found = parameters(value)
    return kind.lower(), {name: text or "" for name, text in found}


def _spaced(value: str) -> str:
    if "," not in value and ";" not in value:
        return value
    return _AROUND_MARK.sub(lambda match: match[1] or f"{match[2]} ", value)


def _quoted(text: str) -> str:
    """A parameter's value as a token where it can be one."""
    return text if _TOKEN.fullmatch(text) else f'"{text}"'


def _spell(name: str, value: str | None) -> str:
    return name if value is None else f"{name}={_quoted(value)}"


def _set(value: str) -> str:
    return ", ".join(sorted({element.lower() for element in elements(value)}))


def _cased_set(value: str) -> str:
    return ", ".join(sorted(set(elements(value))))


def _directives(value: str) -> str:
    spelled = []
    for element in elements(value):
        name, equals, argument = element.partition("=")
        spelled.append(_spell(name.strip().lower(), unquoted(argument.strip()) if equals else None))
    return ", ".join(sorted(spelled))


def _transport_security(value: str) -> str:
    found = parameters(f";{value}")[1]
    return "; ".join(sorted(_spell(name, text) for name, text in found))


def _preferences(value: str) -> str:
    return ", ".join(map(_preference, elements(value)))


def _preference(element: str) -> str:
    kind, found = parameters(element)
    spelled = sorted(_spell(name, text) for name, text in found if name != "q")
    for name, text in found:
        if name != "q":
            continue
        match = _WEIGHT.fullmatch(f"q={text}")
        weight = match[1].rstrip("0").rstrip(".") if match and "." in match[1] else text or ""
        if weight != "1":
            spelled.append(f"q={weight}")
    return "; ".join([kind.lower(), *spelled])


def _content_type(value: str) -> str:
    kind, found = parse_media_type(value)
    spelled = [
        _spell(name, text.lower() if name == "charset" else text)
        for name, text in found.items()
        # A boundary is chosen anew for each content.
        if name != "boundary" or not kind.startswith("multipart/")
    ]
    return "; ".join([kind, *sorted(spelled)])


def _parameters(value: str) -> str:
    spelled = []
    for element in elements(value):
        first, found = parameters(element)
        if "=" in first and not first.startswith("<"):
            # Forwarded has nothing before its first pair.
            _, found = parameters(f";{element}")
            first = ""
        rest = sorted(_spell(name, text) for name, text in found)
        spelled.append("; ".join([first, *rest] if first else rest))
    return ", ".join(spelled)


def _credentials(value: str) -> str:
    scheme, space, rest = value.partition(" ")
    return f"{scheme.lower()}{space}{rest}"


def _lower(value: str) -> str:
    return ", ".join(element.lower() for element in elements(value))


_READERS: dict[str, Callable[[str], str]] = {
    **dict.fromkeys(_SETS, _set),
    **dict.fromkeys(_CASED_SETS, _cased_set),
    **dict.fromkeys(_DIRECTIVES, _directives),
    **dict.fromkeys(_PREFERENCES, _preferences),
    **dict.fromkeys(_PARAMETERS, _parameters),
    **dict.fromkeys(_CREDENTIALS, _credentials),
    "content-encoding": _lower,
    "content-type": _content_type,
    "strict-transport-security": _transport_security,
}
