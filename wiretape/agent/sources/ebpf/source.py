"""What passes the sockets of chosen processes, as their system calls saw it."""

import mmap
import os
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import NamedTuple, Self

from wiretape.agent.sources.ebpf import processes
from wiretape.agent.sources.ebpf.events import (
    HEADROOM_BYTES,
    IS_NEW,
    IS_OF_OTHER_PORT,
    IS_TLS,
    RING_BYTES,
    EventBatch,
    EventRing,
    Kind,
    Opened,
    Role,
)
from wiretape.agent.sources.ebpf.loader import (
    KPROBE,
    RAW_TRACEPOINT,
    EbpfError,
    EbpfPermissionError,
    Loaded,
    load,
    possible_processors,
)
from wiretape.agent.sources.ebpf.selection import KernelSelection, Selection
from wiretape.agent.sources.ebpf.tls_attacher import PROGRAMS
from wiretape.agent.sources.ebpf.tls_probes import Attacher
from wiretape.kernel.bpf import Map, attach_raw_tracepoint, create_ring

WAIT_NS = 400_000_000
"""How long events wait for others at most: what a batch costs is shared by all that is in it."""
BATCH_BYTES = 4 << 20
MAX_CONNECTIONS = 65536
"""At one time, those of ports that are not chosen included."""
_MAX_OWNERS = 4096
_CALM_TICK_S, _BUSY_TICK_S = 0.1, 0.02
_ENOUGH_PART = 4

_SOURCES = (
    "kernel.bpf.c",
    "events.bpf.c",
    "processes.bpf.c",
    "sockets.bpf.c",
    "streams.bpf.c",
    "tls.bpf.c",
    "calls.bpf.c",
)
_FOLLOWING = ("sched_process_fork", "task_rename", "sched_process_exit")
"""Tracepoints, and the functions attached to them; these first."""
_LOOKING = ("tcp_destroy_sock", "inet_sock_set_state", "sys_enter", "sys_exit")
_CONTINUATIONS = {"continuations": "tell_data", "tls_continuations": "tell_plaintext"}
"""What goes on where one program was not enough."""
_INITIAL_PID_NAMESPACE = 0xEFFFFFFC

Address = IPv4Address | IPv6Address


class Losses(NamedTuple):
    """What the kernel counted since the source was opened."""

    events: int
    """That found no room in the ring."""
    bytes: int
    """Of payload in them."""
    news: int
    """Of these events, those that opened or ended something."""
    untracked_connections: int
    """Beyond MAX_CONNECTIONS."""
    untracked_bytes: int
    """Of theirs."""


@dataclass(frozen=True)
class SocketConnection:
    """A connection as it was when it became known."""

    number: int
    local: tuple[Address, int]
    remote: tuple[Address, int]
    accepted: bool | None
    """Whether the process accepted it, or made it; None where it was open before, and it cannot be
    told."""
    opened_at_ns: int
    """Since the epoch; of one that was open before, when it was first seen."""
    open_before: bool
    before: tuple[int, int]
    """Bytes received and sent before it was first seen; what was sent may be one too many."""
    pid: int
    command: bytes
    cgroup: str
    container: str
    """Its id; empty where it is no container's."""
    netns: int
    carrier: int | None = None
    """Of the plaintext of a TLS stream: the number of the connection that carries it; 0 where that
    is not known, and the addresses are none."""
    of_other_port: bool = False
    """It is said only to tell that the ports of its carrier are not among those selected."""


class _Owner(NamedTuple):
    command: bytes
    cgroup: str
    container: str


