"""`replay learn`: several runs of a known-good build, and the rules file that they teach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from wiretape.replayer.config import Config
from wiretape.replayer.errors import EnvironmentFailedError, UnfitRecordingError, UsageError
from wiretape.replayer.learn import Run, add_rules, describe, learn
from wiretape.replayer.rules_file import load_rules
from wiretape.replayer.run import replay
from wiretape.replayer.verdict import Verdict


def teach(config: Config, runs: int, file: Path | None, tell: Callable[[str], None]) -> int:
    """Run the build `runs` times and add what was learned to `file`; the exit code.

    `config` names no rules: what stands in the file holds for the runs. Without a file the new
    rules go to standard output.
    UsageError, UnfitRecordingError and EnvironmentFailedError where a run could not be judged.
    """
    before = ""
    if file is not None and file.exists():
        load_rules(file)
        before = file.read_text(encoding="utf-8")
        config = replace(config, rules=file)
    seen: list[Run] = []
    for number in range(1, runs + 1):
        tell(f"run {number} of {runs}")
        verdict = replay(config, lambda _: None)
        if verdict.interrupted:
            return 130
        seen.append(observed(verdict))
    lesson = learn(seen)
    for line in describe(lesson):
        tell(line)
    text = add_rules(before, lesson.rules, runs)
    if file is None:
        print(text, end="")
    elif lesson.rules or not before:
        try:
            file.write_text(text, encoding="utf-8")
        except OSError as error:
            raise UsageError(f"--rules: cannot write {file}: {error.strerror}") from None
    if lesson.rules and lesson.refusals:
        tell("the new rules may explain some of the rest: learn again")
    if not lesson.rules and not lesson.refusals:
        tell(f"{runs} runs, none differs: nothing to learn")
    return 1 if lesson.refusals else 0


def observed(verdict: Verdict) -> Run:
    """What one run did differently, and where; raises where it could not be judged."""
    if verdict.failure is not None:
        raise EnvironmentFailedError(verdict.failure.message)
    if verdict.unfit_reason is not None:
        raise UnfitRecordingError(verdict.unfit_reason)
    run = Run()
    for result in verdict.results:
        where = f"exchange {result.position + 1} ({result.endpoint})"
        run.differences += ((where, difference) for difference in result.differences)
    for finding in verdict.upstream:
        call = f"{finding.upstream} {finding.call}"
        if finding.kind == "changed":
            run.differences += ((f"call {call}", difference) for difference in finding.differences)
        else:
            run.calls.append(f"upstream call {finding.kind}: {call}")
    return run
