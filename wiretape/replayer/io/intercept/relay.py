"""Connections that are passed on to the real network, byte for byte."""

from __future__ import annotations

import asyncio
import contextlib
import socket

_CONNECT_TIMEOUT_S = 10.0


async def relay(sock: socket.socket, host: str, port: int, begun: bytes = b"") -> None:
    """Join an accepted connection to a real host until both sides have ended, or one is reset.

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
        async with asyncio.TaskGroup() as both:
            both.create_task(_copy(near[0], far[1]))
            both.create_task(_copy(far[0], near[1]))
    except* OSError:
        for _, writer in (near, far):
            if (end := writer.get_extra_info("socket")) is not None and not writer.is_closing():
                _linger(end)
    finally:
        for _, writer in (near, far):
            writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """To the end of the stream. Raises OSError where a side is reset."""
    # What is written to a closed transport raises errors of the loop's own.
    while (data := await reader.read(1 << 16)) and not writer.is_closing():
        writer.write(data)
        await writer.drain()
    if not writer.is_closing():
        writer.write_eof()


def _reset(sock: socket.socket) -> None:
    _linger(sock)
    sock.close()


def _linger(sock: socket.socket) -> None:
    """With no time to linger, closing is a reset."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
