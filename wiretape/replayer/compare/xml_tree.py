"""XML compared as a tree: names by namespace, attributes in any order.

White space between elements has no meaning, text has; nor have comments, prefixes, CDATA sections
and how characters are escaped. Entities are never expanded: what declares any, or has an internal
DTD, is compared as text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from xml.parsers import expat

from wiretape.replayer.compare.difference import Difference
from wiretape.replayer.compare.view import View

_MAX_DEPTH = 200
# Beyond this many pairs of children, those of one element that are not the same are not aligned.
_MAX_ALIGNED = 1_000_000
_QUALIFIED = re.compile(r"\s*([A-Za-z_][\w.-]*):[A-Za-z_]")
_XML = "http://www.w3.org/XML/1998/namespace"


class NotComparableError(ValueError):
    """XML that is broken, or that would take a DTD to be read."""


@dataclass(slots=True)
class Element:
    """An element; `name` is {namespace}local, texts and elements are `children` in their order."""

    name: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list[Element | str] = field(default_factory=list)


def parse_xml(data: bytes, encoding: str | None = None) -> Element:
    """The root, under an element without name that holds what stands beside it.

    `encoding` is that of the Content-Type, which comes before the document's own.
    """
    try:
        reader = _Reader(encoding)
        reader.parser.Parse(data, True)
    except (expat.ExpatError, LookupError, UnicodeError) as error:
        raise NotComparableError(str(error)) from error
    return reader.document


class _Reader:
    def __init__(self, encoding: str | None) -> None:
        self.document = Element("")
        self._open = [self.document]
        self._prefixes: dict[str, list[str]] = {}
        self.parser = parser = expat.ParserCreate(encoding, "}")
        parser.buffer_text = True
        parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.ProcessingInstructionHandler = self._instruction
        parser.StartDoctypeDeclHandler = self._doctype
        parser.EntityDeclHandler = self._refuse
        parser.SkippedEntityHandler = self._refuse
        parser.ExternalEntityRefHandler = self._refuse
        parser.StartNamespaceDeclHandler = self._begin_prefix
        parser.EndNamespaceDeclHandler = self._end_prefix

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self._open) > _MAX_DEPTH:
            raise NotComparableError("nested too deeply")
        element = Element(
            _braced(name), {_braced(key): self._resolved(v) for key, v in attributes.items()}
        )
        self._open[-1].children.append(element)
        self._open.append(element)

    def _end(self, name: str) -> None:
        element = self._open.pop()
        texts = [child for child in element.children if isinstance(child, str)]
        between = len(texts) < len(element.children) and not "".join(texts).strip(" \t\r\n")
        if between and element.attributes.get(f"{{{_XML}}}space") != "preserve":
            element.children = [c for c in element.children if not isinstance(c, str)]

    def _text(self, text: str) -> None:
        children = self._open[-1].children
        if len(self._open) == 1:
            return
        if children and isinstance(children[-1], str):
            children[-1] += text
        else:
            children.append(self._resolved(text))

    def _instruction(self, target: str, data: str) -> None:
        self._open[-1].children.append(Element(f"?{target}", {}, [data]))

    def _doctype(self, name: str, system: str | None, public: str | None, internal: int) -> None:
        if internal:
            raise NotComparableError("has an internal DTD")
        self._open[-1].children.append(Element(f"!{name}", {}, [f"{public} {system}"]))

    def _refuse(self, *_: object) -> int:
        raise NotComparableError("has entities")

    def _begin_prefix(self, prefix: str | None, uri: str | None) -> None:
        self._prefixes.setdefault(prefix or "", []).append(uri or "")

    def _end_prefix(self, prefix: str | None) -> None:
        self._prefixes[prefix or ""].pop()

    def _resolved(self, text: str) -> str:
        """Text that begins with a declared prefix (as xsi:type has) means what its namespace is."""
        match = _QUALIFIED.match(text)
        uris = self._prefixes.get(match[1]) if match else None
        return f"{{{uris[-1]}}}{text}" if uris else text


def _braced(name: str) -> str:
    """expat's `uri}local` as {uri}local."""
    return f"{{{name}" if "}" in name else name


