"""Puts IP fragments together (RFC 791 §3.2, RFC 8200 §4.5), under limits."""

from dataclasses import dataclass, field

MAX_DATAGRAMS = 1024
MAX_DATAGRAM_BYTES = 1 << 16
TIMEOUT_NS = 60_000_000_000
"""RFC 8200 §4.5: a datagram that is not whole after 60 s is given up."""


@dataclass
class _Datagram:
    first_at_ns: int
    pieces: dict[int, bytes] = field(default_factory=dict)
    length: int = -1


class Defragmenter:
    """Keeps fragments by datagram; the oldest datagram gives way when there are too many."""

    def __init__(self) -> None:
        self._datagrams: dict[object, _Datagram] = {}

    def add(self, key: object, offset: int, payload: bytes, more: bool, at_ns: int) -> bytes | None:
        """The whole payload once its last missing fragment came, else None.

        Of bytes sent twice the first arrival is kept.
        """
        datagram = self._datagrams.get(key)
        if datagram is None or at_ns - datagram.first_at_ns > TIMEOUT_NS:
            if len(self._datagrams) >= MAX_DATAGRAMS:
                del self._datagrams[next(iter(self._datagrams))]
            datagram = self._datagrams[key] = _Datagram(at_ns)
        if offset + len(payload) > MAX_DATAGRAM_BYTES:
            del self._datagrams[key]
            return None
        datagram.pieces.setdefault(offset, payload)
        if not more:
            datagram.length = offset + len(payload)
        whole = _joined(datagram)
        if whole is not None:
            del self._datagrams[key]
        return whole


def _joined(datagram: _Datagram) -> bytes | None:
    if datagram.length < 0:
        return None
    whole = bytearray()
    for offset in sorted(datagram.pieces):
        if offset > len(whole):
            return None
        whole += datagram.pieces[offset][len(whole) - offset :]
    return bytes(whole[: datagram.length]) if len(whole) >= datagram.length else None
