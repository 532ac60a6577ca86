"""The recording: whole, cut, damaged; on a full disk; readable by the mcap package."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mcap.reader import make_reader

from wiretape.exchange.recording import (
    CHUNK_BYTES,
    RecordingError,
    RecordingWriter,
    read_recording,
)
from wiretape.exchange.recording.mcap_file import McapFile
from wiretape.exchange.records import CONNECTION_ENDS, EXCHANGES
from wiretape.exchange.v1 import exchange_pb2 as pb

BEGIN_NS = 1_700_000_000 * 10**9


def exchange(number: int, size: int = 10) -> pb.Exchange:
    made = pb.Exchange(id=f"{number:016x}-c-{number}", ordinal=number)
    made.http.request.target = b"/%d" % number
    made.http.request.first_byte_at_ns = BEGIN_NS + number
    made.http.request.content.data = bytes([number % 251]) * size
    return made


def written(path: Path, count: int, per_chunk: int = 2) -> list[pb.Exchange]:
    made = [exchange(number) for number in range(count)]
    with RecordingWriter(path) as writer:
        for number, each in enumerate(made, 1):
            writer.write(each)
            if number % per_chunk == 0:
                writer.flush()
        end = pb.ConnectionEnd(id="c", closed_at_ns=BEGIN_NS).SerializeToString()
        writer.write_records([record(CONNECTION_ENDS, end)])
    return made


def record(channel: int, data: bytes) -> tuple[int, int, tuple[bytes, ...], int, int]:
    return 0, channel, (data[:1], data[1:]), len(data), BEGIN_NS


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Writing beyond fails with EFBIG: Python ignores the signal that goes with it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def noise(number: int, size: int = 10_000) -> pb.Exchange:
    """An exchange that cannot be compressed."""
    made = exchange(number)
    made.http.request.content.data = os.urandom(size)
    return made


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "some.mcap"
    made = written(path, 7)
    reader = read_recording(path)
    assert list(reader) == made
    assert reader.truncated is None
    assert list(reader) == made, "it can be read again"
    assert [end.id for end in reader.connection_ends()] == ["c"]
    assert [pb.Exchange.FromString(e) for e in reader.encoded(EXCHANGES)] == made


def test_large_exchanges_make_chunks_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "some.mcap"
    made = [exchange(number, CHUNK_BYTES // 2 + 5) for number in range(5)]
    made.append(exchange(5, 3 * CHUNK_BYTES))
    with RecordingWriter(path) as writer:
        for each in made:
            writer.write(each)
    assert list(read_recording(path)) == made
    with path.open("rb") as stream:
        summary = make_reader(stream).get_summary()
    assert summary is not None
    assert len(summary.chunk_indexes) == 3


def test_mcap_package_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "some.mcap"
    made = written(path, 7)
    with path.open("rb") as stream:
        reader = make_reader(stream, validate_crcs=True)
        summary = reader.get_summary()
        assert summary is not None
        assert summary.statistics is not None
        assert summary.statistics.message_count == 8
        assert summary.statistics.chunk_count == len(summary.chunk_indexes) == 4
        assert summary.statistics.message_start_time == BEGIN_NS
        assert summary.statistics.message_end_time == BEGIN_NS + 6
        assert {s.name for s in summary.schemas.values()} == {
            "wiretape.v1.Exchange", "wiretape.v1.ConnectionEnd",
        }  # fmt: skip
        found = [
            (message.sequence, message.log_time, message.data)
            for _, _, message in reader.iter_messages(topics=["/exchanges"])
        ]
    assert found == [(n, BEGIN_NS + n, each.SerializeToString()) for n, each in enumerate(made)]
    with path.open("rb") as stream:
        within = make_reader(stream).iter_messages(
            topics=["/exchanges"], starting_at=BEGIN_NS + 2, ending_before=BEGIN_NS + 5
        )
        assert [message.log_time - BEGIN_NS for _, _, message in within] == [2, 3, 4]


def test_descriptors_inside_describe_it(tmp_path: Path) -> None:
    """A reader that has nothing but the file can read it."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    path = tmp_path / "some.mcap"
    made = written(path, 1)
    with path.open("rb") as stream:
        schema, _, message = next(iter(make_reader(stream).iter_messages(topics=["/exchanges"])))
    assert schema is not None
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(schema.data).file:
        pool.Add(file)
    kind = message_factory.GetMessageClass(pool.FindMessageTypeByName(schema.name))
    assert kind.FromString(message.data).id == made[0].id  # type: ignore[attr-defined]


