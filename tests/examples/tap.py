"""Records real traffic without privilege: relays that write what passes as a capture of loopback.

The packets are made up (their payloads, directions and times are not), so a capture can be had
where nobody may capture. Addresses are those of the services themselves.
"""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

Address = tuple[str, int]

_RAW_IP = 101
_SYN, _FIN, _PUSH, _ACK = 0x02, 0x01, 0x08, 0x10
_MOST = 16_384


class Capture:
    """A pcap of raw IPv4 packets, one writer at a time."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._file.write(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 1 << 16, _RAW_IP))
        self._lock = threading.Lock()

    def write(
        self,
        source: Address,
        target: Address,
        flags: int,
        place: tuple[int, int],
        data: bytes = b"",
    ) -> None:
        """One segment; `place` is its sequence number and the one it acknowledges."""
        tcp = struct.pack("!HHIIBBHHH", source[1], target[1], *place, 5 << 4, flags, 65_535, 0, 0)
        ip = struct.pack(
            "!BBHHHBBH4s4s", 0x45, 0, 40 + len(data), 0, 0, 64, 6, 0,
            socket.inet_aton(source[0]), socket.inet_aton(target[0]),
        )  # fmt: skip
        packet = ip + tcp + data
        with self._lock:
            seconds, nanoseconds = divmod(time.time_ns(), 10**9)
            sizes = len(packet), len(packet)
            self._file.write(struct.pack("<IIII", seconds, nanoseconds, *sizes) + packet)

    def close(self) -> None:
        with self._lock:
            self._file.close()


class _Relayed:
    """One connection through a relay: two sockets, and how far each direction is."""

    def __init__(self, capture: Capture, ends: tuple[Address, Address]) -> None:
        self._capture = capture
        self._ends = ends
        self._sent = [1000, 5000]
        client, server = ends
        capture.write(client, server, _SYN, (999, 0))
        capture.write(server, client, _SYN | _ACK, (4999, 1000))
        capture.write(client, server, _ACK, (1000, 5000))

    def pump(self, side: int, source: socket.socket, target: socket.socket) -> None:
        """Pass on what one side says, until it ends; it is captured before it is passed on."""
        mine, peer = self._ends[side], self._ends[1 - side]
        with suppress(OSError, ValueError):  # the capture may be over
            while data := source.recv(_MOST):
                place = self._sent[side], self._sent[1 - side]
                self._sent[side] += len(data)
                self._capture.write(mine, peer, _PUSH | _ACK, place, data)
                target.sendall(data)
        with suppress(ValueError):
            place = self._sent[side], self._sent[1 - side]
            self._capture.write(mine, peer, _FIN | _ACK, place)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)


@contextmanager
def relay(capture: Capture, target: Address, known_as: Address | None = None) -> Iterator[int]:
    """Listens on a free port and passes on to `target`; gives the port.

    The server's address in the capture is `known_as`, by default the relay's own.
    """
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    port: int = listener.getsockname()[1]
    server = known_as or ("127.0.0.1", port)

    def accept() -> None:
        while True:
            try:
                inside, client = listener.accept()
            except OSError:
                return
            outside = socket.create_connection(target)
            for one in (inside, outside):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            relayed = _Relayed(capture, (client, server))
            for side, pair in enumerate(((inside, outside), (outside, inside))):
                threading.Thread(target=relayed.pump, args=(side, *pair), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield port
    finally:
        # Closing alone does not wake the thread that accepts.
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
