"""What the kernel lets this process do, and how it gives that up (capabilities(7)).

The order of a live run, which has one thread until the last step:

    raise_permitted()            what the command's file or the container grants becomes effective
    account_for(user)            who will go on; wrong or impossible users are told here
    write_refusal(account, …)    for each place it will write to, before anything is captured
    …                            modules are imported (the interpreter may lie where the account
                                 cannot read), namespaces entered, sockets opened, filters attached
    drop_to(account)             nothing is left; what is open stays open
    …                            files are created, threads started

capset, prctl and unshare act on the calling thread alone, so a thread that was there before would
keep what it had.
"""

import ctypes
import os
import pwd
import shlex
import shutil
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

_CAPABILITY_VERSION_3 = 0x20080522
_PR_SET_DUMPABLE = 4
_PR_CAPBSET_READ, _PR_CAPBSET_DROP = 23, 24
_PR_SET_NO_NEW_PRIVS, _PR_GET_NO_NEW_PRIVS = 38, 39
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 2, 4
_MAX_CAPABILITIES = 64
_NO_ID = (1 << 32) - 1
"""Means "unchanged" to setresuid."""

_libc = ctypes.CDLL(None, use_errno=True)
# Variadic: each argument must be as wide as the kernel reads it.
_libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]


class Capability(IntEnum):
    """Those that Wiretape has a use for; numbers of linux/capability.h."""

    DAC_READ_SEARCH = 2
    SETGID = 6
    SETUID = 7
    SETPCAP = 8
    NET_ADMIN = 12
    NET_RAW = 13
    SYS_PTRACE = 19
    SYS_ADMIN = 21
    PERFMON = 38
    BPF = 39


class PrivilegeError(Exception):
    """A privilege is missing, or could not be given up: one line that says which."""


class CapabilitySets(NamedTuple):
    """Bit masks, as the kernel holds them for a thread."""

    effective: int
    permitted: int
    inheritable: int


@dataclass(frozen=True)
class Account:
    """Who the process is, or will be."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    """Supplementary groups."""


@dataclass(frozen=True)
class Standing:
    """What decides which command would help."""

    uid: int
    effective: frozenset[Capability]
    bounding: frozenset[Capability]
    no_new_privs: bool = False
    user_namespace: bool = False
    """Not the first one: what is held in it may mean nothing to the network."""
    sudo: bool = True
    """There is a sudo command."""


def capability_sets() -> CapabilitySets:
    """What the calling thread has."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)()
    _check(_libc.capget(header, data))
    return CapabilitySets(*(data[n] | data[n + 3] << 32 for n in range(3)))


def effective_capabilities() -> frozenset[Capability]:
    return _named(capability_sets().effective)


def standing() -> Standing:
    return Standing(
        uid=os.geteuid(),
        effective=effective_capabilities(),
        bounding=frozenset(c for c in Capability if _in_bounding_set(c)),
        no_new_privs=bool(_libc.prctl(_PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)),
        user_namespace=_in_user_namespace(),
        sudo=shutil.which("sudo") is not None,
    )


def may_capture_packets() -> bool:
    """Whether a packet socket opens. Capabilities alone do not tell: within a user namespace they
    say nothing about a network that belongs to another, and a seccomp profile may forbid it."""
    try:
        # Protocol 0: nothing is received.
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()
    except OSError:
        return False
    return True


def raise_permitted() -> None:
    """Make effective what is permitted: an interpreter that has a capability as file capability
    without the effective bit starts where the container withholds it, and can say so."""
    sets = capability_sets()
    if sets.effective != sets.permitted:
        _set_capabilities(sets._replace(effective=sets.permitted))


