"""The recording of a live agent: rotated, bounded, killed, on a full disk, moved away."""

import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from test_recording import exchange, files_of_at_most, noise, record

from wiretape.exchange.recording import CHUNK_BYTES, RecordingError, read_recording
from wiretape.exchange.recording.live import FLUSH_NS, SYNC_NS, LiveWriter
from wiretape.exchange.recording.mcap_file import McapFile
from wiretape.exchange.records import EXCHANGES, Record
from wiretape.exchange.rotation import live_recording
from wiretape.exchange.v1 import exchange_pb2 as pb

SECOND = 10**9
MINUTE = 60 * SECOND


def silence(text: str) -> None:
    pytest.fail(f"nothing was to be said: {text}")


def encoded(*exchanges: pb.Exchange) -> list[Record]:
    return [record(EXCHANGES, each.SerializeToString()) for each in exchanges]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def ordinals(path: Path) -> list[int]:
    """Of all exchanges, in a recording of which nothing was cut."""
    reader = read_recording(path)
    found = [each.ordinal for each in reader]
    assert reader.truncated is None
    return found


def used(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def write_each(
    writer: LiveWriter, numbers: Iterable[int], size: int = 10_000, now_ns: int = 0
) -> None:
    """Each exchange in a chunk of its own."""
    for number in numbers:
        writer.write_records(encoded(noise(number, size)), now_ns)
        writer.flush()


def test_directory_is_continued_and_private(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "rec"
    for run in range(3):
        with live_recording(f"{folder}/", silence) as writer:
            assert writer.files == run
            writer.write_records(encoded(exchange(run)), 0)
    assert names(folder) == ["000001.mcap", "000002.mcap", "000003.mcap"]
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert ordinals(folder) == [0, 1, 2]


@pytest.mark.parametrize(
    ("there", "made"),
    [
        (["000007.mcap"], "000008.mcap"),
        (["other.mcap", "17.mcap", "0000099.mcap", "000002.mcap.bak", "notes"], "000001.mcap"),
        (["000002.mcap", "000010.mcap"], "000011.mcap"),
        (["000998.mcap/"], "000001.mcap"),
        (["000001.mcap/"], "000002.mcap"),
    ],
)
def test_number_of_the_next_file(tmp_path: Path, there: list[str], made: str) -> None:
    for name in there:
        path = tmp_path / name
        path.mkdir() if name.endswith("/") else path.write_bytes(b"")
    before = set(names(tmp_path))
    with live_recording(f"{tmp_path}/", silence) as writer:
        writer.write_records(encoded(exchange(0)), 0)
    assert set(names(tmp_path)) - before == {made}


def test_file_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    with live_recording(f"{tmp_path}/", silence) as writer:
        (tmp_path / "000001.mcap").write_bytes(b"precious")
        writer.write_records(encoded(exchange(0)), 0)
    assert (tmp_path / "000001.mcap").read_bytes() == b"precious"
    assert ordinals(tmp_path / "000002.mcap") == [0]


def test_numbers_end(tmp_path: Path) -> None:
    (tmp_path / "999999.mcap").write_bytes(b"")
    writer = live_recording(f"{tmp_path}/", silence)
    with pytest.raises(OSError, match="no number"):
        write_each(writer, range(1))
    with pytest.raises(OSError, match="no number"):
        writer.close()


def test_size_of_files(tmp_path: Path) -> None:
    with live_recording(f"{tmp_path}/", silence, rotate_bytes=60_000) as writer:
        write_each(writer, range(20))
        write_each(writer, range(20, 21), size=200_000)
        write_each(writer, range(21, 22))
        files, size = writer.files, writer.bytes_on_disk
        assert (files, size) == (len(names(tmp_path)), used(tmp_path))
    sizes = [path.stat().st_size for path in sorted(tmp_path.iterdir())]
    large = [size for size in sizes if size > 60_000]
    assert len(large) == 1, "the file of one large chunk alone"
    assert all(size > 40_000 for size in sizes[:4])
    assert [n for path in sorted(tmp_path.iterdir()) for n in ordinals(path)] == [*range(22)]


def test_age_of_files(tmp_path: Path) -> None:
    with live_recording(f"{tmp_path}/", silence, rotate_ns=10 * MINUTE) as writer:
        writer.tick(0)
        writer.tick(60 * MINUTE)
        assert names(tmp_path) == [], "no file without something to write"
        begun = 61 * MINUTE
        writer.write_records(encoded(exchange(0)), begun - SECOND)
        writer.tick(begun)
        writer.write_records(encoded(exchange(1)), begun + 9 * MINUTE)
        writer.tick(begun + 10 * MINUTE - 1)
        writer.tick(begun + 10 * MINUTE)
        assert ordinals(tmp_path / "000001.mcap") == [0, 1], "it has a summary"
        writer.write_records(encoded(exchange(2)), begun + 12 * MINUTE)
        assert names(tmp_path) == ["000001.mcap"]
        writer.flush()
        assert names(tmp_path) == ["000001.mcap", "000002.mcap"]
        for minute in range(13, 200):
            writer.tick(begun + minute * MINUTE)
        assert ordinals(tmp_path / "000002.mcap") == [2]
    assert names(tmp_path) == ["000001.mcap", "000002.mcap"]


def test_rotate_begins_a_file(tmp_path: Path) -> None:
    with live_recording(f"{tmp_path}/", silence) as writer:
        writer.rotate()
        assert names(tmp_path) == []
        writer.write_records(encoded(exchange(0)), 0)
        writer.rotate()
        writer.rotate()
        assert ordinals(tmp_path / "000001.mcap") == [0]
        writer.write_records(encoded(exchange(1)), 0)
    assert names(tmp_path) == ["000001.mcap", "000002.mcap"]
    assert ordinals(tmp_path) == [0, 1]


def test_records_are_flushed_half_a_second_after_the_first(tmp_path: Path) -> None:
    with live_recording(f"{tmp_path}/", silence) as writer:
        writer.write_records(encoded(exchange(0)), SECOND)
        writer.write_records(encoded(exchange(1)), SECOND + FLUSH_NS - 1)
        assert names(tmp_path) == []
        writer.tick(SECOND + FLUSH_NS)
        assert len(list(read_recording(tmp_path))) == 2
        writer.write_records(encoded(exchange(2)), 5 * SECOND)
        assert len(list(read_recording(tmp_path))) == 2


def test_full_chunks_are_written_at_once(tmp_path: Path) -> None:
    made = [noise(number, CHUNK_BYTES // 4) for number in range(43)]
    with live_recording(f"{tmp_path}/", silence, rotate_bytes=3 * CHUNK_BYTES) as writer:
        left = iter(encoded(*made))
        with files_of_at_most(CHUNK_BYTES), pytest.raises(OSError, match="File too large"):
            writer.write_records(left, 0)
        writer.write_records(left, 0)
        assert list(read_recording(tmp_path)) == made[:40]
        assert writer.files == 5
    assert list(read_recording(tmp_path)) == made


def test_syncs_have_a_pace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []

    def sync(file: McapFile, really: object = McapFile.sync) -> None:
        synced.append(file.size)
        really(file)  # type: ignore[operator]

    monkeypatch.setattr(McapFile, "sync", sync)
    with live_recording(f"{tmp_path}/", silence) as writer:
        for moment in range(100):
            writer.write_records(encoded(exchange(moment)), SECOND + moment * SYNC_NS // 10)
            writer.flush()
            while writer._syncing and not writer._syncing[0].done():
                pass
    assert 10 <= len(synced) <= 12
    assert synced == sorted(set(synced)), "none without something new"
    assert synced[-1] == used(tmp_path)


def test_pieces_may_be_reused(tmp_path: Path) -> None:
    """As those in a ring that the kernel writes to."""
    memory = bytearray(exchange(1, 5000).SerializeToString())
    pieces = (memoryview(memory)[:100], memoryview(memory)[100:])
    with live_recording(f"{tmp_path}/", silence) as writer:
        for _ in range(3):
            writer.write_records([(0, EXCHANGES, pieces, len(memory), 1)], 0)
        memory[:] = bytes(len(memory))
    assert list(read_recording(tmp_path)) == [exchange(1, 5000)] * 3


def test_bound_of_all_files(tmp_path: Path) -> None:
    bound = 300_000
    (tmp_path / "mine.mcap").write_bytes(bytes(400_000))
    (tmp_path / "000004.mcap").write_bytes(bytes(20_000))
    said: list[str] = []
    with live_recording(f"{tmp_path}/", said.append, max_disk_bytes=bound) as writer:
        for number in range(200):
            write_each(writer, range(number, number + 1))
            assert used(tmp_path) - 400_000 == writer.bytes_on_disk < bound
            assert writer.files == len(names(tmp_path)) - 1
    assert used(tmp_path) - 400_000 < bound
    removed = writer.removed_files
    assert len(said) == removed > 10
    assert said[0] == (
        f"{tmp_path}/000004.mcap: removed, the oldest, 20,000 bytes: all would exceed 300,000 bytes"
    )
    assert not any("\n" in text for text in said)
    assert names(tmp_path)[0] == f"{4 + removed:06}.mcap", "from the oldest on"
    (tmp_path / "mine.mcap").unlink()
    found = ordinals(tmp_path)
    assert found == [*range(found[0], 200)]
    assert used(tmp_path) > bound * 0.7
    # Those of an earlier run count.
    before = names(tmp_path)
    with live_recording(f"{tmp_path}/", said.append, max_disk_bytes=100_000) as writer:
        write_each(writer, range(200, 201))
        assert used(tmp_path) < 100_000
        assert writer.removed_bytes > 150_000
    assert set(before) - set(names(tmp_path))
    assert ordinals(tmp_path)[-1] == 200


@pytest.mark.parametrize("removed", ["000001.mcap", "000003.mcap", "all"])
def test_files_that_others_removed_do_not_count(tmp_path: Path, removed: str) -> None:
    said: list[str] = []
    with live_recording(f"{tmp_path}/", said.append, max_disk_bytes=1_000_000) as writer:
        number = 0
        while writer.bytes_on_disk < 950_000:
            write_each(writer, [number])
            number += 1
        for path in sorted(tmp_path.iterdir())[:-1]:
            if removed in (path.name, "all"):
                path.unlink()
        gone = number - len(list(read_recording(tmp_path)))
        assert gone
        write_each(writer, range(gone - 2))
        assert said == []
        write_each(writer, range(100))
        assert 900_000 < writer.bytes_on_disk == used(tmp_path) < 1_000_000
        assert writer.removed_files == len(said) > 0


def test_current_file_alone_above_the_bound_can_be_removed(tmp_path: Path) -> None:
    said: list[str] = []
    opened = live_recording(f"{tmp_path}/", said.append, rotate_bytes=10**9, max_disk_bytes=100_000)
    with opened as writer:
        write_each(writer, range(30))
        assert used(tmp_path) < 100_000
    assert len(said) == writer.removed_files >= 3
    assert ordinals(tmp_path)[-1] == 29
    with live_recording(f"{tmp_path}/", said.append, max_disk_bytes=1) as writer:
        write_each(writer, range(2))
    assert ordinals(tmp_path) == [1], "one chunk is always kept"


@pytest.mark.parametrize("bound", ["rotate_bytes", "rotate_ns", "max_disk_bytes"])
def test_bounds_need_a_directory_and_a_size(tmp_path: Path, bound: str) -> None:
    with pytest.raises(RecordingError, match=r"rec\.mcap: .* needs a directory \(end -o with /"):
        live_recording(f"{tmp_path}/rec.mcap", silence, **{bound: 5})  # type: ignore[arg-type]
    with pytest.raises(RecordingError, match="must be above 0"):
        live_recording(f"{tmp_path}/rec/", silence, **{bound: 0})  # type: ignore[arg-type]
    assert names(tmp_path) == []


def test_what_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RecordingError, match="file: File exists"):
        live_recording(f"{tmp_path}/file/", silence)
    with pytest.raises(RecordingError, match="file: exists already"):
        live_recording(f"{tmp_path}/file", silence)
    with pytest.raises(RecordingError, match=r"is a directory \(end it with /\)"):
        live_recording(str(tmp_path), silence)
    with pytest.raises(RecordingError, match="No such file"):
        live_recording(f"{tmp_path}/none/rec.mcap", silence)


def test_one_process_records_into_a_directory(tmp_path: Path) -> None:
    with (
        live_recording(f"{tmp_path}/", silence),
        pytest.raises(RecordingError, match="another process records into it"),
    ):
        live_recording(f"{tmp_path}/", silence)
    live_recording(f"{tmp_path}/", silence).close()


def test_single_file_moved_away_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "rec.mcap"
    said: list[str] = []
    with live_recording(str(path), said.append) as writer:
        writer.write_records(encoded(exchange(0)), 0)
        writer.rotate()
        assert said == [f"{path}: a single file is not rotated (end -o with / for that)"]
        path.rename(tmp_path / "rec.1")
        writer.write_records(encoded(exchange(1)), 0)
        writer.rotate()
        assert ordinals(tmp_path / "rec.1") == [0, 1]
        writer.write_records(encoded(exchange(2)), 0)
        # As logrotate does with `create`.
        path.rename(tmp_path / "rec.2")
        path.write_bytes(b"")
        writer.rotate()
        assert ordinals(tmp_path / "rec.2") == [2]
        assert path.stat().st_mode & 0o777 == 0o600
        writer.write_records(encoded(exchange(3)), 0)
        assert (writer.files, len(said)) == (1, 1)
        # What is somebody else's is left alone.
        path.rename(tmp_path / "rec.3")
        path.write_bytes(b"precious")
        writer.rotate()
        assert path.read_bytes() == b"precious"
        assert "the file that was moved is continued" in said[1]
        path.unlink()
        writer.flush()
        with files_of_at_most(100):
            writer.rotate()
        assert "File too large; the file that was moved is continued" in said[2]
        assert not path.exists()
        writer.write_records(encoded(exchange(4)), 0)
    assert ordinals(tmp_path / "rec.3") == [3, 4]


@pytest.mark.parametrize("output", ["rec/", "rec.mcap"])
def test_nothing_is_written_after_it_is_closed(tmp_path: Path, output: str) -> None:
    writer = live_recording(f"{tmp_path}/{output}", silence)
    writer.write_records(encoded(exchange(0)), 0)
    writer.close()
    writer.close()
    with pytest.raises(ValueError, match="closed"):
        writer.write_records(encoded(exchange(1)), 0)
    assert ordinals(tmp_path / output) == [0]


def test_files_that_cannot_grow_further(tmp_path: Path) -> None:
    """A directory goes on in a new file."""
    with files_of_at_most(50_000), live_recording(f"{tmp_path}/", silence) as writer:
        write_each(writer, range(12))
    assert [each.ordinal for each in read_recording(tmp_path)] == [*range(12)]
    assert len(names(tmp_path)) == 3
    with files_of_at_most(20_000):
        writer = live_recording(f"{tmp_path}/", silence)
        with pytest.raises(OSError, match="File too large"):
            write_each(writer, range(12, 13), size=30_000)
        with pytest.raises(OSError, match="File too large"):
            writer.close()
    assert len(names(tmp_path)) == 3, "nothing empty is left"


_AGENT = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_rotation import encoded, exchange
from wiretape.exchange.rotation import live_recording

writer = live_recording(sys.argv[1], print, rotate_bytes=30_000)
number = 0
while True:
    for number in range(number, number + 7):
        writer.write_records(encoded(exchange(number, 100)), number)
    number += 1
    writer.flush()
    print(number, flush=True)
"""


@pytest.mark.parametrize("output", ["rec/", "rec.mcap"])
@pytest.mark.parametrize("flushes", [1, 2, 5, 23, 120])
def test_killed_at_any_moment(tmp_path: Path, output: str, flushes: int) -> None:
    """What was flushed is there; the reader says that the rest is not."""
    program = _AGENT.format(tests=str(Path(__file__).parent))
    if output == "rec.mcap":
        program = program.replace(", rotate_bytes=30_000", "")
    path = tmp_path / output
    child = subprocess.Popen(
        [sys.executable, "-c", program, f"{tmp_path}/{output}"], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    with child:
        for _ in range(flushes):
            child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        told = [int(line) for line in child.stdout if line.endswith("\n")]
    flushed = told[-1] if told else 7 * flushes
    reader = read_recording(path)
    found = [each.ordinal for each in reader]
    assert found == [*range(len(found))]
    assert len(found) >= flushed
    if path.is_dir():
        whole = names(path)[:-1]
        assert all(ordinals(path / name) for name in whole)
        assert (flushes < 120) or whole
    # Nothing is missing only where it was killed just between two files.
    if reader.truncated is not None:
        assert reader.truncated.startswith(str(path / names(path)[-1] if path.is_dir() else path))
    else:
        assert path.is_dir()
    with live_recording(f"{tmp_path}/rec/", silence) as writer:
        writer.write_records(encoded(exchange(len(found))), 0)
    assert next(reversed(list(read_recording(tmp_path / "rec")))).ordinal == len(found)
