"""Equal rows find each other, whatever their hash."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wiretape.agent.packets import keys
from wiretape.agent.packets.keys import number_rows

rows = st.lists(st.tuples(st.integers(0, 3), st.integers(2**64 - 2, 2**64 - 1)), min_size=1)


def check(key: list[tuple[int, int]]) -> None:
    first, group = number_rows(np.array(key, np.uint64))
    distinct = list(dict.fromkeys(key))
    assert group.tolist() == [distinct.index(row) for row in key]
    assert first.tolist() == [key.index(row) for row in distinct]


@given(rows)
def test_groups(key: list[tuple[int, int]]) -> None:
    check(key)


@pytest.mark.parametrize("count", [1, 200, 5000])
def test_many_groups_in_few_slots(count: int) -> None:
    chance = np.random.default_rng(3)
    key = chance.integers(0, 1500, (count, 2))
    check([(a, b) for a, b in key.tolist()])
    check([(a, 0) for a, _ in key.tolist()])


def test_collisions_mix_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "hash_rows", lambda key: np.zeros(len(key), np.uint64))
    check([(n % 5, n % 3) for n in range(100)])
