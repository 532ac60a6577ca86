"""Imports broken captures: no exception, no hang, sums that hold, the same for any batches.

    scripts/fuzz [--minutes N | --inputs N] [--seed N] [--keep DIR] [DIR...]

Seeds are captures of our own, and those of the folders that are named. An input that fails is
written to --keep; each is made anew by its number and the seed.
"""

import argparse
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from random import Random
from types import FrameType

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / folder) for folder in ("fuzz", "agent", "exchange")]

from http_samples import SAMPLES  # noqa: E402
from mutations import MAX_INPUT, capture_of, of_bytes, of_packets, packets_of  # noqa: E402
from tcp_traffic import Peers, Segment  # noqa: E402

from wiretape.agent.config import ImportConfig  # noqa: E402
from wiretape.agent.importing import import_captures  # noqa: E402
from wiretape.agent.packets import PacketBatch  # noqa: E402
from wiretape.agent.pipeline import Pipeline  # noqa: E402
from wiretape.agent.sources.pcap_file import CaptureError, open_capture  # noqa: E402
from wiretape.agent.tcp.memory import Traffic  # noqa: E402
from wiretape.exchange.recording import read_recording  # noqa: E402

MAX_MEMORY = 3 << 30
MAX_SECONDS = 20
MAX_CONTENT = 1 << 20
_HEADER = bytes.fromhex("d4c3b2a1020004000000000000000000ffff000001000000")


class FaultError(Exception):
    """What an import did that it must not do."""