def compare_xml(recorded: Element, live: Element, view: View) -> list[Difference]:
    """Differences at paths like /order/item[2]/@id."""
    return list(_compare_children("", "", recorded, live, view))


def _compare(
    path: str, name: str, recorded: Element, live: Element, view: View
) -> Iterator[Difference]:
    for key in (
        *recorded.attributes,
        *(k for k in live.attributes if k not in recorded.attributes),
    ):
        expected, actual = recorded.attributes.get(key), live.attributes.get(key)
        step = f"/@{local_name(key)}"
        yield from _compare_values(path + step, name + step, expected, actual, "attribute", view)
    if any(isinstance(child, Element) for child in (*recorded.children, *live.children)):
        yield from _compare_children(path, name, recorded, live, view)
        return
    expected, actual = ("".join(map(str, side.children)) for side in (recorded, live))
    yield from _compare_values(path, name, expected, actual, "text", view)


def _compare_children(
    path: str, name: str, recorded: Element, live: Element, view: View
) -> Iterator[Difference]:
    """Child against child; where one side has more of them, their names say which."""
    tags, others = ([_tag(child) for child in side.children] for side in (recorded, live))
    places: list[str] = []
    counts: dict[str, int] = {}
    for tag in tags:
        counts[tag] = counts.get(tag, 0) + 1
        places.append(f"{path}/{local_name(tag)}[{counts[tag]}]")
    for i, i_end, j, j_end in _aligned(tags, others):
        if tags[i:i_end] == others[j:j_end]:
            for at, other in zip(range(i, i_end), live.children[j:j_end], strict=True):
                below = f"{name}/{local_name(tags[at])}"
                yield from _compare_child(places[at], below, recorded.children[at], other, view)
            continue
        for at in range(i, i_end):
            below, shown = f"{name}/{local_name(tags[at])}", _show(recorded.children[at])
            yield from _compare_values(places[at], below, shown, None, "element", view)
        for at in range(j, j_end):
            step, shown = f"/{local_name(others[at])}", _show(live.children[at])
            yield from _compare_values(path + step, name + step, None, shown, "element", view)


def _aligned(tags: list[str], others: list[str]) -> list[tuple[int, int, int, int]]:
    if tags == others or len(tags) * len(others) > _MAX_ALIGNED:
        return [(0, len(tags), 0, len(others))]
    matcher = SequenceMatcher(None, tags, others, autojunk=False)
    return [(i, i_end, j, j_end) for _, i, i_end, j, j_end in matcher.get_opcodes()]


def _compare_child(
    path: str, name: str, recorded: Element | str, live: Element | str, view: View
) -> Iterator[Difference]:
    if isinstance(recorded, Element) and isinstance(live, Element):
        yield from _compare(path, name, recorded, live, view)
    else:
        yield from _compare_values(path, name, str(recorded), str(live), "text", view)


def _tag(child: Element | str) -> str:
    return child.name if isinstance(child, Element) else "text()"


def _compare_values(
    place: str, name: str, expected: str | None, actual: str | None, what: str, view: View
) -> Iterator[Difference]:
    if expected is None or actual is None:
        if view.ignores("xml", name):
            return
        reason = f"the {what} {'was not recorded' if expected is None else 'is missing'}"
        yield view.difference("xml", name, place, expected, actual, reason)
    elif not view.same_text(expected, actual, "xml", name):
        reason = f"another {what}: {view.why}" if view.why else f"another {what}"
        yield view.difference("xml", name, place, expected, actual, reason)


def local_name(name: str) -> str:
    """A name without its namespace."""
    return name.rpartition("}")[2]


def _show(child: Element | str) -> str:
    """An element as text, without what lies deep inside."""
    if isinstance(child, str):
        return child
    inside = "".join(
        _show(c) if isinstance(c, str) else f"<{local_name(c.name)}…>" for c in child.children
    )
    attributes = "".join(f' {local_name(key)}="{value}"' for key, value in child.attributes.items())
    return f"<{local_name(child.name)}{attributes}>{inside}</{local_name(child.name)}>"
