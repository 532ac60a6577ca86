"""Which values a recorded message produced, and at which places."""

from __future__ import annotations

import re
from collections.abc import Iterator

from wiretape.exchange.v1.exchange_pb2 import HttpRequest
from wiretape.replayer.carried.candidates import Message, Scope, is_text, path_of
from wiretape.replayer.carried.families import (
    collection_of,
    is_cursor_given,
    is_envelope,
    is_id,
    is_short_id,
    key,
    singular,
    stem_of,
    told_apart_by,
)
from wiretape.replayer.carried.json_paths import Path, leaves
from wiretape.replayer.carried.places import (
    Claim,
    EntityTag,
    InCookie,
    InField,
    InForm,
    InJson,
    InTag,
    InTarget,
    Link,
    Parameter,
    Place,
    Root,
    Seen,
    Segment,
    Step,
    between,
    claims,
    in_text,
    parameters,
    segments,
)
from wiretape.replayer.carried.tokens import is_whole, spans
from wiretape.replayer.carried.wanted import Wanted

Found = tuple[str, Place]

_LEFT_OUT = frozenset(
    b"accept accept-encoding accept-language accept-ranges age allow cache-control"
    b" connection content-disposition content-encoding content-language content-length"
    b" content-security-policy content-type date expires host keep-alive server"
    b" strict-transport-security trailer transfer-encoding upgrade user-agent vary via".split()
)
_OF_THEIR_OWN = frozenset(["location", "content-location", "refresh", "set-cookie"])
_URL = re.compile(r"(?:https?://[^/?#\s]+)?/[^\s<>\"]*|\?[^\s<>\"]*")
_LINK = re.compile(r"<([^>]*)>")
_GONE = re.compile(r";\s*max-age\s*=\s*(?:0|-\d+)\s*(?:;|\Z)", re.IGNORECASE)


def produced(message: Message, scope: Scope, wanted: Wanted) -> Iterator[Found]:
    """Keys and places of all wanted values, those first by which a client would take them."""
    seen = Seen(message)
    fields = seen.fields_but(_LEFT_OUT)
    if isinstance(message, HttpRequest):
        yield from _in_leaf(InTarget(), (), message.target.decode("latin-1"), scope, wanted, True)
    for name in ("location", "content-location"):
        for nth, value in enumerate(fields.get(name, ())):
            yield from _in_leaf(InField(name, nth), (), value, scope, wanted, True)
    if "set-cookie" in fields:
        yield from _in_cookies(fields["set-cookie"], scope, wanted)
    if "etag" in fields or "last-modified" in fields:
        yield from _in_validators(fields, scope)
    if not wanted:
        return
    for name, values in fields.items():
        if name in _OF_THEIR_OWN:
            continue
        for nth, value in enumerate(values):
            root = InField(name, nth)
            if name == "link":
                for number, match in enumerate(_LINK.finditer(value)):
                    yield from _in_leaf(root, (Link(number),), match[1], scope, wanted, True)
            else:
                yield from _in_leaf(root, (), value, scope, wanted, False)
    if seen.content is not None:
        yield from _in_content(seen, seen.content, scope, wanted)


def _in_content(seen: Seen, content: bytes, scope: Scope, wanted: Wanted) -> Iterator[Found]:
    if not wanted.may_be_in(content):
        return
    if seen.has_json:
        for path, text in leaves(seen.json, wanted.may_be_at):
            if len(text) > 8192:
                continue
            nested = any(isinstance(step, int) for step in path)
            root = InJson(path, text if nested else "")
            if wanted.short(text):
                yield from _in_member(root, path, text, scope)
            yield from _in_leaf(root, (), text, scope, wanted, False)
    elif seen.kind == "application/x-www-form-urlencoded":
        yield from _in_leaf(InForm(), (), f"?{seen.text}", scope, wanted, True)
    elif is_text(seen.kind, content):
        for (tag, name), value in seen.tags.items() if "html" in seen.kind else ():
            place = Place(InTag(tag, name))
            if tag == "input" and wanted.short(value):
                yield key("input", scope.session, name, value), place
            if is_whole(value) and wanted.long(value):
                yield value, place
        for start, end in spans.__wrapped__(seen.text):
            if wanted.long(seen.text[start:end]):
                yield seen.text[start:end], Place(in_text(seen.text, start, end))


