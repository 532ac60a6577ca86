"""Where in an exchange a value stands, the same for all exchanges of one kind."""

from __future__ import annotations

import re
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


def endpoint_of(method: str, path: str, upstream: str = "") -> str:
    """The endpoint of a request to `path` (without query), as in `Place`."""
    segments = ["*" if _NUMBERED.fullmatch(part) else shape(part) for part in path.split("/")]
    endpoint = f"{method} {'/'.join(segments)}"
    return f"{upstream} {endpoint}" if upstream else endpoint
