"""A Sentinel group whose primary can be cut off from sentinel and replica, while clients reach it.

Those two log in as a user of their own, which a server can be told to turn away.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import redis
from redis_servers import SentinelGroup

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redis_servers import RedisServer

_WATCHER, _SECRET = "watcher", "a-secret-of-the-tests"
# Of the sentinel, in milliseconds: who comes back is made a replica after four of the second kind,
# not of ten seconds. A link that was not let in is replaced after the third, else after 15 seconds.
_PERIODS = {"INFO-PERIOD": 200, "PUBLISH-PERIOD": 500, "MIN-LINK-RECONNECT-PERIOD": 300}


class SeparableGroup(SentinelGroup):
    """See the module. Its sentinel is slow to take a server for dead that is merely busy."""

    down_after = 1000
    server_options: Mapping[str, str] = {
        **SentinelGroup.server_options,
        "requirepass": _SECRET,  # else who is turned away would be let in without a name
        "user": f"{_WATCHER} on >{_SECRET} ~* &* +@all",
        "masteruser": _WATCHER,
        "masterauth": _SECRET,
    }
    sentinel_options: Mapping[str, str] = {
        "sentinel auth-user": f"{SentinelGroup.service} {_WATCHER}",
        "sentinel auth-pass": f"{SentinelGroup.service} {_SECRET}",
    }

    def __init__(self) -> None:
        super().__init__()
        for name, value in _PERIODS.items():
            with suppress(redis.ResponseError):  # Redis 6 cannot be told
                self.sentinel.command("SENTINEL", "DEBUG", name, value)

    @property
    def url(self) -> str:
        return super().url.replace("://", f"://:{_SECRET}@")

    def cut_off(self, server: RedisServer) -> None:
        """Turn sentinel and replica away, those too that are logged in."""
        server.command("ACL", "SETUSER", _WATCHER, "off")
        server.command("CLIENT", "KILL", "USER", _WATCHER)

    def join(self, server: RedisServer) -> None:
        """Let them in again."""
        server.command("ACL", "SETUSER", _WATCHER, "on")
