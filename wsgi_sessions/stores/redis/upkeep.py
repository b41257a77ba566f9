"""The operators' side of a Redis server: dangerous settings, its clock, its applications."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from wsgi_sessions.clock import wall_clock
from wsgi_sessions.errors import StoreUnavailable
from wsgi_sessions.stores.redis.wire.commands import scan

if TYPE_CHECKING:
    from wsgi_sessions.stores.redis.records import Keys
    from wsgi_sessions.stores.redis.wire.commands import Executor
    from wsgi_sessions.stores.redis.wire.connection import NodeExecutor

_HARMLESS = "noeviction"


class RedisAdvice:
    """`Advice` about eviction, and about primaries that go on without their replicas.

    A server that hides its settings gets none. Raises `StoreUnavailable` if a server does not
    answer.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def warnings(self) -> list[str]:
        """See `Advice.warnings`."""
        nodes = self._executor.nodes("advice")
        policies = {_setting(node, "maxmemory-policy", _HARMLESS) for node in nodes}
        warnings = [
            f"Redis' maxmemory-policy is {policy}: when its memory is full it deletes live "
            "sessions, which logs users out; set maxmemory-policy to noeviction, or give the "
            "sessions a server of their own"
            for policy in sorted(policies - {_HARMLESS})
        ]
        if any(map(_writes_alone, nodes)):
            warnings.append(
                "Redis has replicas, and yet takes writes while it is cut off from them: after a "
                "failover those are undone, log-outs too; set, on the primary and its replicas, "
                "min-replicas-to-write 1 and min-replicas-max-lag 10"
            )
        return warnings


def _writes_alone(node: NodeExecutor) -> bool:
    role = _unless_forbidden(node, "ROLE")
    if not role or role[0] != b"master" or not role[2]:
        return False
    return "0" in {
        _setting(node, name, "1") for name in ("min-replicas-to-write", "min-replicas-max-lag")
    }


def _setting(node: NodeExecutor, name: str, unknown: str) -> str:
    reply = _unless_forbidden(node, "CONFIG", "GET", name)
    return str(reply[1].decode()) if reply else unknown


def _unless_forbidden(node: NodeExecutor, *command: str) -> Any:
    """Return the reply; None if the command is forbidden or renamed, as by hosting providers."""
    try:
        return node.execute("advice", None, *command)
    except StoreUnavailable as error:
        if isinstance(error.__cause__, ResponseError):
            return None
        raise


class RedisTenants:
    """`Tenants`, from the names of all keys with a prefix."""

    def __init__(self, executor: Executor, keys: Keys) -> None:
        self._executor = executor
        self._keys = keys

    def names(self) -> list[str]:
        """See `Tenants.names`."""
        batches = scan(self._executor, "applications", self._keys.pattern_of_tenants)
        found = {self._keys.tenant_of(name) for batch in batches for name in batch}
        return sorted(name for name in found if name is not None)


class RedisClock:
    """`StoreClock`: of several servers, the one that differs most from this host."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def now(self) -> float:
        """See `StoreClock.now`."""
        clocks = []
        for node in self._executor.nodes("clock"):
            seconds, microseconds = node.execute("clock", None, "TIME")
            clocks.append(int(seconds) + int(microseconds) / 1e6)
        here = wall_clock()
        return max(clocks, key=lambda there: abs(there - here))
