"""Attaches programs to functions of TLS libraries, by a process that keeps the privilege for it.

Libraries are loaded at any time, so this goes on when the agent has given up its privileges: a
child of the agent keeps those that it takes to look into processes and to attach, does nothing
else, and reads nothing of what is captured. It ends when the agent does, in whatever way, and with
it what it has attached.
"""

import contextlib
import ctypes
import fcntl
import gc
import json
import os
import platform
import resource
import select
import signal
import socket
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from wiretape.agent.privileges import Capability, effective_capabilities, keep
from wiretape.agent.sources.ebpf import processes
from wiretape.agent.sources.ebpf.kernel import Map
from wiretape.agent.sources.ebpf.selection import Selection
from wiretape.agent.sources.ebpf.tls_libraries import Libraries, Library

SCAN_S = 0.4
"""How often it is looked for processes and libraries that are new."""
_PATIENCE_S = 30

NEEDED = (
    Capability.BPF,
    Capability.PERFMON,
    Capability.SYS_ADMIN,
    Capability.SYS_PTRACE,
    Capability.DAC_READ_SEARCH,
)
"""To attach (kernels from 6.16 on have returned to SYS_ADMIN for that), to see what processes of
others have loaded, and to open it."""

_NUMBERS = {"x86_64": 298, "aarch64": 241}
_UPROBE = Path("/sys/bus/event_source/devices/uprobe")
_ONLINE = Path("/sys/devices/system/cpu/online")
_ATTRIBUTES = struct.Struct("<IIQQQQQIIQQ")
_ATTRIBUTES_BYTES = 112
_CLOSE_ON_EXEC = 8
_SET_PROGRAM, _ENABLE = 0x40042408, 0x2400

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class _Probe(NamedTuple):
    program: str
    returns: bool = False
    """Where the function returns, not where it begins."""


_CALLS = {
    "tls_receive": (b"SSL_read", b"gnutls_record_recv"),
    "tls_receive_ex": (b"SSL_read_ex",),
    "tls_send": (b"SSL_write", b"gnutls_record_send"),
    "tls_send_ex": (b"SSL_write_ex",),
    "tls_create": (b"gnutls_init",),
}
PROBES: dict[bytes, list[_Probe]] = {
    b"SSL_new": [_Probe("tls_created", returns=True)],
    b"SSL_clear": [_Probe("tls_cleared")],
    b"SSL_free": [_Probe("tls_end")],
    b"gnutls_deinit": [_Probe("tls_end")],
    # The return first: what begins is seen to end.
    **{
        function: [_Probe("tls_return", returns=True), _Probe(program)]
        for program, functions in _CALLS.items()
        for function in functions
    },
}
"""What is attached where."""
PROGRAMS = sorted({probe.program for probes in PROBES.values() for probe in probes})


class Attacher:
    """The child, as the agent sees it."""

    def __init__(
        self, programs: Mapping[str, int], selection: Selection, chosen: int | None
    ) -> None:
        """Returns when all that is loaded now is attached to. Raises OSError.

        `programs` are descriptors by name; `chosen` is that of the map with the processes that are
        selected, where not all are.
        """
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._child = os.fork()
        if self._child == 0:
            try:
                self._socket.close()
                _Child(theirs, programs, selection, chosen).run()
            finally:
                os._exit(0)
        theirs.close()
        self._lines: list[str] = []
        self._is_ready = False
        self._socket.settimeout(_PATIENCE_S)
        while not self._is_ready and self._hear():
            pass
        self._socket.setblocking(False)

    def news(self) -> list[str]:
        """What is to be told since this was last asked, in lines."""
        while self._child and self._hear():
            pass
        lines, self._lines = self._lines, []
        return lines

    def close(self) -> None:
        """Takes all that is attached away."""
        self._socket.close()
        self._reap()

    def _hear(self) -> bool:
        """Takes one message; whether there was one."""
        try:
            message = self._socket.recv(1 << 16)
        except TimeoutError:
            self._lines.append("TLS libraries are looked for still: some may be seen late")
            return False
        except BlockingIOError:
            return False
        if not message:
            self._reap()
            self._lines.append("TLS is not looked at any more: the process that does so died")
            return False
        said = json.loads(message)
        self._is_ready = self._is_ready or said == "ready"
        if said != "ready":
            self._lines.append(said)
        return True

    def _reap(self) -> None:
        if self._child:
            os.waitpid(self._child, 0)
            self._child = 0


