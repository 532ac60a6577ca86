"""`capture-agent doctor`, on this host and on odd ones (trees of files)."""

import io
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from agent_command import agent

from wiretape.agent import privileges
from wiretape.agent.doctor import Check, State, can_capture, doctor, examine, table
from wiretape.agent.privileges import in_child, may_capture_packets
from wiretape.agent.sources.ebpf.tls_attacher import PROBES
from wiretape.agent.sources.ebpf.tls_programs import TlsProgram, tls_programs

NAMES = [
    "packets",
    "packet ring",
    "libpcap",
    "--netns",
    "memory",
    "disk",
    "Python",
    "kernel",
    "processor",
    "eBPF",
    "tracefs",
    "bcc",
    "kernel types",
    "TLS",
    "cgroup v2",
    "user namespaces",
]
FOR_EBPF = ["kernel", "processor", "eBPF", "tracefs", "bcc", "kernel types"]
HOST = {
    "proc/meminfo": "MemTotal: 4096000 kB\nMemAvailable:    2048000 kB\n",
    "proc/filesystems": "nodev\tsysfs\nnodev\ttracefs\n\text4\n",
    "proc/self/mounts": "tracefs /sys/kernel/tracing tracefs rw 0 0\n"
    "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n",
    "sys/kernel/btf/vmlinux": "",
    "usr/lib/python3/dist-packages/bcc/__init__.py": "",
    "usr/lib/x86_64-linux-gnu/libbcc.so.0": "",
}


def host(root: Path, **changes: str | None) -> Path:
    """A host whose files are HOST's, but for those that are changed, or missing where None."""
    for name, text in {**HOST, **changes}.items():
        if text is not None:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return root


def check(name: str, root: Path = Path("/")) -> Check:
    return next(check for check in examine(root) if check.name == name)


def without_capabilities() -> None:
    privileges._set_capabilities(privileges.CapabilitySets(0, 0, 0))


def test_every_check_is_made_and_what_is_not_ok_has_a_fix() -> None:
    checks = list(examine())
    assert [check.name for check in checks] == NAMES
    for check in checks:
        assert check.found
        assert check.state is State.OK or check.fix or check.found.startswith("unknown"), check
        assert "\n" not in check.found + check.fix


def test_the_command_prints_the_table_and_tells_by_its_code_whether_it_can_capture() -> None:
    ran = agent("doctor")
    assert ran.err == ""
    assert ran.code == (0 if may_capture_packets() else 5)
    lines = ran.out.splitlines()
    assert lines[0].split() == ["check", "state", "found", "fix"]
    assert [line[: lines[0].index("state")].rstrip() for line in lines[1:]] == NAMES
    assert "\x1b" not in ran.out


@pytest.mark.privileged
@pytest.mark.skipif(not may_capture_packets(), reason="no packet socket opens: CAP_NET_RAW")
def test_where_packet_sockets_open_so_does_the_ring() -> None:
    assert check("packets") == Check("packets", State.OK, "CAP_NET_RAW: packet sockets open")
    assert check("packet ring") == Check("packet ring", State.OK, "TPACKET_V3 opens")


def test_without_capabilities_packets_are_red_on_a_terminal_and_the_code_is_5(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)

    def told() -> bool:
        without_capabilities()
        terminal, file = Terminal(), io.StringIO()
        assert doctor(terminal) == doctor(file) == 5
        rows = [line for line in terminal.getvalue().splitlines() if "no CAP_NET_RAW" in line]
        assert [(row[:5], row[-4:]) for row in rows] == [("\x1b[31m", "\x1b[0m")]
        os.environ["NO_COLOR"] = "1"
        plain = Terminal()
        doctor(plain)
        return "\x1b" not in file.getvalue() + plain.getvalue()

    assert in_child(told)


def test_only_red_lines_are_red() -> None:
    checks = [
        Check("a", State.OK, "found"),
        Check("long name", State.NO, "x", "do this"),
        Check("c", State.NOTE, "y", "that"),
    ]
    assert table(checks) == (
        "check      state  found  fix\n"
        "a          ok     found\n"
        "long name  no     x      do this\n"
        "c          note   y      that\n"
    )
    assert table(checks, colour=True).count("\x1b[31m") == 1


@pytest.mark.parametrize(
    ("checks", "can"),
    [
        ([], False),
        ([Check("packet ring", State.NO, "", "")], False),
        ([Check("packets", State.OK, ""), Check("packet ring", State.NO, "", "")], False),
        ([Check("disk", State.NO, "", ""), Check("packet ring", State.OK, "")], True),
        ([Check(name, State.OK, "") for name in FOR_EBPF], True),
        ([Check(name, State.OK, "") for name in FOR_EBPF[1:]], False),
    ],
)
def test_what_decides_is_whether_a_source_works(checks: list[Check], can: bool) -> None:
    assert can_capture(checks) is can


FILE_CHECKS = ("memory", "tracefs", "bcc", "kernel types", "cgroup v2")


def test_a_host_that_has_all(tmp_path: Path) -> None:
    root = host(tmp_path)
    found = {c.name: (c.state.value, c.found) for c in examine(root) if c.name in FILE_CHECKS}
    assert found == {
        "memory": ("ok", "2.0 GiB available"),
        "tracefs": ("ok", "/sys/kernel/tracing"),
        "bcc": ("ok", f"{root}/usr/lib/python3/dist-packages/bcc"),
        "kernel types": ("ok", f"{root}/sys/kernel/btf/vmlinux"),
        "cgroup v2": ("ok", "/sys/fs/cgroup"),
    }


