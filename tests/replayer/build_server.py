"""A build to be judged: a small HTTP service with state, an upstream, and faults to switch on."""

import argparse
import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import time
import uuid
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

ORDERS: dict[str, dict[str, object]] = {}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--fault", default="")
    parser.add_argument("--certificate", type=Path, help="answer by https; it holds the key too")
    parser.add_argument("--child", type=Path, help="start a child that ignores SIGTERM; its pid")
    return parser.parse_args()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fault = ""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/hello":
            self.hello()
        elif path.startswith("/orders/"):
            order = ORDERS.get(path.rpartition("/")[2])
            self.answer(200, order) if order else self.answer(404, {"error": "no such order"})
        elif path.startswith("/price/"):
            self.price(path.rpartition("/")[2])
        elif path == "/fields":
            raw = [[name, value] for name, value in self.headers.raw_items()]
            self.answer(200, {"line": self.requestline, "fields": raw})
        elif path == "/me":
            host, port = self.server.server_address[:2]
            port += self.fault == "other-port"
            self.answer(200, {"self": f"http://{host}:{port}/me", "here": f"localhost:{port}"})
        elif path == "/crash":
            print("out of luck", flush=True)
            os._exit(7)
        elif path == "/drop":
            self.close_connection = True
        elif path == "/slow":
            time.sleep(3600)
        else:
            self.answer(404, {"error": "nothing here"})

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        order = {"id": str(uuid.uuid4()), "total": asked["count"] * 10}
        order["created_at"] = datetime.now(UTC).isoformat(timespec="milliseconds")
        if self.fault == "time-zone":
            order["created_at"] = (
                order["created_at"].replace("T", "T", 1)[:11] + "00:00:00.000+00:00"
            )
        if self.fault == "total":
            order["total"] += 1
        ORDERS[order["id"]] = order
        if self.fault == "other-id":
            ORDERS[order["id"]] = {**order, "id": str(uuid.uuid4())}
        self.answer(201, order, {"Location": f"/orders/{order['id']}"})

    def hello(self) -> None:
        if self.fault == "chunked":
            self.send_response_only(200)
            self.send_header("content-TYPE", "application/json")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for piece in (b'{ "n": 1,', b' "hello": "world" }'):
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")
        elif self.fault == "hello":
            self.answer(200, {"hello": "moon", "n": 1})
        else:
            self.answer(200, {"hello": "world", "n": 1})

    def price(self, sku: str) -> None:
        if self.fault == "no-call":
            self.answer(200, {"price": 5})
            return
        currency = "usd" if self.fault == "changed-call" else "eur"
        value = self.ask(f"/prices/{sku}", {"currency": currency})
        if self.fault == "extra-call":
            self.ask(f"/prices/{sku}", {"currency": "eur"})
        if value is None:
            self.answer(502, {"error": "upstream"})
        else:
            self.answer(200, {"price": value["price"]})

    def ask(self, path: str, content: object) -> dict[str, int] | None:
        parts = urlsplit(os.environ["UPSTREAM_URL"])
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
        try:
            body = json.dumps({"currency": content["currency"], "trace": str(uuid.uuid4())})
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            value = json.loads(response.read())
            return value if response.status == 200 else None
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def answer(self, status: int, value: object, fields: dict[str, str] | None = None) -> None:
        content = json.dumps(value).encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/json")
        for name, text in (fields or {}).items():
            self.send_header(name, text)
        too_long = self.command == "HEAD" and self.fault == "head-length"
        self.send_header("Content-Length", str(len(content) + too_long))
        self.end_headers()
        if self.command != "HEAD" or self.fault == "head-content":
            self.wfile.write(content + b"more" * (self.fault == "surplus"))
        if self.fault == "closes-silently":
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    options = arguments()
    if options.child:
        ignore = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(3600)"
        child = subprocess.Popen(
            [sys.executable, "-c", ignore, options.child], start_new_session=True
        )
        options.child.write_text(str(child.pid))
    if options.fault == "exit":
        print("cannot read the configuration", file=sys.stderr)
        sys.exit(3)
    if options.fault == "never":
        time.sleep(3600)
    Handler.fault = options.fault
    if options.fault == "http-1.0":
        Handler.protocol_version = "HTTP/1.0"
    ThreadingHTTPServer.daemon_threads = True
    if ":" in options.host:
        ThreadingHTTPServer.address_family = socket.AF_INET6
    server = ThreadingHTTPServer((options.host, options.port), Handler)
    if options.certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
