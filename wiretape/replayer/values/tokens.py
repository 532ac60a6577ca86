"""Tokens in text that may be generated: where they lie, and which of them are random.

A token is random where it is a UUID (RFC 9562), a ULID, a KSUID, an ObjectId, or another one of at
least 64 random bits: hex from 16 characters, base-36 from 13, mixed case from 11, be it with - and
_ among it. Words, numbers and what is made of both are not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from itertools import pairwise

from wiretape.replayer.values.instants import BASIC, EPOCH, HTTP_DATE, ISO

_LEAST_WORD = 11
_WORD = rf"[A-Za-z0-9_-]{{{_LEAST_WORD},}}"
_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
_UUIDS = f"{_UUID}|{_UUID.replace('a-f', 'A-F').replace('[89ab]', '[89AB]')}"
# JSON in base64: what {" [{ and [" become, then perhaps further parts behind dots.
_JSON64 = r"(?:eyJ|eyA|ewo|W3s|WyJ)[A-Za-z0-9+/_-]{5,}={0,2}(?:\.[A-Za-z0-9_-]*){0,2}"
# JSON that is compressed; when a value was signed, and the signature behind it.
_ZIP64 = r"(?<![\w.])\.eJ[A-Za-z0-9_-]{12,}={0,2}(?:\.[A-Za-z0-9_-]*){0,2}"
_STAMP = r"(?<=[\w=-])(?::[0-9A-Za-z]{6}:|\.[\w-]{6}\.)[A-Za-z0-9_-]{27,86}(?![\w-])"

_TOKEN = (
    rf"{HTTP_DATE}|(?<![\w.]){ISO}(?![\w-])|(?<![\w.-]){BASIC}(?![\w-])"
    rf"|(?<![\w.-]){EPOCH}(?![\w-]|\.\d)|(?<![\w-]){_JSON64}"
    rf"|(?=[:.n])(?:{_STAMP}|{_ZIP64}|nonce-(?=[\w-]{{11}}))|{_WORD}"
)
_TOKENS = re.compile(_TOKEN)
PARTS = re.compile(f"({_TOKEN}|[0-9]+)")
PIECES = re.compile(f"({_UUIDS}|[-_])")
TAGS = re.compile(r"[A-Za-z0-9_-]{11,}")
DIGITS = re.compile(r"([0-9]+)")
_BYTE_WHOLES = re.compile(_JSON64.encode())
_BYTE_WORDS = re.compile(_WORD.encode())
_WORDS_ALONE = bytes(b if re.match(rb"[A-Za-z0-9_-]", bytes([b])) else 32 for b in range(256))
_BYTE_PIECES = re.compile(PIECES.pattern.encode())
_ANY_UUID = re.compile(_UUIDS)
_HEX = re.compile(r"[0-9a-f]+|[0-9A-F]+")
_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
# What a name that people give is made of: words, numbers, marks.
_SEGMENTS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]+|[-_]")
# A kind and a mark, as in cus_NffrFeUfNV2Hib.
_KIND = re.compile(r"([a-z]{2,8}|[A-Z]{2,8})[-_]")
_BASE64 = re.compile(r"[A-Za-z0-9+/]{16,}(?:--[A-Za-z0-9+/]{16,})*={0,2}")
_PLAIN = str.maketrans("+/", "-_")
# What may be base64 within longer text; JSON in base64 is taken with all its parts.
BASE64_WITHIN = re.compile(
    rf"((?<![\w-]){_JSON64}|(?=[:.])(?:{_STAMP}|{_ZIP64})|(?:(?<![\w+/=-])(?!nonce-)|(?<=nonce-)|(?<=--))"
    r"[A-Za-z0-9+/_-]{16,}={0,2}(?![\w+/=]|-(?!-)))"
)
# A path begins with a slash or something short, or has a word or a number before a slash.
_PATH = re.compile(r"/|[a-z]{1,2}[0-9]?/|(?:.*/)?(?:[a-z]{3,}|[A-Z]{3,}|[0-9]+)/")
_PADDED_PATH = re.compile(r"/[a-z][a-z0-9]*/|(?:.*/)?[a-z]{4,}/")
_MARKS = re.compile(r"[-_]")
_LETTERS = re.compile(r"[a-z]+")
_TURNS = re.compile(r"(?<=[0-9])(?=[A-Za-z])|(?<=[A-Za-z])(?=[0-9])")
# The commonest pairs of letters: in words more than half of all, in random letters a tenth.
_COMMON = frozenset(
    re.findall(
        "..",
        "thheineranreonatenndtiesorteofedisitalarsttontngsehaasouiolevecomedehiriroicneearace"
        "lichllbemasiomurcaeltalansdifohopeecprnoctusacotiltr",
    )
)
_FEW_CHARACTERS = 5
# Of two times that are near, written first, at least so many digits agree.
_TIMED = 3
# So often no random token has one character in a row.
_RUN = re.compile(r"([0-9A-Za-z])\1{7}")
# Which letters follow each letter in 98 of 100 places of words: half of all pairs.
_FOLLOWERS = """
    aabcdefgiklmnprstuvwxy bacdeijlorstuy cacdehiklmoprstuy dacdefgilorstuy faefilorstuy
    eabcdefghiklmnopqrstuvwxy gaeghilmnorstu haeilnorstuy iabcdefgklmnoprstvxz jaeosu kaeilnosuw
    labcdefiloprstuvy mabdeilmopsuy nacdefghiklmnoprstuvy oabcdefgijklmnoprstuvwx pacdehiloprstuy
    qu rabcdefgiklmnoprstuvwy sacefhiklmnoprstuwy tacdefhilmoprstuwy uabcdefgilmnoprst vaeio
    waehinorsw xaceipt yaegilmnoprstw zaei
