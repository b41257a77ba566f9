"""The refresh queue in files: 256 small tables.

The time of modification of a table is when its first session is due. So finding due sessions costs
a look at each file's time, and a read of the few tables with due sessions. A table is replaced as a
whole under a lock beside it, and read without one. Each application with a name has such tables in
a folder of its own.
"""

from __future__ import annotations

import heapq
import os
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from wsgi_sessions import texts
from wsgi_sessions.stores.file.disk.folders import make_private
from wsgi_sessions.stores.file.disk.locking import locked_path
from wsgi_sessions.stores.file.disk.replace import replace_file
from wsgi_sessions.stores.file.disk.retries import retrying
from wsgi_sessions.stores.file.disk.system import READ

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

_LOCK = ".lock-"
_OF = "@"
_TABLE_NAME = 2  # the first digits of a key
_log = texts.log(__name__)
_decoder = msgspec.json.Decoder(dict[str, float])


class FileRefreshes:
    """`RefreshQueue` in a session folder. `timeout`: seconds a call may wait for a table."""

    def __init__(self, folder: str, *, timeout: float = 1.0, application: str = "") -> None:
        self._top = os.path.join(folder, "refreshes")
        self._folder = os.path.join(self._top, f"{_OF}{application}") if application else self._top
        self._session_folder = folder
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

    def of(self, application: str) -> FileRefreshes:
        """See `RefreshQueue.of`."""
        return FileRefreshes(self._session_folder, timeout=self._timeout, application=application)

    def _schedule(self, key: str, due_at: float) -> None:
        make_private(self._top, self._folder)
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
                        if _is_table(entry.name) and entry.stat().st_mtime <= now:
                            yield entry.name
        except FileNotFoundError:
            return

    def _locked(self, key: str) -> AbstractContextManager[object]:
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
            _log.error(
                "the refresh table %s/%s is damaged and starts empty: %s", self._folder, name, error
            )
            return {}

    def _replace(self, key: str, table: dict[str, float]) -> None:
        path = os.path.join(self._folder, key[:2])
        if not table:
            with suppress(FileNotFoundError):
                os.unlink(path)
            return
        replace_file(path, msgspec.json.encode(table), modified_at=min(table.values()))


def _is_table(name: str) -> bool:
    return len(name) == _TABLE_NAME and not name.startswith(_OF)
