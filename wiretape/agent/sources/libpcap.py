"""Filter expressions of tcpdump, compiled by libpcap (pcap-filter(7))."""

import ctypes
import re
import socket
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from wiretape.agent.sources.bpf import Instruction, Program
from wiretape.agent.sources.filter import ETHERNET_TYPES, WHOLE_PACKET, Expression

_SONAMES = ("libpcap.so.1", "libpcap.so.0.8", "libpcap.so")
_ETHERNET, _RAW = 1, 12
"""DLT_EN10MB, DLT_RAW."""
_ERROR_BYTES = 256
_NETMASK_UNKNOWN = 0xFFFFFFFF


class FilterError(Exception):
    """An expression cannot be compiled; one line that says why."""


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_ushort),
        ("hit", ctypes.c_ubyte),
        ("miss", ctypes.c_ubyte),
        ("k", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint), ("instructions", ctypes.POINTER(_Instruction)))


def compile_expression(expression: str, hardware_types: Collection[int] = ()) -> Expression:
    """Compiles it for devices of these types (ARPHRD_…); with none given, for any that may come.

    In the network namespace of the calling thread. Names of hosts are looked up.
    FilterError: libpcap is missing, or rejects the expression for one of the types.
    """
    library = _library()
    ethernet = not hardware_types or not set(ETHERNET_TYPES).isdisjoint(hardware_types)
    bare = not set(ETHERNET_TYPES).issuperset(hardware_types) or not hardware_types
    programs: dict[int, Program | None] = {}
    failures: dict[int, FilterError] = {}
    for link_type in (_ETHERNET,) * ethernet + (_RAW,) * bare:
        with _handle(library, link_type, expression) as handle:
            try:
                programs[link_type] = _compiled(library, handle, expression)
            except FilterError as error:
                failures[link_type] = error
                # What can match nothing is an error to the optimizer alone.
                if _compiles(library, handle, expression):
                    programs[link_type] = None
    if not any(programs.values()):
        raise failures[min(failures)]
    for link_type, failure in failures.items():
        if link_type not in programs:
            which = "with" if link_type == _ETHERNET else "without"
            raise FilterError(
                f"{failure}; this is so on devices {which} an Ethernet header: "
                "name the interfaces to capture on, all of the other kind"
            )
    return Expression(programs.get(_ETHERNET), programs.get(_RAW))


def _library() -> ctypes.CDLL:
    for name in _SONAMES:
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        for function in ("pcap_create", "pcap_open_dead"):
            getattr(library, function).restype = ctypes.c_void_p
        library.pcap_geterr.restype = ctypes.c_char_p
        return library
    raise FilterError(
        "a filter expression needs libpcap, which is not installed; "
        "as root: apt-get install libpcap0.8"
    )


@contextmanager
def _handle(library: ctypes.CDLL, link_type: int, expression: str) -> Iterator[ctypes.c_void_p]:
    """Where the kernel may take the VLAN tag out of a frame, `vlan` must look for it elsewhere.

    libpcap compiles it so for a socket of its own alone, and refuses some other primitives
    without one. Any device with an Ethernet header will do for that.
    """
    opened = _live(library) if link_type == _ETHERNET else None
    if opened is None:
        if link_type == _ETHERNET and re.search(r"\bvlan\b", expression):
            raise FilterError(
                "`vlan` in a filter expression needs CAP_NET_RAW, "
                "and a loopback or Ethernet interface that is up"
            )
        opened = ctypes.c_void_p(library.pcap_open_dead(link_type, WHOLE_PACKET))
    try:
        yield opened
    finally:
        library.pcap_close(opened)


def _live(library: ctypes.CDLL) -> ctypes.c_void_p | None:
    """A handle on the first interface that gives one whose packets begin with Ethernet."""
    message = ctypes.create_string_buffer(_ERROR_BYTES)
    names = [name for _, name in socket.if_nameindex()]
    for name in sorted(names, key=lambda name: name != "lo"):
        handle = ctypes.c_void_p(library.pcap_create(name.encode(), message))
        if not handle:
            continue
        library.pcap_set_snaplen(handle, WHOLE_PACKET)
        library.pcap_set_buffer_size(handle, WHOLE_PACKET)
        if library.pcap_activate(handle) >= 0 and library.pcap_datalink(handle) == _ETHERNET:
            return handle
        library.pcap_close(handle)
    return None


def _compiles(library: ctypes.CDLL, handle: ctypes.c_void_p, expression: str) -> bool:
    try:
        _compiled(library, handle, expression, optimize=False)
    except FilterError:
        return False
    return True


def _compiled(
    library: ctypes.CDLL, handle: ctypes.c_void_p, expression: str, optimize: bool = True
) -> Program:
    program = _Program()
    status = library.pcap_compile(
        handle, ctypes.byref(program), expression.encode(), optimize,
        ctypes.c_uint32(_NETMASK_UNKNOWN),
    )  # fmt: skip
    if status < 0:
        reason = library.pcap_geterr(handle).decode(errors="replace")
        raise FilterError(f"the filter expression {expression!r}: {reason}")
    try:
        return tuple(
            Instruction(one.code, one.hit, one.miss, one.k)
            for one in program.instructions[: program.length]
        )
    finally:
        library.pcap_freecode(ctypes.byref(program))
