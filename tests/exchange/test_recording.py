"""The recording: whole, cut, damaged; readable by the mcap package."""

from pathlib import Path

import pytest
from mcap.reader import make_reader

from wiretape.exchange.recording import (
    CHUNK_BYTES,
    RecordingError,
    RecordingWriter,
    read_recording,
)
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