class _Child:
    def __init__(
        self,
        agent: socket.socket,
        programs: Mapping[str, int],
        selection: Selection,
        chosen: int | None,
    ) -> None:
        self._agent = agent
        self._programs = programs
        self._cgroups = tuple(f"/{path.strip('/')}" for path in selection.cgroups)
        self._chosen = None if chosen is None else Map(chosen)
        self._libraries = Libraries(frozenset(PROBES))
        self._attached: list[int] = []
        self._is_refusal_told = False

    def run(self) -> None:
        """Until the agent is no more."""
        # What tells the agent to end reaches its group; the agent ends this one.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        # Memory is shared with the agent as long as nothing is written to it.
        gc.disable()
        self._close_others()
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        keep(*NEEDED)
        self._attach(self._libraries.common())
        self._scan()
        self._say("ready")
        while not select.select([self._agent], [], [], SCAN_S)[0]:
            self._scan()

    def _close_others(self) -> None:
        """What the agent has open, it closes when it wants."""
        mine = {self._agent.fileno(), *self._programs.values()}
        if self._chosen is not None:
            mine.add(self._chosen.descriptor)
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(nothing, number)
        for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
            if int(name) > 2 and int(name) not in mine:
                with contextlib.suppress(OSError):  # that of the listing itself
                    os.close(int(name))

    def _say(self, text: str) -> None:
        try:
            self._agent.send(json.dumps(text).encode())
        except OSError:
            os._exit(0)

    def _scan(self) -> None:
        pids = set(self._pids())
        self._libraries.forget(pids)
        for pid in sorted(pids):
            try:
                self._attach(self._libraries.of(pid))
            except PermissionError:
                if not self._is_refusal_told:
                    self._is_refusal_told = True
                    why = "CAP_SYS_PTRACE is missing"
                    if Capability.SYS_PTRACE in effective_capabilities():
                        why = f"/proc/{pid}/maps is refused"
                    self._say(f"process {pid}, and others like it: TLS is not looked at: {why}")

    def _pids(self) -> Iterator[int]:
        if self._chosen is not None:
            for key in self._chosen.keys(4):
                yield int.from_bytes(key, "little")
            return
        agent = {os.getpid(), os.getppid()}
        for pid in processes.pids():
            if pid not in agent and (not self._cgroups or self._is_in_cgroup(pid)):
                yield pid

    def _is_in_cgroup(self, pid: int) -> bool:
        place = f"{processes.cgroup(pid)}/"
        # With or without where the hierarchy is mounted.
        return any(f"{path}/".endswith(place) or place.startswith(f"{path}/")
                   for path in self._cgroups)  # fmt: skip

    def _attach(self, libraries: Iterator[Library]) -> None:
        for library in libraries:
            try:
                for function, offset in library.functions.items():
                    for probe in PROBES[function]:
                        program = self._programs[probe.program]
                        self._attached.append(
                            attach_uprobe(library.file, offset, probe.returns, program)
                        )
            except PermissionError:
                self._say(f"{library.path}: its TLS is not looked at: CAP_SYS_ADMIN is missing")
            except OSError as error:
                self._say(f"{library.path}: its TLS is not looked at: {error.strerror}")


def attach_uprobe(file: int, offset: int, returns: bool, program: int) -> int:
    """The descriptor that holds a program to a place in a file, in whatever process; closed, it is
    off. Raises OSError."""
    path = ctypes.create_string_buffer(f"/proc/self/fd/{file}".encode())
    attributes = _ATTRIBUTES.pack(
        int((_UPROBE / "type").read_text(encoding="ascii")),
        _ATTRIBUTES_BYTES,
        _return_bit() if returns else 0,
        0, 0, 0, 0, 0, 0,
        ctypes.addressof(path),
        offset,
    )  # fmt: skip
    buffer = ctypes.create_string_buffer(attributes, _ATTRIBUTES_BYTES)
    processor = int(_ONLINE.read_text(encoding="ascii").replace("-", ",").split(",")[0])
    descriptor = _libc.syscall(
        ctypes.c_long(_NUMBERS[platform.machine()]),
        buffer,
        ctypes.c_long(-1),
        ctypes.c_long(processor),
        ctypes.c_long(-1),
        ctypes.c_long(_CLOSE_ON_EXEC),
    )
    if descriptor < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    try:
        fcntl.ioctl(descriptor, _SET_PROGRAM, program)
        fcntl.ioctl(descriptor, _ENABLE, 0)
    except OSError:
        os.close(descriptor)
        raise
    return int(descriptor)


def _return_bit() -> int:
    text = (_UPROBE / "format/retprobe").read_text(encoding="ascii")
    return 1 << int(text.strip().removeprefix("config:"))
