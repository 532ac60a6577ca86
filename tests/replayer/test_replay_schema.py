"""docs/verdict.schema.json says what --json writes, and the verdict is the same in every run."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from verdicts import HOSTILE, OTHER, TOKEN, json_change, large_verdict, made, rich_verdict

from wiretape.replayer.compare import Difference
from wiretape.replayer.report import json_lines, json_report
from wiretape.replayer.report.labels import Labels
from wiretape.replayer.verdict import State, Verdict

SCHEMA = json.loads(
    (Path(__file__).parents[2] / "docs" / "verdict.schema.json").read_text(encoding="utf-8")
)


def check(report: dict[str, Any]) -> None:
    errors = [error.message for error in Draft202012Validator(SCHEMA).iter_errors(report)]
    assert errors == []


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(
    "verdict",
    [
        rich_verdict(),
        made(),
        made(("GET /", State.SAME)),
        made(("GET /", State.NOT_RUN), ("GET /a", State.UNFIT)),
    ],
)
def test_verdicts_are_as_the_schema_says(verdict: Verdict) -> None:
    check(json.loads(json_report(verdict)))


def objects(schema: Any, place: str = "$") -> Any:
    if isinstance(schema, dict):
        if "properties" in schema:
            yield place, schema
        for name, value in schema.items():
            yield from objects(value, f"{place}.{name}")


def test_the_schema_names_every_key_that_is_written_and_no_other() -> None:
    """Keys may be added for readers; for us each that is written is described."""
    strict = json.loads(json.dumps(SCHEMA))
    for place, schema in objects(strict):
        assert set(schema["required"]) == set(schema["properties"]), place
        schema["additionalProperties"] = False
    report = json.loads(json_report(rich_verdict()))
    assert [e.message for e in Draft202012Validator(strict).iter_errors(report)] == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda report: report.pop("causes"),
        lambda report: report.update(schema="wiretape.replay/2"),
        lambda report: report["exchanges"][0].update(state="maybe"),
        lambda report: report["exchanges"][0]["differences"][0].pop("reason"),
        lambda report: report["timings"].update(duration_ns=-1),
        lambda report: report["causes"][0].update(exchanges=[-1]),
    ],
)
def test_the_schema_refuses_what_is_no_verdict(spoil: Any) -> None:
    report = json.loads(json_report(rich_verdict()))
    spoil(report)
    assert not Draft202012Validator(SCHEMA).is_valid(report)


def test_pieces_are_the_report_and_any_text_can_be_written() -> None:
    verdict = rich_verdict()
    verdict.results[0].differences = [json_change("$.a", HOSTILE, HOSTILE)]
    text = "".join(json_lines(verdict))
    assert text == json_report(verdict)
    text.encode()
    assert json.loads(text)["exchanges"][0]["differences"][0]["expected"] == HOSTILE


def test_ten_thousand_exchanges_are_a_line_each() -> None:
    lines = json_report(large_verdict(10_000)).splitlines()
    assert sum(line.startswith('    {"position": ') for line in lines) == 10_000


def a_run(uuid: str, token: str, date: str, port: int) -> Verdict:
    """A build that fails in the same way, with other ids, times and ports."""
    verdict = made(("POST /orders", State.DIFFERS), ("GET /orders", State.DIFFERS))
    first, second = verdict.results
    added = json.dumps({"id": uuid, "at": date, "href": f"http://127.0.0.1:{port}/o/{token}"})
    first.differences = [json_change("$.items[1]", None, added, "the element was not recorded")]
    second.differences = [
        json_change("$.last", f'"{OTHER}"', f'"{uuid}"', f"renamed to {token} before"),
        Difference("field", "date", "Tue, 14 Nov 2023 22:13:20 GMT", date, "4 h off"),
        json_change("$.count", "1", "2"),
    ]
    verdict.duration_ns = port
    return verdict


def test_two_runs_give_one_verdict() -> None:
    one = a_run(TOKEN, "tok_9fK2xLq7Rw3Zb8Vn", "Mon, 23 Nov 2026 12:00:00 GMT", 40001)
    two = a_run(
        "0b54d34e-58e4-4b1c-9d0b-4b6a7e6f0a11", "tok_Aa7Qp2Xc9Ls4Mw6Z",
        "Tue, 24 Nov 2026 08:30:12 GMT", 39999,
    )  # fmt: skip
    before, after = (json_report(verdict).partition('  "timings": ') for verdict in (one, two))
    assert before[0] == after[0]
    assert before[2] != after[2]
    said = json.loads(json_report(one))
    first, second = (exchange["differences"] for exchange in said["exchanges"])
    assert json.loads(first[0]["actual"]) == {
        "id": "<unique 1>",
        "at": "<time 1>",
        "href": "http://<address 1>/o/<unique 2>",
    }
    assert second[0]["actual"] == '"<unique 1>"'
    assert second[0]["expected"] == f'"{OTHER}"'
    assert second[0]["reason"] == "renamed to <unique 2> before"
    assert second[2]["actual"] == "2"
    assert said["timings"]["live"]["<unique 1>"] == TOKEN


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("21", "21"),
        ("another-ordinary-long-name", "another-ordinary-long-name"),
        ("InternalServerErrorException", "InternalServerErrorException"),
        ("application/json; charset=utf-8", "application/json; charset=utf-8"),
        ("order_status_changed_event_v2", "order_status_changed_event_v2"),
        ("99.90", "99.90"),
        ("20231114221320", "20231114221320"),
        ("2026-11-23", "<time 1>"),
        ("1700000000", "<time 1>"),
        ("1700000000123", "<time 1>"),
        ("at 2026-11-23T12:00:00.123456+01:00!", "at <time 1>!"),
        ("ord_9f8e7d6c5b4a39281706f5e4", "<unique 1>"),
        ("01HF7YAT00X8W3M9V2KQ4R5TZD", "<unique 1>"),
        (f"/orders/{TOKEN}/items", "/orders/<unique 1>/items"),
        (f"{TOKEN} {OTHER} {TOKEN}", "<unique 1> <unique 2> <unique 1>"),
        ("http://localhost:5000 and 127.0.0.1:5000", "http://<address 1> and <address 2>"),
    ],
)
def test_labels(text: str, masked: str) -> None:
    labels = Labels()
    assert labels.mask(text) == masked
    back = re.sub(r"<\w+ \d+>", lambda match: labels.live[match[0]], masked)
    assert back == text


def test_what_was_recorded_is_no_label() -> None:
    assert Labels().mask(f"{TOKEN} {OTHER}", f"it was {OTHER}") == f"<unique 1> {OTHER}"