def test_cut_anywhere_gives_every_whole_chunk(tmp_path: Path) -> None:
    path = tmp_path / "whole.mcap"
    made = written(path, 6)
    data = path.read_bytes()
    with path.open("rb") as stream:
        summary = make_reader(stream).get_summary()
    assert summary is not None
    ends = [c.chunk_start_offset + c.chunk_length for c in summary.chunk_indexes][:3]
    cut_file = tmp_path / "cut.mcap"
    for cut in range(len(data)):
        cut_file.write_bytes(data[:cut])
        if cut < 8:
            with pytest.raises(RecordingError, match=r"cut\.mcap: (is empty|was cut)"):
                read_recording(cut_file)
            continue
        reader = read_recording(cut_file)
        whole = sum(end <= cut for end in ends)
        assert list(reader) == made[: 2 * whole], cut
        if cut < len(data) - 40:
            assert reader.truncated
            assert "\n" not in reader.truncated
            assert int(reader.truncated.partition("at byte ")[2].split(":")[0]) <= cut


def test_damaged_chunk_is_told_and_the_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "some.mcap"
    made = written(path, 6)
    with path.open("rb") as stream:
        summary = make_reader(stream).get_summary()
    assert summary is not None
    second = summary.chunk_indexes[1]
    whole = path.read_bytes()
    for at in range(second.chunk_start_offset + 9, second.chunk_start_offset + second.chunk_length):
        data = bytearray(whole)
        data[at] ^= 0x55
        path.write_bytes(data)
        reader = read_recording(path)
        found = list(reader)
        assert found in (made, made[:2] + made[4:]), at
        if found != made:
            assert reader.truncated, at


def test_directory_is_read_in_name_order(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    second, first = exchange(2), exchange(1)
    for name, each in (("b.mcap", second), ("a.mcap", first)):
        with RecordingWriter(folder / name) as writer:
            writer.write(each)
    (folder / "notes.txt").write_text("not a recording")
    assert list(read_recording(folder)) == [first, second]
    cut = folder / "a.mcap"
    cut.write_bytes(cut.read_bytes()[:-200])
    reader = read_recording(folder)
    list(reader)
    assert reader.truncated
    assert "a.mcap" in reader.truncated


def test_directory_is_made_and_private(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "new"
    with RecordingWriter(f"{folder}/") as writer:
        writer.write(exchange(0))
    assert list(read_recording(folder)) == [exchange(0)]
    assert folder.stat().st_mode & 0o777 == 0o700
    (file,) = folder.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


def test_directory_with_files_just_begun(tmp_path: Path) -> None:
    """As an agent leaves them that was killed, or is at work."""
    folder = tmp_path / "many"
    folder.mkdir()
    written(folder / "1.mcap", 2)
    (folder / "2.mcap").write_bytes(b"")
    (folder / "3.mcap").write_bytes((folder / "1.mcap").read_bytes()[:5])
    made = written(folder / "4.mcap", 2)
    reader = read_recording(folder)
    assert list(reader) == made + made
    assert reader.truncated == (
        f"{folder}/2.mcap: is empty; {folder}/3.mcap: was cut before its first exchange"
    )
    (folder / "3.mcap").write_bytes(b"something else")
    with pytest.raises(RecordingError, match=r"3\.mcap: is not a recording"):
        read_recording(folder)


def test_file_that_is_removed_while_a_directory_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for name in "123":
        made = written(folder / f"{name}.mcap", 2)
    reader = read_recording(folder)
    found = iter(reader)
    assert next(found) == made[0]
    (folder / "1.mcap").unlink()
    (folder / "2.mcap").unlink()
    assert list(found) == [made[1], *made]
    assert reader.truncated == f"{folder}/2.mcap: was removed"


def test_zeros_at_the_end_are_a_cut(tmp_path: Path) -> None:
    path = tmp_path / "some.mcap"
    made = written(path, 2)
    whole = path.read_bytes()
    chunks = whole[: whole.index(b"\x0f" + bytes([4, 0, 0, 0, 0, 0, 0, 0]))]
    path.write_bytes(chunks + bytes(5000))
    reader = read_recording(path)
    assert list(reader) == made
    assert reader.truncated == f"{path}: cut at byte {len(chunks)}: what followed is missing"


def test_existing_output_is_kept_without_force(tmp_path: Path) -> None:
    path = tmp_path / "some.mcap"
    path.write_bytes(b"precious")
    path.chmod(0o644)
    with pytest.raises(RecordingError, match="exists already"):
        RecordingWriter(path)
    assert path.read_bytes() == b"precious"
    RecordingWriter(path, force=True).close()
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(read_recording(path)) == []


def test_directory_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "keep").write_text("x")
    for force in (False, True):
        with pytest.raises(RecordingError, match=r"directory|exists"):
            RecordingWriter(tmp_path, force=force)
    assert (tmp_path / "keep").exists()


@pytest.mark.parametrize(
    ("data", "says"), [(b"", "is empty"), (b"\xd4\xc3\xb2\xa1" * 9, "is not a recording")]
)
def test_what_is_no_recording(tmp_path: Path, data: bytes, says: str) -> None:
    path = tmp_path / "some.mcap"
    path.write_bytes(data)
    with pytest.raises(RecordingError, match=f"some.mcap: {says}"):
        read_recording(path)


def test_missing_and_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="missing: No such file"):
        read_recording(tmp_path / "missing")
    with pytest.raises(RecordingError, match="no recording"):
        read_recording(tmp_path)


