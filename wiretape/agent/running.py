"""A live run: the edge that ties the kernel's packets, signals, clocks and files together."""

import gc
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from types import FrameType

from wiretape.agent.config import RunConfig
from wiretape.agent.display import Display
from wiretape.agent.feeding import Feed, PacketFeed, SocketFeed
from wiretape.agent.outcome import FAILED, INTERRUPTED, UNPRIVILEGED, USAGE, Outcome
from wiretape.agent.pipeline import Pipeline
from wiretape.agent.privileges import (
    Account,
    Capability,
    PrivilegeError,
    account_for,
    drop_to,
    how_to_get,
    raise_permitted,
    write_refusal,
)
from wiretape.agent.sources import ebpf
from wiretape.agent.sources.filter import Connection, Selection
from wiretape.agent.sources.libpcap import FilterError
from wiretape.agent.sources.live import LiveCapture
from wiretape.agent.sources.ring import RingError
from wiretape.agent.status import Endpoints, Status, metrics_text
from wiretape.agent.tcp.memory import MAX_HELD_BYTES, Traffic
from wiretape.agent.tcp.sample import Sample
from wiretape.exchange.endpoints import endpoint_text
from wiretape.exchange.recording import LiveWriter, RecordingError
from wiretape.exchange.records import Record
from wiretape.exchange.rotation import live_recording

_OWN_BYTES = 96 << 20
"""What the agent takes without any connection: the interpreter, the ring, a batch."""
_FLUSH_NS = 300_000_000
"""Less than packets wait for others: what was read is in the file at once."""
_DRAW_NS = 1_000_000_000
_LOG_NS = 60_000_000_000
_METRICS_NS = 5_000_000_000
_LOOK_NS = 1_000_000_000
_SHED_NS = 2_000_000_000
_CALM_NS = 10_000_000_000
"""How long it has to have been easy before more is taken again."""


class Signals:
    """SIGINT and SIGTERM end a run, SIGHUP begins a new file: noted here, done by the loop."""

    def __init__(self) -> None:
        self.stop = 0
        self.rotate = False

    def stopped(self) -> bool:
        return self.stop != 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self.rotate = True
        else:
            self.stop = number


@contextmanager
def _signals() -> Iterator[Signals]:
    signals = Signals()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signals) for number in numbers}
    # A full disk and a file too large are errors of write, to be told as such.
    before[signal.SIGXFSZ] = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_capture(config: RunConfig, display: Display) -> Outcome:
    """Records what passes until it is told to end.

    Whatever goes wrong, what passed until then is in the recording and in the ledger.
    """
    outcome = Outcome()
    started_ns = time.monotonic_ns()
    # As with an import nothing makes cycles; once a minute it is looked for them anyway.
    gc.disable()
    try:
        with _signals() as signals:
            _open_and_run(config, signals, outcome, display)
            if signals.stop == signal.SIGINT:
                outcome.exit_code = outcome.exit_code or INTERRUPTED
    except PrivilegeError as error:
        display.say(str(error))
        outcome.exit_code = UNPRIVILEGED
    except (FilterError, RingError, ebpf.EbpfError, RecordingError, ValueError) as error:
        display.say(str(error))
        outcome.exit_code = USAGE
    except OSError as error:
        display.say(f"{config.output}: {error.strerror}; what was written before it can be read")
        outcome.exit_code = FAILED
    finally:
        gc.enable()
    outcome.ledger.seconds = (time.monotonic_ns() - started_ns) / 1e9
    if outcome.recorded:
        outcome.write_summary(config.summary_json, display.say)
    return outcome


def _open_and_run(config: RunConfig, signals: Signals, outcome: Outcome, display: Display) -> None:
    account = _account(config)
    with _opened(config) as feed:
        drop_to(account)
        with live_recording(
            config.output,
            display.say,
            force=config.force,
            rotate_bytes=config.rotate_bytes,
            rotate_ns=config.rotate_ns,
            max_disk_bytes=config.max_disk_bytes,
        ) as writer:
            outcome.recorded = True
            run = _Run(config, feed, writer, display)
            outcome.ledger = run.ledger
            try:
                run.go(signals)
            finally:
                display.clear()


