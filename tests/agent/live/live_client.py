"""A client that does what curl does not.

python live_client.py HOST PORT HOW...
"""

import socket
import struct
import sys


def connect() -> socket.socket:
    opened = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=20)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return opened


def request(target: str) -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: by-hand\r\n\r\n".encode()


def receive(connection: socket.socket, until: bytes) -> bytes:
    """Bytes up to where they end with `until`."""
    got = b""
    while not got.endswith(until):
        piece = connection.recv(1 << 16)
        if not piece:
            raise SystemExit(f"the server closed after {got[-100:]!r}")
        got += piece
    return got


def pipelined() -> None:
    """Ten requests at once, the last of them in pieces; then ten answers."""
    with connect() as connection:
        targets = [f"/item/pipelined/{n}" for n in range(10)]
        wire = b"".join(map(request, targets))
        for start, stop in ((0, -30), (-30, -3), (-3, None)):
            connection.sendall(wire[start:stop])
        receive(connection, b"/item/pipelined/9\n")


def reset() -> None:
    """Leaves in the middle of a response, with RST."""
    connection = connect()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.sendall(request("/big.bin?reset"))
    connection.recv(20_000)
    connection.close()


def leave() -> None:
    """Has seen enough of an answer that does not end."""
    with connect() as connection:
        connection.sendall(request("/drip"))
        for _ in range(5):
            connection.recv(1 << 16)


def half() -> None:
    """Sends FIN after the request, and reads the answer then."""
    with connect() as connection:
        connection.sendall(request("/item/half"))
        connection.shutdown(socket.SHUT_WR)
        receive(connection, b"/item/half\n")
        while connection.recv(1 << 16):
            pass


def held() -> None:
    """One connection that stays; for each number on standard input so many requests, one by one."""
    with connect() as connection:
        number = 0
        print("ready", flush=True)
        for line in sys.stdin:
            for _ in range(int(line)):
                target = f"/item/held/{number}"
                connection.sendall(request(target))
                receive(connection, f"{target}\n".encode())
                number += 1
            print("done", flush=True)


if __name__ == "__main__":
    ways = (pipelined, reset, leave, half, held)
    by_name = {way.__name__: way for way in ways}
    for name in sys.argv[3:]:
        by_name[name]()
