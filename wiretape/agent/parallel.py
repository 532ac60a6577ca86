"""Imports with several processes: each reads the whole capture, and a share of its connections.

Reading packets costs little beside reading messages, so nothing is shared but the file. Every
process reads the same batches. The parent has each read the next one (so all stop at the same
place), puts their records in order, and writes. What comes out does not depend on how many they
are.
"""

import gc
import multiprocessing
import os
import signal
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import accumulate, chain
from mmap import mmap
from multiprocessing.connection import Connection as Channel
from operator import itemgetter
from pathlib import Path
from typing import Any

from wiretape.agent.config import ImportConfig
from wiretape.agent.ledger import Ledger
from wiretape.agent.pipeline import Group, Pipeline, in_order
from wiretape.agent.sources.pcap_file import CaptureError, open_capture
from wiretape.agent.tcp.relief import Holder, Holding, relieve
from wiretape.agent.tcp.share import Share
from wiretape.exchange.endpoints import ServiceEndpoint
from wiretape.exchange.records import Record

_AHEAD = 4
"""How many batches a process may read before its records of the first are taken."""

_AREA_BYTES = 16 << 20
"""What a process can tell at once without sending it through a pipe: memory that both see."""
_AREAS = 3
"""So many batches can be told before the first is taken."""

# What the parent says; a word alone, or (word, number of a connection).
_GO_ON, _STOP, _TAKEN, _RELIEVED = "go on", "stop", "taken", "relieved"
_HELD, _HOLDINGS, _CUT, _DROP = "held", "holdings", "cut", "drop"
# What a process says, with more beside it.
_RECORDS, _FULL, _FAILED = "records", "full", "failed"
_DONE, _BROKEN = "done", "broken"


class WorkerError(Exception):
    """A process ended before its work, or could not be made."""


def can_be_shared(config: ImportConfig) -> bool:
    """Whether several processes can import this, and give what one gives.

    Each has to read the captures itself. And where a service was named, what its exchanges say
    follows from all of its connections together.
    """
    return not config.services and all(is_file(name) for name in config.captures)


def is_file(name: str) -> bool:
    """Whether a capture can be read more than once."""
    try:
        return name != "-" and Path(name).is_file()
    except OSError:
        return False


class SharedImport:
    """The parent's side; a context, at whose end no process is left."""

    def __init__(self, config: ImportConfig) -> None:
        """Raises WorkerError where no process can be made."""
        self.ledger = Ledger()
        """Complete once the context is left, for whatever reason."""
        self.unseen_services: set[ServiceEndpoint] = set(config.services)
        self._workers: list[_Worker] = []
        try:
            self._start(config)
        except OSError as error:
            self.__exit__()
            raise WorkerError(f"no process can be made: {error.strerror}") from error

    def _start(self, config: ImportConfig) -> None:
        forking = multiprocessing.get_context("fork")
        for number in range(config.jobs):
            here, there = forking.Pipe()
            strangers = [worker.channel for worker in self._workers]
            share = Share(number, config.jobs)
            area = mmap(-1, _AREAS * _AREA_BYTES)
            process = forking.Process(
                target=_work, args=(config, share, there, area, [here, *strangers]), daemon=True
            )
            process.start()
            there.close()
            self._workers.append(_Worker(process, here, area))

    def __enter__(self) -> "SharedImport":
        return self

    def __exit__(self, *unused: object) -> None:
        for worker in self._workers:
            worker.channel.close()
            worker.process.terminate()
            worker.process.join()
            worker.area.close()
            self.ledger.add(worker.ledger)

    def batches(
        self, stopped: Callable[[], bool], failed: Callable[[str, str], None]
    ) -> Iterator[tuple[int, list[Record], bool]]:
        """How many bytes were read, the records of a batch, and whether more has to be waited for.

        `stopped` is asked before each further batch; `failed` takes a capture's name and what is
        wrong with it. Raises WorkerError.
        """
        for worker in self._workers:
            for _ in range(_AHEAD):
                worker.send(_GO_ON)
        stopping = False
        while True:
            said = [worker.receive() for worker in self._workers]
            kinds = {kind for kind, _ in said}
            if _BROKEN in kinds:
                raise WorkerError(next(text for kind, text in said if kind == _BROKEN))
            if len(kinds) > 1:
                raise WorkerError("a capture changed while it was read")
            kind = kinds.pop()
            if kind == _FULL:
                relieve(self._workers, said[0][1])
                for worker in self._workers:
                    worker.send(_RELIEVED)
            elif kind == _FAILED:
                failed(*said[0][1])
            elif kind == _DONE:
                for _, unseen in said:
                    self.unseen_services &= unseen
                return
            else:
                position, last = said[0][1][:2]
                if any(told[:2] != (position, last) for _, told in said):
                    raise WorkerError("a capture changed while it was read")
                records: list[Record] = []
                apart: list[Group] = []
                for worker, (_, (_, _, ledger, *told)) in zip(self._workers, said, strict=True):
                    size, columns, groups = told
                    worker.take(size, columns, groups, records, apart)
                    worker.ledger = ledger
                yield position, in_order(records, apart), False
                if last:
                    continue
                stopping = stopping or stopped()
                for worker in self._workers:
                    worker.send(_STOP if stopping else _GO_ON)


