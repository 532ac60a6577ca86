"""Two tun interfaces, tun0 and tun1, joined to each other; either may be moved elsewhere.

python live_tunnel.py
"""

import fcntl
import os
import select
import struct
from contextlib import suppress

_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_LARGEST = 1 << 16


def make(name: str) -> int:
    """A tun interface; the file through which its packets come and go."""
    opened = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(opened, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    return opened


def main() -> None:
    one, other = make("tun0"), make("tun1")
    across = {one: other, other: one}
    poll = select.poll()
    for file in across:
        poll.register(file, select.POLLIN)
    print("ready", flush=True)
    while True:
        for file, _ in poll.poll():
            with suppress(OSError):  # one of them is down, or is given what it does not take
                os.write(across[file], os.read(file, _LARGEST))


if __name__ == "__main__":
    main()
