"""Labels in the place of what a build makes anew in every run: ids, times, addresses of its own.

So two verdicts on the same build are the same text, and what came is still to be found: a label
stands for one value in the whole verdict, and the table of them stands beside the timings.
"""

from __future__ import annotations

import re
from itertools import pairwise

_UUID = r"[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}"
_DATE = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT"
_ISO = r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)?)?(?![\w-])"
_EPOCH = r"(?<![\w.-])(?:1\d{9}(?:\.\d{1,9})?|1\d{12}|1\d{15}|1\d{18})(?![\w-]|\.\d)"
_ADDRESS = r"(?:127(?:\.\d{1,3}){3}|localhost|\[::1\]):\d{1,5}"
_VOLATILE = re.compile(
    rf"(?P<time>{_DATE}|(?<![\w.-]){_ISO}|{_EPOCH})|(?P<address>{_ADDRESS})"
    rf"|(?P<unique>{_UUID}|(?<![\w-])[\w-]{{20,}}|[A-Za-z0-9]{{11,}})",
    re.ASCII,
)
_WORD = re.compile(r"[A-Za-z0-9]{11,}")


class Labels:
    """`live` is {label: value}, in the order in which they came."""

    def __init__(self) -> None:
        self.live: dict[str, str] = {}
        self._labels: dict[str, str] = {}
        self._counts: dict[str, int] = {}

    def mask(self, text: str | None, known: str | None = None) -> str | None:
        """`text` with labels; what stands in `known` as well was recorded, and stays."""
        if text is None:
            return None

        def label(match: re.Match[str]) -> str:
            value, kind = match[0], match.lastgroup or ""
            if known is not None and value in known:
                return value
            if kind == "unique" and not _is_random(value):
                return _WORD.sub(part, value)
            return self._label(value, kind)

        def part(match: re.Match[str]) -> str:
            value = match[0]
            if (known is not None and value in known) or not _is_random(value):
                return value
            return self._label(value, "unique")

        return _VOLATILE.sub(label, text)

    def _label(self, value: str, kind: str) -> str:
        label = self._labels.get(value)
        if label is None:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            label = self._labels[value] = f"<{kind} {self._counts[kind]}>"
            self.live[label] = value
        return label


def _is_random(text: str) -> bool:
    """As no word is spelled: digits among letters, or a case that keeps changing."""
    if re.fullmatch(_UUID, text):
        return True
    letters = sum(map(str.isalpha, text))
    digits = sum(map(str.isdigit, text))
    changes = sum(
        a.isdigit() != b.isdigit() or a.isupper() != b.isupper() for a, b in pairwise(text)
    )
    return (digits > 0 < letters or text != text.lower()) and changes * 4 >= len(text)
