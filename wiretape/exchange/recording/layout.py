"""What all of the recording's modules know of its layout, and its one exception."""

from struct import Struct

MAGIC = b"\x89MCAP0\r\n"
RECORD = Struct("<BQ")
"""Opcode, length of what follows."""
MESSAGE = Struct("<BQHIQQ")
"""Opcode, length, channel, sequence, log time, publish time."""
MESSAGE_FIXED = MESSAGE.size - RECORD.size


class RecordingError(Exception):
    """A recording cannot be opened or made; the text is one line that says which and why."""
