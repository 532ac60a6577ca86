"""The build's upstream calls: which recorded one is meant, what it is answered, what went wrong."""

from wiretape.replayer.mocks.answers import Answer, Answers
from wiretape.replayer.mocks.calls import Call, Calls
from wiretape.replayer.mocks.findings import MadeCall, Miss, MovedCall, UpstreamFinding
from wiretape.replayer.mocks.mocks import Mocks
from wiretape.replayer.mocks.names import call_text, closes, normal_name, upstream_names

__all__ = [
    "Answer",
    "Answers",
    "Call",
    "Calls",
    "MadeCall",
    "Miss",
    "Mocks",
    "MovedCall",
    "UpstreamFinding",
    "call_text",
    "closes",
    "normal_name",
    "upstream_names",
]
