"""A service that asks another one for all it is asked: `calling_service.py MODE UPSTREAM_PORT`.

MODE is `threads` (each connection has one) or `loop` (one for all). GET /NAME makes it ask the
upstream for /NAME-0, /NAME-1 and /NAME-2, one after the other. It prints its port.
"""

import asyncio
import sys
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CALLS = 3


def serve_with_threads(upstream: int) -> None:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            connection = HTTPConnection("127.0.0.1", upstream)
            for number in range(CALLS):
                connection.request("GET", f"{self.path}-{number}")
                connection.getresponse().read()
            connection.close()
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *unused: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


async def serve_with_a_loop(upstream: int) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            for number in range(CALLS):
                asked, asks = await asyncio.open_connection("127.0.0.1", upstream)
                target = head.split()[1] + b"-%d" % number
                asks.write(b"GET %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % target)
                await asked.read()
                asks.close()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        except asyncio.IncompleteReadError:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1] == "threads":
        serve_with_threads(int(sys.argv[2]))
    else:
        asyncio.run(serve_with_a_loop(int(sys.argv[2])))
