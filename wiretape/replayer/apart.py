"""Whether a request can be sent before the answer that came before it was judged."""

from __future__ import annotations

import re
from functools import lru_cache

from wiretape.exchange.http1 import write_request
from wiretape.exchange.v1.exchange_pb2 import HttpRequest

_LEAST_WORD = 5
_MAX_CONTENT_BYTES = 4096
# Neither codings of text nor what joins words and values leaves runs of these.
_WORDS_ALONE = bytes(b if b < 128 and chr(b).isalnum() else 32 for b in range(256))
_ESCAPED = re.compile(rb"%[0-9A-Fa-f]{2}")
_DIGIT = re.compile(rb"[0-9]")


def is_apart(request: HttpRequest, response: bytes) -> bool:
    """Whether a recorded request has nothing in common with `response`, the recorded one before it
    as it was on the wire, that a build may have generated: what stands for such a value live is
    known only once the live response is judged."""
    if len(request.content.data) > _MAX_CONTENT_BYTES:
        return False
    line, _, others = write_request(request).partition(b"\r\n")
    return not any(word in response for word in (*_words(line), *_known(others)))


def _words(text: bytes) -> tuple[bytes, ...]:
    """Those that are not written as most words and the names of fields are."""
    if b"%" in text:
        text = _ESCAPED.sub(b" ", text)
    words = [word for word in text.translate(_WORDS_ALONE).split() if len(word) >= _LEAST_WORD]
    return tuple(word for word in words if _DIGIT.search(word) or not _is_plain(word))


# A client's fields are mostly the same.
_known = lru_cache(256)(_words)


def _is_plain(word: bytes) -> bool:
    return word.islower() or word.istitle()
