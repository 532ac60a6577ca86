"""Quotes from prices that are asked for all at once, in an order that changes every time."""

import asyncio
import json
import random
import uuid
from typing import Any
from urllib.parse import parse_qs, urlsplit

from serving import UPSTREAM_URL, options, spelled

GIVEN = options()
CHANGE = GIVEN.change
UPSTREAM = urlsplit(UPSTREAM_URL)


async def call(method: str, target: str, value: Any = None) -> tuple[int, Any]:
    """One call on a connection of its own, begun after a moment that changes every time."""
    if "in-turn" not in CHANGE:
        await asyncio.sleep(random.random() / 100)
    reader, writer = await asyncio.open_connection(UPSTREAM.hostname, UPSTREAM.port)
    content = b"" if value is None else json.dumps(value).encode()
    writer.write(
        f"{method} {target} HTTP/1.1\r\nHost: {UPSTREAM.netloc}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n".encode()
        + content
    )
    head, _, answer = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return int(head.split()[1]), json.loads(answer) if answer else None


async def together(*calls: Any) -> list[tuple[int, Any]]:
    """The answers to all of the calls, in their order."""
    if "in-turn" in CHANGE:
        return [await one for one in calls]
    order = list(calls)
    if "last-first" in CHANGE:
        return list(await asyncio.gather(*order[::-1]))[::-1]
    return list(await asyncio.gather(*order))


async def quote(skus: list[str]) -> tuple[int, Any]:
    currency = "USD" if "currency" in CHANGE else "EUR"
    asked = [sku for sku in skus if not ("misses-ink" in CHANGE and sku == "ink")]
    if "asks-twice" in CHANGE:
        asked.append(skus[0])
    targets = [f"/prices/{sku}?currency={currency}" for sku in asked]
    answers = await together(*(call("GET", target) for target in targets))
    prices = {sku: answer[1].get("cents") for sku, answer in zip(asked, answers, strict=True)}
    failed = [sku for sku, cents in prices.items() if cents is None]
    if failed and "error-swallowed" not in CHANGE:
        return 502, {"failed": failed}
    if "prices-mixed" in CHANGE:
        prices = dict(zip(prices, reversed(prices.values()), strict=True))
    lines = [{"sku": sku, "cents": prices.get(sku) or 0} for sku in skus]
    made = {"id": str(uuid.uuid4()), "lines": lines, "total": sum(one["cents"] for one in lines)}
    if "not-noted" not in CHANGE:
        noted = {"quote": made["id"], "total": made["total"]}
        if "noted-other-id" in CHANGE:
            noted["quote"] = str(uuid.uuid4())
        await call("POST", "/audit", noted)
    return 200, made


async def tickets(count: int) -> tuple[int, Any]:
    """Tickets that are asked for at once; whose is which does not matter."""
    answers = await together(*(call("POST", "/tickets", {}) for _ in range(count)))
    got = sorted(answer[1]["ticket"] for answer in answers)
    if "ticket-kept" in CHANGE:
        got[-1] = 7
    return 200, {"tickets": got}


def events(count: int) -> bytes:
    """An event stream that ends."""
    ids = [n for n in range(count) if not ("event-lost" in CHANGE and n == 2)]
    return b"".join(b'id: %d\nevent: tick\ndata: {"n": %d}\n\n' % (n, n) for n in ids)


async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while head := await reader.readuntil(b"\r\n\r\n"):
        url = urlsplit(head.split()[1].decode())
        kind = "application/json"
        match url.path:
            case "/quotes":
                status, value = await quote(parse_qs(url.query)["skus"][0].split(","))
            case "/tickets":
                status, value = await tickets(int(parse_qs(url.query)["count"][0]))
            case "/events":
                status, value, kind = 200, events(4), "text/event-stream"
            case _:
                status, value = 404, {"error": "nothing here"}
        content = spelled(value, CHANGE)
        close = "Connection: close\r\n" if "closes" in CHANGE else ""
        writer.write(
            f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\n{close}"
            f"Content-Length: {len(content)}\r\n\r\n".encode()
        )
        writer.write(content)
        if close:
            break
    writer.close()


async def quietly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await connection(reader, writer)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main() -> None:
    server = await asyncio.start_server(quietly, "127.0.0.1", GIVEN.port)
    await server.serve_forever()


asyncio.run(main())
