"""Asks the real upstream what the recording cannot answer (`--on-miss passthrough`)."""

from __future__ import annotations

import ssl

from wiretape.exchange.http1 import write_request, write_response
from wiretape.exchange.v1.exchange_pb2 import HttpRequest
from wiretape.replayer.config import Target
from wiretape.replayer.io.client import Client, TargetGoneError
from wiretape.replayer.mocks import Mocks, closes


class RealUpstream:
    """Passes calls on, each on a connection of its own."""

    def __init__(self, mocks: Mocks, timeout_ns: int) -> None:
        self._mocks = mocks
        self._timeout_ns = timeout_ns

    async def pass_on(self, name: str, request: HttpRequest) -> tuple[bytes, bool]:
        """What upstream `name` (`host:port`) answers, and whether the connection ends then.

        Raises OSError where it cannot be asked, or does not answer.
        """
        host, _, port = name.rpartition(":")
        target = Target(host.strip("[]"), int(port), self._mocks.is_https(name))
        context = ssl.create_default_context() if target.tls else None
        client = Client(target, self._timeout_ns, context)
        try:
            answer = await client.exchange(
                "", write_request(request), request.method, None, last=True
            )
        except TargetGoneError as error:
            raise OSError(f"{name} {error.what}: {error}") from error
        finally:
            client.close()
        if answer.response is None:
            raise OSError(answer.problem or "no response")
        wire = b"".join(map(write_response, [*answer.interim, answer.response]))
        return wire, closes(answer.response) or closes(request)
