"""What a recorded exchange is to the service: asked of it, asked by it, or none of its business.

An exchange that the recording marks keeps its role. The others get theirs from `--service`, or from
the only endpoint that both answers and asks. There is never a guess (design.md §5).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from wiretape.exchange.endpoints import ServiceEndpoint, endpoint_text
from wiretape.exchange.v1.exchange_pb2 import (
    ROLE_INBOUND,
    ROLE_OUTBOUND,
    ROLE_UNSPECIFIED,
    ConnectionEnd,
    Exchange,
    Gap,
    HttpRequest,
    HttpResponse,
)
from wiretape.replayer.errors import UsageError

Address = tuple[str, int]


class Party(NamedTuple):
    """Who asked whom: the role that the recording gives that, and both sides."""

    role: int
    client: str
    server: Address


def party_of(exchange: Exchange) -> Party:
    return Party(exchange.role, exchange.connection.client.address, server_of(exchange))


def server_of(exchange: Exchange) -> Address:
    return exchange.connection.server.address, exchange.connection.server.port


def began_ns(exchange: Exchange) -> int:
    """When its request began; where that was never seen, it was before the response did."""
    http = exchange.http
    return http.request.first_byte_at_ns or http.response.first_byte_at_ns


def spell(endpoint: Address) -> str:
    """`address:port`, an IPv6 address in brackets."""
    return endpoint_text(*endpoint)


def assign_roles(parties: Iterable[Party], service: ServiceEndpoint | None) -> dict[Party, int]:
    """The role of each; UsageError where which endpoint is the service is not certain."""
    known = list(parties)
    if not known:
        return {}
    endpoints: frozenset[Address] = frozenset()
    if service is not None:
        endpoints = _named_service(known, service)
    elif all(party.role == ROLE_UNSPECIFIED for party in known):
        endpoints = frozenset([_only_service(known)])
    addresses = {address for address, _ in endpoints}
    roles: dict[Party, int] = {}
    for party in known:
        role = party.role
        if role == ROLE_UNSPECIFIED and endpoints:
            if party.server in endpoints:
                role = ROLE_INBOUND
            elif party.client in addresses:
                role = ROLE_OUTBOUND
        roles[party] = role
    inbound = {party.server for party, role in roles.items() if role == ROLE_INBOUND}
    if service is not None and inbound.isdisjoint(endpoints):
        # The recording's own marks say otherwise: to follow either silently would be a guess.
        raise UsageError(
            f"--service {spell(service)}: the recording marks another service: {_listed(inbound)}"
        )
    return roles


def _named_service(parties: Iterable[Party], service: ServiceEndpoint) -> frozenset[Address]:
    servers = {party.server for party in parties}
    named = {(address, port) for address, port in servers if service.serves(address, port)}
    spelled = spell(service)
    if not named:
        raise UsageError(
            f"--service {spelled}: nothing recorded was answered there;"
            f" recorded: {_listed(servers)}"
        )
    # 127.0.0.1 and ::1 are one host; two other addresses may be two services with one port number.
    if len(named) > 1 and not all(ipaddress.ip_address(a).is_loopback for a, _ in named):
        raise UsageError(f"--service {spelled} could be any of {_listed(named)}; name one")
    return frozenset(named)


def _only_service(parties: Sequence[Party]) -> Address:
    servers = {party.server for party in parties}
    asked: dict[str, set[Address]] = {}
    for party in parties:
        asked.setdefault(party.client, set()).add(party.server)
    candidates = {server for server in servers if asked.get(server[0], set()) - {server}}
    if len(candidates) == 1:
        return candidates.pop()
    if candidates:
        raise UsageError(
            f"several endpoints could be the service: {_listed(candidates)};"
            " name one with --service"
        )
    raise UsageError(
        "no endpoint both answers and asks, so which one is the service is not certain;"
        f" name one with --service: {_listed(servers)}"
    )


def _listed(endpoints: Iterable[Address]) -> str:
    return ", ".join(spell(endpoint) for endpoint in sorted(endpoints)) or "none"


def inbound_fault(exchange: Exchange) -> str | None:
    """Why this inbound exchange cannot judge a build, in one line; None where it can."""
    if not exchange.HasField("http"):
        return "it is not HTTP"
    if not exchange.http.HasField("request"):
        return "only its response was recorded"
    fault = _fault("request", exchange.http.request)
    if fault is None and not exchange.http.HasField("response"):
        return "its response was not recorded"
    return fault or _fault("response", exchange.http.response)


def call_fault(exchange: Exchange) -> str | None:
    """Why this upstream call can neither be matched nor answered; None where it can.

    A call without a whole response may be a fault of the upstream, which a replay repeats:
    `unseen_end` tells it from a fault of the recording.
    """
    if not exchange.HasField("http"):
        return "it is not HTTP"
    if not exchange.http.HasField("request"):
        return "only its response was recorded"
    fault = _fault("request", exchange.http.request)
    response = exchange.http.response
    if fault is None and (response.head_gaps or response.content.gaps):
        return _fault("response", response)
    return fault


def unseen_end(end: ConnectionEnd | None, is_last: bool) -> str | None:
    """Why the lack of a whole response may be the recording's fault; None where the connection's
    `end` is what the service got to see. `is_last`: nothing was asked on it afterwards."""
    if not is_last:
        return "its response was not recorded, and its connection went on"
    if end is None:
        return "its response was not recorded, nor how its connection ended"
    given_up = end.how == ConnectionEnd.OPEN and end.client_closed_at_ns > 0
    if end.how not in (ConnectionEnd.CLOSED, ConnectionEnd.RESET) and not given_up:
        return "its response was not recorded: its connection was not seen to its end"
    if end.kernel_drops or end.server.gap_bytes or end.server.undecoded_bytes:
        return "its response was not recorded: not all of its connection was seen"
    return None


def came_too_late(end: ConnectionEnd, response_at_ns: int) -> bool:
    """Whether the service had closed the connection before the response began, and refused it."""
    return end.how == ConnectionEnd.RESET and 0 < end.client_closed_at_ns < response_at_ns


def _fault(half: str, message: HttpRequest | HttpResponse) -> str | None:
    if message.head_gaps:
        gap = message.head_gaps[0]
        return f"its {half}'s header section lacks {gap.length} bytes at {gap.offset}"
    if message.content.gaps:
        gap = message.content.gaps[0]
        why = "; beyond --max-content" if gap.reason == Gap.LIMIT else ""
        return f"its {half}'s content lacks {gap.length} bytes at {gap.offset}{why}"
    if not message.content.complete:
        return f"its {half} ended early, after {len(message.content.data)} bytes of content"
    return None
