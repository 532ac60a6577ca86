"""How the build's calls come to our listeners without the build being told of them.

    async with intercepted(mode, setting) as interception:
        build = await Build.start(command, {**interception.environment, …}, interception.supervisor)
        sock = await interception.connect(host, port)     # to the build
    interception.attempts                                  # what was not recorded

`netns`, `cgroup`, `proxy` and `none` are the modes; `auto` is the first of them that the host
allows, `none` left out.
"""

from wiretape.replayer.io.intercept.attempts import Attempt
from wiretape.replayer.io.intercept.choice import MODES, intercepted
from wiretape.replayer.io.intercept.interception import Interception, Setting
from wiretape.replayer.io.intercept.names import Upstream

__all__ = ["MODES", "Attempt", "Interception", "Setting", "Upstream", "intercepted"]
