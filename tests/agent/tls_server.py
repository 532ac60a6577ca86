"""An HTTPS server that notes what it was asked, in lines of JSON: `tls_server.py KIND FOLDER`.

`GET` or `POST /MARK?SIZE` is answered with so many bytes of the mark. FOLDER has cert.pem and
key.pem; the port is written to standard output, and the notes to KIND.log.
"""

import asyncio
import hashlib
import http.server
import json
import ssl
import sys
from pathlib import Path


def answer(target: str) -> bytes:
    """The body of an answer."""
    mark, _, size = target[1:].partition("?")
    return (mark.encode() * (int(size) // len(mark) + 1))[: int(size)]


def noted(port: int, method: str, target: str, body: bytes) -> str:
    entry = {
        "port": port,
        "method": method,
        "target": target,
        "length": len(body),
        "digest": hashlib.sha256(body).hexdigest(),
    }
    return json.dumps(entry) + "\n"


def main() -> None:
    kind, folder = sys.argv[1], Path(sys.argv[2])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    context.set_alpn_protocols(["http/1.1"])
    if kind.endswith("-1.2"):
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    with (folder / f"{kind}.log").open("w", buffering=1) as log:
        serve = {"threaded": threaded, "asyncio": evented}[kind.removesuffix("-1.2")]
        serve(context, log.write)


def threaded(context: ssl.SSLContext, note) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            note(noted(self.client_address[1], self.command, self.path, body))
            content = answer(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *unused: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    print(server.server_address[1], flush=True)
    server.serve_forever()


def evented(context: ssl.SSLContext, note) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = writer.get_extra_info("peername")[1]
        while head := await reader.readuntil(b"\r\n\r\n"):
            first, *lines = head.decode().split("\r\n")
            fields = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines)}
            method, target, _ = first.split()
            body = await reader.readexactly(int(fields.get("content-length", 0)))
            note(noted(port, method, target, body))
            content = answer(target)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content))
            writer.write(content)
            await writer.drain()
            if fields.get("connection") == "close":
                break
        writer.close()

    async def ignoring(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (asyncio.IncompleteReadError, OSError):
            writer.close()

    async def run() -> None:
        server = await asyncio.start_server(ignoring, "127.0.0.1", 0, ssl=context, limit=1 << 20)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()

    asyncio.run(run())


if __name__ == "__main__":
    main()
