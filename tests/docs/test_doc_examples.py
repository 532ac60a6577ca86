"""The examples in the documents run, and print what is shown."""

from pathlib import Path

import pytest
from doc_examples import Example, examples, folder, matches, run_console, run_python, steps

DOCUMENTS = ["README.md", "docs/cli.md", "docs/recording-format.md"]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_examples_print_what_is_shown(document: str, tmp_path: Path) -> None:
    where = folder(tmp_path)
    found = examples(document)
    assert found, "no example is marked"
    for example in found:
        if example.kind == "console":
            _check_console(example, where)
        else:
            assert example.kind == "python"
            printed = run_python(example, where)
            assert matches(example.printed, printed), f"{example}: it prints\n{printed}"


def _check_console(example: Example, where: Path) -> None:
    for step, printed in run_console(example, where):
        assert matches(step.printed, printed), f"{example}: {step.command}prints\n{printed}"


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("a\n", "a\n", True),
        ("a\n", "b\n", False),
        ("a\n", "a\na\n", False),
        ("port ...\n", "port 80\n", True),
        ("port ...\n", "port 80\nmore\n", False),
        ("...\nb\n", "b\n", True),
        ("...\nb\n", "a\na\nb\n", True),
        ("...\nb\n", "ab\n", False),
        ("a\n...\n", "a\n", True),
        ("a\n...\nb\n", "a\n1\n2\n", False),
        ("a.c\n", "abc\n", False),
    ],
)
def test_what_is_shown_matches(shown: str, printed: str, same: bool) -> None:
    assert matches(shown, printed) == same


def test_steps_of_a_console_block() -> None:
    body = "$ one\nfirst\n$ two \\\n    more\nsecond\nthird\n$ three\n"
    assert [tuple(step) for step in steps(body)] == [
        ("one\n", "first\n"),
        ("two \\\n    more\n", "second\nthird\n"),
        ("three\n", ""),
    ]
