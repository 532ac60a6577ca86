"""The recipes of `deploy/` grant CAP_NET_RAW alone, and that is enough."""

import configparser
import ctypes
import os
import re
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from wiretape.agent.privileges import Capability, effective_capabilities, may_capture_packets

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "wiretape-capture.service"
CONTAINERFILE = (DEPLOY / "Containerfile").read_text()
DAEMONSET = (DEPLOY / "daemonset.yaml").read_text()

USER = 54321
PROBE = """
import socket
from wiretape.agent.doctor import State, examine
from wiretape.agent.privileges import (
    account_for, capability_sets, drop_to, may_capture_packets, raise_permitted
)
raise_permitted()
checks = {check.name: check for check in examine()}
print(checks["packets"].state.value, checks["packet ring"].state.value)
drop_to(account_for(None))
print("left", *capability_sets(), may_capture_packets())
"""
"""What an agent does before it captures: a ring is opened, then nothing is kept."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]


def unit() -> dict[str, dict[str, str]]:
    """Sections and their settings; none of them is given twice."""
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",), comment_prefixes="#")
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(UNIT.read_text().replace("\\\n", " "))
    return {name: dict(parser[name]) for name in parser.sections()}


def commands() -> dict[str, list[str]]:
    """The arguments that each recipe starts the agent with."""
    from_unit = shlex.split(unit()["Service"]["ExecStart"])
    cmd = re.search(r"^CMD \[(.+)\]$", CONTAINERFILE, re.MULTILINE)
    args = re.search(r"^ +args: \[(.+)\]$", DAEMONSET, re.MULTILINE)
    assert cmd is not None
    assert args is not None
    assert from_unit[0] == "/opt/wiretape/bin/capture-agent"
    return {
        "unit": from_unit[1:],
        "container": [word.strip(' "') for word in cmd[1].split(",")],
        "daemonset": [word.strip() for word in args[1].split(",")],
    }


def test_the_unit_grants_one_capability_and_no_way_to_others() -> None:
    service = unit()["Service"]
    assert service["AmbientCapabilities"] == service["CapabilityBoundingSet"] == "CAP_NET_RAW"
    assert service["NoNewPrivileges"] == "yes"
    assert set(service["RestrictAddressFamilies"].split()) == {"AF_PACKET", "AF_UNIX", "AF_NETLINK"}
    assert "User" not in service
    assert service["DynamicUser"] == "yes"
    assert (service["ProtectSystem"], service["StateDirectoryMode"]) == ("strict", "0700")
    assert service["UMask"] == "0077"


def test_the_unit_agrees_with_the_command() -> None:
    service = unit()["Service"]
    docs = (ROOT / "docs/cli.md").read_text().partition("## Exit codes of `capture-agent`")[2]
    codes = set(re.findall(r"^\| (\d+) \|", docs.partition("\n## ")[0], re.MULTILINE))
    assert {service["SuccessExitStatus"], *service["RestartPreventExitStatus"].split()} <= codes
    state, runtime = service["StateDirectory"], service["RuntimeDirectory"]
    for name, arguments in commands().items():
        assert arguments[:3] == ["run", "-o", f"/var/lib/{state}/"], name
    unit_arguments = commands()["unit"]
    metrics = Path(unit_arguments[unit_arguments.index("--metrics") + 1])
    assert metrics.parent == Path("/run", runtime)


def test_the_recipes_use_options_that_exist() -> None:
    section = (ROOT / "docs/cli.md").read_text().partition("\n## `capture-agent run`\n")[2]
    if not section:
        pytest.skip("docs/cli.md has no section on capture-agent run")
    options = set(re.findall(r"`(?:-\w, )?(--?[a-z-]+)", section.partition("\n## ")[0])) | {"-o"}
    for name, arguments in commands().items():
        used = {argument for argument in arguments if argument.startswith("-")}
        assert used <= options, name


def test_containers_are_given_one_capability() -> None:
    assert re.findall(r"\bcap_\w+\S*", CONTAINERFILE) == ["cap_net_raw+p"]
    assert re.search(r"^USER [1-9]\d*$", CONTAINERFILE, re.MULTILINE)
    assert "capabilities: {drop: [ALL], add: [NET_RAW]}" in DAEMONSET
    assert "allowPrivilegeEscalation: false" in DAEMONSET
    assert "privileged:" not in DAEMONSET
    readme = (DEPLOY / "README.md").read_text()
    for line in readme.splitlines():
        if line.startswith("    podman run "):
            assert "--cap-drop ALL --cap-add NET_RAW" in line


def test_what_the_container_is_made_of_is_there() -> None:
    for line in re.findall(r"^COPY (.+) \S+$", CONTAINERFILE, re.MULTILINE):
        for name in line.split():
            assert (ROOT / name).exists(), name


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is missing")
def test_systemd_reads_the_unit(tmp_path: Path) -> None:
    # It looks for the command, which is not installed where tests run.
    here = tmp_path / UNIT.name
    here.write_text(UNIT.read_text().replace("/opt/wiretape/bin/capture-agent", "/bin/true"))
    for arguments in (["verify"], ["security", "--offline=true", "--threshold=20", "--no-pager"]):
        done = subprocess.run(
            ["systemd-analyze", *arguments, here], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert UNIT.name not in done.stderr, done.stderr


def base_python() -> str | None:
    """An interpreter that every user may start; a developer's own often lies in a home folder."""
    for path in (Path(sys.executable).resolve(), Path("/usr/bin/python3")):
        if path.exists() and all(parent.stat().st_mode & 1 for parent in path.parents):
            version = "import sys; sys.exit(sys.version_info < (3, 11))"
            if subprocess.run([path, "-c", version], check=False).returncode == 0:
                return str(path)
    return None


