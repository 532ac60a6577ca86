"""The filter of any selection gives the verdict of a plain reading of what the frame was made of,
and that of tcpdump where both mean the same."""

import shutil
import struct
import subprocess
from dataclasses import dataclass, replace
from functools import cache
from ipaddress import IPv6Address, ip_address

import pytest
from classic_bpf import Packet, run
from hypothesis import given, settings
from hypothesis import strategies as st

from wiretape.agent.sources.filter import Address, Selection, assemble

TCP, UDP, FRAGMENT, AUTHENTICATION = 6, 17, 44, 51
OPTIONS = (0, 43, 60, 135, 139, 140)
TAGS = (0x8100, 0x88A8, 0x9100, 0x9200, 0x9300)
IPV4 = [ip_address(text) for text in ("10.0.0.1", "10.0.0.2", "10.0.1.1", "255.255.255.255")]
IPV6 = [ip_address(text) for text in ("2001:db8::1", "2001:db8::2", "2001:db8:1::1", "ff02::1")]
PORTS = (0, 22, 79, 80, 81, 443, 8080, 65535)


@dataclass(frozen=True)
class Traffic:
    """What a frame is made of; `chain`: number, and offset in 8 bytes where it is a fragment's."""

    source: Address
    destination: Address
    ports: tuple[int, int]
    protocol: int
    tags: tuple[int, ...] = ()
    options: int = 0
    offset: int = 0
    chain: tuple[tuple[int, int], ...] = ()
    tag_taken_out: bool = False
    bare: bool = False
    interface: int = 1
    outgoing: bool = False
    loopback: bool = False

    def packet(self) -> Packet:
        transport = struct.pack(">HH", *self.ports) + bytes(16)
        if self.source.version == 4:
            kind = 0x0800
            header = struct.pack(
                ">BBHHHBBH", 0x45 + self.options, 0, 0, 1, self.offset, 64, self.protocol, 0
            )
            ip = header + self.source.packed + self.destination.packed + bytes(4 * self.options)
        else:
            kind = 0x86DD
            numbers = [number for number, _ in self.chain] + [self.protocol]
            ip = struct.pack(">IHBB", 6 << 28, 0, numbers[0], 64)
            ip += self.source.packed + self.destination.packed
            for (number, offset), following in zip(self.chain, numbers[1:], strict=True):
                if number == FRAGMENT:
                    ip += struct.pack(">BBHI", following, 0, offset << 3 | 1, 7)
                elif number == AUTHENTICATION:
                    ip += struct.pack(">BB", following, 4) + bytes(22)
                else:
                    ip += struct.pack(">BB", following, offset) + bytes(6 + 8 * offset)
        packet_type = 4 if self.outgoing else 0
        if self.bare:
            return Packet(ip + transport, 0, kind, 65534, packet_type, self.interface)
        types = [*self.tags, kind]
        frame = bytes(12) + struct.pack(">H", types[0])
        frame += b"".join(struct.pack(">HH", 42, following) for following in types[1:])
        hardware = 772 if self.loopback else 1
        tag = 7 if self.tag_taken_out else None
        frame += ip + transport
        return Packet(frame, 14, types[0], hardware, packet_type, self.interface, tag)


def wanted(selection: Selection, traffic: Traffic) -> bool:
    if traffic.loopback and traffic.outgoing and not traffic.bare:
        return False
    if selection.interfaces and traffic.interface not in selection.interfaces:
        return False
    if len(traffic.tags) > 2 and not traffic.bare:
        return True
    ends = (traffic.source, traffic.destination)
    if selection.hosts and not set(ends) & {unmapped(host) for host in selection.hosts}:
        return False
    selects = bool(selection.ports or selection.hosts)
    if traffic.source.version == 4:
        if traffic.protocol != TCP:
            return not selects
        if traffic.offset:
            return True
    else:
        for place, (number, offset) in enumerate(traffic.chain):
            if place == 6:
                return True
            if number == FRAGMENT and offset:
                following = [number for number, _ in traffic.chain[place + 1 :]]
                next_header = (following or [traffic.protocol])[0]
                return next_header != UDP or not selects
        if traffic.protocol != TCP:
            return not selects
    for address, port, peer, peer_port in selection.excluded:
        forth = (unmapped(address), port), (unmapped(peer), peer_port)
        seen = (traffic.source, traffic.ports[0]), (traffic.destination, traffic.ports[1])
        if seen in (forth, forth[::-1]):
            return False
    return not selection.ports or bool(set(selection.ports) & set(traffic.ports))


def unmapped(address: Address) -> Address:
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


