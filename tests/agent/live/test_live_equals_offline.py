"""A live recording is what an import makes of tcpdump's file of the same packets, byte for byte."""

import logging
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_captures import Compared, Marker, assert_equal, captured_twice
from live_network import (
    CLIENT_V4,
    HERE,
    SERVER_V4,
    SERVER_V6,
    SMALL_GSO,
    Network,
    bridge,
    forward_badly,
    give_addresses,
    missing,
    route,
    run,
    stop,
    three_hosts,
    tunnel,
    two_hosts,
)
from live_services import NGINX, Served, services, unpacked
from live_traffic import CLIENT, ask, ask_everything, asked_upstream

logging.getLogger("scapy").setLevel(logging.ERROR)

from scapy.layers.inet import IP, TCP  # noqa: E402
from scapy.layers.inet6 import IPv6  # noqa: E402
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether  # noqa: E402
from scapy.packet import Packet  # noqa: E402

pytestmark = [pytest.mark.privileged, pytest.mark.alone]
FROM = {"client": Marker("client", SERVER_V4), "server": Marker("server", CLIENT_V4)}
SEED = 20


@pytest.fixture(scope="module")
def able() -> None:
    if lacking := missing("nginx", "node", "curl"):
        pytest.skip(lacking)


@pytest.fixture
def network(able: None) -> Iterator[Network]:
    with Network() as made:
        yield made


def assert_asked(compared: Compared, asked: Counter[str], served: Served, times: int = 1) -> None:
    """Both recordings are equal and hold every request as often as it passed; where the answer is
    known, it is that."""
    live = compared.live
    assert_equal(live, compared.offline)
    assert Counter(live.targets) == {target: times * count for target, count in asked.items()}
    assert live.ledger["gap_bytes"] == 0
    checked = 0
    for exchange in live.exchanges:
        http = exchange.http
        expected = served.expected(http.request.target.decode())
        if expected is not None and http.request.method == "GET":
            assert unpacked(http.response.content.data) == expected
            checked += 1
    assert checked > 100


def assert_every_packet_twice(compared: Compared) -> None:
    """But for the few whose copy is so late, on a busy host, that without an identification
    (IPv6) it might be a retransmission."""
    ledger = compared.live.ledger
    once = ledger["packets_decoded"] / 2
    assert 0.98 * once < ledger["duplicate_packets"] <= once


@pytest.mark.parametrize("part", ["server", "client"])
def test_clean(network: Network, tmp_path: Path, part: str) -> None:
    two_hosts(network)
    with (
        services(network, "server", tmp_path) as served,
        captured_twice(network, part, tmp_path, FROM[part], "eth0", tcpdump_on="eth0") as compared,
    ):
        asked = ask_everything(network, "client", tmp_path)
    assert_asked(compared, asked, served)
    assert compared.live.ledger["duplicate_packets"] == 0


@pytest.mark.parametrize(
    ("hook", "part", "seen_again"),
    [("output", "server", False), ("input", "server", True), ("input", "client", True)],
)
def test_loss(network: Network, tmp_path: Path, hook: str, part: str, seen_again: bool) -> None:
    """What is lost before it is sent is captured once; what is lost after it came, twice."""
    two_hosts(network)
    for host in ("client", "server"):
        network.ip(host, "link", "set", "eth0", *SMALL_GSO)
        network.lose(host, hook, 3)
    with (
        services(network, "server", tmp_path) as served,
        captured_twice(network, part, tmp_path, FROM[part], "eth0", tcpdump_on="eth0") as compared,
    ):
        asked = ask_everything(network, "client", tmp_path)
    assert_asked(compared, asked, served)
    if seen_again:
        assert compared.live.ledger["retransmitted_bytes"] > 0


@pytest.mark.parametrize("part", ["server", "client"])
def test_reordered_and_repeated(network: Network, tmp_path: Path, part: str) -> None:
    three_hosts(network)
    give_addresses(network)
    forwarder = forward_badly(network, SEED)

    def end_forwarder() -> None:
        assert stop(forwarder) == ""
        assert forwarder.returncode == 0
        bridge(network)

    with (
        services(network, "server", tmp_path) as served,
        captured_twice(
            network, part, tmp_path, FROM[part], "eth0", tcpdump_on="eth0", before_end=end_forwarder
        ) as compared,
    ):
        asked = ask_everything(network, "client", tmp_path)
    assert_asked(compared, asked, served)
    ledger = compared.live.ledger
    assert ledger["duplicate_packets"] > 0
    assert ledger["retransmitted_bytes"] > 0


@pytest.mark.parametrize("interfaces", [(), ("left", "right")])
def test_bridge(network: Network, tmp_path: Path, interfaces: tuple[str, ...]) -> None:
    """A packet that comes in at one interface and leaves by another counts once."""
    three_hosts(network)
    give_addresses(network)
    bridge(network)
    with (
        services(network, "server", tmp_path) as served,
        captured_twice(network, "middle", tmp_path, FROM["client"], *interfaces) as compared,
    ):
        asked = ask_everything(network, "client", tmp_path)
    assert_asked(compared, asked, served)
    assert_every_packet_twice(compared)


@pytest.mark.parametrize("translated", [False, True])
def test_router(network: Network, tmp_path: Path, translated: bool) -> None:
    """Nor does a hop tell copies apart; but translation makes another connection."""
    three_hosts(network)
    route(network, translated)
    with (
        services(network, "server", tmp_path) as served,
        captured_twice(network, "middle", tmp_path, FROM["client"]) as compared,
    ):
        asked = ask_everything(network, "client", tmp_path)
    assert_asked(compared, asked, served, times=2 if translated else 1)
    if translated:
        assert compared.live.ledger["duplicate_packets"] == 0
    else:
        assert_every_packet_twice(compared)


