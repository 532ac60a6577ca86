"""The sources of a live run as its loop sees them: something to wait for, and then records."""

import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Protocol, Self

from wiretape.agent.packets import Segments
from wiretape.agent.pipeline import Pipeline
from wiretape.agent.sources.ebpf.events import Kind, Notice
from wiretape.agent.sources.ebpf.segments import LOST, MISSING, SegmentMaker
from wiretape.agent.sources.ebpf.source import EbpfSource
from wiretape.agent.sources.live import LiveCapture
from wiretape.exchange.records import Record


class Feed(Protocol):
    """A context. `stop` takes no more; what came before it is then there to be read."""

    source: str
    """What exchanges say that they were taken from."""
    where: str
    """For people."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def prepare(self, pipeline: Pipeline) -> None:
        """Tells the pipeline what it is fed with."""

    def wait(self, stopped: Callable[[], bool]) -> None: ...

    def read(self, pipeline: Pipeline) -> Iterator[list[Record]]:
        """What is ready now."""

    def changes(self) -> list[str]:
        """What is to be told, in lines; asked once a second."""

    def dropped(self) -> int:
        """What the kernel could not hand over, since this was last asked."""

    def now_ns(self) -> int:
        """The clock by which timers run."""

    def stop(self) -> None: ...

    def unread(self) -> int:
        """Passes over all that is left; how much that was."""


class PacketFeed:
    """Packets of interfaces."""

    source = "packets"

    def __init__(self, capture: LiveCapture, where: str) -> None:
        self._capture = capture
        self.where = where
        self.wait = capture.wait
        self.changes = capture.changes
        self.dropped = capture.dropped
        self.now_ns = capture.now_ns
        self.stop = capture.stop

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *unused: object) -> None:
        self._capture.__exit__()

    def prepare(self, pipeline: Pipeline) -> None:
        pass

    def unread(self) -> int:
        return sum(len(batch.start) for batch, _ in self._capture.batches(lambda: 0))

    def read(self, pipeline: Pipeline) -> Iterator[list[Record]]:
        for batch, dropped in self._capture.batches(lambda: pipeline.packets):
            yield pipeline.feed(batch, dropped)


class SocketFeed:
    """What the system calls of processes moved through their sockets."""

    source = "ebpf"

    def __init__(self, source: EbpfSource, where: str) -> None:
        self._source = source
        self.where = where
        self.wait = source.wait
        self._maker = SegmentMaker(source.selects_ports)
        self._is_over = False
        self._lost = 0
        self._notices: set[tuple[Notice, int]] = set()
        self._told: set[tuple[Notice, int]] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *unused: object) -> None:
        self._source.__exit__()

    def prepare(self, pipeline: Pipeline) -> None:
        pipeline.lost, pipeline.missing = LOST, MISSING

    def stop(self) -> None:
        self._source.stop()
        self._is_over = True

    def read(self, pipeline: Pipeline) -> Iterator[list[Record]]:
        for batch in self._source.batches():
            segments = self._maker.segments(batch, self._source.connections, pipeline.packets)
            for number in self._maker.tls.take_proven():
                self._source.silence(number)
            notices = batch.kind == Kind.NOTICE
            if notices.any():
                self._maker.skipped["notice"] = int(notices.sum())
                told = zip(batch.reason[notices], batch.process[notices], strict=True)
                self._notices |= {(Notice(reason), int(pid)) for reason, pid in told}
            yield self._feed(pipeline, segments, len(batch))
        late = self._maker.overdue(time.time_ns(), pipeline.packets, self._is_over)
        if late is not None or self._maker.skipped:
            yield self._feed(pipeline, late, 0)

    def _feed(self, pipeline: Pipeline, segments: Segments | None, events: int) -> list[Record]:
        skipped = dict(self._maker.skipped)
        self._maker.skipped.clear()
        pipeline.ledger.sockets_unknown = self._maker.tls.unknown
        return pipeline.feed_segments(segments, events, skipped, self.dropped())

    def unread(self) -> int:
        return sum(len(batch) for batch in self._source.batches())

    def changes(self) -> list[str]:
        new = sorted(self._notices - self._told)
        self._told |= self._notices
        silent = [
            _TLS_NOTICES[what].format(pid, command.decode(errors="replace"))
            for what, pid, command in self._maker.tls.take_notices()
        ]
        return [
            *(_NOTICES[notice].format(pid) for notice, pid in new),
            *self._source.news(),
            *silent,
        ]

    def now_ns(self) -> int:
        return time.time_ns()

    def dropped(self) -> int:
        lost, self._lost = self._lost, self._source.losses.events
        return self._lost - lost


_NOTICES = {
    Notice.USES_IO_URING: "process {} uses io_uring: what passes so is not seen",
    Notice.IS_32_BIT: "process {} is a 32-bit one: its calls are not seen",
}
_TLS_NOTICES = {
    "silent": "process {} ({}) speaks TLS by no library that is known: it stays undecoded",
    "unknown": "process {} ({}) has TLS streams whose sockets are not known: without addresses",
}
