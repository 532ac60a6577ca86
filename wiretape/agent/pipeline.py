"""From packet batches to encoded exchanges, with the ledger of everything between.

Finished records leave in the order of the packets that finished them, so a recording does not
depend on the size of batches.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import itemgetter

from wiretape.agent.cause import Call, Callers, Causes
from wiretape.agent.duplicates import Duplicates
from wiretape.agent.ledger import Ledger, count
from wiretape.agent.packets import I64, Decoder, PacketBatch, Segments
from wiretape.agent.tcp.half import LOST, SNAPLEN
from wiretape.agent.tcp.memory import Traffic
from wiretape.agent.tcp.relief import Holder, relieve
from wiretape.agent.tcp.sample import Sample
from wiretape.agent.tcp.share import EVERYTHING, Share
from wiretape.agent.tcp.table import ConnectionTable
from wiretape.exchange.endpoints import ServiceEndpoint
from wiretape.exchange.http1 import Sections
from wiretape.exchange.records import CONNECTION_ENDS, EXCHANGES, Record
from wiretape.exchange.v1 import exchange_pb2 as pb

_PACKET = itemgetter(0)

Group = tuple[tuple[int, int, int], list[Record]]
"""Records that time alone finished: the packet that showed the time, the time, and the packet that
opened their connection; the three together say where they stand."""


def in_order(records: list[Record], apart: list[Group]) -> list[Record]:
    """All of them in the order of the packets that finished them; `records` of one packet stay in
    theirs."""
    records.sort(key=_PACKET)
    if not apart:
        return records
    groups: list[Group] = [((record[0], -1, -1), [record]) for record in records]
    groups += apart
    groups.sort(key=lambda group: group[0])
    return [record for _, group in groups for record in group]


class Pipeline:
    """`feed` batches in capture order, then `close`; both return what was finished by them."""

    def __init__(
        self,
        source: str,
        max_content_bytes: int,
        services: Iterable[ServiceEndpoint] = (),
        fast: bool = True,
        share: Share = EVERYTHING,
        sample: Sample | None = None,
        traffic: Traffic | None = None,
    ) -> None:
        """`share`: whose connections are read; the ledger of the first counts all packets."""
        self.ledger = Ledger()
        self._packet_ledger = self.ledger if share.number == 0 else Ledger()
        self.source = source
        self.sections = Sections(max_content_bytes=max_content_bytes, learning=fast)
        self.traffic = traffic or Traffic()
        self.max_content_bytes = max_content_bytes
        self._services = tuple(services)
        self.unseen_services = set(self._services)
        """Those to which no connection went until now."""
        self._service_since = {s.address: 0 for s in self._services if s.address}
        """Since which packet an address is known to be the service's."""
        self._decoder = Decoder()
        self._duplicates = Duplicates()
        self._sample = sample or Sample()
        self.causes = Causes() if self._services else None
        self._table = ConnectionTable(self, self.ledger, fast, share, self._sample)
        self._records: list[Record] = []
        self._apart: list[Group] = []
        self.packets = 0
        """How many were fed."""
        self.lost = LOST
        self.missing = (SNAPLEN,) * 4
        self.drops = 0
        self.drops_before = 0
        """What the kernel had dropped when the latest batch was taken, and the one before it."""

    def feed(self, batch: PacketBatch, dropped: int = 0) -> list[Record]:
        """Takes the next batch; the records that it finished.

        `dropped`: how many packets the kernel could not hand over since the batch before.
        """
        self._count_drops(dropped)
        self.read(batch)
        return in_order(*self.take())

    def close(self, dropped: int = 0) -> list[Record]:
        """The capture is over; the records of what was still open."""
        self._count_drops(dropped)
        self.finish()
        return in_order(*self.take())

    @property
    def open_connections(self) -> int:
        return self._table.open_connections

    def elapse(self, now_ns: int) -> list[Record]:
        """Nothing came until now, by the clock of the batches."""
        self._table.elapse(now_ns)
        return in_order(*self.take())

    def shed(self) -> list[Record]:
        """There is more to do than can be done: lets go of half of the connections, whole."""
        self._sample.narrow()
        self._table.shed()
        return in_order(*self.take())

    def read(self, batch: PacketBatch) -> None:
        """Takes the next batch."""
        segments, skipped, bad_checksums = self._decoder.decode(batch)
        self.packets += len(batch.start)
        ledger = self._packet_ledger
        ledger.packets = self.packets
        ledger.packets_decoded += len(segments.packet)
        ledger.bad_checksums += bad_checksums
        for reason, packets in skipped.items():
            count(ledger.packets_skipped, reason, packets)
        copies = self._duplicates.find(segments)
        if copies is not None:
            ledger.duplicate_packets += int(copies.sum())
            segments = segments.only(~copies)
        self._read_segments(segments)

    def feed_segments(
        self, segments: Segments | None, events: int, skipped: Mapping[str, int], dropped: int
    ) -> list[Record]:
        """Takes segments that were not made of packets, but of so many `events`, of which some were
        `skipped`, by reason, or some before them; the records that they finished."""
        self._count_drops(dropped)
        ledger = self._packet_ledger
        ledger.packets += events
        ledger.packets_decoded += events - sum(skipped.values())
        for reason, amount in skipped.items():
            count(ledger.packets_skipped, reason, amount)
        if segments is not None and len(segments.packet):
            if segments.callers is not None:
                self._take_callers(int(segments.packet[0]), segments.callers)
            self.packets += len(segments.packet)
            self._read_segments(segments)
        return in_order(*self.take())

    def _read_segments(self, segments: Segments) -> None:
        ledger = self._packet_ledger
        chosen = self._sample.choose(segments)
        if chosen is not None:
            taken, left_out = chosen
            ledger.packets_decoded -= sum(left_out.values())
            for reason, packets in left_out.items():
                count(ledger.packets_skipped, reason, packets)
            segments = segments.only(taken)
        self._table.feed(segments)

    def _take_callers(self, first: int, callers: I64) -> None:
        """Of segments that follow on `first`: processes are the services from now on."""
        if self.causes is None or self.causes.callers is None:
            self.causes = Causes(Callers())
        assert self.causes.callers is not None, "made with them"
        self.causes.callers.add(first, callers)

    def _count_drops(self, dropped: int) -> None:
        self.drops_before = self.drops
        self.drops += dropped
        if self.causes is not None:
            self.causes.drops = self.drops
        self.ledger.kernel_drops += dropped

    def finish(self) -> None:
        """Nothing more will come."""
        self._decoder.fragments.close()
        self._packet_ledger.incomplete_datagrams = self._decoder.fragments.incomplete
        self._table.close()

    def take(self) -> tuple[list[Record], list[Group]]:
        """What was finished since the last time, not in order yet."""
        if self.causes is not None:
            self.causes.decide(self._sample.part == 1)
        finished = self._records, self._apart
        self._records, self._apart = [], []
        return finished

    # -- the connections' sink

    def relieve(self, table: Holder) -> None:
        relieve([table], self.traffic.max_held_bytes)

    @contextmanager
    def apart(self, packet: int, due_ns: int, opened_packet: int) -> Iterator[None]:
        """What time alone finished stands behind what `packet` did, ordered by that time."""
        before, self._records = self._records, []
        yield
        self._apart.append(((packet, due_ns, opened_packet), self._records))
        self._records = before

    def served(self, server: tuple[str, int], packet: int) -> None:
        serving = [service for service in self._services if service.serves(*server)]
        if serving:
            self.unseen_services.difference_update(serving)
            before = self._service_since.get(server[0], packet)
            self._service_since[server[0]] = min(before, packet)

    def role_of(self, client: tuple[str, int], server: tuple[str, int], packet: int) -> int:
        """The role of a connection's exchanges, where `--service` tells it.

        An address at which a service named without one answered is the service's from then on:
        what is asked from there is the service's own call.
        """
        if any(service.serves(*server) for service in self._services):
            return int(pb.ROLE_INBOUND)
        if packet >= self._service_since.get(client[0], packet + 1):
            return int(pb.ROLE_OUTBOUND)
        return int(pb.ROLE_UNSPECIFIED)

    def take_exchange(
        self,
        packet: int,
        parts: tuple[bytes, ...],
        size: int,
        at_ns: int,
        kind: tuple[bool, bool, bool, int],
        call: Call | None = None,
    ) -> None:
        requested, answered, gapped, violations = kind
        ledger = self.ledger
        ledger.exchanges += 1
        if requested and answered:
            ledger.complete += 1
        elif requested:
            ledger.request_only += 1
        else:
            ledger.response_only += 1
        ledger.with_gaps += gapped
        ledger.violations += violations
        self._records.append((packet, EXCHANGES, parts, size, at_ns))
        if call is not None:
            call.recorded(self._records, len(self._records) - 1)

    def take_answered(self, records: Sequence[Record], calls: Sequence[Call] = ()) -> None:
        for place, call in enumerate(calls, len(self._records)):
            call.recorded(self._records, place)
        self.ledger.exchanges += len(records)
        self.ledger.complete += len(records)
        self._records += records

    def take_end(
        self, packet: int, encoded: bytes, at_ns: int, violations: int, drops: int
    ) -> None:
        self.ledger.violations += violations
        self.ledger.connections_during_drops += drops > 0
        self._records.append((packet, CONNECTION_ENDS, (encoded,), len(encoded), at_ns))
