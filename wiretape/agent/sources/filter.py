import struct
from dataclasses import dataclass


class FilterError(Exception):
    pass


@dataclass(frozen=True)
class Selection:
    ports: tuple = ()
    hosts: tuple = ()
    interfaces: tuple = ()
    excluded: tuple = ()
    expression: object = None


def assemble(s):
    AD = 0xFFFFF000
    ins = [
        (0x28, 0, 0, AD + 28),
        (0x15, 0, 2, 772),
        (0x28, 0, 0, AD + 4),
        (0x15, 2, 0, 4),
        (0x06, 0, 0, 0x40000),
        (0x06, 0, 0, 0x40000),
        (0x06, 0, 0, 0),
    ]
    # ld hatype ; jeq 772 ? next : accept ; ld pkttype ; jeq 4 -> drop
    ins = [
        (0x28, 0, 0, AD + 28),
        (0x15, 0, 3, 772),
        (0x28, 0, 0, AD + 4),
        (0x15, 0, 1, 4),
        (0x06, 0, 0, 0),
        (0x06, 0, 0, 0x40000),
    ]
    return b"".join(struct.pack("HBBI", *i) for i in ins)
