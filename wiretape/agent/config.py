"""What one run of `capture-agent` was asked to do."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from wiretape.exchange.endpoints import ServiceEndpoint

DEFAULT_MAX_CONTENT = 64 << 20
DEFAULT_MAX_MEMORY = 256 << 20


@dataclass(frozen=True)
class ImportConfig:
    captures: tuple[str, ...]
    output: str
    """Path of the recording; one that ends in "/" makes a directory."""
    force: bool = False
    services: tuple[ServiceEndpoint, ...] = ()
    max_content_bytes: int = DEFAULT_MAX_CONTENT
    summary_json: Path | None = None
    jobs: int = 1
    """How many processes read."""
    batch_bytes: int = 16 << 20
    """How much of a capture is read at once."""
    fast: bool = True
    """Off, every segment takes the slow lane: for tests and for doubts."""


@dataclass(frozen=True)
class RunConfig:
    """What `capture-agent run` was asked to do."""

    output: str
    """Path of the recording; one that ends in "/" makes, or goes on with, a directory."""
    force: bool = False
    source: str = "packets"
    """Or "ebpf"."""
    interfaces: tuple[str, ...] = ()
    """None: all."""
    pids: tuple[int, ...] = ()
    """And what descends from them. These three are for eBPF."""
    commands: tuple[str, ...] = ()
    cgroups: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    hosts: tuple[IPv4Address | IPv6Address, ...] = ()
    expression: str | None = None
    """In tcpdump's language."""
    netns: str | None = None
    services: tuple[ServiceEndpoint, ...] = ()
    duration_ns: int | None = None
    rotate_bytes: int | None = None
    rotate_ns: int | None = None
    max_disk_bytes: int | None = None
    max_memory_bytes: int = DEFAULT_MAX_MEMORY
    max_content_bytes: int = DEFAULT_MAX_CONTENT
    sampled: float = 1.0
    """The part of all connections that is wanted."""
    user: str | None = None
    """Whom to become once the sockets are open; None: who called sudo."""
    metrics: Path | None = None
    summary_json: Path | None = None
