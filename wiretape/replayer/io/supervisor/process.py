"""The process itself, by `python -m`: it starts the build where the job says, and watches it.

    descriptor     of a socket, the only argument: datagrams of JSON, with descriptors beside them

The first is a Job, whose answer says what was refused. Then come requests, each answered in turn;
"exited" is told unasked. When the socket ends, for whatever reason, so does the build, and all
that it started: in a process namespace by the kernel's hand, else found as our children.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypedDict

from wiretape.replayer.io.supervisor import namespaces
from wiretape.replayer.io.supervisor.namespaces import Network

MAX_MESSAGE_BYTES = 1 << 16
_IP_PKTINFO, _IP_FREEBIND, _IPV6_RECVPKTINFO, _IPV6_FREEBIND = 8, 15, 49, 78
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Job(TypedDict):
    network: bool
    """A network of its own, in namespaces of a user of its own."""
    files: dict[str, str]
    """To be laid over others; with these or a network, mounts and processes have namespaces."""
    hidden: list[str]
    """Folders to be covered."""
    user: tuple[int, int, list[int]] | None
    """Whom the build runs as: user, group, supplementary groups."""
    cgroup: str | None
    """The folder of the control group that the build runs in."""


Answer = tuple[dict[str, Any], list[int]]


class Supervisor:
    """Answers requests; keeps the build's number."""

    def __init__(self, control: socket.socket, job: Job, network: Network | None) -> None:
        self._control = control
        self._job = job
        self._network = network
        self._build: subprocess.Popen[bytes] | None = None

    def serve(self) -> None:
        """Until the socket ends."""
        woken, waker = socket.socketpair()
        for end in (woken, waker):
            end.setblocking(False)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        selector = selectors.DefaultSelector()
        selector.register(self._control, selectors.EVENT_READ)
        selector.register(woken, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is woken:
                    woken.recv(512)
                    self._reap()
                elif not self._request():
                    return

    def _request(self) -> bool:
        data, descriptors, _, _ = socket.recv_fds(self._control, MAX_MESSAGE_BYTES, 4)
        if not data:
            return False
        request = json.loads(data)
        act: dict[str, Callable[[dict[str, Any], list[int]], Answer]] = {
            "socket": self._socket,
            "packets": self._packets,
            "start": self._start,
            "signal": self._signal,
        }
        try:
            answer, made = act[request["do"]](request, descriptors)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            answer, made = {"failure": why}, []
        socket.send_fds(self._control, [json.dumps(answer).encode()], made)
        for descriptor in (*made, *descriptors):
            os.close(descriptor)
        return True

    def _socket(self, request: dict[str, Any], _: Sequence[int]) -> Answer:
        """A socket in one of the networks, bound where "host" says so."""
        family, kind = request["family"], request["kind"]
        with self._inside(request["where"]):
            made = socket.socket(family, kind | socket.SOCK_CLOEXEC)
        with contextlib.ExitStack() as stack:
            stack.callback(made.close)
            if "host" in request:
                if kind == socket.SOCK_STREAM:
                    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                    made.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
                    made.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
                else:
                    made.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
                    made.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
                made.bind((request["host"], request["port"]))
            stack.pop_all()
        return {}, [made.detach()]

    def _packets(self, request: dict[str, Any], _: Sequence[int]) -> Answer:
        """A packet socket that sees nothing yet: it is bound once it has its filter."""
        with self._inside(request["where"]):
            return {}, [socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0).detach()]

    def _inside(self, where: str) -> contextlib.AbstractContextManager[None]:
        return self._network.inside(where) if self._network else contextlib.nullcontext()

    def _start(self, request: dict[str, Any], descriptors: Sequence[int]) -> Answer:
        """Start the build: the first descriptor holds what, the second takes its output."""
        file, output = descriptors
        with open(file, "rb", closefd=False) as words:
            what = json.load(words)
        self._build = subprocess.Popen(
            what["command"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=what["env"],
            start_new_session=True,
            preexec_fn=self._before_build,
        )
        return {}, []

    def _before_build(self) -> None:
        """In the child, before it becomes the build."""
        cgroup, user = self._job["cgroup"], self._job["user"]
        if cgroup is not None:
            Path(cgroup, "cgroup.procs").write_text("0")
        if self._network is not None:
            namespaces.give_up_capabilities()
        elif user is not None:
            namespaces.become(*user)
        signal.set_wakeup_fd(-1)
        for number in _IGNORED:
            signal.signal(number, signal.SIG_DFL)
        namespaces.die_with_parent()

    def _signal(self, request: dict[str, Any], _: Sequence[int]) -> Answer:
        """A signal for the build's process group."""
        if self._build is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._build.pid, request["number"])
        return {}, []

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if self._build is not None and pid == self._build.pid:
                code = self._build.returncode = os.waitstatus_to_exitcode(status)
                with contextlib.suppress(OSError):
                    self._control.send(json.dumps({"exited": code}).encode())


def _end_children() -> None:
    """Kill all that is left; the orphans of each become ours in turn."""
    beyond_us: set[int] = set()
    while left := _children() - beyond_us:
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            except (ProcessLookupError, PermissionError, ChildProcessError):
                beyond_us.add(pid)


def _children() -> set[int]:
    with contextlib.suppress(OSError):
        return set(map(int, Path("/proc/thread-self/children").read_text().split()))
    return set()


def _prepare(control: socket.socket, job: Job) -> Network | None:
    """Enter the namespaces; from here on, where there are any, as their first process."""
    isolated = job["network"] or bool(job["files"])
    if not isolated:
        namespaces.adopt_orphans()
        return None
    if job["network"] and job["user"] is not None:
        namespaces.become(*job["user"])
    namespaces.isolate(job["network"])
    if child := os.fork():
        control.close()
        namespaces.die_with_parent()
        os.waitpid(child, 0)
        os._exit(0)
    namespaces.die_with_parent()
    namespaces.mount(job["files"], job["hidden"])
    return Network() if job["network"] else None


def main() -> NoReturn:
    control = socket.socket(fileno=int(sys.argv[1]))
    # Ends with the socket, or by SIGKILL, so that the build is never left alone.
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    try:
        job: Job = json.loads(control.recv(MAX_MESSAGE_BYTES))
        network = _prepare(control, job)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        control.send(json.dumps({"failure": why}).encode())
        sys.exit(1)
    has_ipv6 = network is None or network.has_ipv6
    control.send(json.dumps({"has_ipv6": has_ipv6}).encode())
    try:
        Supervisor(control, job, network).serve()
    finally:
        # Where we are the first process of a namespace, the kernel ends all others with us.
        if os.getpid() != 1:
            _end_children()
        os._exit(0)


if __name__ == "__main__":
    main()
