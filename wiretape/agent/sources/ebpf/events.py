"""Events as the kernel wrote them: the ring that it shares, and a batch of it as columns.

The ring is that of BPF_MAP_TYPE_RINGBUF: a page with our position, a page with the kernel's, then
the data, which begin again behind their end so that no record is cut there. A record is a header
of two words (its length, with two bits of state), then a `struct event` of programs/events.bpf.c,
then what the event carries; all is aligned to 8 bytes.
"""

import mmap
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]

# A call that moves much is told at once: 10 MB have to fit in, whatever else waits there.
RING_BYTES = 32 << 20
HEADROOM_BYTES = 1 << 20
"""Which data leave free, for what opens and closes connections."""

_BUSY, _DISCARDED = 1 << 31, 1 << 30
_HEADER_BYTES, _EVENT_BYTES = 8, 56
# What is mapped counts as ours: of the data behind the end only what one record may need.
_LONGEST_BYTES = 128 << 10
_OPENED = struct.Struct("<16s16sHHHBxIxxxxQQQ16s")
_CLOSED = struct.Struct("<QQ")


class Kind(IntEnum):
    OPENED = 1
    """The connection becomes known: `EventBatch.opened`."""
    DATA = 2
    HOLE = 3
    """Bytes that passed and were not seen; `reason` is a HoleReason."""
    ENDED = 4
    """A direction; `length` is the error number, 0 for an orderly end."""
    CLOSED = 5
    """The connection, for the application: `EventBatch.closed`."""
    NOTICE = 6
    """Befell a process; `reason` is a Notice."""


class HoleReason(IntEnum):
    SENDFILE = 1
    """The kernel moved them between the socket and a file or a pipe."""
    TRUNCATED = 2
    """One call had too many pieces, or memory that could not be read, or threw them away."""
    BYPASSED = 3
    """They passed by none of the system calls that are looked at: by io_uring, say."""
    INTERLEAVED = 4
    """Several calls read or wrote at the same time: which bytes are whose cannot be told."""


class Notice(IntEnum):
    USES_IO_URING = 5
    IS_32_BIT = 6
    """Its system calls are not seen."""


IS_TLS, IS_NEW, IS_OF_OTHER_PORT = 1, 2, 4
"""Flags: of the plaintext of a TLS stream; of its OPENED: since before its first byte; by a socket
whose ports are not selected."""
RECEIVED, SENT = 0, 1
"""Directions, as of the process whose socket it is."""


class Role(IntEnum):
    OPEN_BEFORE = 0
    """It was there before it was first seen."""
    ACCEPTED = 1
    CONNECTED = 2


class Opened(NamedTuple):
    """What the kernel knows of a connection, as an event carries it."""

    local: bytes
    """An address of 4 or 16 bytes."""
    local_port: int
    remote: bytes
    remote_port: int
    role: Role
    netns: int
    """The inode number of its network namespace."""
    cgroup: int
    """The id of the process's cgroup of version 2."""
    before: tuple[int, int]
    """Bytes received and sent before; what was sent may be one too many."""
    command: bytes
    """The name of the thread."""


