"""One application's part of a store that several may share: its own users, by its name.

A record is found by the hash of an id that no other application knows, and needs a name only for
those who go through all records (see `draft.APPLICATION`). The index of users and the last contexts
are found by a user's own text, such as ``1``, which is another user in each application. And each
application refreshes its own sessions.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from wsgi_sessions.clock import wall_clock
from wsgi_sessions.settings.kinds import DAY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsgi_sessions.contract import (
        Backend,
        Context,
        ContextStore,
        PrincipalIndex,
        RefreshQueue,
    )

_MARK = "\x1f"  # in no application's name, and hardly in a user's
_NOTED = f"{_MARK}applications"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_NOTED_SECONDS = 3650.0 * DAY


def of_application(backend: Backend, name: str | None) -> Backend:
    """Return the same store with the users of this application alone; unchanged without a name."""
    tenants = backend.tenants or NotedTenants(backend.index)
    if name is None:
        return replace(backend, tenants=tenants)
    contexts = backend.contexts and NamedContexts(backend.contexts, name)
    index = NamedIndex(backend.index, name)
    refreshes = backend.refreshes and backend.refreshes.of(name)
    if refreshes is not None and backend.tenants is None:
        refreshes = NotedRefreshes(refreshes, index)
    return replace(
        backend,
        index=index,
        contexts=contexts,
        refreshes=refreshes,
        tenants=tenants,
        application=name,
    )


class NotedTenants:
    """`Tenants` by a note in the index, under a text that is not a user."""

    def __init__(self, index: PrincipalIndex) -> None:
        self._index = index

    def names(self) -> list[str]:
        """See `Tenants.names`."""
        return sorted(filter(_NAME.fullmatch, self._index.keys_of(_NOTED)))

    def note(self, name: str) -> None:
        """Note an application by its name. Raises StoreUnavailable."""
        self._index.add(_NOTED, name, wall_clock() + _NOTED_SECONDS)


class NamedIndex:
    """`PrincipalIndex` of one application.

    It notes the application at the first entry of each process: see `note_once`.
    """

    def __init__(self, index: PrincipalIndex, name: str) -> None:
        self._index = index
        self._name = name
        self._before = _before(name)
        self._is_noted = False

    def note(self) -> None:
        """See `NotedTenants.note`."""
        NotedTenants(self._index).note(self._name)
        self._is_noted = True

    def note_once(self) -> None:
        """See `NotedTenants.note`."""
        if not self._is_noted:
            self.note()

    def add(self, principal: str, key: str, expires_at: float) -> None:
        self.note_once()
        self._index.add(self._before + principal, key, expires_at)

    def remove(self, principal: str, key: str) -> None:
        self._index.remove(self._before + principal, key)

    def keys_of(self, principal: str) -> list[str]:
        return self._index.keys_of(self._before + principal)


class NotedRefreshes:
    """`RefreshQueue` of one application, noted when its first session is scheduled.

    A refresher in a process of its own finds the application by the note, where no setting names
    it.
    """

    def __init__(self, queue: RefreshQueue, index: NamedIndex) -> None:
        self._queue = queue
        self._index = index

    def schedule(self, key: str, due_at: float) -> None:
        self._index.note_once()
        self._queue.schedule(key, due_at)

    def due(self, now: float, limit: int) -> list[str]:
        return self._queue.due(now, limit)

    def remove(self, key: str) -> None:
        self._queue.remove(key)

    def of(self, application: str) -> RefreshQueue:
        return self._queue.of(application)


class NamedContexts:
    """`ContextStore` of one application."""

    def __init__(self, contexts: ContextStore, name: str) -> None:
        self._contexts = contexts
        self._before = _before(name)

    def get(self, principal: str, name: str) -> Context | None:
        return self._contexts.get(self._before + principal, name)

    def set(self, principal: str, name: str, context: Context) -> None:
        self._contexts.set(self._before + principal, name, context)

    def add(self, principal: str, name: str, context: Context) -> bool:
        return self._contexts.add(self._before + principal, name, context)

    def clear(self, principal: str, name: str, expected: Context | None = None) -> None:
        self._contexts.clear(self._before + principal, name, expected)

    def items(self) -> Iterator[tuple[str, str, Context]]:
        for principal, name, context in self._contexts.items():
            if principal.startswith(self._before):
                yield principal.removeprefix(self._before), name, context


def _before(name: str) -> str:
    return f"{_MARK}{name}{_MARK}"
