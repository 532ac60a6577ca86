"""A small HTTP/1.1 server of JSON, and the changes that every service here knows.

python SERVICE.py --port 8080 [--change NAME[+NAME]...]
"""

import argparse
import json
import os
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

UPSTREAM_URL = os.environ.get("UPSTREAM_URL", "")


def options() -> argparse.Namespace:
    """port, and `change`: the set of names that were given."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--change", type=lambda names: frozenset(names.split("+")), default=())
    return parser.parse_args()


class Request(NamedTuple):
    method: str
    path: tuple[str, ...]
    query: dict[str, str]
    fields: Mapping[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)


class Answer(NamedTuple):
    """A status, a JSON value or bytes, and fields."""

    status: int
    value: Any = None
    fields: Mapping[str, str] = {}


Handle = Callable[[Request], Answer]


def backwards(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: backwards(value[name]) for name in reversed(value)}
    return [backwards(element) for element in value] if isinstance(value, list) else value


def spelled(value: Any, change: frozenset[str]) -> bytes:
    """JSON as this build writes it; bytes are left alone."""
    if value is None or isinstance(value, bytes):
        return value or b""
    if "json-order" in change:
        value = backwards(value)
    return json.dumps(value, indent=None if "json-compact" in change else 1).encode()


def serve(handle: Handle, port: int, change: frozenset[str]) -> None:
    """Serve until ended."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1
        disable_nagle_algorithm = True

        def log_message(self, *what: object) -> None:
            pass

        def send_header(self, name: str, value: str) -> None:
            super().send_header(name.lower() if "field-case" in change else name, value)

        def _answer(self) -> None:
            url = urlsplit(self.path)
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = tuple(url.path.strip("/").split("/"))
            query = dict(parse_qsl(url.query))
            answer = handle(Request(self.command, path, query, self.headers, content))
            content = spelled(answer.value, change)
            self.send_response(answer.status)
            named = {"Content-Type": "application/json"} if content else {}
            for name, value in (named | dict(answer.fields)).items():
                self.send_header(name, value)
            if "closes" in change:
                self.send_header("Connection", "close")
            chunked = "chunked" in change and content
            if chunked:
                self.send_header("Transfer-Encoding", "chunked")
                content = b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content)
            elif answer.status not in (204, 304):
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815

    ThreadingHTTPServer.request_queue_size = 64
    ThreadingHTTPServer.daemon_threads = True
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
