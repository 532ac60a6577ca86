"""What one run of `capture-agent` was asked to do."""

from dataclasses import dataclass
from pathlib import Path

from wiretape.exchange.endpoints import ServiceEndpoint

DEFAULT_MAX_CONTENT = 64 << 20


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
