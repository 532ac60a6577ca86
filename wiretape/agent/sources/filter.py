"""What of the traffic is captured, as the program that the kernel runs on each packet.

One socket sees devices of many kinds. Where there is an Ethernet header, all is counted from the
frame's first byte: of frames that were sent with a tag inside, the kernel's network header may
already stand behind the tag, and behind the first bytes the kernel may keep a frame in pages,
which only loads from its beginning reach. On all other devices all is counted from the network
header. A tag that the kernel took out of the frame is not in the way.

A load beyond the packet's end rejects it. So nothing is loaded that need not be.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from wiretape.agent.sources import bpf
from wiretape.agent.sources.bpf import Assembler, Label

Address = IPv4Address | IPv6Address
Connection = tuple[Address, int, Address, int]
"""Address and port of either end."""

ETHERNET_TYPES = (1, 772)
"""ARPHRD_ETHER and ARPHRD_LOOPBACK: devices whose frames begin with an Ethernet header."""
WHOLE_PACKET = 0x40000
"""What an accepting program returns: how many bytes are kept."""

_LOOPBACK = 772
_OUTGOING = 4
_IPV4, _IPV6 = 0x0800, 0x86DD
_VLAN_TYPES = (0x8100, 0x88A8, 0x9100, 0x9200, 0x9300)
_MAY_LEAD_TO_IP = (0x8847, 0x8848, 0x8864)
"""MPLS, and sessions of PPPoE."""
_MAX_INLINE_TAGS = 2
_TCP, _FRAGMENT, _AUTHENTICATION = 6, 44, 51
_OPTIONS = (0, 43, 60, 135, 139, 140)
_MAX_EXTENSION_HEADERS = 6
"""As many as RFC 8200 §4.1 puts before TCP."""
_BASE, _PORTS, _SPARE = 0, 1, 2
"""Scratch memory: where the network header stands; both ports."""


@dataclass(frozen=True)
class Expression:
    """A filter expression, compiled for both kinds of devices; None: it rejects all there."""

    ethernet: bpf.Program | None
    bare: bpf.Program | None
    """For packets that begin with their IP header."""


@dataclass(frozen=True)
class Selection:
    """Which packets are captured; of several conditions, all must hold.

    With neither ports nor hosts: all that is IP or may lead to it, so that tunnels can be peeled.
    With any of them: TCP that stands directly in IP, behind VLAN tags at most. Either end may have
    the port, and either the host. Kept too: fragments that do not tell their ports, and what lies
    deeper than two tags or six extension headers. IPv4-mapped addresses mean IPv4.
    """

    ports: tuple[int, ...] = ()
    hosts: tuple[Address, ...] = ()
    interfaces: tuple[int, ...] = ()
    """Indices; none: all."""
    excluded: tuple[Connection, ...] = ()
    """Never captured, but for fragments that do not tell their ports."""
    expression: Expression | None = None


def assemble(selection: Selection) -> bytes:
    """An array of `struct sock_filter`, for SO_ATTACH_FILTER on a SOCK_RAW packet socket.

    ValueError: it is longer than the kernel takes.
    """
    return bpf.packed(_Filter(selection).program())


def _words(address: Address) -> tuple[int, ...]:
    """Of 32 bits: one of IPv4, four of IPv6."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return struct.unpack(f">{len(address.packed) // 4}I", address.packed)


class _Filter:
    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self._code = Assembler()
        self._accept, self._reject, self._ports = Label(), Label(), Label()
        self._selects = bool(selection.ports or selection.hosts)
        self._other = self._reject if self._selects else self._accept
        """Where other protocols than TCP lead to."""
        self._hosts = [_words(host) for host in selection.hosts]
        self._excluded = [
            (_words(address), port, _words(peer), peer_port)
            for address, port, peer, peer_port in selection.excluded
        ]

    def program(self) -> bpf.Program:
        self._devices()
        self._link_layer()
        self._network_layer()
        self._code.mark(self._ports)
        self._either_port()
        self._code.mark(self._accept)
        self._accepted()
        self._code.mark(self._reject)
        self._code.add(bpf.RETURN, 0)
        return self._code.program()

    def _devices(self) -> None:
        """A loopback device shows each packet twice; the one that comes in is taken."""
        code, going = self._code, Label()
        code.add(bpf.LOAD_WORD, bpf.PACKET_TYPE)
        code.test(bpf.IF_EQUAL, _OUTGOING, miss=going)
        code.add(bpf.LOAD_WORD, bpf.HARDWARE_TYPE)
        code.test(bpf.IF_EQUAL, _LOOPBACK, hit=self._reject)
        code.mark(going)
        if self._selection.interfaces:
            wanted = Label()
            code.add(bpf.LOAD_WORD, bpf.INTERFACE)
            code.one_of(self._selection.interfaces, wanted, self._reject)
            code.mark(wanted)

    def _link_layer(self) -> None:
        """Leaves X at the network header, and in A which one it is."""
        code, ethernet, bare, known = self._code, Label(), Label(), Label()
        code.add(bpf.LOAD_WORD, bpf.HARDWARE_TYPE)
        code.one_of(ETHERNET_TYPES, ethernet, bare)
        code.mark(bare)
        code.add(bpf.LOAD_X_IMMEDIATE, bpf.NETWORK)
        code.add(bpf.LOAD_WORD, bpf.PROTOCOL)
        code.go(known)
        code.mark(ethernet)
        code.add(bpf.LOAD_X_IMMEDIATE, 14)
        code.add(bpf.LOAD_HALF, 12)
        for _ in range(_MAX_INLINE_TAGS):
            tagged = Label()
            code.one_of(_VLAN_TYPES, tagged, known)
            code.mark(tagged)
            code.add(bpf.LOAD_HALF_AT_X, 2)
            self._advance(4)
        code.one_of(_VLAN_TYPES, self._accept, known)
        code.mark(known)

    def _network_layer(self) -> None:
        """All of the hosts may be of one family; then the other is not looked into."""
        code, lengths = self._code, {len(host) for host in self._hosts} or {1, 4}
        families = {_IPV4: (1, self._ipv4), _IPV6: (4, self._ipv6)}
        labels = {kind: Label() for kind, (words, _) in families.items() if words in lengths}
        if self._selects:
            code.switch(labels, self._reject)
        elif self._excluded:
            code.switch(labels | dict.fromkeys(_MAY_LEAD_TO_IP, self._accept), self._reject)
        else:
            code.one_of((*families, *_MAY_LEAD_TO_IP), self._accept, self._reject)
            return
        for kind, label in labels.items():
            code.mark(label)
            families[kind][1]()

    def _advance(self, size: int) -> None:
        """Moves X on, keeps A."""
        code = self._code
        code.add(bpf.STORE, _SPARE)
        code.add(bpf.A_FROM_X)
        code.add(bpf.ADD, size)
        code.add(bpf.X_FROM_A)
        code.add(bpf.LOAD_MEMORY, _SPARE)

    def _ipv4(self) -> None:
        code, tcp = self._code, Label()
        code.add(bpf.LOAD_BYTE_AT_X, 9)
        code.test(bpf.IF_EQUAL, _TCP, miss=self._other)
        self._either_host(1, tcp)
        code.mark(tcp)
        if self._selection.ports or self._excluded:
            code.add(bpf.STORE_X, _BASE)
            code.add(bpf.LOAD_HALF_AT_X, 6)
            code.test(bpf.IF_ANY_BIT, 0x1FFF, hit=self._accept)
            code.add(bpf.LOAD_BYTE_AT_X, 0)
            code.add(bpf.AND, 15)
            self._skip(shift=2, minimum=0)
        self._tcp(1)

    def _ipv6(self) -> None:
        code, chain, tcp, later = self._code, Label(), Label(), Label()
        extensions = (*_OPTIONS, _FRAGMENT, _AUTHENTICATION)
        self._either_host(4, chain)
        code.mark(chain)
        code.add(bpf.STORE_X, _BASE)
        code.add(bpf.LOAD_BYTE_AT_X, 6)
        self._advance(40)
        for _ in range(_MAX_EXTENSION_HEADERS):
            options, fragment, authentication, following = Label(), Label(), Label(), Label()
            kinds = dict.fromkeys(_OPTIONS, options) | {
                _TCP: tcp, _FRAGMENT: fragment, _AUTHENTICATION: authentication,
            }  # fmt: skip
            code.switch(kinds, self._other)
            code.mark(fragment)
            code.add(bpf.LOAD_HALF_AT_X, 2)
            code.test(bpf.IF_ANY_BIT, 0xFFF8, hit=later)
            code.add(bpf.LOAD_BYTE_AT_X, 0)
            self._advance(8)
            code.go(following)
            for label, shift in ((options, 3), (authentication, 2)):
                code.mark(label)
                code.add(bpf.LOAD_BYTE_AT_X, 0)
                code.add(bpf.STORE, _SPARE)
                code.add(bpf.LOAD_BYTE_AT_X, 1)
                self._skip(shift, minimum=8)
                code.add(bpf.LOAD_MEMORY, _SPARE)
                code.go(following)
            code.mark(following)
        code.switch({_TCP: tcp} | dict.fromkeys(extensions, self._accept), self._other)
        code.mark(later)
        code.add(bpf.LOAD_BYTE_AT_X, 0)
        code.one_of((_TCP, *extensions), self._accept, self._other)
        code.mark(tcp)
        self._tcp(4)

    def _skip(self, shift: int, minimum: int) -> None:
        """Moves X on by the length in A, told in units of 1 << shift bytes beyond a minimum."""
        code = self._code
        code.add(bpf.SHIFT_LEFT, shift)
        if minimum:
            code.add(bpf.ADD, minimum)
        code.add(bpf.ADD_X)
        code.add(bpf.X_FROM_A)

    def _either_host(self, words: int, wanted: Label) -> None:
        """`words` of 32 bits make an address; X is at the network header."""
        hosts = {host for host in self._hosts if len(host) == words}
        source = 12 if words == 1 else 8
        if hosts:
            destination = Label()
            self._address(source, hosts, wanted, destination)
            self._code.mark(destination)
            self._address(source + 4 * words, hosts, wanted, self._reject)

    def _address(
        self, offset: int, addresses: Iterable[tuple[int, ...]], hit: Label, miss: Label
    ) -> None:
        """Goes on at `hit` where the address at X + offset is among these; a trie of words."""
        groups: dict[int, list[tuple[int, ...]]] = {}
        for first, *rest in addresses:
            groups.setdefault(first, []).append(tuple(rest))
        cases = {first: Label() if rests[0] else hit for first, rests in groups.items()}
        self._code.add(bpf.LOAD_WORD_AT_X, offset)
        self._code.switch(cases, miss)
        for first, label in cases.items():
            if label is not hit:
                self._code.mark(label)
                self._address(offset + 4, groups[first], hit, miss)

    def _tcp(self, words: int) -> None:
        """X is at the TCP header."""
        if not self._selection.ports and not self._excluded:
            self._code.go(self._accept)
            return
        self._code.add(bpf.LOAD_WORD_AT_X, 0)
        self._code.add(bpf.STORE, _PORTS)
        for address, port, peer, peer_port in self._excluded:
            if len(address) == words:
                self._exclude(address, port, peer, peer_port)
                self._exclude(peer, peer_port, address, port)
        self._code.go(self._ports)

    def _exclude(
        self, source: tuple[int, ...], port: int, destination: tuple[int, ...], to_port: int
    ) -> None:
        code, following, from_source = self._code, Label(), Label()
        offset = 12 if len(source) == 1 else 8
        code.add(bpf.LOAD_MEMORY, _PORTS)
        code.test(bpf.IF_EQUAL, port << 16 | to_port, miss=following)
        code.add(bpf.LOAD_X_MEMORY, _BASE)
        self._address(offset, [source], from_source, following)
        code.mark(from_source)
        self._address(offset + 4 * len(source), [destination], self._reject, following)
        code.mark(following)

    def _either_port(self) -> None:
        if not self._selection.ports:
            return
        code, destination = self._code, Label()
        code.add(bpf.LOAD_MEMORY, _PORTS)
        code.add(bpf.SHIFT_RIGHT, 16)
        code.one_of(self._selection.ports, self._accept, destination)
        code.mark(destination)
        code.add(bpf.LOAD_MEMORY, _PORTS)
        code.add(bpf.AND, 0xFFFF)
        code.one_of(self._selection.ports, self._accept, self._reject)

    def _accepted(self) -> None:
        code, expression = self._code, self._selection.expression
        if expression is None:
            code.add(bpf.RETURN, WHOLE_PACKET)
            return
        ethernet, bare = Label(), Label()
        code.add(bpf.LOAD_WORD, bpf.HARDWARE_TYPE)
        code.one_of(ETHERNET_TYPES, ethernet, bare)
        code.mark(ethernet)
        if expression.ethernet is None:
            code.go(self._reject)
        else:
            code.embed(expression.ethernet)
        code.mark(bare)
        if expression.bare is None:
            code.go(self._reject)
        else:
            code.embed(bpf.relative_to_network(expression.bare))
