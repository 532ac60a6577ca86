"""Links and paths in the documents lead somewhere, and the documents keep their bounds."""

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from doc_examples import ROOT

from wiretape.exchange.http1.framing import SOURCES
from wiretape.exchange.v1 import exchange_pb2 as pb

DOCUMENTS = [
    *(name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md") if (ROOT / name).exists()),
    *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").glob("*.md"))),
]
_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^()\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")
_PATH = re.compile(
    r"(?:wiretape|docs|scripts|tests|fixtures|examples|bench|proto|\.ci)/[\w./-]*"
    r"|[A-Z]+\.md|pyproject\.toml|constraints\.txt"
)
_MODULE = re.compile(r"wiretape(?:\.[a-z_0-9]+)+")


def prose(document: str) -> str:
    """The document without its fenced blocks."""
    return _FENCED.sub("", (ROOT / document).read_text())


def anchors(document: Path) -> set[str]:
    """The fragments of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(str(document.relative_to(ROOT))), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_internal_links_resolve(document: str) -> None:
    here = ROOT / document
    for link in _LINK.findall(prose(document)):
        if "://" in link:
            continue
        path, _, fragment = link.partition("#")
        target = (here.parent / path).resolve() if path else here
        assert target.exists(), f"{link} leads nowhere"
        assert target.is_relative_to(ROOT), f"{link} leads out of the checkout"
        if fragment:
            assert fragment in anchors(target), f"{link}: no such heading"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_paths_that_are_named_exist(document: str) -> None:
    for code in _CODE.findall(prose(document)):
        word = code.split()[0]
        if _PATH.fullmatch(word):
            assert (ROOT / word).exists(), f"`{code}` does not exist"
        elif _MODULE.fullmatch(word) and not word.startswith("wiretape.v1."):
            path = ROOT / word.replace(".", "/")
            assert path.is_dir() or path.with_suffix(".py").exists(), f"`{code}` does not exist"


@pytest.mark.parametrize("picture", sorted((ROOT / "docs").glob("*.svg")), ids=lambda p: p.name)
def test_pictures_are_whole_and_need_nothing_else(picture: Path) -> None:
    root = ET.parse(picture).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.find("{http://www.w3.org/2000/svg}title") is not None
    assert not re.search(r"(?:href|src)=", picture.read_text())


def test_architecture_is_short() -> None:
    assert len((ROOT / "docs/architecture.md").read_text().splitlines()) <= 120


def test_architecture_names_every_room() -> None:
    named = set(_CODE.findall(prose("docs/architecture.md")))
    rooms = [
        path
        for path in [*(ROOT / "wiretape").glob("*/*/"), *(ROOT / "wiretape").glob("*/")]
        if path.is_dir() and (path / "__init__.py").exists()
    ]
    assert {f"{path.relative_to(ROOT)}/" for path in rooms} <= named


def test_recording_format_names_every_violation_and_gap() -> None:
    text = prose("docs/recording-format.md")
    rows = dict(re.findall(r"^\| `([a-z0-9.-]+)` \| (.+) \|$", text, re.MULTILINE))
    assert rows == SOURCES
    unnamed = {name for name in pb.Gap.Reason.keys() if f"`{name}`" not in text}  # noqa: SIM118
    assert unnamed == {"REASON_UNSPECIFIED"}
