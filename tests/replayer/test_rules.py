"""Rules files: what they accept, what they still find, and what is wrong in them."""

import json
from typing import Any

import pytest
from judging import PLACE, U1, U2, compared, judge, places, view
from tapes import Fields, fields_of, request_of, response_of

from wiretape.exchange.v1.exchange_pb2 import Exchange, HttpExchange
from wiretape.replayer.compare import compare_requests, compare_responses, unused_rules
from wiretape.replayer.compare.fields import compare_fields
from wiretape.replayer.compare.request import exact_key
from wiretape.replayer.errors import UsageError
from wiretape.replayer.rules import json_path_pattern
from wiretape.replayer.rules_file import parse_rules, write_rules
from wiretape.replayer.values import Correlation, Judgement, Place, Span


def found(rules: str, recorded: Any, live: Any) -> list[str]:
    pair = (json.dumps(side).encode() for side in (recorded, live))
    return [d.place for d in compared(*pair, "application/json", rules)]


@pytest.mark.parametrize(
    ("rule", "recorded", "live", "expected"),
    [
        ('[[ignore]]\njson = "$.a"', {"a": 1}, {"a": {"b": []}}, []),
        ('[[ignore]]\njson = "$.a"', {"a": 1}, {}, []),
        ('[[ignore]]\njson = "$.a"', {}, {"a": 1}, []),
        ('[[ignore]]\njson = "$.a"', {"a": {"b": [1]}}, {"a": {"b": [2, 3]}}, []),
        ('[[ignore]]\njson = "$.a"', {"ab": 1}, {"ab": 2}, ["$.ab"]),
        ('[[ignore]]\njson = "$.a[*].b"', {"a": [{"b": 1, "c": 1}]}, {"a": [{"c": 1}]}, []),
        ('[[ignore]]\njson = "$.a[*].b"', {"a": [{"c": 1}]}, {"a": [{"c": 2}]}, ["$.a[0].c"]),
        ('[[ignore]]\njson = "$..b"', {"a": [{"x": {"b": 1}}]}, {"a": [{"x": {"b": 2}}]}, []),
        ('[[ignore]]\njson = "$.*.b"', {"a b": {"b": 1}}, {"a b": {"b": 2}}, []),
        ("[[ignore]]\njson = \"$['a b']\"", {"a b": 1, "c": 1}, {"a b": 2, "c": 2}, ["$.c"]),
        ("[[ignore]]\njson = \"$['*'].n\"", {U1: {"n": 1}}, {U2: {"n": 2}}, []),
        ('[[ignore]]\ncontent = "*"', {"a": 1}, [2], []),
        ('[[mask]]\njson = "$.a"\nas = "integer"', {"a": 1}, {"a": -7}, []),
        ('[[mask]]\njson = "$.a"\nas = "integer"', {"a": 1}, {"a": 1.5}, ["$.a"]),
        ('[[mask]]\njson = "$.a"\nas = "integer"', {"a": 1}, {}, ["$.a"]),
        ('[[mask]]\njson = "$.a"\nas = "number"', {"a": 1}, {"a": 1.5}, []),
        ('[[mask]]\njson = "$.a"\nas = "number"', {"a": 1}, {"a": True}, ["$.a"]),
        ('[[mask]]\njson = "$.a"\nas = "string"', {"a": "x"}, {"a": "yz"}, []),
        ('[[mask]]\njson = "$.a"\nas = "string"', {"a": "x"}, {"a": None}, ["$.a"]),
        ('[[mask]]\njson = "$.a"\nas = "boolean"', {"a": True}, {"a": False}, []),
        ('[[mask]]\njson = "$.a"\nas = "any"', {"a": 1}, {"a": None}, []),
        ('[[mask]]\njson = "$.a"\nas = "any"', {"a": 1}, {"a": []}, ["$.a"]),
        ('[[mask]]\njson = "$.a"\nas = "uuid"', {"a": U1}, {"a": "x"}, ["$.a"]),
        ('[[mask]]\njson = "$.a"\nas = "time"', {"a": "2020-01-01"}, {"a": "2021-01-01"}, []),
        ('[[mask]]\njson = "$.a"\npattern = "v\\\\d+"', {"a": "v1"}, {"a": "v22"}, []),
        ('[[mask]]\njson = "$.a"\npattern = "v\\\\d+"', {"a": "v1"}, {"a": "w2"}, ["$.a"]),
        ('[[tolerance]]\njson = "$.a"\nabsolute = 2', {"a": 10}, {"a": 12}, []),
        ('[[tolerance]]\njson = "$.a"\nabsolute = 2', {"a": 10}, {"a": 13}, ["$.a"]),
        ('[[tolerance]]\njson = "$.a"\nrelative = 0.1', {"a": 10.0}, {"a": 9.0}, []),
        ('[[tolerance]]\njson = "$.a"\nrelative = 0.1', {"a": 10.0}, {"a": 8.9}, ["$.a"]),
        ('[[tolerance]]\njson = "$.a"\nrelative = 0.1', {"a": 10}, {"a": "10"}, ["$.a"]),
        (
            '[[tolerance]]\njson = "$.a"\nwithin = "1h"',
            {"a": "2020-01-01T00:00:00Z"},
            {"a": "2020-01-01T00:59:00Z"},
            [],
        ),
        (
            '[[tolerance]]\njson = "$.a"\nwithin = "1h"',
            {"a": "2020-01-01T00:00:00Z"},
            {"a": "2020-01-01T02:00:00Z"},
            ["$.a"],
        ),
        (
            '[[rewrite]]\njson = "$.a"\npattern = "^https?://[^/]+"\nto = ""',
            {"a": "http://x/1"},
            {"a": "https://y/1"},
            [],
        ),
        (
            '[[rewrite]]\njson = "$.a"\npattern = "^https?://[^/]+"\nto = ""',
            {"a": "http://x/1"},
            {"a": "https://y/2"},
            ["$.a"],
        ),
        ('endpoint = "GET /orders/*"', {"a": 1}, {"a": 2}, []),
        ('endpoint = "GET /**"', {"a": 1}, {"a": 2}, []),
        ('endpoint = "* /orders/*"', {"a": 1}, {"a": 2}, []),
        ('endpoint = "POST /orders/*"', {"a": 1}, {"a": 2}, ["$.a"]),
        ('endpoint = "GET /*"', {"a": 1}, {"a": 2}, ["$.a"]),
    ],
)
def test_rules(rule: str, recorded: Any, live: Any, expected: list[str]) -> None:
    text = rule if rule.startswith("[[") else f'[[ignore]]\njson = "$.a"\n{rule}'
    assert found(text, recorded, live) == expected


