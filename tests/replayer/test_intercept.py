"""Clients of several kinds under each interception: whom they reach, and what they are told."""

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from interceptions import NOBODY, readable_python, run

PAYMENTS = ("payments.internal:80", "10.0.0.3", 80)
SECURE = ("secure.internal:443", "10.0.0.4", 443, True)
BY_ADDRESS = ("10.9.8.7:81", "10.9.8.7", 81)
BY_IPV6 = ("[2001:db8::5]:8080", "2001:db8::5", 8080)
LOCAL = ("127.0.0.1:9001", "127.0.0.1", 9001)
# Two hosts that share an address, as behind one load balancer.
FIRST, SECOND = ("a.internal:80", "10.0.0.9", 80), ("b.internal:80", "10.0.0.9", 80)
UPSTREAMS = [PAYMENTS, SECURE, BY_ADDRESS, BY_IPV6, LOCAL, FIRST, SECOND]

PYTHON = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
URLLIB = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=9).read().decode())"
ASYNCIO = """
import asyncio, sys, urllib.parse
async def main():
    url = urllib.parse.urlsplit(sys.argv[1])
    reader, writer = await asyncio.open_connection(
        url.hostname, url.port or (443 if url.scheme == "https" else 80),
        ssl=True if url.scheme == "https" else None)
    lines = "GET / HTTP/1.1", f"Host: {url.netloc}", "Connection: close", "", ""
    writer.write("\\r\\n".join(lines).encode())
    head = await reader.readuntil(b"\\r\\n\\r\\n")
    print((await reader.readline()).decode())
asyncio.run(main())
"""
FETCH = "fetch(process.argv[1]).then(r => r.text()).then(console.log)"
C_ARES = """
const { resolve4 } = require("dns"), http = require("http"), url = new URL(process.argv[1]);
resolve4(url.hostname, (error, addresses) => {
  if (error) throw error;
  http.get({ host: addresses[0], port: url.port || 80 }, r => r.pipe(process.stdout));
});
"""
CLIENTS = {
    "curl": ["curl", "-gsS", "-m9"],
    "urllib": [PYTHON, "-c", URLLIB],
    "asyncio": [PYTHON, "-c", ASYNCIO],
    "fetch": ["node", "-e", FETCH],
    "c-ares": ["node", "-e", C_ARES],
}


@pytest.fixture(params=["netns", "cgroup"])
def own_network(request: pytest.FixtureRequest) -> str:
    """A mode in which the build cannot but come to us."""
    return available(request.param)


@pytest.fixture(params=["netns", "cgroup", "proxy"])
def mode(request: pytest.FixtureRequest) -> str:
    return available(request.param)


@functools.cache
def failure(mode: str) -> str:
    return run(mode, [PAYMENTS], ["true"]).failure


def available(mode: str) -> str:
    if failure(mode):
        pytest.skip(failure(mode))
    return mode


def client(name: str, url: str) -> list[str]:
    words = CLIENTS[name]
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is missing")
    return [*words, url]


@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_reaches_the_host_that_it_names(own_network: str, name: str) -> None:
    ran = run(own_network, UPSTREAMS, client(name, "http://payments.internal/"))
    assert (ran.exit, ran.text.strip()) == ("exited with 0", "http payments.internal:80")
    assert (ran.attempts, ran.passed) == ([], [])


@pytest.mark.parametrize("name", ["curl", "urllib", "asyncio", "fetch"])
@pytest.mark.parametrize(
    ("url", "reached"),
    [
        ("http://10.9.8.7:81/", "http 10.9.8.7:81"),
        ("http://[2001:db8::5]:8080/", "http [2001:db8::5]:8080"),
        ("http://127.0.0.1:9001/", "http 127.0.0.1:9001"),
        ("http://a.internal/", "http a.internal:80"),
        ("http://b.internal/", "http b.internal:80"),
        ("http://10.0.0.9/", "http 10.0.0.9:80"),
        ("https://secure.internal/", "https secure.internal:443"),
    ],
)
def test_a_client_reaches(own_network: str, name: str, url: str, reached: str) -> None:
    ran = run(own_network, UPSTREAMS, client(name, url))
    assert (ran.exit, ran.text.strip()) == ("exited with 0", reached)
    assert ran.attempts == []


