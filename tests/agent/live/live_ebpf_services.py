"""Servers whose sockets are looked at: nginx with workers, Python's threads, Node, and our own."""

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from live_agent import until
from live_network import HERE, Network, missing, stop, wait_for_line
from live_services import NODE_SERVER, PYTHON_SERVER

from wiretape.agent.sources.ebpf.loader import EbpfError
from wiretape.agent.sources.ebpf.selection import Selection
from wiretape.agent.sources.ebpf.source import EbpfSource

SOCKET_SERVER = HERE / "live_ebpf_server.py"
BIG_BYTES = 10 << 20

_NGINX = """
daemon off;
user root;
worker_processes 2;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
    access_log off;
    default_type application/octet-stream;
    types {{ application/json json; text/plain txt; }}
    sendfile {sendfile};
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 64m;
    keepalive_requests 1000000;
    server {{
        listen {port} reuseport;
        listen [::]:{port} reuseport;
        root {folder}/www;
        location /zipped/ {{ gzip on; gzip_types application/json; alias {folder}/www/; }}
        location /item/ {{ default_type text/plain; return 200 "you asked for $request_uri\\n"; }}
        location /through/ {{ proxy_pass http://127.0.0.1:{upstream}/; proxy_http_version 1.1; }}
    }}
}}
"""


class Service(NamedTuple):
    """A server at work: whose sockets are looked at."""

    process: "subprocess.Popen[str]"
    port: int

    @property
    def pid(self) -> int:
        return self.process.pid


def files(folder: Path) -> dict[str, bytes]:
    """What nginx serves, by path."""
    chance = random.Random(7)
    contents = {
        "/small.json": b'{"small": true}',
        "/big.bin": chance.randbytes(BIG_BYTES),
        "/empty.txt": b"",
        "/rows.json": b"[" + b",".join(b'{"row":%d}' % n for n in range(5000)) + b"]",
    }
    folder.mkdir(parents=True, exist_ok=True)
    for path, content in contents.items():
        (folder / path[1:]).write_bytes(content)
    return contents


@contextmanager
def nginx(
    network: Network, part: str, folder: Path, port: int, sendfile: bool, upstream: int = 9
) -> Iterator[Service]:
    """A master, and two workers that were forked before anybody asked."""
    config = folder / "nginx.conf"
    switch = "on" if sendfile else "off"
    text = _NGINX.format(folder=folder, port=port, sendfile=switch, upstream=upstream)
    config.write_text(text)
    with (folder / "stderr").open("w") as errors:
        process = network.start(part, "nginx", "-p", folder, "-c", config, stderr=errors)
        try:
            until(lambda: len(_children(process.pid)) == 2, "nginx's workers")
            _wait_for_port(network, part, port)
            yield Service(process, port)
        finally:
            stop(process)


@contextmanager
def python_server(network: Network, part: str, folder: Path, port: int) -> Iterator[Service]:
    """A thread for each connection."""
    with _script(network, part, named_command(folder, sys.executable), PYTHON_SERVER, port) as made:
        yield made


@contextmanager
def socket_server(network: Network, part: str, port: int, way: str) -> Iterator[Service]:
    """A way of live_ebpf_server.py."""
    with _script(network, part, sys.executable, SOCKET_SERVER, port, way) as made:
        yield made


@contextmanager
def node_server(network: Network, part: str, port: int) -> Iterator[Service]:
    with _script(network, part, "node", NODE_SERVER, port) as made:
        yield made


def what_lacks(*tools: str) -> str | None:
    """What this host lacks for such tests, in one line; None where nothing."""
    if lacking := missing(*tools):
        return lacking
    try:
        EbpfSource(Selection(pids=(os.getpid(),))).__exit__()
    except EbpfError as error:
        return str(error).splitlines()[0]
    return None


@contextmanager
def _script(network: Network, part: str, *command: str | Path | int) -> Iterator[Service]:
    words = [str(word) for word in command]
    pipe = subprocess.PIPE
    process = network.start(part, *words, stdin=pipe, stdout=pipe, stderr=pipe)
    wait_for_line(process, process.stdout, "ready")
    try:
        yield Service(process, int(words[2]))
    finally:
        stop(process)


def named_command(folder: Path, command: str) -> Path:
    """The command under a name that no other process of this host has."""
    name = folder / f"wt-{random.randrange(16**8):08x}"
    name.symlink_to(Path(command).resolve())
    return name


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def _wait_for_port(network: Network, part: str, port: int) -> None:
    wait = ("--retry", "50", "--retry-delay", "0", "--retry-connrefused", "--retry-max-time", "10")
    process = network.start(
        part, "curl", "-s", *wait, "-o", "/dev/null", f"http://127.0.0.1:{port}/small.json"
    )
    assert process.wait(20) == 0, "nginx does not answer"
