"""Plaintext of sockets with who passed it, from programs in the kernel (bcc)."""

from wiretape.agent.sources.ebpf.events import (
    RECEIVED,
    SENT,
    EventBatch,
    HoleReason,
    Kind,
    Notice,
)
from wiretape.agent.sources.ebpf.loader import EbpfError, EbpfPermissionError
from wiretape.agent.sources.ebpf.selection import Selection
from wiretape.agent.sources.ebpf.source import EbpfSource, Losses, SocketConnection

__all__ = [
    "RECEIVED",
    "SENT",
    "EbpfError",
    "EbpfPermissionError",
    "EbpfSource",
    "EventBatch",
    "HoleReason",
    "Kind",
    "Losses",
    "Notice",
    "Selection",
    "SocketConnection",
]
