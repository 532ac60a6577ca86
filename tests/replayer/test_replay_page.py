"""The page of --report in a real browser: filters, differences side by side, nothing that runs."""

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from chromium import Chromium, find_chromium
from verdicts import HOSTILE, large_verdict, made, rich_verdict

from wiretape.replayer.compare import Difference
from wiretape.replayer.kept import Kept
from wiretape.replayer.report import html_pieces, html_report
from wiretape.replayer.verdict import Result, State, Verdict

CHROMIUM = find_chromium()
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    assert CHROMIUM is not None
    chromium = Chromium(CHROMIUM, tmp_path_factory.mktemp("profile"))
    yield chromium
    chromium.close()


def page_of(verdict: Verdict, folder: Path) -> str:
    file = folder / "index.html"
    with file.open("w", encoding="utf-8") as out:
        out.writelines(html_pieces(verdict))
    return file.as_uri()


def texts(browser: Chromium, selector: str) -> list[str]:
    found: list[str] = browser.evaluate(
        f"[...document.querySelectorAll({json.dumps(selector)})].map((node) => node.textContent)"
    )
    return found


def settle(browser: Chromium) -> None:
    """Until what was typed or scrolled is painted."""
    browser.evaluate(
        "new Promise((done) => setTimeout(() => requestAnimationFrame(() => done(1)), 200))"
    )