@pytest.mark.parametrize(
    ("name", "file", "text", "found", "fix"),
    [
        ("memory", "proc/meminfo", "MemAvailable: 204800 kB", "200.0 MiB", "--max-memory 128M"),
        ("memory", "proc/meminfo", None, "unknown: No such file", ""),
        ("memory", "proc/meminfo", "\0", "unknown: no MemAvailable", ""),
        (
            "tracefs",
            "proc/self/mounts",
            "proc /proc proc rw 0 0\nx\n",
            "not mounted",
            "mount -t tracefs tracefs /sys/kernel/tracing",
        ),
        ("tracefs", "proc/self/mounts", None, "unknown: No such file", ""),
        (
            "cgroup v2",
            "proc/self/mounts",
            "cgroup /sys/fs/cgroup cgroup rw",
            "not mounted",
            "mount",
        ),
        ("cgroup v2", "proc/self/mounts", None, "unknown: No such file", ""),
        ("bcc", "usr/lib/python3/dist-packages/bcc/__init__.py", None, "missing", "python3-bpfcc"),
        ("bcc", "usr/lib/x86_64-linux-gnu/libbcc.so.0", None, "its library is", "python3-bpfcc"),
        ("kernel types", "sys/kernel/btf/vmlinux", None, "missing", "CONFIG_DEBUG_INFO_BTF"),
    ],
)
def test_what_a_host_lacks_is_a_note(
    name: str,
    file: str,
    text: str | None,
    found: str,
    fix: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "apt-get").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(programs))
    told = check(name, host(tmp_path, **{file: text}))
    assert told.state is State.NOTE
    assert told.found.startswith(found)
    assert fix in told.fix


def test_a_kernel_without_tracefs_is_not_asked_to_mount_it(tmp_path: Path) -> None:
    files: dict[str, str | None] = {"proc/self/mounts": "", "proc/filesystems": "nodev\tsysfs\n"}
    told = check("tracefs", host(tmp_path, **files))
    assert (told.found, "mount" in told.fix) == ("not in this kernel", False)


def test_where_there_is_no_apt_the_package_is_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    missing = "usr/lib/python3/dist-packages/bcc/__init__.py"
    told = check("bcc", host(tmp_path, **{missing: None}))
    assert told.fix == "install bcc for Python with this system's package manager"


def test_a_host_that_shows_nothing_is_no_failure(tmp_path: Path) -> None:
    assert [check.name for check in examine(tmp_path)] == NAMES


@pytest.mark.parametrize(
    ("key", "value", "fix"),
    [
        ("user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=10000"),
        ("kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"),
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "sysctl kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        ("user/max_user_namespaces", "15000", "outside of this container"),
    ],
)
def test_what_forbids_user_namespaces_is_named(
    key: str, value: str, fix: str, tmp_path: Path
) -> None:
    root = host(tmp_path, **{f"proc/sys/{key}": f"{value}\n"})

    def told() -> bool:
        # Within one whose user is not mapped, no other can be made (user_namespaces(7)).
        if privileges._libc.unshare(0x10000000) != 0:
            return True
        found = check("user namespaces", root)
        return found.state is State.NOTE and fix in found.fix

    assert in_child(told)


def test_a_directory_that_cannot_be_written_is_red(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert check("disk").state is not State.NO
    tmp_path.chmod(0o500)
    if os.geteuid() == 0:
        os.chown(tmp_path, 54321, 54321)  # root has no capability left by the time it writes
    try:
        told = check("disk")
    finally:
        tmp_path.chmod(0o700)
    assert (told.state, told.fix) == (State.NO, 'cd "$HOME"')
    assert told.found.endswith(" may not write here")


@pytest.mark.parametrize(
    ("content", "by"),
    [
        (b"crypto/tls.(*Conn).Handshake", "Go"),
        (b"/registry/src/rustls-0.23.4/src/lib.rs", "rustls"),
        (b"crypto/rand.Read", ""),
    ],
)
def test_programs_whose_tls_cannot_be_read_are_named(
    content: bytes, by: str, tmp_path: Path
) -> None:
    program = tmp_path / "service"
    program.write_bytes(Path("/bin/sleep").read_bytes() + content)
    program.chmod(0o755)
    with (
        socket.socket() as held,
        subprocess.Popen([program, "60"], pass_fds=[held.fileno()]) as ran,
    ):
        try:
            found = {each.pid: each for each in tls_programs(frozenset(PROBES))}
            told = check("TLS")
        finally:
            ran.kill()
    if by:
        assert found[ran.pid] == TlsProgram(ran.pid, "service", (), by)
        assert told.state is State.NOTE
        assert f"service ({by}, process {ran.pid})" in told.found
    else:
        assert ran.pid not in found


def test_a_program_whose_tls_can_be_read_is_not_said_to_hide_it() -> None:
    code = "import socket, ssl, time; s = socket.socket(); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as ran:
        try:
            assert ran.stdout is not None
            ran.stdout.readline()
            found = {each.pid: each for each in tls_programs(frozenset(PROBES))}
            told = check("TLS")
        finally:
            ran.kill()
    (library,) = found[ran.pid].libraries
    assert found[ran.pid].by == ""
    assert Path(library).name in told.found
    assert f"process {ran.pid})" not in told.found


def test_it_loads_nothing_that_is_slow() -> None:
    code = (
        "import io, sys; from wiretape.agent.doctor import doctor; doctor(io.StringIO());"
        "print({'numpy', 'rich', 'google.protobuf', 'bcc'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
