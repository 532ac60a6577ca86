"""The ring that the kernel fills, read through LiveCapture."""

import socket

import pytest
from packet_sockets import command, namespace

from wiretape.agent.sources.filter import Selection
from wiretape.agent.sources.live import LiveCapture
from wiretape.agent.sources.ring import BLOCK_BYTES

DATAGRAM_BYTES = 60_000
IN_A_BLOCK = BLOCK_BYTES // DATAGRAM_BYTES


@pytest.mark.privileged
@pytest.mark.parametrize("before", [0, 3, 5, 7])
def test_the_last_pass_reads_all(before: int) -> None:
    """Wherever in the ring it lies: also behind its end, where a batch is shorter."""
    with namespace():
        command("ip link set lo up")
        capture = LiveCapture(("lo",), Selection(), ring_bytes=8 * BLOCK_BYTES)
        with capture, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind(("127.0.0.1", 0))

            def send(blocks: int) -> int:
                for _ in range(blocks * IN_A_BLOCK):
                    sender.sendto(bytes(DATAGRAM_BYTES), sender.getsockname())
                return blocks * IN_A_BLOCK

            def read() -> int:
                return sum(len(batch.start) for batch, _ in capture.batches(lambda: 0))

            left = send(before)
            while left:
                left -= read()
            sent = send(4)
            capture.stop()
            assert read() == sent
