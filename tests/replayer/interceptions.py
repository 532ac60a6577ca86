"""Runs one command under an interception, in a process that may first become another user.

Standard input: JSON of mode, upstreams (name, address, port, tls), allowed, command, user, env.
Standard output: JSON of what was told, the exit, the output, attempts and what was passed on.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wiretape.replayer.errors import EnvironmentFailedError
from wiretape.replayer.io.build import Build
from wiretape.replayer.io.intercept import Interception, Setting, Upstream, intercepted

NOBODY = 65534


@dataclass(frozen=True)
class Ran:
    """What one command did."""

    failure: str
    told: list[str]
    exit: str
    output: list[str]
    attempts: list[str]
    passed: list[str]

    @property
    def text(self) -> str:
        return "\n".join(self.output)


def run(
    mode: str,
    upstreams: Sequence[tuple[str, str, int] | tuple[str, str, int, bool]],
    command: Sequence[str],
    *,
    allowed: Sequence[str] = (),
    user: int | None = None,
    env: dict[str, str] | None = None,
    mocks: Sequence[str] = (),
) -> Ran:
    """`mocks` are names whose {mock:…} ports the command finds in MOCK_0, MOCK_1, …"""
    job = {
        "mode": mode, "upstreams": upstreams, "command": command, "allowed": allowed,
        "user": user, "mocks": mocks,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, str(Path(__file__))],
        input=json.dumps(job), capture_output=True, text=True, timeout=60,
        env={**os.environ, **(env or {})}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Ran(**json.loads(done.stdout))


class _Answer(asyncio.Protocol):
    """Every request gets the name of the upstream and whether it came by TLS."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._received = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            _, self._received = self._received.split(b"\r\n\r\n", 1)
            secure = self._transport.get_extra_info("ssl_object") is not None
            content = f"{'https' if secure else 'http'} {self._name}\n".encode()
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(content)}\r\n\r\n"
            self._transport.write(head.encode() + content)


async def _run(job: dict[str, Any]) -> Ran:
    told: list[str] = []
    upstreams = [Upstream(name, (at, port), *tls) for name, at, port, *tls in job["upstreams"]]
    setting = Setting(upstreams, _Answer, job["allowed"])
    interception: Interception
    async with intercepted(job["mode"], setting, told.append) as interception:
        ports = [await interception.listen(name) for name in job["mocks"]]
        mocks = {f"MOCK_{n}": str(port) for n, port in enumerate(ports)}
        env = {**interception.environment, **mocks}
        build = await Build.start(job["command"], env, interception.supervisor)
        ended = await build.exited(40) or "still runs"
        await build.stop()
    return Ran(
        "", told, ended, list(build.output()),
        [str(attempt) for attempt in interception.attempts], sorted(interception.passed),
    )  # fmt: skip


def readable_python() -> str:
    """An interpreter that any user may run, new enough; "" for none."""
    for python in (Path(sys.executable).resolve(), Path("/usr/bin/python3")):
        if python.exists() and all(p.stat().st_mode & 1 for p in (python, *python.parents)):
            version = subprocess.run(
                [python, "-c", "import sys; print(sys.version_info >= (3, 11))"],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            if version.stdout == "True\n":
                return str(python)
    return ""


def _become_nobody(user: int) -> None:
    """What is imported stays; the supervisor's process finds a copy that everybody can read."""
    import wiretape.replayer.io.intercept.certificates  # noqa: F401 - later it cannot be

    copy = tempfile.mkdtemp(prefix="wiretape-test-")
    package = Path(sys.modules["wiretape"].__file__ or "").parent
    ignored = shutil.ignore_patterns("__pycache__", "agent")
    shutil.copytree(package, Path(copy, "wiretape"), ignore=ignored)
    subprocess.run(["chmod", "-R", "a+rX", copy], check=True)
    os.environ["PYTHONPATH"] = copy
    os.environ["HOME"] = "/nonexistent"
    sys.executable = readable_python()
    os.chdir("/")
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)


def main() -> None:
    job = json.load(sys.stdin)
    if job["user"] is not None:
        _become_nobody(job["user"])
    try:
        ran = asyncio.run(_run(job))
    except EnvironmentFailedError as error:
        ran = Ran(str(error), [], "", [], [], [])
    print(json.dumps(ran.__dict__))


if __name__ == "__main__":
    main()
