"""Sessions on a Redis server, a Sentinel group or a Redis Cluster (6.2 or later, or Valkey).

Its keys on the server, all with the key prefix:

=============================  =============================================================
``{<key>}``                    a session: format byte, version, expiry, payload; expires
``lock:{<key>}``               its mutex: the holder's token; expires after 30 s
``holders:{<key>}``            sorted set: its present users, by expiry; expires
``claim:{<key>}``              the refresher that keeps others out; expires
``context:{<hash>}``           hash: a principal's last contexts, by name; no expiry
``quarantine:{<key>}``         its damaged record, set aside; expires after 7 days
``refreshes``                  sorted set: the keys of keep-alive sessions, by due time
``quarantine``                 sorted set: the keys set aside, by time
``endings:{ends}``             hash: traces of ended sessions, by key; ``…:u``, ``…:v``: sorted sets
                               of its fields with and without a user, by time; all expire
``versions:{stamps}``          hash: the version stamp of each scope
``bumps:{stamps}:<hash>``      list: the latest bumps of a scope
``principal:{<hash>}``         sorted set: the keys of a principal's sessions, by expiry; expires
=============================  =============================================================

The braces put all keys of one session into one slot of a cluster. The server's own time to live
decides when a session has expired, so clocks that disagree do not matter.

Not promised: that an acknowledged write survives a failover or a crash of the server. Replication
is asynchronous, ``WAIT`` does not make it consistent (https://redis.io/docs/latest/commands/wait/),
and its ``appendfsync`` decides what a server keeps on its disk.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from wsgi_sessions.contract import Backend
from wsgi_sessions.errors import ConfigurationError
from wsgi_sessions.stores.redis.contexts import RedisContexts
from wsgi_sessions.stores.redis.endings import RedisEndings
from wsgi_sessions.stores.redis.index import RedisIndex
from wsgi_sessions.stores.redis.leases import RedisLeases
from wsgi_sessions.stores.redis.locks import RedisHolds
from wsgi_sessions.stores.redis.quarantine import RedisQuarantine
from wsgi_sessions.stores.redis.records import Keys
from wsgi_sessions.stores.redis.refreshes import RedisRefreshes
from wsgi_sessions.stores.redis.rights import RedisRights
from wsgi_sessions.stores.redis.sessions import RedisIteration, RedisStore
from wsgi_sessions.stores.redis.upkeep import RedisAdvice, RedisClock, RedisTenants
from wsgi_sessions.stores.redis.versions import RedisVersions
from wsgi_sessions.stores.redis.wire.cluster import ClusterExecutor
from wsgi_sessions.stores.redis.wire.connection import NodeExecutor
from wsgi_sessions.stores.redis.wire.endpoints import FixedEndpoint, SentinelEndpoint
from wsgi_sessions.stores.redis.wire.url import parse_url
from wsgi_sessions.stores.token_locks import TokenLocks

if TYPE_CHECKING:
    from wsgi_sessions.stores.redis.wire.commands import Executor


def open_redis(url: str, *, key_prefix: str = "session:", timeout: float = 1.0) -> Backend:
    """Return the backend at a Redis URL (see `redis.wire.url`), without connecting.

    `timeout` bounds each operation, its retry included, in seconds. Asking Sentinel for the
    primary, or a cluster for its slots, comes on top when it has to be repeated.

    Raises `ConfigurationError` for a URL, prefix or time-out that makes no sense.
    """
    if not 0 < timeout < math.inf:
        raise ConfigurationError(f"the store's timeout must be above 0 seconds, not {timeout}")
    target, executor = parse_url(url), open_executor(url, timeout)
    keys = Keys(key_prefix)
    quarantine = RedisQuarantine(executor, keys)
    sessions = RedisStore(executor, keys, quarantine, target.topology)
    leases = RedisLeases(executor, keys, sessions)
    iteration = RedisIteration(executor, keys)
    return Backend(
        name="redis",
        sessions=sessions,
        iteration=iteration,
        search=iteration,
        index=RedisIndex(executor, keys),
        locks=TokenLocks(RedisHolds(executor, keys, timeout)),
        quarantine=quarantine,
        contexts=RedisContexts(executor, keys),
        advice=RedisAdvice(executor),
        rights=RedisRights(executor, keys, target),
        versions=RedisVersions(executor, keys),
        leases=leases,
        leased_loading=leases,
        lease_listing=leases,
        clock=RedisClock(executor),
        refreshes=RedisRefreshes(executor, keys),
        tenants=RedisTenants(executor, keys),
        endings=RedisEndings(executor, keys),
    )


def open_executor(url: str, timeout: float) -> Executor:
    """Return the executor of commands for a URL. Raises `ConfigurationError`."""
    target = parse_url(url)
    if target.topology == "cluster":
        return ClusterExecutor(target, timeout)
    if target.topology == "sentinel":
        return NodeExecutor(SentinelEndpoint(target, timeout), timeout)
    return NodeExecutor(FixedEndpoint(target, timeout), timeout)
