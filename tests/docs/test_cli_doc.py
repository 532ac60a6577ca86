"""docs/cli.md says what the commands say: options, exit codes, keys of what they write."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from doc_examples import ROOT

from wiretape.agent.ledger import Ledger

PROGRAMS = ["capture-agent", "replay"]
CLI = (ROOT / "docs" / "cli.md").read_text()
_OPTION = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")


def help_of(*command: str) -> str:
    program = Path(sys.executable).parent / command[0]
    done = subprocess.run(
        [program, *command[1:], "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def entries(text: str, heading: str) -> list[str]:
    """The left column of a section of a help text."""
    section = text.partition(f"\n{heading}:\n")[2].partition("\n\n")[0]
    return re.findall(r"^  (\S.*?)(?:  .*)?$", section, re.MULTILINE)


def commands() -> list[str]:
    return [
        f"{program} {command}"
        for program in PROGRAMS
        for command in entries(help_of(program), "Commands")
    ]


def sections(level: int) -> dict[str, str]:
    """Text by heading; a section ends where one of its own level or above begins."""
    heading = re.compile(rf"^#{{{level}}} (.+)$", re.MULTILINE)
    end = re.compile(rf"^#{{1,{level}}} ", re.MULTILINE)
    return {
        found[1]: end.split(CLI[found.end() :], maxsplit=1)[0] for found in heading.finditer(CLI)
    }


def first_cells(text: str) -> list[str]:
    return re.findall(r"^\| (.+?) \|", text, re.MULTILINE)


def test_every_command_has_a_section_and_the_other_way_round() -> None:
    described = [
        heading.strip("`") for heading in sections(2) if heading.startswith("`") and " " in heading
    ]
    assert sorted(described) == sorted(commands())


@pytest.mark.parametrize("command", commands())
def test_options_are_those_of_the_help(command: str) -> None:
    shown: set[str] = set()
    for entry in entries(help_of(*command.split()), "Options"):
        shown.update(_OPTION.findall(entry))
    described: set[str] = set()
    for cell in first_cells(sections(2)[f"`{command}`"]):
        if cell.startswith("`-"):
            described.update(_OPTION.findall(cell))
    assert described == shown


@pytest.mark.parametrize("command", commands())
def test_names_of_values_are_those_of_the_help(command: str) -> None:
    shown = " ".join(entries(help_of(*command.split()), "Options"))
    for cell in first_cells(sections(2)[f"`{command}`"]):
        if match := re.fullmatch(r"`(?:-\w, )?(--[a-z-]+) (\[?[A-Z][A-Z:=\[\]]*)`", cell):
            assert f"{match[1]} {match[2]}" in shown


@pytest.mark.parametrize("command", commands())
def test_defaults_are_those_of_the_help(command: str) -> None:
    text = help_of(*command.split())
    for option, default in re.findall(r"^  (?:-\w, )?(--[a-z-]+).*\[default: (.+)\]$", text, re.M):
        row = re.search(rf"^\| `{option}\b.*$", sections(2)[f"`{command}`"], re.MULTILINE)
        assert row is not None
        assert f"Default {default}." in row[0]


@pytest.mark.parametrize("program", PROGRAMS)
def test_exit_codes_are_those_of_the_help(program: str) -> None:
    told = " ".join(help_of(program).partition("Exit codes:")[2].partition("\n\n")[0].split())
    codes = {int(code) for code in re.findall(r"(?:^|; )(\d+) ", told)}
    tables = sections(2) | sections(3)
    described = first_cells(tables[f"Exit codes of `{program}`"])
    assert {int(cell) for cell in described if cell.isdigit()} == codes

    readme = (ROOT / "README.md").read_text()
    rows = [line.split("|")[1:-1] for line in readme.splitlines() if re.match(r"\| \d+ \|", line)]
    column = {"replay": 1, "capture-agent": 2}[program]
    assert {int(row[0]) for row in rows if row[column].strip()} == codes


def test_summary_keys_are_those_of_the_ledger() -> None:
    described = [
        cell.strip("`")
        for cell in first_cells(sections(3)["The ledger"])
        if re.fullmatch(r"`[a-z_]+`", cell)
    ]
    assert described == list(Ledger().as_json())
