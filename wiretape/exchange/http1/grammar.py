"""The grammar of HTTP/1 messages (RFC 9112 §2-§5, §7), read tolerantly.

Nothing here fails: a line that breaks the grammar yields what an observer can still say of it and
the code of the violation.
"""

import re
from typing import NamedTuple

TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
"""RFC 9110 §5.6.2."""

# A method of more than 64 characters is none: what is not HTTP must be told from its beginning.
REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}) (\S+) HTTP/(\d\.\d)")
STATUS_LINE = re.compile(rb"HTTP/(\d\.\d) (\d\d\d)(?: (.*))?", re.DOTALL)
_TOLERANT_REQUEST_LINE = re.compile(
    rb"[ \t]*([\x21-\x39\x3b-\x7e]{1,64})[ \t]+(.*?)(?:[ \t]+HTTP/(\d+(?:\.\d+)?)?)?[ \t]*",
    re.DOTALL | re.IGNORECASE,
)
REQUEST_LINE_BEGINS = re.compile(rb"[ \t]*[\x21-\x39\x3b-\x7e]{0,64}(?:[ \t].*)?\r?", re.DOTALL)
"""What every beginning of a request line matches; the method as in the tolerant reading."""
_TOLERANT_STATUS_LINE = re.compile(
    rb"HTTP(?:[/ ]([^\s]*))?[ \t]*(\d*)[ \t]*(.*)", re.DOTALL | re.IGNORECASE
)

_OTHER_PROTOCOL = re.compile(rb"[ \t][A-Z]+/\d\.\d\Z")
"""RTSP and SIP have request lines like ours, with another protocol's name."""

METHODS = frozenset(
    b"GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH QUERY "  # RFC 9110 §9, RFC 5789
    b"PROPFIND PROPPATCH MKCOL COPY MOVE LOCK UNLOCK SEARCH REPORT "  # RFC 4918, 5323, 3253
    b"BIND UNBIND REBIND LINK UNLINK ACL LABEL MERGE UPDATE CHECKIN CHECKOUT UNCHECKOUT "
    b"MKACTIVITY MKWORKSPACE MKCALENDAR MKREDIRECTREF UPDATEREDIRECTREF BASELINE-CONTROL "
    b"VERSION-CONTROL ORDERPATCH PURGE NOTIFY SUBSCRIBE UNSUBSCRIBE POLL BPROPFIND BPROPPATCH "
    b"BCOPY BDELETE BMOVE M-SEARCH RPC_IN_DATA RPC_OUT_DATA CCM_POST DESCRIBE".split()
)
"""Methods that may open a request whose line has no version: any token would let other
line-based protocols (SMTP, FTP, IRC) pass as HTTP/0.9."""

_METHOD_BEGINS = frozenset(m[:n] for m in METHODS for n in range(1, len(m) + 1))
_LONGEST_METHOD = max(map(len, METHODS))
_REST_OF_REQUEST_LINE = re.compile(rb" \S{1,65535} HTTP/\d\.\d *\r?\n")
_REST_BEGINS = re.compile(rb" \S{0,65535}(?: [HTP/\d. ]{0,16}\r?)?\Z")
START_OF_RESPONSE = re.compile(rb"HTTP/\d\.\d [1-9]\d\d[ \r\n]")
"""What a response must begin with where the reader has lost its place: stricter than at a place
where it has to begin."""


class RequestLine(NamedTuple):
    method: bytes
    target: bytes
    version: bytes
    """Digits alone, b"1.1"; b"0.9" where the line has none."""
    violation: str


class StatusLine(NamedTuple):
    version: bytes
    status: int
    """0 where the line has none."""
    reason: bytes
    violation: str