@dataclass(frozen=True, eq=False)
class EventBatch:
    """Events in the order of the ring, as parallel columns; in place, good until `release`.

    The position of DATA and HOLE counts from where the connection was first seen, per direction. A
    position beyond the end of what came before is a loss of the ring, of just so many bytes, and so
    is a total of CLOSED; for all other reasons there is a HOLE. Only where several calls passed
    bytes of one direction at the same time, a position may go back: what overlaps does not count.
    """

    buffer: U8
    kind: I64
    connection: I64
    """Unique as long as the agent runs; 0 of a NOTICE."""
    direction: I64
    position: I64
    length: I64
    start: I64
    """Where in `buffer` the payload begins."""
    captured: I64
    """How many bytes of payload there are; of DATA, all."""
    at_ns: I64
    """Since the epoch. When the call began, of what was sent; when it ended, of all else."""
    ended_ns: I64
    """When the call ended."""
    offset_ns: int
    """What was added to the monotonic clock to make the above."""
    reason: I64
    flags: I64
    """0: as the socket's system calls passed it. IS_TLS: as a TLS library did; the position of
    OPENED is then the number of the connection that carries the stream, 0 where it is not known
    yet, and OPENED comes again when it is."""
    process: I64
    """Whose call it was."""
    thread: I64

    def __len__(self) -> int:
        return len(self.kind)

    def payload(self, n: int) -> memoryview:
        start = int(self.start[n])
        return self.buffer[start : start + int(self.captured[n])].data

    def opened(self, n: int) -> Opened:
        """What event `n` says, which is OPENED."""
        local, remote, local_port, remote_port, family, role, netns, cgroup, *rest = (
            _OPENED.unpack_from(self.payload(n))
        )
        size = 4 if family == 2 else 16
        received, sent, command = rest
        return Opened(
            local[:size],
            local_port,
            remote[:size],
            remote_port,
            Role(role),
            netns,
            cgroup,
            (received, sent),
            command.split(b"\0")[0],
        )

    def closed(self, n: int) -> tuple[int, int]:
        """How many bytes were received and sent, of event `n`, which is CLOSED."""
        received, sent = _CLOSED.unpack_from(self.payload(n))
        return received, sent


class EventRing:
    """The reader's side of a ring, by its descriptor."""

    def __init__(self, descriptor: int, size: int = RING_BYTES) -> None:
        """Raises OSError."""
        page = mmap.PAGESIZE
        self.size = size
        ours = mmap.mmap(descriptor, page)
        seen = page + size + _LONGEST_BYTES
        theirs = mmap.mmap(descriptor, seen, prot=mmap.PROT_READ, offset=page)
        self._taken = memoryview(ours).cast("Q")
        self._written = memoryview(theirs)[:page].cast("Q")
        data = memoryview(theirs)[page:]
        self._words = data.cast("I")
        self._bytes = np.frombuffer(data, np.uint8)
        self._next = 0
        """The kernel's count of bytes, up to which the last batch goes."""

    def ready(self) -> int:
        """How many bytes wait to be read."""
        return int(self._written[0] - self._taken[0])

    def batch(self, most_bytes: int, offset_ns: int) -> EventBatch | None:
        """Events that are complete, of some so many bytes; None where there are none.

        `offset_ns` makes the real time of the monotonic one.
        """
        taken, written, words = self._taken[0], self._written[0], self._words
        begin = taken & (self.size - 1)
        at, end = begin, min(begin + min(written - taken, most_bytes), self.size)
        starts: list[int] = []
        while at < end:
            length = words[at >> 2]
            if length & _BUSY:
                break
            if not length & _DISCARDED:
                starts.append(at)
            at += ((length & ~_DISCARDED) + 15) & ~7
        self._next = taken + at - begin
        if not starts:
            self.release()
            return None
        places = np.array(starts, np.int64) - begin
        return self._columns(self._bytes[begin:at], places, offset_ns)

    def release(self) -> None:
        """Gives the room of the last batch back to the kernel."""
        self._taken[0] = self._next

    def _columns(self, buffer: U8, at: I64, offset_ns: int) -> EventBatch:
        u8, u32, u64 = buffer, buffer.view(np.uint32), buffer.view(np.int64)
        head = at + _HEADER_BYTES
        half, full = head >> 2, head >> 3
        return EventBatch(
            buffer=buffer,
            kind=u8[head].astype(np.int64),
            direction=u8[head + 1].astype(np.int64),
            reason=u8[head + 2].astype(np.int64),
            flags=u8[head + 3].astype(np.int64),
            captured=u32[half + 1].astype(np.int64),
            connection=u64[full + 1],
            position=u64[full + 2],
            length=u64[full + 3],
            at_ns=u64[full + 4] + offset_ns,
            ended_ns=u64[full + 5] + offset_ns,
            process=u32[half + 12].astype(np.int64),
            thread=u32[half + 13].astype(np.int64),
            start=head + _EVENT_BYTES,
            offset_ns=offset_ns,
        )
