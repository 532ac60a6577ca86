"""The kernel's filter takes exactly what the selection says."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from random import Random

import pytest
from classic_bpf import Packet, instructions, run, trace
from filter_traffic import A4, B4, FRAMES, IP, LINK, SELECTIONS, TCP, V4, WEB, Dot1Q, variants

from wiretape.agent.sources import bpf
from wiretape.agent.sources.bpf import Assembler, Instruction, Label
from wiretape.agent.sources.filter import Expression, Selection, assemble

REQUEST = Packet(bytes(FRAMES["request"]))


@pytest.mark.parametrize(("selection", "wanted"), SELECTIONS)
def test_the_table_of_frames(selection: Selection, wanted: set[str]) -> None:
    program = assemble(selection)
    taken = {name: {run(program, shown) for shown in variants(name)} for name in FRAMES}
    assert taken == {name: {0x40000 if name in wanted else 0} for name in FRAMES}


def test_a_tag_that_was_taken_out_leaves_room_for_two_inside() -> None:
    frame = bytes(LINK / Dot1Q(vlan=1) / Dot1Q(vlan=2) / V4 / WEB)
    program = assemble(Selection(ports=(80,)))
    assert run(program, Packet(frame, protocol=0x8100, tag=42))
    assert not run(assemble(Selection(ports=(81,))), Packet(frame, protocol=0x8100, tag=42))


def test_what_is_behind_three_tags_is_not_lost() -> None:
    frame = bytes(LINK / Dot1Q(vlan=1) / Dot1Q(vlan=2) / Dot1Q(vlan=3) / V4 / WEB)
    assert run(assemble(Selection(ports=(81,))), Packet(frame, protocol=0x8100))


@pytest.mark.parametrize(
    ("hardware_type", "packet_type", "taken"),
    [(772, 0, True), (772, 4, False), (1, 0, True), (1, 4, True), (1, 3, True)],
)
def test_a_loopback_device_shows_each_packet_once(
    hardware_type: int, packet_type: int, taken: bool
) -> None:
    for selection in (Selection(), Selection(ports=(80,))):
        packet = replace(REQUEST, hardware_type=hardware_type, packet_type=packet_type)
        assert bool(run(assemble(selection), packet)) == taken


@pytest.mark.parametrize("selection", [Selection(), Selection(ports=(80,))])
def test_only_the_interfaces_that_are_named(selection: Selection) -> None:
    program = assemble(replace(selection, interfaces=(2, 3, 9)))
    taken = [index for index in range(1, 12) if run(program, replace(REQUEST, interface=index))]
    assert taken == [2, 3, 9]


ACCEPT, REJECT = Instruction(bpf.RETURN, 0, 0, 96), Instruction(bpf.RETURN, 0, 0, 0)
PORT_IS_80 = (
    Instruction(bpf.LOAD_X_HEADER_LENGTH, 0, 0, 0),
    Instruction(bpf.LOAD_HALF_AT_X, 0, 0, 2),
    Instruction(bpf.IF_EQUAL, 0, 1, 80),
    ACCEPT,
    REJECT,
)
"""As for a packet that begins with IPv4."""


@pytest.mark.parametrize(
    ("expression", "ethernet", "bare"),
    [
        (Expression((ACCEPT,), (REJECT,)), 96, 0),
        (Expression((REJECT,), (ACCEPT,)), 0, 96),
        (Expression((ACCEPT,), None), 96, 0),
        (Expression(None, (ACCEPT,)), 0, 96),
        (Expression((REJECT,), PORT_IS_80), 0, 96),
    ],
)
def test_an_expression_and_the_selection_both_decide(
    expression: Expression, ethernet: int, bare: int
) -> None:
    on_ethernet, _, without, behind_a_header = variants("request")
    for selection in (Selection(), Selection(ports=(80,))):
        program = assemble(replace(selection, expression=expression))
        assert run(program, on_ethernet) == ethernet
        assert run(program, without) == run(program, behind_a_header) == bare
    nothing = assemble(Selection(ports=(81,), expression=expression))
    assert [run(nothing, shown) for shown in variants("request")] == [0, 0, 0, 0]
    arp = assemble(Selection(expression=expression))
    assert [run(arp, shown) for shown in variants("ARP")] == [0, 0]


def test_many_ports_and_hosts() -> None:
    random = Random(5)
    ports = random.sample(range(65536), 300)
    hosts = (
        *(IPv4Address(random.getrandbits(32)) for _ in range(250)),
        *(IPv6Address(random.getrandbits(128)) for _ in range(40)),
    )
    program = assemble(Selection(ports=tuple(ports), hosts=hosts))
    assert 255 < len(instructions(program)) <= 4096
    for port in (*ports, 79):
        for host in (hosts[0], hosts[249], ip_address(A4)):
            frame = LINK / IP(src=A4, dst=str(host)) / TCP(sport=1, dport=port)
            kept, steps = trace(program, Packet(bytes(frame)))
            assert bool(kept) == (port in ports and host in hosts)
            assert steps < 120


def test_ports_in_a_row_cost_no_more_than_one() -> None:
    one, many = (assemble(Selection(ports=ports)) for ports in ((80,), tuple(range(1024, 60000))))
    assert len(many) <= len(one) + 2 * 8


def test_too_many_ports() -> None:
    with pytest.raises(ValueError, match=r"the kernel takes 4096 at most: name fewer ports"):
        assemble(Selection(ports=tuple(range(1, 65536, 2))))


def test_too_many_hosts() -> None:
    hosts = tuple(IPv6Address(index << 96 | index) for index in range(500))
    with pytest.raises(ValueError, match="the kernel takes 4096 at most"):
        assemble(Selection(hosts=hosts))


def test_jumps_of_any_length() -> None:
    for between in (0, 1, 252, 253, 254, 255, 256, 257, 1000):
        for lead in (0, 1, 2):
            code, hit, miss = Assembler(), Label(), Label()
            code.add(bpf.LOAD_WORD, bpf.INTERFACE)
            code.test(bpf.IF_EQUAL, 7, hit, miss)
            for _ in range(between):
                code.add(bpf.RETURN, 1)
            code.mark(hit)
            for _ in range(lead):
                code.add(bpf.ADD, 1)
            code.add(bpf.RETURN, 2)
            code.mark(miss)
            code.add(bpf.RETURN, 3)
            program = bpf.packed(code.program())
            assert run(program, replace(REQUEST, interface=7)) == 2
            assert run(program, replace(REQUEST, interface=8)) == 3


def test_a_switch_at_the_ends_of_what_a_word_holds() -> None:
    values = (0, 1, 5, 7, 8, 9, 0xFFFFFFFE, 0xFFFFFFFF)
    for chosen in (values, values[1:], values[:-1], (0,), (0xFFFFFFFF,), (), (5,)):
        code, hit, miss = Assembler(), Label(), Label()
        code.add(bpf.LOAD_WORD, 0)
        code.one_of(chosen, hit, miss)
        code.mark(hit)
        code.add(bpf.RETURN, 1)
        code.mark(miss)
        code.add(bpf.RETURN, 0)
        program = bpf.packed(code.program())
        for value in (*values, 2, 4, 6, 10, 0x80000000, 0xFFFFFFFD):
            assert run(program, Packet(value.to_bytes(4, "big"))) == (value in chosen)


def test_addresses_are_compared_whole() -> None:
    program = assemble(Selection(hosts=(ip_address(B4),)))
    assert run(program, REQUEST)
    for byte in range(26, 34):
        changed = bytearray(REQUEST.data)
        changed[byte] ^= 1
        assert bool(run(program, Packet(bytes(changed)))) == (byte < 30)