@st.composite
def frames(draw: st.DrawFn) -> Traffic:
    addresses = st.sampled_from(draw(st.sampled_from((IPV4, IPV6))))
    headers = st.tuples(st.sampled_from((*OPTIONS, FRAGMENT, AUTHENTICATION)), st.integers(0, 2))
    return Traffic(
        source=draw(addresses),
        destination=draw(addresses),
        ports=draw(st.tuples(st.sampled_from(PORTS), st.sampled_from(PORTS))),
        protocol=draw(st.sampled_from((TCP, TCP, TCP, UDP))),
        tags=draw(st.lists(st.sampled_from(TAGS), max_size=3).map(tuple)),
        options=draw(st.integers(0, 10)),
        offset=draw(st.sampled_from((0, 0, 0, 1, 100, 0x1FFF))),
        chain=draw(st.lists(headers, max_size=8).map(tuple)),
        tag_taken_out=draw(st.booleans()),
        bare=draw(st.booleans()),
        interface=draw(st.integers(1, 4)),
        outgoing=draw(st.booleans()),
        loopback=draw(st.booleans()),
    )


ADDRESSES = st.sampled_from((*IPV4, *IPV6, ip_address("::ffff:10.0.0.1")))


@st.composite
def connections(draw: st.DrawFn) -> tuple[Address, int, Address, int]:
    family = st.sampled_from(draw(st.sampled_from((IPV4, IPV6))))
    return draw(family), draw(PORT), draw(family), draw(PORT)


PORT = st.sampled_from(PORTS)
SELECTIONS = st.builds(
    Selection,
    ports=st.lists(PORT | st.integers(0, 65535), max_size=30).map(tuple),
    hosts=st.lists(
        ADDRESSES | st.ip_addresses(v=4) | st.ip_addresses(v=6).filter(lambda a: not a.ipv4_mapped),
        max_size=30,
    ).map(tuple),
    interfaces=st.lists(st.integers(1, 4), max_size=2).map(tuple),
    excluded=st.lists(connections(), max_size=3).map(tuple),
)


@given(SELECTIONS, st.lists(frames(), min_size=1, max_size=20))
@settings(max_examples=120, deadline=None)
def test_the_verdict_is_that_of_the_oracle(selection: Selection, traffic: list[Traffic]) -> None:
    program = assemble(selection)
    for one in traffic:
        assert bool(run(program, one.packet())) == wanted(selection, one), one


@given(st.sets(st.integers(0, 65535), min_size=1, max_size=200), st.data())
@settings(max_examples=50, deadline=None)
def test_any_set_of_ports(ports: set[int], data: st.DataObject) -> None:
    program = assemble(Selection(ports=tuple(ports)))
    base = Traffic(IPV4[0], IPV4[1], (0, 0), TCP)
    near = sorted({port + step for port in ports for step in (-1, 0, 1)} & set(range(65536)))
    for port in data.draw(st.lists(st.sampled_from(near), min_size=1, max_size=20)):
        other = data.draw(st.integers(0, 65535))
        for pair in ((port, other), (other, port)):
            taken = run(program, replace(base, ports=pair).packet())
            assert bool(taken) == bool(ports & set(pair))


@cache
def by_tcpdump(expression: str, link_type: str) -> bytes:
    command = ["tcpdump", "-ddd", "-y", link_type, expression]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\n")
    rows = [tuple(map(int, line.split())) for line in lines[1:] if line]
    return b"".join(struct.pack("=HBBI", *row) for row in rows)


EQUAL = [
    (Selection(), "ip or ip6"),
    (Selection(ports=(80,)), "tcp port 80"),
    (Selection(ports=(22, 80, 443)), "tcp port 22 or tcp port 80 or tcp port 443"),
    (Selection(ports=tuple(range(79, 444))), "tcp portrange 79-443"),
    (Selection(hosts=(IPV4[0],)), "tcp and host 10.0.0.1"),
    (Selection(hosts=(IPV6[0],)), "tcp and host 2001:db8::1"),
    (
        Selection(hosts=(IPV4[0], IPV6[1]), ports=(80, 8080)),
        "tcp and (host 10.0.0.1 or host 2001:db8::2) and (port 80 or port 8080)",
    ),
    (
        Selection(excluded=((IPV4[0], 22, IPV4[1], 80), (IPV6[0], 22, IPV6[1], 80))),
        "(ip or ip6) and not (tcp and ("
        "(src host 10.0.0.1 and src port 22 and dst host 10.0.0.2 and dst port 80) or "
        "(src host 10.0.0.2 and src port 80 and dst host 10.0.0.1 and dst port 22) or "
        "(src host 2001:db8::1 and src port 22 and dst host 2001:db8::2 and dst port 80) or "
        "(src host 2001:db8::2 and src port 80 and dst host 2001:db8::1 and dst port 22)))",
    ),
]
"""Without tags, later fragments and extension headers, into which tcpdump does not look."""


@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="needs tcpdump")
@pytest.mark.parametrize(("selection", "expression"), EQUAL)
@pytest.mark.parametrize("link_type", ["EN10MB", "RAW"])
@given(traffic=st.lists(frames(), min_size=1, max_size=30))
@settings(max_examples=30, deadline=None)
def test_the_verdict_is_that_of_tcpdump(
    selection: Selection, expression: str, link_type: str, traffic: list[Traffic]
) -> None:
    ours, theirs = assemble(selection), by_tcpdump(expression, link_type)
    for one in traffic:
        bare = link_type == "RAW"
        packet = replace(one, tags=(), offset=0, chain=(), outgoing=False, bare=bare).packet()
        assert run(ours, packet) == run(theirs, packet)
