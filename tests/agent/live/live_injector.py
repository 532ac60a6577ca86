"""Sends frames as they are; the file has one a line, in hex.

python live_injector.py INTERFACE FILE
"""

import socket
import sys
from pathlib import Path

with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
    sender.bind((sys.argv[1], 0))
    for line in Path(sys.argv[2]).read_text().splitlines():
        sender.send(bytes.fromhex(line))
