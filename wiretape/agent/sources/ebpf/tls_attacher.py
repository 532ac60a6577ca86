"""Attaches programs to functions of TLS libraries, in a process of its own, by `python -m`.

Libraries are loaded at any time, so this goes on when the agent has given up its privileges: it
keeps those that it takes to look into processes and to attach, does nothing else, and reads nothing
of what is captured. It ends when the agent does, in whatever way, and with it what it has attached.

    standard input    a Job, as JSON
    descriptor        of a socket, in the job: "ready" when all that is loaded is attached to, and
                      what is to be told, each a message of JSON
"""

import json
import os
import resource
import select
import signal
import socket
import sys
from collections.abc import Iterator
from typing import NamedTuple, TypedDict

from wiretape.agent.privileges import Capability, effective_capabilities, keep
from wiretape.agent.sources.ebpf import processes
from wiretape.agent.sources.ebpf.tls_libraries import Libraries, Library
from wiretape.agent.sources.ebpf.uprobes import attach_uprobe
from wiretape.kernel.bpf import Map

SCAN_S = 0.4
"""How often it is looked for processes and libraries that are new."""

NEEDED = (
    Capability.BPF,
    Capability.PERFMON,
    Capability.SYS_ADMIN,
    Capability.SYS_PTRACE,
    Capability.DAC_READ_SEARCH,
)
"""To attach (kernels from 6.16 on have returned to SYS_ADMIN for that), to see what processes of
others have loaded, and to open it."""


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


class Job(TypedDict):
    socket: int
    programs: dict[str, int]
    """Descriptors by name."""
    cgroups: list[str]
    """Paths of those that are selected; none where all are."""
    chosen: int | None
    """The descriptor of the map with the processes that are selected, where not all are."""


def main() -> None:
    job: Job = json.load(sys.stdin)
    with socket.socket(fileno=job["socket"]) as agent:
        _Child(agent, job).run()


class _Child:
    def __init__(self, agent: socket.socket, job: Job) -> None:
        self._agent = agent
        self._programs = job["programs"]
        self._cgroups = tuple(f"/{path.strip('/')}" for path in job["cgroups"])
        self._chosen = None if job["chosen"] is None else Map(job["chosen"])
        self._libraries = Libraries(frozenset(PROBES))
        self._attached: list[int] = []
        self._is_refusal_told = False

    def run(self) -> None:
        """Until the agent is no more."""
        # What ends a service is sent to all its processes; the agent goes on until it has written.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        keep(*NEEDED)
        self._attach(self._libraries.common())
        self._scan()
        self._say("ready")
        while not select.select([self._agent], [], [], SCAN_S)[0]:
            self._scan()

    def _say(self, text: str) -> None:
        try:
            self._agent.send(json.dumps(text).encode())
        except OSError:
            sys.exit()

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


if __name__ == "__main__":
    main()