def own_captures() -> Iterator[bytes]:
    """Conversations of the HTTP tests in TCP, and the fixtures."""
    for number in range(0, len(SAMPLES), 4):
        sent: list[Segment] = []
        for place, sample in enumerate(SAMPLES[number : number + 4]):
            peers = Peers(client=("10.0.0.1", 40000 + place))
            peers.open()
            peers.ask(sample.asked, 30 + 500 * (place % 2))
            peers.answer(sample.answered, 25 + 700 * (place % 2))
            peers.segment(0)
            peers.close()
            sent += peers.sent
        sent.sort(key=lambda segment: segment.at_ns)
        yield capture_of(
            _HEADER,
            [(s.at_ns // 10**9, s.at_ns % 10**9 // 1000, len(s.frame), s.frame) for s in sent],
        )
    for file in sorted((ROOT / "fixtures" / "pcaps").glob("*/*.pcap*")):
        yield file.read_bytes()


def seeds(folders: list[Path]) -> list[bytes]:
    found = list(own_captures())
    for folder in folders:
        for file in sorted(folder.rglob("*")):
            usable = file.is_file() and file.suffix != ".json"
            found += [file.read_bytes()] if usable and file.stat().st_size <= MAX_INPUT else []
    return found


def make(captures: list[bytes], random: Random) -> bytes:
    """One input: a seed, broken as a capture of packets or as a file."""
    capture, other = random.choice(captures), random.choice(captures)
    parsed, other_parsed = packets_of(capture), packets_of(other)
    if parsed is not None and random.randrange(4):
        header, packets = parsed
        others = other_parsed[1] if other_parsed is not None else []
        return capture_of(header, of_packets(packets, random, others))[:MAX_INPUT]
    return of_bytes(capture, random, other)


def batches(data: Path, size: int) -> Iterator[PacketBatch]:
    """The packets that can be read, in batches of up to `size`; 0 as they come."""
    try:
        with open_capture(str(data)) as capture:
            for batch in capture.batches():
                yield from _cut(batch, size)
    except CaptureError:
        return


def _cut(batch: PacketBatch, size: int) -> Iterator[PacketBatch]:
    count = len(batch.start)
    step = size or max(count, 1)
    for at in range(0, count, step):
        columns = {}
        for column in fields(batch):
            value = getattr(batch, column.name)
            cuts = isinstance(value, np.ndarray) and column.name != "buffer"
            columns[column.name] = value[at : at + step] if cuts else value
        columns["first"] = batch.first + at
        yield PacketBatch(**columns)


def records_of(
    data: Path, size: int, fast: bool, traffic: Traffic
) -> tuple[list[tuple[int, bytes]], dict[str, object]]:
    """(channel, bytes) of each record, and the ledger."""
    pipeline = Pipeline("pcap", MAX_CONTENT, fast=fast)
    pipeline.traffic = traffic
    records = []
    for batch in batches(data, size):
        records += [(r[1], b"".join(r[2])) for r in pipeline.feed(batch)]
    records += [(r[1], b"".join(r[2])) for r in pipeline.close()]
    if faults := pipeline.ledger.faults():
        raise FaultError("; ".join(faults))
    return records, pipeline.ledger.as_json()


def check(data: Path, folder: Path, random: Random) -> None:
    """Raises what an import of `data` did wrong."""
    recording = folder / "fuzz.mcap"
    recording.unlink(missing_ok=True)
    config = ImportConfig((str(data),), str(recording), max_content_bytes=MAX_CONTENT)
    said: list[str] = []
    outcome = import_captures(config, said.append)
    if outcome.exit_code not in (0, 3):
        raise FaultError(f"exit code {outcome.exit_code}: {said}")
    if faults := outcome.ledger.faults():
        raise FaultError("; ".join(faults))
    reference, counts = records_of(data, 0, True, Traffic())
    if recording.exists():
        reader = read_recording(recording)
        held = len(list(reader)), len(list(reader.connection_ends()))
        of_channels = [channel for channel, _ in reference]
        if held != (outcome.ledger.exchanges, len(of_channels) - outcome.ledger.exchanges):
            raise FaultError(f"the recording holds {held}")
    few_packets = 1 + outcome.ledger.packets // 400  # or single batches take minutes
    tight = random.randrange(2, 60) << 10
    for size, fast in ((few_packets, False), (few_packets + random.randrange(1, 40), True)):
        if records_of(data, size, fast, Traffic())[0] != reference:
            raise FaultError(f"batches of {size}, fast={fast} differ")
    few = [
        records_of(data, size, fast, Traffic(tight, tight, 2 * tight))[0]
        for size, fast in ((0, True), (few_packets + random.randrange(40), False))
    ]
    if few[0] != few[1]:
        raise FaultError(f"with memory of {tight} batches differ")
    if counts["packets"] != outcome.ledger.packets:
        raise FaultError("packets differ")


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Raises after so much time of the processor: how busy the machine is does not matter."""

    def too_long(number: int, frame: FrameType | None) -> None:
        raise FaultError(f"took more than {seconds} s")

    before = signal.signal(signal.SIGPROF, too_long)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def fuzz(
    captures: list[bytes], seed: int, inputs: int, seconds: float, keep: Path | None
) -> tuple[int, int]:
    """Up to `inputs`, or for `seconds`: (inputs, faults)."""
    end = time.monotonic() + seconds
    done = faults = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = folder / "input"
        while done < inputs and time.monotonic() < end:
            random = Random(seed * 1_000_003 + done)
            data.write_bytes(make(captures, random))
            try:
                with limited(MAX_SECONDS):
                    check(data, folder, random)
            except Exception:
                faults += 1
                print(f"input {done} of seed {seed}:", file=sys.stderr)
                traceback.print_exc()
                if keep is not None:
                    keep.mkdir(parents=True, exist_ok=True)
                    (keep / f"{seed}-{done}").write_bytes(data.read_bytes())
            done += 1
    return done, faults


def main() -> int:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    options.add_argument("folders", nargs="*", type=Path, metavar="DIR")
    options.add_argument("--minutes", type=float, default=1)
    options.add_argument("--inputs", type=int, default=1 << 62)
    options.add_argument("--seed", type=int, default=int(time.time()))
    options.add_argument("--keep", type=Path)
    asked = options.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    captures = seeds(asked.folders)
    done, faults = fuzz(captures, asked.seed, asked.inputs, asked.minutes * 60, asked.keep)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    told = f"{done:,} inputs of {len(captures)} captures, {faults} faults, {peak} MiB at most"
    print(f"seed {asked.seed}: {told}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
