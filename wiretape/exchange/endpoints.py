"""Endpoints as people write them: `HOST:PORT`, `:PORT`, `[v6]:PORT`."""

from ipaddress import ip_address
from typing import NamedTuple


class ServiceEndpoint(NamedTuple):
    """The service under judgement; `address` is empty where any address will do."""

    address: str
    port: int

    def serves(self, address: str, port: int) -> bool:
        return port == self.port and self.address in ("", address)


def parse_service(text: str) -> ServiceEndpoint:
    """Reads `[HOST]:PORT`. Raises ValueError with one line that says what is wrong."""
    host, colon, digits = text.rpartition(":")
    if not colon or not digits.isascii() or not digits.isdigit() or not 0 < int(digits) < 65536:
        raise ValueError(f"{text!r} is not [HOST]:PORT with a port from 1 to 65535")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if host:
        try:
            host = str(ip_address(host))
        except ValueError:
            raise ValueError(
                f"{text!r}: the host must be an address as the capture has it (IPv6 in brackets)"
            ) from None
    return ServiceEndpoint(host, int(digits))


def endpoint_text(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
