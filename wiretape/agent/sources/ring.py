"""Packets from the kernel through a memory-mapped ring: AF_PACKET with TPACKET_V3.

The kernel fills blocks with packets and hands over each when it is full, or some milliseconds old.
Ready blocks that lie side by side are read in place as one batch, and given back by `release`. The
structures are those of <linux/if_packet.h>.
"""

import ctypes
import fcntl
import os
import select
import socket
import struct
from collections.abc import Sequence
from mmap import mmap
from typing import NamedTuple, Self

import numpy as np

from wiretape.agent.packets import I64, PacketBatch
from wiretape.agent.packets.columns import ETHERNET, LINK, LLC

BLOCK_BYTES = 512 << 10
"""More than any packet has: the kernel cuts what a block cannot hold."""
RING_BYTES = 32 << 20
"""What it takes to bear half a second without the processor at 20,000 requests/s."""
RETIRE_MS = 100
"""How old a block may become before it is handed over, full or not."""

_ETH_P_ALL, _ETH_P_802_2 = 0x0003, 0x0004
_SOL_PACKET = 263
_ADD_MEMBERSHIP, _RX_RING, _STATISTICS, _VERSION = 1, 5, 6, 10
_TPACKET_V3 = 2
_PROMISCUOUS = 1
_SIOCGIFHWADDR, _SIOCGIFINDEX = 0x8927, 0x8933
_ATTACH_FILTER = 26

_ETHERNET, _LOOPBACK = 1, 772
"""ARPHRD_ETHER and ARPHRD_LOOPBACK."""
_BLOCK_WORDS = BLOCK_BYTES // 4
_USER = 1
"""TP_STATUS_USER: a block is ours."""
_VLAN_VALID = 1 << 4
# Of a block's description, in words of 32 bits: its status, how many packets, where the first is.
_STATUS, _COUNT, _FIRST = 2, 3, 4
# Of a packet's (struct tpacket3_hdr, then struct sockaddr_ll at 48).
_NEXT, _SECONDS, _NANOSECONDS, _CAPTURED, _LENGTH, _PACKET_STATUS, _VLAN, _INTERFACE = (
    0, 1, 2, 3, 4, 5, 8, 13,
)  # fmt: skip
_LINK_PLACE, _NETWORK_PLACE, _PROTOCOL, _HARDWARE = 12, 13, 25, 28
"""In words of 16 bits."""


class RingError(Exception):
    """The ring cannot be made, or an interface is not there; the text is one line."""


class Drops(NamedTuple):
    """What the kernel counted since the last time."""

    packets: int
    """Those that passed the filter, the dropped ones included."""
    dropped: int


