"""Who talks with whom: the identity of a flow, and of one connection on it."""

from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from ipaddress import ip_address
from socket import inet_ntoa
from typing import NamedTuple

from wiretape.exchange import encode
from wiretape.exchange.encode import Answered
from wiretape.exchange.records import Record


class Endpoints(NamedTuple):
    """The identity of a flow: the lower endpoint is 0, the higher 1."""

    addresses: tuple[str, str]
    ports: tuple[int, int]
    vlans: tuple[int, ...]
    tunnels: tuple[bytes, ...]
    """Encoded Tunnel messages."""
    key: bytes
    """The same whatever else the capture holds."""
    about: bytes = b""
    """Encoded fields of Connection that the source knows: whose socket it is."""
    role: int = 0
    """Of the exchanges, where the source knows it."""


NOBODY = Endpoints(("", ""), (0, 0), (), (), b"")


@lru_cache(maxsize=1 << 14)
def address_text(high: int, low: int) -> str:
    """Canonical text of a 128-bit address; IPv4 where it is mapped."""
    if high == 0 and low >> 32 == 0xFFFF:
        return inet_ntoa((low & 0xFFFFFFFF).to_bytes(4, "big"))
    return str(ip_address(high << 64 | low))


class Identity(NamedTuple):
    """What every exchange of one connection says of it."""

    ident: bytes
    field: bytes
    """Field 2 of Exchange, tag included."""
    role: int

    def answered(self, ordinal: int, exchanges: Iterable[Answered]) -> list[Record]:
        """Records of whole exchanges with nothing to remark, `ordinal` that of the first."""
        return encode.answered_exchanges(self.ident, self.field, self.role, ordinal, exchanges)


def identify(
    endpoints: Endpoints,
    client: int,
    opened_at_ns: int,
    source: str,
    midstream: bool,
    role: int,
) -> Identity:
    """`client`: which of the endpoints it is."""
    opened = opened_at_ns.to_bytes(8, "little")
    ident = blake2b(endpoints.key + opened, digest_size=8).hexdigest().encode()
    encoded = encode.connection(
        ident,
        encode.endpoint(endpoints.addresses[client], endpoints.ports[client]),
        encode.endpoint(endpoints.addresses[1 - client], endpoints.ports[1 - client]),
        opened_at_ns,
        source,
        midstream,
        endpoints.vlans,
        endpoints.tunnels,
        endpoints.about,
    )
    return Identity(ident, encode.delimited(2, encoded), endpoints.role or role)
