"""What is held, what is given up, and what would help. Each change of standing is a child's."""

import ctypes
import json
import os
import shlex
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from wiretape.agent import privileges
from wiretape.agent.privileges import (
    Account,
    Capability,
    PrivilegeError,
    Standing,
    account_for,
    capability_sets,
    drop_to,
    effective_capabilities,
    how_to_get,
    in_child,
    may_capture_packets,
    raise_permitted,
    write_refusal,
)

NOBODY = Account("nobody-here", 54321, 54321, ())
"""No account of the system, so nothing is its own."""

_ETH_P_ALL = 3
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)

_needed = {Capability.NET_RAW, Capability.SETUID, Capability.SETGID, Capability.SETPCAP}
privileged = [
    pytest.mark.privileged,
    pytest.mark.skipif(
        os.geteuid() != 0 or not _needed <= effective_capabilities() or not may_capture_packets(),
        reason="needs root with CAP_NET_RAW, CAP_SETUID, CAP_SETGID and CAP_SETPCAP",
    ),
]


def as_root(test: Callable[..., None]) -> Callable[..., None]:
    for mark in privileged:
        test = mark(test)
    return test


def told_by_child(question: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What a child found out; an exception in it is told by its name and text."""
    reading, writing = os.pipe()

    def answer() -> bool:
        try:
            told = question()
        except Exception as error:
            told = {"error": f"{type(error).__name__}: {error}"}
        os.write(writing, json.dumps(told).encode())
        return True

    assert in_child(answer)
    os.close(writing)
    with os.fdopen(reading) as told:
        found = json.load(told)
    assert isinstance(found, dict)
    return found


def status() -> dict[str, str]:
    """The lines of /proc/self/status that tell who we are."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = {
        key: " ".join(value.split()) for key, _, value in (line.partition(":") for line in lines)
    }
    names = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Uid", "Gid", "Groups")
    return {name: found[name] for name in names}


def own_packet_arrives(opened: socket.socket) -> bool:
    """A datagram sent over loopback now is seen by a packet socket that was opened before."""
    opened.settimeout(10)
    word = os.urandom(16)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(word, ("127.0.0.1", 9))
    while word not in opened.recv(65536):
        pass
    return True


def with_net_raw_alone(account: Account) -> None:
    """As a service manager starts a service: another user, one ambient capability."""
    for capability in range(64):
        if capability != Capability.NET_RAW:
            _libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
    assert _libc.prctl(8, 1, 0, 0, 0) == 0  # PR_SET_KEEPCAPS
    privileges.become(account)
    one = 1 << Capability.NET_RAW
    privileges._set_capabilities(privileges.CapabilitySets(one, one, one))
    assert _libc.prctl(47, 2, Capability.NET_RAW, 0, 0) == 0  # PR_CAP_AMBIENT_RAISE


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that every user can get to, which is not so of pytest's own."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


def test_capabilities_are_those_the_kernel_tells() -> None:
    told = status()
    sets = capability_sets()
    assert [f"{mask:016x}" for mask in sets] == [told["CapEff"], told["CapPrm"], told["CapInh"]]
    assert (Capability.NET_RAW in effective_capabilities()) == bool(sets.effective >> 13 & 1)


@as_root
@pytest.mark.parametrize("account", [NOBODY, Account("nobody", 54321, 54321, (54322, 54323))])
def test_another_user_without_any_capability_keeps_what_is_open(account: Account) -> None:
    def question() -> dict[str, Any]:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL)) as opened:
            opened.bind(("lo", _ETH_P_ALL))
            drop_to(account)
            arrives = own_packet_arrives(opened)
            # An interface that went and came again has to be bound anew.
            opened.bind(("lo", _ETH_P_ALL))
        found: dict[str, Any] = {"arrives": arrives, "opens": may_capture_packets(), **status()}
        try:
            os.setresuid(0, 0, 0)
            found["root again"] = True
        except PermissionError:
            found["root again"] = False
        found["dumpable"] = _libc.prctl(3, 0, 0, 0, 0)  # PR_GET_DUMPABLE
        return found

    assert told_by_child(question) == {
        "arrives": True,
        "opens": False,
        "root again": False,
        "dumpable": 0,
        **dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), "0" * 16),
        "NoNewPrivs": "1",
        "Uid": " ".join(["54321"] * 4),
        "Gid": " ".join(["54321"] * 4),
        "Groups": " ".join(map(str, account.groups)),
    }


