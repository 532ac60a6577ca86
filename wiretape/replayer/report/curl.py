"""A request as a curl command that sends it again: for a POSIX shell, safe for any bytes."""

from __future__ import annotations

import base64
import re
import shlex

from wiretape.replayer.kept import Kept

# Of the connection, or told by curl from the content it sends.
_LEFT_OUT = frozenset(
    [
        "connection",
        "content-length",
        "expect",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "upgrade",
    ]
)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# What curl sends as it stands, given --path-as-is and --globoff.
_PLAIN_TARGET = re.compile(r"/[\w.~!$&'()*+,;=:@%/?{}\[\]-]*", re.ASCII)
_PLAIN_TEXT = re.compile(r"[^\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]*")
_DOT_SEGMENT = re.compile(r"/\.{1,2}(?=[/?]|$)")


def curl_command(request: Kept, target: str) -> str | None:
    """One command; None where not all of the content is kept, or the request is none for curl.

    `target` is the URL as it was given; its {port} becomes $PORT.
    """
    words = request.start_line.split(" ")
    if not request.whole or len(words) < 3 or not _TOKEN.fullmatch(words[0]):
        return None
    method, path, version = words[0], " ".join(words[1:-1]), words[-1]
    options = ["curl", "-sS", "-i"]
    if version == "HTTP/1.0":
        options.append("--http1.0")
    if target.startswith("https:"):
        options.append("-k")
    content, before = _content(request.content)
    if method == "HEAD":
        options.append("-I")
    if method not in ("GET", "HEAD") or content:
        options += ["-X", shlex.quote(method)]
    base = _base(target)
    if _PLAIN_TARGET.fullmatch(path):
        options += ["--path-as-is"] if _DOT_SEGMENT.search(path) else []
        options += ["-g"] if set(path) & set("[]{}") else []
        options.append(base + (shlex.quote(path) if path != "/" else "/"))
    else:
        options += ["--request-target", _quote(path), f"{base}/"]
    names = set()
    for name, value in request.fields:
        names.add(name.lower())
        if name.lower() not in _LEFT_OUT and _TOKEN.fullmatch(name):
            options += ["-H", _quote(f"{name}: {value}" if value else f"{name};")]
    own = ["User-Agent", "Accept", *(["Content-Type"] if content else [])]
    for name in own:
        if name.lower() not in names:
            options += ["-H", f"{name}:"]
    return before + " ".join(options + content)


def _base(target: str) -> str:
    """Scheme and authority for a shell: in double quotes, $PORT expands."""
    target = target.rstrip("/")
    if "{port}" not in target:
        return shlex.quote(target)
    escaped = re.sub(r'(["\\`$])', r"\\\1", target)
    return '"' + escaped.replace("{port}", "$PORT") + '"'


def _content(data: bytes) -> tuple[list[str], str]:
    """Options that send `data`, and what stands before the command."""
    if not data:
        return [], ""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = "\0"
    if _PLAIN_TEXT.fullmatch(text):
        return ["--data-raw", shlex.quote(text)], ""
    encoded = base64.b64encode(data).decode()
    return ["--data-binary", "@-"], f"echo {encoded} | base64 -d | "


def _quote(text: str) -> str:
    """`text` holds bytes as latin-1; those that a terminal does not show are written in octal."""
    if text.isascii() and text.isprintable():
        return shlex.quote(text)
    pieces = (
        c if " " <= c <= "~" and c not in "'%\\" else "%%" if c == "%" else f"\\{ord(c):03o}"
        for c in text
    )
    return "\"$(printf '" + "".join(pieces) + "')\""