class PacketRing:
    """One socket with its ring. `bind` begins the capture; a context, which closes it."""

    def __init__(self, ring_bytes: int = RING_BYTES) -> None:
        """Raises PermissionError where the process may not, RingError where it cannot be."""
        blocks = max(ring_bytes // BLOCK_BYTES, 4)
        # Protocol 0: nothing is captured until the filter stands and `bind` says so.
        try:
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        except PermissionError:
            raise
        except OSError as error:
            raise RingError(f"no packet socket: {error.strerror}") from error
        try:
            self.socket.setsockopt(_SOL_PACKET, _VERSION, _TPACKET_V3)
            request = struct.pack(
                "7I", BLOCK_BYTES, blocks, 2048, blocks * BLOCK_BYTES // 2048, RETIRE_MS, 0, 0
            )
            self.socket.setsockopt(_SOL_PACKET, _RX_RING, request)
            memory = mmap(self.socket.fileno(), blocks * BLOCK_BYTES)
        except OSError as error:
            self.socket.close()
            raise RingError(
                f"no packet ring of {ring_bytes >> 20} MiB: {error.strerror}"
            ) from error
        self._bytes = np.frombuffer(memory, np.uint8)
        self._u32 = self._bytes.view(np.uint32)
        self._u16 = self._bytes.view(np.uint16)
        self._words = memoryview(memory).cast("I")
        self._statuses = self._u32[_STATUS::_BLOCK_WORDS]
        self._poll = select.poll()
        self._poll.register(self.socket, select.POLLIN | select.POLLERR)
        self.blocks = blocks
        self._next = 0
        """The block that the kernel hands over next."""
        self.taken = 0
        """So many blocks of the last batch are not given back yet."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *unused: object) -> None:
        self.socket.close()

    # -- what is captured

    def attach(self, program: bytes) -> None:
        """The classic BPF program that chooses packets, instead of the one before."""
        buffer = np.frombuffer(program, np.uint8)
        argument = struct.pack("HxxxxxxP", len(program) // 8, buffer.ctypes.data)
        self.socket.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, argument)

    def index_of(self, interface: str) -> int:
        """The number of an interface in the ring's network namespace; 0 where there is none."""
        try:
            request = struct.pack("16si", interface.encode(), 0)
            answer = fcntl.ioctl(self.socket, _SIOCGIFINDEX, request)
        except (OSError, struct.error):
            return 0
        return int(struct.unpack("16si", answer)[1])

    def hardware_type(self, interface: str) -> int:
        """What kind of link it has: ARPHRD_… of <linux/if_arp.h>. Raises OSError."""
        request = struct.pack("16sH22x", interface.encode(), 0)
        answer = fcntl.ioctl(self.socket, _SIOCGIFHWADDR, request)
        return int(struct.unpack_from("H", answer, 16)[0])

    def bind(self, index: int = 0) -> None:
        """Captures from the interface of that number, or from all. Raises OSError."""
        # The standard library's bind takes a name, and none for all.
        address = struct.pack("HHi12x", socket.AF_PACKET, socket.htons(_ETH_P_ALL), index)
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.bind(self.socket.fileno(), address, len(address)):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    def promiscuous(self, index: int) -> None:
        """Takes what the interface hears for others too, as from a mirror port."""
        request = struct.pack("iHH8s", index, _PROMISCUOUS, 0, b"")
        self.socket.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, request)

    def drops(self) -> Drops:
        """What the kernel counted since this was last asked."""
        packets, dropped, _ = struct.unpack(
            "3I", self.socket.getsockopt(_SOL_PACKET, _STATISTICS, 12)
        )
        return Drops(packets, dropped)

    def failure(self) -> OSError | None:
        """What befell the socket since this was last asked: its interface went down, say."""
        number = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return OSError(number, os.strerror(number)) if number else None

    # -- packets

    def ready(self) -> int:
        """How many blocks wait to be read."""
        return int(np.count_nonzero(self._statuses & _USER))

    def has_ready(self, blocks: int) -> bool:
        """Whether at least so many do: they become ready one after the other."""
        last = (self._next + blocks - 1) % self.blocks
        return bool(self._words[last * _BLOCK_WORDS + _STATUS] & _USER)

    def wait(self, timeout_ms: int) -> None:
        """Returns when a block is ready, or an error, or the time is over."""
        if any(event & select.POLLERR for _, event in self._poll.poll(timeout_ms)):
            # That an interface went down is no reason to end, it may come back; until it is asked
            # for the error stands, and nobody would wait.
            self.failure()

    def batch(self, first: int, most_blocks: int) -> PacketBatch | None:
        """Packets of ready blocks, of so many at most, in place: they are good until `release`.

        `first` is the number of the first packet. None where no block is ready.
        """
        starts: list[int] = []
        words, block, taken = self._words, self._next, 0
        while taken < most_blocks and block < self.blocks:
            at = block * BLOCK_BYTES
            base = at >> 2
            if not words[base + _STATUS] & _USER:
                break
            at += words[base + _FIRST]
            for _ in range(words[base + _COUNT]):
                starts.append(at)
                at += words[at >> 2]
            block += 1
            taken += 1
        if not taken:
            return None
        begin = self._next * BLOCK_BYTES
        self.taken = taken
        return self._columns(np.array(starts, np.int64), first, begin, begin + taken * BLOCK_BYTES)

    def release(self) -> None:
        """Gives the blocks of the last batch back to the kernel."""
        self._statuses[self._next : self._next + self.taken] = 0
        self._next = (self._next + self.taken) % self.blocks
        self.taken = 0

    def _columns(self, at: I64, first: int, begin: int, end: int) -> PacketBatch:
        """Packets with their headers `at` these places, in the ring's bytes from `begin` on."""
        u32, u16 = self._u32, self._u16
        words, halves = at >> 2, at >> 1
        link = u16[halves + _LINK_PLACE].astype(np.int64)
        protocol = u16[halves + _PROTOCOL].byteswap().astype(np.int64)
        # Where there is an Ethernet header, it is read: of what this host sends, the kernel may
        # name the protocol of a VLAN tag and the place behind it.
        hardware = u16[halves + _HARDWARE]
        framed = (hardware == _ETHERNET) | (hardware == _LOOPBACK)
        begin_at = np.where(framed, link, u16[halves + _NETWORK_PLACE])
        skipped = begin_at - link
        layer = np.where(protocol == _ETH_P_802_2, LLC, protocol)
        tags = u32[words + _VLAN]
        tagged = u32[words + _PACKET_STATUS] & _VLAN_VALID != 0
        seconds = u32[words + _SECONDS].astype(np.int64)
        return PacketBatch(
            buffer=self._bytes[begin:end],
            first=first,
            start=at + begin_at - begin,
            captured=np.maximum(u32[words + _CAPTURED].astype(np.int64) - skipped, 0),
            wire=np.maximum(u32[words + _LENGTH].astype(np.int64) - skipped, 0),
            at_ns=seconds * 1_000_000_000 + u32[words + _NANOSECONDS],
            layer=np.where(framed, LINK + ETHERNET, layer),
            interface=u32[words + _INTERFACE].astype(np.int64),
            vlans=np.where(tagged, tags & 0xFFF, 0).astype(np.uint64),
        )


def interfaces() -> Sequence[str]:
    """The names of the interfaces of this network namespace."""
    return [name for _, name in socket.if_nameindex()]
