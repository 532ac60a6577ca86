"""Two JSON values compared: order of members and white space have no meaning.

Numbers are exact: 1 and 1.0 differ in kind, 1.0 and 1.00 do not differ, nothing is rounded.
"""

from __future__ import annotations

import marshal
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from wiretape.replayer.compare.difference import UNORDERED, Difference
from wiretape.replayer.compare.json_value import kind_of, show_json
from wiretape.replayer.compare.order import follows_generated_order, pair
from wiretape.replayer.compare.view import View
from wiretape.replayer.rules import spell_member

# How many pairs of elements of one content are tried to find out that only their order differs.
_MAX_TRIES = 20_000
_ANOTHER_ORDER = (
    "the same elements in another order (where the order means nothing, replay learn makes a rule)"
)

# A step is an index, a member's name, or a member's generated name.
_Path = tuple["_Path", "str | int | _Generated"] | None


def _is_identical(recorded: Any, live: Any) -> bool:
    """Whether equal values are of the same kinds too, down to their scalars; False if not known."""
    try:
        return marshal.dumps(recorded, 0) == marshal.dumps(live, 0)
    except ValueError:
        return False  # it has fractions, or is nested deeply


class _Generated(str):
    """The name of a member that is made anew."""

    __slots__ = ()


def compare_json(
    recorded: Any, live: Any, view: View, part: str = "json", root: str = "$"
) -> list[Difference]:
    """Differences at their JSON paths, those of arrays after the other members of their object.

    `part` is what rules call this content, `root` what its paths begin with.
    """
    comparison = _Comparison(view, part, root, [_MAX_TRIES])
    comparison.compare(None, recorded, live)
    return comparison.found