def _account(config: RunConfig) -> Account:
    """Who goes on once the sockets are open. Raises ValueError, PrivilegeError, RecordingError."""
    raise_permitted()
    account = account_for(config.user)
    output = Path(config.output)
    folders = {output if config.output.endswith("/") else output.parent}
    folders |= {path.parent for path in (config.metrics, config.summary_json) if path is not None}
    for folder in sorted(folders):
        refusal = write_refusal(account, folder)
        if refusal:
            raise RecordingError(refusal)
    return account


def _opened(config: RunConfig) -> Feed:
    """The source. Raises PrivilegeError, with the command that has the privilege; FilterError,
    RingError, EbpfError."""
    if config.source == "ebpf":
        return _hooked(config)
    needed = [Capability.NET_RAW, *([Capability.SYS_ADMIN] if config.netns else [])]
    try:
        capture = LiveCapture(
            config.interfaces, _selection(config), config.expression, config.netns
        )
    except PermissionError:
        names = " and ".join(f"CAP_{each.name}" for each in needed)
        raise PrivilegeError(
            f"capturing packets needs {names}: {how_to_get(sys.argv, *needed)}"
        ) from None
    return PacketFeed(capture, ", ".join(config.interfaces) or "all interfaces")


def _hooked(config: RunConfig) -> Feed:
    selection = ebpf.Selection(config.pids, config.commands, config.cgroups, config.ports)
    try:
        source = ebpf.EbpfSource(selection)
    except ebpf.EbpfPermissionError as error:
        needed = Capability.BPF, Capability.PERFMON
        raise PrivilegeError(f"{error}: {how_to_get(sys.argv, *needed)}") from None
    chosen = [
        *(f"process {pid}" for pid in config.pids), *config.commands, *config.cgroups,
    ]  # fmt: skip
    return SocketFeed(source, "sockets of " + (", ".join(chosen) or "all processes"))


def _selection(config: RunConfig) -> Selection:
    return Selection(
        ports=config.ports,
        hosts=config.hosts,
        excluded=_shown_through(),
    )


def _shown_through() -> tuple[Connection, ...]:
    """The connection that our own output takes to whoever looks at it, where that is SSH: each line
    would make packets, and they another line."""
    words = os.environ.get("SSH_CONNECTION", "").split()
    try:
        client, client_port, server, server_port = words
        return ((ip_address(client), int(client_port), ip_address(server), int(server_port)),)
    except ValueError:
        return ()


