"""The build's process: started in a session of its own, gone afterwards with all its children."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Mapping, Sequence

from wiretape.replayer.errors import EnvironmentFailedError
from wiretape.replayer.io.supervisor.client import Supervisor, SupervisorError

# As much of the end of the build's output as is kept, in bytes and in lines of a report.
_OUTPUT_BYTES = 64 << 10
OUTPUT_LINES = 20
_GRACE_S = 3.0


class Build:
    """One run of COMMAND."""

    def __init__(self, supervisor: Supervisor, output: asyncio.StreamReader) -> None:
        self._supervisor = supervisor
        self._output = bytearray()
        self._reader = asyncio.create_task(self._read(output))

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        env: Mapping[str, str],
        supervisor: Supervisor | None = None,
    ) -> Build:
        """Start COMMAND with `env` added to our environment; its output is kept, its input empty.

        It runs where the supervisor is, which ends with it. Raises EnvironmentFailedError where it
        cannot be started.
        """
        receiving, sending = os.pipe()
        try:
            output = await _reader(receiving)
            if supervisor is None:
                supervisor = await Supervisor.start()
            try:
                await supervisor.run(command, {**os.environ, **env}, sending)
            except (SupervisorError, ValueError) as error:
                await supervisor.close()
                raise EnvironmentFailedError(f"cannot start '{command[0]}': {error}") from error
        finally:
            os.close(sending)
        return cls(supervisor, output)

    async def _read(self, output: asyncio.StreamReader) -> None:
        while data := await output.read(1 << 16):
            self._output += data
            if len(self._output) > 2 * _OUTPUT_BYTES:
                del self._output[:-_OUTPUT_BYTES]

    async def exited(self, within_s: float = 0.0) -> str | None:
        """How it ended, such as "exited with 1", or None where it still runs `within_s` later."""
        exit_code = self._supervisor.exit_code
        if not exit_code.done() and within_s:
            await asyncio.wait([exit_code], timeout=within_s)
        if not exit_code.done():
            return None
        code = exit_code.result()
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
        if await self.exited() is None:
            await self._supervisor.signal(signal.SIGTERM)
            await self.exited(_GRACE_S)
        await self._supervisor.close()
        # What the build printed at its end lies in the pipe, which nobody holds open any more.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                await asyncio.shield(self._reader)
        self._reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reader


async def _reader(descriptor: int) -> asyncio.StreamReader:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    await loop.connect_read_pipe(lambda: protocol, os.fdopen(descriptor, "rb", buffering=0))
    return reader


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
