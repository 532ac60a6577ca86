"""Which interception a run has."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable

from wiretape.replayer.errors import EnvironmentFailedError
from wiretape.replayer.io.intercept.cgroup import CgroupInterception
from wiretape.replayer.io.intercept.interception import Interception, Setting, UnavailableError
from wiretape.replayer.io.intercept.netns import NamespaceInterception
from wiretape.replayer.io.intercept.proxy import ProxyInterception

_KINDS: dict[str, type[Interception]] = {
    kind.mode: kind
    for kind in (NamespaceInterception, CgroupInterception, ProxyInterception, Interception)
}
MODES = ("auto", *_KINDS)
_AUTOMATIC = ("netns", "cgroup", "proxy")


@contextlib.asynccontextmanager
async def intercepted(
    mode: str, setting: Setting, tell: Callable[[str], None]
) -> AsyncIterator[Interception]:
    """The interception of that mode, open; `tell` gets a line that says which and why.

    Raises EnvironmentFailedError where the host does not allow it.
    """
    refused: list[str] = []
    for candidate in _AUTOMATIC if mode == "auto" else (mode,):
        interception = _KINDS[candidate](setting)
        try:
            try:
                await interception.open()
            except UnavailableError as error:
                refused.append(f"{candidate}: {error}")
                continue
            if mode == "auto":
                told = f" ({'; '.join(refused)})" if refused else ""
                tell(f"upstream calls are intercepted by {candidate}{told}")
            yield interception
            return
        finally:
            await interception.close()
    raise EnvironmentFailedError(f"no interception here: {'; '.join(refused)}")