@as_root
def test_a_root_that_stays_has_no_capability_nor_has_what_it_starts(folder: Path) -> None:
    told = folder / "status"
    folder.chmod(0o777)

    def question() -> dict[str, Any]:
        drop_to(account_for(None, environ={}))
        with told.open("w") as out:
            code = subprocess.run(["cat", "/proc/self/status"], stdout=out).returncode
        dumpable = _libc.prctl(3, 0, 0, 0, 0)  # PR_GET_DUMPABLE
        return {"ran": code == 0, "dumpable": dumpable, "opens": may_capture_packets(), **status()}

    found = told_by_child(question)
    assert (found["ran"], found["dumpable"], found["opens"]) == (True, 0, False)
    assert found["Uid"] == "0 0 0 0"
    for line in told.read_text().splitlines():
        if line.startswith("Cap"):
            assert line.split()[1] == "0" * 16, line


@as_root
def test_a_service_with_one_ambient_capability_captures_and_drops_it() -> None:
    def question() -> dict[str, Any]:
        with_net_raw_alone(NOBODY)
        before = status()
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL)) as opened:
            drop_to(account_for(None, environ={"SUDO_UID": "1"}))
            arrives = own_packet_arrives(opened)
        after = status()
        return {
            "before": before["CapAmb"],
            "arrives": arrives,
            "opens": may_capture_packets(),
            **after,
        }

    found = told_by_child(question)
    assert int(found["before"], 16) == 1 << Capability.NET_RAW
    assert (found["arrives"], found["opens"], found["Uid"]) == (True, False, "54321 " * 3 + "54321")
    # Nobody may shrink the bounding set without CAP_SETPCAP; nothing can be gained from it.
    assert (found["CapPrm"], found["CapAmb"], found["NoNewPrivs"]) == ("0" * 16, "0" * 16, "1")


@as_root
@pytest.mark.parametrize(
    ("user", "told"),
    [
        ("54321", {"uid": 54321}),
        (None, {"uid": 54321}),
        (
            "root",
            {
                "error": "PrivilegeError: cannot become root: only root can"
                " (CAP_SETUID, CAP_SETGID); without --user it stays 54321"
            },
        ),
    ],
)
def test_who_is_not_root_can_only_stay(user: str | None, told: dict[str, Any]) -> None:
    def question() -> dict[str, Any]:
        with_net_raw_alone(NOBODY)
        return {"uid": account_for(user).uid}

    assert told_by_child(question) == told


@as_root
@pytest.mark.parametrize(
    ("user", "environ", "uid"),
    [
        (None, {}, 0),
        (None, {"SUDO_UID": "54321", "SUDO_GID": "54321"}, 54321),
        (None, {"SUDO_UID": "0"}, 0),
        ("root", {"SUDO_UID": "54321"}, 0),
        ("0", {}, 0),
        ("daemon", {}, 1),
        ("1", {}, 1),
        ("54321", {}, 54321),
    ],
)
def test_account(user: str | None, environ: dict[str, str], uid: int) -> None:
    account = account_for(user, environ)
    assert account.uid == uid
    if uid == 1:
        assert (account.name, account.gid) == ("daemon", 1)
    if uid == 54321:
        assert (account.name, account.gid, account.groups) == ("54321", 54321, ())


@pytest.mark.parametrize("user", ["no-such-user", "", "-1", "4294967295", "9" * 30, "1.5"])
def test_an_unknown_user_is_wrong_usage(user: str) -> None:
    with pytest.raises(ValueError, match=f"^--user {user}: there is no such user$"):
        account_for(user)


def test_a_thread_that_would_keep_its_privileges_forbids_to_drop_ours() -> None:
    done = threading.Event()
    other = threading.Thread(target=done.wait)
    before = status()
    other.start()
    try:
        with pytest.raises(PrivilegeError, match=r"^privileges cannot be dropped: \d+ threads run"):
            drop_to(NOBODY)
    finally:
        done.set()
        other.join()
    assert status() == before


def test_who_has_no_right_to_change_is_told_so() -> None:
    def question() -> dict[str, Any]:
        privileges._set_capabilities(privileges.CapabilitySets(0, 0, 0))
        drop_to(Account("another", os.geteuid() + 1, os.getegid(), ()))
        return {}

    error = "PrivilegeError: cannot become another: Operation not permitted"
    assert told_by_child(question) == {"error": error}


@as_root
def test_what_is_permitted_becomes_effective() -> None:
    def question() -> dict[str, Any]:
        sets = capability_sets()
        privileges._set_capabilities(sets._replace(effective=0))
        before = may_capture_packets()
        raise_permitted()
        return {"before": before, "after": may_capture_packets(), "same": capability_sets() == sets}

    assert told_by_child(question) == {"before": False, "after": True, "same": True}


