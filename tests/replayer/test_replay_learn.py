"""The command `replay learn`, and runs by the rules that it made."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tapes import TARGET, UPSTREAM_ENV, Outcome, Tape, request_of, response_of

Replay = Callable[..., Outcome]
SERVER = Path(__file__).with_name("volatile_server.py")
RECORDED = {"name": "old", "tags": list("abcdefgh"), "score": 7, "price": 5}
JSON = {"Host": "prices.internal", "Content-Type": "application/json"}


def build(*arguments: str) -> list[str]:
    return ["--", sys.executable, str(SERVER), "{port}", *arguments]


@pytest.fixture
def shop(tape: Tape, tmp_path: Path) -> Path:
    call = request_of("POST", "/prices", b'{"sample": 1}', JSON)
    for _ in range(3):
        answer = response_of(200, {"price": 5})
        tape.inbound(request_of("GET", "/quote"), response_of(200, RECORDED), (call, answer))
    return tape.write(tmp_path / "shop.mcap")


def test_rules_are_learned_until_the_build_passes(
    replay: Replay, shop: Path, tmp_path: Path
) -> None:
    file = tmp_path / "rules.toml"
    words = [shop, *TARGET, *UPSTREAM_ENV, "--rules", file]
    first = replay("learn", *words, "--runs", "2", *build())
    assert "new: mask json $.sample of prices.internal:80 POST /prices" in first.err
    # The price was missing while the upstream calls were not matched.
    assert first.code in (0, 1)
    second = replay("learn", *words, "--runs", "3", *build())
    assert second.code == 0, second.err
    assert '[[unordered]]\nendpoint = "GET /quote"\njson = "$.tags"' in file.read_text()
    third = replay("learn", *words, "--runs", "2", *build())
    assert (third.code, third.err.splitlines()[-1]) == (
        0,
        "replay: 2 runs, none differs: nothing to learn",
    )
    assert replay("run", *words, *build()).code == 0
    broken = replay("run", *words, *build("--new"))
    assert broken.code == 1
    assert broken.report is not None
    (difference,) = broken.report["exchanges"][0]["differences"]
    assert difference["place"] == "$.name"


def test_a_build_that_is_different_for_good_teaches_nothing_of_that(
    replay: Replay, shop: Path, tmp_path: Path
) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text(
        '# ours\n[[ignore]]\njson = "$.tags"\n[[mask]]\njson = "$..sample"\nas = "any"\n'
    )
    words = [shop, *TARGET, *UPSTREAM_ENV, "--rules", rules, "--runs", "2", *build("--new")]
    done = replay("learn", *words)
    assert done.code == 1, done.err
    assert 'json $.name: "old" became "new" (2 runs): it is the same in every run' in done.err
    text = rules.read_text()
    assert text.startswith("# ours\n")
    assert "$.score" in text
    assert "$.name" not in text


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[[ignore]]\nplace = "x"\n', "rules.toml:2: [[ignore]]: unknown key 'place'"),
        ("[[", "rules.toml:1: "),
    ],
)
def test_rules_that_are_wrong(
    replay: Replay, shop: Path, tmp_path: Path, text: str, complaint: str
) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text(text)
    for command in ("run", "learn"):
        done = replay(command, shop, *TARGET, "--rules", rules, *build())
        assert done.code == 2
        assert complaint in done.complaint
    missing = replay("run", shop, *TARGET, "--rules", tmp_path / "none.toml", *build())
    assert missing.code == 2
