"""The exchanges of a recording by number, read again whenever one is asked for."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

from wiretape.exchange.recording.reader import Location, RecordingReader
from wiretape.exchange.v1.exchange_pb2 import Exchange

# Blocks are some MiB; those who read in the order of the recording need one or two.
_BLOCKS = 8
# A recording that is not large is read some ten times in a run, and decoded once.
_DECODED_BYTES = 16 << 20


class Shelf:
    """Where each exchange lies; 16 bytes for each are kept, and the blocks that were read last."""

    def __init__(self, reader: RecordingReader) -> None:
        self._reader = reader
        self._places: list[tuple[int, int]] = []
        self._block_of = array("I")
        self._starts = array("I")
        self._ends = array("I")
        self._blocks: dict[int, bytes] = {}
        self._decoded: dict[int, Exchange] = {}
        self._decoded_bytes = 0

    def put(self, location: Location) -> None:
        """The next exchange lies there."""
        file, position, start, end = location
        if not self._places or self._places[-1] != (file, position):
            self._places.append((file, position))
        self._block_of.append(len(self._places) - 1)
        self._starts.append(start)
        self._ends.append(end)

    def __len__(self) -> int:
        return len(self._starts)

    def get(self, number: int) -> Exchange:
        """The exchange that was put there as that number; it is not to be changed."""
        exchange = self._decoded.get(number)
        if exchange is None:
            block = self._block(self._block_of[number])
            exchange = Exchange.FromString(block[self._starts[number] : self._ends[number]])
            self._decoded[number] = exchange
            self._decoded_bytes += self._ends[number] - self._starts[number]
            while self._decoded_bytes > _DECODED_BYTES and len(self._decoded) > 1:
                oldest = next(iter(self._decoded))
                del self._decoded[oldest]
                self._decoded_bytes -= self._ends[oldest] - self._starts[oldest]
        return exchange

    def _block(self, number: int) -> bytes:
        block = self._blocks.pop(number, None)
        if block is None:
            block = self._reader.read_block(*self._places[number])
        self._blocks[number] = block
        if len(self._blocks) > _BLOCKS:
            del self._blocks[next(iter(self._blocks))]
        return block


class ShelfView(Sequence[Exchange]):
    """Some of the exchanges of a shelf, in an order of their own."""

    def __init__(self, shelf: Shelf, numbers: Iterable[int]) -> None:
        self._shelf = shelf
        self._numbers = array("I", numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, place: int) -> Exchange: ...
    @overload
    def __getitem__(self, place: slice) -> ShelfView: ...
    def __getitem__(self, place: int | slice) -> Exchange | ShelfView:
        if isinstance(place, slice):
            return ShelfView(self._shelf, self._numbers[place])
        return self._shelf.get(self._numbers[place])

    def __iter__(self) -> Iterator[Exchange]:
        return map(self._shelf.get, self._numbers)
