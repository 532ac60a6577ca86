"""Records and hellos of TLS, and how long a record is for what it carries."""

import ssl
import struct

import pytest

from wiretape.agent.sources.ebpf.tls_records import Records, Tls, fits, tls_of


def record(kind: int, size: int) -> bytes:
    return struct.pack(">BHH", kind, 0x0303, size) + bytes(size)


STREAM = record(22, 100) + record(20, 1) + record(23, 40) + record(23, 16400) + record(21, 2)


@pytest.mark.parametrize("step", [1, 2, 5, 7, 1000, len(STREAM)])
def test_records_whatever_the_pieces(step: int) -> None:
    records = Records()
    ended = []
    for at in range(0, len(STREAM), step):
        ended += records.feed(memoryview(STREAM)[at : at + step])
    assert ended == [40, 16400]
    assert records.messages == bytes(100)
    assert not records.is_broken


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        record(25, 4),
        record(23, 0),
        b"\x17\x03\x03\xff\xff",
        b"\x17\x02\0\0\1",
    ],
)
def test_what_is_no_record(data: bytes) -> None:
    records = Records()
    assert records.feed(memoryview(data)) == []
    assert records.is_broken
    records.begin_again()
    assert records.feed(memoryview(record(23, 9))) == [9]


@pytest.mark.parametrize(
    ("lengths", "plaintext", "overheads", "expected"),
    [
        ([117], 100, (17,), True),
        ([117], 101, (17,), False),
        ([124], 100, (17, 24), True),
        ([250, 117, 217], 300, (17,), True),
        ([250, 117, 217], 433, (17,), False),
        ([250, 117, 217], 533, (17,), True),
        ([250, 117, 217], 233, (17,), True),
        ([19], 0, (17,), False),
        ([17], 0, (17,), True),
        ([], 5, (17,), False),
        ([5], 5, (17,), False),
    ],
)
def test_how_much_records_carry(
    lengths: list[int], plaintext: int, overheads: tuple[int, ...], expected: bool
) -> None:
    assert fits(lengths, plaintext, overheads) is expected


def hellos(name: str, version: ssl.TLSVersion, alpn: list[str], cut: int = 1 << 20) -> Tls:
    """Of a handshake in memory; only so many bytes of either side's messages were seen."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.set_alpn_protocols(["http/1.1"])
    server.maximum_version = version
    # Without a certificate: what is in the clear comes before it is missed, or not at all.
    server.set_ciphers("aNULL:@SECLEVEL=0")
    client = ssl.create_default_context()
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    client.maximum_version = version
    client.set_ciphers("aNULL:@SECLEVEL=0")
    client.set_alpn_protocols(alpn)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = client.wrap_bio(down, up, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        one.do_handshake()
    asked = up.read()
    up.write(asked)
    two = server.wrap_bio(up, down, server_side=True)
    with pytest.raises(ssl.SSLError):
        two.do_handshake()
    sides = Records(), Records()
    for records, data in zip(sides, (asked, down.read()), strict=True):
        records.feed(memoryview(data))
    return tls_of(*(bytes(each.messages[:cut]) for each in sides))


def test_hellos_of_a_handshake() -> None:
    found = hellos("shop.internal", ssl.TLSVersion.TLSv1_2, ["http/1.1"])
    assert found == Tls(b"shop.internal", b"http/1.1", "1.2")


@pytest.mark.parametrize("cut", range(0, 200, 3))
def test_hellos_that_are_cut_off(cut: int) -> None:
    found = hellos("shop.internal", ssl.TLSVersion.TLSv1_2, ["http/1.1"], cut)
    assert b"shop.internal".startswith(found.server_name)
    assert found.version in ("", "1.2")


def test_a_server_of_tls_1_3() -> None:
    extensions = struct.pack(">HHH", 43, 2, 0x0304)
    body = struct.pack(">H32sBHBH", 0x0303, b"r" * 32, 0, 0x1301, 0, len(extensions)) + extensions
    hello = b"\x02" + len(body).to_bytes(3, "big") + body
    assert tls_of(b"", hello) == Tls(version="1.3")
    assert tls_of(hello, b"") == Tls(version="1.3")
    assert tls_of(b"", b"") == Tls()
