"""A server on Python's http.server, over IPv4 and IPv6, until it is ended.

python live_server.py PORT
"""

import socket
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CHUNKS = [b"some ", b"x" * 5000, b"\xff\x00 and the last"]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 15
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if path == "/chunked":
            self._chunked(0)
        elif path == "/drip":
            self._chunked(0.05, rounds=200)
        elif path == "/close":
            self.send_response(200)
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(b"until the end of the connection\n" * 3000)
        elif path == "/nothing":
            self.send_response(204)
            self.end_headers()
        elif path == "/same":
            self.send_response(304)
            self.send_header("ETag", '"same"')
            self.end_headers()
        else:
            self._answer(200, f"you asked for {self.path}\n".encode())

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "123456")
        self.end_headers()

    def do_POST(self) -> None:
        self._answer(201, self.rfile.read(int(self.headers["Content-Length"])))

    def do_PUT(self) -> None:
        size = len(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(200, f"{size} bytes\n".encode())

    def _answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _chunked(self, pause_s: float, rounds: int = 1) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for chunk in CHUNKS * rounds:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            time.sleep(pause_s)
        self.wfile.write(b"0\r\n\r\n")

    def handle(self) -> None:
        with suppress(OSError):  # the client went away, which some of them do on purpose
            super().handle()

    def log_message(self, *unused: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6
    request_queue_size = 128
    daemon_threads = True


def main() -> None:
    with Server(("::", int(sys.argv[1])), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print("ready", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
