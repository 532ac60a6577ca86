"""What is passed on to the real network ends as it ends there."""

import asyncio
import contextlib
import socket
import struct

import pytest

from wiretape.replayer.io.intercept.relay import relay
from wiretape.replayer.run import loop_factory

NOW = struct.pack("ii", 1, 0)


def far_end(server: socket.socket, does: str) -> None:
    """Reads a request, then ends the connection in one of several ways."""
    sock, _ = server.accept()
    sock.recv(99)
    if does in ("answer", "answer late"):
        if does == "answer late":
            sock.recv(99)
        with contextlib.suppress(OSError):
            sock.sendall(b"far")
            sock.sendall(b" away")
    if does == "reset":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NOW)
    sock.close()


def joined() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname(), timeout=9)
        return near, server.accept()[0]


async def ask(does: str) -> bytes | str:
    """What the near end gets to see; `relay` is over then."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as server:
        far = loop.run_in_executor(None, far_end, server, does)
        near, accepted = joined()
        accepted.setblocking(False)
        passing = asyncio.create_task(relay(accepted, *server.getsockname()))
        near.sendall(b"hello")
        if does == "answer late":
            await asyncio.sleep(0.05)
            near.close()
            await asyncio.gather(passing, far)
            return b""

        def read() -> bytes | str:
            said = b""
            try:
                while data := near.recv(99):
                    said += data
            except OSError as error:
                return type(error).__name__
            return said

        said = await loop.run_in_executor(None, read)
        near.close()
        await asyncio.gather(passing, far)
        return said


@pytest.mark.parametrize(
    ("does", "said"),
    [
        ("answer", b"far away"),
        ("answer late", b""),  # nobody is there any more
        ("close", b""),
        ("reset", "ConnectionResetError"),
    ],
)
def test_how_a_relayed_connection_ends(does: str, said: bytes | str) -> None:
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        assert runner.run(asyncio.wait_for(ask(does), 20)) == said
