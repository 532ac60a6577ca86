"""Where in an exchange a value stands, the same for all exchanges of one kind."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from wiretape.replayer.values.tokens import shape

# Segments that count or number something: digits, or digits behind a short prefix (ORD-17).
_NUMBERED = re.compile(r"(?:[A-Za-z]{1,8}[-_])?[0-9]+")


class Place(NamedTuple):
    """A kind of place: what is learned at one exchange counts for all exchanges of its endpoint.

    `endpoint` is `METHOD /path`, each generated segment as `*`; of an upstream call the upstream's
    name stands before it. `side` is request or response. `part` is status, field, trailer, json,
    form, text, path, query, xml, …; `name` the field's name in lower case, the JSON path with `[*]`
    for indexes and `['*']` for generated member names, or the parameter's name.
    """

    endpoint: str
    side: str
    part: str
    name: str


NOWHERE = Place("", "", "", "")


@lru_cache(16384)
def _segment(text: str) -> str:
    return "*" if _NUMBERED.fullmatch(text) else shape(text)


def endpoint_of(method: str, path: str, upstream: str = "") -> str:
    """The endpoint of a request to `path` (without query), as in `Place`."""
    endpoint = f"{method} {'/'.join(map(_segment, path.split('/')))}"
    return f"{upstream} {endpoint}" if upstream else endpoint
