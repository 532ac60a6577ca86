"""HTTP/1.0 and 1.1: grammar, framing, a tolerant reader, a byte-exact writer."""

from wiretape.exchange.http1.message import Message
from wiretape.exchange.http1.parser import MessageParser
from wiretape.exchange.http1.reader import WAIT, Conversation, Reader, Sections, Wait
from wiretape.exchange.http1.requests import RequestReader
from wiretape.exchange.http1.responses import ResponseReader
from wiretape.exchange.http1.writer import write_request, write_response

__all__ = [
    "WAIT",
    "Conversation",
    "Message",
    "MessageParser",
    "Reader",
    "RequestReader",
    "ResponseReader",
    "Sections",
    "Wait",
    "write_request",
    "write_response",
]
