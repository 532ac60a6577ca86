"""What the pipeline hands to the recording: encoded records, sorted by what finished them."""

EXCHANGES, CONNECTION_ENDS = 1, 2
"""The channels of a recording."""

Piece = bytes | memoryview

Record = tuple[int, int, tuple[Piece, ...], int, int]
"""Packet that finished it, channel, parts, their size in bytes, log time in ns."""