@as_root
@pytest.mark.parametrize(("flags", "may"), [(0, False), (_CLONE_NEWNET, True)])
def test_a_user_namespace_has_rights_over_its_own_network_alone(flags: int, may: bool) -> None:
    def question() -> dict[str, Any]:
        if _libc.unshare(_CLONE_NEWUSER | flags) != 0:
            return {"unshare": os.strerror(ctypes.get_errno())}
        held = Capability.NET_RAW in effective_capabilities()
        return {
            "held": held,
            "may": may_capture_packets(),
            "fix": how_to_get(["true"], Capability.NET_RAW),
        }

    found = told_by_child(question)
    if "unshare" in found:
        pytest.skip(f"user namespaces: {found['unshare']}")
    assert (found["held"], found["may"]) == (True, may)
    assert found["fix"].startswith("outside of this user namespace (a rootless container): sudo /")


@as_root
def test_who_may_write_is_asked_of_the_kernel(folder: Path) -> None:
    owner = Account("54321", 54321, 54321, ())
    other = Account("54322", 54322, 54322, ())
    member = Account("54322", 54322, 54322, (54321,))
    root = account_for("root")
    theirs = folder / "theirs"
    theirs.mkdir(mode=0o770)
    theirs.chmod(0o770)
    os.chown(theirs, 54321, 54321)
    hidden = theirs / "hidden"
    hidden.mkdir()
    hidden.chmod(0o777)
    full = f"may not write to {theirs}: --user 54321 may"
    cases = [
        (owner, theirs, None),
        (member, theirs, None),
        (other, theirs, f"54322 {full}"),
        # Without its capabilities, root is a user like others.
        (root, theirs, f"root {full}"),
        (owner, theirs / "new/and/below", None),
        (other, theirs / "new/and/below", f"54322 {full}"),
        (other, hidden, f"54322 may not write to {hidden}"),
        (owner, folder, f"54321 may not write to {folder}: --user root may"),
        (root, folder / "new", None),
    ]
    for account, path, refusal in cases:
        assert write_refusal(account, path) == refusal, (account, path)
    assert status()["Uid"] == "0 0 0 0"


def test_a_folder_that_cannot_be_written_is_told_without_privilege_too(tmp_path: Path) -> None:
    def question() -> dict[str, Any]:
        privileges._set_capabilities(privileges.CapabilitySets(0, 0, 0))
        account = account_for(None)
        before = write_refusal(account, tmp_path)
        tmp_path.chmod(0o500)
        return {"before": before, "after": write_refusal(account, tmp_path), "name": account.name}

    found = told_by_child(question)
    tmp_path.chmod(stat.S_IRWXU)
    assert found["before"] is None
    assert found["after"] == f"{found['name']} may not write to {tmp_path}"


HELD = frozenset({Capability.NET_RAW})
ALL = frozenset(Capability)
NONE: frozenset[Capability] = frozenset()


@pytest.mark.parametrize(
    ("now", "fix"),
    [
        (Standing(1000, NONE, ALL), "sudo {}"),
        (Standing(1000, NONE, ALL, sudo=False), "su -c {quoted}"),
        (
            Standing(1000, NONE, ALL, no_new_privs=True),
            "AmbientCapabilities=CAP_NET_RAW in the unit (no_new_privs forbids sudo)",
        ),
        (Standing(1000, NONE, NONE), "start the container with --cap-add NET_RAW"),
        (Standing(0, NONE, NONE), "start the container with --cap-add NET_RAW"),
        (
            Standing(0, NONE, NONE, user_namespace=True),
            "start the container with --cap-add NET_RAW",
        ),
        (
            Standing(0, HELD, HELD, user_namespace=True),
            "outside of this user namespace (a rootless container): sudo {}",
        ),
        (Standing(0, ALL, ALL), "allow AF_PACKET in the seccomp or LSM profile that forbids it"),
    ],
)
def test_the_one_command_that_would_help(now: Standing, fix: str, tmp_path: Path) -> None:
    program = tmp_path / "with space"
    program.touch(mode=0o755)
    argv = [str(program), "run", "-o", "my rec.mcap", "--filter", "host ::1 and $x"]
    command = shlex.join(argv)
    wanted = fix.format(command, quoted=shlex.quote(command))
    assert how_to_get(argv, Capability.NET_RAW, now=now) == wanted


def test_several_capabilities_are_asked_for_together() -> None:
    now = Standing(0, HELD, HELD)
    fix = how_to_get(["capture-agent"], Capability.BPF, Capability.PERFMON, now=now)
    assert fix == "start the container with --cap-add BPF --cap-add PERFMON"


@pytest.mark.parametrize("called", ["capture-agent", "./capture-agent", "-c"])
def test_the_command_is_named_by_its_full_path(
    called: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For sudo looks in other places than the user's shell."""
    command = tmp_path / "capture-agent"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    now = Standing(1000, NONE, ALL)
    assert how_to_get([called, "run"], Capability.NET_RAW, now=now) == f"sudo {command} run"
