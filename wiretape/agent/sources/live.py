"""Packets of this host's interfaces as they pass: a ring, its filter, what befalls them."""

import errno
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from wiretape.agent.packets import I64, PacketBatch
from wiretape.agent.sources.filter import Selection, assemble
from wiretape.agent.sources.libpcap import compile_expression
from wiretape.agent.sources.netns import inside
from wiretape.agent.sources.ring import RETIRE_MS, RING_BYTES, PacketRing, RingError, interfaces

WAIT_NS = 400_000_000
"""How long packets wait for others at most: what a batch costs is shared by all that is in it."""
_CALM_TICK_S, _BUSY_TICK_S = 0.1, 0.02
"""How often it is looked whether enough has come."""
_ENOUGH_BLOCKS = 8
"""A batch is due when so many are ready, and has no more: it keeps the kernel from filling them."""
_STEP_NS = 1_000_000_000
_REJECT = bytes([6, 0, 0, 0, 0, 0, 0, 0])
"""BPF_RET with 0: no packet."""
_DRAIN_S = RETIRE_MS / 1000 + 0.05
"""After which the kernel has handed over every block with packets in it."""


class SteadyClock:
    """Packet times as they would be had nobody set the clock since the capture began.

    Time decides when a hole counts as lost and a connection as over; a clock that is set an hour
    forward must not end them all, nor one that is set back keep them all.
    """

    def __init__(self) -> None:
        self._offset_ns: int | None = None
        self._set_forward_ns = 0

    def times(self, at_ns: I64, real_ns: int, monotonic_ns: int) -> I64 | None:
        """For packet times of the real clock, now `real_ns`; None where they are right."""
        offset_ns = real_ns - monotonic_ns
        if self._offset_ns is None:
            self._offset_ns = offset_ns
        before_ns, moved_ns = self._set_forward_ns, offset_ns - self._offset_ns
        if abs(moved_ns) < _STEP_NS:
            return at_ns - before_ns if before_ns else None
        self._offset_ns = offset_ns
        self._set_forward_ns += moved_ns
        # It was set while these packets came: each is nearer to one of the two.
        after = np.abs(at_ns - real_ns) < np.abs(at_ns + moved_ns - real_ns)
        return at_ns - np.where(after, self._set_forward_ns, before_ns)

    def now_ns(self) -> int:
        """The real time as it would be; as of the latest packets."""
        return time.time_ns() - self._set_forward_ns


class LiveCapture:
    """The packets of some interfaces, or of all where none is named; a context."""

    def __init__(
        self,
        names: tuple[str, ...],
        selection: Selection,
        expression: str | None = None,
        netns: str | None = None,
        ring_bytes: int = RING_BYTES,
    ) -> None:
        """`expression`: in tcpdump's language, beside `selection`.

        Raises PermissionError where the process may not, RingError where it cannot be, FilterError
        and ValueError where the filter cannot be.
        """
        self._names = names
        self._selection = selection
        self._indexes: dict[str, int] = {}
        self._clock = SteadyClock()
        self._busy = False
        """The latest wait ended early."""
        with inside(netns):
            self._ring = PacketRing(ring_bytes)
            try:
                self._indexes = {name: self._existing(name) for name in names}
                if expression is not None:
                    kinds = {self._ring.hardware_type(name) for name in names}
                    program = compile_expression(expression, kinds)
                    self._selection = replace(selection, expression=program)
                self._listen()
            except BaseException:
                self._ring.__exit__()
                raise
        self._enough = min(_ENOUGH_BLOCKS, self._ring.blocks // 4)

    def __enter__(self) -> "LiveCapture":
        return self

    def __exit__(self, *unused: object) -> None:
        self._ring.__exit__()

    def _existing(self, name: str) -> int:
        """The number of an interface. Raises RingError."""
        index = self._ring.index_of(name)
        if not index:
            raise RingError(f"no interface {name}; there are {', '.join(interfaces())}")
        return index

    def _listen(self) -> None:
        """Captures from the interfaces as they are now numbered. Raises RingError."""
        ring = self._ring
        indexes = tuple(index for index in self._indexes.values() if index)
        # One interface: the others do not even run the filter.
        alone = len(self._names) == 1
        chosen = replace(self._selection, interfaces=() if alone else indexes)
        try:
            ring.attach(assemble(chosen))
            for index in indexes:
                ring.promiscuous(index)
            if indexes or not self._names:
                ring.bind(indexes[0] if alone else 0)
        except OSError as error:
            where = ", ".join(self._names) or "all interfaces"
            what = error.strerror
            if error.errno == errno.ENOMEM:
                what = "the filter is too long: raise net.core.optmem_max, or name fewer"
            raise RingError(f"{where}: {what}") from error

    def changes(self) -> list[str]:
        """Looks after the named interfaces; says which went, and which came back and are captured
        from again."""
        said = []
        for name, before in list(self._indexes.items()):
            index = self._ring.index_of(name)
            if index == before:
                continue
            self._indexes[name] = index
            said.append(f"interface {name} " + ("is there again" if index else "is gone"))
            if index:
                try:
                    self._listen()
                except RingError as error:
                    self._indexes[name] = 0  # the next look tries again
                    said[-1] = str(error)
        return said

    # -- packets

    def wait(self, stopped: Callable[[], bool]) -> None:
        """Until it is worth while to read: enough is there, or what is there has waited."""
        until_ns = time.monotonic_ns() + WAIT_NS
        tick_s, self._busy = _BUSY_TICK_S if self._busy else _CALM_TICK_S, False
        ring = self._ring
        while not stopped():
            if ring.has_ready(self._enough):
                self._busy = True
                return
            left_ns = until_ns - time.monotonic_ns()
            if left_ns <= 0:
                return
            if ring.has_ready(1):
                time.sleep(min(tick_s, left_ns / 1e9))
            else:
                ring.wait(left_ns // 1_000_000 + 1)

    def batches(self, first: Callable[[], int]) -> Iterator[tuple[PacketBatch, int]]:
        """What is ready, in batches, each with the packets that the kernel dropped before it.

        A batch is good until the next one is asked for; `first` tells its number.
        """
        # No more than are ready now: the kernel may be faster than we.
        left = self._ring.ready()
        while left > 0:
            # At the ring's end a batch is shorter than asked for.
            batch = self._ring.batch(first(), min(left, self._enough))
            if batch is None:
                return
            left -= self._ring.taken
            steady = self._clock.times(batch.at_ns, time.time_ns(), time.monotonic_ns())
            try:
                yield replace(batch, clock_ns=steady), self.dropped()
            finally:
                self._ring.release()

    def now_ns(self) -> int:
        """The clock by which timers run."""
        return self._clock.now_ns()

    def dropped(self) -> int:
        """How many packets the kernel dropped since this was last asked."""
        return self._ring.drops().dropped

    def stop(self) -> None:
        """No packet more; those that came are ready when this returns."""
        self._ring.attach(_REJECT)
        time.sleep(_DRAIN_S)
