"""Equal rows of a key, found by a hash of 64 bits and compared in full."""

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


def number_rows(key: NDArray[np.uint64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The first row of every group of equal rows, and the group of every row.

    The whole key is compared with that of the group's first row, so a collision mixes nothing.
    """
    _, first, inverse = np.unique(hash_rows(key), return_index=True, return_inverse=True)
    if (key[first[inverse]] != key).any():
        _, first, inverse = np.unique(key, axis=0, return_index=True, return_inverse=True)
    return first, inverse.reshape(-1)