class _Run:
    """The loop, and what it does by the clock."""

    def __init__(self, config: RunConfig, feed: Feed, writer: LiveWriter, display: Display) -> None:
        held = min(max(config.max_memory_bytes - _OWN_BYTES, 8 << 20), MAX_HELD_BYTES)
        self._config = config
        self._feed = feed
        self._writer = writer
        self._display = display
        self._sample = Sample(config.sampled)
        self._pipeline = Pipeline(
            feed.source,
            config.max_content_bytes,
            config.services,
            sample=self._sample,
            traffic=Traffic(max_held_bytes=held),
        )
        feed.prepare(self._pipeline)
        self.ledger = self._pipeline.ledger
        self._endpoints = Endpoints()
        self._started_ns = time.monotonic_ns()
        self._shown: tuple[int, int, int] = (self._started_ns, 0, 0)
        """When a status was shown last, and the exchanges and packets of then."""
        self._shed_ns = -_CALM_NS
        """When it was last changed how many connections are taken."""
        self._lossy_ns = -_CALM_NS
        """When the kernel was last seen to have dropped packets."""

    def go(self, signals: Signals) -> None:
        """Until a signal, or the end of the time that was given. Raises OSError where written."""
        config = self._config
        due = {
            self._writer.flush: _FLUSH_NS,
            self._look: _LOOK_NS,
            self._show: _DRAW_NS if self._display.terminal else _LOG_NS,
            self._collect: _LOG_NS,
        }
        if config.metrics is not None:
            due[self._write_metrics] = _METRICS_NS
            self._write_metrics()
        next_ns = {act: self._started_ns + every_ns for act, every_ns in due.items()}
        ends_ns = None if config.duration_ns is None else self._started_ns + config.duration_ns
        self._display.say(f"capturing from {self._feed.where} to {config.output}; Ctrl-C ends it")
        while not signals.stopped():
            self._feed.wait(signals.stopped)
            self._read()
            now_ns = time.monotonic_ns()
            self._writer.tick(now_ns)
            for act, at_ns in next_ns.items():
                if at_ns <= now_ns:
                    act()
                    next_ns[act] = now_ns + due[act]
            if signals.rotate:
                signals.rotate = False
                self._writer.rotate()
            if ends_ns is not None and now_ns >= ends_ns:
                break
        self._feed.stop()
        self._read()
        self._look()
        self._write(self._pipeline.close(self._feed.dropped()))
        if config.metrics is not None:
            self._write_metrics()
        for service in sorted(self._pipeline.unseen_services):
            self._display.say(f"--service {endpoint_text(*service)}: no connection went there")

    def _read(self) -> None:
        """All that is ready now; of fewer connections where the kernel drops again and again."""
        pipeline = self._pipeline
        drops = pipeline.drops
        for records in self._feed.read(pipeline):
            self._write(records)
        now_ns = time.monotonic_ns()
        lossy_ns = self._lossy_ns
        if pipeline.drops > drops:
            self._lossy_ns = now_ns
        # Once may be a moment when others had the processor; and what was let go of needs its time
        # to show.
        again = self._lossy_ns > lossy_ns > now_ns - _CALM_NS
        if again and now_ns - self._shed_ns > _SHED_NS:
            self._shed_ns = now_ns
            self._lossy_ns = -_CALM_NS
            self._write(pipeline.shed())
            self._say_part("more comes than can be read")
        elif self._sample.narrowed and now_ns - max(self._shed_ns, self._lossy_ns) > _CALM_NS:
            self._shed_ns = now_ns
            self._sample.widen()
            self._say_part("it can be read again")

    def _say_part(self, why: str) -> None:
        self._display.say(
            f"{why}: from now on {self._sample.part:.1%} of all connections are taken"
        )

    def _write(self, records: list[Record]) -> None:
        if records:
            self._writer.write_records(records, time.monotonic_ns())
            if self._display.terminal:
                self._endpoints.count(records)

    # -- by the clock

    def _look(self) -> None:
        for change in self._feed.changes():
            self._display.say(change)

    def _collect(self) -> None:
        gc.collect()

    def _show(self) -> None:
        status = self._status()
        if self._display.terminal:
            self._display.draw(status.line(self._display.columns()))
        else:
            self._display.log(status.entry(time.time_ns()))
        self._shown = time.monotonic_ns(), self.ledger.exchanges, self.ledger.packets

    def _write_metrics(self) -> None:
        """All at once: whoever reads it sees the old one or the new one."""
        path = self._config.metrics
        assert path is not None, "only where they were asked for"
        new = Path(f"{path}.new")
        try:
            new.write_text(metrics_text(self._status()), encoding="utf-8")
            new.chmod(0o644)  # whatever the mask: it holds nothing private
            new.replace(path)
        except OSError as error:
            self._display.say(f"{path}: {error.strerror}")

    def _status(self) -> Status:
        now_ns = time.monotonic_ns()
        ledger, writer = self.ledger, self._writer
        before_ns, exchanges, packets = self._shown
        seconds = max(now_ns - before_ns, 1) / 1e9
        return Status(
            seconds=(now_ns - self._started_ns) / 1e9,
            ledger=ledger,
            exchanges_per_second=(ledger.exchanges - exchanges) / seconds,
            packets_per_second=(ledger.packets - packets) / seconds,
            open_connections=self._pipeline.open_connections,
            sampled=self._sample.part,
            disk_bytes=writer.bytes_on_disk,
            files=writer.files,
            removed_files=writer.removed_files,
            endpoints=self._endpoints.top(),
        )
