"""Whole runs: a recording, a real build, the verdict."""

import itertools
import json
import subprocess
import threading
import uuid
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from tapes import TARGET, UPSTREAM_ENV, Outcome, Tape, build, request_of, response_of

Replay = Callable[..., Outcome]

ORDER = "9d18e059-ea22-4a34-b185-206b1ed9eef8"
TRACE = "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"
CREATED = "2023-11-14T22:13:20.001+00:00"
HELLO = {"hello": "world", "n": 1}


def a_day_at_the_shop(tape: Tape) -> None:
    tape.inbound(request_of("GET", "/hello"), response_of(200, HELLO))
    order = {"id": ORDER, "total": 20, "created_at": CREATED}
    tape.inbound(
        request_of("POST", "/orders", b'{"count": 2}', {"Content-Type": "application/json"}),
        response_of(201, order, {"Location": f"/orders/{ORDER}"}),
    )
    tape.inbound(request_of("GET", f"/orders/{ORDER}"), response_of(200, order), connection="c2")
    asked = json.dumps({"currency": "eur", "trace": TRACE}).encode()
    call = request_of(
        "POST",
        "/prices/mug",
        asked,
        {"Host": "prices.internal", "Content-Type": "application/json"},
    )
    call_answer = response_of(200, {"price": 5})
    tape.inbound(
        request_of("GET", "/price/mug"), response_of(200, {"price": 5}), (call, call_answer)
    )


@pytest.fixture
def shop(tape: Tape, tmp_path: Path) -> Path:
    a_day_at_the_shop(tape)
    return tape.write(tmp_path / "shop.mcap")


def test_a_right_build_passes(replay: Replay, shop: Path) -> None:
    done = replay("run", shop, *TARGET, *UPSTREAM_ENV, *build())
    assert done.code == 0, done.out
    headline = "PASS  4 exchanges compared, none differs · 1 upstream call as recorded"
    assert done.out.splitlines()[0] == headline
    assert done.report is not None
    assert [e["state"] for e in done.report["exchanges"]] == ["same"] * 4


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Of a name that is not the target's, and by nobody."""
    file = tmp_path / "build.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", file, "-out",
         tmp_path / "cert.pem", "-days", "2", "-subj", "/CN=build.example"],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    with file.open("ab") as key:
        key.write((tmp_path / "cert.pem").read_bytes())
    return file


@pytest.mark.parametrize("ready", [[], ["--ready", "https://127.0.0.1:{port}/hello"]])
def test_a_build_that_answers_by_https(
    replay: Replay, shop: Path, certificate: Path, ready: list[str]
) -> None:
    target = ["--target", "https://127.0.0.1:{port}", *ready]
    https = build("--certificate", str(certificate))
    done = replay("run", shop, *target, *UPSTREAM_ENV, *https)
    assert done.code == 0, done.out
    done = replay("run", shop, *target, *UPSTREAM_ENV, *https, "--fault", "total")
    assert done.code == 1, done.out
    done = replay("run", shop, *target, "--ready", "{port}", *UPSTREAM_ENV, *build())
    assert done.code == 5, done.out
    assert (
        "speaks no TLS with us, at exchange 1 of 4 (GET /hello): WRONG_VERSION_NUMBER" in done.out
    )


@pytest.mark.parametrize("variant", ["chunked", "closes-silently", "http-1.0"])
def test_a_harmless_variant_passes(replay: Replay, shop: Path, variant: str) -> None:
    done = replay("run", shop, *TARGET, *UPSTREAM_ENV, *build("--fault", variant))
    assert done.code == 0, done.out


