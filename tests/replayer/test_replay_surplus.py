"""Bytes after the end of a response, where the recorded client went on."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tapes import TARGET, Outcome, Tape, build, request_of, response_of

Replay = Callable[..., Outcome]
HELLO = {"hello": "world", "n": 1}


@pytest.mark.parametrize(
    ("fault", "method", "next_on", "undecoded", "code"),
    [
        ("", "HEAD", "c1", 0, 0),
        ("head-content", "HEAD", "c1", 0, 1),
        ("head-content", "HEAD", "c2", 0, 0),  # nobody was there to meet it
        ("surplus", "GET", "c1", 0, 1),
        ("surplus", "GET", "c2", 0, 0),
        ("surplus", "GET", "c1", 4, 0),  # as recorded
    ],
)
@pytest.mark.parametrize("more", [(), ("--concurrency", "2")])
def test_what_comes_after_a_response(
    replay: Replay,
    tape: Tape,
    tmp_path: Path,
    fault: str,
    method: str,
    next_on: str,
    undecoded: int,
    code: int,
    more: tuple[str, ...],
) -> None:
    answer = response_of(200, HELLO)
    if method == "HEAD":
        answer.content.Clear()
        answer.content.complete = True
    tape.inbound(request_of(method, "/hello"), answer)
    tape.inbound(request_of("GET", "/hello"), response_of(200, HELLO), connection=next_on)
    path = tape.write(tmp_path / "hello.mcap", undecoded=undecoded)
    done = replay("run", path, *TARGET, "--service", ":8080", *more, *build("--fault", fault))
    assert done.code == code, done.out
    assert done.report is not None
    found = [
        (each["position"], [d["actual"] for d in each["differences"]])
        for each in done.report["exchanges"]
        if each["differences"]
    ]
    assert found == ([(0, ["more bytes after its end"])] if code else [])