def how_to_get(argv: Sequence[str], *capabilities: Capability, now: Standing | None = None) -> str:
    """The one command, or the one change, after which `argv` would have `capabilities`."""
    now = now or standing()
    command = shlex.join([_command_path(argv[0]), *argv[1:]])
    if now.effective.issuperset(capabilities):
        if now.user_namespace:
            return f"outside of this user namespace (a rootless container): sudo {command}"
        return "allow AF_PACKET in the seccomp or LSM profile that forbids it"
    if now.uid == 0 or not now.bounding.issuperset(capabilities):
        options = " ".join(f"--cap-add {c.name}" for c in capabilities)
        return f"start the container with {options}"
    if now.no_new_privs:
        names = " ".join(f"CAP_{c.name}" for c in capabilities)
        return f"AmbientCapabilities={names} in the unit (no_new_privs forbids sudo)"
    # With its full path, which is not among those where sudo looks; setcap does not act on scripts.
    return as_root(command, now)


def as_root(command: str, now: Standing | None = None) -> str:
    """What a user types so that root runs the command."""
    now = now or standing()
    if now.uid == 0:
        return command
    return f"sudo {command}" if now.sudo else f"su -c {shlex.quote(command)}"


def account_for(user: str | None, environ: Mapping[str, str] = os.environ) -> Account:
    """Who goes on after the sockets are open: `user` (a name or number), else who called sudo, else
    who we are. A number without an account has the group of the same number and no others.

    Raises ValueError where there is no such user, PrivilegeError where we may not become it.
    """
    may_change = _may_change_user()
    if user is None and os.geteuid() == 0 and may_change:
        user = environ.get("SUDO_UID")
    if user is None:
        return _current()
    wanted = _account(user)
    if wanted.uid == os.geteuid():
        return _current()
    if not may_change:
        raise PrivilegeError(
            f"cannot become {wanted.name}: only root can (CAP_SETUID, CAP_SETGID);"
            f" without --user it stays {_current().name}"
        )
    return wanted


def write_refusal(account: Account, path: Path) -> str | None:
    """Why `account`, without capabilities, cannot create files in the folder `path`, which may not
    exist yet; None where it can. Asked of the kernel, by a child that became `account`."""
    folder = path
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if _may_write(account, folder):
        return None
    owner = _account(str(folder.stat().st_uid))
    refusal = f"{account.name} may not write to {folder}"
    if _may_change_user() and owner != account and _may_write(owner, folder):
        return f"{refusal}: --user {owner.name} may"
    return refusal


def drop_to(account: Account) -> None:
    """Become `account` and keep no capability, nor a way to one; what is open stays open.

    Raises PrivilegeError where another thread runs, or anything would be left.
    """
    if (threads := _thread_count()) > 1:
        raise PrivilegeError(f"privileges cannot be dropped: {threads} threads run already")
    try:
        _drop(account)
    except OSError as error:
        raise PrivilegeError(f"cannot become {account.name}: {error.strerror}") from None
    if left := _left(account):
        raise PrivilegeError(f"privileges could not be dropped: {left}")


def _drop(account: Account) -> None:
    bounding_can_shrink = Capability.SETPCAP in effective_capabilities()
    if bounding_can_shrink:
        for capability in range(_MAX_CAPABILITIES):
            if _in_bounding_set(capability):
                _check(_libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0))
    _check(_libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))
    become(account)
    # Not left to setresuid, which takes nothing from who stays the same or where securebits say so.
    _set_capabilities(CapabilitySets(0, 0, 0))
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    # Our memory holds others' traffic, our descriptors its source: no core files, and no debugger
    # but root's.
    _check(_libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0))


def keep(*capabilities: Capability) -> None:
    """Keep these alone, as far as they are there, and no way to others. Raises OSError."""
    sets = capability_sets()
    kept = sum(1 << each for each in capabilities) & sets.permitted
    _check(_libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))
    _set_capabilities(CapabilitySets(kept, kept, 0))
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _check(_libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0))


