"""What processes read from and wrote to their sockets is what packets carried, byte for byte."""

import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from live_ebpf_captures import (
    Both,
    assert_agree,
    of_role,
    recorded_by_both,
    served_at,
)
from live_ebpf_services import (
    BIG_BYTES,
    files,
    named_command,
    nginx,
    node_server,
    python_server,
    socket_server,
    what_lacks,
)
from live_network import HERE, SERVER_V4, SERVER_V6, Network, stop, two_hosts
from live_traffic import CLIENT, Client, ask, by_hand, curl

from wiretape.exchange.v1 import exchange_pb2 as pb

pytestmark = [pytest.mark.privileged, pytest.mark.alone]
MARKED_CLIENT = HERE / "live_ebpf_client.py"


@pytest.fixture(scope="module")
def able() -> None:
    if lacking := what_lacks("nginx", "node", "curl"):
        pytest.skip(lacking)


@pytest.fixture
def network(able: None) -> Iterator[Network]:
    with Network() as made:
        two_hosts(made)
        yield made


@pytest.fixture
def port() -> int:
    """One that no other test on this host takes at the same time."""
    return random.randrange(20_000, 30_000)


@pytest.fixture
def upload(tmp_path: Path) -> Path:
    file = tmp_path / "upload.bin"
    file.write_bytes(random.Random(8).randbytes(BIG_BYTES))
    return file


def ask_all(network: Network, part: str, clients: list[Client]) -> Counter[str]:
    """Runs them at once; which targets were asked for, and how often."""
    asked: Counter[str] = Counter()
    running = []
    for client in clients:
        asked.update(client.targets)
        running.append((client, network.start(part, *client.command, stderr=subprocess.PIPE)))
    for client, process in running:
        said = process.communicate(timeout=60)[1]
        assert process.returncode in client.codes, f"{client.command}: {said}"
    return asked


def assert_sums(both: Both) -> None:
    for recorded in (both.packets, both.sockets):
        assert recorded.faults == []
        assert recorded.ledger["kernel_drops"] == 0, recorded.ledger
    # Where no process is chosen, what others on this machine do may be told as left out.
    assert both.sockets.ledger["packets_skipped"].keys() <= {"notice", "other_port"}


def targets(exchanges: list[pb.Exchange]) -> Counter[str]:
    return Counter(exchange.http.request.target.decode() for exchange in exchanges)


def nginx_clients(host: str, port: int) -> list[Client]:
    items = tuple(f"/item/{n}?x=%20y" for n in range(30))
    pipelined = (*(f"/item/pipelined/{n}" for n in range(10)), "/item/half")
    return [
        curl(host=host, port=port, targets=items),
        curl(host=host, port=port, targets=("/small.json", "/rows.json", "/empty.txt")),
        curl(host=host, port=port, targets=("/big.bin", "/small.json")),
        curl("-r", "1000-2999", host=host, port=port, targets=("/big.bin",)),
        curl("--compressed", host=host, port=port, targets=("/zipped/rows.json",) * 3),
        curl("-I", host=host, port=port, targets=("/big.bin", "/small.json")),
        curl("-Z", host=host, port=port, targets=tuple(f"/item/parallel/{n}" for n in range(8))),
        curl(host=host, port=port, targets=("/absent", "/through/item/1", "/through/chunked")),
        by_hand("pipelined", "half", host=host, port=port, targets=pipelined),
    ]


@pytest.mark.parametrize("sendfile", [False, True])
def test_nginx(network: Network, tmp_path: Path, port: int, upload: Path, sendfile: bool) -> None:
    """Two workers that were there before, and what they ask an upstream themselves."""
    contents = files(tmp_path / "www")
    upstream = port + 1
    with (
        python_server(network, "server", tmp_path, upstream),
        nginx(network, "server", tmp_path, port, sendfile, upstream) as service,
    ):
        with recorded_by_both(network, "server", tmp_path, "--pid", service.pid) as both:
            asked = ask_all(network, "client", nginx_clients(SERVER_V4, port))
            asked += ask_all(network, "client", nginx_clients(SERVER_V6, port))
            sending = curl(
                "-T", str(upload), host=SERVER_V6, port=port, targets=("/through/upload",)
            )
            asked += ask_all(network, "client", [sending])
        workers = {e.connection.process.pid for e in both.sockets.exchanges}
    assert_sums(both)
    inbound, outbound = (
        of_role(both.sockets, role) for role in (pb.ROLE_INBOUND, pb.ROLE_OUTBOUND)
    )
    assert targets(inbound) == asked
    assert len(both.sockets.exchanges) == len(inbound) + len(outbound)
    assert_agree(inbound, served_at(both.packets, port))
    assert_agree(outbound, served_at(both.packets, upstream), at_server=False)
    assert len(workers) == 2
    for exchange in both.sockets.exchanges:
        process = exchange.connection.process
        assert process.pid != service.pid
        assert (process.command, process.container_id) == (b"nginx", "")
    for exchange in inbound:
        http = exchange.http
        expected = contents.get(http.request.target.decode())
        if http.request.method != "GET" or expected is None or http.response.status != 200:
            continue
        content = http.response.content
        gaps = [(gap.offset, gap.length, gap.reason) for gap in content.gaps]
        if sendfile and expected:
            assert gaps == [(0, len(expected), pb.Gap.SENDFILE)]
            assert (content.data, content.length) == (b"", len(expected))
        else:
            assert content.data == expected
    gapped = [e for e in both.sockets.exchanges if e.http.response.content.gaps]
    assert bool(gapped) == sendfile
    if not sendfile:
        assert both.sockets.ledger["gap_bytes"] == 0


