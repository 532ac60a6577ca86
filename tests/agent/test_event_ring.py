"""The reader's side of the ring of events, on a file that is laid out as the kernel maps a ring."""

import mmap
import os
import struct
from random import Random

from wiretape.agent.sources.ebpf.events import EventRing

SIZE = 1 << 18
BEHIND = 128 << 10
PAGE = mmap.PAGESIZE


class Writer:
    """The kernel's side; what is written at the beginning stands behind the end too."""

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap.mmap(descriptor, 2 * PAGE + SIZE + BEHIND)
        self._written = 0

    def write(self, position: int, payload: bytes) -> None:
        """An event of `payload`, at that position of its stream."""
        event = struct.pack("<4BI5QII", 0, 0, 0, 0, len(payload), 7, position, len(payload), 0, 0,
                            1, 1)  # fmt: skip
        data = struct.pack("<II", len(event + payload), 0) + event + payload
        data += bytes(-len(data) % 8)
        for at, byte in enumerate(data, self._written):
            place = at % SIZE
            self._memory[2 * PAGE + place] = byte
            if place < BEHIND:
                self._memory[2 * PAGE + SIZE + place] = byte
        self._written += len(data)
        struct.pack_into("<Q", self._memory, PAGE, self._written)


def test_events_go_on_behind_the_end() -> None:
    """Some lie across the end, and a batch may begin and end anywhere."""
    random = Random(4)
    descriptor = os.memfd_create("ring")
    try:
        os.truncate(descriptor, 2 * PAGE + SIZE + BEHIND)
        writer, ring = Writer(descriptor), EventRing(descriptor, SIZE)
    finally:
        os.close(descriptor)
    sent, seen = [], []
    for _ in range(60):
        for _ in range(random.randint(1, 4)):
            payload = random.randbytes(random.randint(1, 20_000))
            writer.write(len(sent), payload)
            sent.append(payload)
        while ring.ready():
            batch = ring.batch(random.choice([1, 30_000, SIZE]), 0)
            assert batch is not None
            assert list(batch.position) == list(range(len(seen), len(seen) + len(batch)))
            seen += [bytes(batch.payload(n)) for n in range(len(batch))]
            ring.release()
            if random.random() < 0.3:
                break  # the rest is read with what comes next
    while ring.ready() and (batch := ring.batch(SIZE, 0)) is not None:
        seen += [bytes(batch.payload(n)) for n in range(len(batch))]
        ring.release()
    assert seen == sent
    assert sum(map(len, sent)) > 4 * SIZE
