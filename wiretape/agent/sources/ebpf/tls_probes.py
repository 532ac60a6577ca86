"""The process that attaches programs to TLS libraries, as the agent sees it."""

import json
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import partial

from wiretape.agent.privileges import pass_on
from wiretape.agent.sources.ebpf.selection import Selection
from wiretape.agent.sources.ebpf.tls_attacher import NEEDED, Job

_PATIENCE_S = 30


class Attacher:
    def __init__(
        self, programs: Mapping[str, int], selection: Selection, chosen: int | None
    ) -> None:
        """Returns when all that is loaded now is attached to. Raises OSError.

        `programs` are descriptors by name; `chosen` is that of the map with the processes that are
        selected, where not all are.
        """
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            job = Job(
                socket=theirs.fileno(),
                programs=dict(programs),
                cgroups=list(selection.cgroups),
                chosen=chosen,
            )
            self._child = _started(job)
        self._lines: list[str] = []
        self._is_ready = False
        self._socket.settimeout(_PATIENCE_S)
        while not self._is_ready and self._hear():
            pass
        self._socket.setblocking(False)

    def news(self) -> list[str]:
        """What is to be told since this was last asked, in lines."""
        while self._child.returncode is None and self._hear():
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
        self._child.wait()


def _started(job: Job) -> "subprocess.Popen[bytes]":
    """Of a process of its own: what tells the agent to end reaches its group, the agent ends this
    one, and of the agent's memory it has none."""
    mine = [job["socket"], *job["programs"].values()]
    if job["chosen"] is not None:
        mine.append(job["chosen"])
    # Nothing is imported from the directory in which a privileged command happens to be run.
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "wiretape.agent.sources.ebpf.tls_attacher"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=mine,
        process_group=0,
        preexec_fn=partial(pass_on, *NEEDED),
    )
    assert child.stdin is not None, "it is a pipe"
    # What died is noticed by its silence.
    with suppress(BrokenPipeError), child.stdin:
        child.stdin.write(json.dumps(job).encode())
    return child