def request_line(line: bytes) -> RequestLine | None:
    """Reads a request line without its line end; None where it cannot be one."""
    if strict := REQUEST_LINE.fullmatch(line):
        return RequestLine(strict[1], strict[2], strict[3], "")
    match = _TOLERANT_REQUEST_LINE.fullmatch(line)
    if match is None:
        return None
    method, target, version = match[1], match[2], match[3]
    if version is None:
        if _OTHER_PROTOCOL.search(target):
            return None
        # HTTP/0.9 knows GET alone (RFC 1945 §5); other known methods lack their version by error.
        if method.upper() not in METHODS:
            return None
        return RequestLine(
            method, target, b"0.9", "" if method == b"GET" and target else "missing-version"
        )
    return RequestLine(method, target, version, "malformed-request-line")


def status_line(line: bytes) -> StatusLine | None:
    """Reads a status line without its line end; None where it cannot be one."""
    if strict := STATUS_LINE.fullmatch(line):
        violation = "" if strict[3] is not None else "missing-reason-space"
        return StatusLine(strict[1], int(strict[2]), strict[3] or b"", violation)
    match = _TOLERANT_STATUS_LINE.fullmatch(line)
    if match is None:
        return None
    # A status code is the first three octets (RFC 9112 §4): "2000" begins with 200, "20x" with 20.
    status = int(match[2][:3] or b"0")
    reason = match[3] if len(match[2]) == 3 else line.partition(b" ")[2]
    return StatusLine(match[1] or b"", status, reason, "malformed-status-line")


def may_start_request(data: bytes, pos: int) -> bool | None:
    """Whether a request begins at `pos`; None where more bytes must tell.

    Only known methods count: the end of a content directly before a request would be taken for
    part of its method.
    """
    method, space, _ = data[pos : pos + _LONGEST_METHOD + 1].partition(b" ")
    if not space:
        return None if method in _METHOD_BEGINS and pos + len(method) == len(data) else False
    if method not in METHODS:
        return False
    place = pos + len(method)
    if _REST_OF_REQUEST_LINE.match(data, place):
        return True
    return None if _REST_BEGINS.match(data, place) else False


def may_start_response(data: bytes, pos: int) -> bool | None:
    """Whether a response begins at `pos`; None where more bytes must tell."""
    if START_OF_RESPONSE.match(data, pos):
        return True
    head = data[pos : pos + 13]
    return None if len(head) < 13 and b"HTTP/1.1 200 "[: len(head)][:5] == head[:5] else False


class FieldLine(NamedTuple):
    name: bytes
    value: bytes
    violation: str
    canonical: bool
    """`name: value` gives the line back, byte for byte."""


def field_line(line: bytes) -> FieldLine:
    """Reads one field line without its line end (RFC 9112 §5.1), unfolded already."""
    name, colon, rest = line.partition(b":")
    if not colon:
        return FieldLine(line, b"", "field-without-colon", False)
    value = rest.strip(b" \t")
    stripped = name.strip(b" \t\r\n\x00\x0b\x0c")
    violation = ""
    if stripped != name:
        violation = "space-before-colon"
    elif not re.fullmatch(TOKEN, name):
        violation = "invalid-field-name"
    return FieldLine(stripped, value, violation, line == stripped + b": " + value)


LINE_END = re.compile(rb"\r?\n")
HEAD_END = re.compile(rb"\n\r{0,2}\n")
"""The empty line that ends a header section, where lines may end in a bare LF."""
FOLD = re.compile(rb"(?:\r?\n)+[ \t]+")


def chunk_size(line: bytes) -> tuple[int, str]:
    """Size from a chunk-size line without its line end, and a violation's code.

    -1 where it is no chunk size at all. Extensions are passed over (RFC 9112 §7.1.1).
    """
    digits = line.partition(b";")[0]
    stripped = digits.strip(b" \t\r")
    if not stripped or not re.fullmatch(rb"[0-9A-Fa-f]+", stripped):
        return -1, "invalid-chunk-size"
    size = int(stripped, 16)
    if size >= 1 << 63:
        return -1, "chunk-size-overflow"
    return size, "" if digits == stripped else "space-in-chunk-size"
