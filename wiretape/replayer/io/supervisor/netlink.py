"""Interfaces, addresses and routes of the network namespace of this thread (rtnetlink(7))."""

from __future__ import annotations

import os
import socket
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

Address = IPv4Address | IPv6Address

_NEW_LINK, _NEW_ADDRESS, _NEW_ROUTE = 16, 20, 24
_ERROR = 2
_REQUEST, _ACK, _EXCLUSIVE, _CREATE = 1, 4, 0x200, 0x400
_UP = 1
_NO_DUPLICATE_DETECTION = 2
_TABLE_LOCAL, _TABLE_MAIN = 255, 254
_BOOT = 3
_SCOPE_UNIVERSE, _SCOPE_LINK, _SCOPE_HOST = 0, 253, 254
_UNICAST, _LOCAL = 1, 2


class Netlink:
    """Requests to the kernel, each answered before the next. Raises OSError."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)

    def close(self) -> None:
        self._socket.close()

    def _ask(self, kind: int, body: bytes, flags: int = _CREATE | _EXCLUSIVE) -> None:
        head = struct.pack("=IHHII", 16 + len(body), kind, _REQUEST | _ACK | flags, 1, 0)
        self._socket.send(head + body)
        answer = self._socket.recv(1 << 16)
        (answered,) = struct.unpack_from("=H", answer, 4)
        if answered == _ERROR and (number := -struct.unpack_from("=i", answer, 16)[0]):
            raise OSError(number, os.strerror(number))

    def up(self, name: str) -> None:
        """Switch an interface on."""
        index = socket.if_nametoindex(name)
        self._ask(_NEW_LINK, struct.pack("=BxHiII", 0, 0, index, _UP, _UP), 0)

    def add_pair(self, name: str, peer: str, namespace: int) -> None:
        """Two interfaces that are connected (veth(4)): `name` here, `peer` in another namespace."""
        link = struct.pack("=BxHiII", 0, 0, 0, 0, 0)
        other = link + _attribute(3, peer.encode() + b"\0")
        other += _attribute(28, struct.pack("=I", namespace))
        kind = _attribute(1, b"veth\0") + _attribute(2, _attribute(1, other))
        self._ask(_NEW_LINK, link + _attribute(3, name.encode() + b"\0") + _attribute(18, kind))

    def add_address(self, name: str, address: str) -> None:
        """Give an interface an address of its own, in no network."""
        parsed = ip_address(address)
        index = socket.if_nametoindex(name)
        family, length = _family(parsed), parsed.max_prefixlen
        body = struct.pack("=BBBBI", family, length, 0, _SCOPE_UNIVERSE, index)
        body += _attribute(2, parsed.packed) + _attribute(1, parsed.packed)
        body += _attribute(8, struct.pack("=I", _NO_DUPLICATE_DETECTION))
        self._ask(_NEW_ADDRESS, body)

    def add_route(self, name: str, to: str) -> None:
        """What goes to that address leaves by that interface, before any other route."""
        address = ip_address(to)
        self._route(address, address.max_prefixlen, _TABLE_LOCAL, _SCOPE_LINK, _UNICAST, name)

    def add_default(self, name: str, gateway: str) -> None:
        """What has no other route goes by that gateway."""
        address = ip_address(gateway)
        self._route(address, 0, _TABLE_MAIN, _SCOPE_UNIVERSE, _UNICAST, name, address)

    def own_all(self, name: str, version: int) -> None:
        """Every address of IPv4 or IPv6 that has no other route is ours."""
        address = ip_address("0.0.0.0" if version == 4 else "::")
        self._route(address, 0, _TABLE_LOCAL, _SCOPE_HOST, _LOCAL, name)

    def _route(
        self,
        to: Address,
        length: int,
        table: int,
        scope: int,
        kind: int,
        name: str,
        gateway: Address | None = None,
    ) -> None:
        body = struct.pack("=8BI", _family(to), length, 0, 0, table, _BOOT, scope, kind, 0)
        if length:
            body += _attribute(1, to.packed)
        if gateway is not None:
            body += _attribute(5, gateway.packed)
        self._ask(_NEW_ROUTE, body + _attribute(4, struct.pack("=I", socket.if_nametoindex(name))))


def _family(address: Address) -> int:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def _attribute(kind: int, value: bytes) -> bytes:
    padding = -len(value) % 4
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(padding)
