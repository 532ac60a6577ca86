"""What the build tried to reach and was not recorded."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import socket
import struct
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import ip_address

from wiretape.exchange.endpoints import endpoint_text

_EVERY_PROTOCOL = 3
_TO_US = 0
_TCP, _UDP = 6, 17
_FIN_SYN_RST_ACK, _SYN, _SYN_ACK, _RST_ACK = 0x17, 0x02, 0x12, 0x14
_SO_ATTACH_FILTER = 26
_BUFFER_BYTES = 4 << 20
_DNS = 53


@dataclass(frozen=True, slots=True, order=True)
class Attempt:
    """`kind` is name (a host that was looked up), tcp (a connection) or udp (a datagram)."""

    kind: str
    what: str
    """A host, or host:port."""

    def __str__(self) -> str:
        return f"{self.what} (DNS)" if self.kind == "name" else f"{self.what} ({self.kind})"


def _filter(tcp_flags: Collection[int], with_udp: bool) -> bytes:
    """A classic BPF program, from the network header on: TCP with such flags, and UDP if wanted."""
    load, load_behind, header_length, load_x = 0x30, 0x50, 0xB1, 0x01
    and_, equal, jump, return_ = 0x54, 0x15, 0x05, 0x06
    reject = 14 + len(tcp_flags)
    accept = reject + 1
    udp = accept if with_udp else reject
    # Where a jump leads if it is true and if it is false, counted from the beginning.
    program = [
        (load, 1, 1, 0), (and_, 2, 2, 0xF0), (equal, 8, 3, 0x60),
        (load, 4, 4, 9), (equal, udp, 5, _UDP), (equal, 6, reject, _TCP),
        (header_length, 7, 7, 0), (jump, 0, 0, 12 - 8),
        (load, 9, 9, 6), (equal, udp, 10, _UDP), (equal, 11, reject, _TCP), (load_x, 12, 12, 40),
        (load_behind, 13, 13, 13), (and_, 14, 14, _FIN_SYN_RST_ACK),
        *((equal, accept, 15 + n, flags) for n, flags in enumerate(sorted(tcp_flags))),
        (return_, 0, 0, 0), (return_, 0, 0, 0x40000),
    ]  # fmt: skip
    return b"".join(
        struct.pack("=HBBI", code, yes - at - 1, no - at - 1, value)
        if code == equal
        else struct.pack("=HBBI", code, 0, 0, value)
        for at, (code, yes, no, value) in enumerate(program)
    )


class PacketWatch:
    """The connections and datagrams that a packet socket shows and nobody was there for.

    In the world all that we do not serve is one. On the build's own loopback interface, what was
    refused there and never accepted.
    """

    def __init__(self, sock: socket.socket, served: Collection[tuple[str, int]] | None) -> None:
        """`served` are the world's addresses and ports; None on the loopback interface."""
        self._socket = sock
        self._served = served
        self._refused: set[tuple[str, int]] = set()
        self._accepted: set[int] = set()
        self._found: set[Attempt] = set()
        wanted = [_RST_ACK, _SYN_ACK] if served is None else [_SYN]
        program = _filter(wanted, served is not None)
        buffer = ctypes.create_string_buffer(program, len(program))
        sock.setsockopt(
            socket.SOL_SOCKET,
            _SO_ATTACH_FILTER,
            struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer)),
        )
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        # Bound by its protocol alone, and only now that the filter is there.
        sock.bind(("lo" if served is None else "down0", _EVERY_PROTOCOL))
        asyncio.get_running_loop().add_reader(sock.fileno(), self._read)

    def attempts(self) -> set[Attempt]:
        """All up to now."""
        self._read()
        refused = {address for address in self._refused if address[1] not in self._accepted}
        return self._found | {Attempt("tcp", endpoint_text(*address)) for address in refused}

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()

    def _read(self) -> None:
        while True:
            try:
                packet, (_, _, direction, *_) = self._socket.recvfrom(256)
            except OSError:
                return
            if direction == _TO_US:
                with contextlib.suppress(struct.error, IndexError):
                    self._packet(packet)

    def _packet(self, packet: bytes) -> None:
        if packet[0] >> 4 == 4:
            protocol, at = packet[9], 4 * (packet[0] & 15)
            source, destination = packet[12:16], packet[16:20]
        else:
            protocol, at = packet[6], 40
            source, destination = packet[8:24], packet[24:40]
        from_port, to_port = struct.unpack_from("!HH", packet, at)
        if self._served is None:
            (sequence,) = struct.unpack_from("!I", packet, at + 4)
            if packet[at + 13] & _SYN:
                self._accepted.add(from_port)
            elif not sequence:
                # So a closed port answers SYN (RFC 9293 §3.10.7.1).
                self._refused.add((str(ip_address(source)), from_port))
            return
        to = str(ip_address(destination)), to_port
        kind = "tcp" if protocol == _TCP else "udp"
        if to_port == _DNS or (kind == "tcp" and to in self._served):
            return
        if ip_address(destination).is_multicast:
            return
        self._found.add(Attempt(kind, endpoint_text(*to)))