def test_python_by_name(network: Network, tmp_path: Path, port: int, upload: Path) -> None:
    """A thread for each connection; chunks, no content, until the close, 10 MB there and back."""
    plain = tuple(f"/plain/{n}" for n in range(20))
    whole = f"@{upload}"
    clients = [
        curl(host=SERVER_V4, port=port, targets=(*plain, "/chunked", "/nothing", "/same")),
        curl(host=SERVER_V6, port=port, targets=("/plain/last", "/close")),
        curl("-d", "a=b", host=SERVER_V6, port=port, targets=("/echo/1", "/echo/2")),
        curl("-I", host=SERVER_V4, port=port, targets=("/head", "/head")),
        curl("-T", str(upload), host=SERVER_V6, port=port, targets=("/upload",)),
        curl("--data-binary", whole, "-H", "Expect: 100-continue", host=SERVER_V4, port=port,
             targets=("/echo/big",)),
    ]  # fmt: skip
    with python_server(network, "server", tmp_path, port) as service:
        name = Path(f"/proc/{service.pid}/comm").read_text().strip()
        with recorded_by_both(network, "server", tmp_path, "--comm", name) as both:
            asked = ask_all(network, "client", clients)
    assert_sums(both)
    sockets = both.sockets
    assert targets(sockets.exchanges) == asked
    assert_agree(sockets.exchanges, both.packets.exchanges)
    assert sockets.ledger["gap_bytes"] == 0
    for exchange in sockets.exchanges:
        process = exchange.connection.process
        assert exchange.role == pb.ROLE_INBOUND
        assert exchange.connection.source == "ebpf"
        assert (process.pid, process.command) == (service.pid, name.encode())
        assert not exchange.connection.midstream
    content = upload.read_bytes()
    by_target = {e.http.request.target: e.http for e in sockets.exchanges}
    assert by_target[b"/upload"].request.content.data == content
    assert by_target[b"/echo/big"].response.content.data == content
    assert by_target[b"/echo/big"].interim[0].status == 100


@contextmanager
def in_cgroup(pid: int) -> Iterator[str]:
    """A cgroup with the process in it, by its path; skips the test where there is none."""
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    mount = next((line.split()[1] for line in mounts if " cgroup2 " in line), None)
    if mount is None:
        pytest.skip("no cgroup v2 hierarchy is mounted")
    group = Path(mount) / f"wiretape-live-{os.getpid()}"
    group.mkdir()
    try:
        (group / "cgroup.procs").write_text(str(pid))
        yield f"/{group.name}"
    finally:
        (Path(mount) / "cgroup.procs").write_text(str(pid))
        group.rmdir()


def test_node_by_cgroup(network: Network, tmp_path: Path, port: int, upload: Path) -> None:
    whole = f"@{upload}"
    clients = [
        curl(host=SERVER_V4, port=port, targets=("/cookies", "/trailers", "/hints", "/cookies")),
        curl("-d", "a=b", "-H", "Transfer-Encoding: chunked", host=SERVER_V6, port=port,
             targets=("/echo/chunked",)),
        curl("--data-binary", whole, host=SERVER_V4, port=port, targets=("/echo/node",)),
        curl(host=SERVER_V4, port=port, targets=("/cut",), codes=(18,)),
    ]  # fmt: skip
    with (
        node_server(network, "server", port) as service,
        in_cgroup(service.pid) as group,
        recorded_by_both(network, "server", tmp_path, "--cgroup", group) as both,
    ):
        asked = ask_all(network, "client", clients)
    assert_sums(both)
    assert targets(both.sockets.exchanges) == asked
    assert_agree(both.sockets.exchanges, both.packets.exchanges)
    assert {e.connection.process.pid for e in both.sockets.exchanges} == {service.pid}
    assert {e.role for e in both.sockets.exchanges} == {pb.ROLE_INBOUND}