PEER = """
import socket
for host, port in (("payments.internal", 80), ("10.9.8.7", 81), ("2001:db8::5", 8080),
                   ("::ffff:10.9.8.7", 81)):
    print(*socket.create_connection((host, port), timeout=9).getpeername()[:2])
"""


def test_the_build_sees_the_address_that_it_called(own_network: str) -> None:
    ran = run(own_network, UPSTREAMS, [PYTHON, "-c", PEER])
    assert ran.output == [
        "10.0.0.3 80", "10.9.8.7 81", "2001:db8::5 8080", "::ffff:10.9.8.7 81"
    ]  # fmt: skip


REFUSED = """
import errno, socket
def attempt(kind, address):
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family, kind) as sock:
        sock.settimeout(9)
        try:
            sock.connect(address)
            sock.send(b"x")
            sock.recv(1)
        except OSError as error:
            print(errno.errorcode.get(error.errno, error))
attempt(socket.SOCK_STREAM, ("10.9.8.7", 80))
attempt(socket.SOCK_STREAM, ("192.0.2.1", 81))
attempt(socket.SOCK_STREAM, ("2001:db8::6", 8080))
attempt(socket.SOCK_STREAM, ("127.0.0.1", 9))
attempt(socket.SOCK_DGRAM, ("192.0.2.1", 123))
try:
    socket.getaddrinfo("other.internal", 80)
except socket.gaierror as error:
    print(error.errno == socket.EAI_NONAME)
"""


def test_what_was_not_recorded_is_refused_and_listed(own_network: str) -> None:
    ran = run(own_network, UPSTREAMS, [PYTHON, "-c", REFUSED])
    assert ran.output == ["ECONNREFUSED"] * 5 + ["True"]
    assert ran.attempts == [
        "other.internal (DNS)", "10.9.8.7:80 (tcp)", "127.0.0.1:9 (tcp)", "192.0.2.1:81 (tcp)",
        "[2001:db8::6]:8080 (tcp)", "192.0.2.1:123 (udp)",
    ]  # fmt: skip


OWN_LISTENER = """
import socket
with socket.create_server(("0.0.0.0", 80)) as server:
    near = socket.create_connection(("127.0.0.1", 80), timeout=9)
    far, _ = server.accept()
    far.send(b"the build's own")
    print(near.recv(99).decode())
"""


def test_the_build_may_listen_on_a_recorded_port_and_reach_itself() -> None:
    ran = run(available("netns"), UPSTREAMS, [PYTHON, "-c", OWN_LISTENER])
    assert (ran.output, ran.attempts) == (["the build's own"], [])


def test_the_build_reaches_itself() -> None:
    command = OWN_LISTENER.replace("80", "18080")
    ran = run(available("cgroup"), UPSTREAMS, [PYTHON, "-c", command])
    assert (ran.output, ran.attempts) == (["the build's own"], [])


def test_the_build_has_no_capability_and_keeps_its_user() -> None:
    words = "id -u; grep CapEff /proc/self/status"
    ran = run(available("netns"), [PAYMENTS], ["sh", "-c", words])
    assert ran.output == [str(os.geteuid()), "CapEff:\t0000000000000000"]


@pytest.mark.privileged
def test_the_build_of_an_unprivileged_user() -> None:
    """With this user's rights from the beginning: nothing of ours is left of root's."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    if not readable_python():
        pytest.skip("no Python of 3.11 or newer that every user may run")
    words = "id -u; grep CapEff /proc/self/status; curl -sS -m9 http://payments.internal/"
    ran = run("netns", UPSTREAMS, ["sh", "-c", words], user=NOBODY)
    assert ran.failure == ""
    assert ran.output == [str(NOBODY), "CapEff:\t0000000000000000", "http payments.internal:80"]


@pytest.mark.privileged
def test_under_sudo_the_build_is_the_users_who_called_it(own_network: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    words = "id -u; id -G; grep CapEff /proc/self/status; echo $USER"
    ran = run(own_network, [PAYMENTS], ["sh", "-c", words], env={"SUDO_UID": str(NOBODY)})
    assert ran.output == [str(NOBODY), "65534", "CapEff:\t0000000000000000", "nobody"]


@pytest.mark.parametrize("name", ["curl", "urllib"])
@pytest.mark.parametrize("upstream", UPSTREAMS, ids=lambda upstream: upstream[0])
def test_a_client_that_heeds_a_proxy(name: str, upstream: tuple[str, str, int]) -> None:
    secure = upstream == SECURE
    scheme = "https" if secure else "http"
    ran = run("proxy", UPSTREAMS, client(name, f"{scheme}://{upstream[0]}/"))
    assert (ran.exit, ran.text.strip()) == ("exited with 0", f"{scheme} {upstream[0]}")


DIRECT = """
import asyncio
from wiretape.replayer.io.intercept import Setting, intercepted
async def main():
    setting = Setting([], lambda name: asyncio.Protocol(), target=TARGET)
    async with intercepted("proxy", setting, print) as interception:
        print(interception.environment["NO_PROXY"])
asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("target", "direct"),
    [
        ("127.0.0.1:40001", "localhost:40001,127.0.0.1:40001"),
        ("[::1]:40001", "localhost:40001,127.0.0.1:40001,::1"),  # no client stumbles over that
    ],
)
def test_the_build_itself_is_asked_directly(target: str, direct: str) -> None:
    script = DIRECT.replace("TARGET", repr(target))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.splitlines()[-1] == direct


@pytest.mark.parametrize("tunnel", [[], ["--proxytunnel"]])
def test_a_proxy_refuses_what_was_not_recorded(tunnel: list[str]) -> None:
    words = [*client("curl", "http://other.internal/"), "-f", *tunnel]
    ran = run("proxy", UPSTREAMS, words)
    assert ran.exit in ("exited with 22", "exited with 56")
    assert ran.attempts == ["other.internal:80 (tcp)"]


def test_requests_to_several_hosts_on_one_connection_to_the_proxy() -> None:
    urls = ["http://payments.internal/", "http://a.internal/", "http://payments.internal/"]
    ran = run("proxy", UPSTREAMS, [*client("curl", urls[0]), *urls[1:]])
    assert ran.output == [f"http {host}.internal:80" for host in ("payments", "a", "payments")]


@pytest.mark.parametrize("kind", ["none", "netns", "cgroup", "proxy"])
def test_a_build_that_is_told_of_a_mock(kind: str) -> None:
    words = "curl -sS -m9 http://127.0.0.1:$MOCK_0/; curl -sS -m9 http://127.0.0.1:$MOCK_1/"
    mocks = ["payments.internal:80", "secure.internal:443"]
    ran = run(available(kind), UPSTREAMS, ["sh", "-c", words], mocks=mocks)
    assert ran.output == ["http payments.internal:80", "http secure.internal:443"]


@pytest.fixture
def real_server() -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"the real one\n")

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_what_is_allowed_passes_and_is_listed(mode: str, real_server: int, host: str) -> None:
    allowed = f"{host}:{real_server}"
    ran = run(mode, UPSTREAMS, client("curl", f"http://{allowed}/"), allowed=[allowed])
    assert (ran.output, ran.passed, ran.attempts) == (["the real one"], [allowed], [])
    ran = run(mode, UPSTREAMS, [*client("curl", f"http://{allowed}/"), "-f"])
    assert "the real one" not in ran.text
    assert ran.attempts


JAVA = """
import java.net.*;
public class Ask { public static void main(String[] a) throws Exception {
  System.out.print(new String(new URL(a[0]).openStream().readAllBytes())); } }
"""


@pytest.mark.parametrize("url", ["https://secure.internal/", "http://payments.internal/"])
def test_java_trusts_us(mode: str, url: str, tmp_path: Path) -> None:
    if shutil.which("java") is None:
        pytest.skip("java is missing")
    (tmp_path / "Ask.java").write_text(JAVA)
    ran = run(mode, UPSTREAMS, ["java", str(tmp_path / "Ask.java"), url])
    assert ran.output[-1].endswith("internal:443" if "https" in url else "internal:80"), ran.text


def test_auto_takes_the_first_that_the_host_allows() -> None:
    ran = run("auto", [PAYMENTS], ["true"])
    first = next(mode for mode in ("netns", "cgroup", "proxy") if not failure(mode))
    assert len(ran.told) == 1
    assert ran.told[0].startswith(f"upstream calls are intercepted by {first}")


