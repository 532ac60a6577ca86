"""How long exchanges took, by endpoint: histograms in microseconds."""

from __future__ import annotations

from collections.abc import Iterable

from wiretape.replayer.alike import endpoint_of
from wiretape.replayer.verdict import Latency, Percentiles, Result, State

# Values keep this many bits: what is reported is at most 0.1 % too high.
_BITS = 10


class Histogram:
    """Counts of values with a relative error below 2^-10 ("high dynamic range").

    Bucket widths double with each power of two, so that few buckets hold µs as well as hours.
    """

    def __init__(self) -> None:
        self.count = 0
        self.max = 0
        self._counts: dict[int, int] = {}

    def add(self, value: int) -> None:
        """Count one value, 0 or more."""
        shift = max(0, value.bit_length() - _BITS - 1)
        # The highest value that falls into the same bucket.
        bucket = ((value >> shift) + 1 << shift) - 1
        self._counts[bucket] = self._counts.get(bucket, 0) + 1
        self.count += 1
        self.max = max(self.max, value)

    def percentile(self, percent: float) -> int:
        """The value that at least so many in a hundred do not exceed; 0 for none."""
        rank = max(1, -int(-self.count * percent // 100))
        seen = 0
        for bucket in sorted(self._counts):
            seen += self._counts[bucket]
            if seen >= rank:
                return min(bucket, self.max)
        return 0

    def percentiles(self) -> Percentiles | None:
        if not self.count:
            return None
        p50, p90, p95, p99 = (self.percentile(percent) for percent in (50, 90, 95, 99))
        return Percentiles(self.count, p50, p90, p95, p99, self.max)


def latencies(results: Iterable[Result]) -> list[Latency]:
    """Of all exchanges that were judged, then of each endpoint, recorded and live side by side."""
    histograms: dict[str, tuple[Histogram, Histogram]] = {}
    for result in results:
        if result.state not in (State.SAME, State.DIFFERS):
            continue
        for name in ("", endpoint_of(result.method, result.target)):
            if name not in histograms:
                histograms[name] = Histogram(), Histogram()
            recorded, live = histograms[name]
            recorded.add(result.recorded_ns // 1000)
            live.add(result.live_ns // 1000)
    return [
        Latency(name, recorded.percentiles(), live.percentiles())
        for name, (recorded, live) in sorted(histograms.items())
    ]
