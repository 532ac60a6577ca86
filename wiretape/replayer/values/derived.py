"""Values that were made of a message's bytes: entity tags, digests, checksums.

Where a recorded one can be made again of the recorded bytes, the live one must be what the live
bytes make. Else both must be of one syntax, and nothing is renamed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from wiretape.exchange.content import ContentError, decode_content, field_value
from wiretape.exchange.v1.exchange_pb2 import HttpRequest, HttpResponse

Message = HttpRequest | HttpResponse

MAX_DECODED_BYTES = 64 << 20

_MOST_PIECES = 64
_PIECES = re.compile(r"([A-Za-z0-9+/_]+={0,2})")
_TAGS = re.compile(r'([^",\s:]+)')
_CLASSES = tuple(map(re.compile, ("[0-9a-f]+", "[0-9A-F]+", "[0-9a-z]+", "[0-9A-Za-z+/_=]+")))
_MARKS = re.compile(r"[-_+/]")
_TO_PLAIN = str.maketrans("-_", "+/")
# Shorter pieces count or name something, or hold too little to be a digest.
_LEAST = 6
# Digests are cut to tell versions apart, but not shorter than this.
_LEAST_CUT = 8


class _Recipe(NamedTuple):
    """How a text is made: of which bytes, by which digest, how spelled, what stands before it.

    `coded` is whether what was sent and what it is without coding are told apart.
    """

    blob: int
    coded: bool
    algorithm: str
    spelling: str
    before: str
    length: int


def _crc32(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(4, "big")


def _hash(name: str) -> Callable[[bytes], bytes]:
    return lambda data: hashlib.new(name, data, usedforsecurity=False).digest()


_ALGORITHMS: dict[str, Callable[[bytes], bytes]] = {
    **{name: _hash(name) for name in ("md5", "sha1", "sha256", "sha512")},
    "crc32": _crc32,
}
_SPELLINGS: dict[str, Callable[[bytes], str]] = {
    "hex": bytes.hex,
    "HEX": lambda raw: raw.hex().upper(),
    "base64": lambda raw: base64.b64encode(raw).decode(),
    "base64url": lambda raw: base64.urlsafe_b64encode(raw).decode(),
    "base64 unpadded": lambda raw: base64.b64encode(raw).decode().rstrip("="),
    "base64url unpadded": lambda raw: base64.urlsafe_b64encode(raw).decode().rstrip("="),
}


class Blobs:
    """The bytes of one side's messages that digests can be made of: each content, as it was sent
    and without coding, then what lies within what was asked: files, and values of forms or JSON."""

    def __init__(self, messages: Sequence[Message] | Callable[[], Sequence[Message]]) -> None:
        self._given = messages
        self._spelled: dict[tuple[int, str, str], str] = {}
        self._within = 0

    @cached_property
    def _messages(self) -> Sequence[Message]:
        return self._given() if callable(self._given) else self._given

    @property
    def empty(self) -> bool:
        """Whether the last message, the one that is judged, has no content."""
        return not self._messages or not self._messages[-1].content.data

    @cached_property
    def contents(self) -> list[bytes | None]:
        found: list[bytes | None] = []
        for message in self._messages:
            data = message.content.data
            codings = field_value(message.fields, b"content-encoding")
            found.append(data or None)
            try:
                decoded = decode_content(data, codings, MAX_DECODED_BYTES) if codings else None
            except ContentError:
                decoded = None
            found.append(decoded)
        self._within = len(found)
        for message in self._messages:
            if isinstance(message, HttpRequest) and message.content.data:
                found += islice(pieces_of(message.content.data), _MOST_PIECES)
        return found

    def is_coded(self, blob: int) -> bool:
        """Whether a content was sent in a coding, so that two digests of it are told apart."""
        contents = self.contents
        return blob >= self._within or None not in (contents[blob], contents[blob ^ 1])

    def spelled(self, blob: int, algorithm: str, spelling: str) -> str | None:
        """A digest of these bytes as text; None where there are none."""
        content = self.contents[blob] if blob < len(self.contents) else None
        if content is None:
            return None
        key = (blob, algorithm, spelling)
        if key not in self._spelled:
            self._spelled[key] = _SPELLINGS[spelling](_ALGORITHMS[algorithm](content))
        return self._spelled[key]

    def all_spelled(self) -> Iterator[tuple[int, str, str, str]]:
        for blob in range(len(self.contents)):
            for algorithm in _ALGORITHMS:
                for spelling in _SPELLINGS:
                    if (text := self.spelled(blob, algorithm, spelling)) is not None:
                        yield blob, algorithm, spelling, text

    def recipe(self, text: str) -> _Recipe | None:
        """How `text` is made of these bytes: whole, cut, or behind one further character."""
        if len(text) < _LEAST_CUT:
            return None
        for blob, algorithm, spelling, made in self.all_spelled():
            coded = self.is_coded(blob)
            if made.startswith(text):
                return _Recipe(blob, coded, algorithm, spelling, "", len(text))
            if text[1:] == made:
                return _Recipe(blob, coded, algorithm, spelling, text[0], len(made))
        return None

    def made(self, recipe: _Recipe) -> set[str]:
        """What it makes of these bytes; where not both sides have codings, of either content."""
        blobs = [recipe.blob]
        if not (recipe.coded and self.is_coded(recipe.blob)):
            blobs.append(recipe.blob ^ 1)
        texts = (self.spelled(blob, recipe.algorithm, recipe.spelling) for blob in blobs)
        return {recipe.before + text[: recipe.length] for text in texts if text is not None}


def pieces_of(content: bytes) -> Iterator[bytes]:
    """The parts of multipart content, else the texts of JSON or the values of a form."""
    if content.startswith(b"--"):
        boundary, _, _ = content.partition(b"\r\n")
        for part in content.split(b"\r\n" + boundary):
            yield part.partition(b"\r\n\r\n")[2]
        return
    if content[:1] in (b"{", b"["):
        with suppress(ValueError, RecursionError):
            yield from _texts_of(json.loads(content))
        return
    with suppress(ValueError):
        for _, value in parse_qsl(content.decode("ascii"), max_num_fields=_MOST_PIECES):
            yield value.encode("utf-8", "surrogateescape")


def _texts_of(value: Any) -> Iterator[bytes]:
    match value:
        case str():
            raw = value.encode("utf-8", "surrogatepass")
            yield raw
            with suppress(binascii.Error):
                yield base64.b64decode(raw, validate=True)
        case dict() | list():
            for inner in value.values() if isinstance(value, dict) else value:
                yield from _texts_of(inner)


class Finding(NamedTuple):
    """Whether a derived value is accepted, and the reason either way."""

    same: bool
    why: str


def judge(recorded: str, live: str, made_of: Blobs, live_made_of: Blobs) -> Finding | None:
    """A digest, an entity tag, or a list of them, which differ; None where they are neither."""
    # Whole tags first: base64url spells a digest with the hyphen that else divides.
    for pattern in (_TAGS, _PIECES):
        parts, live_parts = pattern.split(recorded), pattern.split(live)
        recipes = [made_of.recipe(part) for part in parts[1::2]]
        if any(recipes):
            if parts[::2] != live_parts[::2]:
                return Finding(False, "it is written in another way")
            return _remade(recipes, parts[1::2], live_parts[1::2], live_made_of)
    if parts[::2] == live_parts[::2] and all(map(_same_syntax, parts[1::2], live_parts[1::2])):
        return Finding(True, "of one syntax; it cannot be made again of what was recorded")
    return None


def _remade(
    recipes: Sequence[_Recipe | None], recorded: Sequence[str], live: Sequence[str], blobs: Blobs
) -> Finding:
    for recipe, text, other in zip(recipes, recorded, live, strict=True):
        if recipe is None:
            # Beside a digest often stands how long the content is.
            if text != other and not (_is_length(other, blobs) and len(text) < _LEAST_CUT):
                return Finding(False, f"{other} stands where {text} did")
        elif _plain_base64(other, text) not in blobs.made(recipe):
            return Finding(False, f"it is not the {recipe.algorithm} of what came")
    names = sorted({recipe.algorithm for recipe in recipes if recipe})
    return Finding(True, f"the {' and '.join(names)} of what came, as of what was recorded")


def _plain_base64(text: str, recorded: str) -> str:
    """Where the recorded text does not show in which of the two alphabets it is, either will do."""
    return text if _MARKS.search(recorded) else text.translate(_TO_PLAIN)


def _is_length(text: str, blobs: Blobs) -> bool:
    lengths = {len(content) for content in blobs.contents if content is not None}
    return any(text in (str(length), f"{length:x}") for length in lengths)


def _same_syntax(recorded: str, live: str) -> bool:
    if recorded == live:
        return True
    if len(recorded) != len(live) or len(recorded) < _LEAST:
        return False
    if recorded.isdigit() and live.isdigit():
        return False
    for alphabet in _CLASSES:
        if alphabet.fullmatch(recorded):
            return alphabet.fullmatch(live) is not None
    return False
