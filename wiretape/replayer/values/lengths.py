"""How long contents are that are told of and not sent: Content-Length of HEAD and 304.

Such a length is that of the content that a GET of the same target is answered with (RFC 9110
§8.6). Where a build spells the same content in other bytes, the GETs of the run say how long it is.
"""

from __future__ import annotations

from wiretape.exchange.content import field_value
from wiretape.exchange.v1.exchange_pb2 import HttpRequest, HttpResponse


class Lengths:
    """Lengths of contents that were accepted as the same, recorded and live, by recorded target."""

    def __init__(self) -> None:
        self._pairs: dict[bytes, set[tuple[str, str]]] = {}

    def add(self, target: bytes, recorded: int, live: int) -> None:
        """A GET was answered with the same content, of these lengths without coding."""
        self._pairs.setdefault(target, set()).add((str(recorded), str(live)))

    def knows(self, target: bytes, recorded: str, live: str) -> bool:
        """Whether a content of the one length was one of the other length in this run."""
        return (recorded, live) in self._pairs.get(target, ())


def tells_length(request: HttpRequest, response: HttpResponse) -> bool:
    """Whether a response tells how long a content is that it does not send."""
    unsent = request.method == "HEAD" or response.status == 304
    return unsent and bool(field_value(response.fields, b"content-length"))
