"""When sessions are due for a background refresh, in files: 256 small tables.

The time of modification of a table is when its first session is due: so finding what is due costs
a look at each file's time, and reading those few in which something is. A table is replaced as a
whole under a lock beside it, and read without one.
"""

from __future__ import annotations

import heapq
import os
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from wsgi_sessions import texts
from wsgi_sessions.stores.file.retries import retrying
from wsgi_sessions.stores.file.system import READ, locked_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

_REWRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
_TEMPORARY = ".tmp-"
_LOCK = ".lock-"
_log = texts.log("wsgi_sessions.stores.file")
_decoder = msgspec.json.Decoder(dict[str, float])


class FileRefreshes:
    """`RefreshQueue` in a session folder. `timeout`: seconds a call may wait for a table."""

    def __init__(self, folder: str, *, timeout: float = 1.0) -> None:
        self._folder = os.path.join(folder, "refreshes")
        self._timeout = timeout

    def schedule(self, key: str, due_at: float) -> None:
        """See `RefreshQueue.schedule`."""
        retrying("schedule", key, lambda key: self._schedule(key, due_at))

    def due(self, now: float, limit: int) -> list[str]:
        """See `RefreshQueue.due`."""
        return retrying("due", "", lambda _: self._due(now, limit))

    def remove(self, key: str) -> None:
        """See `RefreshQueue.remove`."""
        retrying("unschedule", key, self._remove)

    def _schedule(self, key: str, due_at: float) -> None:
        with suppress(FileExistsError):
            os.mkdir(self._folder, 0o700)
        with self._locked(key):
            self._replace(key, {**self._read(key[:2]), key: due_at})

    def _remove(self, key: str) -> None:
        if key not in self._read(key[:2]):
            return
        with self._locked(key):
            table = self._read(key[:2])
            table.pop(key, None)
            self._replace(key, table)

    def _due(self, now: float, limit: int) -> list[str]:
        found = (
            (due_at, key)
            for name in self._tables_due(now)
            for key, due_at in self._read(name).items()
            if due_at <= now
        )
        return [key for _, key in heapq.nsmallest(limit, found)]

    def _tables_due(self, now: float) -> Iterator[str]:
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    # Some file systems cut off the fractions of a second: early is harmless.
                    with suppress(FileNotFoundError):
                        if not entry.name.startswith(".") and entry.stat().st_mtime <= now:
                            yield entry.name
        except FileNotFoundError:
            return

    def _locked(self, key: str) -> AbstractContextManager[None]:
        return locked_path(os.path.join(self._folder, _LOCK + key[:2]), self._timeout, key)

    def _read(self, name: str) -> dict[str, float]:
        try:
            fd = os.open(os.path.join(self._folder, name), READ)
        except FileNotFoundError:
            return {}
        with open(fd, "rb") as file:
            data = file.read()
        try:
            return _decoder.decode(data)
        except (msgspec.DecodeError, ValueError) as error:
            _log.error("refreshes %s/%s are damaged and begin anew: %s", self._folder, name, error)
            return {}

    def _replace(self, key: str, table: dict[str, float]) -> None:
        path = os.path.join(self._folder, key[:2])
        if not table:
            with suppress(FileNotFoundError):
                os.unlink(path)
            return
        # One name, under the lock: what a killed writer left is written over.
        temporary = os.path.join(self._folder, _TEMPORARY + key[:2])
        with open(os.open(temporary, _REWRITE, 0o600), "wb") as file:
            file.write(msgspec.json.encode(table))
        first = min(table.values())
        os.utime(temporary, (first, first))
        os.rename(temporary, path)
