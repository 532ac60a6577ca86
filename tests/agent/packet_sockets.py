"""Packet sockets with a filter, and a network namespace of one's own to try them in."""

import ctypes
import fcntl
import os
import select
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from classic_bpf import Packet

_CLONE_NEWNET = 0x40000000
_ATTACH_FILTER, _SOL_PACKET, _AUXDATA = 26, 263, 8
_VLAN_VALID = 0x10
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 1, 0x1000
_ALL_PROTOCOLS = 3
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def namespace() -> Iterator[None]:
    """The calling thread in a new network namespace, on one processor, so that what is sent comes
    in that order. OSError: not allowed."""
    processors = os.sched_getaffinity(0)
    with Path("/proc/thread-self/ns/net").open() as before:
        if _libc.unshare(_CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare")
        os.sched_setaffinity(0, {min(processors)})
        try:
            yield
        finally:
            os.sched_setaffinity(0, processors)
            _libc.setns(before.fileno(), _CLONE_NEWNET)


def command(line: str) -> None:
    subprocess.run(line.split(), check=True, capture_output=True)


@contextmanager
def tunnel(name: str) -> Iterator[int]:
    """A tun device; what is written to the file comes in on it."""
    file = os.open("/dev/net/tun", os.O_RDWR)
    try:
        fcntl.ioctl(file, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
        yield file
    finally:
        os.close(file)


def packet_socket(program: bytes | None = None) -> socket.socket:
    """On all interfaces; what it receives says what the kernel did with the VLAN tag."""
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    opened.setsockopt(_SOL_PACKET, _AUXDATA, 1)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    if program is not None:
        memory = ctypes.create_string_buffer(program, len(program))
        address = ctypes.addressof(memory)
        filter_program = struct.pack("@HP", len(program) // 8, address)
        opened.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, filter_program)
    opened.setblocking(False)
    # Not before the filter is there; Python's own bind() wants one interface.
    everything = struct.pack("=HHi12x", socket.AF_PACKET, socket.htons(_ALL_PROTOCOLS), 0)
    if _libc.bind(opened.fileno(), everything, len(everything)):
        raise OSError(ctypes.get_errno(), "bind")
    return opened


def received(opened: socket.socket) -> Iterator[Packet]:
    """All that waits in the socket, as a filter was shown it."""
    while True:
        try:
            data, auxiliary, _, address = opened.recvmsg(1 << 16, 256)
        except BlockingIOError:
            return
        name, protocol, packet_type, hardware_type, _ = address
        (_, _, values), *_ = auxiliary
        status, _, _, _, network, tag, _ = struct.unpack("=IIIHHHH", values)
        yield Packet(
            data, network, protocol, hardware_type, packet_type, socket.if_nametoindex(name),
            tag if status & _VLAN_VALID else None,
        )  # fmt: skip


def received_until(opened: socket.socket, last: bytes) -> list[Packet]:
    """What comes up to the frame `last`, without it, wherever it is seen."""
    packets: list[Packet] = []
    while not any(packet.data == last and packet.packet_type != 4 for packet in packets):
        assert select.select([opened], [], [], 30)[0], "the last frame never came"
        packets += received(opened)
    return [packet for packet in packets if packet.data != last]
