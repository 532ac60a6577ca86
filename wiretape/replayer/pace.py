"""When requests are due: on a schedule that is fixed when the first one is sent."""

from __future__ import annotations

import asyncio
from time import monotonic_ns

from wiretape.replayer.latency import Histogram
from wiretape.replayer.verdict import Lateness

# The event loop's own timers may be late by this much; what is left is waited for awake.
_AWAKE_NS = 2 * 10**6


class Pace:
    """Requests keep the distance that they had when recorded, divided by `speed`; 0 for none.

    What is late does not move what comes after it.
    """

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._recorded_ns = 0
        self._live_ns = 0
        self._late = Histogram()

    async def until_due(self, recorded_at_ns: int) -> None:
        """Return when the request is due that was recorded at that time."""
        if not self._speed:
            return
        now_ns = monotonic_ns()
        if not self._live_ns:
            self._recorded_ns, self._live_ns = recorded_at_ns, now_ns
        due_ns = self._live_ns + int((recorded_at_ns - self._recorded_ns) / self._speed)
        if due_ns - now_ns > _AWAKE_NS:
            await asyncio.sleep((due_ns - now_ns - _AWAKE_NS) / 1e9)
        while (now_ns := monotonic_ns()) < due_ns:
            await asyncio.sleep(0)
        self._late.add((now_ns - due_ns) // 1000)

    def lateness(self) -> Lateness | None:
        """How late requests were sent; None without a schedule."""
        if not self._late.count:
            return None
        late = self._late
        return Lateness(late.percentile(50), late.percentile(99), late.max)
