"""Our side of the supervisor: it is started, asked for sockets, told to start the build."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from wiretape.replayer.io.supervisor.process import MAX_MESSAGE_BYTES, Job

_LONGEST_S = 20.0


async def readable(descriptor: int) -> None:
    """Until something is to be received there, or its end."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)


class SupervisorError(Exception):
    """What the supervisor could not do, in a few words."""


class Supervisor:
    """One process, and the build's exit code once there is one."""

    def __init__(self, process: subprocess.Popen[bytes], control: socket.socket) -> None:
        self.has_ipv6 = True
        self._process = process
        self._control = control
        self._answers: asyncio.Queue[tuple[dict[str, Any], list[int]]] = asyncio.Queue()
        self._turn = asyncio.Lock()
        loop = asyncio.get_running_loop()
        self.exit_code: asyncio.Future[int] = loop.create_future()
        loop.add_reader(control.fileno(), self._received)

    @classmethod
    async def start(cls, job: Job | None = None) -> Supervisor:
        """Without a job the build is started as it would be by a shell.

        Raises SupervisorError where the host does not allow what the job asks.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        # Nothing is imported from the directory in which the command happens to be run.
        module = "wiretape.replayer.io.supervisor.process"
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        made = cls(process, ours)
        plain = Job(network=False, files={}, hidden=[], user=None, cgroup=None)
        try:
            answer, _ = await made._ask(json.dumps(job or plain).encode())
        except BaseException:
            await made.close()
            raise
        made.has_ipv6 = answer["has_ipv6"]
        return made

    async def new_socket(
        self, where: str, family: int, kind: int, address: tuple[str, int] | None = None
    ) -> socket.socket:
        """A socket of "build" or "world", not blocking; bound where an address is given."""
        request = {"do": "socket", "where": where, "family": int(family), "kind": int(kind)}
        if address is not None:
            request["host"], request["port"] = address
        return await self._made(request)

    async def packets(self, where: str) -> socket.socket:
        """A packet socket that is not bound yet."""
        return await self._made({"do": "packets", "where": where})

    async def run(self, command: Sequence[str], env: Mapping[str, str], output: int) -> None:
        """Start the build with that environment, its output going to a descriptor."""
        words = os.memfd_create("build")
        try:
            os.write(words, json.dumps({"command": list(command), "env": dict(env)}).encode())
            os.lseek(words, 0, os.SEEK_SET)
            await self._ask(json.dumps({"do": "start"}).encode(), [words, output])
        finally:
            os.close(words)

    async def signal(self, number: signal.Signals) -> None:
        """Sent to the build's process group, if that is still there."""
        with contextlib.suppress(SupervisorError):
            await self._ask(json.dumps({"do": "signal", "number": int(number)}).encode())

    async def close(self) -> None:
        """End it, the build and all that the build started; returns when they are gone."""
        if self._control.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._control.fileno())
            self._control.close()
        if self._process.returncode is None:
            await self._end()
        while not self._answers.empty():
            for descriptor in self._answers.get_nowait()[1]:
                os.close(descriptor)

    async def _end(self) -> None:
        """It ends by itself, as its socket has; but a process may be stopped or out of memory."""
        process = os.pidfd_open(self._process.pid)
        try:
            async with asyncio.timeout(_LONGEST_S):
                await readable(process)
        except TimeoutError:
            self._process.kill()
        except asyncio.CancelledError:
            self._process.kill()
            raise
        finally:
            os.close(process)
            self._process.wait()

    async def _made(self, request: Mapping[str, Any]) -> socket.socket:
        _, descriptors = await self._ask(json.dumps(request).encode())
        if not descriptors:
            raise SupervisorError("too many open files here (ulimit -n)")
        made = socket.socket(fileno=descriptors[0])
        made.setblocking(False)
        return made

    async def _ask(
        self, request: bytes, descriptors: Sequence[int] = ()
    ) -> tuple[dict[str, Any], list[int]]:
        async with self._turn:
            try:
                socket.send_fds(self._control, [request], list(descriptors))
                async with asyncio.timeout(_LONGEST_S):
                    answer, made = await self._answers.get()
            except TimeoutError:
                raise SupervisorError("its supervisor does not answer") from None
            except OSError as error:
                raise SupervisorError(f"its supervisor is gone: {error.strerror}") from None
        if "failure" in answer:
            raise SupervisorError(answer["failure"])
        return answer, made

    def _received(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(
                self._control, MAX_MESSAGE_BYTES, 4, socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        if not data:
            asyncio.get_running_loop().remove_reader(self._control.fileno())
            self._gone()
            return
        answer = json.loads(data)
        if "exited" in answer:
            if not self.exit_code.done():
                self.exit_code.set_result(answer["exited"])
        else:
            self._answers.put_nowait((answer, descriptors))

    def _gone(self) -> None:
        """The supervisor was killed, and with it the build."""
        self._answers.put_nowait(({"failure": "its supervisor is gone"}, []))
        if not self.exit_code.done():
            self.exit_code.set_result(-signal.SIGKILL)