def pass_on(*capabilities: Capability) -> None:
    """Have the next program that this process becomes hold these, as far as they are there: one
    without a file capability of its own would have none. Raises OSError."""
    sets = capability_sets()
    passed = sum(1 << each for each in capabilities) & sets.permitted
    _set_capabilities(sets._replace(inheritable=passed))
    for each in capabilities:
        if passed >> each & 1:
            _check(_libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, each, 0, 0))


def become(account: Account) -> None:
    """Change the user and groups alone. Raises OSError."""
    # Groups first: afterwards nothing may change them.
    if set(os.getgroups()) != set(account.groups):
        os.setgroups(account.groups)
    os.setresgid(account.gid, account.gid, account.gid)
    os.setresuid(account.uid, account.uid, account.uid)


def _left(account: Account) -> str:
    """What is not as it should be; empty where all is."""
    if os.getresuid() != (account.uid,) * 3 or os.getresgid() != (account.gid,) * 3:
        return f"the user is not {account.name}"
    if set(os.getgroups()) - {account.gid} != set(account.groups) - {account.gid}:
        return f"the groups are not those of {account.name}"
    if any(capability_sets()):
        return "capabilities are left"
    if not _libc.prctl(_PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0):
        return "new ones can be gained"
    if may_capture_packets():
        return "a packet socket still opens"
    return ""


def _may_write(account: Account, folder: Path) -> bool:
    def may_write() -> bool:
        drop_to(account)
        return os.access(folder, os.W_OK | os.X_OK)

    return in_child(may_write)


def in_child(question: Callable[[], bool]) -> bool:
    """The answer of a child, whose standing it may change; False where it fails."""
    child = os.fork()
    if child == 0:
        answer = False
        try:
            answer = question()
        except (OSError, PrivilegeError):
            pass
        finally:
            # Nothing of what the parent has begun is ended twice.
            os._exit(0 if answer else 1)
    return os.waitpid(child, 0)[1] == 0


def _may_change_user() -> bool:
    return {Capability.SETUID, Capability.SETGID} <= effective_capabilities()


def _account(user: str) -> Account:
    """Raises ValueError."""
    try:
        found = pwd.getpwnam(user)
    except KeyError:
        if not user.isdecimal() or int(user) >= _NO_ID:
            raise ValueError(f"--user {user}: there is no such user") from None
        uid = int(user)
        try:
            found = pwd.getpwuid(uid)
        except KeyError:
            return Account(user, uid, uid, ())
    groups = os.getgrouplist(found.pw_name, found.pw_gid)
    return Account(found.pw_name, found.pw_uid, found.pw_gid, tuple(groups))


def _current() -> Account:
    uid = os.geteuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    return Account(name, uid, os.getegid(), tuple(os.getgroups()))


def _named(mask: int) -> frozenset[Capability]:
    return frozenset(c for c in Capability if mask >> c & 1)


def _in_bounding_set(capability: int) -> bool:
    """False also for one that this kernel does not know."""
    return int(_libc.prctl(_PR_CAPBSET_READ, capability, 0, 0, 0)) == 1


def _in_user_namespace() -> bool:
    """Whether user ids are mapped: the first namespace has all of them, as they are."""
    try:
        mapping = Path("/proc/self/uid_map").read_text(encoding="ascii").split()
    except OSError:
        return False
    return mapping != ["0", "0", str(_NO_ID)]


def _set_capabilities(sets: CapabilitySets) -> None:
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    low = [mask & 0xFFFFFFFF for mask in sets]
    high = [mask >> 32 for mask in sets]
    _check(_libc.capset(header, (ctypes.c_uint32 * 6)(*low, *high)))


def _check(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _thread_count() -> int:
    try:
        return len(list(Path("/proc/self/task").iterdir()))
    except OSError:
        return threading.active_count()


def _command_path(command: str) -> str:
    """The full path of the command that was called as `command`."""
    found = shutil.which(command)
    if found is None:
        beside = Path(sys.executable).with_name("capture-agent")
        found = str(beside) if beside.exists() else "capture-agent"
    return str(Path(found).absolute()) if "/" in found else found
