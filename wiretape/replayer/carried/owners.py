"""To whose session a request belongs, as far as the recording tells."""

from __future__ import annotations

import re

from wiretape.exchange.v1.exchange_pb2 import Exchange
from wiretape.replayer.carried.tokens import is_whole

_COOKIE = re.compile(rb"[^=;\s]+=\"?[^;\"]*")
_TELLING = frozenset([b"authorization", b"cookie"])


class Sessions:
    """Numbers sessions: by credentials and distinctive cookies, else by connection.

    A connection alone tells little, as a proxy's carries many clients; who is known by what he
    sends keeps his session on any connection.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, int] = {}
        self._anonymous: dict[str, int] = {}
        self._count = 0

    def of(self, exchange: Exchange) -> int:
        """The session of an exchange; they come in the order of their requests."""
        marks: list[bytes] = []
        http = exchange.http
        for field in http.request.fields:
            if (name := field.name.lower()) in _TELLING:
                marks += _marks(name, field.value)
        connection = exchange.connection.id
        session = None
        if marks:
            session = next((self._known[mark] for mark in marks if mark in self._known), None)
        if session is None:
            # Who shows something for the first time on his connection was its nobody until then.
            session = self._anonymous.pop(connection, None) if marks else None
            if session is None and not marks:
                session = self._anonymous.get(connection)
        if session is None:
            session = self._count
            self._count += 1
        if not marks:
            self._anonymous[connection] = session
        self._learn(marks, session)
        for field in http.response.fields:
            if field.name.lower() == b"set-cookie":
                self._learn(_marks(b"cookie", field.value.partition(b";")[0]), session)
        return session

    def _learn(self, marks: list[bytes], session: int) -> None:
        for mark in marks:
            self._known.setdefault(mark, session)


def _marks(name: bytes, value: bytes) -> list[bytes]:
    """What tells one client from others."""
    if name == b"authorization":
        return [value]
    pairs = _COOKIE.findall(value)
    return [pair for pair in pairs if is_whole(pair.partition(b"=")[2].decode("latin-1"))]
