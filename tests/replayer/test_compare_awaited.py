"""Responses that are judged without being read: never otherwise than those that are."""

import asyncio
import contextlib
import json
import random
import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judging import U1, U2, U3, U4, S, judge
from tapes import fields_of

from wiretape.exchange.v1.exchange_pb2 import HttpExchange, HttpRequest, HttpResponse
from wiretape.replayer.compare import Difference, compare_responses
from wiretape.replayer.compare.awaited import Awaited
from wiretape.replayer.compare.view import View
from wiretape.replayer.config import Target
from wiretape.replayer.io.client import Answer, Client
from wiretape.replayer.kept import read_response
from wiretape.replayer.values import Judgement
from wiretape.replayer.values.timed import Accepted

JSON = {"Content-Type": "application/json"}
# As far from the exchange, recorded and live: see judge().
THEN, NOW = "Tue, 14 Nov 2023 22:13:20 GMT", "Fri, 15 Jan 2027 08:00:00 GMT"


def wire(
    content: str | bytes = b"",
    fields: Mapping[str, str] = JSON,
    status: str = "200 OK",
    length: int | None = None,
) -> bytes:
    body = content.encode() if isinstance(content, str) else content
    lines = [f"{name}: {value}" for name, value in fields.items()]
    lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode() + body


def unread(recorded: bytes, live: bytes) -> Judgement | None:
    """The judgement of a response that was accepted without being read; None where it was not."""
    near = Awaited(recorded).near(live)
    judgement = judge()
    return judgement if near is not None and near.is_accepted(View(judgement)) else None


def read(recorded: bytes, live: bytes) -> tuple[list[Accepted], list[Difference]]:
    """What is accepted where both are read, and what differs."""
    one, other = read_response(recorded, "GET"), read_response(live, "GET")
    assert one is not None
    assert other is not None
    judgement = judge()
    request = HttpRequest(method="GET", target=b"/orders/17", fields=fields_of({"Host": "a"}))
    found = compare_responses(HttpExchange(request=request, response=one), other, [], judgement)
    return judgement.accepted, found


@pytest.mark.parametrize(
    ("recorded", "live"),
    [
        (wire("{}", {"Date": THEN, **JSON}), wire("{}", {"Date": NOW, **JSON})),
        (wire("", {"X-Request-Id": U1}), wire("", {"X-Request-Id": U2})),
        (wire(f'{{"id":"{U1}"}}'), wire(f'{{"id":"{U2}"}}')),
        (wire(f'[["{U1}"],{{"a b":"{U3}"}}]'), wire(f'[["{U2}"],{{"a b":"{U4}"}}]')),
        (wire('{"at":1700000000}'), wire('{"at":1800000000}')),
        (wire('{"took_ms":0,"b":[1]}'), wire('{"took_ms":0.0,"b":[1]}'.replace("0.0", "0"))),
        (wire(f'{{"a":"{U1}","b":"{U1}"}}'), wire(f'{{"a":"{U2}","b":"{U2}"}}')),
        (wire('{"at":"2023-11-14T22:13:20Z"}'), wire('{"at":"2027-01-15T08:00:00Z"}')),
        (wire(f'{{"id":"{U1}"}}', {}), wire(f'{{"id":"{U2}"}}', {})),
        (wire("{}", {"Keep-Alive": "max=99"}), wire("{}", {"Keep-Alive": "max=9"})),
        (wire('{"f":1.0}'), wire('{"f":1.00}')),
    ],
)
def test_what_usual_answers_differ_in_is_not_read(recorded: bytes, live: bytes) -> None:
    judgement = unread(recorded, live)
    assert judgement is not None
    assert (judgement.accepted, []) == read(recorded, live)