@pytest.mark.parametrize(
    ("rule", "recorded", "live", "expected"),
    [
        ('[[ignore]]\nfield = "X-A"', {"X-A": "1"}, {}, []),
        ('[[ignore]]\nfield = "x-a"', {}, {"X-A": "1"}, []),
        ('[[ignore]]\nfield = "x-*"', {"X-A": "1", "Y": "1"}, {"Y": "2"}, ["y"]),
        ('[[mask]]\nfield = "x-a"\nas = "integer"', {"X-A": "1"}, {"X-A": "2"}, []),
        ('[[mask]]\nfield = "x-a"\nas = "integer"', {"X-A": "1"}, {"X-A": "b"}, ["x-a"]),
        ('[[unordered]]\nfield = "x-a"', {"X-A": "a, b"}, {"X-A": "b, a"}, []),
        ('[[unordered]]\nfield = "x-a"', {"X-A": "a, b"}, {"X-A": "b, b"}, ["x-a"]),
        ('[[ignore]]\nfield = "set-cookie: a"', {"Set-Cookie": "a=1; Secure"},
         {"Set-Cookie": "a=2"}, []),
        ('[[mask]]\nfield = "set-cookie: a"\nas = "any"', {"Set-Cookie": "a=1; Secure"},
         {"Set-Cookie": "a=2"}, ["set-cookie: a; secure"]),
    ],
)  # fmt: skip
def test_rules_of_fields(rule: str, recorded: Fields, live: Fields, expected: list[str]) -> None:
    differences = compare_fields(fields_of(recorded), fields_of(live), view(rule))
    assert [d.place for d in differences] == expected


