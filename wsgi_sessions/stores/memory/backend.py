"""A store in this process's memory: for tests, development and applications of one process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions.clock import wall_clock
from wsgi_sessions.contract import Backend
from wsgi_sessions.stores.memory.contexts import MemoryContexts
from wsgi_sessions.stores.memory.endings import MemoryEndings
from wsgi_sessions.stores.memory.index import MemoryIndex
from wsgi_sessions.stores.memory.leases import MemoryLeases
from wsgi_sessions.stores.memory.locks import MemoryLocks
from wsgi_sessions.stores.memory.quarantine import MemoryQuarantine
from wsgi_sessions.stores.memory.refreshes import MemoryRefreshes
from wsgi_sessions.stores.memory.sessions import MemoryStore
from wsgi_sessions.stores.memory.versions import MemoryVersions

if TYPE_CHECKING:
    from collections.abc import Callable


def open_memory(*, clock: Callable[[], float] = wall_clock) -> Backend:
    """Return a new backend: two calls share nothing. `clock`: seconds since the epoch."""
    store = MemoryStore(clock)
    leases = MemoryLeases(clock)
    return Backend(
        name="memory",
        sessions=store,
        iteration=store,
        search=store,
        index=MemoryIndex(clock),
        locks=MemoryLocks(),
        quarantine=MemoryQuarantine(store),
        contexts=MemoryContexts(),
        expired=store,
        versions=MemoryVersions(clock),
        leases=leases,
        lease_listing=leases,
        refreshes=MemoryRefreshes(),
        endings=MemoryEndings(),
    )
