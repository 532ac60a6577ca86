"""Forwards frames between two interfaces of its network namespace, badly.

    python live_forwarder.py LEFT RIGHT SEED

It delays some frames behind later ones and sends some twice; it loses none. Frames come and go with
the kernel's header for offloading (struct virtio_net_hdr), so that checksums that are not computed
yet and giant packets pass as they do between interfaces. SIGTERM sends what is held, and ends it.
"""

import heapq
import random
import select
import signal
import socket
import sys
import time

_SOL_PACKET, _VNET_HDR, _IGNORE_OUTGOING = 263, 15, 23
_ETH_P_ALL = 3
_VNET_HDR_BYTES = 10
_LARGEST = 1 << 17
_BUFFER_BYTES = 32 << 20
_SO_RCVBUFFORCE = 33

DELAYED, REPEATED, REPEATED_AT_ONCE = 0.06, 0.03, 0.02
LATEST_FRAMES = 6
"""A delayed frame goes behind so many later ones at most."""
HELD_S = 0.003
"""Held so long at most where nothing comes any more, and a late copy at least."""


class Direction:
    """What came in at one interface and has to leave by the other."""

    def __init__(self, source: socket.socket, target: socket.socket, chance: random.Random) -> None:
        self.source = source
        self._target = target
        self._chance = chance
        self._frames = 0
        self._held: list[tuple[int, int, float, bytes]] = []
        """Frames with the number of the one behind which they go."""
        self._serial = 0
        self._late: list[tuple[float, bytes]] = []
        """Second copies, with the time at which they go."""

    def take(self, frame: bytes) -> None:
        self._frames += 1
        now = time.monotonic()
        chance = self._chance.random()
        if chance < DELAYED:
            behind = self._frames + self._chance.randint(1, LATEST_FRAMES)
            self._serial += 1
            heapq.heappush(self._held, (behind, self._serial, now + HELD_S, frame))
        else:
            self._target.send(frame)
        if self._chance.random() < REPEATED:
            self._late.append((now + HELD_S, frame))
        # An IPv6 packet has no identification: whether it came again is told by the time alone,
        # and of that two captures of one packet differ by microseconds.
        elif self._chance.random() < REPEATED_AT_ONCE and _is_ipv4(frame):
            self._target.send(frame)
        while self._held and self._held[0][0] <= self._frames:
            self._target.send(heapq.heappop(self._held)[3])

    def elapse(self, now: float) -> None:
        """Sends what is due by time."""
        due = [entry for entry in self._held if entry[2] <= now]
        if due:
            self._held = [entry for entry in self._held if entry[2] > now]
            heapq.heapify(self._held)
            for entry in sorted(due):
                self._target.send(entry[3])
        while self._late and self._late[0][0] <= now:
            self._target.send(self._late.pop(0)[1])


def _is_ipv4(frame: bytes) -> bool:
    return frame[_VNET_HDR_BYTES + 12 : _VNET_HDR_BYTES + 14] == b"\x08\x00"


def _open(interface: str) -> socket.socket:
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    opened.setsockopt(_SOL_PACKET, _VNET_HDR, 1)
    opened.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
    opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
    opened.bind((interface, _ETH_P_ALL))
    return opened


def main() -> None:
    left, right = _open(sys.argv[1]), _open(sys.argv[2])
    chance = random.Random(int(sys.argv[3]))
    directions = {
        each.source.fileno(): each
        for each in (Direction(left, right, chance), Direction(right, left, chance))
    }
    ended = False

    def end(*unused: object) -> None:
        nonlocal ended
        ended = True

    signal.signal(signal.SIGTERM, end)
    poll = select.poll()
    for number in directions:
        poll.register(number, select.POLLIN)
    print("ready", flush=True)
    while not ended:
        for number, _ in poll.poll(1):
            directions[number].take(directions[number].source.recv(_LARGEST))
        for direction in directions.values():
            direction.elapse(time.monotonic())
    for direction in directions.values():
        direction.elapse(float("inf"))


if __name__ == "__main__":
    main()
