"""What upstreams, their calls and their answers are called, and when a connection ends."""

from __future__ import annotations

from wiretape.exchange.content import field_value
from wiretape.exchange.v1.exchange_pb2 import Content, Exchange, HttpRequest, HttpResponse
from wiretape.replayer.sessions import server_of, spell


def upstream_names(exchange: Exchange) -> tuple[str, ...]:
    """`host:port` in lower case: what the build called it first, then its address."""
    address = spell(server_of(exchange))
    request = exchange.http.request
    authority = normal_name(request.authority.decode("latin-1"), request.scheme)
    return (authority, address) if authority and authority != address else (address,)


def normal_name(text: str, scheme: str = "http") -> str:
    """`host:port` in lower case, the scheme's port added; "" for no name."""
    name = text.lower()
    if not name:
        return ""
    has_port = ":" in name.rpartition("]")[2]
    return name if has_port else f"{name}:{443 if scheme == 'https' else 80}"


def call_text(request: HttpRequest) -> str:
    """`METHOD target`, for people."""
    return f"{request.method} {request.target.decode('latin-1')}"


def closes(message: HttpRequest | HttpResponse) -> bool:
    """Whether the connection ends after this message (RFC 9112 §9.3, §9.6)."""
    if message.content.framing == Content.CLOSE or not message.content.complete:
        return True
    options = field_value(message.fields, b"connection").lower()
    named = [option.strip() for option in options.split(b",")] if options else []
    return b"close" in named or (message.version < "1.1" and b"keep-alive" not in named)