def test_disk_full_is_told_by_the_system(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        RecordingWriter("/dev/full", force=True)


def test_every_flush_survives_the_process(tmp_path: Path) -> None:
    """What was flushed is in the file before the writer is closed."""
    path = tmp_path / "some.mcap"
    writer = RecordingWriter(path)
    writer.write(exchange(0))
    writer.flush()
    writer.write(exchange(1))
    reader = read_recording(path)
    assert list(reader) == [exchange(0)]
    assert reader.truncated
    writer.close()
    assert list(read_recording(path)) == [exchange(0), exchange(1)]
    writer.close()


@pytest.mark.parametrize("beside", [False, True])
def test_chunk_that_finds_no_room_is_written_later(tmp_path: Path, beside: bool) -> None:
    path = tmp_path / "some.mcap"
    made = [noise(number) for number in range(3)]
    with RecordingWriter(path, beside=beside) as writer:
        writer.write(made[0])
        writer.flush()
        whole = path.stat().st_size
        writer.write(made[1])
        with files_of_at_most(whole + 5000):
            for _ in range(2):
                with pytest.raises(OSError, match="File too large"):
                    writer.flush()
                assert path.stat().st_size == whole, "no part of a chunk is left"
            assert list(read_recording(path)) == made[:1]
        writer.write(made[2])
    reader = read_recording(path)
    assert list(reader) == made
    assert reader.truncated is None
    with path.open("rb") as stream:
        assert [m.sequence for _, _, m in make_reader(stream).iter_messages()] == [0, 1, 2]


@pytest.mark.parametrize("beside", [False, True])
def test_what_was_not_taken_is_left_in_the_iterator(tmp_path: Path, beside: bool) -> None:
    size = CHUNK_BYTES // 4
    made = [noise(number, size) for number in range(40)]
    records = [record(EXCHANGES, each.SerializeToString()) for each in made]
    with RecordingWriter(tmp_path / "some.mcap", beside=beside) as writer:
        left = iter(records)
        with files_of_at_most(5 * size):
            with pytest.raises(OSError, match="File too large"):
                writer.write_records(left)
            remaining = list(left)
            assert 20 < len(remaining) < 36
            again = iter(remaining)
            for _ in range(20):
                with pytest.raises(OSError, match="File too large"):
                    writer.write_records(again)
        after = list(again)
        assert len(after) >= len(remaining) - 8, "what is kept in memory is bounded"
        writer.write_records(after)
    assert list(read_recording(tmp_path / "some.mcap")) == made


@pytest.mark.parametrize(
    ("room", "summary"), [(9000, True), (100, False)], ids=["for the summary", "for nothing"]
)
def test_close_on_a_full_disk(tmp_path: Path, room: int, summary: bool) -> None:
    """The chunk is lost, and said to be; what was whole is a recording, with a summary or cut."""
    path = tmp_path / "some.mcap"
    made = [noise(number) for number in range(2)]
    writer = RecordingWriter(path)
    writer.write(made[0])
    writer.flush()
    whole = path.stat().st_size
    writer.write(made[1])
    with files_of_at_most(whole + room), pytest.raises(OSError, match="File too large"):
        writer.close()
    writer.close()
    reader = read_recording(path)
    assert list(reader) == made[:1]
    assert (reader.truncated is None) == summary
    if summary:
        with path.open("rb") as stream:
            found = make_reader(stream, validate_crcs=True).get_summary()
        assert found is not None
        assert found.statistics is not None
        assert found.statistics.message_count == found.statistics.chunk_count == 1
    else:
        assert path.stat().st_size == whole


def test_file_whose_header_finds_no_room_is_not_left(tmp_path: Path) -> None:
    with files_of_at_most(50), pytest.raises(OSError, match="File too large"):
        RecordingWriter(tmp_path / "some.mcap")
    assert list(tmp_path.iterdir()) == []


def test_summary_is_no_larger_than_told(tmp_path: Path) -> None:
    """By which it is decided whether a file takes one more chunk."""
    path = tmp_path / "some.mcap"
    writer = RecordingWriter(path)
    for number in range(50):
        writer.write(exchange(number))
        writer.flush()
    file = writer._file
    assert isinstance(file, McapFile)
    told = file.size_at_end
    writer.close()
    assert told - 512 < path.stat().st_size <= told


def test_chunk_indexes_have_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond, the summary has none, and readers go through the file."""
    monkeypatch.setattr("wiretape.exchange.recording.mcap_file.INDEX_BYTES", 500)
    path = tmp_path / "some.mcap"
    made = written(path, 40)
    assert list(read_recording(path)) == made
    with path.open("rb") as stream:
        reader = make_reader(stream, validate_crcs=True)
        summary = reader.get_summary()
        assert summary is not None
        assert summary.statistics is not None
        assert summary.statistics.message_count == 41
        assert summary.chunk_indexes == []
        found = [message.data for _, _, message in reader.iter_messages(topics=["/exchanges"])]
    assert found == [each.SerializeToString() for each in made]
