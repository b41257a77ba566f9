"""Last contexts in files: one for each principal and name, replaced as a whole.

::

    contexts/ab/<hash>      see `context_records`
    locks/context-<hash>    held while one is replaced or cleared

Readers take no lock: a rename shows them the old file or the new one.
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from wsgi_sessions.errors import CorruptRecord, StoreUnavailable
from wsgi_sessions.stores.context_records import digest, pack, unpack
from wsgi_sessions.stores.file.folder import QuarantineFolder
from wsgi_sessions.stores.file.retries import retrying
from wsgi_sessions.stores.file.system import (
    CREATE,
    Fsync,
    LockedFile,
    NotARecord,
    locked_path,
    read_file,
    sync_folder,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from wsgi_sessions.stores.base import Context

_TEMPORARY = ".tmp"


class FileContexts:
    """`ContextStore` in the folder of a file store.

    `owners`, `fsync` as for sessions; `timeout`: seconds that a change may wait for another one's.
    """

    def __init__(
        self,
        folder: str,
        owners: frozenset[int],
        *,
        fsync: Fsync = "none",
        timeout: float = 1.0,
    ) -> None:
        self._fsync: Fsync = fsync
        self._timeout = timeout
        self._marker = os.path.join(folder, "FORMAT")
        self._folder = os.path.join(folder, "contexts")
        self._locks = os.path.join(folder, "locks")
        self._quarantine = QuarantineFolder(folder)
        self._owners = owners

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
            self._require_folder()
            return None
        return found[2]

    def _read(self, shard: str, key: str) -> tuple[str, str, Context] | None:
        path = os.path.join(shard, key)
        try:
            return unpack(read_file(path, self._owners))
        except FileNotFoundError:
            return None
        except (CorruptRecord, NotARecord) as error:
            self._quarantine.take(path, key, str(error))
            return None

    def _set(self, key: str, data: bytes) -> None:
        shard = self._made_shard(key)
        with self._lock(key):
            self._replace(shard, key, data)
        if self._fsync == "full":
            sync_folder(shard)

    def _add(self, key: str, data: bytes) -> bool:
        shard = self._made_shard(key)
        with self._lock(key):
            if self._read(shard, key) is not None:
                return False
            self._replace(shard, key, data)
        if self._fsync == "full":
            sync_folder(shard)
        return True

    def _made_shard(self, key: str) -> str:
        self._require_folder()
        shard = self._shard(key)
        for folder in (self._folder, shard):
            _make_private(folder)
        return shard

    def _replace(self, shard: str, key: str, data: bytes) -> None:
        """Under the lock."""
        temporary = os.path.join(shard, key + _TEMPORARY)
        self._write(temporary, key, data)
        os.rename(temporary, os.path.join(shard, key))

    def _write(self, path: str, key: str, data: bytes) -> None:
        """Under the lock: what lies there was left by a writer that died."""
        with suppress(FileNotFoundError):
            os.unlink(path)
        with LockedFile(path, CREATE, self._owners, 0.0, key) as file:
            file.write(data, 0)
            file.sync(self._fsync)

    def _clear(self, key: str, expected: Context | None) -> None:
        self._require_folder()
        shard = self._shard(key)
        with self._lock(key):
            found = self._read(shard, key)
            if found is not None and expected in (None, found[2]):
                os.unlink(os.path.join(shard, key))
        if self._fsync == "full" and found is not None:
            sync_folder(shard)

    def _shard(self, key: str) -> str:
        return os.path.join(self._folder, key[:2])

    def _lock(self, key: str) -> AbstractContextManager[None]:
        return locked_path(os.path.join(self._locks, f"context-{key}"), self._timeout, key)

    def _require_folder(self) -> None:
        """A file that is missing is a missing context only while the folder is there."""
        if not os.path.exists(self._marker):
            raise StoreUnavailable(
                f"the session folder {os.path.dirname(self._folder)} is gone or not mounted: "
                "restore it, or restart the workers to begin with an empty one",
                operation="context",
            )


def _make_private(folder: str) -> None:
    """Not `make_folder`, which takes any fault for a wrong setting: these come while serving."""
    with suppress(FileExistsError):
        os.mkdir(folder, 0o700)
