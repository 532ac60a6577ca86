"""`capture-agent show` in its four formats."""

import base64
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from agent_command import COMMAND, agent
from google.protobuf.json_format import Parse
from tcp_traffic import Peers, run

from wiretape.agent.show import write_exchanges
from wiretape.exchange.recording import RecordingWriter
from wiretape.exchange.v1 import exchange_pb2 as pb

EVIL = b"\x1b]0;owned\x07\x1b[2J"


def exchanges() -> list[pb.Exchange]:
    peers = Peers()
    peers.open()
    peers.ask(b"GET /a?x=1&y=%20&z HTTP/1.1\r\nHost: shop.example\r\nX-Evil: " + EVIL + b"\r\n\r\n")
    peers.answer(
        b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"a":"b"}'
    )
    peers.ask(b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n\x00\xff\xfe\x01")
    zipped = gzip.compress("zürich".encode(), mtime=0)
    peers.answer(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Encoding: gzip\r\n"
        b"Location: /b/1\r\nContent-Length: %d\r\n\r\n%b" % (len(zipped), zipped)
    )
    peers.ask(b"GET /unanswered HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n")
    alone = Peers(client=("2001:db8::1", 5), server=("2001:db8::2", 80))
    alone.answer(b"HTTP/1.1 500 \xfc\r\nContent-Length: 0\r\n\r\n")
    return run(peers.sent + alone.sent).exchanges


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "some.mcap"
    with RecordingWriter(path) as writer:
        for exchange in exchanges():
            writer.write(exchange)
    return path


def test_what_is_shown_here() -> None:
    shapes = [
        (e.http.HasField("request"), len(e.http.interim), e.http.HasField("response"))
        for e in exchanges()
    ]
    assert sorted(shapes) == sorted(
        [(True, 0, True), (True, 1, True), (True, 0, False), (False, 0, True)]
    )


def printable(text: str) -> bool:
    return all(c.isprintable() or c == "\n" for c in text)


def test_table(recording: Path) -> None:
    done = agent("show", recording)
    assert done.code == 0
    assert done.err == ""
    head, *rows = done.out.splitlines()
    assert head.split()[0] == "id"
    assert len(rows) == 4
    for exchange, row in zip(exchanges(), rows, strict=True):
        assert row.startswith(exchange.id)
    assert "shop.example/a?x=1" in done.out
    assert "invalid-content-length" in done.out
    assert printable(done.out)


def test_jsonl_parses_back(recording: Path) -> None:
    done = agent("show", recording, "--format", "jsonl")
    assert done.code == 0
    lines = done.out.splitlines()
    assert [Parse(line, pb.Exchange()) for line in lines] == exchanges()
    assert "first_byte_at_ns" in lines[0]
    assert all(json.loads(line) for line in lines)


def check_har_entry(entry: dict[str, object]) -> None:
    """HAR 1.2, §3.5 to §3.16 of its specification: what must be there, by its type."""
    request, response, timings = entry["request"], entry["response"], entry["timings"]
    assert isinstance(request, dict)
    assert isinstance(response, dict)
    assert isinstance(timings, dict)
    for side, strings, numbers in (
        (request, ("method", "url", "httpVersion"), ("headersSize", "bodySize")),
        (
            response,
            ("statusText", "httpVersion", "redirectURL"),
            ("status", "headersSize", "bodySize"),
        ),
    ):
        assert all(isinstance(side[key], str) for key in strings)
        assert all(isinstance(side[key], int) for key in numbers)
        assert isinstance(side["cookies"], list)
        for field in side["headers"]:
            assert isinstance(field["name"], str)
            assert isinstance(field["value"], str)
    for pair in request["queryString"]:
        assert set(pair) >= {"name", "value"}
    content = response["content"]
    assert isinstance(content["size"], int)
    assert isinstance(content["mimeType"], str)
    parts = [timings[key] for key in ("send", "wait", "receive")]
    assert all(part >= 0 for part in parts)
    assert entry["time"] == pytest.approx(sum(parts))
    assert entry["cache"] == {}
    assert str(entry["startedDateTime"]).endswith("Z")


def test_har(recording: Path) -> None:
    done = agent("show", recording, "--format", "har")
    assert done.code == 0
    log = json.loads(done.out)["log"]
    assert log["version"] == "1.2"
    assert set(log["creator"]) >= {"name", "version"}
    assert len(log["entries"]) == 3
    for entry in log["entries"]:
        check_har_entry(entry)
    first, second, _ = log["entries"]
    assert first["request"]["url"] == "http://shop.example/a?x=1&y=%20&z"
    assert [p["name"] for p in first["request"]["queryString"]] == ["x", "y", "z"]
    assert first["response"]["content"]["text"] == '{"a":"b"}'
    posted = second["request"]["postData"]
    assert base64.b64decode(posted["text"]) == b"\x00\xff\xfe\x01"
    assert second["response"]["content"]["text"] == "zürich"
    assert second["response"]["redirectURL"] == "/b/1"


def test_http(recording: Path) -> None:
    done = agent("show", recording, "--format", "http")
    assert done.code == 0
    assert printable(done.out)
    assert r"X-Evil: \x1b]0;owned\x07\x1b[2J" in done.out
    assert "GET /a?x=1&y=%20&z HTTP/1.1\n" in done.out
    assert '{"a":"b"}' in done.out
    assert "zürich" in done.out
    assert "4 bytes that are no text" in done.out
    assert "HTTP/1.1 100 Continue" in done.out
    assert "no response was seen" in done.out
    assert "the request was not seen" in done.out


@pytest.mark.parametrize("length", [8, 36])
def test_identifier_and_its_beginning(recording: Path, length: int) -> None:
    ident = exchanges()[0].id
    done = agent("show", recording, ident[:length], "--format", "jsonl")
    assert done.code == 0
    assert ident in [json.loads(line)["id"] for line in done.out.splitlines()]
    whole = agent("show", recording, ident)
    assert whole.code == 0
    assert whole.out.startswith(f"=== {ident}")
    assert whole.out.count("===") == 1


def test_target_that_names_its_authority() -> None:
    """A CONNECT has nothing but that (RFC 9112 §3.2.3)."""
    peers = Peers()
    peers.ask(b"CONNECT b:443 HTTP/1.1\r\nHost: b:443\r\n\r\n")
    peers.answer(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")
    found = run(peers.sent).exchanges
    table, har = io.StringIO(), io.StringIO()
    assert write_exchanges(found, "table", None, table) == 1
    assert table.getvalue().splitlines()[1].endswith("  b:443")
    write_exchanges(found, "har", None, har)
    assert json.loads(har.getvalue())["log"]["entries"][0]["request"]["url"] == "b:443"


def test_content_that_cannot_be_decoded_is_told() -> None:
    """A bomb stays as small as it was sent."""
    bomb = gzip.compress(bytes(65 << 20), 9, mtime=0)
    peers = Peers()
    peers.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    peers.answer(head + bomb)
    found = run(peers.sent).exchanges
    text, har = io.StringIO(), io.StringIO()
    write_exchanges(found, "http", None, text)
    assert "no text, decodes to more than the limit" in text.getvalue()
    write_exchanges(found, "har", None, har)
    content = json.loads(har.getvalue())["log"]["entries"][0]["response"]["content"]
    assert content["comment"] == "decodes to more than the limit"
    assert content["size"] == len(bomb)


def test_unknown_identifier(recording: Path) -> None:
    done = agent("show", recording, "ffff")
    assert done.code == 2
    assert "ffff" in done.line


def test_wrong_format(recording: Path) -> None:
    done = agent("show", recording, "--format", "yaml")
    assert done.code == 2
    assert "yaml" in done.err


@pytest.mark.parametrize("form", ["table", "jsonl", "har", "http"])
def test_empty_recording(tmp_path: Path, form: str) -> None:
    path = tmp_path / "empty.mcap"
    RecordingWriter(path).close()
    done = agent("show", path, "--format", form)
    assert done.code == 0
    if form == "har":
        assert json.loads(done.out)["log"]["entries"] == []


@pytest.mark.parametrize("form", ["table", "jsonl", "har", "http"])
def test_cut_recording(tmp_path: Path, form: str) -> None:
    path = tmp_path / "cut.mcap"
    with RecordingWriter(path) as writer:
        for exchange in exchanges():
            writer.write(exchange)
            writer.flush()
    whole = path.read_bytes()
    ids = [e.id for e in exchanges()]
    path.write_bytes(whole[: len(whole) * 2 // 3])
    done = agent("show", path, "--format", form)
    assert done.code == 3
    assert str(path) in done.line
    assert "cut" in done.line
    if form == "jsonl":
        shown = [json.loads(line)["id"] for line in done.out.splitlines()]
        assert shown == ids[: len(shown)]
        assert shown
    if form == "har":
        json.loads(done.out)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.write_bytes(b""), "empty"),
        (lambda path: path.write_bytes(b"\xd4\xc3\xb2\xa1" + bytes(20)), "not a recording"),
        (lambda path: path.write_bytes(b"\x89MCA"), "cut"),
        (lambda path: path.mkdir(), "no recording"),
    ],
)
def test_what_is_no_recording(tmp_path: Path, make: Callable[[Path], object], says: str) -> None:
    path = tmp_path / "some.mcap"
    make(path)
    done = agent("show", path)
    assert done.code == 3
    assert str(path) in done.line
    assert says in done.line


def test_nobody_reads(recording: Path) -> None:
    import subprocess

    command = [*COMMAND, "show", str(recording), "--format", "http"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        err = process.stderr.read()
    assert process.returncode == 0
    assert err == b""