class EbpfSource:
    """Programs in the kernel, their ring, and what is known of connections; a context."""

    def __init__(self, selection: Selection, ring_bytes: int = RING_BYTES) -> None:
        """Raises EbpfError; EbpfPermissionError where the process may not."""
        self.connections: dict[int, SocketConnection] = {}
        """By number; until the batch with its CLOSED is released."""
        self._over: list[int] = []
        self._owners: dict[tuple[int, int, bytes], _Owner] = {}
        self._links: list[int] = []
        self.selects_ports = bool(selection.ports)
        self._attacher: Attacher | None = None
        self._loaded = Loaded({}, {})
        self._busy = False
        _check_namespace()
        chosen = KernelSelection(selection)
        self._descriptor = _ring(ring_bytes)
        try:
            self._ring = EventRing(self._descriptor, ring_bytes)
            self._loaded = load(
                _SOURCES,
                {
                    **dict.fromkeys((*_FOLLOWING, *_LOOKING, "tell_data"), RAW_TRACEPOINT),
                    **dict.fromkeys((*PROGRAMS, "tell_plaintext"), KPROBE),
                },
                ["counters", "carriers", *_CONTINUATIONS, *chosen.maps],
                {
                    "RING_DATA_BYTES": ring_bytes - HEADROOM_BYTES,
                    "PROCESSORS": possible_processors(),
                    "MAX_CONNECTIONS": MAX_CONNECTIONS,
                    **chosen.macros,
                },
                inherited={"RING": self._descriptor},
                values={"AGENT": os.getpid()},
            )
            counters = mmap.mmap(self._loaded.maps["counters"], mmap.PAGESIZE, prot=mmap.PROT_READ)
            self._counters = memoryview(counters).cast("Q")
            # Written to without a system call, for which there will be no privilege.
            carriers = mmap.mmap(self._loaded.maps["carriers"], 8 * MAX_CONNECTIONS)
            self._carriers = memoryview(carriers).cast("Q")
            for continuations, name in _CONTINUATIONS.items():
                following = struct.pack("=I", self._loaded.programs[name])
                Map(self._loaded.maps[continuations])[bytes(4)] = following
            chosen.prepare(self._loaded)
            self._attach(_FOLLOWING)
            chosen.scan(self._loaded)
            self._attach(_LOOKING)
            self._attacher = Attacher(
                self._loaded.programs, selection, self._loaded.maps.get("processes")
            )
        except OSError as error:
            self.__exit__()
            raise _translated(error) from error
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *unused: object) -> None:
        self.stop()
        self._loaded.close()
        self._loaded = Loaded({}, {})
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _attach(self, names: tuple[str, ...]) -> None:
        for name in names:
            try:
                link = attach_raw_tracepoint(name, self._loaded.programs[name])
            except FileNotFoundError:
                needs = "CONFIG_FTRACE_SYSCALLS and CONFIG_TRACEPOINTS"
                raise EbpfError(f"this kernel has no tracepoint {name} ({needs})") from None
            self._links.append(link)

    # -- events

    def wait(self, stopped: Callable[[], bool]) -> None:
        """Until it is worth while to read: enough is there, or what is there has waited."""
        until_ns = time.monotonic_ns() + WAIT_NS
        tick_s, self._busy = _BUSY_TICK_S if self._busy else _CALM_TICK_S, False
        while not stopped():
            if self._ring.ready() >= self._ring.size // _ENOUGH_PART:
                self._busy = True
                return
            left_ns = until_ns - time.monotonic_ns()
            if left_ns <= 0:
                return
            time.sleep(min(tick_s, left_ns / 1e9))

    def batches(self) -> Iterator[EventBatch]:
        """What is ready, in batches; each is good until the next one is asked for."""
        # No more than is ready now: the kernel may be faster than we.
        left = self._ring.ready()
        while left > 0:
            batch = self._ring.batch(min(left, BATCH_BYTES), _clock_offset_ns())
            if batch is None:
                return
            left -= len(batch.buffer)
            self._learn(batch)
            try:
                yield batch
            finally:
                self._ring.release()
                for number in self._over:
                    self.connections.pop(number, None)
                self._over.clear()

    def silence(self, number: int) -> None:
        """What this connection passes is told as plaintext of TLS: it need not come any more."""
        self._carriers[(number ^ number >> 36) % MAX_CONNECTIONS] = number

    @property
    def losses(self) -> Losses:
        return Losses(*self._counters[: len(Losses._fields)])

    def overfull(self) -> bool:
        """Whether so much waits that the kernel will soon have no room."""
        return self._ring.ready() > self._ring.size - self._ring.size // _ENOUGH_PART

    def news(self) -> list[str]:
        """What is to be told of TLS libraries, in lines, since this was last asked."""
        return self._attacher.news() if self._attacher is not None else []

    def stop(self) -> None:
        """No event more; those that came are ready when this returns."""
        if self._attacher is not None:
            self._attacher.close()
            self._attacher = None
        for link in self._links:
            os.close(link)
        self._links.clear()

    def _learn(self, batch: EventBatch) -> None:
        for n in (batch.kind == Kind.OPENED).nonzero()[0].tolist():
            number = int(batch.connection[n])
            self.connections[number] = self._connection(batch, n, batch.opened(n))
        # Who reads the batch keeps what it needs of TLS: of a process that died, no end may come.
        over = (batch.kind == Kind.CLOSED) | (batch.kind == Kind.OPENED) & (batch.flags != 0)
        self._over += batch.connection[over].tolist()

    def _connection(self, batch: EventBatch, n: int, opened: Opened) -> SocketConnection:
        pid = int(batch.process[n])
        owner = self._owner(pid, opened)
        accepted: bool | None = opened.role is Role.ACCEPTED
        if opened.role is Role.OPEN_BEFORE and opened.local_port:
            accepted = opened.local_port in processes.listening_ports(pid) or None
        flags, carrier = int(batch.flags[n]), int(batch.position[n])
        open_before = opened.role is Role.OPEN_BEFORE
        if flags & IS_TLS:
            # What carries it may have been there, or not be known.
            open_before = (bool(carrier) and open_before) or not flags & IS_NEW
        return SocketConnection(
            number=int(batch.connection[n]),
            local=(_address(opened.local), opened.local_port),
            remote=(_address(opened.remote), opened.remote_port),
            accepted=accepted,
            opened_at_ns=int(batch.at_ns[n]),
            open_before=open_before,
            before=opened.before,
            pid=pid,
            command=owner.command,
            cgroup=owner.cgroup,
            container=owner.container,
            netns=opened.netns,
            carrier=carrier if flags & IS_TLS else None,
            of_other_port=bool(flags & IS_OF_OTHER_PORT),
        )

    def _owner(self, pid: int, opened: Opened) -> _Owner:
        # Another process of the same number differs in these, or is the same service.
        key = (pid, opened.cgroup, opened.command)
        owner = self._owners.get(key)
        if owner is None:
            if len(self._owners) >= _MAX_OWNERS:
                self._owners.clear()
            path = processes.cgroup(pid)
            # A thread's name may be another; the process may be gone.
            command = processes.command(pid) or opened.command
            owner = self._owners[key] = _Owner(command, path, processes.container(path))
        return owner


