"""Whose connections are whose, where several processes read one capture."""

from typing import NamedTuple

import numpy as np

from wiretape.agent.packets import I64, U64, Segments
from wiretape.agent.packets.columns import Mask

_ODD_PRIMES = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)


def connection_hash(high: U64, low: U64, ports: I64) -> I64:
    """32 bits that tell connections apart, the same for both directions.

    Each argument is source XOR target: of both halves of addresses, and of ports.
    """
    for_high, for_low = _ODD_PRIMES
    mixed = low * for_low
    mixed ^= high * for_high
    mixed += ports.astype(np.uint64) * for_high
    return (mixed >> np.uint64(32)).astype(np.int64)


def hashes(segments: Segments) -> I64:
    """Of each segment's connection."""
    s = segments
    return connection_hash(
        s.source_high ^ s.target_high, s.source_low ^ s.target_low, s.source_port ^ s.target_port
    )


class Share(NamedTuple):
    """One of `of` shares of all connections: some hash of a connection gives its `number`."""

    number: int
    of: int

    def rows(self, segments: Segments) -> Mask | None:
        """Which segments are in it; None for all."""
        if self.of == 1:
            return None
        mine: Mask = hashes(segments) % self.of == self.number
        return mine


EVERYTHING = Share(0, 1)
