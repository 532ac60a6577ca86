"""From the programs' source to programs and maps in the kernel."""

import json
import mmap
import os
import platform
import re
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wiretape.agent.sources.ebpf.compiler import KERNEL_TYPES, Job, Outcome

RAW_TRACEPOINT, KPROBE = 17, 2
"""Program types, as bpf(2) numbers them; a uprobe is of the latter."""

_PROGRAMS = Path(__file__).with_name("programs")
_MAX_LINES = 12
_LONGEST_S = 60
_MAX_DESCRIPTORS = 250

_PLACES = {
    "AT_TASK_FILES": "task_struct.files",
    "AT_TASK_PID": "task_struct.pid",
    "AT_TASK_TGID": "task_struct.tgid",
    "AT_TASK_LEADER": "task_struct.group_leader",
    "AT_TASK_STARTED": "task_struct.start_time",
    "AT_TASK_SIGNAL": "task_struct.signal",
    "AT_SIGNAL_LIVE": "signal_struct.live",
    "AT_FILES_TABLE": "files_struct.fdt",
    "AT_TABLE_FILES": "fdtable.fd",
    "AT_FILE_PRIVATE_DATA": "file.private_data",
    "AT_SOCKET_FILE": "socket.file",
    "AT_SOCKET_SOCK": "socket.sk",
    "AT_SOCK_FAMILY": "sock.__sk_common.skc_family",
    "AT_SOCK_STATE": "sock.__sk_common.skc_state",
    "AT_SOCK_IPV4_REMOTE": "sock.__sk_common.skc_daddr",
    "AT_SOCK_IPV4_LOCAL": "sock.__sk_common.skc_rcv_saddr",
    "AT_SOCK_IPV6_REMOTE": "sock.__sk_common.skc_v6_daddr",
    "AT_SOCK_IPV6_LOCAL": "sock.__sk_common.skc_v6_rcv_saddr",
    "AT_SOCK_REMOTE_PORT": "sock.__sk_common.skc_dport",
    "AT_SOCK_LOCAL_PORT": "sock.__sk_common.skc_num",
    "AT_SOCK_NET": "sock.__sk_common.skc_net",
    "AT_NET_NUMBER": "net.ns.inum",
    "AT_SOCK_PROTOCOL": "sock.sk_protocol",
    "AT_SOCK_ERROR": "sock.sk_err",
    "AT_SOCK_SHUTDOWN": "sock.sk_shutdown",
    "AT_TCP_COPIED_SEQ": "tcp_sock.copied_seq",
    "AT_TCP_WRITE_SEQ": "tcp_sock.write_seq",
    "AT_TCP_RCV_NXT": "tcp_sock.rcv_nxt",
    "AT_TCP_SND_UNA": "tcp_sock.snd_una",
    "AT_TCP_BYTES_RECEIVED": "tcp_sock.bytes_received",
    "AT_TCP_BYTES_ACKED": "tcp_sock.bytes_acked",
    "AT_TCP_ULP": "inet_connection_sock.icsk_ulp_ops",
}
_PLACES_OF = {
    "x86_64": {"AT_THREAD_STATUS": "task_struct.thread_info.status"},
    "aarch64": {"AT_THREAD_FLAGS": "task_struct.thread_info.flags"},
}


class EbpfError(Exception):
    """No eBPF capture: one line with what would help, then what the kernel said, if it did."""


class EbpfPermissionError(EbpfError):
    """This process may not."""


@dataclass(frozen=True)
class Loaded:
    """Descriptors of what is in the kernel, by name."""

    programs: dict[str, int]
    maps: dict[str, int]

    def close(self) -> None:
        for descriptor in (*self.programs.values(), *self.maps.values()):
            os.close(descriptor)


def load(
    sources: Sequence[str],
    programs: Mapping[str, int],
    maps: Sequence[str],
    macros: Mapping[str, int],
    inherited: Sequence[int] = (),
) -> Loaded:
    """Compiles files of `programs/` as one, and loads their functions, each of its type.

    `inherited` are descriptors that the macros name. Raises EbpfError.
    """
    if platform.machine() not in _PLACES_OF:
        raise EbpfError(f"no eBPF capture on {platform.machine()}: x86_64 or aarch64")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        job = Job(
            socket=theirs.fileno(),
            sources=[str(_PROGRAMS / source) for source in sources],
            macros={
                "LINUX_VERSION_CODE": _version_code(),
                "PAGE_SIZE": mmap.PAGESIZE,
                **macros,
            },
            places=_PLACES | _PLACES_OF[platform.machine()],
            programs=dict(programs),
            maps=list(maps),
        )
        # Nothing is imported from the directory in which a privileged command happens to be run.
        command = [sys.executable, "-P", "-m", "wiretape.agent.sources.ebpf.compiler"]
        try:
            ran = subprocess.run(
                command,
                input=json.dumps(job).encode(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(theirs.fileno(), *inherited),
                timeout=_LONGEST_S,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise EbpfError(f"the programs cannot be compiled: {error}") from None
        theirs.close()
        answer, descriptors, _, _ = socket.recv_fds(ours, 1 << 16, _MAX_DESCRIPTORS)
    said = ran.stderr.decode(errors="replace")
    if not answer:
        raise EbpfError(_with("the programs cannot be compiled: their compiler died", said))
    outcome: Outcome = json.loads(answer)
    if outcome["failure"]:
        raise _error(outcome, said)
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    count = len(programs)
    return Loaded(
        dict(zip(programs, descriptors[:count], strict=True)),
        dict(zip(maps, descriptors[count:], strict=True)),
    )


def _error(outcome: Outcome, said: str) -> EbpfError:
    failure, detail = outcome["failure"], outcome["detail"]
    release = os.uname().release
    if failure == "bcc":
        return EbpfError(f"bcc is missing (apt-get install python3-bpfcc): {detail}")
    if failure == "types":
        what = "a kernel with CONFIG_DEBUG_INFO_BTF"
        return EbpfError(f"no kernel types in {KERNEL_TYPES} ({what}): {detail}")
    if failure == "load" and ("super-user" in detail or "not permitted" in detail):
        return EbpfPermissionError("eBPF programs need CAP_BPF and CAP_PERFMON, or root")
    what = "do not compile" if failure == "compile" else "are refused"
    return EbpfError(_with(f"eBPF programs {what} on Linux {release}: {detail}", said))


def _with(line: str, said: str) -> str:
    last = [text for text in said.splitlines() if text.strip()][-_MAX_LINES:]
    return "\n".join([line, *last])


def _version_code() -> int:
    numbers = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return (int(numbers[1]) << 16) + (int(numbers[2]) << 8) if numbers else 0


def possible_processors() -> int:
    """One more than the highest number that a processor may have."""
    text = Path("/sys/devices/system/cpu/possible").read_text(encoding="ascii")
    return int(text.strip().replace("-", ",").split(",")[-1]) + 1