def test_client_by_name(network: Network, tmp_path: Path, port: int, upload: Path) -> None:
    """curl, under a name of its own; not the server."""
    files(tmp_path / "www")
    command = shutil.which("curl")
    assert command is not None
    name = named_command(tmp_path, command)
    clients = [
        curl(host=SERVER_V4, port=port, targets=tuple(f"/item/{n}" for n in range(20))),
        curl(host=SERVER_V6, port=port, targets=("/big.bin", "/small.json")),
        curl("-Z", host=SERVER_V4, port=port, targets=tuple(f"/item/p/{n}" for n in range(8))),
        curl("-T", str(upload), host=SERVER_V6, port=port, targets=("/absent",)),
    ]
    clients = [Client((str(name), *c.command[1:]), c.targets, c.codes) for c in clients]
    with (
        nginx(network, "server", tmp_path, port, sendfile=True),
        recorded_by_both(network, "server", tmp_path, "--comm", name.name) as both,
    ):
        asked = ask_all(network, "client", clients)
    assert_sums(both)
    assert targets(both.sockets.exchanges) == asked
    assert_agree(both.sockets.exchanges, both.packets.exchanges, at_server=False)
    assert both.sockets.ledger["gap_bytes"] == 0
    assert {e.role for e in both.sockets.exchanges} == {pb.ROLE_OUTBOUND}
    assert {e.connection.process.command for e in both.sockets.exchanges} == {name.name.encode()}


def test_both_ends_of_a_port(network: Network, tmp_path: Path, port: int) -> None:
    """Without a process, each exchange is there as it was asked and as it was answered."""
    files(tmp_path / "www")
    # Not those 10 MB: at once at both ends they are more than the ring can hold.
    left_out = {"/through/item/1", "/big.bin"}
    clients = [c for c in nginx_clients(SERVER_V4, port) if not left_out & {*c.targets}]
    with (
        nginx(network, "server", tmp_path, port, sendfile=False) as service,
        recorded_by_both(network, "server", tmp_path, "--port", port) as both,
    ):
        asked = ask_all(network, "client", clients)
    assert_sums(both)
    inbound, outbound = (
        of_role(both.sockets, role) for role in (pb.ROLE_INBOUND, pb.ROLE_OUTBOUND)
    )
    assert targets(inbound) == targets(outbound) == asked
    assert len(both.sockets.exchanges) == 2 * sum(asked.values())
    assert_agree(inbound, both.packets.exchanges)
    assert_agree(outbound, both.packets.exchanges, at_server=False)
    assert {e.connection.process.command for e in inbound} == {b"nginx"}
    assert b"nginx" not in {e.connection.process.command for e in outbound}
    assert service.pid not in {e.connection.process.pid for e in outbound}


SIZES = (0, 1, 100, 5000, 65_536, 300_000, 3_000_000)


@pytest.mark.parametrize(
    "way",
    ["forking", "preforked", "threaded", "vectored", "by_messages", "peeking", "handed_on",
     "non_blocking"],
)  # fmt: skip
def test_ways_to_use_a_socket(network: Network, tmp_path: Path, port: int, way: str) -> None:
    pipelined = tuple(f"/item/pipelined/{n}" for n in range(10))
    clients = [
        by_hand("pipelined", host=SERVER_V4, port=port, targets=pipelined),
        curl(host=SERVER_V6, port=port, targets=tuple(f"/{n}" for n in range(10))),
        *(marked(host, port, "sized", *SIZES) for host in (SERVER_V4, SERVER_V6)),
    ]
    with (
        socket_server(network, "server", port, way) as service,
        recorded_by_both(network, "server", tmp_path, "--pid", service.pid) as both,
    ):
        asked = ask_all(network, "client", clients)
    assert_sums(both)
    assert targets(both.sockets.exchanges) >= asked
    assert_agree(both.sockets.exchanges, both.packets.exchanges)
    assert both.sockets.ledger["gap_bytes"] == 0
    assert {e.role for e in both.sockets.exchanges} == {pb.ROLE_INBOUND}
    pids = {e.connection.process.pid for e in both.sockets.exchanges}
    # Of one that forks it is the parent who accepts.
    assert len(pids) > 1 if way == "preforked" else pids == {service.pid}


def marked(host: str, port: int, way: str, *numbers: int) -> Client:
    words = (str(MARKED_CLIENT), host, str(port), way, *map(str, numbers))
    return Client((sys.executable, *words), ())


@pytest.mark.parametrize("end", ["server", "client"])
def test_began_before(network: Network, tmp_path: Path, port: int, end: str) -> None:
    """A connection that was open, and idle, when it began to be looked at."""
    with socket_server(network, "server", port, "threaded") as service:
        client = network.start_script("client", CLIENT, SERVER_V6, str(port), "held")
        ask(client, 5)
        pid = service.pid if end == "server" else client.pid
        with recorded_by_both(network, "server", tmp_path, "--pid", pid) as both:
            ask(client, 20)
            stop(client)
    assert_sums(both)
    wanted = {f"/item/held/{n}": 1 for n in range(5, 25)}
    assert targets(both.sockets.exchanges) == wanted
    assert_agree(both.sockets.exchanges, both.packets.exchanges, at_server=end == "server")
    assert all(exchange.connection.midstream for exchange in both.sockets.exchanges)
    roles = {exchange.role for exchange in both.sockets.exchanges}
    assert roles == {pb.ROLE_INBOUND if end == "server" else pb.ROLE_UNSPECIFIED}
