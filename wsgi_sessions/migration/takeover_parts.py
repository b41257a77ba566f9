"""The parts of a backend beside its sessions, made of a new and an old store (see `takeover`)."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from wsgi_sessions import texts
from wsgi_sessions.migration.mover import Observed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wsgi_sessions.contract import (
        Backend,
        Bump,
        Context,
        ContextStore,
        PrincipalIndex,
        Record,
        RefreshQueue,
        SessionStore,
        VersionStamps,
    )
    from wsgi_sessions.upkeep import (
        Advice,
        ExpiredDeletion,
        KeySearch,
        Leftovers,
        OnDeleted,
        OnSetAside,
    )

_log = texts.log(__name__)


class BothIteration:
    """`SessionIteration`: moved sessions, then the others."""

    def __init__(self, new: Backend, old: Backend) -> None:
        self._new = new
        self._old = old

    def keys(self) -> Iterator[str]:
        """See `SessionIteration.keys`."""
        yield from self._new.iteration.keys()
        for key in remaining(self._old):
            if self._new.sessions.load(key) is None:
                yield key

    def count(self) -> int:
        """See `SessionIteration.count`."""
        return sum(1 for _ in self.keys())


def remaining(old: Backend) -> Iterator[str]:
    """Yield the keys of sessions still in the old store. Needs a scan and a read of each."""
    for key in old.iteration.keys():  # noqa: SIM118  # no dictionary
        if Observed(old.sessions.load(key)).state in ("live", "claimed"):
            yield key


class BothIndexes:
    """`PrincipalIndex`: an entry in either store counts."""

    def __init__(self, new: PrincipalIndex, old: PrincipalIndex) -> None:
        self._new = new
        self._old = old

    def add(self, principal: str, key: str, expires_at: float) -> None:
        """See `PrincipalIndex.add`."""
        self._new.add(principal, key, expires_at)

    def remove(self, principal: str, key: str) -> None:
        """See `PrincipalIndex.remove`."""
        self._old.remove(principal, key)
        self._new.remove(principal, key)

    def keys_of(self, principal: str) -> list[str]:
        """See `PrincipalIndex.keys_of`. The old store is read first: sessions that move in between
        are found in the new one."""
        keys = [*self._old.keys_of(principal), *self._new.keys_of(principal)]
        return list(dict.fromkeys(keys))


class BothStamps:
    """`VersionStamps`: the higher of the two, whichever store was bumped."""

    def __init__(self, new: VersionStamps, old: VersionStamps) -> None:
        self._new = new
        self._old = old

    def current(self, scopes: Sequence[str]) -> dict[str, int]:
        """See `VersionStamps.current`. The new store is raised to the versions of the old one."""
        there, here = self._old.current(scopes), self._new.current(scopes)
        return {scope: self._risen(scope, here[scope], there[scope]) for scope in scopes}

    def _risen(self, scope: str, here: int, there: int) -> int:
        return here if here >= there else self._new.bump(scope, least=there)

    def bump(self, scope: str, *, least: int = 0) -> int:
        """See `VersionStamps.bump`."""
        there = self._old.current([scope])[scope]
        return self._new.bump(scope, least=max(least, there + 1))

    def history(self, scope: str, limit: int = 20) -> list[Bump]:
        """See `VersionStamps.history`."""
        bumps = [*self._new.history(scope, limit), *self._old.history(scope, limit)]
        by_version = {bump.version: bump for bump in reversed(bumps)}
        return sorted(by_version.values(), reverse=True)[: max(limit, 0)]


class BothContexts:
    """`ContextStore`: contexts of the new store, or else of the old one."""

    def __init__(self, new: ContextStore, old: ContextStore) -> None:
        self._new = new
        self._old = old

    def get(self, principal: str, name: str) -> Context | None:
        """See `ContextStore.get`. It is not moved: that could bring back a context that another
        request clears at the same time."""
        found = self._new.get(principal, name)
        return self._old.get(principal, name) if found is None else found

    def set(self, principal: str, name: str, context: Context) -> None:
        """See `ContextStore.set`."""
        self._new.set(principal, name, context)
        self._old.clear(principal, name)

    def add(self, principal: str, name: str, context: Context) -> bool:
        """See `ContextStore.add`."""
        if self._old.get(principal, name) is not None:
            return False
        return self._new.add(principal, name, context)

    def clear(self, principal: str, name: str, expected: Context | None = None) -> None:
        """See `ContextStore.clear`. The old store comes first, so that its context does not show
        through."""
        self._old.clear(principal, name, expected)
        self._new.clear(principal, name, expected)

    def items(self) -> Iterator[tuple[str, str, Context]]:
        """See `ContextStore.items`."""
        yield from self._new.items()
        for principal, name, context in self._old.items():
            if self._new.get(principal, name) is None:
                yield principal, name, context


class BothQueues:
    """`RefreshQueue`: sessions due in either store; new entries go to the new one."""

    def __init__(self, new: RefreshQueue, old: RefreshQueue) -> None:
        self._new = new
        self._old = old

    def schedule(self, key: str, due_at: float) -> None:
        """See `RefreshQueue.schedule`."""
        self._new.schedule(key, due_at)
        self._old.remove(key)

    def due(self, now: float, limit: int) -> list[str]:
        """See `RefreshQueue.due`. Sessions that have not moved come first."""
        keys = [*self._old.due(now, limit), *self._new.due(now, limit)]
        return list(dict.fromkeys(keys))[:limit]

    def remove(self, key: str) -> None:
        """See `RefreshQueue.remove`."""
        self._old.remove(key)
        self._new.remove(key)

    def of(self, application: str) -> BothQueues:
        """See `RefreshQueue.of`."""
        return BothQueues(self._new.of(application), self._old.of(application))


class TakeoverQuarantine:
    """`Quarantine` of the new store: no copy in the old store may replace a damaged record."""

    def __init__(self, new: Backend, old: SessionStore) -> None:
        assert new.quarantine is not None
        self._new = new.quarantine
        self._old = old

    def set_aside(self, key: str, version: int, reason: str) -> None:
        """See `Quarantine.set_aside`."""
        self._old.delete(key)
        self._new.set_aside(key, version, reason)

    def quarantined(self) -> int:
        """See `Quarantine.quarantined`."""
        return self._new.quarantined()

    def report_to(self, told: OnSetAside) -> None:
        """See `Quarantine.report_to`."""
        self._new.report_to(told)


class EachExpired:
    """`ExpiredDeletion` in each of these stores."""

    def __init__(self, stores: Sequence[ExpiredDeletion]) -> None:
        self._stores = stores

    def delete_expired(self, limit: int, told: OnDeleted | None = None) -> int:
        """See `ExpiredDeletion.delete_expired`."""
        deleted = 0
        for store in self._stores:
            if deleted < limit:
                deleted += store.delete_expired(limit - deleted, told)
        return deleted

    def remains(self, key: str) -> Record | None:
        """See `ExpiredDeletion.remains`."""
        found = (store.remains(key) for store in self._stores)
        return next((record for record in found if record is not None), None)

    def count_expired(self) -> int:
        """See `ExpiredDeletion.count_expired`."""
        return sum(store.count_expired() for store in self._stores)


class EachSearch:
    """`KeySearch` in each of these stores."""

    def __init__(self, stores: Sequence[KeySearch]) -> None:
        self._stores = stores

    def keys_from(self, beginning: str, limit: int) -> list[str]:
        """See `KeySearch.keys_from`."""
        found = (key for store in self._stores for key in store.keys_from(beginning, limit))
        return list(dict.fromkeys(found))[:limit]


class EachLeftovers:
    """`Leftovers` of each of these stores; the first one elects. The number of sessions that remain
    in `old` is logged with each clean-up."""

    def __init__(self, stores: Sequence[Leftovers], old: Backend) -> None:
        self._stores = stores
        self._old = old

    @contextmanager
    def elect(self, interval: float) -> Iterator[bool]:
        """See `Leftovers.elect`."""
        with self._stores[0].elect(interval) as is_elected:
            yield is_elected

    def remove_leftovers(self) -> dict[str, int]:
        """See `Leftovers.remove_leftovers`."""
        counts: dict[str, int] = {}
        for store in self._stores:
            for kind, count in store.remove_leftovers().items():
                counts[kind] = counts.get(kind, 0) + count
        number = sum(1 for _ in remaining(self._old))
        _log.info("%d sessions are still in the old %s store", number, self._old.name)
        return counts


class EachAdvice:
    """`Advice` about each of these stores."""

    def __init__(self, stores: Sequence[Advice]) -> None:
        self._stores = stores

    def warnings(self) -> list[str]:
        """See `Advice.warnings`."""
        return list(dict.fromkeys(w for store in self._stores for w in store.warnings()))
