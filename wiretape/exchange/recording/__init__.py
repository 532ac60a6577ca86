"""The recording: exchanges as protobuf in an MCAP container.

A recording is one `.mcap` file or a directory of them. Whole chunks are compressed and written at
once, unbuffered, so a file that is cut anywhere still opens: every whole chunk before the cut is
read, and what is missing is said.
"""

from wiretape.exchange.recording.chunks import CHUNK_BYTES
from wiretape.exchange.recording.layout import RecordingError
from wiretape.exchange.recording.live import LiveWriter
from wiretape.exchange.recording.reader import RecordingReader, read_recording, recording_files
from wiretape.exchange.recording.writer import RecordingWriter

__all__ = [
    "CHUNK_BYTES",
    "LiveWriter",
    "RecordingError",
    "RecordingReader",
    "RecordingWriter",
    "read_recording",
    "recording_files",
]
