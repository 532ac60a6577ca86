"""Where every packet, byte and exchange of a run went; the sums hold (docs/architecture.md)."""

from dataclasses import asdict, dataclass, field


@dataclass
class Ledger:
    """Counters of one run. `faults` lists the sums that do not hold: there must be none."""

    packets: int = 0
    packets_decoded: int = 0
    packets_skipped: dict[str, int] = field(default_factory=dict)
    duplicate_packets: int = 0
    bad_checksums: int = 0
    incomplete_datagrams: int = 0
    payload_bytes: int = 0
    delivered_bytes: int = 0
    retransmitted_bytes: int = 0
    overlapping_bytes: int = 0
    conflicting_bytes: int = 0
    """Among the two before: those that differed from what was sent first."""
    beyond_limits_bytes: int = 0
    evicted_bytes: int = 0
    """Delivered, but cut from contents because all connections together held too much."""
    evictions: int = 0
    """Contents that were cut so, and connections that were closed."""
    gap_bytes: int = 0
    message_bytes: int = 0
    undecoded_bytes: int = 0
    gap_bytes_outside_messages: int = 0
    undecoded_streams: dict[str, int] = field(default_factory=dict)
    connections: int = 0
    exchanges: int = 0
    complete: int = 0
    request_only: int = 0
    response_only: int = 0
    with_gaps: int = 0
    violations: int = 0
    kernel_drops: int = 0
    """Packets that the kernel could not hand over; in no other number."""
    connections_during_drops: int = 0
    """Those that were open then: some of the packets may have been theirs."""
    connections_shed: int = 0
    """Left out, whole from then on, because there was more to do than could be done."""
    sockets_unknown: int = 0
    """TLS streams of which it could not be told which socket carried them: without addresses."""
    seconds: float = 0.0

    def faults(self) -> list[str]:
        """The sums of design that do not hold, as text."""
        sums = {
            "packets = packets_decoded + Σ packets_skipped": (
                self.packets,
                self.packets_decoded + sum(self.packets_skipped.values()),
            ),
            "payload_bytes = delivered + retransmitted + overlapping + beyond_limits": (
                self.payload_bytes,
                self.delivered_bytes
                + self.retransmitted_bytes
                + self.overlapping_bytes
                + self.beyond_limits_bytes,
            ),
            "delivered + gap = message + undecoded + gaps outside messages": (
                self.delivered_bytes + self.gap_bytes,
                self.message_bytes + self.undecoded_bytes + self.gap_bytes_outside_messages,
            ),
            "exchanges = complete + request_only + response_only": (
                self.exchanges,
                self.complete + self.request_only + self.response_only,
            ),
        }
        return [
            f"{text}: {left} ≠ {right}" for text, (left, right) in sums.items() if left != right
        ]

    def add(self, other: "Ledger") -> None:
        """Counts what another part of the same run counted."""
        for name, value in vars(other).items():
            mine = getattr(self, name)
            if isinstance(value, dict):
                for reason, amount in value.items():
                    count(mine, reason, amount)
            else:
                setattr(self, name, mine + value)

    def as_json(self) -> dict[str, object]:
        """The keys of --summary-json."""
        return asdict(self)


def count(counters: dict[str, int], reason: str, amount: int = 1) -> None:
    counters[reason] = counters.get(reason, 0) + amount
