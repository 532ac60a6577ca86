"""Where the time of an import goes: CPU microseconds an exchange, stage by stage.

usage: .venv/bin/python bench/stages.py CASE [--exchanges N] [--runs N]

One process walks the capture as `capture-agent import` does, with the clock read between stages
(the least of the runs is printed). Start of the interpreter and of its modules is not in it.
"""

import argparse
import gc
import tempfile
import time
import zlib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import zstandard
from import_captures import CASES

from wiretape.agent.pipeline import Pipeline, in_order
from wiretape.agent.sources.pcap_file import open_capture
from wiretape.agent.tcp.grouping import Flows
from wiretape.exchange.recording import CHUNK_BYTES, RecordingWriter

Stages = dict[str, float]


class _Free:
    """Compresses nothing, and takes no time for it."""

    def compress(self, data: bytes) -> bytes:
        return b""


def staged(capture: Path, output: Path) -> tuple[Stages, int]:
    """Seconds of each stage, and how many exchanges there were."""
    seconds: Stages = defaultdict(float)

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        started = time.process_time()
        yield
        seconds[name] += time.process_time() - started

    pipeline = Pipeline("pcap", 64 << 20)
    compressor = zstandard.ZstdCompressor(level=1)
    with RecordingWriter(output, force=True) as writer, open_capture(str(capture)) as opened:
        writer._chunks.compressor = _Free()  # type: ignore[assignment]  # what it costs is measured apart
        batches = opened.batches()
        while True:
            with stage("read and walk the capture"):
                batch = next(batches, None)
            if batch is None:
                break
            with stage("decode packets"):
                segments = pipeline._decoder.decode(batch).segments
            with stage("look for copies"):
                pipeline._duplicates.find(segments)
            with stage("group by flow"):
                Flows(segments, segments.at_ns)
            with stage("read messages, pair, encode"):
                pipeline._table.feed(segments)
                records = in_order(*pipeline.take())
            data = b"".join([bytes(piece) for record in records for piece in record[2]])
            with stage("fill and write chunks"):
                writer.write_records(records)
            with stage("compress"):
                for start in range(0, len(data), CHUNK_BYTES):
                    compressor.compress(data[start : start + CHUNK_BYTES])
            started = time.process_time()
            zlib.crc32(data)
            seconds["of which CRC"] += time.process_time() - started
    # It was done within the next stage too.
    seconds["read messages, pair, encode"] -= seconds["group by flow"]
    return seconds, pipeline.ledger.exchanges


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("case", choices=CASES)
    options.add_argument("--exchanges", type=int, default=40_000)
    options.add_argument("--runs", type=int, default=7)
    asked = options.parse_args()
    gc.disable()
    write, fewer = CASES[asked.case]
    with tempfile.TemporaryDirectory() as folder:
        capture = Path(folder, "capture.pcap")
        write(capture, max(asked.exchanges // fewer, 1))
        runs = [staged(capture, Path(folder, "out.mcap")) for _ in range(asked.runs)]
    exchanges = runs[0][1]
    least = {name: min(stages[name] for stages, _ in runs) / exchanges * 1e6 for name in runs[0][0]}
    for name, cost in least.items():
        print(f"{cost:8.2f} us  {name}")
    total = sum(cost for name, cost in least.items() if name != "of which CRC")
    print(f"{total:8.2f} us  in all, an exchange")


if __name__ == "__main__":
    main()
