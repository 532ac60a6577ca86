"""Filter expressions are compiled as tcpdump does, and what cannot be says why."""

import re
import shutil
import subprocess
import sys
from collections.abc import Collection

import pytest
from classic_bpf import run
from filter_traffic import FRAMES, variants

from wiretape.agent.sources import libpcap
from wiretape.agent.sources.bpf import Instruction, Program
from wiretape.agent.sources.filter import Selection, assemble
from wiretape.agent.sources.libpcap import FilterError, compile_expression

try:
    libpcap._library()
except FilterError as missing:
    without_libpcap, why = True, str(missing)
else:
    without_libpcap, why = False, ""
needs_libpcap = pytest.mark.skipif(without_libpcap, reason=why)
needs_tcpdump = pytest.mark.skipif(shutil.which("tcpdump") is None, reason="needs tcpdump")

TUN = 65534


def by_tcpdump(*arguments: str) -> Program:
    command = ["tcpdump", "-ddd", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if "permission" in done.stderr:
        pytest.skip(f"needs CAP_NET_RAW: {done.stderr.splitlines()[-1]}")
    done.check_returncode()
    rows = [line.split() for line in done.stdout.splitlines()[1:]]
    return tuple(Instruction(*map(int, row)) for row in rows)


@needs_libpcap
@needs_tcpdump
@pytest.mark.parametrize(
    "expression",
    [
        "",
        "tcp port 80",
        "ip6 and host 2001:db8::1",
        "tcp[tcpflags] & tcp-syn != 0 and not net 10.0.0.0/8",
        "portrange 8000-8099 or greater 1000",
    ],
)
def test_the_program_is_that_of_tcpdump(expression: str) -> None:
    compiled = compile_expression(expression)
    assert compiled.ethernet == by_tcpdump("-y", "EN10MB", expression)
    assert compiled.bare == by_tcpdump("-y", "RAW", expression)


@needs_libpcap
@needs_tcpdump
@pytest.mark.privileged
@pytest.mark.parametrize("expression", ["vlan", "vlan 42 and tcp port 80", "vlan 7 and vlan 42"])
def test_tags_are_looked_for_where_the_kernel_puts_them(expression: str) -> None:
    live = by_tcpdump("-i", "lo", expression)
    assert compile_expression(expression, (1,)).ethernet == live
    assert live != by_tcpdump("-y", "EN10MB", expression)


@needs_libpcap
def test_an_expression_and_the_selection_must_both_hold() -> None:
    program = assemble(
        Selection(ports=(80,), expression=compile_expression("src port 40000 and not udp"))
    )
    taken = {name for name in FRAMES for shown in variants(name) if run(program, shown)}
    assert {"request", "request over IPv6"} < taken
    assert not taken & {"reply", "ssh", "UDP", "ARP"}
    assert all(run(program, shown) for shown in variants("request"))


@needs_libpcap
@pytest.mark.parametrize(
    ("expression", "hardware_types", "ethernet", "bare"),
    [
        ("tcp", (), True, True),
        ("tcp", (1, 772), True, False),
        ("tcp", (TUN, 512), False, True),
        ("tcp", (1, TUN), True, True),
        ("ether host 02:00:00:00:00:01", (1,), True, False),
        ("arp", (), True, False),
        ("arp", (1, TUN), True, False),
    ],
)
def test_it_is_compiled_for_what_can_appear(
    expression: str, hardware_types: Collection[int], ethernet: bool, bare: bool
) -> None:
    """`arp` is no error where there is none: it rejects all there."""
    compiled = compile_expression(expression, hardware_types)
    assert (compiled.ethernet is not None, compiled.bare is not None) == (ethernet, bare)


WITHOUT = "this is so on devices without an Ethernet header: name the interfaces to capture on"


@needs_libpcap
@pytest.mark.parametrize(
    ("expression", "hardware_types", "message"),
    [
        ("tcp prt 80", (), r"the filter expression 'tcp prt 80': .*syntax error$"),
        ("tcp port 99999", (1,), r"'tcp port 99999': .*port"),
        ("ip and ip6", (), r"rejects all packets$"),
        ("arp", (TUN,), r"rejects all packets$"),
        ("ether host 02:00:00:00:00:01", (), f"ethernet addresses .*; {WITHOUT}"),
        ("ether host 02:00:00:00:00:01", (1, TUN), f"ethernet addresses .*; {WITHOUT}"),
        ("ether host 02:00:00:00:00:01", (TUN,), r"ethernet addresses supported only on"),
    ],
)
def test_what_cannot_be_compiled(
    expression: str, hardware_types: Collection[int], message: str
) -> None:
    with pytest.raises(FilterError, match=message) as caught:
        compile_expression(expression, hardware_types)
    assert "\n" not in str(caught.value)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libpcap, "_SONAMES", ("libpcap.so.none",))
    with pytest.raises(FilterError, match=r"not installed; as root: apt-get install libpcap0\.8$"):
        compile_expression("tcp")


UNPRIVILEGED = """
import contextlib, os
from wiretape.agent.sources.libpcap import compile_expression
with contextlib.suppress(PermissionError):
    os.setgid(65534), os.setuid(65534)
print(len(compile_expression("tcp port 80", (1,)).ethernet))
compile_expression("vlan 42", (1,))
"""


@needs_libpcap
def test_without_privilege_only_tags_cannot_be_looked_for() -> None:
    """A filter that sees no tag where the kernel took it out would lose all, and say nothing."""
    command = [sys.executable, "-c", UNPRIVILEGED]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert int(done.stdout or 0) == 20, done.stderr
    last = done.stderr.splitlines()[-1]
    assert re.search("FilterError: `vlan` in a filter expression needs CAP_NET_RAW", last)
