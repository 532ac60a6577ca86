"""Programs that do not load, and the kernel's types: what is said."""

import struct
from pathlib import Path

import pytest

from wiretape.agent.sources.ebpf.loader import RAW_TRACEPOINT, EbpfError, load
from wiretape.kernel.btf import Types
from wiretape.kernel.compiler import KERNEL_TYPES


def loaded(folder: Path, text: str) -> str:
    """What is said about a program."""
    source = folder / "program.bpf.c"
    source.write_text(text)
    with pytest.raises(EbpfError) as raised:
        load([str(source)], {"program": RAW_TRACEPOINT}, [], {}).close()
    if "missing" in str(raised.value) or "need CAP_BPF" in str(raised.value):
        pytest.skip(str(raised.value).splitlines()[0])
    return str(raised.value)


@pytest.mark.privileged
def test_a_program_that_does_not_compile(tmp_path: Path) -> None:
    said = loaded(tmp_path, "int program(void *context) { return nobody; }")
    assert said.startswith("eBPF programs do not compile on Linux ")
    assert "use of undeclared identifier 'nobody'" in said


@pytest.mark.privileged
def test_a_program_that_the_verifier_refuses(tmp_path: Path) -> None:
    text = "int program(void **context) { return *(int *)context[0]; }"
    said = loaded(tmp_path, text)
    assert said.startswith("eBPF programs are refused on Linux ")
    assert "invalid mem access 'scalar'" in said or "invalid mem access 'inv'" in said


# -- types: int, struct inner { int a; int b; }, typedef inner_t, and
#    struct outer { int c; union { int d; inner_t e; }; }


def blob() -> bytes:
    names = b"\0int\0inner\0a\0b\0inner_t\0outer\0c\0d\0e\0"

    def name(text: str) -> int:
        return names.index(b"\0" + text.encode() + b"\0") + 1

    def head(called: str, kind: int, count: int, size: int) -> bytes:
        at = name(called) if called else 0
        return struct.pack("<3I", at, kind << 24 | count, size)

    def member(called: str, kind: int, bits: int) -> bytes:
        return struct.pack("<3I", name(called) if called else 0, kind, bits)

    types = b"".join(
        [
            head("int", 1, 0, 4) + struct.pack("<I", 32),
            head("inner", 4, 2, 8) + member("a", 1, 0) + member("b", 1, 32),
            head("inner_t", 8, 0, 2),
            head("", 5, 2, 8) + member("d", 1, 0) + member("e", 3, 0),
            head("outer", 4, 2, 16) + member("c", 1, 0) + member("", 4, 64),
        ]
    )
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(names))
    return header + types + names


@pytest.mark.parametrize(
    ("path", "offset"),
    [("inner.b", 4), ("outer.c", 0), ("outer.d", 8), ("outer.e", 8), ("outer.e.b", 12)],
)
def test_where_a_member_is(path: str, offset: int) -> None:
    assert Types(blob()).offset(path) == offset


@pytest.mark.parametrize("path", ["nobody.a", "inner.z", "outer.c.a", "outer.e.z"])
def test_a_member_that_is_not_there(path: str) -> None:
    with pytest.raises(ValueError, match=path):
        Types(blob()).offset(path)


@pytest.mark.parametrize("broken", [b"", b"x" * 40, blob()[:60], blob()[:20]])
def test_types_that_are_broken(broken: bytes) -> None:
    with pytest.raises(ValueError, match="BTF"):
        Types(broken)


def test_types_of_this_kernel() -> None:
    if not KERNEL_TYPES.exists():
        pytest.skip(f"no {KERNEL_TYPES}")
    types = Types(KERNEL_TYPES.read_bytes())
    # Structures that user space shares do not change.
    assert types.offset("sockaddr_in.sin_addr") == 4
    assert types.offset("iovec.iov_len") == 8
