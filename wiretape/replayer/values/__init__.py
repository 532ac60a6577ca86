"""Generated values: what class they are of, and which live value stands for which recorded one."""

from wiretape.replayer.values.evidence import Evidence
from wiretape.replayer.values.instants import Instant, Span, read_instant
from wiretape.replayer.values.judgement import Judgement
from wiretape.replayer.values.own import own_addresses
from wiretape.replayer.values.place import NOWHERE, Place, endpoint_of
from wiretape.replayer.values.renaming import Correlation
from wiretape.replayer.values.timed import Accepted
from wiretape.replayer.values.tokens import shape

__all__ = [
    "NOWHERE",
    "Accepted",
    "Correlation",
    "Evidence",
    "Instant",
    "Judgement",
    "Place",
    "Span",
    "endpoint_of",
    "own_addresses",
    "read_instant",
    "shape",
]
