"""What is learned of the differences of several runs."""

from typing import Any

import pytest
from judging import PLACE

from wiretape.replayer.compare.difference import UNORDERED, Difference
from wiretape.replayer.learn import Run, add_rules, describe, learn
from wiretape.replayer.rules_file import parse_rules, write_rule

SAME = object()


def differs(
    expected: str | None, actual: str | None, part: str = "json", name: str = "$.a", **more: Any
) -> Difference:
    at = PLACE._replace(part=part, name=name)
    return Difference(part, name.replace("*", "0"), expected, actual, "differs", at, **more)


def runs(*seen: Any) -> list[Run]:
    """One run for each of `seen`: a difference of exchange 3, or SAME."""
    return [Run([] if one is SAME else [("exchange 3", one)]) for one in seen]


def rule_text(*seen: Any) -> str:
    (rule,) = learn(runs(*seen)).rules
    return write_rule(rule).partition("evidence")[0]


HERE = 'endpoint = "GET /orders/*"\n'


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ([differs("1", "7"), differs("1", "4")], f'[[mask]]\n{HERE}json = "$.a"\nas = "integer"\n'),
        ([differs("1", "7"), SAME], f'[[mask]]\n{HERE}json = "$.a"\nas = "integer"\n'),
        ([differs("1.5", "7"), SAME], f'[[mask]]\n{HERE}json = "$.a"\nas = "number"\n'),
        ([differs("100", "104"), SAME], f'[[tolerance]]\n{HERE}json = "$.a"\nrelative = 0.1\n'),
        ([differs('"x"', '"y"'), SAME], f'[[mask]]\n{HERE}json = "$.a"\nas = "string"\n'),
        ([differs("true", "false"), SAME], f'[[mask]]\n{HERE}json = "$.a"\nas = "boolean"\n'),
        ([differs('"2020-01-01"', '"2021-01-01"'), SAME],
         f'[[mask]]\n{HERE}json = "$.a"\nas = "time"\n'),
        ([differs("1", "null"), SAME], f'[[ignore]]\n{HERE}json = "$.a"\n'),
        ([differs("1", None), SAME], f'[[ignore]]\n{HERE}json = "$.a"\n'),
        ([differs("[1, 2]", "[2, 1]", remedy=UNORDERED), SAME],
         f'[[unordered]]\n{HERE}json = "$.a"\n'),
        ([differs("1", "2", "field", "x-a"), SAME],
         f'[[mask]]\n{HERE}field = "x-a"\nas = "integer"\n'),
        ([differs("abc12345", "xyz98765", "query", "q"), SAME],
         f'[[mask]]\n{HERE}query = "q"\nas = "token"\n'),
        ([differs("a", "b", "text", "line 2"), SAME], f'[[ignore]]\n{HERE}text = "line 2"\n'),
    ],
)  # fmt: skip
def test_a_rule_as_narrow_as_what_was_seen(seen: list[Any], expected: str) -> None:
    assert rule_text(*seen) == expected


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        ([differs("1", "2")] * 3, "it is the same in every run"),
        ([Difference("status", "status", "200", "500", "another status"), SAME], "accept a status"),
        ([differs("00", "01", "content", "content"), SAME], "binary content"),
        ([differs("/a", "/b", "path", "path"), SAME], "the path of a call"),
        ([Difference("content", "content", None, None, "ended early"), SAME], "accept a content"),
    ],
)
def test_what_never_gets_a_rule(seen: list[Any], why: str) -> None:
    lesson = learn(runs(*seen))
    assert not lesson.rules
    assert why in lesson.refusals[0].why
    assert len(lesson.refusals) == 1


def test_a_missing_call_never_gets_a_rule() -> None:
    lesson = learn([Run(calls=["missing: up:80 GET /a"]), Run()])
    assert list(describe(lesson)) == [
        "no rule: missing: up:80 GET /a (1 run): no rule can accept a call"
    ]


def test_one_place_is_one_rule_for_all_its_elements_and_exchanges() -> None:
    first = [("exchange 3", differs("1", "50", name="$.x[*].n"))]
    second = [("exchange 4", differs("2", "90", name="$.x[*].n"))]
    lesson = learn([Run(first + second), Run(second), Run()])
    (rule,) = lesson.rules
    assert rule.name == "$.x[*].n"
    assert rule.evidence == "2 of 3 runs: 1 was recorded, 50, 90 came"
    assert not lesson.refusals


def test_rules_are_added_below_what_people_wrote() -> None:
    lesson = learn(runs(differs("1", "7"), SAME))
    mine = '# ours\nversion = 1\n\n[[ignore]]\njson = "$.z" # because\n'
    text = add_rules(mine, lesson.rules, 2)
    assert text.startswith(mine)
    assert [rule.name for rule in parse_rules(text, "f").rules] == ["$.z", "$.a"]
    assert parse_rules(add_rules("", lesson.rules, 2), "f").rules
    assert add_rules(mine, [], 2) == mine
    assert list(describe(lesson)) == [
        "new: mask json $.a of GET /orders/*: 1 of 2 runs: 1 was recorded, 7 came"
    ]
