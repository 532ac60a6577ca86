"""Which connections are taken where not all are: a part that was asked for, or that can be borne.

A hash of its addresses and ports decides about a connection, so it is taken whole or not at all.
"""

from collections.abc import Sequence

import numpy as np

from wiretape.agent.packets import Segments
from wiretape.agent.packets.columns import Mask
from wiretape.agent.tcp.share import connection_hash, hashes

_HASHES = 1 << 32
_LEAST_PART = 64
"""Of what was asked for, at least one in so many is taken whatever happens."""


class Sample:
    """Connections whose hash lies below a bound; the bound falls while there is too much to do."""

    def __init__(self, part: float = 1.0) -> None:
        """`part` of all connections is asked for, from 0 to 1."""
        self._asked = round(part * _HASHES)
        self._taken = self._asked

    @property
    def narrowed(self) -> bool:
        """Whether less is taken than was asked for."""
        return self._taken < self._asked

    @property
    def part(self) -> float:
        """How much of all connections is taken now."""
        return self._taken / _HASHES

    def narrow(self) -> None:
        """Takes half of what was taken."""
        self._taken = max(self._taken // 2, self._asked // _LEAST_PART)

    def widen(self) -> None:
        """Takes twice as much, and no more than was asked for; connections from where they are."""
        self._taken = min(self._taken * 2, self._asked)

    def choose(self, segments: Segments) -> tuple[Mask, dict[str, int]] | None:
        """Which segments are taken, and how many are not, by reason; None where all are."""
        if self._taken >= _HASHES:
            return None
        of = hashes(segments)
        taken: Mask = of < self._taken
        asked = int(np.count_nonzero(of < self._asked))
        overload = asked - int(np.count_nonzero(taken))
        left_out = {"not_sampled": len(of) - asked, "overload": overload}
        return taken, {reason: packets for reason, packets in left_out.items() if packets}

    def left_out(self, keys: Sequence[bytes]) -> list[bool]:
        """Which connections are not taken any more; `keys` are those of grouping.Flows."""
        key = np.frombuffer(b"".join(keys), np.uint64).reshape(-1, 6)
        ports = (key[:, 4] & np.uint64(0xFFFFFFFF)).astype(np.int64)
        of = connection_hash(
            key[:, 0] ^ key[:, 2], key[:, 1] ^ key[:, 3], ports >> 16 ^ ports & 0xFFFF
        )
        gone: list[bool] = (of >= self._taken).tolist()
        return gone
