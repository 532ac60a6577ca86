"""Imports captures: the edge that ties files, signals and the pipeline together."""

import gc
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from wiretape.agent.config import ImportConfig
from wiretape.agent.ledger import Ledger
from wiretape.agent.pipeline import Pipeline
from wiretape.agent.progress import progress_bar
from wiretape.agent.sources.pcap_file import CaptureError, CaptureFile, open_capture
from wiretape.exchange.endpoints import endpoint_text
from wiretape.exchange.recording import RecordingError, RecordingWriter

OK, USAGE, UNREADABLE, FAILED, INTERRUPTED = 0, 2, 3, 70, 130


class Outcome:
    """What an import came to: its ledger and its exit code."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.exit_code = OK
        self.recorded = False


class Interruption:
    """SIGINT and SIGTERM: noted, and raised only in its `with`, where input is waited for."""

    def __init__(self) -> None:
        self.happened = False
        self.waiting = False

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


def import_captures(config: ImportConfig, say: Callable[[str], None]) -> Outcome:
    """Imports `config.captures` in their order; `say` takes one-line messages.

    Whatever goes wrong, what was read until then is in the recording and in the ledger.
    """
    outcome = Outcome()
    started_ns = time.monotonic_ns()
    # Nothing here makes cycles (connections undo theirs when they close), so the collector would
    # only walk over live objects, again and again: a tenth of the time.
    gc.disable()
    with _interruptible() as interruption:
        captures = _open_all(config, interruption, outcome, say)
        try:
            if captures:
                _import_opened(config, captures, interruption, outcome, say)
        finally:
            for _, capture in captures:
                capture.close()
        if interruption.happened and not captures:
            say("interrupted before anything was read")
            outcome.exit_code = INTERRUPTED
    gc.enable()
    outcome.ledger.seconds = (time.monotonic_ns() - started_ns) / 1e9
    if outcome.exit_code != USAGE:
        _write_summary(config, outcome, say)
    return outcome


def _open_all(
    config: ImportConfig,
    interruption: Interruption,
    outcome: Outcome,
    say: Callable[[str], None],
) -> list[tuple[str, CaptureFile]]:
    captures = []
    for name in config.captures:
        try:
            captures.append((name, open_capture(name, waiting=interruption)))
        except CaptureError as error:
            if interruption.happened:
                break
            say(f"{_shown(name)}: {error}")
            outcome.exit_code = UNREADABLE
    return captures


def _import_opened(
    config: ImportConfig,
    captures: list[tuple[str, CaptureFile]],
    interruption: Interruption,
    outcome: Outcome,
    say: Callable[[str], None],
) -> None:
    pipeline = Pipeline("pcap", config.max_content_bytes, config.services, config.fast)
    outcome.ledger = pipeline.ledger
    try:
        with RecordingWriter(config.output, force=config.force) as writer:
            for name, capture in captures:
                try:
                    with progress_bar(capture.size) as progressed:
                        for batch in capture.batches(pipeline.ledger.packets):
                            writer.write_records(pipeline.feed(batch))
                            if capture.paused:
                                writer.flush()
                            progressed(capture.position)
                except CaptureError as error:
                    if not interruption.happened:
                        say(f"{_shown(name)}: {error}; everything before it was imported")
                        outcome.exit_code = UNREADABLE
                if interruption.happened:
                    say("interrupted; what was read until then was imported")
                    outcome.exit_code = INTERRUPTED
                    break
            writer.write_records(pipeline.close())
        outcome.recorded = True
        for service in sorted(pipeline.unseen_services):
            say(f"--service {endpoint_text(*service)}: no connection went there")
    except RecordingError as error:
        say(str(error))
        outcome.exit_code = USAGE
    except OSError as error:
        say(f"{config.output}: {error.strerror}; what was written before it can be read")
        outcome.exit_code = FAILED


def _write_summary(config: ImportConfig, outcome: Outcome, say: Callable[[str], None]) -> None:
    if config.summary_json is None:
        return
    try:
        text = json.dumps(outcome.ledger.as_json(), indent=1) + "\n"
        config.summary_json.write_text(text, encoding="utf-8")
    except OSError as error:
        say(f"{config.summary_json}: {error.strerror}")
        outcome.exit_code = outcome.exit_code or FAILED


def _shown(name: str) -> str:
    return "standard input" if name == "-" else os.fspath(name)
