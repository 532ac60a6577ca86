"""The values of one message, compared: first by the rules, then by the judgement.

Whoever reads a media type asks here whether two values at a place are the same, and says here what
is not; so rules, generated values and places work alike in all of them.
"""

from __future__ import annotations

from decimal import Decimal

from wiretape.replayer.compare.difference import Difference, shorten, writable
from wiretape.replayer.rules import NO_RULES, RulesHere
from wiretape.replayer.values.judgement import Judgement
from wiretape.replayer.values.place import Place
from wiretape.replayer.values.timed import Accepted

Scalar = str | int | Decimal | None


class View:
    """One message, or one part of a multipart message.

    `part`, where given, stands for every part that is named below; `prefix` comes before every
    name. After a comparison that failed, `why` says why, "" where there is nothing to add.
    """

    __slots__ = ("_part", "_prefix", "judgement", "rules", "why")

    def __init__(
        self,
        judgement: Judgement,
        rules: RulesHere | None = None,
        part: str = "",
        prefix: str = "",
    ) -> None:
        place = judgement.place
        if rules is None:
            every = judgement.rules
            rules = every.here(place.endpoint) if every else NO_RULES
        self.judgement = judgement
        self.rules = rules
        self.why = ""
        self._part = part
        self._prefix = prefix

    def inside(self, part: str, name: str) -> View:
        """What lies inside of `name`: a part of a multipart content."""
        return View(self.judgement, self.rules, self._part or part, f"{self._prefix}{name}: ")

    def fork(self) -> View:
        """A view whose acceptances can be thrown away; `keep` hands them to this one."""
        return View(self.judgement.fork(), self.rules, self._part, self._prefix)

    def keep(self) -> None:
        """What this fork accepted counts where it was forked from."""
        self.judgement.commit()

    def same_text(self, recorded: str, live: str, part: str, name: str) -> bool:
        if recorded == live:
            return True
        part, name = self._part or part, self._prefix + name
        if self.rules:
            ruled = self._ruled(recorded, live, part, name)
            if ruled is not None:
                return ruled
            before, now = recorded, live
            recorded, live = self.rules.rewritten(part, name, recorded, live)
            if recorded == live:
                self._accepted(part, name, before, now, "rewritten")
                return True
        if self.judgement.same_text(recorded, live, part, name):
            return True
        self.why = self.judgement.reason()
        return False

    def same_number(
        self, recorded: int | Decimal, live: int | Decimal, part: str, name: str
    ) -> bool:
        """Equal values of two kinds (1 and 1.0) are not the same."""
        part, name = self._part or part, self._prefix + name
        if self.rules:
            ruled = self._ruled(recorded, live, part, name)
            if ruled is not None:
                return ruled
        if recorded == live:
            return type(recorded) is type(live)
        if self.judgement.same_number(recorded, live, part, name):
            return True
        self.why = self.judgement.reason()
        return False

    def same_name(self, recorded: str, live: str, part: str, name: str) -> bool:
        """Whether a member's name that is made anew became this one; rules are for values."""
        return self.judgement.same_text(recorded, live, self._part or part, self._prefix + name)

    def ruled(self, recorded: Scalar, live: Scalar, part: str, name: str) -> bool | None:
        """What the rules say of two values of any kind; None where they say nothing."""
        if not self.rules:
            return None
        return self._ruled(recorded, live, self._part or part, self._prefix + name)

    def ignores(self, part: str, name: str) -> bool:
        """Whether a rule says that nothing at this place counts."""
        return bool(self.rules) and self.rules.ignores(self._part or part, self._prefix + name)

    def unordered(self, part: str, name: str) -> bool:
        """Whether a rule says that the order at this place does not count."""
        return bool(self.rules) and self.rules.unordered(self._part or part, self._prefix + name)

    def _ruled(self, recorded: Scalar, live: Scalar, part: str, name: str) -> bool | None:
        ruling = self.rules.judge(part, name, recorded, live)
        if ruling is None:
            return None
        same, why = ruling
        if same:
            self._accepted(part, name, str(recorded), str(live), why)
        else:
            self.why = why
        return same

    def _accepted(self, part: str, name: str, recorded: str, live: str, why: str) -> None:
        place = self.judgement.place._replace(part=part, name=name)
        self.judgement.accepted.append(Accepted(place, recorded, live, "rule", why))

    def difference(
        self,
        part: str,
        name: str,
        place: str,
        expected: str | None,
        actual: str | None,
        reason: str,
        *,
        kind: str = "",
        line: int | None = None,
        offset: int | None = None,
        remedy: str = "",
    ) -> Difference:
        """A difference at `name` of `part`, called `place` for people."""
        at = Place(
            self.judgement.place.endpoint,
            self.judgement.place.side,
            self._part or part,
            writable(self._prefix + name),
        )
        return Difference(
            kind or part,
            shorten(self._prefix + place),
            None if expected is None else shorten(expected),
            None if actual is None else shorten(actual),
            reason,
            at,
            line,
            offset,
            remedy,
        )
