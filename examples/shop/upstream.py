"""How the shop asks the services behind it: JSON over kept-alive HTTP/1.1 connections."""

import json
import select
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from queue import Empty, LifoQueue
from typing import Any
from urllib.parse import urlsplit

from web import JSON, HttpError

TIMEOUT_S = 10.0

# Whole, or in chunks.
Content = bytes | Iterator[bytes] | None


@dataclass(frozen=True)
class Reply:
    """What an upstream answered; `value` is its JSON object, empty where it sent none."""

    status: int
    value: dict[str, Any]


def spelled(value: object) -> bytes:
    """`value` as JSON, as it is sent."""
    return json.dumps(value).encode()


class Upstream:
    """One upstream service. Idle connections are kept, the last one used is taken first."""

    def __init__(self, name: str, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"the address of {name} is not an http URL: {url}")
        self.name = name
        self._host = parts.hostname
        self._port = parts.port or 80
        self._prefix = parts.path.rstrip("/")
        self._idle: LifoQueue[HTTPConnection] = LifoQueue()

    def get(self, target: str) -> Reply:
        """Ask GET `target`."""
        return self._ask("GET", target, None, {})

    def post(self, target: str, value: object, fields: dict[str, str] | None = None) -> Reply:
        """Ask POST `target` with `value` as JSON."""
        return self._ask("POST", target, spelled(value), {"Content-Type": JSON, **(fields or {})})

    def delete(self, target: str) -> Reply:
        """Ask DELETE `target`."""
        return self._ask("DELETE", target, None, {})

    def _ask(self, method: str, target: str, content: Content, more: dict[str, str]) -> Reply:
        fields = {"Accept": JSON, "User-Agent": "shop/1.0", **more}
        connection = self._connection()
        try:
            connection.request(method, self._prefix + target, content, fields)
            response = connection.getresponse()
            answer = response.read()
            value = json.loads(answer) if answer else {}
        except (OSError, HTTPException, ValueError) as error:
            connection.close()
            raise HttpError(502, "upstream_failed", f"{self.name} did not answer") from error
        if response.will_close:
            connection.close()
        else:
            self._idle.put(connection)
        if response.status >= 500 or not isinstance(value, dict):
            raise HttpError(502, "upstream_failed", f"{self.name} answered {response.status}")
        return Reply(response.status, value)

    def _connection(self) -> HTTPConnection:
        while True:
            try:
                connection = self._idle.get_nowait()
            except Empty:
                return HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)
            # An idle connection has nothing to say: where it is readable, the peer has closed it.
            if not select.select([connection.sock], [], [], 0)[0]:
                return connection
            connection.close()