@pytest.mark.parametrize(("fault", "code"), [("", 0), ("other-port", 1)])
def test_a_build_may_name_its_own_address(
    replay: Replay, tape: Tape, tmp_path: Path, fault: str, code: int
) -> None:
    me = {"self": "http://10.0.0.2:8080/me", "here": "localhost:8080"}
    tape.inbound(request_of("GET", "/me"), response_of(200, me))
    path = tape.write(tmp_path / "me.mcap")
    done = replay("run", path, *TARGET, "--service", ":8080", *build("--fault", fault))
    assert done.code == code, done.out
    assert done.report is not None
    accepted = {each["recorded"] for each in done.report["accepted"]}
    assert accepted == (set() if code else set(me.values()))


class Prices(BaseHTTPRequestHandler):
    """The real upstream: its answer has another id each time."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        content = json.dumps({"price": str(uuid.uuid4())}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def test_what_a_real_upstream_gives_was_not_given_when_recorded(
    replay: Replay, tape: Tape, tmp_path: Path
) -> None:
    with HTTPServer(("127.0.0.1", 0), Prices) as upstream:
        threading.Thread(target=upstream.serve_forever, daemon=True).start()
        there = f"127.0.0.1:{upstream.server_port}"
        asked = json.dumps({"currency": "eur", "trace": TRACE}).encode()
        fields = {"Host": there, "Content-Type": "application/json"}
        call = request_of("POST", "/prices/mug", asked, fields)
        answer = response_of(200, {"price": ORDER})
        tape.inbound(request_of("GET", "/price/mug"), answer, (call, answer))
        path = tape.write(tmp_path / "price.mcap")
        options = ("--allow", there, "--intercept", "none", "--env", f"UPSTREAM_URL=http://{there}")
        done = replay("run", path, *TARGET, "--service", ":8080", *options, *build())
        upstream.shutdown()
    assert done.code == 0, done.out


@pytest.mark.parametrize("fault", ["", "no-call"])
def test_a_build_that_heeds_no_proxy_is_one_cause(replay: Replay, shop: Path, fault: str) -> None:
    options = ("--intercept", "proxy", "--env", "UPSTREAM_URL=http://127.0.0.1:9")
    done = replay("run", shop, *TARGET, *options, *build("--fault", fault))
    assert done.code == 3, done.out
    assert done.report is not None
    assert [each["kind"] for each in done.report["causes"]] == ["unreachable"]
    assert "no call came by the proxy" in done.out


def test_the_verdict_is_the_same_every_time(replay: Replay, shop: Path) -> None:
    reports = []
    for _ in range(3):
        report = replay("run", shop, *TARGET, *UPSTREAM_ENV, *build("--fault", "total")).report
        assert report is not None
        del report["timings"]
        reports.append(report)
    assert reports[0] == reports[1] == reports[2]


@pytest.mark.parametrize(
    ("fault", "place", "expected", "actual"),
    [
        ("total", "$.total", "20", "21"),
        ("hello", "$.hello", '"world"', '"moon"'),
        ("time-zone", "$.created_at", f'"{CREATED}"', None),
        ("other-id", "$.id", f'"{ORDER}"', None),
    ],
)
def test_a_fault_is_named(
    replay: Replay, shop: Path, fault: str, place: str, expected: str, actual: str | None
) -> None:
    done = replay("run", shop, *TARGET, *UPSTREAM_ENV, *build("--fault", fault))
    assert done.code == 1, done.out
    assert done.out.startswith("FAIL  ")
    assert f"{place}  expected {expected}, actual {actual or ''}" in done.out
    assert done.report is not None
    first = done.report["causes"][0]["differences"][0]
    assert (first["place"], first["expected"]) == (place, expected)
    assert actual in (None, first["actual"])


@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        ("no-call", "missing", "the recorded call never came"),
        ("extra-call", "extra", "it was recorded 1 time, not more often"),
        ("changed-call", "changed", '$.currency  expected "eur", actual "usd"'),
    ],
)
def test_an_upstream_call_that_is_not_as_recorded(
    replay: Replay, shop: Path, fault: str, kind: str, said: str
) -> None:
    done = replay("run", shop, *TARGET, *UPSTREAM_ENV, *build("--fault", fault))
    assert done.code == 3, done.out
    assert f"upstream call {kind}: prices.internal:80 POST /prices/mug" in done.out
    assert said in done.out
    assert done.report is not None
    assert [finding["kind"] for finding in done.report["upstream"]] == [kind]
    assert len(done.report["causes"]) == 1, "what follows from a miss is no cause of its own"


def test_requests_are_sent_byte_for_byte(replay: Replay, tape: Tape, tmp_path: Path) -> None:
    fields = {"hOsT": "shop.example:8080", "x-B": "1", "X-a": "2", "Host": "x"}
    request = request_of("GET", "/fields?b=1&a=%7e", fields=fields)
    del request.fields[:]
    lines = [["hOsT", "shop.example:8080"], ["x-B", "1"], ["X-a", "2"], ["x-B", "3"]]
    for name, value in lines:
        request.fields.add(name=name.encode(), value=value.encode())
    seen = {"line": "GET /fields?b=1&a=%7e HTTP/1.1", "fields": lines}
    tape.inbound(request, response_of(200, seen))
    file = tape.write(tmp_path / "x.mcap")
    done = replay("run", file, *TARGET, "--service", ":8080", *build())
    assert done.code == 0, done.out


def test_a_running_target_needs_no_command(
    replay: Replay, tape: Tape, tmp_path: Path, running_build: int
) -> None:
    tape.inbound(request_of("GET", "/hello"), response_of(200, HELLO))
    file = tape.write(tmp_path / "x.mcap")
    target = f"http://127.0.0.1:{running_build}"
    done = replay("run", file, "--target", target, "--service", "10.0.0.2:8080")
    assert (done.code, done.err.count("\n")) == (0, 1), done.out


def test_without_mocks_nothing_is_said_of_upstream_calls(replay: Replay, shop: Path) -> None:
    done = replay("run", shop, *TARGET, "--no-mock", *build("--fault", "no-call"))
    assert done.code == 0, done.out
    assert "upstream" not in done.out


def test_a_mock_that_the_build_was_not_told_of(replay: Replay, shop: Path) -> None:
    options = ("--intercept", "none", "--env", "UPSTREAM_URL=http://127.0.0.1:1")
    done = replay("run", shop, *TARGET, *options, *build())
    assert done.code == 3
    assert "the build was not told of {mock:prices.internal:80} (--env)" in done.out
    assert "so GET /price/mug differs: status: expected 200, actual 502" in done.out
    assert done.out.count("the build was not told") == 1, "one thing is wrong, not one a call"


def test_an_upstream_that_closed_without_an_answer_does_so_again(
    replay: Replay, tape: Tape, tmp_path: Path
) -> None:
    content = json.dumps({"currency": "eur", "trace": TRACE}).encode()
    named = {"Host": "prices.internal", "Content-Type": "application/json"}
    call = request_of("POST", "/prices/mug", content, named)
    tape.inbound(
        request_of("GET", "/price/mug"), response_of(502, {"error": "upstream"}), (call, None)
    )
    file = tape.write(tmp_path / "x.mcap")
    done = replay("run", file, *TARGET, *UPSTREAM_ENV, *build())
    assert done.code == 0, done.out


COMPACT = json.dumps(HELLO, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    ("methods", "length", "fault", "code"),
    [
        (("GET", "HEAD"), len(COMPACT), "", 0),
        (("HEAD", "GET"), len(COMPACT), "", 0),
        (("HEAD", "GET", "HEAD"), len(COMPACT), "", 0),
        (("HEAD",), len(COMPACT), "", 1),
        (("HEAD",), len(json.dumps(HELLO)), "", 0),
        (("GET", "HEAD"), len(COMPACT) + 1, "", 1),
        (("GET", "HEAD"), len(COMPACT), "head-length", 1),
        (("HEAD", "GET"), len(COMPACT), "head-length", 1),
        (("GET", "HEAD"), len(COMPACT), "hello", 1),
    ],
)
def test_the_length_that_head_tells(
    replay: Replay,
    tape: Tape,
    tmp_path: Path,
    methods: tuple[str, ...],
    length: int,
    fault: str,
    code: int,
) -> None:
    fields = {"Content-Type": "application/json"}
    for method in methods:
        told = fields if method == "GET" else {**fields, "Content-Length": str(length)}
        answer = response_of(200, COMPACT if method == "GET" else b"", told)
        tape.inbound(request_of(method, "/hello"), answer)
    file = tape.write(tmp_path / "x.mcap")
    # A length that a later GET may confirm is not yet a failure.
    more = ("--service", ":8080", "--max-failures", "1")
    done = replay("run", file, *TARGET, *more, *build("--fault", fault))
    assert done.code == code, done.out
    assert ("content-length" in done.out) == (code == 1 and fault != "hello")
    if code == 0:
        assert f"PASS  {len(methods)} exchange" in done.out


def test_max_failures_stops_early(replay: Replay, tape: Tape, tmp_path: Path) -> None:
    for _ in range(4):
        tape.inbound(request_of("GET", "/hello"), response_of(200, {"hello": "sun", "n": 1}))
    file = tape.write(tmp_path / "x.mcap")
    options = ("--service", ":8080", "--max-failures", "2")
    done = replay("run", file, *TARGET, *options, *build())
    assert done.code == 1
    assert "2 of 2 exchanges differ · 2 not run" in done.out
    assert done.report is not None
    assert done.report["causes"][0]["exchanges"] == [0, 1]


def test_a_dropped_connection_is_a_difference(replay: Replay, tape: Tape, tmp_path: Path) -> None:
    tape.inbound(request_of("GET", "/drop"), response_of(200, HELLO))
    tape.inbound(request_of("GET", "/hello"), response_of(200, HELLO))
    file = tape.write(tmp_path / "x.mcap")
    done = replay("run", file, *TARGET, "--service", ":8080", *build())
    assert done.code == 1
    assert "response  expected 200, the connection was closed without a response" in done.out
    assert "1 of 2 exchanges differs" in done.out


def test_a_response_that_takes_too_long(replay: Replay, tape: Tape, tmp_path: Path) -> None:
    tape.inbound(request_of("GET", "/slow"), response_of(200, HELLO))
    file = tape.write(tmp_path / "x.mcap")
    options = ("--service", ":8080", "--timeout", "300ms")
    done = replay("run", file, *TARGET, *options, *build())
    assert done.code == 1
    assert "no response within 0.3 s (--timeout)" in done.out


def test_junit_has_a_case_for_each_exchange(replay: Replay, shop: Path, tmp_path: Path) -> None:
    file = tmp_path / "report.xml"
    options = (*TARGET, *UPSTREAM_ENV, "--junit", str(file))
    assert replay("run", shop, *options, *build("--fault", "changed-call")).code == 3
    suite = ET.parse(file).getroot()[0]
    cases = suite.findall("testcase")
    assert [case.find("failure") is not None for case in cases] == [False, False, False, True]
    assert suite.attrib["tests"] == "4"
    assert suite.attrib["failures"] == "1"
    failure = cases[3].find("failure")
    assert failure is not None
    assert "upstream call changed" in failure.attrib["message"]


def test_many_exchanges_on_many_connections(replay: Replay, tape: Tape, tmp_path: Path) -> None:
    names = itertools.cycle(["c1", "c2", "c3"])
    for name in itertools.islice(names, 90):
        tape.inbound(request_of("GET", "/hello"), response_of(200, HELLO), connection=name)
    file = tape.write(tmp_path / "x.mcap")
    done = replay("run", file, *TARGET, "--service", ":8080", *build())
    assert done.out.splitlines()[0] == "PASS  90 exchanges compared, none differs"
