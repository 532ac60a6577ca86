"""Finds and runs the examples in documents.

An example is a fenced block after `<!-- example -->`. A console block is run by bash, all examples
of one document in one folder that has the checkout's `fixtures` and `examples`. A block after
`<!-- example: checkout -->` is one command, run in the checkout itself, with what it prints. A
Python block is run likewise, and the next text block shows what it prints. In what is shown, `...`
stands for anything.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]

_EXAMPLE = re.compile(
    r"^<!-- example(?P<where>: checkout)? -->\n```(?P<kind>\w+)\n(?P<body>.*?)^```$"
    r"(?:\n\nprints\n\n```text\n(?P<printed>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)
_MARK = "\x1e"


class Example(NamedTuple):
    document: str
    line: int
    kind: str
    in_checkout: bool
    body: str
    printed: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


class Step(NamedTuple):
    """A command with what it is said to print."""

    command: str
    printed: str


def examples(document: str) -> list[Example]:
    """The examples of a document, in order."""
    text = (ROOT / document).read_text()
    return [
        Example(
            document,
            text.count("\n", 0, match.start("body")) + 1,
            match["kind"],
            match["where"] is not None,
            match["body"],
            match["printed"] or "",
        )
        for match in _EXAMPLE.finditer(text)
    ]


def steps(body: str, most: int = 0) -> list[Step]:
    """The commands of a console block: `$ ` begins one, a backslash at the end continues it.

    After `most` commands, where it is not 0, what looks like one is what the last of them printed.
    """
    found: list[Step] = []
    continued = False
    for line in body.splitlines(keepends=True):
        begins = line.startswith("$ ") and not 0 < most <= len(found)
        if continued or begins:
            command = line if continued else line[2:]
            before = found.pop().command if continued else ""
            found.append(Step(before + command, ""))
            continued = command.endswith("\\\n")
        else:
            last = found.pop()
            found.append(Step(last.command, last.printed + line))
    return found


def matches(shown: str, printed: str) -> bool:
    """Whether `printed` is what is shown; a line `...` stands for any lines, or none."""
    pattern = re.escape(shown)
    pattern = re.sub(r"(?m)^\\\.\\\.\\\.\\?\n", "(?:.*\n)*?", pattern)
    pattern = pattern.replace(re.escape("..."), ".*?")
    return re.fullmatch(pattern, printed) is not None


def folder(where: Path) -> Path:
    """Makes `where` look like a checkout as far as examples need it."""
    for name in ("fixtures", "examples"):
        (where / name).symlink_to(ROOT / name)
    return where


def run_console(example: Example, where: Path) -> list[tuple[Step, str]]:
    """Each step with what it printed, standard error included."""
    todo = steps(example.body, most=int(example.in_checkout))
    mark = f"__status=$?; printf {shlex.quote(_MARK)}; (exit $__status)\n"
    script = "".join(step.command + mark for step in todo)
    printed = _run(["bash", "-c", script], ROOT if example.in_checkout else where)
    outputs = printed.split(_MARK)
    assert len(outputs) == len(todo) + 1, f"{example}: {printed}"
    return list(zip(todo, outputs[:-1], strict=True))


def run_python(example: Example, where: Path) -> str:
    """What the block printed, standard error included."""
    return _run([sys.executable, "-c", example.body], where)


def _run(command: list[str], where: Path) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=where,
        env={**os.environ, "PATH": path, "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=110,
    )
    return done.stdout
