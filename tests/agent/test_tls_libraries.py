"""Functions found in the files that processes have loaded."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from wiretape.agent.sources.ebpf.tls_libraries import Libraries, function_offsets

NAMES = frozenset({b"SSL_read", b"SSL_write", b"SSL_free", b"gnutls_record_recv"})


def offsets(path: Path) -> dict[bytes, int]:
    with path.open("rb") as file:
        return function_offsets(file.fileno(), NAMES)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that defines two of them, and needs a third."""
    folder = tmp_path_factory.mktemp("library")
    if shutil.which("cc") is None:
        pytest.skip("cc is missing")
    (folder / "made.c").write_text(
        "__attribute__((weak)) int SSL_free(void *);\n"
        "int SSL_read(void *s) { return SSL_free(s) + 1; }\n"
        "int SSL_write(void *s) { return SSL_read(s) + 2; }\n"
        "int another_SSL_read(void *s) { return 3; }\n"
    )
    command = ["cc", "-shared", "-fPIC", "-o", folder / "made.so", folder / "made.c"]
    subprocess.run(command, check=True, timeout=60)
    return folder / "made.so"


def test_functions_that_a_library_defines(made: Path) -> None:
    found = offsets(made)
    assert set(found) == {b"SSL_read", b"SSL_write"}
    listed = subprocess.run(
        ["nm", "-D", "--defined-only", made], capture_output=True, text=True, check=True
    )
    values = {line.split()[2]: int(line.split()[0], 16) for line in listed.stdout.splitlines()}
    # Its code lies in the file as in memory.
    assert found == {name: values[name.decode()] for name in found}


@pytest.mark.parametrize("cut", [0, 3, 40, 64, 1000, 5000, 12000])
def test_files_that_are_cut_off_or_none(made: Path, cut: int, tmp_path: Path) -> None:
    short = tmp_path / "short"
    short.write_bytes(made.read_bytes()[:cut])
    assert offsets(short) == {}


def test_broken_files(made: Path, tmp_path: Path) -> None:
    whole = bytearray(made.read_bytes())
    broken = tmp_path / "broken"
    for at in range(16, 64):
        for value in (0, 0xFF):
            changed = bytearray(whole)
            changed[at] = value
            broken.write_bytes(changed)
            assert set(offsets(broken)) <= {b"SSL_read", b"SSL_write"}


def test_each_file_is_told_once(made: Path) -> None:
    script = f"import ctypes, sys; ctypes.CDLL({str(made)!r}); print(1, flush=True); input()"
    libraries = Libraries(NAMES)
    for wanted in ([str(made)], []):
        with subprocess.Popen(
            [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            assert [each.path for each in libraries.of(process.pid)] == wanted
            assert list(libraries.of(process.pid)) == []
            process.kill()
    assert list(libraries.of(process.pid)) == []


def test_a_library_that_is_loaded_later(made: Path) -> None:
    script = f"""
import ctypes
print(1, flush=True)
input()
ctypes.CDLL({str(made)!r})
print(2, flush=True)
input()
"""
    libraries = Libraries(NAMES)
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        assert list(libraries.of(process.pid)) == []
        process.stdin.write(b"\n")
        process.stdin.flush()
        process.stdout.readline()
        assert [each.path for each in libraries.of(process.pid)] == [str(made)]
        process.kill()


def test_a_library_that_was_deleted(made: Path, tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("needs root: /proc/PID/map_files")
    copy = tmp_path / "copy.so"
    shutil.copy(made, copy)
    script = f"import ctypes; ctypes.CDLL({str(copy)!r}); print(1, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        copy.unlink()
        (library,) = Libraries(NAMES).of(process.pid)
        assert library.path == str(copy)
        assert set(library.functions) == {b"SSL_read", b"SSL_write"}
        process.kill()
