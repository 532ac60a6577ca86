"""What the kernel had to drop is counted, marks whom it may have hurt, and is never made up."""

import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_captures import AgentRun, Recorded
from live_network import PATIENCE_S, SERVER_V4, Network, missing, stop, two_hosts
from live_services import NGINX, Served, services
from live_traffic import CLIENT, ask

from wiretape.exchange.v1 import exchange_pb2 as pb

pytestmark = [pytest.mark.privileged, pytest.mark.alone]
RING_BYTES = 16 << 20


@pytest.fixture
def network() -> Iterator[Network]:
    if lacking := missing("nginx", "node", "curl"):
        pytest.skip(lacking)
    with Network() as made:
        yield made


def get(network: Network, *targets: str) -> Counter[str]:
    """Asks nginx for the targets, one after the other on one connection; what was asked for."""
    urls = [
        word
        for target in targets
        for word in ("-o", "/dev/null", f"http://{SERVER_V4}:{NGINX}{target}")
    ]
    assert network.start("client", "curl", "-sS", *urls).wait(PATIENCE_S) == 0
    return Counter(targets)


def wait_until_recorded(run: AgentRun, target: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not run.has_recorded(target):
        assert time.monotonic() < deadline, f"{target} is not recorded"
        time.sleep(0.1)


def ask_until_recorded(network: Network, run: AgentRun) -> Counter[str]:
    """Asks anew until something of it is recorded; what was asked for."""
    asked: Counter[str] = Counter()
    deadline = time.monotonic() + PATIENCE_S
    while not any(run.has_recorded(target) for target in asked):
        assert time.monotonic() < deadline, "nothing is recorded any more"
        asked += get(network, f"/item/probe/{len(asked)}")
    return asked


def connection_of(recorded: Recorded, target: str) -> str:
    """The identifier of the only connection on which this was asked for."""
    found = {
        e.connection.id for e in recorded.exchanges if e.http.request.target == target.encode()
    }
    (ident,) = found
    return ident


def assert_seen(content: pb.Content, sent: bytes) -> None:
    """What was recorded is what was sent, but for the gaps."""
    seen, end = b"", 0
    for gap in content.gaps:
        seen += sent[end : gap.offset]
        end = gap.offset + gap.length
    seen += sent[end:]
    assert content.data == seen if content.complete else seen.startswith(content.data)


def assert_nothing_invented(recorded: Recorded, asked: Counter[str], served: Served) -> None:
    """Nobody asked what was not asked, and what was answered is, but for gaps, what was sent."""
    requested = [e.http for e in recorded.exchanges if e.http.HasField("request")]
    assert Counter(http.request.target.decode() for http in requested) <= asked
    known = 0
    for http in requested:
        if http.HasField("response"):
            sent = served.expected(http.request.target.decode())
            assert sent is not None
            assert_seen(http.response.content, sent)
            known += http.response.content.complete
    assert known > 50


def test_live_kernel_drops(network: Network, tmp_path: Path) -> None:
    two_hosts(network)
    with services(network, "server", tmp_path) as served:
        run = AgentRun(network, "server", tmp_path, ["eth0"])
        held = network.start_script("client", CLIENT, SERVER_V4, str(NGINX), "held")
        ask(held, 50)
        asked = get(network, "/item/before")
        wait_until_recorded(run, "/item/before")

        run.process.send_signal(signal.SIGSTOP)
        ask(held, 5)
        big = len(served.files["/big.bin"])
        asked += get(network, "/item/bulk", *["/big.bin"] * (2 * RING_BYTES // big))
        ask(held, 200)
        run.process.send_signal(signal.SIGCONT)

        asked += ask_until_recorded(network, run)
        ask(held, 50)
        asked += get(network, "/item/after")
        stop(held)
        network.settle()
        recorded = run.finish()

    asked += Counter(f"/item/held/{number}" for number in range(305))
    ledger = recorded.ledger
    assert ledger["kernel_drops"] > 0
    assert ledger["connections_shed"] == 0
    assert recorded.faults == []
    drops = {
        target: recorded.ends[connection_of(recorded, target)].kernel_drops
        for target in ("/item/before", "/item/held/0", "/item/bulk", "/item/after")
    }
    assert drops["/item/before"] == drops["/item/after"] == 0
    assert drops["/item/held/0"] == drops["/item/bulk"] == ledger["kernel_drops"]
    assert ledger["connections_during_drops"] == sum(
        end.kernel_drops > 0 for end in recorded.ends.values()
    )
    assert_nothing_invented(recorded, asked, served)
    targets = set(recorded.targets)
    # Before the ring was full, nothing is missing; while it was, something is.
    assert {f"/item/held/{number}" for number in range(55)} <= targets
    assert not {f"/item/held/{number}" for number in range(55, 255)} <= targets