def test_loopback(network: Network, tmp_path: Path) -> None:
    """What loopback sends it receives: each packet counts once."""
    two_hosts(network)
    with (
        services(network, "server", tmp_path) as served,
        captured_twice(
            network, "server", tmp_path, Marker("server", "127.0.0.1"), "lo", tcpdump_on="lo"
        ) as compared,
    ):
        asked = ask_everything(network, "server", tmp_path, "127.0.0.1", "::1")
    assert_asked(compared, asked + asked_upstream(), served)
    assert compared.live.ledger["duplicate_packets"] == 0


def test_every_interface_of_a_host(network: Network, tmp_path: Path) -> None:
    """What the service is asked, and what it asks through loopback."""
    two_hosts(network)
    with (
        services(network, "server", tmp_path) as served,
        captured_twice(network, "server", tmp_path, FROM["client"]) as compared,
    ):
        asked = ask_everything(network, "client", tmp_path)
    assert_asked(compared, asked + asked_upstream(), served)
    assert compared.live.ledger["duplicate_packets"] == 0


@pytest.mark.parametrize(("interfaces", "tcpdump_on"), [(("tun0",), "tun0"), ((), "any")])
def test_no_link_layer(
    network: Network, tmp_path: Path, interfaces: tuple[str, ...], tcpdump_on: str
) -> None:
    if not Path("/dev/net/tun").exists():
        pytest.skip("needs /dev/net/tun")
    tunnel(network)
    with (
        services(network, "server", tmp_path) as served,
        captured_twice(
            network, "client", tmp_path, FROM["client"], *interfaces, tcpdump_on=tcpdump_on
        ) as compared,
    ):
        asked = ask_everything(network, "client", tmp_path)
    assert_asked(compared, asked, served)


def test_began_before_the_capture(network: Network, tmp_path: Path) -> None:
    two_hosts(network)
    with services(network, "server", tmp_path):
        client = network.start_script("client", CLIENT, SERVER_V6, str(NGINX), "held")
        ask(client, 5)
        with captured_twice(
            network, "server", tmp_path, FROM["server"], "eth0", tcpdump_on="eth0"
        ) as compared:
            ask(client, 20)
            stop(client)
    assert_equal(compared.live, compared.offline)
    assert compared.live.targets == sorted(f"/item/held/{n}" for n in range(5, 25))
    assert all(exchange.connection.midstream for exchange in compared.live.exchanges)


TAGS = {
    (5,): Dot1Q(vlan=5, prio=3),
    (100, 7): Dot1AD(vlan=100) / Dot1Q(vlan=7),
    (8, 9): Dot1Q(vlan=8) / Dot1Q(vlan=9),
    (4094,): Dot1AD(vlan=4094),
}


def conversation(tag: Packet, networks: tuple[Packet, Packet], name: str) -> list[Packet]:
    """A connection with two exchanges, in frames with this tag."""
    link = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / tag
    ports = (40000, 80)
    numbers = [1000, 5000]
    frames: list[Packet] = []

    def send(side: int, flags: str, payload: bytes = b"") -> None:
        tcp = TCP(sport=ports[side], dport=ports[1 - side], flags=flags)
        tcp.seq, tcp.ack = numbers[side], numbers[1 - side]
        frames.append(link / networks[side] / tcp / payload)
        numbers[side] += len(payload) + ("S" in flags or "F" in flags)

    for side, flags in ((0, "S"), (1, "SA"), (0, "A")):
        send(side, flags)
    for number in range(2):
        send(0, "PA", f"GET /{name}/{number} HTTP/1.1\r\nHost: v\r\n\r\n".encode())
        send(1, "PA", b"HTTP/1.1 200 OK\r\nContent-Length: 1400\r\n\r\n" + bytes(1000))
        send(1, "PA", bytes(400))
    for side, flags in ((0, "FA"), (1, "FA"), (0, "A")):
        send(side, flags)
    return frames


@pytest.mark.parametrize(("part", "interfaces"), [("server", ()), ("client", ("eth0",))])
def test_vlans(network: Network, tmp_path: Path, part: str, interfaces: tuple[str, ...]) -> None:
    """Tags that the kernel takes out of received frames, and those that it leaves in."""
    two_hosts(network)
    v4 = IP(src="192.0.2.1", dst="192.0.2.2", id=7), IP(src="192.0.2.2", dst="192.0.2.1", id=8)
    v6 = IPv6(src="2001:db8::1", dst="2001:db8::2"), IPv6(src="2001:db8::2", dst="2001:db8::1")
    frames = tmp_path / "frames"
    frames.write_text(
        "".join(
            f"{bytes(frame).hex()}\n"
            for vlans, tag in TAGS.items()
            for version, networks in (("v4", v4), ("v6", v6))
            for frame in conversation(tag, networks, f"{vlans}{version}".replace(" ", ""))
        )
    )
    # Never on "any": there libpcap does not say which tags the kernel took out.
    with captured_twice(
        network, part, tmp_path, FROM[part], *interfaces, tcpdump_on="eth0"
    ) as compared:
        inject = (sys.executable, HERE / "live_injector.py", "eth0", frames)
        run("ip", "netns", "exec", network.name("client"), *map(str, inject))
    assert_equal(compared.live, compared.offline)
    live = compared.live
    found = {e.http.request.target.decode(): tuple(e.connection.vlans) for e in live.exchanges}
    assert found == {
        f"/{vlans}{version}/{n}".replace(" ", ""): vlans
        for vlans in TAGS
        for version in ("v4", "v6")
        for n in range(2)
    }
    assert all(e.http.response.content.complete for e in live.exchanges)
