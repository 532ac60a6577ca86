"""Recordings on a disk that is full."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mcap.reader import make_reader
from test_rotation import ordinals, silence, used, write_each

from wiretape.exchange.recording import read_recording
from wiretape.exchange.rotation import live_recording


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """A file system of `size` bytes."""
    folder.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "wiretape-test", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mount.returncode:
        pytest.skip(f"no file system can be mounted: {mount.stderr.strip()}")
    try:
        yield folder
    finally:
        # Lazily: a test that failed may hold a file open.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.privileged
def test_full_disk_without_a_bound(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 200_000) as disk:
        other = disk / "other"
        other.write_bytes(bytes(80_000))
        writer = live_recording(f"{disk}/rec/", silence)
        numbers = iter(range(100))
        with pytest.raises(OSError, match="No space left"):
            write_each(writer, numbers)
        number = next(numbers) - 1
        with pytest.raises(OSError, match="No space left"):
            writer.flush()
        found = read_recording(disk / "rec")
        assert [each.ordinal for each in found] == [*range(number)]
        file = writer.file
        assert file is not None
        assert file.size == file.path.stat().st_size
        other.unlink()
        write_each(writer, range(number + 1, number + 3))
        writer.close()
        assert ordinals(disk / "rec") == [*range(number + 3)]


@pytest.mark.privileged
def test_full_disk_when_it_is_closed(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 200_000) as disk:
        writer = live_recording(f"{disk}/rec.mcap", silence)
        with pytest.raises(OSError, match="No space left"):
            write_each(writer, range(100))
        with pytest.raises(OSError, match="No space left"):
            writer.close()
        reader = read_recording(disk / "rec.mcap")
        found = [each.ordinal for each in reader]
        assert len(found) > 10
        assert found == [*range(len(found))]
        if reader.truncated is None:
            with (disk / "rec.mcap").open("rb") as stream:
                summary = make_reader(stream).get_summary()
            assert summary is not None
            assert summary.statistics is not None
            assert summary.statistics.message_count == len(found)


@pytest.mark.privileged
def test_full_disk_with_a_bound_takes_the_oldest_file(tmp_path: Path) -> None:
    said: list[str] = []
    with small_disk(tmp_path / "disk", 400_000) as disk:
        opened = live_recording(
            f"{disk}/rec/", said.append, rotate_bytes=60_000, max_disk_bytes=10**9
        )
        with opened as writer:
            write_each(writer, range(100))
            assert writer.bytes_on_disk == used(disk / "rec")
            assert len(said) == writer.removed_files > 5
            assert all(text.endswith("bytes: the disk is full") for text in said)
        found = ordinals(disk / "rec")
        assert found == [*range(found[0], 100)]
        assert len(found) > 20
        with pytest.raises(OSError, match="No space left"):
            (disk / "other").write_bytes(bytes(400_000))
        # The disk was full before it began, of recordings and of other things.
        with live_recording(f"{disk}/rec/", said.append, max_disk_bytes=10**9) as writer:
            write_each(writer, range(100, 103))
        assert ordinals(disk / "rec")[-3:] == [100, 101, 102]
