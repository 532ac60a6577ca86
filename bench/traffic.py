"""Writes pcap files of HTTP traffic for benchmarks: real framing, known contents, any size.

Every exchange differs in its target, identifiers, Date and Content-Length, as real traffic does, so
that no cache of whole messages can help.
"""

import json
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MSS = 1448
_ETHERNET = bytes.fromhex("0200000000010200000000020800")
_FIN, _SYN, _PSH, _ACK = 1, 2, 8, 16


@dataclass
class _Side:
    address: bytes
    port: int
    seq: int


class _Capture:
    """A pcap file that is written packet by packet, 20 µs apart."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=1 << 20)
        self._file.write(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, 1))
        self._at_ns = 1_700_000_000_000_000_000
        self.packets = 0

    def send(self, source: _Side, target: _Side, flags: int, payload: bytes = b"") -> None:
        total = 40 + len(payload)
        ip = struct.pack(
            ">BBHHHBBH4s4s", 0x45, 0, total, self.packets & 0xFFFF, 0x4000, 64, 6, 0,
            source.address, target.address,
        )  # fmt: skip
        tcp = struct.pack(
            ">HHIIBBHHH", source.port, target.port, source.seq, target.seq if flags & _ACK else 0,
            0x50, flags, 64240, 0, 0,
        )  # fmt: skip
        seconds, ns = divmod(self._at_ns, 1_000_000_000)
        size = 14 + total
        self._file.write(struct.pack("<IIII", seconds, ns, size, size))
        self._file.write(_ETHERNET + ip + tcp + payload)
        source.seq = (source.seq + len(payload) + bool(flags & (_SYN | _FIN))) & 0xFFFFFFFF
        self._at_ns += 20_000
        self.packets += 1

    def send_all(self, source: _Side, target: _Side, data: bytes, offload: bool = False) -> None:
        """`offload`: as a host sees its own traffic, in large segments that acknowledge too."""
        size = 60_000 if offload else MSS
        for start in range(0, len(data), size):
            self.send(source, target, _PSH | _ACK, data[start : start + size])
        if not offload:
            self.send(target, source, _ACK)

    def close(self) -> None:
        self._file.close()


_COLOURS = ("red", "orange", "yellow", "green", "blue", "indigo", "violet", "black", "white")
_THINGS = ("chair", "table", "lamp", "shelf", "sofa", "desk", "mirror", "carpet", "stool", "bench")
_TAGS = ("new", "sale", "garden", "home", "office", "oak", "steel", "glass", "eco", "vintage")


def _page(random_: random.Random, number: int, size: int) -> dict[str, object]:
    """What a shop's API answers: as many items as make some `size` bytes of JSON."""
    return {
        "request": number,
        "token": f"{random_.getrandbits(128):032x}",
        "items": [_item(random_) for _ in range(max(size // 200, 1))],
        "next": f"/v1/items?after={random_.getrandbits(40)}",
    }


def _item(random_: random.Random) -> dict[str, object]:
    return {
        "id": random_.getrandbits(31),
        "sku": f"SKU-{random_.randrange(100_000):05d}",
        "name": f"{random_.choice(_COLOURS)} {random_.choice(_THINGS)}",
        "price_cents": random_.randrange(100, 100_000),
        "in_stock": random_.random() < 0.8,
        "rating": round(random_.uniform(1, 5), 2),
        "tags": random_.sample(_TAGS, 3),
        "updated_at": f"2024-0{random_.randrange(1, 10)}-{random_.randrange(10, 29)}T"
        f"{random_.randrange(10, 24)}:{random_.randrange(10, 60)}:{random_.randrange(10, 60)}Z",
    }


def _messages(random_: random.Random, content_bytes: int) -> Iterator[tuple[bytes, bytes]]:
    """Endless (request, response) pairs; contents are about `content_bytes` long."""
    number = 0
    large = random_.randbytes(content_bytes) if content_bytes > 65536 else b""
    while True:
        number += 1
        if large:
            cut = random_.randrange(len(large))
            content, kind = large[cut:] + large[:cut], "application/octet-stream"
        else:
            content = json.dumps(_page(random_, number, content_bytes)).encode()
            kind = "application/json"
        request = (
            f"GET /v1/items/{number}?page={number % 97} HTTP/1.1\r\nHost: shop.internal:8080\r\n"
            f"User-Agent: bench/1.0\r\nAccept: application/json\r\n"
            f"X-Request-Id: {random_.getrandbits(128):032x}\r\n\r\n"
        ).encode()
        if number % 4 == 0:
            order = json.dumps({"sku": number % 500, "count": number % 7}).encode()
            request = (
                f"POST /v1/orders HTTP/1.1\r\nHost: shop.internal:8080\r\n"
                f"User-Agent: bench/1.0\r\nContent-Type: application/json\r\n"
                f"X-Request-Id: {random_.getrandbits(128):032x}\r\n"
                f"Content-Length: {len(order)}\r\n\r\n"
            ).encode() + order
        second = number // 200 % 60
        head = (
            f"HTTP/1.1 200 OK\r\nServer: bench\r\nDate: Mon, 01 Jan 2024 00:00:{second:02d} GMT\r\n"
            f"Content-Type: {kind}\r\nContent-Length: {len(content)}\r\n"
            f"X-Request-Id: {random_.getrandbits(128):032x}\r\n\r\n"
        ).encode()
        yield request, head + content


def write_keep_alive(
    path: Path,
    exchanges: int,
    content_bytes: int = 1500,
    connections: int = 64,
    offload: bool = False,
) -> int:
    """`exchanges` spread over connections that stay open; returns the packets written."""
    random_ = random.Random(7)
    capture = _Capture(path)
    pairs = []
    for number in range(connections):
        client = _Side(bytes((10, 0, 1, number % 250)), 40000 + number, random_.getrandbits(32))
        server = _Side(bytes((10, 0, 0, 9)), 8080, random_.getrandbits(32))
        capture.send(client, server, _SYN)
        capture.send(server, client, _SYN | _ACK)
        capture.send(client, server, _ACK)
        pairs.append((client, server))
    messages = _messages(random_, content_bytes)
    for _ in range(exchanges):
        client, server = random_.choice(pairs)
        request, response = next(messages)
        capture.send_all(client, server, request, offload)
        capture.send_all(server, client, response, offload)
    capture.close()
    return capture.packets


def write_connection_each(path: Path, exchanges: int, content_bytes: int = 600) -> int:
    """One request a connection; returns the packets written."""
    random_ = random.Random(8)
    capture = _Capture(path)
    messages = _messages(random_, content_bytes)
    for number in range(exchanges):
        client = _Side(
            bytes((10, 1, number >> 8 & 255, number & 255)),
            20000 + number // 65536 * 7 % 40000,
            random_.getrandbits(32),
        )
        server = _Side(bytes((10, 0, 0, 9)), 8080, random_.getrandbits(32))
        request, response = next(messages)
        capture.send(client, server, _SYN)
        capture.send(server, client, _SYN | _ACK)
        capture.send(client, server, _ACK)
        capture.send_all(client, server, request)
        capture.send_all(server, client, response)
        capture.send(client, server, _FIN | _ACK)
        capture.send(server, client, _FIN | _ACK)
        capture.send(client, server, _ACK)
    capture.close()
    return capture.packets
