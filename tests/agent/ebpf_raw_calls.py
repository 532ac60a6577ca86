"""System calls that the standard library has no name for."""

import ctypes
import mmap
import socket
import struct

MSG_WAITFORONE = 0x10000


class Piece(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class Message(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint),
        ("pieces", ctypes.POINTER(Piece)),
        ("count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_size_t),
        ("length", ctypes.c_uint),
    )


def many(data: list[list[bytes]]) -> tuple[ctypes.Array, list]:
    vector, keep = (Message * len(data))(), []
    for n, message in enumerate(data):
        buffers = [(ctypes.c_char * len(piece)).from_buffer_copy(piece) for piece in message]
        pieces = (Piece * len(message))(
            *[Piece(ctypes.addressof(buffer), len(buffer)) for buffer in buffers]
        )
        vector[n].pieces, vector[n].count = pieces, len(message)
        keep.append(buffers)
    return vector, keep


def ring_send(sock: socket.socket, data: bytes) -> int:
    """One IORING_OP_SEND, waited for; its result."""
    libc = ctypes.CDLL(None, use_errno=True)
    parameters = ctypes.create_string_buffer(120)
    descriptor = libc.syscall(425, 2, parameters)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "io_uring_setup")
    words = struct.unpack_from("30I", parameters.raw)
    entries, completions = words[0], words[1]
    submission, completion = words[10:20], words[20:30]
    size = max(submission[6] + 4 * entries, completion[5] + 16 * completions)
    rings = mmap.mmap(descriptor, size, flags=mmap.MAP_SHARED, offset=0)
    requests = mmap.mmap(descriptor, 64 * entries, flags=mmap.MAP_SHARED, offset=0x10000000)
    buffer = ctypes.create_string_buffer(data, len(data))
    request = struct.pack(
        "<BBHiQQII", 26, 0, 0, sock.fileno(), 0, ctypes.addressof(buffer), len(data), 0
    )
    requests[: len(request)] = request
    struct.pack_into("I", rings, submission[6], 0)
    struct.pack_into("I", rings, submission[1], 1)
    libc.syscall(426, descriptor, 1, 1, 1, None, 0)
    return int(struct.unpack_from("<Qi", rings, completion[5])[1])