def _address(packed: bytes) -> Address:
    if len(packed) == 4:
        return IPv4Address(packed)
    address = IPv6Address(packed)
    return address.ipv4_mapped or address


def _clock_offset_ns() -> int:
    """What to add to the monotonic clock: of some measurements, the one least interrupted."""
    best, offset = 1 << 62, 0
    for _ in range(3):
        before = time.monotonic_ns()
        real = time.time_ns()
        after = time.monotonic_ns()
        if after - before < best:
            best, offset = after - before, real - (before + after) // 2
    return offset


def _check_namespace() -> None:
    """The kernel tells pids of the first namespace: in another one they would mean others."""
    if Path("/proc/self/ns/pid").stat().st_ino != _INITIAL_PID_NAMESPACE:
        raise EbpfError("eBPF capture must run in the host's PID namespace (docker run --pid=host)")


def _ring(size: int) -> int:
    try:
        return create_ring(size, "wiretape_events")
    except OSError as error:
        raise _translated(error) from error


def _translated(error: OSError) -> EbpfError:
    if isinstance(error, PermissionError):
        return EbpfPermissionError("eBPF capture needs CAP_BPF and CAP_PERFMON, or root")
    release = os.uname().release
    return EbpfError(f"no eBPF capture on Linux {release}: {error.strerror or error}")
