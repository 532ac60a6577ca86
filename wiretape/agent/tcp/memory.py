"""What of a capture is remembered, by a measure that batches cannot change: the traffic itself.

Each packet weighs its payload and PACKET_WEIGHT. Sums of that weight say how far back delivered
bytes can still be compared with a retransmission, and when the bytes that wait are counted.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from wiretape.agent.packets import I64, Segments

PACKET_WEIGHT = 512
"""What keeping track of a packet may cost beside its payload."""
COMPARED_WEIGHT = 8 << 20
"""How much traffic may lie between a byte and its retransmission for them to be compared."""
CHECK_WEIGHT = 32 << 20
"""How much traffic lies between two looks at what all connections hold."""
MAX_HELD_BYTES = 128 << 20
"""What all connections together may hold when they are looked at."""


class _Stretch(NamedTuple):
    """Packets that came together, with the weight of the traffic up to and with each."""

    packets: I64
    weights: I64


class Traffic:
    """How much there was of it up to each of the latest packets."""

    def __init__(
        self,
        compared_weight: int = COMPARED_WEIGHT,
        check_weight: int = CHECK_WEIGHT,
        max_held_bytes: int = MAX_HELD_BYTES,
    ) -> None:
        self.max_held_bytes = max_held_bytes
        self._compared_weight = compared_weight
        self._check_weight = check_weight
        self._weight = 0
        self._stretches: deque[_Stretch] = deque()

    def parts(self, segments: Segments) -> Iterator[tuple[Segments, bool]]:
        """The segments, cut behind each packet at which what is held has to be counted (True)."""
        weights = np.cumsum(segments.length + PACKET_WEIGHT) + self._weight
        every = self._check_weight
        checks = np.flatnonzero(np.diff(weights // every, prepend=self._weight // every)) + 1
        first = 0
        for stop in [*checks.tolist(), len(weights)]:
            if stop > first:
                part = _Stretch(segments.packet[first:stop], weights[first:stop])
                self._stretches.append(part)
                self._weight = int(part.weights[-1])
                whole = stop - first == len(weights)
                yield segments if whole else _rows(segments, first, stop), stop in checks
                self._forget()
            first = stop

    def oldest_compared(self, packet: int) -> int:
        """The first packet whose bytes are compared with those of `packet`."""
        stretches = self._stretches
        for stretch in reversed(stretches):
            if stretch.packets[0] <= packet:
                place = int(np.searchsorted(stretch.packets, packet, "right")) - 1
                oldest = int(stretch.weights[place]) - self._compared_weight
                break
        else:
            return packet
        index = bisect_left(stretches, oldest, key=lambda s: int(s.weights[-1]))
        found = stretches[index]
        return int(found.packets[np.searchsorted(found.weights, oldest)])

    def _forget(self) -> None:
        """Lets go of stretches that no packet to come is compared with."""
        while len(self._stretches) > 1 and (
            self._stretches[0].weights[-1] < self._weight - self._compared_weight
        ):
            self._stretches.popleft()


def _rows(segments: Segments, first: int, stop: int) -> Segments:
    """Some of the rows; the buffer stays whole, since `start` counts in it."""
    columns: dict[str, Any] = {
        name: column[first:stop]
        for name, column in vars(segments).items()
        if isinstance(column, np.ndarray) and name != "buffer"
    }
    columns["same"] = tuple(column[first:stop] for column in segments.same)
    return replace(segments, **columns)