@pytest.mark.parametrize(
    ("rule", "kind", "recorded", "live"),
    [
        ('[[ignore]]\nform = "a"', "application/x-www-form-urlencoded", "a=1", "a=2&a=3"),
        ('[[ignore]]\nxml = "/a/b"', "text/xml", "<a><b>1</b></a>", "<a><b x='1'>2</b></a>"),
        ('[[ignore]]\nxml = "/a/@x"', "text/xml", "<a x='1'/>", "<a x='2'/>"),
        ('[[mask]]\ncsv = "n"\nas = "integer"', "text/csv", "a,n\nx,1\n", "a,n\nx,2\n"),
        ('[[unordered]]\ncsv = "*"', "text/csv", "a\n1\n2\n", "a\n2\n1\n"),
        ('[[unordered]]\ntext = "*"', "text/plain", "b\na", "a\nb"),
        ('[[ignore]]\ntext = "line 2"', "text/plain", "b\na", "b\nc"),
        ('[[rewrite]]\ntext = "*"\npattern = "took .*"\nto = ""', "text/plain", "took 1", "took 2"),
        ('[[ignore]]\nevent = "$[*].data.a"', "text/event-stream", 'data:{"a":1}', 'data:{"a":2}'),
        ('[[ignore]]\njson = "$[*].a"', "application/x-ndjson", '{"a":1}', '{"a":2}'),
    ],
)
def test_rules_of_other_contents(rule: str, kind: str, recorded: str, live: str) -> None:
    assert compared(recorded.encode(), live.encode(), kind)
    assert not compared(recorded.encode(), live.encode(), kind, rule)


def test_what_a_rule_accepted_is_told() -> None:
    judgement = judge('\n[[mask]]\njson = "$.a"\nas = "integer"\n')
    exchange = HttpExchange(request=request_of("GET", "/"), response=response_of(200, {"a": 1}))
    assert not compare_responses(exchange, response_of(200, {"a": 2}), [], judgement)
    (accepted,) = [a for a in judgement.accepted if a.kind == "rule"]
    assert accepted.place == Place(*PLACE[:2], "json", "$.a")
    assert (accepted.recorded, accepted.live) == ("1", "2")
    assert accepted.why == "line 2: mask json $.a of **"


def test_a_refused_value_names_the_rule() -> None:
    (difference,) = compared(
        b'{"a": 1}', b'{"a": 2}', "application/json", '[[tolerance]]\njson = "$.a"\nabsolute = 0.5'
    )
    assert "line 1: tolerance json $.a" in difference.reason


CALL = Place("up:80 POST /a", "request", "", "")


