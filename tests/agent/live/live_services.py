"""Three servers in one part of a network: nginx, one on Python's http.server, one on Node."""

import gzip
import json
import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from live_network import HERE, Network, stop, wait_for_line

NGINX, PYTHON, NODE = 8080, 8081, 8082
PYTHON_SERVER, NODE_SERVER = HERE / "live_server.py", HERE / "live_server.js"

_NGINX = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
    access_log off;
    default_type application/octet-stream;
    types {{ application/json json; text/plain txt; }}
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 64m;
    keepalive_requests 1000000;
    server {{
        listen {port};
        listen [::]:{port};
        root {folder}/www;
        location /zipped/ {{ gzip on; gzip_types application/json; alias {folder}/www/; }}
        location /item/ {{ default_type text/plain; return 200 "you asked for $request_uri\\n"; }}
        location /through/ {{ proxy_pass http://127.0.0.1:{upstream}/; proxy_http_version 1.1; }}
    }}
}}
"""


class Served:
    """The files that nginx serves, by path."""

    def __init__(self, folder: Path) -> None:
        chance = random.Random(7)
        rows = [{"number": n, "text": chance.randbytes(8).hex()} for n in range(400)]
        self.files = {
            "/small.json": json.dumps({"small": True}).encode(),
            "/rows.json": json.dumps(rows).encode(),
            "/big.bin": chance.randbytes(1 << 20),
        }
        folder.mkdir(parents=True)
        for path, content in self.files.items():
            (folder / path[1:]).write_bytes(content)

    def expected(self, target: str) -> bytes | None:
        """What the content of the answer to a request for `target` is, unpacked, where that is
        known; None where it is not."""
        if target.startswith(("/item/", "/plain/", "/through/item/")):
            return f"you asked for {target.removeprefix('/through')}\n".encode()
        return self.files.get(target.removeprefix("/zipped"))


def unpacked(content: bytes) -> bytes:
    """Without gzip, where it begins as gzip does."""
    return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content


@contextmanager
def services(network: Network, part: str, folder: Path) -> Iterator[Served]:
    """All three, ready to be asked."""
    served = Served(folder / "nginx" / "www")
    config = folder / "nginx" / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder / "nginx", port=NGINX, upstream=PYTHON))
    running = [network.start_script(part, PYTHON_SERVER, str(PYTHON))]
    node = network.start(part, "node", NODE_SERVER, str(NODE), stdout=subprocess.PIPE)
    running.append(node)
    errors = (folder / "nginx" / "stderr").open("w")
    running.append(network.start(part, "nginx", "-p", folder, "-c", config, stderr=errors))
    try:
        wait_for_line(node, node.stdout, "ready")
        _wait_for_port(network, part, NGINX)
        yield served
    finally:
        for process in running:
            stop(process)
        errors.close()


def _wait_for_port(network: Network, part: str, port: int) -> None:
    wait = ("--retry", "50", "--retry-delay", "0", "--retry-connrefused", "--retry-max-time", "10")
    process = network.start(
        part, "curl", "-s", *wait, "-o", "/dev/null", f"http://127.0.0.1:{port}/small.json"
    )
    assert process.wait(20) == 0, "nginx does not answer"