@pytest.mark.parametrize(
    ("recorded", "live"),
    [
        (wire("{}"), wire("{}", status="201 Created")),
        (wire("{}"), wire("{}", {"Content-Type": "text/html"})),
        (wire("{}"), wire("{}", {**JSON, "Vary": "Origin"})),
        (wire("{}", {"A": "1"}), wire("{}", {"B": "1"})),
        (wire('{"a":1}'), wire('{"a":1}', length=6)),
        (wire('{"a":1}'), wire('{"a":2}', length=8)),
        (wire('{"a":1}'), wire('{"a":2}') + b"HTTP"),
        (wire("", {"A": "1"}, length=7), wire('{"a":1}', {"A": "1"})),  # to a HEAD, say
        (wire('{"a":1}', {"Transfer-Encoding": "chunked"}), wire("{}")),
        (wire("{}", {"Set-Cookie": "a=1"}), wire("{}", {"Set-Cookie": "a=1\x00"})),
        (wire('{"a":1}', {"Connection": "keep-alive"}), wire('{"a":1}', {"Connection": "a"})),
        (wire("{}", {"A": "1\r\n 2"}), wire("{}", {"A": "1\r\n 3"})),
    ],
)
def test_what_may_be_framed_otherwise_is_not_near(recorded: bytes, live: bytes) -> None:
    assert Awaited(recorded).near(live) is None


@pytest.mark.parametrize(
    ("recorded", "live"),
    [
        (wire('{"a":1}'), wire('{"a":2}')),
        (wire('{"a":1}'), wire('{"a":1.0}')),
        (wire('{"a":1}'), wire('{"a":"1"}')),
        (wire('{"a":1}'), wire('{"b":1}')),
        (wire('{"a":1}'), wire('{"a":01}')),
        (wire('{"at":1700000000}'), wire('{"at":01800000000}')),
        (wire('{"a":true}'), wire('{"a":1}')),
        (wire(f'{{"{U1}":1}}'), wire(f'{{"{U2}":1}}')),
        (wire(f'{{"a":"{U1}","a":1}}'), wire(f'{{"a":"{U2}","a":1}}')),
        (wire(f'{{"a":"{U1}",}}'), wire(f'{{"a":"{U2}",}}')),
        (wire(f'{{"a":"\\u0041{U1}"}}'), wire(f'{{"a":"\\u0041{U2}"}}')),
        (wire(f'{{"b":"\ue0000","a":"{U1}"}}'), wire(f'{{"b":"\ue0000","a":"{U2}"}}')),
        (wire(f'{{"a":"{U1}\n"}}'), wire(f'{{"a":"{U2}"}}')),
        (wire(f'{{"a":"{U1}"}}'), wire(f'{{"a":"{U2[:-1]}\x00"}}')),
        (wire(f'{{"a":"{U1}"}}'), wire(f'{{"a":"{U2[:-1]}'.encode() + b'\xff"}')),
        (wire(f'{{"a":"{U1}","b":"{U1}"}}'), wire(f'{{"a":"{U2}","b":"{U4}"}}')),
        (
            wire(f"a {U1}", {"Content-Type": "text/plain"}),
            wire(f"a {U2}", {"Content-Type": "text/plain"}),
        ),
        (wire("{}", {"X": "1"}), wire("{}", {"X": "2"})),
        (wire("{}", {"X": U1, "x": U3}), wire("{}", {"X": U2, "x": U4})),
        (wire("{}", {"Connection": "x", "X": "1"}), wire("{}", {"Connection": "x", "X": "2"})),
        (wire("ab", {"Content-Encoding": "gzip"}), wire("cd", {"Content-Encoding": "gzip"})),
    ],
)
def test_what_is_not_certain_is_read(recorded: bytes, live: bytes) -> None:
    assert unread(recorded, live) is None


SCALARS = st.one_of(
    st.sampled_from([True, False, None, 0, 1, -0.0, 1.5, 10, "", "a", "€", 'say "hi"', "\ue0001"]),
    st.sampled_from([U1, U3, "2023-11-14T22:13:20Z", "2023-11-14", "A-17", THEN]),
    st.sampled_from([1700000000, 1700000000123, "1700000000", "tok_4fK9sQ2mZx7Lp1Rb"]),
    st.integers(-(10**6), 10**6),
    st.text(max_size=6),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "at", "n", "", 'q"', "ids", "é"]), inner)
    ),
    max_leaves=8,
)
OTHERS = {
    U1: [U2, U4, U1], U3: [U4, U2], "2023-11-14T22:13:20Z": ["2027-01-15T08:00:00Z", "2027-01-15"],
    THEN: [NOW, THEN], 1700000000: [1800000000, 18e8, 1800009999], "A-17": ["A-18", "B-17"],
    1700000000123: [1800000000123], "1700000000": ["1800000000"], 1: [True, 1.0, 2],
    "tok_4fK9sQ2mZx7Lp1Rb": ["tok_9aB8cD7eF6gH5iJ4"],
}  # fmt: skip


