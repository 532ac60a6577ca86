"""Prints exchanges: a table for the eye, JSON lines, HAR 1.2, or the messages themselves."""

import base64
import json
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import chain
from typing import TextIO

from google.protobuf.json_format import MessageToJson

import wiretape
from wiretape.exchange.content import ContentError, decode_content, field_value
from wiretape.exchange.endpoints import endpoint_text
from wiretape.exchange.http1.writer import request_head, response_head
from wiretape.exchange.v1 import exchange_pb2 as pb

_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_MAX_SHOWN = 64 << 10
_MAX_DECODED = 64 << 20
"""A content that decodes to more is shown as it was sent, with a note."""


def write_exchanges(
    exchanges: Iterable[pb.Exchange], form: str, ident: str | None, out: TextIO
) -> int:
    """Writes those whose identifier begins with `ident` (all where None); returns how many."""
    chosen = (e for e in exchanges if ident is None or e.id.startswith(ident))
    return _WRITERS[form](chosen, out)


def _write_jsonl(exchanges: Iterator[pb.Exchange], out: TextIO) -> int:
    count = 0
    for count, exchange in enumerate(exchanges, 1):
        out.write(MessageToJson(exchange, preserving_proto_field_name=True, indent=None) + "\n")
    return count


def _write_table(exchanges: Iterator[pb.Exchange], out: TextIO) -> int:
    count = 0
    row = "{:<37} {:<24} {:>6} {:<7} {:>9} {:>9}  {}\n"
    for count, exchange in enumerate(exchanges, 1):
        if count == 1:
            out.write(row.format("id", "time (UTC)", "status", "method", "ms", "bytes", "target"))
        http = exchange.http
        request, response = http.request, http.response
        answered = http.HasField("response")
        first_at_ns = request.first_byte_at_ns or response.first_byte_at_ns
        took = ""
        if answered and http.HasField("request"):
            took = f"{(response.last_byte_at_ns - request.first_byte_at_ns) / 1e6:.1f}"
        server = exchange.connection.server
        authority = _text(request.authority) or endpoint_text(server.address, server.port)
        target = _text(request.target) if http.HasField("request") else "(request not seen)"
        out.write(
            row.format(
                exchange.id,
                _time(first_at_ns)[:23],
                (response.status or "?") if answered else "-",
                request.method or "-",
                took,
                response.content.length if answered else "",
                (target if _names_authority(request) else authority + target) + _flags(http),
            )
        )
    return count


def _names_authority(request: pb.HttpRequest) -> bool:
    """The target is in absolute-form or authority-form (RFC 9112 §3.2)."""
    return request.method == "CONNECT" or b"://" in request.target[:10]


def _flags(http: pb.HttpExchange) -> str:
    flags = []
    if http.request.content.gaps or http.response.content.gaps:
        flags.append("gaps")
    flags += sorted({violation.code for violation in http.violations})
    return f"  [{', '.join(flags)}]" if flags else ""


def _write_http(exchanges: Iterator[pb.Exchange], out: TextIO) -> int:
    count = 0
    for count, exchange in enumerate(exchanges, 1):
        http, connection = exchange.http, exchange.connection
        client = endpoint_text(connection.client.address, connection.client.port)
        server = endpoint_text(connection.server.address, connection.server.port)
        out.write(f"=== {exchange.id}  {client} > {server}\n")
        for violation in http.violations:
            out.write(f"!!! {violation.code} ({violation.source}) {violation.detail}".rstrip())
            out.write("\n")
        if http.HasField("request"):
            request = http.request
            out.write(f">>> {_time(request.first_byte_at_ns)}\n")
            _write_message(request_head(request), request, out)
        else:
            out.write(">>> the request was not seen\n\n")
        answers = [http.response] if http.HasField("response") else []
        for response in chain(http.interim, answers):
            out.write(f"<<< {_time(response.first_byte_at_ns)}\n")
            _write_message(response_head(response), response, out)
        if not answers:
            out.write("<<< no response was seen\n\n")
    return count


def _write_message(head: bytes, message: pb.HttpRequest | pb.HttpResponse, out: TextIO) -> None:
    out.write(_printable(head.decode("latin-1").replace("\r\n", "\n")))
    content = message.content
    if content.data:
        data, note = _decoded(message)
        text = _as_text(data)
        if text is None:
            out.write(f"({len(data):,} bytes that are no text{note})")
        else:
            out.write(_printable(text[:_MAX_SHOWN]))
            if len(text) > _MAX_SHOWN:
                out.write(f"\n({len(text) - _MAX_SHOWN:,} more characters)")
            if note:
                out.write(f"\n({note[2:]})")
        out.write("\n")
    for gap in content.gaps:
        reason = pb.Gap.Reason.Name(gap.reason)
        out.write(f"({gap.length:,} bytes missing at offset {gap.offset:,}: {reason})\n")
    for trailer in message.trailers:
        out.write(_printable(f"{_text(trailer.name)}: {_text(trailer.value)}") + "\n")
    out.write("\n")


