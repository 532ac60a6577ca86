"""The example shop and its upstream services, started as a user would, on free loopback ports."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

SHOP = Path(__file__).resolve().parents[2] / "examples" / "shop"
# Besides the wall clock and UUIDs, which everything else must not depend on.
GENERATED = [
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "<uuid>"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"), "<instant>"),
    (re.compile(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT"), "<date>"),
    (re.compile(r"ch_[0-9a-f]{24}"), "<charge>"),
]


@contextmanager
def running(program: str, *options: str, **env: str) -> Iterator[str]:
    """A service on a free port; gives its URL."""
    command = [sys.executable, str(SHOP / program), "--port", "0", *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, **env}
    ) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()


@contextmanager
def shop(*options: str, **env: str) -> Iterator[str]:
    """The shop with its upstream services; gives its URL."""
    with ExitStack() as stack:
        urls = {
            "INVENTORY_URL": stack.enter_context(running("inventory.py")),
            "PAYMENTS_URL": stack.enter_context(running("payments.py")),
        }
        yield stack.enter_context(running("shop.py", *options, **urls, **env))


def scenario(url: str, transcript: Path) -> list[dict[str, Any]]:
    """Every answer of the scenario, generated values put aside."""
    command = [sys.executable, str(SHOP / "client.py"), url, "--transcript", str(transcript)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    answers = []
    for line in transcript.read_text().splitlines():
        for pattern, stand_in in GENERATED:
            line = pattern.sub(stand_in, line)
        answer = json.loads(line)
        if answer["fields"].get("content-type") == "application/json" and answer["content"]:
            answer["content"] = json.loads(answer["content"])
        answers.append(answer)
    return answers


def places(left: Any, right: Any, path: str = "$") -> Iterator[str]:
    """The paths at which two JSON values differ."""
    if isinstance(left, dict) and isinstance(right, dict) and left.keys() == right.keys():
        for key in left:
            yield from places(left[key], right[key], f"{path}.{key}")
    elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        for index, (one, other) in enumerate(zip(left, right, strict=True)):
            yield from places(one, other, f"{path}[{index}]")
    elif left != right:
        yield path


def ask(url: str, method: str, target: str, content: bytes | None = None) -> tuple[int, Any]:
    """One request on a connection of its own."""
    connection = HTTPConnection(url.removeprefix("http://"), timeout=10)
    try:
        connection.request(method, target, content, {"Content-Type": "application/json"})
        response = connection.getresponse()
        received = response.read()
        return response.status, json.loads(received) if received else None
    finally:
        connection.close()


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The scenario against the shop as it is."""
    with shop() as url:
        return scenario(url, tmp_path_factory.mktemp("usual") / "transcript")


def test_scenario_meets_every_kind_of_answer(usual: list[dict[str, Any]]) -> None:
    statuses = {answer["status"] for answer in usual}
    assert statuses == {200, 201, 204, 304, 400, 402, 404, 405, 409, 422}
    assert 30 <= len(usual) <= 60
    assert "HEAD" in {answer["method"] for answer in usual}
    assert "gzip" in {answer["fields"].get("content-encoding") for answer in usual}
    assert "chunked" in {answer["fields"].get("transfer-encoding") for answer in usual}


def test_two_runs_differ_in_generated_values_alone(
    usual: list[dict[str, Any]], tmp_path: Path
) -> None:
    with shop() as url:
        again = scenario(url, tmp_path / "transcript")
    assert list(places(usual, again)) == []


def test_wrong_total_changes_one_place(usual: list[dict[str, Any]], tmp_path: Path) -> None:
    with shop("--fault", "wrong-total") as url:
        broken = scenario(url, tmp_path / "transcript")
    for right, wrong in zip(usual, broken, strict=True):
        # The number may become shorter by a digit, and the content with it.
        found = set(places(right, wrong)) - {"$.fields.content-length"}
        is_new_order = (right["method"], right["target"], right["status"]) == (
            ("POST", "/orders", 201)
        )
        taxed = is_new_order and right["content"]["tax_cents"] > 0
        assert found == ({"$.content.total_cents"} if taxed else set())


def test_fault_can_be_named_in_the_environment() -> None:
    with shop(SHOP_FAULT="wrong-total") as url:
        order = b'{"customer": "ada", "card": "tok", "items": [{"sku": "COF-500", "quantity": 1}]}'
        status, answer = ask(url, "POST", "/orders", order)
    assert status == 201
    assert answer["total_cents"] == answer["subtotal_cents"] + answer["shipping_cents"]


def test_unknown_fault_is_refused() -> None:
    command = [sys.executable, str(SHOP / "shop.py"), "--port", "0", "--fault", "no-such"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert done.returncode == 2
    assert "no fault is named 'no-such'" in done.stderr


def test_taken_port_is_one_line() -> None:
    with running("inventory.py") as url:
        port = url.rsplit(":", 1)[1]
        command = [sys.executable, str(SHOP / "shop.py"), "--port", port]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1
    assert done.stderr.strip().count("\n") == 0
    assert port in done.stderr


def test_state_is_kept_between_connections() -> None:
    order = b'{"customer": "ada", "card": "tok", "items": [{"sku": "LAMP-01", "quantity": 2}]}'
    with shop() as url:
        status, made = ask(url, "POST", "/orders", order)
        assert (status, made["number"], made["total_cents"]) == (201, 1001, 21182)
        assert ask(url, "GET", "/products/LAMP-01")[1]["available"] == 0
        assert ask(url, "POST", "/orders", order)[0] == 409
        assert ask(url, "POST", f"/orders/{made['id']}/cancel")[0] == 200
        assert ask(url, "GET", "/products/LAMP-01")[1]["available"] == 2
        assert ask(url, "GET", f"/orders/{made['id']}")[1]["charge"]["status"] == "refunded"


def test_declined_card_releases_the_goods() -> None:
    declined = (
        b'{"customer": "ada", "card": "tok_declined", "items": [{"sku": "LAMP-01", "quantity": 2}]}'
    )
    with shop() as url:
        assert ask(url, "POST", "/orders", declined)[0] == 402
        assert ask(url, "GET", "/products/LAMP-01")[1]["available"] == 2
        assert ask(url, "GET", "/orders") == (200, {"orders": [], "count": 0})


def test_upstream_that_is_not_there_is_a_502() -> None:
    nowhere = "http://127.0.0.1:9"
    with running("shop.py", INVENTORY_URL=nowhere, PAYMENTS_URL=nowhere) as url:
        status, answer = ask(url, "GET", "/products/MUG-BLUE")
    assert (status, answer["error"]["code"]) == (502, "upstream_failed")


def test_upstream_that_closed_an_idle_connection_is_asked_again() -> None:
    with ExitStack() as stack:
        first = ExitStack()
        inventory = first.enter_context(running("inventory.py"))
        url = stack.enter_context(running("shop.py", INVENTORY_URL=inventory))
        assert ask(url, "GET", "/products/MUG-BLUE")[0] == 200
        first.close()
        port = inventory.rsplit(":", 1)[1]
        stack.enter_context(running("inventory.py", "--port", port))
        assert ask(url, "GET", "/products/MUG-BLUE")[0] == 200
