"""Last contexts in files: one for each principal and name, replaced as a whole.

::

    contexts/ab/<hash>      see `context_records`
    locks/context-<hash>    held while one is replaced or cleared

Readers take no lock: a rename shows them the old file or the new one.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from wsgi_sessions.errors import CorruptRecord
from wsgi_sessions.stores.context_records import digest, pack, unpack_under
from wsgi_sessions.stores.file.disk.folders import make_private, sync_folder
from wsgi_sessions.stores.file.disk.locking import locked_path
from wsgi_sessions.stores.file.disk.replace import replace_file
from wsgi_sessions.stores.file.disk.retries import retrying
from wsgi_sessions.stores.file.disk.system import Fsync, NotARecord, read_file
from wsgi_sessions.stores.file.quarantine import QuarantineFolder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from wsgi_sessions.contract import Context
    from wsgi_sessions.stores.file.disk.presence import Presence


class FileContexts:
    """`ContextStore` in the folder of a file store.

    `fsync`: as for sessions; `timeout`: seconds that a change may wait for another change.
    """

    def __init__(
        self,
        presence: Presence,
        *,
        fsync: Fsync = "none",
        timeout: float = 1.0,
    ) -> None:
        self._fsync: Fsync = fsync
        self._timeout = timeout
        folder = presence.folder
        self._presence = presence
        self._folder = os.path.join(folder, "contexts")
        self._locks = os.path.join(folder, "locks")
        self._quarantine = QuarantineFolder(folder, presence.purpose)
        self._owners = presence.ownership.owners

    def get(self, principal: str, name: str) -> Context | None:
        """See `ContextStore.get`."""
        return retrying("context", digest(principal, name), self._get)

    def set(self, principal: str, name: str, context: Context) -> None:
        """See `ContextStore.set`."""
        data = pack(principal, name, context)
        retrying("context", digest(principal, name), lambda key: self._set(key, data))

    def add(self, principal: str, name: str, context: Context) -> bool:
        """See `ContextStore.add`."""
        data = pack(principal, name, context)
        return retrying("context", digest(principal, name), lambda key: self._add(key, data))

    def clear(self, principal: str, name: str, expected: Context | None = None) -> None:
        """See `ContextStore.clear`."""
        retrying("context", digest(principal, name), lambda key: self._clear(key, expected))

    def items(self) -> Iterator[tuple[str, str, Context]]:
        """See `ContextStore.items`."""
        for root, _, names in os.walk(self._folder):
            for key in sorted(name for name in names if len(name) == 64):
                found = retrying("contexts", key, partial(self._read, root))
                if found is not None:
                    yield found

    def _get(self, key: str) -> Context | None:
        found = self._read(self._shard(key), key)
        if found is None:
            self._presence.require("context")
            return None
        return found[2]

    def _read(self, shard: str, key: str) -> tuple[str, str, Context] | None:
        path = os.path.join(shard, key)
        try:
            return unpack_under(key, read_file(path, self._owners))
        except FileNotFoundError:
            return None
        except (CorruptRecord, NotARecord) as error:
            self._quarantine.take(path, key, str(error))
            return None

    def _set(self, key: str, data: bytes) -> None:
        shard = self._made_shard(key)
        with self._lock(key):
            replace_file(os.path.join(shard, key), data, fsync=self._fsync)

    def _add(self, key: str, data: bytes) -> bool:
        shard = self._made_shard(key)
        with self._lock(key):
            if self._read(shard, key) is not None:
                return False
            replace_file(os.path.join(shard, key), data, fsync=self._fsync)
        return True

    def _made_shard(self, key: str) -> str:
        self._presence.require("context")
        shard = self._shard(key)
        make_private(self._folder, shard)
        return shard

    def _clear(self, key: str, expected: Context | None) -> None:
        self._presence.require("context")
        shard = self._shard(key)
        with self._lock(key):
            found = self._read(shard, key)
            if found is not None and expected in (None, found[2]):
                os.unlink(os.path.join(shard, key))
        if self._fsync == "full" and found is not None:
            sync_folder(shard)

    def _shard(self, key: str) -> str:
        return os.path.join(self._folder, key[:2])

    def _lock(self, key: str) -> AbstractContextManager[object]:
        return locked_path(os.path.join(self._locks, f"context-{key}"), self._timeout, key)
