"""Whether packets can be captured."""

import ctypes
import mmap
import re
import socket
import struct
from pathlib import Path

from wiretape.agent.doctor.check import EXAMPLE, Check, State, held_over_host, install
from wiretape.agent.privileges import (
    Capability,
    effective_capabilities,
    how_to_get,
    may_capture_packets,
)

# linux/if_packet.h
_SOL_PACKET, _PACKET_RX_RING, _PACKET_VERSION, _TPACKET_V3 = 263, 5, 10, 2
_RING_BLOCKS, _RING_FRAME_BYTES = 4, 2048
_LIBPCAP = ("libpcap.so.0.8", "libpcap.so.1")
"""As Debian and as others call it."""


def packets(name: str, root: Path) -> Check:
    if may_capture_packets():
        return Check(name, State.OK, "CAP_NET_RAW: packet sockets open")
    held = Capability.NET_RAW in effective_capabilities()
    found = "CAP_NET_RAW, but no packet socket opens" if held else "no CAP_NET_RAW"
    return Check(name, State.NO, found, how_to_get(EXAMPLE, Capability.NET_RAW))


def ring(name: str, root: Path) -> Check:
    """Opens one that is bound to no protocol, so that nothing enters it."""
    block_bytes = max(mmap.PAGESIZE, 1 << 16)
    size = _RING_BLOCKS * block_bytes
    frames = size // _RING_FRAME_BYTES
    request = struct.pack("7I", block_bytes, _RING_BLOCKS, _RING_FRAME_BYTES, frames, 60, 0, 0)
    try:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as opened:
            opened.setsockopt(_SOL_PACKET, _PACKET_VERSION, _TPACKET_V3)
            opened.setsockopt(_SOL_PACKET, _PACKET_RX_RING, request)
            mmap.mmap(opened.fileno(), size).close()
    except PermissionError:
        return Check(name, State.NO, "not tried: no packet socket opens", "as for packets")
    except OSError as error:
        fix = "a Linux kernel with CONFIG_PACKET and CONFIG_PACKET_MMAP"
        return Check(name, State.NO, f"TPACKET_V3: {error.strerror}", fix)
    return Check(name, State.OK, "TPACKET_V3 opens")


def libpcap(name: str, root: Path) -> Check:
    for library in _LIBPCAP:
        try:
            version = ctypes.CDLL(library).pcap_lib_version
        except (OSError, AttributeError):
            continue
        version.restype = ctypes.c_char_p
        text = version().decode("ascii", "replace")
        return Check(name, State.OK, " ".join(re.sub(r"\(.*", "", text).split()[-1:]))
    return Check(name, State.NOTE, "missing: no --filter", install("libpcap0.8", "libpcap"))


def netns(name: str, root: Path) -> Check:
    if Capability.SYS_ADMIN in held_over_host():
        return Check(name, State.OK, "CAP_SYS_ADMIN")
    fix = how_to_get((*EXAMPLE, "--netns", "NAME"), Capability.SYS_ADMIN)
    return Check(name, State.NOTE, "no CAP_SYS_ADMIN: no --netns", fix)