"""
_USUAL = frozenset(row[0] + letter for row in _FOLLOWERS.split() for letter in row[1:])
_LEAST_UNUSUAL = 3


@lru_cache(65536)
def looks_random(token: str) -> bool:
    """Whether a recorded token is random by its own look; a UUID is of a class of its own."""
    length = len(token)
    if length < 11 or token.isdigit() or len(set(token)) < _FEW_CHARACTERS:
        return False
    if "-" in token and _ANY_UUID.search(token):
        return False
    if _HEX.fullmatch(token):
        return length >= 16
    if _ULID.fullmatch(token):
        return True
    if _is_mixed_case(token):
        return (_is_scattered(token) and not _is_joined(token)) or _is_unspeakable(token)
    if "-" in token or "_" in token:
        return False
    return length >= 13 and _has_digit(token) and _turns(token) > 1 and not _is_named(token, 3)


def fits(recorded: str, live: str) -> bool:
    """Whether `live` is another random token of the shape of `recorded`, which is one.

    A live value is asked less: now and then a fair one does not look random.
    """
    length = len(recorded)
    if length != len(live) or len(set(live)) < _FEW_CHARACTERS:
        return False
    if _RUN.search(live) is not None and _RUN.search(recorded) is None:
        return False
    # Random values agree by chance alone; a counter behind a prefix agrees in most places.
    if sum(map(str.__eq__, recorded, live)) * 2 > length:
        return False
    if _HEX.fullmatch(recorded):
        return _HEX.fullmatch(live) is not None and live.isupper() == recorded.isupper()
    if _is_mixed_case(recorded):
        # Base64url shows its marks in one token and not in the next.
        if not live.replace("-", "a").replace("_", "a").isalnum():
            return False
        return (_is_mixed_case(live) or _turns(live) > 1) and not _is_wordy(live, 6, 0.7)
    cases = (live.islower(), live.isupper()) == (recorded.islower(), recorded.isupper())
    return live.isalnum() and cases


def kind_of(token: str) -> str:
    """What may be the kind of what a token names, with its mark, as in cus_NffrFeUfNV2Hib."""
    match = _KIND.match(token)
    return match[0] if match else ""


def same_kind(recorded: str, live: str, kinds: Mapping[str, int]) -> bool:
    """Whether two random tokens are of one kind; `kinds` counts the recorded tokens of each.

    In base64url a mark among the first characters comes by chance too.
    """
    kind, other = kind_of(recorded), kind_of(live)
    if kind == other:
        return True
    if kinds.get(kind, 0) > 1 or other in kinds:
        return False
    if not kind or not other or kind[-1] != other[-1]:
        return True
    return any(_MARKS.search(text, len(start)) for text, start in ((recorded, kind), (live, other)))


def is_random_base64(recorded: str, live: str) -> bool:
    """Whether two whole texts are random bytes in base64 with + and /, padded or not."""
    if not _BASE64.fullmatch(recorded) or not _BASE64.fullmatch(live):
        return False
    plain, other = (text.rstrip("=").translate(_PLAIN) for text in (recorded, live))
    return len(recorded) == len(live) and looks_random(plain) and fits(plain, other)


def is_surely_base64(text: str) -> bool:
    """Whether a run of its characters can be nothing else."""
    if "+" in text:
        return True
    return text.endswith("=") and len(text) % 4 == 0 and not _PADDED_PATH.match(text)


def may_be_path(recorded: str, live: str) -> bool:
    """Whether two texts may be paths. Those of one kind have their slashes at the same places;
    where they have not, only words before a slash still speak for it."""
    if is_surely_base64(recorded) or _PATH.match(recorded) is None:
        return False
    return _slashes(recorded) == _slashes(live) or any(
        _PADDED_PATH.match(text) is not None for text in (recorded, live)
    )


def _slashes(text: str) -> list[int]:
    return [place for place, character in enumerate(text) if character == "/"]


def follows_from(recorded: tuple[str, str], live: tuple[str, str]) -> bool:
    """Whether the second of two live tokens is made of the first, as by a counter, and that of the
    recorded ones was not. What begins with the time may do so where two come at once."""
    if sum(map(str.__eq__, *live)) * 2 < len(live[1]):
        return False  # as most do
    if _agreement(*live) < 0.75 or _agreement(*recorded) >= 0.5:
        return False
    first, second = (text[len(kind_of(text)) :] for text in recorded)
    return first[:_TIMED] != second[:_TIMED]


def _agreement(token: str, other: str) -> float:
    """The share of their places in which two tokens agree."""
    if len(token) != len(other):
        return 0.0
    pairs = [(a, b) for a, b in zip(token, other, strict=True) if a not in "-_"]
    return sum(a == b for a, b in pairs) / max(len(pairs), 1)


def is_uuid(token: str) -> bool:
    return len(token) == 36 and _ANY_UUID.fullmatch(token) is not None


def same_kind_of_uuid(recorded: str, live: str) -> bool:
    """Of one version (its digit at 14), written in one case, and as random."""
    return (
        _ANY_UUID.fullmatch(live) is not None
        and recorded[14] == live[14]
        and (_RUN.search(live) is None or _RUN.search(recorded) is not None)
        and (recorded == recorded.lower()) == (live == live.lower())
    )


def _is_mixed_case(text: str) -> bool:
    return text != text.lower() and text != text.upper()


def _has_digit(text: str) -> bool:
    return any(map(str.isdigit, text)) and not text.isdigit()


def _turns(text: str) -> int:
    """How often digits follow letters or letters digits."""
    return len(_TURNS.findall(text))


def _is_scattered(text: str) -> bool:
    """Mixed case with a digit among it, or whose case changes more often than words' does."""
    if not _is_mixed_case(text) or _is_named(text, 2.5):
        return False
    changes = sum(a.isupper() != b.isupper() for a, b in pairwise(text))
    return _has_digit(text) or changes * 3 >= len(text)