class _Parts(HTMLParser):
    """Elements and attributes as any reader of HTML finds them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_page_holds_and_asks_for_nothing_else() -> None:
    parts = _Parts()
    page = html_report(rich_verdict())
    parts.feed(page)
    tags = [tag for tag, _ in parts.found]
    assert tags.count("script") == 3
    assert not {"img", "iframe", "link", "object", "base"} & set(tags)
    for tag, attributes in parts.found:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        for name in ("src", "srcset", "data", "action"):
            assert name not in attributes
        assert (attributes.get("href") or "#").startswith("#")
        assert "style" not in attributes
    assert "url(" not in page.partition("</style>")[0]
    assert HOSTILE not in page


def test_data_in_the_page_cannot_end_its_element() -> None:
    page = html_report(rich_verdict())
    for block in re.findall(r'<script type="application[^>]*>(.*?)</script>', page, re.DOTALL):
        assert block.isascii()
        assert not set(block) & set("<>&")
        for line in filter(None, block.strip().split("\n")):
            json.loads(line)


@in_browser
def test_hostile_content_is_text(browser: Chromium, tmp_path: Path) -> None:
    address = page_of(rich_verdict(), tmp_path)
    for position in range(1, 9):
        browser.open(f"{address}#open={position}")
        settle(browser)
        assert browser.problems() == []
        assert "pwned" not in browser.evaluate("document.title.replace(/document.title=.*/s, '')")
        assert browser.evaluate("document.querySelectorAll('main script, main img').length") == 0
    browser.open(f"{address}#open=3")
    assert any("<img src=x onerror=" in cell for cell in texts(browser, ".diff .bad div"))


@in_browser
def test_the_policy_stops_a_script_that_got_in(browser: Chromium, tmp_path: Path) -> None:
    file = tmp_path / "index.html"
    page = html_report(rich_verdict())
    file.write_text(
        page.replace("</main>", "<script>document.title='pwned'</script><img src=x></main>"),
        encoding="utf-8",
    )
    browser.open(file.as_uri())
    assert browser.evaluate("document.title") != "pwned"
    assert any("Content Security Policy" in problem for problem in browser.problems())


@in_browser
def test_filters(browser: Chromium, tmp_path: Path) -> None:
    address = page_of(large_verdict(300), tmp_path)
    browser.open(address)
    assert texts(browser, "#shown") == ["300 exchanges"]
    # What differs is open first.
    assert texts(browser, "#detail h3") == ["GET /things7/7"]

    browser.evaluate("document.querySelector('[data-state=differs]').click()")
    assert texts(browser, "#shown") == ["3 of 300 exchanges"]
    assert texts(browser, "#rows .what") == [f"GET /things7/{n}" for n in (7, 107, 207)]
    assert browser.evaluate("location.hash") == "#state=differs&open=8"

    browser.evaluate(
        "(() => { const s = document.getElementById('endpoint'); s.value = 'GET /things3/*';"
        " s.dispatchEvent(new Event('change')); })()"
    )
    assert texts(browser, "#shown") == ["0 of 300 exchanges"]
    assert texts(browser, "#rows") == ["No exchange is like this."]
    browser.evaluate("document.querySelector('[data-state=\"\"]').click()")
    assert texts(browser, "#shown") == ["15 of 300 exchanges"]
    assert texts(browser, "#detail h3") == ["GET /things3/3"]

    browser.open(f"{address}#text=THINGS12/1")
    # 12, 112, 132, 152, 172, 192
    assert texts(browser, "#shown") == ["6 of 300 exchanges"]
    browser.open(f"{address}#state=same&text=things7/&endpoint=GET+%2Fthings7%2F*&open=28")
    assert texts(browser, "#shown") == ["12 of 300 exchanges"]
    assert texts(browser, "#detail h3") == ["GET /things7/27"]
    assert browser.problems() == []


@in_browser
def test_text_is_found_in_contents(browser: Chromium, tmp_path: Path) -> None:
    address = page_of(rich_verdict(), tmp_path)
    browser.open(address)
    for text, endpoints in {
        "as it was": ["POST /orders"],
        "</script><script>": None,
        "no such text anywhere": [],
    }.items():
        browser.evaluate(
            "(() => { const t = document.getElementById('text');"
            f" t.value = {json.dumps(text)}; t.dispatchEvent(new Event('input')); }})()"
        )
        settle(browser)
        if endpoints is None:
            assert len(texts(browser, "#rows .what")) >= 2
        else:
            assert texts(browser, "#rows .what") == endpoints
    assert browser.problems() == []


@in_browser
def test_differing_places_are_marked_side_by_side(browser: Chromium, tmp_path: Path) -> None:
    browser.open(f"{page_of(rich_verdict(), tmp_path)}#open=1")
    marked: Any = browser.evaluate(
        "[...document.querySelectorAll('.diff .bad')].map((row) =>"
        " [...row.children].map((side) => side.firstChild?.textContent ?? null))"
    )
    # The order of members is another in the live response; both stand in that of the recorded one.
    assert marked == [['      "total": 20,', '      "total": 21,']]
    kept: Any = browser.evaluate(
        "[...document.querySelectorAll('.diff .kept')].map((row) => row.textContent)"
    )
    assert len(kept) == 1
    assert "unique: renamed" in kept[0]
    assert texts(browser, "#detail td.expected") == ["20"]


CONTENTS = [
    # Contents of both sides, what differs, and the rows that are marked, as (left, right).
    (
        b'{"a": [1, 2], "b": {}}', b'{"a": [1], "c": null, "b": {}}',
        [("json", "$.a[1]"), ("json", "$.c")],
        [["    2", None], [None, '  "c": null']],
    ),
    (
        b'{"odd name": 12345678901234567890.10}', b'{"odd name": 12345678901234567890.2}',
        [("json", '$["odd name"]')],
        [['  "odd name": 12345678901234567890.10', '  "odd name": 12345678901234567890.2']],
    ),
    (b"[1]", b'{"a": 1}', [("json", "$")], [["[", "{"], ["  1", '  "a": 1'], ["]", "}"]]),
    (b"one\ntwo\nthree", b"one\nthree", [("text", "line 2")], [["two", None]]),
    (b"not json {", b"not json [", [("text", "line 1")], [["not json {", "not json ["]]),
    (
        b"\x00\xff\x01", b"\x00\xff\x02", [("bytes", "offset 2")],
        [["000000  00 ff 01 ".ljust(56) + " ...", "000000  00 ff 02 ".ljust(56) + " ..."]],
    ),
]  # fmt: skip


@in_browser
@pytest.mark.parametrize(("recorded", "live", "places", "rows"), CONTENTS)
def test_contents_side_by_side(
    browser: Chromium,
    tmp_path: Path,
    recorded: bytes,
    live: bytes,
    places: list[tuple[str, str]],
    rows: list[list[str | None]],
) -> None:
    verdict = made(("GET /", State.DIFFERS))
    (result,) = verdict.results
    head = b"HTTP/1.1 200 OK\r\nX-A: 1\r\n\r\n"
    result.differences = [Difference(kind, place, "x", "y", "why") for kind, place in places]
    result.request = Kept(b"GET / HTTP/1.1\r\n\r\n", b"", 0)
    result.response = Kept(head, recorded, len(recorded))
    result.live_response = Kept(head, live, len(live))
    browser.open(page_of(verdict, tmp_path))
    marked: Any = browser.evaluate(
        "[...document.querySelectorAll('.diff .bad')].map((row) =>"
        " [...row.children].map((side) => side.className === 'none' ? null"
        " : side.firstChild.textContent))"
    )
    assert marked == rows
    assert browser.problems() == []


@in_browser
def test_every_state_can_be_opened(browser: Chromium, tmp_path: Path) -> None:
    verdict = rich_verdict()
    verdict.results[7].differences = [
        Difference("response", "response", "200", None, "the connection was closed")
    ]
    verdict.results[7].request = verdict.results[0].request
    verdict.results[7].response = verdict.results[0].response
    address = page_of(verdict, tmp_path)
    for result in verdict.results:
        browser.open(f"{address}#open={result.position + 1}")
        assert result.state.value.replace("_", " ") in texts(browser, "#detail .facts .tag")
        assert browser.problems() == []
    assert "live: none" in texts(browser, "#detail .head div")


@in_browser
def test_the_time_line_shows_both_sides_and_opens_what_is_chosen(
    browser: Chromium, tmp_path: Path
) -> None:
    browser.open(page_of(rich_verdict(), tmp_path))
    lanes = "#timeline svg > text:not(.axis)"
    assert len(texts(browser, lanes)) == 2
    assert texts(browser, lanes)[0].startswith("inbound")
    browser.evaluate("document.querySelector('[data-side=recorded]').click()")
    assert len(texts(browser, lanes)) == 3
    browser.evaluate(
        "document.querySelector('#timeline .bar.same')"
        ".dispatchEvent(new MouseEvent('click', { bubbles: true }))"
    )
    assert texts(browser, "#detail h3") == ["GET /healthz"]
    # Its own calls are shown with an exchange.
    browser.evaluate("document.querySelector('[data-open=\"0\"]').click()")
    settle(browser)
    assert len(texts(browser, "#detail .waterfall svg")) == 2


@in_browser
def test_the_summary_needs_no_script(browser: Chromium, tmp_path: Path) -> None:
    verdict = rich_verdict()
    address = page_of(verdict, tmp_path)
    browser.without_script(True)
    try:
        browser.open(address)
    finally:
        browser.without_script(False)
    shown = " ".join(texts(browser, "main"))
    for text in (
        "ERROR", "$.items[0].total", "accepted", "10.0.0.9:5432", "GET /jwks", "231 ms", "netns",
        "latency.p95 > 200ms", "mask $.nothing", "cut after 12 MiB", "curl -sS", "needs the script",
    ):  # fmt: skip
        assert text.lower() in shown.lower(), text
    assert browser.evaluate("document.querySelectorAll('svg circle').length") == 4
    assert browser.evaluate("document.querySelector('.needs-script').hidden")


@in_browser
def test_ten_thousand_exchanges(browser: Chromium, tmp_path: Path) -> None:
    address = page_of(large_verdict(10_000), tmp_path)
    browser.open(address)
    assert texts(browser, "#shown") == ["10,000 exchanges"]
    # Only what is in sight is there.
    assert 10 < browser.evaluate("document.querySelectorAll('#rows .row').length") < 100
    assert browser.evaluate("document.getElementById('rows').offsetHeight") == 340_000
    browser.evaluate("document.getElementById('list').scrollTop = 170000")
    settle(browser)
    numbers = [int(text) for text in texts(browser, "#rows .n")]
    assert numbers == list(range(numbers[0], numbers[-1] + 1))
    assert numbers[0] <= 5001 <= numbers[-1]
    browser.evaluate("document.querySelectorAll('#rows .row')[15].click()")
    assert texts(browser, "#detail h3")[0].endswith(f"/{numbers[15] - 1}")
    browser.open(f"{address}#text=things7/9907")
    assert texts(browser, "#shown") == ["1 of 10,000 exchanges"]
    assert browser.evaluate("document.querySelectorAll('#timeline .bar').length") <= 1300
    assert browser.problems() == []


def test_what_would_make_the_page_too_large_is_left_out_and_said() -> None:
    def heavy(result: Result) -> None:
        result.response = Kept(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * (1 << 20), 1 << 20)

    verdict = large_verdict(80, heavy)
    page = html_report(verdict)
    assert len(page) < 72 << 20
    lines = page.partition('id="details">\n')[2].partition("</script>")[0].strip().split("\n")
    kept = [json.loads(line)["messages"] for line in lines]
    assert len(kept) == 80
    # What differs is kept before what does not.
    assert kept[7]
    assert not all(kept)


@in_browser
@pytest.mark.parametrize("dark", [False, True])
def test_light_and_dark_and_no_wider_than_a_phone(
    browser: Chromium, tmp_path: Path, dark: bool
) -> None:
    address = page_of(rich_verdict(), tmp_path)
    browser.open(address, dark=dark)
    red, green, blue = map(
        int,
        re.findall(r"\d+", browser.evaluate("getComputedStyle(document.body).backgroundColor")),
    )
    assert (red + green + blue < 200) is dark
    browser.open(address, width=390, height=800, dark=dark)
    assert browser.evaluate("document.documentElement.scrollWidth") <= 390