ORPHAN = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c",
    "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(3600)", sys.argv[1]],
    start_new_session=True)
if sys.argv[2] == "stays":
    time.sleep(3600)
"""


def alive(mark: str) -> list[int]:
    """Processes with this word on their command line."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark.encode() in place.read_bytes().split(b"\0"):
                found.append(int(place.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("kind", ["none", "netns", "cgroup", "proxy"])
def test_no_process_is_left(kind: str, tmp_path: Path) -> None:
    mark = f"orphan-{tmp_path}"
    run(available(kind), [PAYMENTS], [PYTHON, "-c", ORPHAN, mark, "goes"])
    assert alive(mark) == []


@pytest.mark.parametrize("kind", ["none", "netns", "cgroup", "proxy"])
def test_no_process_is_left_where_the_replay_is_killed(kind: str, tmp_path: Path) -> None:
    mark = f"orphan-{tmp_path}"
    job = {
        "mode": available(kind), "upstreams": [PAYMENTS], "allowed": [], "user": None, "mocks": [],
        "command": [PYTHON, "-c", ORPHAN, mark, "stays"],
    }  # fmt: skip
    script = Path(__file__).with_name("interceptions.py")
    process = subprocess.Popen([sys.executable, str(script)], stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(json.dumps(job).encode())
    process.stdin.close()
    until = time.monotonic() + 30
    while len(alive(mark)) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    assert len(alive(mark)) >= 2
    process.send_signal(signal.SIGKILL)
    process.wait()
    while alive(mark) and time.monotonic() < until:
        time.sleep(0.05)
    assert alive(mark) == []


HELD = """
import asyncio
from wiretape.replayer.io.intercept import Setting, intercepted
async def main():
    setting = Setting([], lambda name: asyncio.Protocol(), target="127.0.0.1:40001")
    async with intercepted(MODE, setting, print) as interception:
        with await interception.hold(40001):
            print(await interception.listen("a:80"))
asyncio.run(main())
"""


@pytest.mark.privileged
@pytest.mark.parametrize("mode", ["none", "proxy"])
def test_no_mock_gets_the_builds_port(mode: str) -> None:
    """There are few ports, and the kernel would choose that one first."""
    ports = 2 if mode == "none" else 4
    few = f"echo 40000 {39999 + ports} > /proc/sys/net/ipv4/ip_local_port_range"
    script = f'ip link set lo up && {few} && exec "$0" -c "$1"'
    held = HELD.replace("MODE", repr(mode))
    done = subprocess.run(
        ["unshare", "-n", "sh", "-c", script, sys.executable, held],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    if "unshare failed" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    assert 40000 <= int(done.stdout) < 40000 + ports
    assert int(done.stdout) != 40001


TAKEN = """
import asyncio
from wiretape.replayer.io.intercept import Setting, Upstream, intercepted
async def main():
    upstream = Upstream("127.0.0.1:40001", ("127.0.0.1", 40001))
    setting = Setting([upstream], lambda name: asyncio.Protocol(), target="127.0.0.1:40001")
    async with intercepted("netns", setting, print) as interception:
        with await interception.hold(40001):
            print("held")
asyncio.run(main())
"""


def test_a_build_on_the_port_of_an_upstream_is_told_by_its_own_start() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TAKEN], capture_output=True, text=True, timeout=30, check=False
    )
    if "UnavailableError" in done.stderr and "hold" not in done.stderr:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert (done.returncode, done.stdout) == (0, "held\n"), done.stderr


LOCALHOST = """
import asyncio
from wiretape.replayer.io.intercept import Setting, intercepted
async def main():
    setting = Setting([], lambda name: asyncio.Protocol(), target="localhost:40001")
    async with intercepted("netns", setting, print) as interception:
        with await interception.local_socket((HOST, 40001)) as listening:
            listening.listen()
            with await interception.connect("localhost", 40001) as met:
                print(met.getpeername()[0])
asyncio.run(main())
"""


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_localhost_is_either_loopback(host: str) -> None:
    script = LOCALHOST.replace("HOST", repr(host))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False
    )
    if "UnavailableError" in done.stderr:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert (done.returncode, done.stdout) == (0, f"{host}\n"), done.stderr
