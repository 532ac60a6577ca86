"""Connections that are passed on to the real network, byte for byte."""

from __future__ import annotations

import asyncio
import contextlib
import socket

_CONNECT_TIMEOUT_S = 10.0


async def relay(sock: socket.socket, host: str, port: int, begun: bytes = b"") -> None:
    """Join an accepted connection to a real host until both sides have ended.

    `begun` was received already. Where the host cannot be reached, the connection is reset.
    """
    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            far = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        _reset(sock)
        return
    near = await asyncio.open_connection(sock=sock)
    if begun:
        far[1].write(begun)
    try:
        await asyncio.gather(_copy(near[0], far[1]), _copy(far[0], near[1]))
    finally:
        for _, writer in (near, far):
            writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


def _reset(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()