class _Comparison:
    """`brief`: it is enough to know that something differs."""

    __slots__ = ("_brief", "_part", "_root", "_tries", "_view", "found")

    def __init__(
        self, view: View, part: str, root: str, tries: list[int], brief: bool = False
    ) -> None:
        self.found: list[Difference] = []
        self._view = view
        self._part = part
        self._root = root
        self._tries = tries
        self._brief = brief

    def compare(self, path: _Path, recorded: Any, live: Any) -> None:
        kind = type(recorded)
        if kind is not type(live):
            self._compare_kinds(path, recorded, live)
        elif kind is dict or kind is list:
            if recorded == live and _is_identical(recorded, live):
                return
            if self._view.rules and self._view.ignores(self._part, self._name(path)):
                return
            if kind is dict:
                self._compare_objects(path, recorded, live)
            else:
                self._compare_arrays(path, recorded, live)
        elif recorded != live:
            name = self._name(path)
            if kind is str:
                same = self._view.same_text(recorded, live, self._part, name)
            elif kind is bool:
                same = bool(self._view.ruled(recorded, live, self._part, name))
            else:
                same = self._view.same_number(recorded, live, self._part, name)
            if not same:
                self._differs(path, recorded, live, f"another {kind_of(recorded)}", self._view.why)

    def _compare_kinds(self, path: _Path, recorded: Any, live: Any) -> None:
        name = self._name(path)
        if isinstance(recorded, dict | list) or isinstance(live, dict | list):
            same = self._view.ignores(self._part, name)
        else:
            ruled = self._view.ruled(recorded, live, self._part, name)
            numbers = {type(recorded), type(live)} == {int, Decimal}
            # A fraction that happens to be whole (a duration, an instant) is written as an integer.
            same = (
                ruled
                if ruled is not None
                else numbers and self._view.same_number(recorded, live, self._part, name)
            )
        if not same:
            self._differs(path, recorded, live, f"{kind_of(recorded)} became {kind_of(live)}")

    def _compare_objects(self, path: _Path, recorded: dict[str, Any], live: dict[str, Any]) -> None:
        arrays: list[str] = []
        missing: list[str] = []
        for name, value in recorded.items():
            if name not in live:
                missing.append(name)
            elif type(value) is list:
                arrays.append(name)
            else:
                other = live[name]
                kind = type(value)
                if kind is not dict and kind is type(other) and value == other:
                    continue
                self.compare((path, name), value, other)
                if self._brief and self.found:
                    return
        # The values outside tell which of several elements that look alike is which.
        for name in arrays:
            self.compare((path, name), recorded[name], live[name])
        if len(live) != len(recorded) - len(missing) or missing:
            self._compare_names(path, recorded, live, missing)

    def _compare_names(
        self, path: _Path, recorded: dict[str, Any], live: dict[str, Any], missing: list[str]
    ) -> None:
        """Members that one side lacks; a member may be named by a generated value."""
        added = [name for name in live if name not in recorded]

        def same(index: int, other: int) -> bool:
            name, renamed = missing[index], added[other]
            return self._try(
                (path, _Generated(name)), recorded[name], live[renamed], (name, renamed)
            )

        if missing and added:
            _, left, free = pair(len(missing), len(added), same)
            missing, added = [missing[i] for i in left], [added[i] for i in free]
        any_name = self._name((path, _Generated()))
        for name in missing:
            renamed = next(
                (o for o in added if self._view.same_name(name, o, self._part, any_name)), None
            )
            if renamed is None:
                self._lacks(
                    (path, name), "the member is missing", expected=show_json(recorded[name])
                )
            else:
                added.remove(renamed)
                self.compare((path, _Generated(name)), recorded[name], live[renamed])
        for name in added:
            self._lacks((path, name), "the member was not recorded", actual=show_json(live[name]))

    def _compare_arrays(self, path: _Path, recorded: list[Any], live: list[Any]) -> None:
        if self._view.rules and self._view.unordered(self._part, self._name(path)):
            self._compare_unordered(path, recorded, live)
            return
        if len(recorded) != len(live):
            self._compare_lengths(path, recorded, live)
            return
        if len(recorded) < 2 or recorded == live:
            self._compare_elements(path, recorded, live, range(len(recorded)))
            return
        in_order = self._fork(self._brief)
        in_order._compare_elements(path, recorded, live, range(len(recorded)))
        if not in_order.found:
            self._keep(in_order)
            return
        follows = follows_generated_order(recorded, live)
        reordered = None
        if follows or not self._brief:
            reordered = self._reordered(path, recorded, live)
        self._keep(reordered or in_order)
        if reordered is not None and not follows:
            self._differs(path, recorded, live, _ANOTHER_ORDER, remedy=UNORDERED)

    def _compare_elements(
        self, path: _Path, recorded: list[Any], live: list[Any], indexes: Iterable[int]
    ) -> None:
        for index in indexes:
            self.compare((path, index), recorded[index], live[index])
            if self._brief and self.found:
                return

    def _compare_lengths(self, path: _Path, recorded: list[Any], live: list[Any]) -> None:
        """What is the same at both ends says which elements are missing or were added."""
        if self._brief and not self._view.rules:
            self._lacks(path, "another length")
            return
        shorter = min(len(recorded), len(live))
        start = end = 0
        while start < shorter and self._try((path, start), recorded[start], live[start]):
            start += 1
        while end < shorter - start and self._try(
            (path, len(recorded) - 1 - end), recorded[-1 - end], live[-1 - end]
        ):
            end += 1
        both = shorter - end
        self._compare_elements(path, recorded, live, range(start, both))
        for index in range(both, len(recorded) - end):
            self._lacks(
                (path, index), "the element is missing", expected=show_json(recorded[index])
            )
        for index in range(both, len(live) - end):
            self._lacks(
                (path, index), "the element was not recorded", actual=show_json(live[index])
            )

    def _compare_unordered(self, path: _Path, recorded: list[Any], live: list[Any]) -> None:
        _, left, free = pair(
            len(recorded), len(live), lambda i, j: self._try((path, i), recorded[i], live[j])
        )
        for index, other in zip(left, free, strict=False):
            self.compare((path, index), recorded[index], live[other])
        for index in left[len(free) :]:
            self._lacks(
                (path, index), "the element is missing", expected=show_json(recorded[index])
            )
        for index in free[len(left) :]:
            self._lacks(
                (path, index), "the element was not recorded", actual=show_json(live[index])
            )

    def _reordered(self, path: _Path, recorded: list[Any], live: list[Any]) -> _Comparison | None:
        """What pairing the elements in some other order accepted; None where that leaves any."""
        trial = self._fork(False)
        free = list(range(len(live)))
        for index, value in enumerate(recorded):
            found = next((i for i in free if trial._try((path, index), value, live[i])), None)
            if found is None:
                return None
            free.remove(found)
        return trial

    def _try(
        self, path: _Path, recorded: Any, live: Any, names: tuple[str, str] | None = None
    ) -> bool:
        """Whether two values are the same; what that takes is kept only if they are."""
        self._tries[0] -= 1
        if self._tries[0] < 0:
            return False
        trial = self._fork(True)
        if names is not None and not trial._view.same_name(*names, self._part, self._name(path)):
            return False
        trial.compare(path, recorded, live)
        if trial.found:
            return False
        self._keep(trial)
        return True

    def _fork(self, brief: bool) -> _Comparison:
        return _Comparison(self._view.fork(), self._part, self._root, self._tries, brief)

    def _keep(self, fork: _Comparison) -> None:
        fork._view.keep()
        self.found += fork.found

    def _name(self, path: _Path) -> str:
        """The path as rules name it: without what differs from element to element."""
        steps: list[str] = []
        while path is not None:
            path, step = path
            match step:
                case int():
                    steps.append("[*]")
                case _Generated():
                    steps.append("['*']")
                case _:
                    steps.append(spell_member(step))
        steps.append(self._root)
        return "".join(reversed(steps))

    def _place(self, path: _Path) -> str:
        steps: list[str] = []
        while path is not None:
            path, step = path
            steps.append(f"[{step}]" if isinstance(step, int) else spell_member(step))
        steps.append(self._root)
        return "".join(reversed(steps))

    def _differs(
        self, path: _Path, recorded: Any, live: Any, reason: str, why: str = "", remedy: str = ""
    ) -> None:
        self.found.append(
            self._view.difference(
                self._part,
                self._name(path),
                self._place(path),
                show_json(recorded),
                show_json(live),
                f"{reason}: {why}" if why else reason,
                remedy=remedy,
            )
        )

    def _lacks(
        self, path: _Path, reason: str, expected: str | None = None, actual: str | None = None
    ) -> None:
        """Something that one side lacks."""
        name = self._name(path)
        if not self._view.ignores(self._part, name):
            self.found.append(
                self._view.difference(self._part, name, self._place(path), expected, actual, reason)
            )
