"""The service's own address: how it names itself, as recorded and in this run."""

from __future__ import annotations

from collections.abc import Iterable

from wiretape.exchange.endpoints import endpoint_text

# How a service calls the machine that it runs on.
_HERE = ("127.0.0.1", "localhost", "::1", "0.0.0.0", "::")


def own_addresses(recorded: Iterable[tuple[str, int]], host: str, port: int) -> dict[str, str]:
    """`host:port` by which the service may have named itself → by which the build does so now.

    `recorded` are the endpoints at which it was asked; `host` and `port` those of the build. A name
    of the machine itself stays the name that it is.
    """
    own: dict[str, str] = {}
    for address, known in sorted(recorded):
        own |= {endpoint_text(name, known): endpoint_text(name, port) for name in _HERE}
        if address not in _HERE:
            live = "127.0.0.1" if host == "localhost" else host
            own[endpoint_text(address, known)] = endpoint_text(live, port)
    return {text: live for text, live in own.items() if text != live}
