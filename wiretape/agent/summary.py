"""The ledger as people read it."""

from wiretape.agent.ledger import Ledger


def summary_text(ledger: Ledger) -> str:
    """A few aligned lines; only reasons that occurred are named."""
    rows = [
        (
            "packets",
            f"{ledger.packets:,} = {ledger.packets_decoded:,} decoded",
            ledger.packets_skipped,
        ),
        (
            "payload bytes",
            f"{ledger.payload_bytes:,} = {ledger.delivered_bytes:,} delivered",
            {
                "retransmitted": ledger.retransmitted_bytes,
                "overlapping": ledger.overlapping_bytes,
                "beyond limits": ledger.beyond_limits_bytes,
            },
        ),
        (
            "stream bytes",
            f"{ledger.delivered_bytes + ledger.gap_bytes:,} = {ledger.message_bytes:,} in messages",
            {
                "undecoded": ledger.undecoded_bytes,
                "lost between messages": ledger.gap_bytes_outside_messages,
            },
        ),
        ("connections", f"{ledger.connections:,}", {}),
        (
            "exchanges",
            f"{ledger.exchanges:,} = {ledger.complete:,} complete",
            {"request only": ledger.request_only, "response only": ledger.response_only},
        ),
    ]
    lines = [
        f"{name:>14}  " + " + ".join([text, *(f"{n:,} {what}" for what, n in parts.items() if n)])
        for name, text, parts in rows
    ]
    notes = []
    if ledger.kernel_drops:
        notes.append(
            f"packets that the kernel dropped: {ledger.kernel_drops:,}, while "
            f"{ledger.connections_during_drops:,} connections were open"
        )
    if ledger.connections_shed:
        notes.append(
            f"connections let go of, whole, having too much to do: {ledger.connections_shed:,}"
        )
    if ledger.gap_bytes:
        notes.append(f"bytes never captured: {ledger.gap_bytes:,}")
    if ledger.conflicting_bytes:
        notes.append(f"bytes sent again with other values: {ledger.conflicting_bytes:,}")
    if ledger.evictions:
        notes.append(
            f"too much was open at once: {ledger.evictions:,} contents or connections were cut, "
            f"{ledger.evicted_bytes:,} bytes"
        )
    if ledger.with_gaps:
        notes.append(f"exchanges with gaps: {ledger.with_gaps:,}")
    if ledger.violations:
        notes.append(f"violations of the protocol: {ledger.violations:,}")
    if ledger.duplicate_packets:
        notes.append(f"packets that were captured twice: {ledger.duplicate_packets:,}")
    if ledger.incomplete_datagrams:
        notes.append(f"IP datagrams that lack fragments: {ledger.incomplete_datagrams:,}")
    if ledger.bad_checksums:
        notes.append(f"wrong checksums of IPv4 headers, accepted: {ledger.bad_checksums:,}")
    if ledger.undecoded_streams:
        reasons = ", ".join(f"{n:,} {why}" for why, n in sorted(ledger.undecoded_streams.items()))
        notes.append(f"streams with undecoded bytes: {reasons}")
    notes += [f"the sum does not hold: {fault}" for fault in ledger.faults()]
    if notes:
        lines.append(f"{'note':>14}  " + "; ".join(notes))
    return "\n".join(lines) + "\n"
