"""Decodes a batch of packets at once: link layer, VLANs, tunnels, IP and TCP, as NumPy columns.

Every layer is a function over the rows that stand at it; a row carries what comes next until it
reaches TCP or is skipped for a named reason. Bad packets are counted, never raised.
"""

from typing import NamedTuple

import numpy as np

from wiretape.agent.packets import link_layers, network, tunnels, wireless
from wiretape.agent.packets.columns import (
    DONE,
    IP_PROTOCOL,
    LINK,
    TCP,
    Columns,
    PacketBatch,
    Paths,
    Rows,
    Segments,
)
from wiretape.agent.packets.fragments import Defragmenter

MAX_LAYERS = 24

_LAYERS = {**link_layers.LAYERS, **wireless.LAYERS, **network.LAYERS, **tunnels.LAYERS}


class Decoded(NamedTuple):
    segments: Segments
    skipped: dict[str, int]
    bad_checksums: int
    """IPv4 headers with a wrong one, those around tunnels included."""


class Decoder:
    """Decodes batches; keeps the IP fragments that wait for others, and which tunnels there are."""

    def __init__(self) -> None:
        self.fragments = Defragmenter()
        self._paths = Paths()

    def decode(self, batch: PacketBatch) -> Decoded:
        """The TCP segments of a batch, and how many packets were skipped by reason."""
        count = len(batch.start)
        if batch.interface is None:
            interface = np.full(count, -1, np.int64)
        else:
            interface = batch.interface.copy()
        columns = Columns(
            buffer=batch.buffer,
            at=batch.start.copy(),
            end=batch.start + batch.captured,
            wire_end=batch.start + np.maximum(batch.wire, batch.captured),
            next=batch.layer.copy(),
            at_ns=batch.at_ns,
            vlans=np.zeros(count, np.uint64) if batch.vlans is None else batch.vlans,
            tunnels=np.zeros(count, np.uint64),
            interface=interface,
            identity=np.zeros(count, np.uint64),
            addresses=[np.zeros(count, np.uint64) for _ in range(4)],
            fragments=self.fragments,
            paths=self._paths,
        )
        columns.view()
        active = np.arange(count)
        for _ in range(MAX_LAYERS):
            kinds = columns.next[active]
            going = (kinds < DONE) & (kinds != TCP)
            active, kinds = active[going], kinds[going]
            if not len(active):
                break
            if (kinds == kinds[0]).all():
                _peel(columns, int(kinds[0]), active)
            else:
                for kind in np.unique(kinds).tolist():
                    _peel(columns, kind, active[kinds == kind])
            columns.settle()
        else:
            columns.skip(np.flatnonzero((columns.next < DONE) & (columns.next != TCP)), "nested")
        return Decoded(_segments(columns, batch), columns.skipped, columns.bad_checksums)


def _peel(columns: Columns, kind: int, rows: Rows) -> None:
    peel = _LAYERS.get(kind)
    if peel is not None:
        peel(columns, rows)
    elif kind >= LINK:
        columns.skip(rows, f"link_type_{kind - LINK}")
    else:
        columns.skip(rows, "not_tcp" if kind >= IP_PROTOCOL else "not_ip")


def _segments(columns: Columns, batch: PacketBatch) -> Segments:
    """RFC 9293 §3.1."""
    rows = columns.holding(np.flatnonzero(columns.next == TCP), 20)
    at = columns.at[rows]
    # Three gathers hold the whole header; each costs as much as all that is done with one.
    left = columns.u64[at].astype(np.uint64)
    middle = columns.u64[at + 8].astype(np.uint64)
    header = (middle >> np.uint64(28) & np.uint64(15)).astype(np.int64) * 4
    wire_end = columns.wire_end[rows]
    good = (header >= 20) & (at + header <= wire_end)
    if not good.all():
        columns.skip(rows[~good], "malformed_tcp")
        rows, header, at, wire_end = rows[good], header[good], at[good], wire_end[good]
        left, middle = left[good], middle[good]
    right = columns.u32[at + 16].astype(np.uint64)
    sent_from = at + header
    end = columns.end[rows]
    # Where nearly all have them, the values of the timestamps option (RFC 7323 §3.2).
    options = np.zeros(len(rows), np.uint64)
    with_options = np.flatnonzero((header >= 32) & (end >= at + 32))
    options[with_options] = columns.u64[at[with_options] + 24]
    start = np.minimum(sent_from, end)
    length = end - start
    return Segments(
        buffer=columns.buffer,
        packet=rows + np.int64(batch.first),
        at_ns=batch.at_ns[rows],
        clock_ns=(batch.at_ns if batch.clock_ns is None else batch.clock_ns)[rows],
        source_high=columns.addresses[0][rows],
        source_low=columns.addresses[1][rows],
        target_high=columns.addresses[2][rows],
        target_low=columns.addresses[3][rows],
        source_port=(left >> np.uint64(48)).astype(np.int64),
        target_port=(left >> np.uint64(32) & np.uint64(0xFFFF)).astype(np.int64),
        vlans=columns.vlans[rows],
        tunnels=columns.tunnels[rows],
        seq=left.astype(np.uint32),
        ack=(middle >> np.uint64(32)).astype(np.uint32),
        flags=(middle >> np.uint64(16)).astype(np.uint8),
        start=start,
        length=length,
        missing=wire_end - sent_from - length,
        interface=columns.interface[rows],
        same=(left, middle, right << np.uint64(32) | columns.identity[rows], options),
        paths=columns.paths.paths,
    )
