"""What a live run says of itself."""

import json
import re

import pytest
from tcp_traffic import Peers, batch_of

from wiretape.agent.ledger import Ledger
from wiretape.agent.pipeline import Pipeline
from wiretape.agent.status import Endpoints, Status, metrics_text


def status(**changes: object) -> Status:
    known: dict[str, object] = {
        "seconds": 61.5, "ledger": Ledger(packets=70, exchanges=1234, complete=1230,
        request_only=3, response_only=1, kernel_drops=5, packets_skipped={"not_ip": 7}),
        "exchanges_per_second": 20.04, "packets_per_second": 60.0, "open_connections": 9,
        "sampled": 1.0, "disk_bytes": 2_500_000, "files": 2, "removed_files": 1,
        "endpoints": ["GET shop:8080/products", "POST shop:8080/orders"],
    }  # fmt: skip
    return Status(**{**known, **changes})  # type: ignore[arg-type]


def test_the_line_tells_what_matters_and_fits() -> None:
    whole = status().line(200)
    assert whole == (
        "1,234 exchanges, 20/s · 9 connections · 5 dropped · 2.5 MB"
        " · top: GET shop:8080/products, POST shop:8080/orders"
    )
    for columns in (1, 20, 80):
        assert status().line(columns) == whole[: columns - 1]
    assert "takes 25%" in status(sampled=0.25).line(200)


def test_the_log_entry_is_one_line_of_json() -> None:
    line = status().entry(1_700_000_000_500_000_000)
    assert "\n" not in line
    fields = json.loads(line)
    assert fields["time"] == "2023-11-14T22:13:20+00:00"
    assert fields["exchanges"] == 1234
    assert fields["exchanges_per_second"] == 20.0
    assert fields["kernel_drops"] == 5
    assert fields["endpoints"] == ["GET shop:8080/products", "POST shop:8080/orders"]


def test_metrics_are_prometheus_text() -> None:
    """Every sample is named by HELP and TYPE before it, and is a number."""
    lines = metrics_text(status()).splitlines()
    described: set[str] = set()
    values = {}
    for line in lines:
        words = line.split(" ")
        if words[0] == "#":
            described.add(words[1] + words[2])
            if words[1] == "TYPE":
                assert words[3] in ("counter", "gauge")
                assert words[2].endswith("_total") == (words[3] == "counter")
            continue
        name, value = line.rsplit(" ", 1)
        assert re.fullmatch(r'[a-z_]+(\{reason="[a-z0-9_]+"\})?', name)
        plain = name.split("{")[0]
        assert {f"HELP{plain}", f"TYPE{plain}"} <= described
        values[name] = float(value)
    assert values["wiretape_exchanges_total"] == 1234
    assert values["wiretape_exchanges_incomplete_total"] == 4
    assert values["wiretape_kernel_drops_total"] == 5
    assert values["wiretape_connections_open"] == 9
    assert values['wiretape_packets_skipped_total{reason="not_ip"}'] == 7


@pytest.mark.parametrize(
    ("request_line", "shown"),
    [
        (b"GET /orders/17?full=1 HTTP/1.1\r\nHost: shop", "GET shop/orders/*"),
        (b"PUT /a/7f3e-1/b HTTP/1.1\r\nHost: shop:81", "PUT shop:81/a/*/b"),
        (b"GET / HTTP/1.0", "GET /"),
        (b"GET /\x1b[2J HTTP/1.1\r\nHost: x", "GET x/*"),
        (b"GET /\x9b\xffx HTTP/1.1\r\nHost: x", "GET x/��x"),
    ],
)
def test_endpoints_are_named_by_host_and_path(request_line: bytes, shown: str) -> None:
    """Identifiers are left out, and nothing that a peer sends moves the cursor of a terminal."""
    peers = Peers()
    peers.open()
    peers.ask(request_line + b"\r\n\r\n")
    peers.answer(b"HTTP/1.1 204 No Content\r\n\r\n")
    endpoints = Endpoints()
    endpoints.count(Pipeline("packets", 1 << 20).feed(batch_of(peers.sent)))
    assert endpoints.top() == [shown]


def test_the_endpoints_asked_most_come_first_and_are_forgotten() -> None:
    peers = Peers()
    peers.open()
    for path in [b"/a", b"/b", b"/b", b"/c", b"/c", b"/c", b"/d", b"/d", b"/d", b"/d"]:
        peers.ask(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path)
        peers.answer(b"HTTP/1.1 204 No Content\r\n\r\n")
    endpoints = Endpoints()
    endpoints.count(Pipeline("packets", 1 << 20).feed(batch_of(peers.sent)))
    assert endpoints.top() == ["GET x/d", "GET x/c", "GET x/b"]
    assert endpoints.top()[0] == "GET x/d"
    assert endpoints.top() == ["GET x/d"]
    assert endpoints.top() == []
