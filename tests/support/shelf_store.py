"""A store that is not of this package: sessions in a dictionary, or in one on a shelf (`shelve`).

It shows what the author of a store writes, by public names alone: a class for the records, one for
the index, one for the locks.
"""

from __future__ import annotations

import fcntl
import os
import shelve
import shutil
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from wsgi_sessions import (
    Backend,
    Bump,
    Context,
    EndTrace,
    Held,
    LeaseInfo,
    LockTimeout,
    Record,
    SessionExists,
    SessionGone,
    VersionConflict,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path


class Shelf(Protocol):
    """A dictionary that one at a time may have: to look at, or to change as a whole."""

    def reading(self) -> AbstractContextManager[dict[str, Any]]: ...

    def changing(self) -> AbstractContextManager[dict[str, Any]]: ...


class InMemory:
    """A dictionary of this process."""

    def __init__(self) -> None:
        self._items: dict[str, Any] = {}
        self._lock = threading.RLock()

    @contextmanager
    def reading(self) -> Iterator[dict[str, Any]]:
        with self._lock:
            yield self._items

    changing = reading


class OnShelf:
    """A dictionary on a shelf, for all processes that know the folder.

    A change makes a new shelf, and is there once the link to the latest one is replaced: a process
    that is killed leaves the former one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)

    @contextmanager
    def reading(self) -> Iterator[dict[str, Any]]:
        with self._locked():
            yield self._items()

    @contextmanager
    def changing(self) -> Iterator[dict[str, Any]]:
        with self._locked():
            items = self._items()
            before = dict(items)
            yield items
            if items != before:
                self._replace(items)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with open(self._folder / "lock", "a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # readers too: many of them would keep writers out
            yield

    @property
    def _latest(self) -> Path:
        return self._folder / "latest"

    def _items(self) -> dict[str, Any]:
        if not self._latest.exists():
            return {}
        with shelve.open(str(self._latest / "items"), "r") as shelf:
            return dict(shelf)

    def _replace(self, items: dict[str, Any]) -> None:
        former = os.readlink(self._latest) if self._latest.exists() else None
        new = self._folder / ("a" if former != "a" else "b")
        shutil.rmtree(new, ignore_errors=True)  # of one that was killed
        new.mkdir()
        with shelve.open(str(new / "items"), "n") as shelf:
            shelf.update(items)
        link = self._folder / "next"
        link.unlink(missing_ok=True)
        link.symlink_to(new.name)
        link.rename(self._latest)


class DictSessions:
    """Records on a `Shelf`."""

    def __init__(self, shelf: Shelf, clock: Callable[[], float]) -> None:
        self.shelf = shelf
        self.clock = clock

    def create(self, key: str, payload: bytes, expires_at: float) -> None:
        with self.shelf.changing() as items:
            if self.live(items, key) is not None:
                raise SessionExists(key[:10])
            items[key] = (1, payload, expires_at)

    def load(self, key: str) -> Record | None:
        with self.shelf.reading() as items:
            return self.live(items, key)

    def save(
        self,
        key: str,
        payload: bytes,
        expires_at: float,
        *,
        expected_version: int,
        fence: object = None,
    ) -> int:
        with self.shelf.changing() as items:
            current = self.live(items, key)
            if current is None:
                raise SessionGone(key[:10])
            if current.version != expected_version:
                raise VersionConflict(current)
            items[key] = (expected_version + 1, payload, expires_at)
            return expected_version + 1

    def touch(self, key: str, expires_at: float) -> None:
        with self.shelf.changing() as items:
            current = self.live(items, key)
            if current is not None and expires_at > current.expires_at:
                items[key] = (current.version, current.payload, expires_at)

    def delete(self, key: str) -> None:
        with self.shelf.changing() as items:
            items.pop(key, None)

    def ping(self) -> None:
        with self.shelf.reading():
            pass

    def close(self) -> None:
        """Nothing stays open."""

    def keys(self) -> Iterator[str]:
        with self.shelf.reading() as items:
            return iter([key for key in items if self.live(items, key) is not None])

    def count(self) -> int:
        return sum(1 for _ in self.keys())

    def keys_from(self, beginning: str, limit: int) -> list[str]:
        with self.shelf.reading() as items:
            return [key for key in items if key.startswith(beginning)][:limit]

    def delete_expired(
        self, limit: int, told: Callable[[str, Record], object] | None = None
    ) -> int:
        with self.shelf.changing() as items:
            expired = [key for key in items if self.live(items, key) is None][:limit]
            deleted = [(key, Record(*items.pop(key))) for key in expired]
        if told is not None:
            for key, record in deleted:
                told(key, record)
        return len(deleted)

    def remains(self, key: str) -> Record | None:
        with self.shelf.reading() as items:
            if key not in items or self.live(items, key) is not None:
                return None
            return Record(*items[key])

    def count_expired(self) -> int:
        with self.shelf.reading() as items:
            return sum(self.live(items, key) is None for key in items)

    def live(self, items: dict[str, Any], key: str) -> Record | None:
        record = Record(*items[key]) if key in items else None
        return record if record is not None and record.expires_at > self.clock() else None


class DictQuarantine:
    """Records that were put aside on another `Shelf`."""

    most = 100

    def __init__(self, sessions: DictSessions, aside: Shelf) -> None:
        self.sessions = sessions
        self.aside = aside

    def set_aside(self, key: str, version: int, reason: str) -> None:
        with self.sessions.shelf.changing() as items:
            if key not in items or items[key][0] != version:
                return
            with self.aside.changing() as aside:
                aside[key] = items.pop(key)
                while len(aside) > self.most:
                    del aside[next(iter(aside))]

    def quarantined(self) -> int:
        with self.aside.reading() as aside:
            return len(aside)

    def report_to(self, told: Any) -> None:
        """No record is opened here, so none is found damaged."""


class DictIndex:
    """Keys by principal on a `Shelf`: the principal's repr stands for it, which is text always."""

    def __init__(self, shelf: Shelf, clock: Callable[[], float]) -> None:
        self.shelf = shelf
        self.clock = clock

    def add(self, principal: str, key: str, expires_at: float) -> None:
        with self.shelf.changing() as items:
            items[ascii(principal)] = {**items.get(ascii(principal), {}), key: expires_at}

    def remove(self, principal: str, key: str) -> None:
        with self.shelf.changing() as items:
            items[ascii(principal)] = {
                other: expires_at
                for other, expires_at in items.get(ascii(principal), {}).items()
                if other != key
            }

    def keys_of(self, principal: str) -> list[str]:
        with self.shelf.reading() as items:
            found = items.get(ascii(principal), {})
            return [key for key, expires_at in found.items() if expires_at > self.clock()]


class DictLocks:
    """Mutexes of one process."""

    def __init__(self) -> None:
        self.held: set[str] = set()
        self.guard = threading.Lock()

    @contextmanager
    def hold(self, key: str, timeout: float) -> Iterator[Held]:
        deadline = time.monotonic() + timeout
        while not self.take(key):
            if time.monotonic() >= deadline:
                raise LockTimeout(f"{key[:10]} is held", operation="lock", key=key[:10])
            time.sleep(0.002)
        try:
            yield Held()
        finally:
            self.free(key)

    def take(self, key: str) -> bool:
        with self.guard:
            if key in self.held:
                return False
            self.held.add(key)
            return True

    def free(self, key: str) -> None:
        self.held.discard(key)


class FileLocks:
    """Mutexes of all processes, which the kernel frees when one is killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)

    @contextmanager
    def hold(self, key: str, timeout: float) -> Iterator[Held]:
        deadline = time.monotonic() + timeout
        with open(self._folder / key, "a") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        raise LockTimeout(
                            f"{key[:10]} is held", operation="lock", key=key[:10]
                        ) from None
                    time.sleep(0.002)
            yield Held()


class DictStamps:
    """Version stamps on a `Shelf`."""

    kept = 100

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf

    def current(self, scopes: Sequence[str]) -> dict[str, int]:
        with self.shelf.reading() as items:
            return {scope: items.get(ascii(scope), [(0, 0.0)])[-1][0] for scope in scopes}

    def bump(self, scope: str, *, least: int = 0) -> int:
        with self.shelf.changing() as items:
            known = items.get(ascii(scope), [])
            version = max(least, (known[-1][0] if known else 0) + 1)
            items[ascii(scope)] = [*known, (version, time.time())][-self.kept :]
            return version

    def history(self, scope: str, limit: int = 20) -> list[Bump]:
        with self.shelf.reading() as items:
            newest_first = [Bump(*each) for each in reversed(items.get(ascii(scope), []))]
            return newest_first[:limit]


class DictContexts:
    """Contexts on a `Shelf`."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf

    def key(self, principal: str, name: str) -> str:
        return ascii((principal, name))

    def get(self, principal: str, name: str) -> Context | None:
        with self.shelf.reading() as items:
            found = items.get(self.key(principal, name))
            return None if found is None else Context(*found[2:])

    def set(self, principal: str, name: str, context: Context) -> None:
        with self.shelf.changing() as items:
            items[self.key(principal, name)] = (principal, name, *context)

    def add(self, principal: str, name: str, context: Context) -> bool:
        with self.shelf.changing() as items:
            if self.key(principal, name) in items:
                return False
            items[self.key(principal, name)] = (principal, name, *context)
            return True

    def clear(self, principal: str, name: str, expected: Context | None = None) -> None:
        with self.shelf.changing() as items:
            found = items.get(self.key(principal, name))
            if found is not None and expected in (None, Context(*found[2:])):
                del items[self.key(principal, name)]

    def items(self) -> Iterator[tuple[str, str, Context]]:
        with self.shelf.reading() as items:
            return iter([(each[0], each[1], Context(*each[2:])) for each in items.values()])


class DictLeases:
    """Leases on a `Shelf`: of each key the role and the end of each holder."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf

    def live(self, items: dict[str, Any], key: str) -> dict[str, tuple[str, float]]:
        now = time.time()
        return {name: each for name, each in items.get(key, {}).items() if each[1] > now}

    def acquire(self, key: str, holder: str, ttl: float) -> bool:
        with self.shelf.changing() as items:
            live = self.live(items, key)
            if any(role == "claim" for role, _ in live.values()):
                return False
            items[key] = {**live, holder: ("holder", time.time() + ttl)}
            return True

    def renew(self, key: str, holder: str, ttl: float) -> bool:
        with self.shelf.changing() as items:
            live = self.live(items, key)
            if holder not in live:
                return False
            items[key] = {**live, holder: (live[holder][0], time.time() + ttl)}
            return True

    def release(self, key: str, holder: str) -> None:
        with self.shelf.changing() as items:
            live = self.live(items, key)
            live.pop(holder, None)
            items[key] = live

    def holders(self, key: str) -> int:
        with self.shelf.reading() as items:
            return sum(role == "holder" for role, _ in self.live(items, key).values())

    def claim(self, key: str, holder: str, ttl: float) -> bool:
        with self.shelf.changing() as items:
            if set(self.live(items, key)) - {holder}:
                return False
            items[key] = {holder: ("claim", time.time() + ttl)}
            return True

    def leases(self) -> Iterator[LeaseInfo]:
        with self.shelf.reading() as items:
            now, found = time.time(), []
            for key in items:
                for holder, (role, until) in self.live(items, key).items():
                    found.append(LeaseInfo(key, role, holder, until - now))  # type: ignore[arg-type]
            return iter(found)


class DictLeasedLoading:
    """A session and its lease, one after the other."""

    def __init__(self, sessions: DictSessions, leases: DictLeases) -> None:
        self.sessions = sessions
        self.leases = leases

    def load_and_acquire(self, key: str, holder: str, ttl: float) -> tuple[Record | None, bool]:
        record = self.sessions.load(key)
        return record, record is not None and self.leases.acquire(key, holder, ttl)


class DictRefreshes:
    """When each session is due, on a `Shelf`."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf

    def schedule(self, key: str, due_at: float) -> None:
        with self.shelf.changing() as items:
            items[key] = due_at

    def due(self, now: float, limit: int) -> list[str]:
        with self.shelf.reading() as items:
            return sorted((k for k in items if items[k] <= now), key=items.__getitem__)[:limit]

    def remove(self, key: str) -> None:
        with self.shelf.changing() as items:
            items.pop(key, None)

    def of(self, application: str) -> DictRefreshes:
        return self  # of one application


class DictEndings:
    """Traces of ended sessions on a `Shelf`."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf

    def keep(self, traces: Sequence[EndTrace], seconds: float) -> None:
        with self.shelf.changing() as items:
            items.update((trace.key, trace) for trace in traces)

    def trace_of(self, key: str) -> EndTrace | None:
        with self.shelf.reading() as items:
            found: EndTrace | None = items.get(key)
            return found

    def matching(self, beginning: str, limit: int) -> list[EndTrace]:
        with self.shelf.reading() as items:
            return [items[key] for key in items if key.startswith(beginning)][:limit]

    def of_user(self, user: str, limit: int) -> list[EndTrace]:
        with self.shelf.reading() as items:
            theirs = [trace for trace in items.values() if trace.user == user]
        return sorted(theirs, key=lambda trace: -trace.at)[:limit]

    def trim(self, before: float, most: int) -> int:
        with self.shelf.changing() as items:
            recent = sorted((t for t in items.values() if t.at >= before), key=lambda t: -t.at)
            users = [trace for trace in recent if trace.user is not None][:most]
            visitors = [trace for trace in recent if trace.user is None][: most // 4]
            stay = {trace.key for trace in (*users, *visitors)}
            gone = [key for key in items if key not in stay]
            for key in gone:
                del items[key]
            return len(gone)


def open_shelf(folder: Path, *, clock: Callable[[], float] = time.time) -> Backend:
    """A store on shelves in a folder."""
    folder.mkdir(exist_ok=True)
    sessions = DictSessions(OnShelf(folder / "sessions"), clock)
    leases = DictLeases(OnShelf(folder / "leases"))
    return Backend(
        name="shelf",
        sessions=sessions,
        iteration=sessions,
        search=sessions,
        index=DictIndex(OnShelf(folder / "index"), clock),
        locks=FileLocks(folder / "locks"),
        quarantine=DictQuarantine(sessions, OnShelf(folder / "aside")),
        expired=sessions,
        versions=DictStamps(OnShelf(folder / "versions")),
        contexts=DictContexts(OnShelf(folder / "contexts")),
        leases=leases,
        lease_listing=leases,
        leased_loading=DictLeasedLoading(sessions, leases),
        refreshes=DictRefreshes(OnShelf(folder / "refreshes")),
        endings=DictEndings(OnShelf(folder / "endings")),
    )
