"""Which address stands for which host in the build's world, and whose listeners are there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address

from wiretape.exchange.endpoints import endpoint_text

Address = tuple[str, int]
"""An IP address, as `ipaddress` spells it, and a port."""

_FIRST_IPV4, _FIRST_IPV6 = IPv4Address("198.18.1.0"), IPv6Address("fd57:4954::1:0")
"""For hosts whose recorded address is not theirs alone: of networks that are nobody's."""

_LOCALHOST = "localhost"


@dataclass(frozen=True, slots=True)
class Upstream:
    """One recorded upstream, under one of its names.

    `name` is `host:port` in lower case, as the calls were addressed; `server` is where the
    recording saw them go; `tls` says that they went by https.
    """

    name: str
    server: Address
    tls: bool = False

    @property
    def host(self) -> str:
        return split(self.name)[0]

    @property
    def port(self) -> int:
        return split(self.name)[1]


def split(name: str) -> Address:
    """Host and port of `host:port`, an IPv6 address without its brackets."""
    host, _, port = name.rpartition(":")
    return plain(host.strip("[]")), int(port)


def plain(host: str) -> str:
    """An IP address in its only spelling; other hosts as they are, without a final dot."""
    try:
        return str(ip_address(host.partition("%")[0]))
    except ValueError:
        return host.lower().rstrip(".")


def is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


@dataclass(slots=True)
class Names:
    """`addresses`: of each host by name, of IPv4 and of IPv6. `listeners`: whose call it is that
    comes to an address and port. `tls`: the names that are called by https.

    A host has its recorded addresses where they are its alone, so that the build sees them;
    otherwise one that stands for nobody else. What goes to an address with several hosts is a call
    to that address.
    """

    addresses: dict[str, list[str]] = field(default_factory=dict)
    listeners: dict[Address, str] = field(default_factory=dict)
    tls: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, upstreams: Iterable[Upstream], allowed: Sequence[str] = ()) -> Names:
        """`allowed` are names that no upstream has."""
        names = cls()
        known = sorted(set(upstreams), key=lambda upstream: (upstream.name, upstream.server))
        names.tls = {upstream.name for upstream in known if upstream.tls}
        at_server: dict[Address, set[str]] = {}
        hosts: dict[str, set[Address]] = {}
        sharing: dict[str, set[str]] = {}
        for upstream in known:
            server = plain(upstream.server[0]), upstream.server[1]
            at_server.setdefault(server, set()).add(upstream.name)
            sharing.setdefault(server[0], set()).add(upstream.host)
            if not is_address(upstream.host) and upstream.host != _LOCALHOST:
                hosts.setdefault(upstream.host, set()).add(server)
        for server, called in at_server.items():
            is_one = len(called) == 1
            names.listeners[server] = called.pop() if is_one else endpoint_text(*server)
        for name in allowed:
            host, _ = split(name)
            if not is_address(host) and host != _LOCALHOST:
                hosts.setdefault(host, set())
        names.addresses[_LOCALHOST] = ["127.0.0.1", "::1"]
        for number, (host, servers) in enumerate(sorted(hosts.items())):
            its_own = bool(servers) and all(
                sharing[address] == {host} and not ip_address(address).is_loopback
                for address, _ in servers
            )
            names.addresses[host] = (
                sorted({address for address, _ in servers})
                if its_own
                else [str(_FIRST_IPV4 + number), str(_FIRST_IPV6 + number)]
            )
        for upstream in known:
            own = names.addresses.get(upstream.host, ())
            for address in own if upstream.host != _LOCALHOST else ():
                for port in (upstream.port, upstream.server[1]):
                    names.listeners.setdefault((address, port), upstream.name)
            if is_address(upstream.host):
                names.listeners.setdefault((upstream.host, upstream.port), upstream.name)
        for name in allowed:
            host, port = split(name)
            for address in names.addresses.get(host, [host]):
                names.listeners.setdefault((address, port), name)
        return names