def varied(value: Any, chance: random.Random) -> Any:
    """The value with another one in some places, of its class or not."""
    if isinstance(value, dict):
        return {name: varied(inner, chance) for name, inner in value.items()}
    if isinstance(value, list):
        return [varied(inner, chance) for inner in value]
    if chance.random() < 0.3:
        return value
    return chance.choice(OTHERS.get(value, [value]))


@settings(max_examples=400, deadline=None)
@given(VALUES, st.randoms(use_true_random=False))
def test_what_is_accepted_unread_is_accepted_read(value: Any, chance: random.Random) -> None:
    ascii_only = chance.random() < 0.5
    one, other = (
        json.dumps(each, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
        for each in (value, varied(value, chance))
    )
    fields, others = (
        {"Date": date, "X-Id": ident, **JSON}
        for date, ident in ((THEN, U1), (chance.choice([THEN, NOW]), chance.choice([U1, U2])))
    )
    recorded, live = wire(one, fields), wire(other, others)
    judgement = unread(recorded, live)
    if judgement is not None:
        assert (judgement.accepted, []) == read(recorded, live)


RECORDED = wire(f'{{"id":"{U1}"}}', {"Date": THEN, **JSON})
LIVE = wire(f'{{"id":"{U2}"}}', {"Date": NOW, **JSON})
HEAD = LIVE.index(b"{")


async def _asked(pieces: list[bytes | None], method: str) -> Answer:
    """What a client makes of these pieces, sent one by one; None closes the connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in pieces:
            if piece is None:
                writer.close()
                return
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.02)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = Client(Target("127.0.0.1", port), S // 4)
    try:
        request = f"{method} / HTTP/1.1\r\nHost: a\r\n\r\n".encode()
        return await client.exchange("c", request, method, lambda: Awaited(RECORDED), last=False)
    finally:
        client.close()
        server.close()


@pytest.mark.parametrize(
    ("pieces", "how"),
    [
        ([RECORDED], "equal"),
        ([RECORDED[:9], RECORDED[9:]], "equal"),
        ([LIVE], "near"),
        ([LIVE[:HEAD], LIVE[HEAD:]], "near"),
        ([LIVE[:HEAD], LIVE[HEAD:-3], LIVE[-3:]], "near"),
        ([LIVE[:9], LIVE[9:]], "near"),
        ([LIVE[:HEAD].replace(b"Date", b"Data"), LIVE[HEAD:]], "read"),
        ([wire("{}", status="404 Not Found")], "read"),
        ([LIVE[:-3], None], "read, cut"),
        ([RECORDED[:-3], None], "read, cut"),
        ([LIVE[:-3]], "no complete response within 0.25 s (--timeout)"),
        ([RECORDED[:-3]], "no complete response within 0.25 s (--timeout)"),
        ([RECORDED[:5], None], "what came is not HTTP/1: incomplete-head"),
    ],
)
def test_a_response_in_pieces(pieces: list[bytes | None], how: str) -> None:
    answer = asyncio.run(_asked(pieces, "POST"))
    response: HttpResponse | None = answer.response
    if answer.equal:
        assert how == "equal"
    elif answer.near is not None:
        assert (how, answer.near.raw) == ("near", LIVE)
    elif response is not None:
        assert how == ("read" if response.content.complete else "read, cut")
        sent = b"".join(piece for piece in pieces if piece)
        assert re.split(rb"\r\n\r\n", sent)[1] == response.content.data
    else:
        assert answer.problem == how


async def asked_again(method: str) -> Answer:
    """The answer to a GET behind another request, of a server that sends content late."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        writer.write(b"hello" * asked.startswith(b"GET"))
        with contextlib.suppress(asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
        writer.write(b"hello")

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    client = Client(Target("127.0.0.1", server.sockets[0].getsockname()[1]), 5 * S)
    try:
        for each in (method, "GET"):
            wire = f"{each} / HTTP/1.1\r\nHost: a\r\n\r\n".encode()
            answer = await client.exchange("c", wire, each, None, last=False)
        return answer
    finally:
        client.close()
        server.close()


def test_late_content_of_head_is_no_answer() -> None:
    assert asyncio.run(asked_again("HEAD")).problem is None
    assert "is not HTTP/1" in (asyncio.run(asked_again("GET")).problem or "")
