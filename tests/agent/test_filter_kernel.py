"""The filter in the kernel, on devices of several kinds, gives the verdicts of the table."""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from random import Random

import pytest
from classic_bpf import Packet, run
from filter_traffic import FRAMES, SELECTIONS, bare
from packet_sockets import command, namespace, packet_socket, received, received_until, tunnel

from wiretape.agent.sources.filter import Expression, Selection, assemble
from wiretape.agent.sources.libpcap import FilterError, compile_expression

LAST = bytes(12) + b"\x88\xb5"
"""An EtherType for local experiments."""


@dataclass(frozen=True)
class Network:
    """Devices in a namespace: two ends of a veth, lo and a tun."""

    injector: socket.socket
    tun: int

    def taken(self, program: bytes, names: list[str]) -> dict[str, list[tuple[Packet, bool]]]:
        """Sends these frames on each device; by device, what was seen of them and whether the
        program took it."""
        with packet_socket() as observer, packet_socket(program) as filtered:
            for name in names:
                frame, packet = bytes(FRAMES[name]), bare(name)
                self.injector.sendto(frame, ("left", 3))
                self.injector.sendto(frame, ("lo", 3))
                if packet is not None and len(packet) >= 20:
                    os.write(self.tun, packet)
            self.injector.sendto(LAST, ("left", 3))
            seen = received_until(observer, LAST)
            through = [packet for packet in received(filtered) if packet.data != LAST]
        by_device: dict[str, list[tuple[Packet, bool]]] = {}
        for packet in seen:
            name = socket.if_indextoname(packet.interface)
            if name == "lo" and packet.packet_type == 4:
                name = "lo, outgoing"
            took = through[:1] == [packet]
            del through[:took]
            by_device.setdefault(name, []).append((packet, took))
        assert not through
        return by_device


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with ExitStack() as stack:
        try:
            stack.enter_context(namespace())
            tun = stack.enter_context(tunnel("tun0"))
            # IPv6 says things of its own accord.
            for switch in Path("/proc/sys/net/ipv6/conf").glob("*/disable_ipv6"):
                if switch.parent.name in ("all", "default"):
                    switch.write_text("1")
            command("ip link add left type veth peer name right")
            for device in ("left", "right", "lo", "tun0"):
                command(f"ip link set {device} up")
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"needs a network namespace, veth, tun and ip: {error}")
        injector = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
        yield Network(injector, tun)


@pytest.mark.privileged
@pytest.mark.parametrize(("selection", "wanted"), SELECTIONS)
def test_the_table_of_frames(network: Network, selection: Selection, wanted: set[str]) -> None:
    program = assemble(selection)
    by_device = network.taken(program, list(FRAMES))
    for device in ("left", "right", "lo"):
        assert {name: took for name, (_, took) in zip(FRAMES, by_device[device], strict=True)} == {
            name: name in wanted for name in FRAMES
        }, device
    packets = [name for name in FRAMES if len(bare(name) or b"") >= 20]
    assert {
        name: took for name, (_, took) in zip(packets, by_device["tun0"], strict=True)
    } == {name: name in wanted for name in packets}  # fmt: skip
    assert not any(took for _, took in by_device["lo, outgoing"])
    for seen in by_device.values():
        for packet, took in seen:
            assert bool(run(program, packet)) == took


@pytest.mark.privileged
def test_what_the_kernel_does_with_tags(network: Network) -> None:
    """The reasons why all is counted from the frame's beginning."""
    by_device = network.taken(assemble(Selection(ports=(80,))), ["one tag", "two tags"])
    sent, came = ([packet for packet, _ in by_device[end]] for end in ("left", "right"))
    assert [(one.tag, one.protocol) for one in sent] == [(None, 0x8100), (None, 0x88A8)]
    assert [(one.tag, one.protocol) for one in came] == [(42, 0x0800), (7, 0x8100)]
    assert all(took for seen in by_device.values() for packet, took in seen[:2]
               if (packet.hardware_type, packet.packet_type) != (772, 4))  # fmt: skip


@pytest.mark.privileged
@pytest.mark.parametrize(("device", "others"), [("left", "right"), ("tun0", "lo"), ("lo", "left")])
def test_only_the_interfaces_that_are_named(network: Network, device: str, others: str) -> None:
    chosen = (socket.if_nametoindex(device),)
    by_device = network.taken(assemble(Selection(ports=(80,), interfaces=chosen)), ["request"])
    assert [took for _, took in by_device[device]] == [True]
    assert [took for _, took in by_device[others]] == [False]


@pytest.mark.privileged
def test_the_kernel_takes_a_long_program(network: Network) -> None:
    random = Random(3)
    hosts = (
        *(IPv4Address(random.getrandbits(32)) for _ in range(100)),
        *(IPv6Address(random.getrandbits(128)) for _ in range(20)),
        IPv4Address("192.0.2.1"),
    )
    program = assemble(Selection(ports=(80, *random.sample(range(100, 65536), 100)), hosts=hosts))
    assert len(program) > 8 * 1000
    names = ["request", "reply", "ssh", "other hosts", "request over IPv6"]
    by_device = network.taken(program, names)
    assert [took for _, took in by_device["right"]] == [True, True, False, False, False]


EXPRESSIONS = [
    ("tcp port 80", (), {
        "request", "reply", "request over IPv6", "other hosts", "IPv4 options", "ssh"},
        {"request", "reply", "request over IPv6", "other hosts", "IPv4 options"}),
    ("dst port 80 and ip[8] == 64", (), {"request", "reply", "UDP"}, {"request", "UDP"}),
    ("ip proto \\icmp or host 255.255.255.255", (), {"request", "ICMP", "other hosts"},
        {"ICMP", "other hosts"}),
    ("vlan 42 and tcp port 80", (1,), {"request", "one tag", "two tags", "one tag and IPv6"},
        {"one tag", "one tag and IPv6"}),
    ("vlan 7 and vlan 42 and tcp port 80", (1,), {"request", "one tag", "two tags"}, {"two tags"}),
    ("tcp port 80 and not vlan", (1,), {"request", "one tag"}, {"request"}),
]  # fmt: skip


@pytest.fixture
def compiled(network: Network, request: pytest.FixtureRequest) -> Expression:
    expression, hardware_types = request.param
    try:
        return compile_expression(expression, hardware_types)
    except FilterError as error:
        if "not installed" in str(error):
            pytest.skip(str(error))
        raise


@pytest.mark.privileged
@pytest.mark.parametrize(
    ("compiled", "names", "wanted"),
    [((text, types), names, wanted) for text, types, names, wanted in EXPRESSIONS],
    indirect=["compiled"],
)
def test_expressions(
    network: Network, compiled: Expression, names: set[str], wanted: set[str]
) -> None:
    """On the end that sent, tags are in the frame; on the other, the kernel took the outer out."""
    order = sorted(names)
    for selection in (Selection(), Selection(ports=(80,))):
        program = assemble(replace(selection, expression=compiled))
        by_device = network.taken(program, order)
        for device in ("left", "right", "lo"):
            verdicts = {
                name: took for name, (_, took) in zip(order, by_device[device], strict=True)
            }
            assert verdicts == {
                name: name in wanted and (not selection.ports or name not in ("UDP", "ICMP"))
                for name in order
            }, device
        if compiled.bare is not None:
            packets = [name for name in order if bare(name)]
            assert {
                name: took for name, (_, took) in zip(packets, by_device["tun0"], strict=True)
            } == {name: verdicts[name] for name in packets}
        for seen in by_device.values():
            for packet, took in seen:
                assert bool(run(program, packet)) == took