def _is_unspeakable(text: str) -> bool:
    """Mixed case of which many letters stand beside others as they do in no word."""
    if len(text) < 14 or not any(map(_is_mixed_case, _MARKS.split(text))):
        return False
    pairs = [
        (a + b).lower()
        for a, b in pairwise(text)
        if a.isalpha() and b.isalpha() and not (a.islower() and b.isupper())
    ]
    unusual = sum(pair not in _USUAL for pair in pairs)
    return unusual >= _LEAST_UNUSUAL and unusual * 10 >= len(pairs) * 3


def _is_joined(text: str) -> bool:
    """Words and numbers joined by marks, as in SKU-Blue-42x."""
    pieces = [piece for piece in _MARKS.split(text) if piece]
    if len(pieces) < 2:
        return False
    segments = sum(len(_SEGMENTS.findall(piece)) for piece in pieces)
    return segments <= len(pieces) + 1 or (segments <= 2 * len(pieces) and _is_wordy(text, 2, 0.34))


def _is_named(text: str, length: float) -> bool:
    """Words and numbers of that average length at least."""
    return len(_SEGMENTS.findall(text)) * length <= len(text) and _is_wordy(text, 3, 0.4)


def _is_wordy(text: str, least: int, share: float) -> bool:
    """Whether that many, and that share, of the pairs of letters are common ones."""
    pairs = [a + b for run in _LETTERS.findall(text.lower()) for a, b in pairwise(run)]
    common = sum(pair in _COMMON for pair in pairs)
    return common >= least and common >= share * len(pairs)


@lru_cache(16384)
def _random_pieces(word: bytes) -> tuple[str, ...]:
    """The word, or those of its pieces, that a renaming could be about."""
    text = word.decode("ascii")
    if looks_random(text):
        return (text,)
    return tuple(
        piece
        for piece in PIECES.split(text)
        if len(piece) > 10 and (is_uuid(piece) or looks_random(piece))
    )


def tokens_in(data: bytes) -> set[str]:
    """All tokens and pieces of tokens that are random."""
    # Runs of the characters of a word, which splitting finds faster than an expression.
    words = [word for word in data.translate(_WORDS_ALONE).split() if len(word) >= _LEAST_WORD]
    return {piece for word in words for piece in _random_pieces(word)} if words else set()


def replaced(table: dict[str, str], data: bytes) -> bytes:
    """`data` with every token, or piece of one, that `table` knows in its other form."""
    if not table:
        return data

    def other(match: re.Match[bytes]) -> bytes:
        word = match[0].decode("ascii")
        if (whole := table.get(word)) is not None:
            return whole.encode()
        if "-" not in word and "_" not in word:
            return match[0]
        return "".join(table.get(piece, piece) for piece in PIECES.split(word)).encode()

    return _BYTE_WORDS.sub(other, data)


def with_wholes(table: dict[str, str], data: bytes) -> bytes:
    """`data` with every token of JSON in base64 that `table` knows in its other form."""
    if not table:
        return data

    def other(match: re.Match[bytes]) -> bytes:
        text = match[0].decode("ascii")
        return table.get(text, text).encode()

    return _BYTE_WHOLES.sub(other, data)


def shape(text: str) -> str:
    """`text` with every token that could be generated blotted out."""
    return _TOKENS.sub("*", text)