class _Worker:
    """A process as the parent sees it; a relief.Holder while it waits to be relieved."""

    def __init__(self, process: Any, channel: "Channel[Any, Any]", area: mmap) -> None:
        self.process = process
        self.channel = channel
        self.area = area
        self.ledger = Ledger()
        """Of what it has told."""
        self._next_area = 0

    def send(self, message: object) -> None:
        """One that has ended hears nothing: if it was before its time, `receive` says so."""
        with suppress(OSError):
            self.channel.send(message)

    def receive(self) -> Any:
        try:
            return self.channel.recv()
        except (EOFError, OSError) as error:
            self.process.join()
            raise WorkerError(f"a process ended with {self.process.exitcode}") from error

    def take(
        self,
        size: int,
        columns: Sequence["array[int]"],
        groups: list[tuple[tuple[int, int, int], int]],
        records: list[Record],
        apart: list[Group],
    ) -> None:
        """Makes records of the `size` encoded bytes that are told, in the area or behind."""
        if size <= _AREA_BYTES:
            start = self._next_area * _AREA_BYTES
            data = memoryview(self.area[start : start + size])
            self._next_area = (self._next_area + 1) % _AREAS
            self.send(_TAKEN)
        else:
            try:
                data = memoryview(self.channel.recv_bytes())
            except (EOFError, OSError) as error:
                raise WorkerError("a process ended within its records") from error
        packets, kinds, sizes, times = columns
        ends = list(accumulate(sizes, initial=0))
        made: list[Record] = [
            (packet, kind, (data[begin:end],), end - begin, at_ns)
            for packet, kind, begin, end, at_ns in zip(
                packets, kinds, ends, ends[1:], times, strict=False
            )
        ]
        first = len(made) - sum(count for _, count in groups)
        records += made[:first]
        for order, count in groups:
            apart.append((order, made[first : first + count]))
            first += count

    # -- relief.Holder

    def held_bytes(self) -> int:
        self.send(_HELD)
        held: int = self.receive()
        return held

    def holdings(self) -> list[Holding]:
        self.send(_HOLDINGS)
        holdings: list[Holding] = self.receive()
        return holdings

    def cut(self, number: int) -> int:
        self.send((_CUT, number))
        left: int = self.receive()
        return left

    def drop(self, number: int) -> None:
        self.send((_DROP, number))
        self.receive()


def _work(
    config: ImportConfig,
    share: Share,
    channel: "Channel[Any, Any]",
    area: mmap,
    strangers: Sequence["Channel[Any, Any]"],
) -> None:
    """A process: reads all captures, and tells the parent of its share."""
    for stranger in strangers:
        stranger.close()
    # Whether to stop is for the parent to say, at the same batch to all.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    gc.disable()
    try:
        _SharedPipeline(config, share, channel, area).run()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        os._exit(1)  # the parent is gone, and with it the recording
    except Exception as error:  # whatever it is, the parent says it in one line
        with suppress(OSError):
            channel.send((_BROKEN, f"{type(error).__name__}: {error}"))
        os._exit(1)


class _SharedPipeline(Pipeline):
    """A pipeline that does what the parent says."""

    def __init__(
        self, config: ImportConfig, share: Share, channel: "Channel[Any, Any]", area: mmap
    ) -> None:
        super().__init__("pcap", config.max_content_bytes, config.services, config.fast, share)
        self._captures = config.captures
        self._batch_bytes = config.batch_bytes
        self._channel = channel
        self._area = area
        self._next_area = 0
        self._free_areas = _AREAS
        self._allowed = 0
        """How many batches may be read."""
        self._stopped = False

    def run(self) -> None:
        before = 0
        for name in self._captures:
            if self._stopped:
                break
            try:
                with open_capture(name, self._batch_bytes) as capture:
                    batches = capture.batches(self.packets)
                    while self._may_go_on() and (batch := next(batches, None)) is not None:
                        self.read(batch)
                        self._tell_records(before + capture.position)
                    before += capture.size or 0
            except CaptureError as error:
                self._channel.send((_FAILED, (name, str(error))))
        self.finish()
        self._tell_records(before, last=True)
        self._channel.send((_DONE, self.unseen_services))

    def _may_go_on(self) -> bool:
        while not self._allowed and not self._stopped:
            self._listen()
        return not self._stopped or self._allowed > 0

    def _listen(self) -> object:
        """Takes what the parent says; returns it where it is not about going on."""
        said: object = self._channel.recv()
        if said == _GO_ON:
            self._allowed += 1
        elif said == _STOP:
            self._stopped = True
        elif said == _TAKEN:
            self._free_areas += 1
        else:
            return said
        return None

    def _tell_records(self, position: int, last: bool = False) -> None:
        self._allowed -= 1
        records, apart = self.take()
        records += [record for _, group in apart for record in group]
        columns = [array("q", map(itemgetter(place), records)) for place in (0, 1, 3, 4)]
        groups = [(order, len(group)) for order, group in apart]
        data = b"".join(chain.from_iterable(map(itemgetter(2), records)))
        if len(data) <= _AREA_BYTES:
            while not self._free_areas:
                self._listen()
            start = self._next_area * _AREA_BYTES
            self._area[start : start + len(data)] = data
            self._next_area = (self._next_area + 1) % _AREAS
            self._free_areas -= 1
        self._channel.send((_RECORDS, (position, last, self.ledger, len(data), columns, groups)))
        if len(data) > _AREA_BYTES:
            self._channel.send_bytes(data)

    def relieve(self, table: Holder) -> None:
        """Lets the parent decide, which knows what the others hold."""
        self._channel.send((_FULL, self.traffic.max_held_bytes))
        while (said := self._listen()) != _RELIEVED:
            if said == _HELD:
                self._channel.send(table.held_bytes())
            elif said == _HOLDINGS:
                self._channel.send(table.holdings())
            elif isinstance(said, tuple) and said[0] == _CUT:
                self._channel.send(table.cut(said[1]))
            elif isinstance(said, tuple):
                table.drop(said[1])
                self._channel.send(None)
