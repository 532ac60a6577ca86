"""Puts IP fragments together (RFC 791 §3.2, RFC 8200 §4.5), under limits."""

MAX_DATAGRAMS = 1024
MAX_DATAGRAM_BYTES = 1 << 16
MAX_HELD_BYTES = 16 << 20
"""Of all datagrams together; what overlaps counts as often as it came."""
_PIECE_BYTES = 100
"""What a piece costs besides its bytes."""
TIMEOUT_NS = 60_000_000_000
"""RFC 8200 §4.5: a datagram that is not whole after 60 s is given up."""


class _Datagram:
    __slots__ = ("first_at_ns", "length", "payload_bytes", "pieces")

    def __init__(self, first_at_ns: int) -> None:
        self.first_at_ns = first_at_ns
        self.pieces: dict[tuple[int, bytes], None] = {}
        """In the order in which they came."""
        self.length = -1
        """Bytes in all; -1 while the last fragment has not come."""
        self.payload_bytes = 0
        """Of all pieces; no fewer than it has been covered with."""

    @property
    def held_bytes(self) -> int:
        return self.payload_bytes + _PIECE_BYTES * len(self.pieces)

    def joined(self) -> bytes | None:
        """The whole of it, or None while bytes are missing. What came first stays."""
        if self.length < 0 or self.payload_bytes < self.length:
            return None
        reached = 0
        for offset, piece in sorted(self.pieces, key=lambda each: each[0]):
            if offset > reached:
                break
            reached = max(reached, offset + len(piece))
        if reached < self.length:
            return None
        whole = bytearray(reached)
        for offset, piece in reversed(self.pieces):
            whole[offset : offset + len(piece)] = piece
        return bytes(whole[: self.length])


class Defragmenter:
    """Keeps fragments by datagram; the oldest datagram gives way when there is too much.

    `incomplete` counts the datagrams that were given up.
    """

    def __init__(self) -> None:
        self._datagrams: dict[object, _Datagram] = {}
        self._held_bytes = 0
        self.incomplete = 0

    def add(self, key: object, offset: int, payload: bytes, more: bool, at_ns: int) -> bytes | None:
        """The whole payload once its last missing fragment came, else None."""
        datagram = self._datagrams.get(key)
        if datagram is not None and (
            at_ns - datagram.first_at_ns > TIMEOUT_NS or offset + len(payload) > MAX_DATAGRAM_BYTES
        ):
            self._give_up(key)
            datagram = None
        if offset + len(payload) > MAX_DATAGRAM_BYTES:
            return None
        if datagram is None:
            if len(self._datagrams) >= MAX_DATAGRAMS:
                self._give_up(next(iter(self._datagrams)))
            datagram = self._datagrams[key] = _Datagram(at_ns)
        if (offset, payload) not in datagram.pieces:
            datagram.pieces[offset, payload] = None
            datagram.payload_bytes += len(payload)
            self._held_bytes += len(payload) + _PIECE_BYTES
        if not more:
            datagram.length = offset + len(payload)
        whole = datagram.joined()
        if whole is not None:
            self._forget(key)
        while self._held_bytes > MAX_HELD_BYTES:
            self._give_up(next(iter(self._datagrams)))
        return whole

    def close(self) -> None:
        """Nothing more comes."""
        for key in list(self._datagrams):
            self._give_up(key)

    def _give_up(self, key: object) -> None:
        self.incomplete += 1
        self._forget(key)

    def _forget(self, key: object) -> None:
        self._held_bytes -= self._datagrams.pop(key).held_bytes
