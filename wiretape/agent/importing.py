"""Imports captures: the edge that ties files, signals and the pipeline together."""

import gc
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType
from typing import NamedTuple

from wiretape.agent.config import ImportConfig
from wiretape.agent.outcome import FAILED, INTERRUPTED, UNREADABLE, USAGE, Outcome, Say
from wiretape.agent.parallel import SharedImport, WorkerError, can_be_shared, is_file
from wiretape.agent.pipeline import Pipeline
from wiretape.agent.progress import progress_bar
from wiretape.agent.sources.pcap_file import CaptureError, CaptureFile, open_capture
from wiretape.exchange.endpoints import endpoint_text
from wiretape.exchange.recording import RecordingError, RecordingWriter
from wiretape.exchange.records import Record

_GLANCE_BYTES = 4096
"""Enough to see what a file is."""


class Interruption:
    """SIGINT and SIGTERM: noted, and raised only in its `with`, where input is waited for."""

    def __init__(self) -> None:
        self.happened = False
        self.waiting = False

    def has_happened(self) -> bool:
        return self.happened

    def __enter__(self) -> None:
        if self.happened:
            raise KeyboardInterrupt
        self.waiting = True

    def __exit__(self, *unused: object) -> None:
        self.waiting = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.happened = True
        if self.waiting:
            raise KeyboardInterrupt


@contextmanager
def _interruptible() -> Iterator[Interruption]:
    interruption = Interruption()
    before = {n: signal.signal(n, interruption) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def import_captures(config: ImportConfig, say: Say) -> Outcome:
    """Imports `config.captures` in their order; `say` takes one-line messages.

    Whatever goes wrong, what was read until then is in the recording and in the ledger.
    """
    outcome = Outcome()
    started_ns = time.monotonic_ns()
    # Nothing here makes cycles (connections undo theirs when they close), so the collector would
    # only walk over live objects, again and again: a tenth of the time.
    gc.disable()
    try:
        with _interruptible() as interruption:
            captures = _openable(config, interruption, outcome, say)
            if captures:
                _import_opened(config, captures, interruption, outcome, say)
            elif interruption.happened:
                say("interrupted before anything was read")
                outcome.exit_code = INTERRUPTED
    finally:
        gc.enable()
    outcome.ledger.seconds = (time.monotonic_ns() - started_ns) / 1e9
    if outcome.exit_code != USAGE:
        outcome.write_summary(config.summary_json, say)
    return outcome


class _Capture(NamedTuple):
    """A capture that can be read."""

    name: str
    size: int | None
    opened: CaptureFile | None
    """Where it cannot be opened again: a pipe."""


def _openable(
    config: ImportConfig,
    interruption: Interruption,
    outcome: Outcome,
    say: Say,
) -> list[_Capture]:
    """The captures that can be read. Files are not kept open: there may be thousands."""
    captures = []
    for name in config.captures:
        again = is_file(name)
        try:
            size = _GLANCE_BYTES if again else config.batch_bytes
            capture = open_capture(name, size, waiting=interruption)
        except CaptureError as error:
            if interruption.happened:
                break
            say(f"{_shown(name)}: {error}")
            outcome.exit_code = UNREADABLE
            continue
        captures.append(_Capture(name, capture.size, None if again else capture))
        if again:
            capture.close()
    return captures


def _import_opened(
    config: ImportConfig,
    captures: list[_Capture],
    interruption: Interruption,
    outcome: Outcome,
    say: Say,
) -> None:
    def failed(name: str, error: str) -> None:
        if not interruption.happened:
            say(f"{_shown(name)}: {error}; everything before it was imported")
            outcome.exit_code = UNREADABLE

    shared = config.jobs > 1 and can_be_shared(config)
    sizes = [capture.size for capture in captures]
    whole = sum(size or 0 for size in sizes) if None not in sizes else None
    try:
        with RecordingWriter(config.output, force=config.force, beside=shared) as writer:
            if shared:
                names = tuple(capture.name for capture in captures)
                made: SharedImport | _OneImport = SharedImport(replace(config, captures=names))
            else:
                made = _OneImport(config, captures, interruption)
            with made as reading, progress_bar(whole) as progressed:
                outcome.ledger = reading.ledger
                stopped = interruption.has_happened
                for position, records, paused in reading.batches(stopped, failed):
                    writer.write_records(records)
                    if paused:
                        writer.flush()
                    progressed(position)
            if interruption.happened:
                say("interrupted; what was read until then was imported")
                outcome.exit_code = INTERRUPTED
        outcome.recorded = True
        for service in sorted(reading.unseen_services):
            say(f"--service {endpoint_text(*service)}: no connection went there")
    except RecordingError as error:
        say(str(error))
        outcome.exit_code = USAGE
    except WorkerError as error:
        say(f"{config.output}: {error}; what was written before it can be read")
        outcome.exit_code = FAILED
    except OSError as error:
        say(f"{config.output}: {error.strerror}; what was written before it can be read")
        outcome.exit_code = FAILED


class _OneImport:
    """An import in this process; as SharedImport."""

    def __init__(
        self, config: ImportConfig, captures: list[_Capture], interruption: Interruption
    ) -> None:
        self._captures = captures
        self._batch_bytes = config.batch_bytes
        self._interruption = interruption
        self._pipeline = Pipeline("pcap", config.max_content_bytes, config.services, config.fast)
        self.ledger = self._pipeline.ledger
        self.unseen_services = self._pipeline.unseen_services

    def __enter__(self) -> "_OneImport":
        return self

    def __exit__(self, *unused: object) -> None:
        for capture in self._captures:
            if capture.opened is not None:
                capture.opened.close()

    def batches(
        self, stopped: Callable[[], bool], failed: Callable[[str, str], None]
    ) -> Iterator[tuple[int, list[Record], bool]]:
        """As SharedImport.batches; an interruption ends the capture itself."""
        pipeline = self._pipeline
        before = 0
        for name, size, opened in self._captures:
            try:
                with opened or open_capture(name, self._batch_bytes, self._interruption) as capture:
                    for batch in capture.batches(pipeline.packets):
                        yield before + capture.position, pipeline.feed(batch), capture.paused
            except CaptureError as error:
                failed(name, str(error))
            if stopped():
                break
            before += size or 0
        yield before, pipeline.close(), False


def _shown(name: str) -> str:
    return "standard input" if name == "-" else name.replace("\n", "\\n")
