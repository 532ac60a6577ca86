"""What a live run says of itself: a line on a terminal, a line of JSON in a log, and metrics."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from wiretape.agent.ledger import Ledger
from wiretape.exchange.records import EXCHANGES, Record
from wiretape.exchange.v1 import exchange_pb2 as pb

_LOOKED_AT = 40
"""So many exchanges of each batch tell which endpoints are asked most."""
_SHOWN = 3
_VARYING = re.compile(r"(?<=/)[^/]*[0-9][^/]*")
"""A segment of a path with a digit: mostly an identifier."""


@dataclass(frozen=True)
class Status:
    """A live run at one moment; rates are of the time since one was shown."""

    seconds: float
    ledger: Ledger
    exchanges_per_second: float
    packets_per_second: float
    open_connections: int
    sampled: float
    """The part of all connections that is taken now."""
    disk_bytes: int
    files: int
    removed_files: int
    endpoints: Sequence[str]
    """Those asked most lately."""

    def line(self, columns: int) -> str:
        """For a terminal of that width."""
        ledger = self.ledger
        parts = [
            f"{ledger.exchanges:,} exchanges, {self.exchanges_per_second:,.0f}/s",
            f"{self.open_connections:,} connections",
            f"{ledger.kernel_drops:,} dropped",
            f"{self.disk_bytes / 1e6:,.1f} MB",
        ]
        if self.sampled < 1:
            parts.append(f"takes {self.sampled:.0%}")
        if self.endpoints:
            parts.append("top: " + ", ".join(self.endpoints))
        return " · ".join(parts)[: columns - 1]

    def entry(self, now_ns: int) -> str:
        """For a log: one JSON object."""
        ledger = self.ledger
        fields = {
            "time": datetime.fromtimestamp(now_ns / 1e9, UTC).isoformat(timespec="seconds"),
            "event": "status",
            "seconds": round(self.seconds),
            "exchanges": ledger.exchanges,
            "exchanges_per_second": round(self.exchanges_per_second, 1),
            "packets": ledger.packets,
            "packets_per_second": round(self.packets_per_second, 1),
            "open_connections": self.open_connections,
            "kernel_drops": ledger.kernel_drops,
            "connections_shed": ledger.connections_shed,
            "evictions": ledger.evictions,
            "sampled": round(self.sampled, 4),
            "disk_bytes": self.disk_bytes,
            "files": self.files,
            "removed_files": self.removed_files,
            "endpoints": list(self.endpoints),
        }
        return json.dumps(fields)


class Endpoints:
    """Which endpoints are asked most, as far as a few exchanges of each batch tell."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def count(self, records: Sequence[Record]) -> None:
        """Looks at some of the records, spread over all."""
        for record in records[:: len(records) // _LOOKED_AT + 1]:
            if record[1] != EXCHANGES:
                continue
            request = pb.Exchange.FromString(b"".join(record[2])).http.request
            if request.method:
                self._counts[_endpoint(request)] += 1

    def top(self) -> list[str]:
        """The first few; what was counted before counts half from now on."""
        shown = [name for name, _ in self._counts.most_common(_SHOWN)]
        self._counts = Counter({name: n // 2 for name, n in self._counts.items() if n > 1})
        return shown


def _endpoint(request: pb.HttpRequest) -> str:
    host = request.authority.decode("ascii", "replace")
    path = request.target.split(b"?")[0].decode("ascii", "replace")
    text = f"{request.method} {host}{_VARYING.sub('*', path)}"
    return "".join(c if c.isprintable() else "�" for c in text[:80])


_METRICS = (
    ("packets_total", "counter", "Packets that were taken from the kernel."),
    ("kernel_drops_total", "counter", "Packets that the kernel could not hand over."),
    ("payload_bytes_total", "counter", "Bytes of TCP payload in finished connections."),
    ("connections_total", "counter", "TCP connections seen."),
    ("connections_open", "gauge", "TCP connections that are followed now."),
    ("connections_shed_total", "counter", "Connections left out because of too much to do."),
    ("connections_during_drops_total", "counter", "Connections that kernel drops may have hurt."),
    ("evictions_total", "counter", "Contents or connections cut by the limit of memory."),
    ("exchanges_total", "counter", "Exchanges recorded."),
    ("exchanges_incomplete_total", "counter", "Of these, with a request or a response only."),
    ("exchanges_with_gaps_total", "counter", "Of these, with bytes that were not captured."),
    ("violations_total", "counter", "Violations of the protocol in them."),
    ("sampled_ratio", "gauge", "The part of all connections that is taken now."),
    ("recording_bytes", "gauge", "Bytes of the recording on disk."),
    ("recording_files", "gauge", "Files of the recording."),
    ("recording_removed_files_total", "counter", "Files removed to keep within --max-disk."),
    ("running_seconds", "gauge", "How long this run has been going."),
)


def metrics_text(status: Status) -> str:
    """The status in Prometheus' text format."""
    ledger = status.ledger
    values: dict[str, float] = {
        "packets_total": ledger.packets,
        "kernel_drops_total": ledger.kernel_drops,
        "payload_bytes_total": ledger.payload_bytes,
        "connections_total": ledger.connections,
        "connections_open": status.open_connections,
        "connections_shed_total": ledger.connections_shed,
        "connections_during_drops_total": ledger.connections_during_drops,
        "evictions_total": ledger.evictions,
        "exchanges_total": ledger.exchanges,
        "exchanges_incomplete_total": ledger.request_only + ledger.response_only,
        "exchanges_with_gaps_total": ledger.with_gaps,
        "violations_total": ledger.violations,
        "sampled_ratio": status.sampled,
        "recording_bytes": status.disk_bytes,
        "recording_files": status.files,
        "recording_removed_files_total": status.removed_files,
        "running_seconds": round(status.seconds, 3),
    }
    lines = []
    for name, kind, text in _METRICS:
        full = f"wiretape_{name}"
        lines += [f"# HELP {full} {text}", f"# TYPE {full} {kind}", f"{full} {values[name]}"]
    lines += [
        "# HELP wiretape_packets_skipped_total Packets that hold no TCP segment, or are left out.",
        "# TYPE wiretape_packets_skipped_total counter",
    ]
    lines += [
        f'wiretape_packets_skipped_total{{reason="{reason}"}} {packets}'
        for reason, packets in sorted(ledger.packets_skipped.items())
    ]
    return "\n".join(lines) + "\n"