def test_rules_of_upstream_calls() -> None:
    rules = parse_rules(
        '[[match]]\nendpoint = "up:80 POST /a"\nfield = "User-Agent"\n'
        '[[ignore]]\nquery = "nonce"\n[[ignore]]\npath = "*"\n',
        "rules.toml",
    )
    one = request_of("POST", "/a?nonce=1", fields={"User-Agent": "x"})
    other = request_of("POST", "/a?nonce=2", fields={"User-Agent": "y"})
    span = Span(0, 0, 0, 0)
    judgement = Judgement(Correlation(), span, CALL, rules=rules)
    assert places(compare_requests(one, other, judgement)) == ["field user-agent"]
    assert not places(
        compare_requests(one, other, Judgement(Correlation(), span, PLACE, rules=rules))
    )
    here = rules.here(CALL.endpoint)
    pair = [request_of("POST", "/a", fields={"User-Agent": agent}) for agent in "xy"]
    assert exact_key(pair[0]) == exact_key(pair[1])
    assert exact_key(pair[0], here) != exact_key(pair[1], here)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[ignore]\n", "1: "),
        ("version = 2\n", "1: version is not 1"),
        ("\n[[ignored]]\n", "2: unknown 'ignored'"),
        ('[ignore]\njson = "$"', "1: write [[ignore]]"),
        (
            '[[ignore]]\njson = "$"\n[[ignore]]\njson = "$"\nwhy = "x"',
            "5: [[ignore]]: unknown key 'why'",
        ),
        ('[[ignore]]\njson = "$"\nas = "any"', "3: [[ignore]]: unknown key 'as'"),
        ("\n[[ignore]]\n", "2: [[ignore]]: needs exactly one place"),
        ('[[ignore]]\njson = "$"\nfield = "a"', "3: [[ignore]]: needs exactly one place"),
        ('[[ignore]]\nstatus = "500"', "2: [[ignore]]: unknown key 'status'"),
        ('[[ignore]]\njson = "$.a[0]"', "2: [[ignore]]: '$.a[0]': '[0]' is not"),
        ('[[ignore]]\njson = "a"', "2: [[ignore]]: 'a' is no JSON path"),
        ('[[ignore]]\nfield = ""', "2: [[ignore]]: 'field' is empty"),
        ("[[ignore]]\nfield = 1", "2: [[ignore]]: 'field' is not text"),
        ('[[mask]]\njson = "$"', "1: [[mask]]: needs either as or pattern"),
        ('[[mask]]\njson = "$"\nas = "colour"', "3: [[mask]]: 'colour' is no class"),
        ('[[mask]]\njson = "$"\npattern = "("', "3: [[mask]]: '(' is no regular expression"),
        ('[[rewrite]]\njson = "$"\npattern = "a"', "1: [[rewrite]]: needs pattern and to"),
        (
            '[[rewrite]]\njson = "$"\npattern = "a"\nto = "\\\\9"',
            "4: [[rewrite]]: '\\9' cannot replace",
        ),
        ('[[tolerance]]\njson = "$"', "1: [[tolerance]]: needs one of"),
        (
            '[[tolerance]]\njson = "$"\nabsolute = -1',
            "3: [[tolerance]]: 'absolute' is not a number",
        ),
        (
            '[[tolerance]]\njson = "$"\nabsolute = nan',
            "3: [[tolerance]]: 'absolute' is not a number",
        ),
        (
            '[[tolerance]]\njson = "$"\nwithin = "long"',
            "3: [[tolerance]]: 'long' is not a duration",
        ),
        ('[[match]]\njson = "$"', "2: [[match]]: only a field"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_rules(text, "rules.toml")
    assert str(error.value).startswith(f"rules.toml:{message}")
    assert "\n" not in str(error.value)


EVERY = """\
version = 1

[[ignore]]
endpoint = "GET /a/*"
json = "$.a['b \\"c\\u007f']"
evidence = "5 of 5 runs: \\"é\\" was recorded"

[[mask]]
field = "x-a"
as = "integer"

[[mask]]
query = "q"
pattern = "\\\\d+"

[[tolerance]]
json = "$.n"
absolute = 2
relative = 0.05

[[tolerance]]
json = "$.t"
within = "1500ms"

[[rewrite]]
text = "*"
pattern = "a"
to = ""
"""


def test_what_is_written_reads_back() -> None:
    rules = parse_rules(EVERY, "rules.toml")
    assert write_rules(rules.rules) == EVERY
    assert [rule.line for rule in rules.rules] == [3, 8, 12, 16, 21, 25]


@pytest.mark.parametrize(
    ("path", "place", "matches"),
    [
        ("$", "$", True),
        ("$.a", "$.a", True),
        ("$.a", "$.ab", False),
        ("$.a[*].b", "$.a[*].b", True),
        ("$['a']", "$.a", True),
        ('$["a b"]', '$["a b"]', True),
        ("$.*", '$["a b"]', True),
        ("$.*", "$['*']", True),
        ("$.*", "$[*]", False),
        ("$[*]", "$.a", False),
        ("$..id", "$.a[*].b.id", True),
        ("$..id", "$.id", True),
        ("$..id", "$.idx", False),
        ("$..[*]", "$.a[*]", True),
    ],
)
def test_json_paths(path: str, place: str, matches: bool) -> None:
    import re

    assert (re.fullmatch(json_path_pattern(path), place) is not None) is matches


def test_rules_for_what_was_never_recorded() -> None:
    texts = {
        "json": ["$.a", "$.gone", "$.list[*].x"],
        "field": ["x-a", "x-gone", "set-cookie: sid", "set-cookie: gone"],
        "query": ["q", "gone"],
        "form": ["f", "gone"],
    }
    tables = [f'[[ignore]]\n{part} = "{name}"\n' for part, names in texts.items() for name in names]
    rules = parse_rules("\n".join(tables), "rules.toml")
    answer = response_of(
        200, {"a": 1, "list": [{"x": 1}]}, {"X-A": "1", "Set-Cookie": "sid=1; Path=/"}
    )
    inbound = Exchange(http=HttpExchange(request=request_of("GET", "/orders/17"), response=answer))
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    call = Exchange(http=HttpExchange(request=request_of("POST", "/a?q=1", b"f=1", form)))
    unused = unused_rules(rules, [inbound], [("up:80", call)])
    assert [rule.name for rule in unused] == [
        "$.gone", "x-gone", "set-cookie: gone", "gone", "gone"
    ]  # fmt: skip