needs_root = pytest.mark.skipif(
    os.geteuid() != 0
    or not may_capture_packets()
    or not {Capability.SETUID, Capability.SETGID, Capability.SETPCAP} <= effective_capabilities(),
    reason="needs root with CAP_NET_RAW, CAP_SETUID, CAP_SETGID and CAP_SETPCAP",
)


@pytest.fixture(scope="module")
def interpreter() -> Iterator[Path]:
    """A copy of an interpreter with the agent's modules, where every user may start it."""
    base = base_python()
    if base is None:
        pytest.skip("no Python 3.11 that other users may start")
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        made = subprocess.run([base, "-m", "venv", "--copies", "--without-pip", folder / "venv"])
        assert made.returncode == 0
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "wiretape", folder / "wiretape", ignore=ignored)
        yield folder / "venv" / "bin" / "python"


def probe(
    python: Path, *, user: int, ambient: bool = False, granted: bool = True, no_new: bool = False
) -> list[str]:
    """What PROBE prints as `user`, with CAP_NET_RAW in the bounding set where it is granted."""

    def restrict() -> None:
        for capability in range(64):
            if capability != Capability.NET_RAW or not granted:
                _libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
        if ambient:
            _libc.prctl(8, 1, 0, 0, 0)  # PR_SET_KEEPCAPS
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
        one = 1 << Capability.NET_RAW if granted else 0
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)
        if ambient or user == 0:
            _libc.capset(header, (ctypes.c_uint32 * 6)(one, one, one, 0, 0, 0))
        if ambient:
            _libc.prctl(47, 2, Capability.NET_RAW, 0, 0)  # PR_CAP_AMBIENT_RAISE
        if no_new:
            _libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS

    done = subprocess.run(
        [python, "-c", PROBE],
        preexec_fn=restrict,
        cwd="/",
        env={"PYTHONPATH": str(python.parents[2]), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


CAPTURES = ["ok ok", "left 0 0 0 False"]
CAPTURES_NOT = ["no no", "left 0 0 0 False"]


@pytest.mark.privileged
@needs_root
def test_what_the_unit_grants_opens_a_ring(interpreter: Path) -> None:
    assert probe(interpreter, user=USER, ambient=True, no_new=True) == CAPTURES
    assert probe(interpreter, user=USER, ambient=False, no_new=True) == CAPTURES_NOT


@pytest.mark.privileged
@needs_root
def test_what_the_daemonset_grants_opens_a_ring(interpreter: Path) -> None:
    assert probe(interpreter, user=0, no_new=True) == CAPTURES
    assert probe(interpreter, user=0, no_new=True, granted=False) == CAPTURES_NOT


@pytest.mark.privileged
@needs_root
def test_what_the_container_grants_opens_a_ring(interpreter: Path) -> None:
    """Its interpreter has the capability as permitted (capabilities(7), "File capabilities")."""
    revision_2, permitted = 0x02000000, 1 << Capability.NET_RAW
    try:
        os.setxattr(
            interpreter, "security.capability", struct.pack("<5I", revision_2, permitted, 0, 0, 0)
        )
    except OSError as error:
        pytest.skip(f"file capabilities: {error.strerror}")
    try:
        assert probe(interpreter, user=USER) == CAPTURES
        # Without --cap-add it starts all the same, and doctor can say what is missing.
        assert probe(interpreter, user=USER, granted=False) == CAPTURES_NOT
        assert probe(interpreter, user=USER, no_new=True) == CAPTURES_NOT
        assert probe(interpreter, user=0, no_new=True) == CAPTURES
    finally:
        os.removexattr(interpreter, "security.capability")
