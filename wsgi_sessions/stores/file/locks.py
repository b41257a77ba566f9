"""The mutex of a session, as the kernel's lock on a file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from wsgi_sessions.mutex import lock_lost
from wsgi_sessions.stores.file.disk.locking import locked_path, number_of
from wsgi_sessions.stores.file.disk.retries import retrying

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from wsgi_sessions.mutex import Fence, Held


class FileLocks:
    """A kernel lock per session: a dead holder frees it at once."""

    def __init__(self, folder: str) -> None:
        self.folder = os.path.join(folder, "locks")

    def hold(self, key: str, timeout: float) -> AbstractContextManager[Held]:
        """See `SessionLocks.hold`. The mutex is lost if its file is removed by hand."""
        return locked_path(os.path.join(self.folder, key), timeout, key)

    def require(self, fence: Fence, key: str) -> None:
        """Raise LockLost, about the session `key`, if the lock is no longer held."""
        path = os.path.join(self.folder, fence.key)
        if retrying("save", key, lambda _: number_of(path)) != fence.number:
            raise lock_lost(key)
