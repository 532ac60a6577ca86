"""The build's process: started in a session of its own, gone afterwards with all its children."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from wiretape.replayer.errors import EnvironmentFailedError

# As much of the end of the build's output as is kept, in bytes and in lines of a report.
_OUTPUT_BYTES = 64 << 10
OUTPUT_LINES = 20
_GRACE_S = 3.0
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None)


def _die_with_parent() -> None:
    """Runs in the child before the build: killed even where we were, with SIGKILL."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Build:
    """One run of COMMAND."""

    def __init__(self, process: asyncio.subprocess.Process, others: frozenset[int]) -> None:
        self._process = process
        self._others = others
        self._output = bytearray()
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, command: Sequence[str], env: Mapping[str, str]) -> Build:
        """Start COMMAND with `env` added to our environment; its output is kept, its input empty.

        Raises EnvironmentFailedError where it cannot be started.
        """
        # Children that left the build's session become ours, not init's, and can be found again.
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
        others = frozenset(_children())
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env={**os.environ, **env},
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise EnvironmentFailedError(f"cannot start '{command[0]}': {why}") from error
        return cls(process, others)

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while data := await self._process.stdout.read(1 << 16):
            self._output += data
            if len(self._output) > 2 * _OUTPUT_BYTES:
                del self._output[:-_OUTPUT_BYTES]

    async def exited(self, within_s: float = 0.0) -> str | None:
        """How it ended, such as "exited with 1", or None where it still runs `within_s` later."""
        if self._process.returncode is None and within_s:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self._process.wait()
        code = self._process.returncode
        if code is None:
            return None
        return f"exited with {code}" if code >= 0 else f"was killed by {_signal_name(-code)}"

    def output(self) -> tuple[str, ...]:
        """The last lines that it printed, without control characters."""
        lines = self._output[-_OUTPUT_BYTES:].decode(errors="replace").splitlines()
        return tuple(
            "".join(c if c.isprintable() or c == "\t" else "\ufffd" for c in line)
            for line in lines[-OUTPUT_LINES:]
        )

    async def stop(self) -> None:
        """End it and all its children: SIGTERM, a short grace, SIGKILL."""
        if self._process.returncode is None:
            self._signal(signal.SIGTERM)
            await self.exited(_GRACE_S)
        self._signal(signal.SIGKILL)
        await self._process.wait()
        # What the build printed at its end lies in the pipe; a child may hold it open for ever.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                await asyncio.shield(self._reader)
        _end_children(self._others)
        self._reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reader

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


def _children() -> set[int]:
    """Our own children, adopted ones included."""
    found: set[int] = set()
    for path in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found.update(map(int, path.read_text().split()))
    return found


def _end_children(others: frozenset[int]) -> None:
    """Kill what the build left behind; the orphans of each become ours in turn."""
    beyond_us: set[int] = set()
    while left := _children() - others - beyond_us:
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            except (ProcessLookupError, PermissionError, ChildProcessError):
                beyond_us.add(pid)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