def _decoded(message: pb.HttpRequest | pb.HttpResponse) -> tuple[bytes, str]:
    """Content with its codings undone, and a note where that could not be."""
    codings = field_value(message.fields, b"content-encoding")
    try:
        return decode_content(message.content.data, codings, _MAX_DECODED), ""
    except ContentError as error:
        return message.content.data, f", {_printable(str(error))}"


def _as_text(data: bytes) -> str | None:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return None if "\x00" in text else text


def _printable(text: str) -> str:
    """Control characters escaped: recorded bytes must not drive the reader's terminal."""
    return _UNPRINTABLE.sub(lambda match: f"\\x{ord(match[0]):02x}", text.replace("\r\n", "\n"))


def _text(value: bytes) -> str:
    return _printable(value.decode("utf-8", "backslashreplace"))


def _time(at_ns: int) -> str:
    seconds, rest = divmod(at_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def _write_har(exchanges: Iterator[pb.Exchange], out: TextIO) -> int:
    """HAR 1.2. An exchange without a request has no place in it and is left out."""
    out.write('{"log": {"version": "1.2", "creator": ')
    out.write(json.dumps({"name": "wiretape", "version": wiretape.__version__}))
    out.write(', "entries": [')
    count = 0
    for exchange in exchanges:
        if exchange.http.HasField("request"):
            out.write(",\n" if count else "\n")
            out.write(json.dumps(_har_entry(exchange)))
            count += 1
    out.write("\n]}}\n")
    return count


def _har_entry(exchange: pb.Exchange) -> dict[str, object]:
    http = exchange.http
    request, response = http.request, http.response
    wait = max(response.first_byte_at_ns - request.last_byte_at_ns, 0) / 1e6
    send = (request.last_byte_at_ns - request.first_byte_at_ns) / 1e6
    receive = (response.last_byte_at_ns - response.first_byte_at_ns) / 1e6
    if not http.HasField("response"):
        wait = receive = 0.0
    return {
        "_id": exchange.id,
        "startedDateTime": _time(request.first_byte_at_ns),
        "time": send + wait + receive,
        "request": _har_request(request),
        "response": _har_response(response),
        "cache": {},
        "timings": {"send": send, "wait": wait, "receive": receive},
        "serverIPAddress": exchange.connection.server.address,
        "connection": exchange.connection.id,
    }


def _har_request(request: pb.HttpRequest) -> dict[str, object]:
    target = _text(request.target)
    url = (
        target
        if _names_authority(request)
        else f"{request.scheme}://{_text(request.authority)}{target}"
    )
    entry: dict[str, object] = {
        "method": request.method,
        "url": url,
        "httpVersion": f"HTTP/{request.version}",
        "cookies": [],
        "headers": _har_fields(request.fields),
        "queryString": [
            {"name": name, "value": value}
            for name, _, value in (
                pair.partition("=") for pair in target.partition("?")[2].split("&") if pair
            )
        ],
        "headersSize": len(request_head(request)),
        "bodySize": request.content.length,
    }
    if request.content.data:
        kind = _text(field_value(request.fields, b"content-type"))
        entry["postData"] = {"mimeType": kind} | _har_text(request.content.data)
    return entry


def _har_response(response: pb.HttpResponse) -> dict[str, object]:
    data, note = _decoded(response)
    return {
        "status": response.status,
        "statusText": _text(response.reason),
        "httpVersion": f"HTTP/{response.version}",
        "cookies": [],
        "headers": _har_fields(response.fields),
        "content": {
            "size": len(data),
            "mimeType": _text(field_value(response.fields, b"content-type")),
        }
        | (_har_text(data) if data else {})
        | ({"comment": note[2:]} if note else {}),
        "redirectURL": _text(field_value(response.fields, b"location")),
        "headersSize": len(response_head(response)),
        "bodySize": response.content.length,
    }


def _har_text(data: bytes) -> dict[str, str]:
    try:
        return {"text": data.decode()}
    except UnicodeDecodeError:
        return {"text": base64.b64encode(data).decode(), "encoding": "base64"}


def _har_fields(fields: Iterable[pb.Field]) -> list[dict[str, str]]:
    return [{"name": _text(field.name), "value": _text(field.value)} for field in fields]


_WRITERS = {
    "table": _write_table,
    "jsonl": _write_jsonl,
    "har": _write_har,
    "http": _write_http,
}
