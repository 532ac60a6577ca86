"""The small HTTP/1.1 server that the shop, the inventory and the payments share.

A service is a list of `Route`s over its own state. Everything a response holds is decided by the
routes: nothing here depends on the version of Python, so that a recording made on one machine can
be judged on another.
"""

import argparse
import json
import sys
import threading
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

JSON = "application/json"


def now() -> str:
    """The present as ISO 8601 in UTC with milliseconds, such as 2030-01-02T03:04:05.678Z."""
    return iso(datetime.now(UTC))


def iso(moment: datetime) -> str:
    """`moment`, which is in UTC, as ISO 8601 with milliseconds and the zone "Z"."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class HttpError(Exception):
    """Answered as JSON: {"error": {"code": …, "message": …}}."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True)
class Request:
    """One request, its content read whole; `params` are the named parts of the route's path."""

    method: str
    path: str
    query: dict[str, str]
    fields: dict[str, str]
    content: bytes
    params: dict[str, str] = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        """The content as a JSON object; HttpError 400 where it is none."""
        try:
            value = json.loads(self.content)
        except ValueError as error:
            raise HttpError(400, "bad_json", "the content is not JSON") from error
        if not isinstance(value, dict):
            raise HttpError(400, "bad_json", "the content is not a JSON object")
        return value


@dataclass(frozen=True)
class Response:
    """What a route answers: whole `content`, or `chunks` sent one by one as they are made."""

    status: int
    content: bytes = b""
    fields: tuple[tuple[str, str], ...] = ()
    chunks: Iterable[bytes] | None = None


def spelled(value: object) -> bytes:
    """`value` as indented JSON, ended by a line feed."""
    return json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n"


def json_response(status: int, value: object, *fields: tuple[str, str]) -> Response:
    """`value` as JSON, spelled as everywhere."""
    return Response(status, spelled(value), (("Content-Type", JSON), *fields))


def error_response(error: HttpError) -> Response:
    """The JSON form of an error."""
    return json_response(error.status, {"error": {"code": error.code, "message": str(error)}})


@dataclass(frozen=True)
class Route:
    """A method and a path such as "/orders/{id}/cancel", answered by `handle`."""

    method: str
    path: str
    handle: Callable[[Request], Response]

    def params(self, path: str) -> dict[str, str] | None:
        """The named parts of `path`, or None where it is not this route's."""
        ours, theirs = self.path.split("/"), path.split("/")
        if len(ours) != len(theirs):
            return None
        found = {}
        for part, given in zip(ours, theirs, strict=True):
            if part.startswith("{") and given:
                found[part[1:-1]] = unquote(given)
            elif part != given:
                return None
        return found


class AccessLog:
    """One JSON line for every response begun: peer, method, target and status. None: no log."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()
        if path:
            path.write_bytes(b"")

    def write(self, peer: tuple[str, int], method: str, target: str, status: int) -> None:
        """Append one line; it is in the file when this returns."""
        if self._path is None:
            return
        entry = {"peer": list(peer), "method": method, "target": target, "status": status}
        with self._lock, self._path.open("a") as file:
            file.write(json.dumps(entry) + "\n")


class WebServer(ThreadingTCPServer):
    """A thread for every connection. (HTTPServer would ask DNS for the host's name at start.)"""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, address: tuple[str, int], name: str, routes: list[Route], log: AccessLog
    ) -> None:
        super().__init__(address, Connection)
        self.name = name
        self.routes = routes
        self.log = log

    def answer(self, request: Request) -> Response:
        """The response of the route that fits; HEAD is answered as GET, its content left out."""
        method = "GET" if request.method == "HEAD" else request.method
        allowed = []
        for route in self.routes:
            params = route.params(request.path)
            if params is None:
                continue
            if route.method == method:
                return self._handled(route, request, params)
            allowed.append(route.method)
        if not allowed:
            return error_response(HttpError(404, "not_found", f"no such path: {request.path}"))
        refused = error_response(HttpError(405, "not_allowed", f"{request.method} is not allowed"))
        fields = (*refused.fields, ("Allow", ", ".join(sorted(allowed))))
        return Response(refused.status, refused.content, fields)

    def _handled(self, route: Route, request: Request, params: dict[str, str]) -> Response:
        given = Request(
            request.method, request.path, request.query, request.fields, request.content, params
        )
        try:
            return route.handle(given)
        except HttpError as error:
            return error_response(error)
        except Exception:
            traceback.print_exc()
            return error_response(HttpError(500, "internal", "something went wrong"))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A peer that goes away is no event; anything else is a fault of ours and is shown."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class Connection(BaseHTTPRequestHandler):
    """One keep-alive connection."""

    server: WebServer
    protocol_version = "HTTP/1.1"
    sys_version = ""
    # Buffered, so that head and content leave in as few segments as they fit in.
    wbufsize = -1
    disable_nagle_algorithm = True

    def version_string(self) -> str:
        """The Server field."""
        return f"{self.server.name}/1.0"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing: the access log has it."""

    def _serve(self) -> None:
        if "Transfer-Encoding" in self.headers:
            # Its end would have to be found before another request can be read.
            self.close_connection = True
            refusal = HttpError(411, "length_required", "send the content with a Content-Length")
            self._send(error_response(refusal))
            return
        target = urlsplit(self.path)
        request = Request(
            method=self.command,
            path=target.path,
            query=dict(parse_qsl(target.query)),
            fields={name.lower(): value for name, value in self.headers.items()},
            content=self.rfile.read(int(self.headers.get("Content-Length", "0"))),
        )
        self._send(self.server.answer(request))

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815

    def _send(self, response: Response) -> None:
        peer: tuple[str, int] = self.client_address[:2]
        self.server.log.write(peer, self.command, self.path, response.status)
        self.send_response(response.status)
        for name, value in response.fields:
            self.send_header(name, value)
        if response.chunks is not None:
            self.send_header("Transfer-Encoding", "chunked")
        elif response.status not in (204, 304):
            self.send_header("Content-Length", str(len(response.content)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if response.chunks is None:
            self.wfile.write(response.content)
            return
        for chunk in response.chunks:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")


def arguments(description: str) -> argparse.ArgumentParser:
    """The options that every service has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, required=True, help="port to listen on; 0: any free")
    parser.add_argument("--access-log", type=Path, help="file for one JSON line per request")
    return parser


def serve(name: str, routes: list[Route], options: argparse.Namespace) -> None:
    """Serve until interrupted; says on standard output where, once connections are accepted."""
    try:
        server = WebServer(
            (options.host, options.port), name, routes, AccessLog(options.access_log)
        )
    except OSError as error:
        sys.exit(f"{name}: cannot listen on {options.host}:{options.port}: {error.strerror}")
    with server:
        host, port = server.server_address[:2]
        print(f"{name} listening on http://{host!s}:{port}", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return
