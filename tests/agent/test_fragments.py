"""Fragments: overlaps, limits, timeouts; against an oracle."""

from hypothesis import given
from hypothesis import strategies as st

from wiretape.agent.packets import fragments
from wiretape.agent.packets.fragments import MAX_HELD_BYTES, TIMEOUT_NS, Defragmenter

pieces = st.tuples(st.integers(0, 5), st.integers(1, 4), st.booleans())


@given(st.lists(pieces, max_size=12))
def test_against_an_oracle(given_: list[tuple[int, int, bool]]) -> None:
    """Units of eight bytes; what came first stays, whatever overlaps it."""
    defragmenter = Defragmenter()
    seen: dict[int, int] = {}
    length = -1
    for number, (start, size, last) in enumerate(given_):
        for unit in range(start, start + size):
            seen.setdefault(unit, number)
        if last:
            length = start + size
        whole = defragmenter.add("a", start * 8, bytes([number]) * size * 8, not last, number)
        if length >= 0 and all(unit in seen for unit in range(length)):
            assert whole == b"".join(bytes([seen[unit]]) * 8 for unit in range(length))
            seen, length = {}, -1
        else:
            assert whole is None


def test_timeout() -> None:
    defragmenter = Defragmenter()
    assert defragmenter.add("a", 0, bytes(8), True, 0) is None
    assert defragmenter.add("a", 8, bytes(8), False, TIMEOUT_NS + 1) is None
    assert defragmenter.incomplete == 1
    assert defragmenter.add("a", 0, bytes(8), True, 2 * TIMEOUT_NS) == bytes(16)
    assert defragmenter.incomplete == 1


def test_datagrams_that_never_end() -> None:
    """Memory has a limit, however many begin and however often one is sent."""
    defragmenter = Defragmenter()
    for number in range(3000):
        for offset in range(0, 8000, 1600):
            defragmenter.add(number, offset, bytes(1600), True, number)
    assert len(defragmenter._datagrams) <= fragments.MAX_DATAGRAMS
    held = sum(len(p) for d in defragmenter._datagrams.values() for _, p in d.pieces)
    assert held <= MAX_HELD_BYTES
    defragmenter.close()
    assert defragmenter.incomplete == 3000


def test_overlaps_without_end() -> None:
    defragmenter = Defragmenter()
    for number in range(1000):
        defragmenter.add("a", 8 * number, number.to_bytes(2, "big") * 15000, True, 0)
    assert sum(len(p) for _, p in defragmenter._datagrams["a"].pieces) <= MAX_HELD_BYTES


def test_farther_than_a_datagram_can_reach() -> None:
    defragmenter = Defragmenter()
    defragmenter.add("a", 0, bytes(8), True, 0)
    assert defragmenter.add("a", 65528, bytes(16), False, 0) is None
    assert defragmenter.incomplete == 1
    assert defragmenter.add("b", 65528, bytes(16), False, 0) is None
    defragmenter.close()
    assert defragmenter.incomplete == 1
