"""Equal rows of a key, found by a hash and compared in full."""

import numpy as np
from numpy.typing import NDArray

_ODD_PRIMES = (
    0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9,
    0xD6E8FEB86659FD93, 0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53,
)  # fmt: skip


def hash_rows(key: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """(n, up to 6) → (n,)"""
    mixed = np.zeros(len(key), np.uint64)
    for column in range(key.shape[1]):
        mixed = (mixed ^ key[:, column]) * np.uint64(_ODD_PRIMES[column])
        mixed ^= mixed >> np.uint64(29)
    return mixed


def grouped(numbers: NDArray[np.int64], count: int) -> NDArray[np.intp]:
    """The rows in the order of their numbers, which are below `count`; equal ones as they came."""
    # Of 16 bits NumPy sorts by radix, which is several times as fast.
    small = numbers.astype(np.uint16) if count <= 1 << 16 else numbers
    return np.argsort(small, kind="stable")


def number_rows(key: NDArray[np.uint64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The first row of every group of equal rows, in their order, and the group of every row.

    The whole key is compared with that of the group's first row, so a collision mixes nothing.
    """
    count = len(key)
    order = np.arange(count)
    bits = min(max(count.bit_length() + 3, 8), 20)
    slot = (hash_rows(key) * np.uint64(_ODD_PRIMES[0]) >> np.uint64(64 - bits)).astype(np.intp)
    slots = np.empty(1 << bits, np.intp)
    slots[slot[::-1]] = order[::-1]  # the last one written stays: the first row
    leader = slots[slot]
    differing = key[leader] != key
    if differing.any():
        # Different keys in one slot: few, so they may be sorted.
        strange = np.flatnonzero(differing.any(axis=1))
        _, first, inverse = np.unique(key[strange], axis=0, return_index=True, return_inverse=True)
        leader[strange] = strange[first[inverse.reshape(-1)]]
    leads = leader == order
    return np.flatnonzero(leads), (np.cumsum(leads) - 1)[leader]
