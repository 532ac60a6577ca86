"""Which live value stands for which recorded one, over a whole run."""

from __future__ import annotations

import re
from functools import lru_cache

from wiretape.replayer.values.counters import Counters
from wiretape.replayer.values.evidence import Evidence
from wiretape.replayer.values.instants import Timeline
from wiretape.replayer.values.lengths import Lengths
from wiretape.replayer.values.tokens import replaced, with_wholes


@lru_cache(64)
def _address(text: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w.-]){re.escape(text)}(?![\w.-])")


class Correlation:
    """The pairs recorded ↔ live of one run.

    `own` pairs the service's recorded endpoint, `host:port`, with the live one. `live_of` and
    `recorded_of` hold random tokens, one-to-one; of those that the recording names only once no
    more than `taken`, hashes of the live and the recorded one. With `concurrent`, exchanges may
    overlap: each that was begun is to be ended, and counters need not come in recorded order.
    """

    def __init__(self, evidence: Evidence | None = None, concurrent: bool = False) -> None:
        self.evidence = evidence or Evidence()
        self.concurrent = concurrent
        self.own: dict[str, str] = {}
        self.live_of: dict[str, str] = {}
        self.recorded_of: dict[str, str] = {}
        self.taken: dict[int, int] = {}
        self.timeline = Timeline()
        self.counters = Counters()
        self.lengths = Lengths()
        # The pair of tokens that came last at each kind of place.
        self.latest: dict[tuple[str, str], tuple[str, str]] = {}
        # Entity tags and digests that stood for each recorded one.
        self.derived: dict[str, set[str]] = {}
        # The same by their tokens, which may be named without quotes or marks.
        self.tags: dict[str, set[str]] = {}
        # The most digits of a second that a name has shown, recorded and live.
        self.fractions: dict[str, tuple[int, int]] = {}
        self._open: list[int] = []
        self._judged_ns = 0
        self._live_wholes: dict[str, str] = {}
        self._recorded_wholes: dict[str, str] = {}

    def begin(self, recorded_at_ns: int, live_at_ns: int, lasted_ns: int = -1) -> None:
        """An exchange is being driven; the one before has ended, unless they are concurrent.
        `lasted_ns` is how long it took when it was recorded, where that is known."""
        if not self.concurrent:
            self._open.clear()
        self._open.append(recorded_at_ns)
        self.timeline.begin(recorded_at_ns, live_at_ns, lasted_ns)

    def end(self, recorded_at_ns: int) -> None:
        """An exchange that was begun is judged."""
        if recorded_at_ns in self._open:
            self._open.remove(recorded_at_ns)
            self._judged_ns = max(self._judged_ns, recorded_at_ns)

    @property
    def instants(self) -> dict[int, int]:
        """Live by recorded instants, ns; whoever gives the build a time adds it."""
        return self.timeline.paired

    @property
    def since_ns(self) -> int:
        """When the oldest exchange in flight began in the recording; after all that was judged."""
        return min(self._open, default=self._judged_ns)

    def to_live(self, data: bytes) -> bytes:
        """Put live tokens in the place of the recorded ones; lengths may differ."""
        return replaced(self.live_of, with_wholes(self._live_wholes, data))

    def to_recorded(self, data: bytes) -> bytes:
        """Put recorded tokens in the place of the live ones; lengths may differ."""
        return replaced(self.recorded_of, with_wholes(self._recorded_wholes, data))

    def at_own(self, text: str, beside: str) -> str:
        """`text` with the live endpoint of the service in the place of the recorded one, but where
        that stands in `beside`, the live text: then the build was told so by a request."""
        for recorded, live in self.own.items():
            if recorded in text and not _address(recorded).search(beside):
                text = _address(recorded).sub(live, text)
        return text

    def add(self, pairs: dict[str, str]) -> None:
        """Random tokens that stand for each other from now on."""
        tokens = self.evidence.tokens
        for recorded, live in pairs.items():
            first = tokens.get(recorded)
            if first is not None and not first.again and recorded not in self.live_of:
                # No other message names it: that the live one is taken is all that counts.
                self.taken[hash(live)] = hash(recorded)
                continue
            self.live_of[recorded] = live
            self.recorded_of[live] = recorded

    def add_whole(self, recorded: str, live: str) -> None:
        """Composites that stand for each other in bytes; they are not one-to-one."""
        self._live_wholes[recorded] = live
        known = self._recorded_wholes.setdefault(live, recorded)
        if known != recorded:
            # Which of the two is meant, only their places tell.
            self._recorded_wholes[live] = live

    def add_fraction(self, name: str, recorded: int, live: int) -> None:
        """How many digits of a second two equal instants of this name showed."""
        most = self.fractions.get(name, (0, 0))
        self.fractions[name] = (max(most[0], recorded), max(most[1], live))
