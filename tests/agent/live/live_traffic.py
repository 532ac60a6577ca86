"""Clients that ask the three servers, at once, for all that HTTP/1.1 has in everyday use."""

import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from live_network import HERE, SERVER_V4, SERVER_V6, Network, wait_for_line
from live_services import NGINX, NODE, PYTHON

CLIENT = HERE / "live_client.py"
_PARTIAL = (18,)
"""What curl exits with where the server left early."""


@dataclass(frozen=True)
class Client:
    """A command, the targets that it asks for, and how it may exit."""

    command: tuple[str, ...]
    targets: tuple[str, ...]
    codes: tuple[int, ...] = (0,)


def curl(
    *options: str,
    host: str,
    port: int,
    targets: tuple[str, ...],
    codes: tuple[int, ...] = (0,),
) -> Client:
    at = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    urls = [word for target in targets for word in ("-o", "/dev/null", f"http://{at}{target}")]
    # Not as fast as memory can be copied: what is shown here is not how much the ring can take.
    calmly = ("-sS", "--noproxy", "*", "--max-time", "20", "--limit-rate", "6M")
    command = ("curl", *calmly, *options, *urls)
    return Client(command, targets, codes)


def by_hand(*ways: str, host: str, port: int, targets: tuple[str, ...]) -> Client:
    return Client((sys.executable, str(CLIENT), host, str(port), *ways), targets)


def clients(host: str, upload: Path) -> list[Client]:
    """All of them, for one address of the server."""
    items = tuple(f"/item/{n}?x=%20y" for n in range(30))
    plain = tuple(f"/plain/{n}" for n in range(20))
    pipelined = tuple(f"/item/pipelined/{n}" for n in range(10))
    sent = "and=what&was=sent"
    whole = f"@{upload}"
    return [
        curl(host=host, port=NGINX, targets=items),
        curl(host=host, port=NGINX, targets=("/small.json", "/big.bin", "/rows.json")),
        curl("--compressed", host=host, port=NGINX, targets=("/zipped/rows.json",) * 3),
        curl("-I", host=host, port=NGINX, targets=("/big.bin", "/small.json")),
        curl("-Z", host=host, port=NGINX, targets=tuple(f"/item/parallel/{n}" for n in range(8))),
        curl(host=host, port=NGINX, targets=("/absent", "/through/item/1", "/through/chunked")),
        curl("-d", sent, host=host, port=NGINX, targets=("/through/echo",)),
        curl(host=host, port=PYTHON, targets=(*plain, "/chunked", "/nothing", "/same", "/close")),
        curl("-d", sent, host=host, port=PYTHON, targets=("/echo/1", "/echo/2")),
        curl("-T", str(upload), host=host, port=PYTHON, targets=("/upload",)),
        curl("--data-binary", whole, "-H", "Expect: 100-continue", host=host, port=PYTHON,
             targets=("/echo/big",)),
        curl("-I", host=host, port=PYTHON, targets=("/head", "/head")),
        curl(host=host, port=NODE, targets=("/cookies", "/trailers", "/hints", "/cookies")),
        curl("-d", sent, "-H", "Transfer-Encoding: chunked", host=host, port=NODE,
             targets=("/echo/chunked",)),
        curl("--data-binary", whole, host=host, port=NODE, targets=("/echo/node",)),
        curl(host=host, port=NODE, targets=("/cut",), codes=_PARTIAL),
        by_hand("pipelined", "reset", "half", host=host, port=NGINX,
                targets=(*pipelined, "/big.bin?reset", "/item/half")),
        by_hand("leave", host=host, port=PYTHON, targets=("/drip",)),
    ]  # fmt: skip


def ask(client: subprocess.Popen[str], requests: int) -> None:
    """Has a client that holds its connection ask so often."""
    assert client.stdin is not None
    client.stdin.write(f"{requests}\n")
    client.stdin.flush()
    wait_for_line(client, client.stdout, "done")


def asked_upstream(hosts: int = 2) -> Counter[str]:
    """What nginx asks the Python server meanwhile, itself a client then, through loopback."""
    return Counter(dict.fromkeys(("/item/1", "/chunked", "/echo"), hosts))


def ask_everything(network: Network, part: str, folder: Path, *hosts: str) -> Counter[str]:
    """Runs all clients of a host at once in one part; which targets were asked for, and how often.

    Raises AssertionError where a client was not content with its answer.
    """
    upload = folder / "upload.bin"
    # Above the size from which curl waits for 100 (Continue) before it sends.
    upload.write_bytes(bytes(range(256)) * 4200)
    asked: Counter[str] = Counter()
    for host in hosts or (SERVER_V4, SERVER_V6):
        running = []
        for client in clients(host, upload):
            asked.update(client.targets)
            running.append((client, network.start(part, *client.command, stderr=subprocess.PIPE)))
        for client, process in running:
            said = process.communicate(timeout=30)[1]
            assert process.returncode in client.codes, f"{client.command}: {said}"
    return asked
