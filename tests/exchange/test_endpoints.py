"""Endpoints as people write them."""

import pytest

from wiretape.exchange.endpoints import endpoint_text, parse_service


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (":80", ("", 80)),
        ("10.0.0.1:8080", ("10.0.0.1", 8080)),
        ("[::1]:80", ("::1", 80)),
        ("[2001:DB8:0:0::1]:65535", ("2001:db8::1", 65535)),
        ("::1:80", ("::1", 80)),
    ],
)
def test_read(text: str, wanted: tuple[str, int]) -> None:
    assert tuple(parse_service(text)) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "", "80", ":", ":0", ":65536", ":-1", ":8o", ":٨٠", "host:80", "1.2.3:80", "1.2.3.4:",
        "[::1]", "[:80", "300.1.1.1:80", "http://10.0.0.1:80", " :80 x",
    ],
)  # fmt: skip
def test_refused_in_one_line(text: str) -> None:
    with pytest.raises(ValueError, match=r"\[HOST\]:PORT|address") as raised:
        parse_service(text)
    assert "\n" not in str(raised.value)
    assert repr(text) in str(raised.value)


def test_serves() -> None:
    any_address, one = parse_service(":80"), parse_service("10.0.0.1:80")
    assert any_address.serves("10.0.0.9", 80)
    assert not any_address.serves("10.0.0.9", 81)
    assert one.serves("10.0.0.1", 80)
    assert not one.serves("10.0.0.2", 80)


@pytest.mark.parametrize("text", ["10.0.0.1:80", "[::1]:80"])
def test_text_is_read_back(text: str) -> None:
    assert endpoint_text(*parse_service(text)) == text
