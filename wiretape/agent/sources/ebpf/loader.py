"""From the programs' source to programs and maps in the kernel."""

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

from wiretape.kernel import loader
from wiretape.kernel.loader import EbpfError, EbpfPermissionError, Loaded, possible_processors

__all__ = [
    "KPROBE", "RAW_TRACEPOINT", "EbpfError", "EbpfPermissionError", "Loaded", "load",
    "possible_processors",
]  # fmt: skip

RAW_TRACEPOINT, KPROBE = 17, 2
"""Program types, as bpf(2) numbers them; a uprobe is of the latter."""

_PROGRAMS = Path(__file__).with_name("programs")

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


def load(
    sources: Sequence[str],
    programs: Mapping[str, int],
    maps: Sequence[str],
    macros: Mapping[str, int],
    inherited: Mapping[str, int] | None = None,
    values: Mapping[str, int] | None = None,
) -> Loaded:
    """Loads functions of files of `programs/`, compiled as one, each of its type.

    Arguments are those of kernel.loader.load. Raises EbpfError.
    """
    if platform.machine() not in _PLACES_OF:
        raise EbpfError(f"no eBPF capture on {platform.machine()}: x86_64 or aarch64")
    places = _PLACES | _PLACES_OF[platform.machine()]
    files = [_PROGRAMS / source for source in sources]
    return loader.load(files, programs, maps, macros, places, inherited, values)
