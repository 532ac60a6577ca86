"""Judges the values of one pair of messages: equal, generated, or different."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from wiretape.replayer.values import derived
from wiretape.replayer.values.calendars import are_own_months, around_days
from wiretape.replayer.values.composite import Composite, same_signature, stamp_of, take_apart
from wiretape.replayer.values.counters import Counters, families_at
from wiretape.replayer.values.firsts import Origin
from wiretape.replayer.values.instants import Span
from wiretape.replayer.values.names import clock_of, duration_unit_ns, is_digest
from wiretape.replayer.values.place import NOWHERE, Place
from wiretape.replayer.values.renaming import Correlation
from wiretape.replayer.values.timed import Timed
from wiretape.replayer.values.tokens import (
    BASE64_WITHIN,
    DIGITS,
    PARTS,
    PIECES,
    TAGS,
    fits,
    follows_from,
    is_random_base64,
    is_surely_base64,
    is_uuid,
    looks_random,
    may_be_path,
    same_kind,
    same_kind_of_uuid,
    tokens_in,
)

if TYPE_CHECKING:
    from wiretape.replayer.rules import Rules

_RELATIVE = Decimal("1e-9")
_LEAST_DIGITS = 15
# A number with nothing beside it but a prefix of its own, as in INV-2024-0017.
_ALONE = re.compile(r"(?:[A-Za-z]{1,16}[-_]?)?[0-9]+(?:-[0-9]+)*")
_MOST_DIGITS = 20
_MARKED = re.compile(r"[+/=]|nonce-|--")
# No time, no address, no base64 of JSON.
_HEX = re.compile(r"(?=[0-9]*[a-f])[0-9a-f]{16,}")
_NO_BLOBS = derived.Blobs(()), derived.Blobs(())

Message = derived.Message


class Judgement(Timed):
    """Judges the values of one pair of messages; what it accepts counts only after `commit`.

    `place` says where the messages stand: its endpoint and side; part and name come with each
    value. A fork sees all that its parent accepted, and its commit gives its own to the parent.
    `rules` are for whoever compares: they come before what is judged here.
    """

    def __init__(
        self,
        correlation: Correlation,
        span: Span,
        place: Place = NOWHERE,
        parent: Judgement | None = None,
        rules: Rules | None = None,
    ) -> None:
        super().__init__(correlation, span, place)
        self.rules = rules
        self._parent = parent
        counters: Counters = parent._counters if parent else correlation.counters
        self._counters: Counters = Counters(counters)
        self._blobs: tuple[derived.Blobs, derived.Blobs] = parent._blobs if parent else _NO_BLOBS
        self._pairs: dict[str, str] = parent._pairs.copy() if parent else {}
        self._back: dict[str, str] = parent._back.copy() if parent else {}
        self._latest: dict[tuple[str, str], tuple[str, str]] = (
            parent._latest.copy() if parent else {}
        )
        if parent is not None:
            self._times = parent._times.copy()
        self._wholes: list[tuple[str, str]] = []
        self._tags: list[tuple[str, str]] = []

    def fork(self) -> Judgement:
        """A judgement that may be thrown away."""
        return Judgement(self._known, self._span, self.place, self, self.rules)

    def commit(self) -> None:
        """Let what was accepted count: for the run, or for the parent of a fork."""
        self._counters.commit()
        parent, known = self._parent, self._known
        if parent is not None:
            parent._pairs, parent._back, parent._times = self._pairs, self._back, self._times
            parent._latest = self._latest
            parent._fractions += self._fractions
            parent._wholes += self._wholes
            parent._tags += self._tags
            parent.accepted += self.accepted
            return
        known.add(self._pairs)
        known.latest.update(self._latest)
        for recorded_ns, live_ns in self._times.items():
            known.timeline.pair(recorded_ns, live_ns)
        for name, recorded_digits, live_digits in self._fractions:
            known.add_fraction(name, recorded_digits, live_digits)
        for recorded, live in self._wholes:
            known.add_whole(recorded, live)
        for recorded, live in self._tags:
            known.derived.setdefault(recorded, set()).add(live)
        for recorded, live in self._tags_within():  # no parent here
            known.tags.setdefault(recorded, set()).add(live)

    def reason(self) -> str:
        """Why the value that was refused last was refused; "" where there is no more to say."""
        return self._reason

    def messages(
        self,
        recorded: Sequence[Message],
        live: Sequence[Message] | Callable[[], Sequence[Message]],
    ) -> None:
        """Of what digests may have been made: these messages; to be said before fields are judged.
        A function is asked for them only if there is a digest.

        Both sides name the same ones, the one that is judged last: the request, then the response.
        """
        self._blobs = derived.Blobs(recorded), derived.Blobs(live)

    def same_text(self, recorded: str, live: str, part: str = "", name: str = "") -> bool:
        """Two strings at one place: equal, or all that differs is generated."""
        return recorded == live or self._tried(part, name, lambda: self._same_text(recorded, live))

    def same_number(
        self, recorded: int | Decimal, live: int | Decimal, part: str = "", name: str = ""
    ) -> bool:
        """Two JSON numbers of one kind at one place: equal, or generated."""
        return recorded == live or self._tried(
            part, name, lambda: self._same_number(recorded, live)
        )

    def _tried(self, part: str, name: str, is_same: Callable[[], bool]) -> bool:
        """Nothing is left of what was accepted on the way to a difference."""
        self._part, self._name, self._reason = part, name, ""
        done = len(self.accepted)
        self._undo.clear()
        if is_same():
            return True
        for undo in reversed(self._undo):
            undo()
        del self.accepted[done:]
        return False

    def _same_number(self, recorded: int | Decimal, live: int | Decimal) -> bool:
        texts = str(recorded), str(live)
        if self._same_time(*texts):
            return True
        if isinstance(recorded, int) and self._with_dates(*texts) == texts[0]:
            return True
        if (lasted := self._measured(*texts)) is not None:
            return self._ruled(lasted.same, *texts, "duration", lasted.why)
        if isinstance(recorded, int) and isinstance(live, int):
            return recorded >= 0 <= live and self._same_count(*texts, "", True)
        digits = [len(Decimal(text).normalize().as_tuple().digits) for text in texts]
        if min(digits) < _LEAST_DIGITS:
            return self._refuse("another number; fewer than 15 digits are compared exactly")
        expected, actual = Decimal(recorded), Decimal(live)
        near = abs(expected - actual) <= _RELATIVE * max(abs(expected), abs(actual))
        why = "equal to 1e-9 of it" if near else "further away than 1e-9 of it"
        return self._ruled(near, *texts, "float", why)

    def _same_text(self, recorded: str, live: str) -> bool:
        if is_uuid(recorded):
            return self._same_uuid(recorded, live)
        if self._is_only_random(recorded) and fits(recorded, live):
            return self._rename(recorded, live)
        if (as_time := self._same_time(recorded, live)) is not None and (
            as_time or not recorded.isdigit()
        ):
            return as_time
        if (here := self._known.at_own(recorded, live)) != recorded:
            self._accept(recorded, here, "own-address", "where the build listens in this run")
            return here == live or self._same_text(here, live)
        if (lasted := self._measured(recorded, live)) is not None:
            return self._ruled(lasted.same, recorded, live, "duration", lasted.why)
        if is_digest(self._name) and (derivation := self._derived(recorded, live)) is not None:
            return derivation
        if (composite := take_apart(recorded)) is not None:
            return self._same_composite(composite, recorded, live)
        if "%" in recorded and "%" in live:
            plain, live_plain = unquote(recorded), unquote(live)
            if (plain, live_plain) != (recorded, live):
                return plain == live_plain or self._same_text(plain, live_plain)
        if not may_be_path(recorded, live) and is_random_base64(recorded, live):
            return self._rename(recorded, live)
        return self._same_parts(recorded, live)

    def _is_only_random(self, text: str) -> bool:
        """Whether it is hex of random bits and can be nothing else here: the usual identifier, of
        which a judgement has many."""
        if not _HEX.fullmatch(text) or is_digest(self._name) or not looks_random(text):
            return False
        return duration_unit_ns(self._name) is None and clock_of(self._name) is None

    def _same_parts(self, recorded: str, live: str) -> bool:
        """As `_same_pieces`; what is in base64 with + and / among it is one token each."""
        if (live := self._with_dates(recorded, live)) == recorded:
            return True
        if "<" in recorded and "&#43;" in recorded + live:
            recorded, live = recorded.replace("&#43;", "+"), live.replace("&#43;", "+")
        alone = _ALONE.fullmatch(recorded) is not None
        # Which tokens there are, the recorded text says, or else each run could name others.
        if _MARKED.search(recorded) is None and _MARKED.search(live) is None:
            return self._same_pieces(recorded, live, alone)
        expected, actual = BASE64_WITHIN.split(recorded), BASE64_WITHIN.split(live)
        if len(expected) == 1 or len(expected) != len(actual):
            return self._same_pieces(recorded, live, alone)
        return all(
            one == other
            or (
                self._same_base64(one, other, expected[place - 1].endswith("nonce-"))
                if place % 2
                else self._same_pieces(one, other)
            )
            for place, (one, other) in enumerate(zip(expected, actual, strict=True))
        )

    def _same_base64(self, recorded: str, live: str, is_nonce: bool) -> bool:
        if (composite := take_apart(recorded)) is not None:
            return self._same_composite(composite, recorded, live)
        if "/" in recorded and not may_be_path(recorded, live) and is_random_base64(recorded, live):
            return self._rename(recorded, live)
        if not is_surely_base64(recorded) and self._same_pieces(recorded, live):
            return True
        if (may_be_path(recorded, live) and not is_nonce) or not is_random_base64(recorded, live):
            return self._refuse(self._reason)
        return self._rename(recorded, live)

    def _same_pieces(self, recorded: str, live: str, alone: bool = False) -> bool:
        """Fixed text lies at the even places, tokens at the odd ones."""
        for pattern in (PARTS, DIGITS):
            expected, actual = pattern.split(recorded), pattern.split(live)
            if len(expected) == len(actual) and expected[::2] == actual[::2]:
                break
        else:
            return self._refuse("")
        return all(
            expected[index] == actual[index]
            or self._same_token(expected[index], actual[index], expected[index - 1], alone)
            for index in range(1, len(expected), 2)
        )

    def _same_token(self, recorded: str, live: str, before: str, alone: bool) -> bool:
        if is_uuid(recorded):
            return self._same_uuid(recorded, live)
        if recorded.isdigit():
            return self._same_time(recorded, live) or self._same_count(
                recorded, live, before, alone
            )
        if (as_time := self._same_time(recorded, live)) is not None:
            return as_time
        is_stamp = recorded[0] in ":." and recorded[7] == recorded[0]
        # Of one second, only the signatures differ: they are random values like others.
        is_new = not is_stamp or recorded[1:7] != live[1:7]
        if is_new and (composite := take_apart(recorded)) is not None:
            return self._same_composite(composite, recorded, live)
        if recorded[0] in ":.":
            if recorded[0] != live[0]:
                return self._refuse("")
            return self._same_pieces(recorded[1:], live[1:])
        if "20" in recorded and len(days := around_days(recorded)) > 1:
            # What moved as it had to stands there as recorded by now.
            others = around_days(live)
            return days[1::2] == others[1::2] and all(
                map(self._same_pieces, days[::2], others[::2])
            )
        if looks_random(recorded):
            kinds = self._known.evidence.tokens.kinds
            if not fits(recorded, live) or not same_kind(recorded, live, kinds):
                return self._refuse("not a random value of the same shape")
            return self._rename(recorded, live)
        pieces, others = PIECES.split(recorded), PIECES.split(live)
        if len(pieces) != len(others) or len(pieces) == 1:
            return self._refuse("")
        return all(
            piece == other
            or (
                (is_uuid(piece) or looks_random(piece) or piece.isdigit())
                and self._same_token(piece, other, "".join(pieces[:index]) or before, alone)
            )
            or self._same_made_at(piece, other, "".join(pieces[index + 2 : index + 3]))
            for index, (piece, other) in enumerate(zip(pieces, others, strict=True))
        )

    def _tags_within(self) -> Iterator[tuple[str, str]]:
        """The tokens of tags and digests that this message had; others may name them alone."""
        above = self._parent._tags_within() if self._parent else ()
        yield from above
        for recorded, live in self._tags:
            pairs = zip(TAGS.findall(recorded), TAGS.findall(live), strict=False)
            yield from (pair for pair in pairs if pair[0] != pair[1])

    def _same_made_at(self, recorded: str, live: str, digest: str) -> bool:
        """When a digest was made that stands behind it, as Django makes tokens."""
        made, other = stamp_of(recorded), stamp_of(live)
        return bool(made and other and _HEX.fullmatch(digest) and self._same_time(made, other))

    def _same_uuid(self, recorded: str, live: str) -> bool:
        if not same_kind_of_uuid(recorded, live):
            return self._refuse("not a UUID of the same version and form")
        return self._rename(recorded, live)

    def _rename(self, recorded: str, live: str) -> bool:
        known = self._known
        bound = self._pairs.get(recorded) or known.live_of.get(recorded)
        if bound is not None:
            if bound != live:
                return self._refuse("another value stood for it before")
            return self._accept(recorded, live, "unique", "the value that stands for it")
        if live in known.tags.get(recorded, ()) or (recorded, live) in self._tags_within():
            return self._accept(recorded, live, "derived", "the tag that stands for it")
        other = self._back.get(live) or known.recorded_of.get(live)
        if other is not None:
            return self._refuse(f"that stands for {other} already")
        if known.taken.get(hash(live), hash(recorded)) != hash(recorded):
            return self._refuse("that stands for another value already")
        if live in known.evidence.tokens:
            return self._refuse("that is another value of the recording")
        first = known.evidence.tokens.get(recorded)
        if first is not None and first.origin != Origin.CALL:
            if first.origin != Origin.RESPONSE:
                return self._refuse(f"{recorded} was given to the build")
            if first.at_ns < known.since_ns:
                return self._refuse(f"{recorded} stood for itself before")
        here = self.place.endpoint, self._name
        before = self._latest.get(here) or known.latest.get(here)
        if before and follows_from((before[0], recorded), (before[1], live)):
            return self._refuse("nearly the same as the one before, and not random")
        self._latest[here] = recorded, live
        self._pairs[recorded] = live
        self._back[live] = recorded
        self._undo += (lambda: self._pairs.pop(recorded), lambda: self._back.pop(live))
        return self._accept(recorded, live, "unique", "a new random value")

    def _same_count(self, recorded: str, live: str, before: str, alone: bool) -> bool:
        """Digits, named by the word before them, or by the name of the place if they are alone."""
        if not live.isdigit() or len(live) > _MOST_DIGITS:
            return self._refuse("another number")
        if len(recorded) == len(live) == 4 and are_own_months(recorded, live, self._span):
            return self._accept(recorded, live, "time", "the month of its exchange")
        if "0" in (recorded[0], live[0]) and len(recorded) != len(live):
            return self._refuse("written with another number of digits")
        number, other = int(recorded), int(live)
        families = families_at(
            self._known.evidence, self.place.endpoint, self._name if alone else "", before, number
        )
        since_ns, ordered = self._known.since_ns, not self._known.concurrent
        ruling = self._counters.judge(families, number, other, since_ns, ordered)
        if (family := ruling.family) is not None:
            self._counters.bind(family, number, other)
            self._undo.append(lambda: self._counters.release(family, number, other))
        return self._ruled(ruling.same, recorded, live, "counter", ruling.why)

    def _derived(self, recorded: str, live: str) -> bool | None:
        """None where the text is neither an entity tag nor a digest."""
        before = self._known.derived.get(recorded)
        if before is not None and live in before and self._blobs[1].empty:
            return self._accept(recorded, live, "derived", "one that stood for it before")
        finding = derived.judge(recorded, live, *self._blobs)
        if finding is None:
            return None
        tokens = self._known.evidence.tokens
        for token in tokens_in(recorded.encode()):
            first = tokens.get(token)
            if first is not None and first.origin in (Origin.CLIENT, Origin.UPSTREAM):
                return self._refuse(f"{token} was given to the build")
        if finding.same and before is not None and self._blobs[1].empty:
            return self._refuse(
                f"it was {min(before)} before, and no content tells that it changed"
            )
        if finding.same:
            self._tags.append((recorded, live))
        return self._ruled(finding.same, recorded, live, "derived", finding.why)

    def _same_composite(self, composite: Composite, recorded: str, live: str) -> bool:
        other = take_apart(live)
        if other is None or other.kind != composite.kind:
            return self._refuse(f"no {composite.kind} as the recorded one")
        if [name for name, _ in composite.parts] != [name for name, _ in other.parts]:
            return self._refuse(f"a {composite.kind} of other parts")
        if not all(map(same_signature, composite.signatures, other.signatures)) or len(
            composite.signatures
        ) != len(other.signatures):
            return self._refuse("signed in another way")
        name = self._name
        for (part, value), (_, live_value) in zip(composite.parts, other.parts, strict=True):
            if not self._same_value(value, live_value, f"{name}#{part}"):
                return False
        self._name = name
        self._wholes.append((recorded, live))
        return self._accept(recorded, live, "composite", f"a {composite.kind}, its parts accepted")

    def _same_value(self, recorded: Any, live: Any, name: str) -> bool:
        """Two values within a composite, as `compare` does for JSON."""
        self._name = name
        if type(recorded) is not type(live):
            return self._refuse(f"{name.partition('#')[2]} is of another kind")
        same = recorded == live
        match recorded:
            case dict():
                same = recorded.keys() == live.keys() and all(
                    self._same_value(value, live[key], f"{name}.{key}")
                    for key, value in recorded.items()
                )
            case list():
                same = len(recorded) == len(live) and all(
                    self._same_value(value, other, f"{name}[*]")
                    for value, other in zip(recorded, live, strict=True)
                )
            case str():
                same = same or self._same_text(recorded, live)
            case int() | Decimal() if not isinstance(recorded, bool):
                same = same or self._same_number(recorded, live)
        return same or self._refuse(f"within it, {name.partition('#')[2]} differs: {self._reason}")
