"""Times, sizes and parts as people write them."""

import pytest

from wiretape.exchange.quantities import parse_duration_ns, parse_part, parse_size

MS, SECOND = 10**6, 10**9


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("30s", 30 * SECOND), ("500ms", 500 * MS), ("2m", 120 * SECOND), ("1h", 3600 * SECOND),
        ("7d", 7 * 86400 * SECOND), ("5", 5 * SECOND), ("0.5s", 500 * MS), ("1.25m", 75 * SECOND),
        (" 3s ", 3 * SECOND), ("0.000000001s", 1),
    ],
)  # fmt: skip
def test_durations(text: str, ns: int) -> None:
    assert parse_duration_ns(text) == ns


@pytest.mark.parametrize("text", ["", "s", "0", "0s", "-1s", "1w", "1 s", "1.s", "0.0000000001s"])
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a duration|longer than nothing"):
        parse_duration_ns(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0), ("17", 17), ("4K", 4096), ("2M", 2 << 20), ("10GB", 10 << 30), ("256MB", 1 << 28),
        ("1MiB", 1 << 20), ("3k", 3072),
    ],
)  # fmt: skip
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "M", "1.5M", "-1", "1T", "1 0"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


@pytest.mark.parametrize(("text", "part"), [("100%", 1.0), ("10%", 0.1), ("0.5%", 0.005)])
def test_parts(text: str, part: float) -> None:
    assert parse_part(text) == pytest.approx(part)


@pytest.mark.parametrize("text", ["", "10", "0%", "101%", "-1%", "%"])
def test_no_parts(text: str) -> None:
    with pytest.raises(ValueError, match="is not a part"):
        parse_part(text)
