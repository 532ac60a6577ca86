"""Reads captures: classic pcap and pcapng, plain, gzip- or zstd-compressed, from a file or a pipe.

Blocks are walked one by one (their lengths form a chain), everything else of their headers is
gathered for a whole batch at once. The file is read into one buffer that is used again for the next
batch, so memory does not grow with the file; memory maps would, as their pages count as resident.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from pathlib import Path
from struct import Struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wiretape.agent.packets import I64, PacketBatch
from wiretape.agent.packets.columns import LINK
from wiretape.agent.sources.capture_input import CaptureError, CaptureInput, Waiting

__all__ = ["CaptureError", "CaptureFile", "open_capture"]

DEFAULT_BATCH_BYTES = 16 << 20
MAX_PACKET_BYTES = 8 << 20

_PCAP_MAGICS = {
    b"\xd4\xc3\xb2\xa1": ("<", 1000),
    b"\xa1\xb2\xc3\xd4": (">", 1000),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
    b"\xa1\xb2\x3c\x4d": (">", 1),
    b"\x34\xcd\xb2\xa1": ("<", 1000),  # Kuznetsov's variant, with a longer record header
    b"\xa1\xb2\xcd\x34": (">", 1000),
}
_KUZNETSOV = (b"\x34\xcd\xb2\xa1", b"\xa1\xb2\xcd\x34")
_SECTION, _INTERFACE, _PACKET, _SIMPLE, _ENHANCED = 0x0A0D0D0A, 1, 2, 3, 6
_LEAST_BYTES = {_SECTION: 28, _INTERFACE: 20, _PACKET: 32, _SIMPLE: 16, _ENHANCED: 32}
_OPTION_RESOLUTION, _OPTION_OFFSET = 9, 14
_LATEST_S = (1 << 63) // 1_000_000_000 - 1


class _Interface(NamedTuple):
    link_type: int
    snap_length: int
    units_per_second: int
    offset_s: int


def open_capture(
    name: str, batch_bytes: int = DEFAULT_BATCH_BYTES, waiting: Waiting | None = None
) -> "CaptureFile":
    """Opens the capture `name`, "-" for standard input. Raises CaptureError.

    A KeyboardInterrupt raised in `waiting` ends the capture where it is.
    """
    return CaptureFile(name, batch_bytes, waiting or nullcontext())


class CaptureFile:
    """One capture; `batches` walks it once. Close it, or use it in a `with`."""

    def __init__(self, name: str, batch_bytes: int, waiting: Waiting) -> None:
        self.name = name
        self._stack = ExitStack()
        try:
            if name == "-":
                stream = self._stack.enter_context(os.fdopen(os.dup(0), "rb"))
            else:
                stream = self._stack.enter_context(Path(name).open("rb"))  # noqa: SIM115
            self._stream = stream
            self._input = CaptureInput(stream, batch_bytes, waiting)
            self._stack.callback(self._input.release)
            self._input.need(4)
            if not self._input.end:
                raise self._input.failure or CaptureError("is empty")
            if not self._is_pcap() and not self._is_pcapng():
                raise CaptureError("is not a capture (pcap or pcapng)")
        except OSError as error:
            self.close()
            raise CaptureError(error.strerror or str(error)) from error
        except CaptureError:
            self.close()
            raise

    @property
    def size(self) -> int | None:
        """Bytes of the file, compressed as it is; None for what has no size, such as a pipe."""
        status = os.fstat(self._stream.fileno())
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    @property
    def position(self) -> int:
        """How many of them were read."""
        return self._stream.tell() if self.size is not None else self._input.base + self._input.end

    @property
    def paused(self) -> bool:
        """Whether the next batch may take a while: the capture still grows, and slowly."""
        return self._input.paused

    def close(self) -> None:
        """Lets go of the file and of the buffer; batches of it are not valid any more."""
        self._stack.close()

    def __enter__(self) -> "CaptureFile":
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def batches(self, first: int = 0) -> Iterator[PacketBatch]:
        """Batches of packets, numbered from `first`; a batch is valid until the next is asked for.

        Raises CaptureError at the place where reading must stop.
        """
        if self._is_pcapng():
            return _PcapngWalker(self._input, first).batches()
        magic = bytes(self._input.memory[:4])
        return self._pcap(first, *_PCAP_MAGICS[magic], magic in _KUZNETSOV)

    def _is_pcap(self) -> bool:
        return bytes(self._input.memory[:4]) in _PCAP_MAGICS

    def _is_pcapng(self) -> bool:
        return bytes(self._input.memory[:4]) == _SECTION.to_bytes(4, "big")

    def _pcap(
        self, first: int, order: str, ns_per_unit: int, kuznetsov: bool
    ) -> Iterator[PacketBatch]:
        source = self._input
        if not source.need(24):
            raise source.failure or CaptureError(f"cut in its file header, at byte {source.end}")
        snap_length, network = Struct(order + "II").unpack_from(source.memory, 16)
        link_type = network & 0x0FFFFFFF
        source.begin = 24
        header = 24 if kuznetsov else 16
        # The one loop over packets: everything that can be done for all at once is done after it.
        captured_at = Struct(order + "8xI").unpack_from
        max_bytes = max(min(snap_length, MAX_PACKET_BYTES), 1 << 18)
        while True:
            memory, position, end = source.memory, source.begin, source.end
            last = end - header
            starts: list[int] = []
            append = starts.append
            while position <= last:
                after = position + header + captured_at(memory, position)[0]
                if after > end:
                    break
                append(position)
                position = after
            headers = np.array(starts, np.int64)
            sound = headers[: _sound(source, headers, order, max_bytes)]
            if len(sound):
                batch = _pcap_batch(source, sound, first, order, ns_per_unit, header, link_type)
                first += len(sound)
                source.begin = position
                yield batch
            if len(sound) < len(headers):
                position = int(headers[len(sound)])
            if position <= last and (captured := captured_at(memory, position)[0]) > max_bytes:
                raise CaptureError(
                    f"packet {first + 1} at byte {source.base + position} claims "
                    f"{captured} bytes: the capture is damaged there"
                )
            if source.at_end or not source.fill():
                if source.failure:
                    raise source.failure
                if source.end > source.begin:
                    raise CaptureError(
                        f"cut in the middle of packet {first + 1}, "
                        f"which begins at byte {source.base + source.begin}"
                    )
                return


def _sound(source: CaptureInput, headers: I64, order: str, max_bytes: int) -> int:
    """How many packets come before the first that claims more than `max_bytes`."""
    if not len(headers):
        return 0
    damaged = _words(source, headers, 8, order) > max_bytes
    return int(damaged.argmax()) if damaged.any() else len(headers)


def _words(
    source: CaptureInput, starts: NDArray[np.int64], at: int, order: str
) -> NDArray[np.int64]:
    """A 32-bit field of every header, `at` bytes from its start."""
    size = len(source.array)
    view = np.ndarray((size - 3,), order + "u4", source.memory, 0, (1,))
    return view[starts + at].astype(np.int64)


def _pcap_batch(
    source: CaptureInput,
    starts: I64,
    first: int,
    order: str,
    ns_per_unit: int,
    header: int,
    link_type: int,
) -> PacketBatch:
    view = np.ndarray((len(source.array) - 15, 4), order + "u4", source.memory, 0, (1, 4))
    seconds, part, captured, wire = view[starts].astype(np.int64).T
    return PacketBatch(
        buffer=source.array,
        first=first,
        start=starts + header,
        captured=captured,
        wire=wire,
        at_ns=seconds * 1_000_000_000 + part * ns_per_unit,
        layer=np.full(len(starts), LINK + link_type),
    )


class _PcapngWalker:
    """Walks the blocks of a pcapng capture (draft-ietf-opsawg-pcapng §4)."""

    def __init__(self, source: CaptureInput, first: int) -> None:
        self._source = source
        self._first = first
        self._order = "<"
        self._interfaces: list[_Interface] = []
        self._rows: list[tuple[int, int]] = []
        """Block position and type of the packets of the batch."""

    def batches(self) -> Iterator[PacketBatch]:
        source = self._source
        while True:
            try:
                block = self._next_block()
            except CaptureError:
                yield from self._walked_packets()
                raise
            if block is None:
                if self._rows:
                    yield from self._walked_packets()
                    source.begin = self._walked
                if source.at_end or not source.fill():
                    break
                continue
            kind, position, length = block
            if position + length > source.end:
                yield from self._walked_packets()
                self._pass_over(position, length)
                continue
            if kind in (_ENHANCED, _SIMPLE, _PACKET):
                self._rows.append((position, kind))
            elif kind == _INTERFACE:
                self._add_interface(position, length)
            elif kind == _SECTION:
                if self._rows:
                    # The packets before it are read by their own section's byte order.
                    order, self._order = self._order, self._order_before
                    yield from self._walked_packets()
                    self._order = order
                self._interfaces = []
            self._walked = position + length
            if not self._rows:
                source.begin = self._walked
        if source.failure:
            raise source.failure
        if source.end > source.begin:
            raise CaptureError(
                f"cut in the middle of the block at byte {source.base + source.begin}, "
                f"after packet {self._first}"
            )

    _walked = 0
    _order_before = "<"

    def _next_block(self) -> tuple[int, int, int] | None:
        """(type, position, length) of the next whole block in the buffer."""
        source = self._source
        position = self._walked if self._rows else source.begin
        if source.end - position < 12:
            return None
        memory = source.memory
        kind = int.from_bytes(memory[position : position + 4], "little")
        if kind == _SECTION:
            self._order_before = self._order
            magic = bytes(memory[position + 8 : position + 12])
            if magic not in (b"\x4d\x3c\x2b\x1a", b"\x1a\x2b\x3c\x4d"):
                raise self._damage(position, "has no byte-order magic")
            self._order = "<" if magic[0] == 0x4D else ">"
        kind, length = Struct(self._order + "II").unpack_from(memory, position)
        if kind not in _LEAST_BYTES and length > len(memory):
            return kind, position, length  # larger than the buffer, but nobody needs what is in it
        if length < _LEAST_BYTES.get(kind, 12) or length % 4 or length > len(memory):
            raise self._damage(position, f"claims {length} bytes")
        if position + length > source.end:
            if kind == _SECTION:
                self._order = self._order_before
            return None
        return kind, position, length

    def _pass_over(self, position: int, length: int) -> None:
        """Reads on behind a block that the buffer cannot hold. Raises CaptureError."""
        source = self._source
        block_at = source.base + position
        source.begin = position
        while (held := source.end - source.begin) < length:
            length -= held
            source.begin = source.end
            if source.at_end or not source.fill():
                raise source.failure or CaptureError(
                    f"cut in the middle of the block at byte {block_at}, after packet {self._first}"
                )
        source.begin += length

    def _damage(self, position: int, what: str) -> CaptureError:
        place = self._source.base + position
        return CaptureError(f"the block at byte {place} {what}: the capture is damaged there")

    def _add_interface(self, position: int, length: int) -> None:
        memory, order = self._source.memory, self._order
        link_type, _, snap_length = Struct(order + "HHI").unpack_from(memory, position + 8)
        units, offset = 1_000_000, 0
        option = Struct(order + "HH")
        at, end = position + 16, position + length - 4
        while at + 4 <= end:
            code, size = option.unpack_from(memory, at)
            value = bytes(memory[at + 4 : at + 4 + size])
            if code == 0:
                break
            if code == _OPTION_RESOLUTION and value:
                exponent = value[0] & 0x7F
                units = 1 << exponent if value[0] & 0x80 else 10**exponent
            elif code == _OPTION_OFFSET and len(value) == 8:
                (offset,) = Struct(order + "q").unpack(value)
            at += 4 + (size + 3) // 4 * 4
        self._interfaces.append(_Interface(link_type, snap_length, units, offset))

    def _walked_packets(self) -> Iterator[PacketBatch]:
        """What was walked, as a batch. Raises CaptureError behind the last good packet."""
        if not self._rows:
            return
        positions, kinds = np.array(self._rows, np.int64).T
        order = self._order
        half = np.ndarray(
            (len(self._source.array) - 1,), order + "u2", self._source.memory, 0, (1,)
        )
        interface = np.where(
            kinds == _PACKET, half[positions + 8], _words(self._source, positions, 8, order)
        )
        interface = np.where(kinds == _SIMPLE, 0, interface)
        unknown = np.flatnonzero(interface >= len(self._interfaces)).tolist()
        good = unknown[0] if unknown else len(positions)
        self._rows = []
        if good:
            yield self._batch(positions[:good], kinds[:good] == _SIMPLE, interface[:good])
            self._first += good
        if unknown:
            raise self._damage(int(positions[good]), "names an unknown interface")

    def _batch(self, positions: I64, simple: NDArray[np.bool_], interface: I64) -> PacketBatch:
        """Packet blocks at `positions`, each with the number of its interface."""
        source, order = self._source, self._order
        length = _words(source, positions, 4, order)
        columns = np.array([(i.link_type, i.snap_length) for i in self._interfaces], np.int64)
        # A simple packet block has no captured length: it is the interface's snap length at most.
        wire = np.where(
            simple, interface_wire := _words(source, positions, 8, order),
            _words(source, np.where(simple, positions - 8, positions), 24, order),
        )  # fmt: skip
        snap = columns[interface, 1]
        limit = np.where(snap > 0, snap, MAX_PACKET_BYTES)
        captured = np.where(
            simple, np.minimum(interface_wire, limit),
            _words(source, np.where(simple, positions - 8, positions), 20, order),
        )  # fmt: skip
        start = positions + np.where(simple, 12, 28)
        captured = np.minimum(captured, positions + length - 4 - start)
        high = _words(source, positions, 12, order)
        low = _words(source, np.where(simple, positions - 4, positions), 16, order)
        at_ns = np.where(simple, 0, self._at_ns(interface, high, low))
        return PacketBatch(
            buffer=source.array,
            first=self._first,
            start=start,
            captured=captured,
            wire=np.maximum(wire, captured),
            at_ns=at_ns,
            layer=LINK + columns[interface, 0],
            interface=interface,
        )

    def _at_ns(self, interface: I64, high: I64, low: I64) -> I64:
        """Timestamps in the units of each packet's interface, as nanoseconds since the epoch.

        Those before it, or beyond what 63 bits hold, become the nearest that can be told.
        """
        units = high.astype(np.uint64) << np.uint64(32) | low.astype(np.uint64)
        at_ns = np.zeros(len(units), np.int64)
        for number in np.unique(interface).tolist():
            rows = interface == number
            per_second = self._interfaces[number].units_per_second
            if per_second <= 1_000_000_000:
                whole, part = np.divmod(units[rows], np.uint64(per_second))
            else:
                exact = units[rows].astype(object) * 1_000_000_000 // per_second
                whole, part = np.divmod(exact.astype(np.uint64), np.uint64(1_000_000_000))
                per_second = 1_000_000_000
            seconds = np.minimum(whole, np.uint64(_LATEST_S)).astype(np.int64)
            offset = min(max(self._interfaces[number].offset_s, -_LATEST_S), _LATEST_S)
            seconds = np.clip(seconds + offset, 0, _LATEST_S)
            at_ns[rows] = (
                seconds * 1_000_000_000 + part.astype(np.int64) * 1_000_000_000 // per_second
            )
        return at_ns
