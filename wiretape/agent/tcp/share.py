"""Whose connections are whose, where several processes read one capture."""

from typing import NamedTuple

import numpy as np

from wiretape.agent.packets import Segments
from wiretape.agent.packets.columns import Mask

_ODD_PRIMES = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)


class Share(NamedTuple):
    """One of `of` shares of all connections: some hash of a connection gives its `number`."""

    number: int
    of: int

    def rows(self, segments: Segments) -> Mask | None:
        """Which segments are in it; None for all."""
        if self.of == 1:
            return None
        high, low = _ODD_PRIMES
        mixed = (segments.source_low ^ segments.target_low) * low
        mixed ^= (segments.source_high ^ segments.target_high) * high
        mixed += (segments.source_port ^ segments.target_port).astype(np.uint64) * high
        mine: Mask = (mixed >> np.uint64(32)) % np.uint64(self.of) == np.uint64(self.number)
        return mine


EVERYTHING = Share(0, 1)