def _in_member(root: InJson, path: Path, text: str, scope: Scope) -> Iterator[Found]:
    """What the name of a member says of a short value."""
    names = [step for step in path if isinstance(step, str)]
    if not names:
        return
    place = Place(root)
    if is_cursor_given(names[-1]):
        yield key("cursor", scope.session + scope.path, "", text), place
    stem = stem_of(names[-1])
    if stem is None or not is_short_id(text):
        return
    collection, followed = collection_of(scope.path)
    # What a collection answers with is its own elements, whatever it calls the list of them.
    if not stem and len(names) > 1 and not (followed and is_envelope(names[-2])):
        stem = singular(names[-2])
    if stem:
        yield key("id", scope.space, stem, text), place
        return
    if collection:
        yield key("id", scope.space, collection, text), place
    if followed:
        yield key("path", scope.space, followed, text), place


def _in_leaf(
    root: Root, steps: tuple[Step, ...], text: str, scope: Scope, wanted: Wanted, url: bool
) -> Iterator[Found]:
    """What stands in one text: itself, the parts of a URL, the claims of a JWT, its tokens."""
    if wanted.long(text) and is_whole(text):
        yield text, Place(root, steps)
    if (url or text[:1] in "/?h") and _URL.fullmatch(text):
        yield from _in_url(root, steps, text, scope, wanted)
        return
    tokens = spans(text)
    for start, end in tokens:
        word = text[start:end]
        if (start, end) != (0, len(text)) and wanted.long(word):
            yield word, Place(root, (*steps, between(text, start, end)))
        if word.startswith("eyJ"):
            inside = steps if word == text else (*steps, between(text, start, end))
            yield from _in_token(root, inside, word, wanted)


def _in_token(root: Root, steps: tuple[Step, ...], token: str, wanted: Wanted) -> Iterator[Found]:
    for path, text in leaves(claims(token), wanted.long):
        if is_whole(text):
            yield text, Place(root, (*steps, Claim(path)))


def _in_url(
    root: Root, steps: tuple[Step, ...], url: str, scope: Scope, wanted: Wanted
) -> Iterator[Found]:
    path = path_of(url.encode("utf-8", "surrogateescape"))
    raw = path.split("/")
    named = ""
    for number, segment in enumerate(segments(url)):
        inside = (*steps, Segment(number))
        yield from _in_part(root, inside, segment, wanted)
        if not is_id(segment):
            named = segment or named
        elif is_short_id(segment) and wanted.short(segment):
            place = Place(root, inside)
            yield key("path", scope.space, "/".join(raw[:number]), segment), place
            if named:
                yield key("id", scope.space, singular(named), segment), place
    met: dict[tuple[str, bool], int] = {}
    for fragment in (False, True):
        link = "" if fragment else told_apart_by(value for _, value in parameters(url, False))
        for name, value in parameters(url, fragment):
            nth = met[name, fragment] = met.get((name, fragment), -1) + 1
            inside = (*steps, Parameter(name, nth, fragment))
            if not fragment and wanted.short(value):
                if link and value != link:
                    yield key("signed", link, name, value), Place(root, inside)
                scoped = scope.session + (path if url[:1] != "?" else scope.path)
                yield key("link", scoped, name, value), Place(root, inside)
                stem = stem_of(name)
                if stem and is_short_id(value):
                    yield key("id", scope.space, stem, value), Place(root, inside)
            yield from _in_part(root, inside, value, wanted)


def _in_part(root: Root, steps: tuple[Step, ...], text: str, wanted: Wanted) -> Iterator[Found]:
    if wanted.long(text) and is_whole(text):
        yield text, Place(root, steps)
    for start, end in spans(text):
        if (start, end) != (0, len(text)) and wanted.long(text[start:end]):
            yield text[start:end], Place(root, (*steps, between(text, start, end)))


def _in_cookies(lines: list[str], scope: Scope, wanted: Wanted) -> Iterator[Found]:
    for line in lines:
        name, mark, raw = line.partition(";")[0].partition("=")
        value = raw.strip().strip('"')
        if not mark or not value or _GONE.search(line):
            continue
        root = InCookie(name.strip())
        yield key("cookie", scope.session, name.strip(), value), Place(root)
        yield from _in_leaf(root, (), value, scope, wanted, False)


def _in_validators(fields: dict[str, list[str]], scope: Scope) -> Iterator[Found]:
    """The validators of what was asked for, and of what was created (RFC 9110 §8.8)."""
    paths = [scope.path]
    paths += (
        path_of(value.encode("utf-8", "surrogateescape"))
        for value in fields.get("location", ())[:1]
    )
    for value in fields.get("etag", ())[:1]:
        if tag := EntityTag().take(value):
            for path in paths:
                place = Place(InField("etag", 0), (EntityTag(),))
                yield key("etag", scope.space, path, tag), place
    for value in fields.get("last-modified", ())[:1]:
        for path in paths:
            place = Place(InField("last-modified", 0))
            yield key("modified", scope.space, path, value), place
