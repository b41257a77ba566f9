"""The sessions of each principal, in files."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from wsgi_sessions import texts
from wsgi_sessions.clock import wall_clock
from wsgi_sessions.stores.file.disk.folders import make_private
from wsgi_sessions.stores.file.disk.retries import retrying

if TYPE_CHECKING:
    from collections.abc import Callable


class FileIndex:
    """`PrincipalIndex` with a folder per principal, and an empty file per session.

    The file's time of modification is the entry's expiry.
    """

    def __init__(self, folder: str, clock: Callable[[], float] = wall_clock) -> None:
        self._folder = os.path.join(folder, "index")
        self._clock = clock

    def add(self, principal: str, key: str, expires_at: float) -> None:
        """See `PrincipalIndex.add`."""
        retrying("index", key, lambda key: self._add(self._of(principal), key, expires_at))

    def remove(self, principal: str, key: str) -> None:
        """See `PrincipalIndex.remove`."""
        retrying("index", key, lambda key: self._remove(self._of(principal), key))

    def keys_of(self, principal: str) -> list[str]:
        """See `PrincipalIndex.keys_of`."""
        return retrying("index", "", lambda _: self._keys_in(self._of(principal)))

    def _of(self, principal: str) -> str:
        digest = texts.hashed(principal)
        return os.path.join(self._folder, digest[:2], digest)

    def _add(self, folder: str, key: str, expires_at: float) -> None:
        make_private(self._folder, os.path.dirname(folder), folder)
        path = os.path.join(folder, key)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        os.utime(path, (expires_at, expires_at))

    def _remove(self, folder: str, key: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(folder, key))
        with suppress(OSError):  # not empty, or just used: _add makes it again
            os.rmdir(folder)

    def _keys_in(self, folder: str) -> list[str]:
        now = self._clock()
        try:
            with os.scandir(folder) as entries:
                found = [(entry.name, entry.stat().st_mtime) for entry in entries]
        except FileNotFoundError:
            return []
        return [name for name, expires_at in found if expires_at > now]
