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
from wiretape.agent.sources.ebpf.loader import EbpfError, EbpfPermissionError
from wiretape.agent.sources.ebpf.selection import Selection as ProcessSelection
from wiretape.agent.sources.ebpf.source import EbpfSource
from wiretape.agent.sources.filter import Connection, Selection
from wiretape.agent.sources.libpcap import FilterError
from wiretape.agent.sources.live import LiveCapture
from wiretape.agent.sources.ring import RingError
from wiretape.agent.status import Endpoints, Status, metrics_text
from wiretape.agent.tcp.memory import Traffic
from wiretape.agent.tcp.sample import Sample
from wiretape.exchange.endpoints import endpoint_text
from wiretape.exchange.recording import LiveWriter, RecordingError
from wiretape.exchange.records import Record
from wiretape.exchange.rotation import live_recording

_OWN_BYTES = 112 << 20
"""What the agent takes without any connection: the interpreter, the ring, a batch."""
_CHECK_WEIGHT = 8 << 20
_FLUSH_NS = 300_000_000
"""Less than packets wait for others: what was read is in the file at once."""
_DRAW_NS = 1_000_000_000
_LOG_NS = 60_000_000_000
_METRICS_NS = 5_000_000_000
_LOOK_NS = 1_000_000_000
_MOMENT_NS, _LAST_NS = 300_000_000, 3_000_000_000
"""How long is read before it is looked at signals and clocks again; at the end, before it ends."""
_QUIET_NS = 1_000_000_000
"""What came before is read by then."""
_SOON_NS = 500_000_000
"""Drops within this time are one event."""
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
    except (FilterError, RingError, EbpfError, RecordingError, ValueError) as error:
        if outcome.recorded:
            raise  # nobody's wrong usage any more
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
        _stand_back()
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


def _stand_back() -> None:
    """Whoever has the processor keeps it when packets come: these wait in a ring. A lower priority
    would cost some where others want the processor for long."""
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _account(config: RunConfig) -> Account:
    """Who goes on once the sockets are open. Raises ValueError, PrivilegeError, RecordingError."""
    if config.max_memory_bytes < _OWN_BYTES + _CHECK_WEIGHT:
        least = (_OWN_BYTES + _CHECK_WEIGHT) >> 20
        raise ValueError(f"--max-memory: the agent itself needs some {least}M")
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
    selection = ProcessSelection(config.pids, config.commands, config.cgroups, config.ports)
    try:
        source = EbpfSource(selection)
    except EbpfPermissionError as error:
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
    words = _environment("SSH_CONNECTION").split()
    try:
        client, client_port, server, server_port = words
        return ((ip_address(client), int(client_port), ip_address(server), int(server_port)),)
    except ValueError:
        return ()


def _environment(name: str) -> str:
    """Of this process, else of the nearest of those that called it: sudo passes little on."""
    if value := os.environ.get(name):
        return value
    pid = os.getppid()
    while pid > 1:
        place = Path("/proc", str(pid))
        try:
            for entry in (place / "environ").read_bytes().split(b"\0"):
                key, _, value_bytes = entry.partition(b"=")
                if key == name.encode():
                    return os.fsdecode(value_bytes)
            pid = int((place / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            break
    return ""


class _Run:
    """The loop, and what it does by the clock."""

    def __init__(self, config: RunConfig, feed: Feed, writer: LiveWriter, display: Display) -> None:
        # While a content is put together there are two of it.
        held = (config.max_memory_bytes - _OWN_BYTES) // 2
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
            traffic=Traffic(check_weight=_CHECK_WEIGHT, max_held_bytes=held),
        )
        feed.prepare(self._pipeline)
        self.ledger = self._pipeline.ledger
        self._endpoints = Endpoints()
        self._unwritten: int | None = None
        """Why metrics could not be written last."""
        self._started_ns = time.monotonic_ns()
        self._shown: tuple[int, int, int] = (self._started_ns, 0, 0)
        """When a status was shown last, and the exchanges and packets of then."""
        self._shed_ns = -_CALM_NS
        """When it was last changed how many connections are taken."""
        self._drops = 0
        """Of the pipeline, when it was last looked at."""
        self._came_ns = self._started_ns
        """When something was read last."""
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
            self._read(signals)
            now_ns = time.monotonic_ns()
            self._writer.tick(now_ns)
            for act, at_ns in next_ns.items():
                if at_ns <= now_ns:
                    act()
                    next_ns[act] = now_ns + due[act]
            if signals.rotate:
                signals.rotate = False
                if self._display.terminal:
                    break  # it was closed
                self._writer.rotate()
            if ends_ns is not None and now_ns >= ends_ns:
                break
        self._feed.stop()
        self._read(None)
        self._look()
        self._write(self._pipeline.close(self._feed.unread() + self._feed.dropped()))
        if config.metrics is not None:
            self._write_metrics()
        for service in sorted(self._pipeline.unseen_services):
            self._display.say(f"--service {endpoint_text(*service)}: no connection went there")

    def _read(self, signals: Signals | None) -> None:
        """What is ready now, or what of it can be read in a moment; of fewer connections where the
        kernel drops again and again. Without `signals`, the last time: for some seconds."""
        pipeline, before = self._pipeline, self._pipeline.packets
        begun_ns = time.monotonic_ns()
        most_ns = _LAST_NS if signals is None else _MOMENT_NS
        for records in self._feed.read(pipeline):
            drops = pipeline.drops
            self._write(records)
            now_ns = time.monotonic_ns()
            self._keep_up(now_ns, pipeline.drops > self._drops)
            self._drops = drops
            if now_ns - begun_ns > most_ns or (signals is not None and signals.stop):
                break
        if pipeline.packets != before:
            self._came_ns = time.monotonic_ns()
        elif time.monotonic_ns() - self._came_ns > _QUIET_NS:
            # Without packets only this tells that time goes by.
            self._write(pipeline.elapse(self._feed.now_ns() - _QUIET_NS))

    def _keep_up(self, now_ns: int, dropped: bool) -> None:
        lossy_ns = self._lossy_ns
        if dropped and now_ns - lossy_ns > _SOON_NS:
            self._lossy_ns = now_ns
        # Once may be a moment when others had the processor; and what was let go of needs its time
        # to show.
        again = self._lossy_ns > lossy_ns > now_ns - _CALM_NS
        if again and now_ns - self._shed_ns > _SHED_NS:
            self._shed_ns = now_ns
            self._lossy_ns = -_CALM_NS
            self._write(self._pipeline.shed())
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
            self._endpoints.count(records)

    # -- by the clock

    def _look(self) -> None:
        for change in (*self._feed.changes(), *self._writer.changes()):
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
        text = metrics_text(self._status())
        try:
            new.unlink(missing_ok=True)
            # Others may write into that folder: no link of theirs is followed.
            with new.open("x", encoding="utf-8") as file:
                os.fchmod(file.fileno(), 0o644)  # whatever the mask: it holds nothing private
                file.write(text)
            new.replace(path)
        except OSError as error:
            if error.errno != self._unwritten:
                self._display.say(f"{path}: {error.strerror}")
            self._unwritten = error.errno
        else:
            self._unwritten = None

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
