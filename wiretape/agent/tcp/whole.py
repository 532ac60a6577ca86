"""Connections that lie in one batch from SYN to FIN, in order, with plain exchanges and no more.

Where clients do not keep connections, most are like this. Such a connection is read as it lies
there, without half-connections, queues and readers; what is remembered of it is what late segments
need. Everything else is left to `Connection`, which gives the same for it.
"""

from collections.abc import Sequence
from typing import NamedTuple

from wiretape.agent.cause import Call
from wiretape.agent.plain import Head, read_plain_exchanges
from wiretape.agent.tcp.connection import FORGET_NS, Connection, Sink
from wiretape.agent.tcp.grouping import Flows
from wiretape.agent.tcp.identity import NOBODY, identify
from wiretape.exchange import encode
from wiretape.exchange.stream import Readable
from wiretape.exchange.v1 import exchange_pb2 as pb

_CLOSED = int(pb.ConnectionEnd.CLOSED)
_MODULUS = 1 << 32


class Closed(NamedTuple):
    """What is remembered of a whole connection; tuples have an entry for each direction."""

    initial_seqs: tuple[int, int]
    sizes: tuple[int, int]
    client: int
    opened_at_ns: int
    opened_packet: int
    last_ns: int

    @property
    def forget_ns(self) -> int:
        return self.last_ns + FORGET_NS

    def connection(self, sink: Sink) -> Connection:
        """The same as a Connection, for what may still come."""
        connection = Connection(NOBODY, sink, self.opened_at_ns, self.last_ns, self.opened_packet)
        connection.remember(self.initial_seqs, self.sizes, self.client, self.forget_ns)
        return connection


def read_whole_connection(flows: Flows, flow: int, sink: Sink) -> Closed | None:
    """Reads a connection of `flows.whole`; None, and nothing recorded, where it is not plain."""
    client = flows.opener[flow]
    half, peer = 2 * flow + client, 2 * flow + 1 - client
    requests, responses = Readable(flows.run(half, 0)), Readable(flows.run(peer, 0))
    initial_seq = (flows.half_seq[half] + 1) % _MODULUS
    causes = sink.causes
    heads: list[Head] | None = None if causes is None else []
    exchanges = read_plain_exchanges(
        sink.sections, requests, responses, (0, initial_seq), heads=heads
    )
    if requests.pos < len(requests.data) or responses.pos < len(responses.data):
        return None
    opened_packet, opened_at_ns = flows.first_packet[flow], flows.first_at_ns[flow]
    closed_packet, closed_ns = flows.closing_packet[flow], flows.closing_ns[flow]
    endpoints = flows.endpoints(flow)
    addresses, ports = endpoints.addresses, endpoints.ports
    server = addresses[1 - client], ports[1 - client]
    sink.served(server, min(requests.packets[0], responses.packets[0]))
    role = sink.role_of((addresses[client], ports[client]), server, opened_packet)
    identity = identify(endpoints, client, opened_at_ns, sink.source, False, role)
    calls: Sequence[Call] = ()
    if causes is not None:
        line = causes.line(identity.ident, identity.role, addresses[client], server[0])
        calls = line.answered(exchanges, heads or ()) if line is not None else ()
    sink.take_answered(identity.answered(0, exchanges), calls)
    ledgers = (
        encode.whole_half_ledger(len(requests.data)),
        encode.whole_half_ledger(len(responses.data)),
    )
    drops = sink.drops - sink.drops_before
    end = encode.connection_end(identity.ident, closed_ns, _CLOSED, *ledgers, drops=drops)
    sink.take_end(closed_packet, end, closed_ns, 0, drops)
    seqs = initial_seq, (flows.half_seq[peer] + 1) % _MODULUS
    sizes = len(requests.data), len(responses.data)
    if client:
        seqs, sizes = seqs[::-1], sizes[::-1]
    return Closed(seqs, sizes, client, opened_at_ns, opened_packet, closed_ns)
