"""A store in files: one per session, changed in place under a kernel lock, read without one.

Works for all processes of one host, and on network file systems that support flock. Promises what
`SessionStore` says; at a power failure, what the `fsync` policy says: with "none" a session may be
found as it was some seconds ago, with "data" and "full" every acknowledged commit is on the disk.

The folder::

    FORMAT              made with the folder: while it is there, a missing file is a missing session
    sessions/ab/<key>   the records (see `file.slots`), sharded by the first two digits
    contexts/ab/<hash>  last contexts (see `file.contexts`)
    index/, locks/, quarantine/, leases/, processes/, refreshes/, secret, sweep
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from wsgi_sessions.clock import wall_clock
from wsgi_sessions.errors import StoreUnavailable
from wsgi_sessions.identity import short_key
from wsgi_sessions.stores.base import Backend, Record
from wsgi_sessions.stores.file.contexts import FileContexts
from wsgi_sessions.stores.file.diagnosis import FileDiagnosis
from wsgi_sessions.stores.file.folder import FileIndex, FileLocks, FileUpkeep, QuarantineFolder
from wsgi_sessions.stores.file.leases import FileLeases
from wsgi_sessions.stores.file.ownership import prepare
from wsgi_sessions.stores.file.records import RecordFiles, marker_of
from wsgi_sessions.stores.file.refreshes import FileRefreshes
from wsgi_sessions.stores.file.retries import retry, retrying
from wsgi_sessions.stores.file.secret import FileSecret
from wsgi_sessions.stores.file.system import Fsync, swallow
from wsgi_sessions.stores.file.versions import FileVersions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def open_files(
    folder: str,
    *,
    fsync: Fsync = "none",
    timeout: float = 1.0,
    group: str | None = None,
    clock: Callable[[], float] = wall_clock,
) -> Backend:
    """A backend in this folder, which is made (mode 0700) if it is not there.

    `timeout`: seconds a call may wait for a lock. `group`: whose members may write to the folder
    (name or number), if any. `clock`: seconds since the epoch. Raises ConfigurationError if the
    folder cannot be used safely (see `ownership.prepare`).
    """
    store = FileStore(folder, fsync=fsync, timeout=timeout, group=group, clock=clock)
    upkeep = FileUpkeep(store.folder, store.ownership)
    diagnosis = FileDiagnosis(store.folder)
    leases = FileLeases(store.folder, timeout=timeout, clock=clock)
    return Backend(
        name="file",
        sessions=store,
        iteration=store,
        index=FileIndex(store.folder, clock),
        locks=FileLocks(store.folder),
        quarantine=store,
        contexts=FileContexts(store.folder, store.ownership.owners, fsync=fsync, timeout=timeout),
        expired=store,
        leftovers=upkeep,
        advice=upkeep,
        diagnosis=diagnosis,
        clock=diagnosis,
        secret=FileSecret(store.folder, store.ownership),
        versions=FileVersions(store.folder, timeout=timeout, clock=clock),
        leases=leases,
        lease_listing=leases,
        refreshes=FileRefreshes(store.folder, timeout=timeout),
    )


class FileStore:
    """Session records in a folder."""

    def __init__(
        self,
        folder: str,
        *,
        fsync: Fsync = "none",
        timeout: float = 1.0,
        group: str | None = None,
        clock: Callable[[], float] = wall_clock,
    ) -> None:
        self.folder = os.path.abspath(folder)
        self.ownership = prepare(self.folder, marker_of(self.folder), group)
        self._clock = clock
        self._swept_up_to = ""
        self._quarantine = QuarantineFolder(self.folder)
        self._files = RecordFiles(
            self.folder,
            self.ownership.owners,
            self._quarantine,
            fsync=fsync,
            timeout=timeout,
            clock=clock,
        )

    # -- the five operations -------------------------------------------------------------------

    def create(self, key: str, payload: bytes, expires_at: float) -> None:
        """See `SessionStore.create`."""
        record = Record(1, payload, expires_at)
        retrying("create", key, self._files.create, record)

    def load(self, key: str) -> Record | None:
        """See `SessionStore.load`."""
        try:
            record = self._files.load(key)
        except OSError as error:
            record = retry(error, "load", key, self._files.load)
        return record if record is not None and record.expires_at > self._clock() else None

    def save(self, key: str, payload: bytes, expires_at: float, *, expected_version: int) -> int:
        """See `SessionStore.save`."""
        record = Record(expected_version + 1, payload, expires_at)
        try:
            self._files.save(key, record)
        except OSError as error:
            retry(error, "save", key, self._files.save, record)
        return record.version

    def touch(self, key: str, expires_at: float) -> None:
        """See `SessionStore.touch`."""
        retrying("touch", key, self._files.touch, expires_at)

    def delete(self, key: str) -> None:
        """See `SessionStore.delete`."""
        retrying("delete", key, self._files.delete)

    def ping(self) -> None:
        """See `SessionStore.ping`."""
        self._files.require_folder("ping", "")

    def close(self) -> None:
        """Nothing stays open between calls."""

    # -- iteration, expiry, quarantine ---------------------------------------------------------

    def keys(self) -> Iterator[str]:
        """See `SessionIteration.keys`."""
        return (key for key in self._files.all_keys() if self.load(key) is not None)

    def count(self) -> int:
        """See `SessionIteration.count`."""
        return sum(1 for _ in self.keys())

    def delete_expired(self, limit: int) -> int:
        """See `ExpiredDeletion.delete_expired`."""
        deleted = 0
        # From where the last call ended: a sweep goes around once, however many calls it takes.
        for key in self._files.all_keys(self._swept_up_to):
            if deleted == limit:
                self._swept_up_to = key
                break
            deleted += self._files.delete_if_expired(key)
        return deleted

    def count_expired(self) -> int:
        """See `ExpiredDeletion.count_expired`."""
        return sum(map(self._files.is_expired, self._files.all_keys()))

    def set_aside(self, key: str, version: int, reason: str) -> None:
        """See `Quarantine.set_aside`."""
        try:
            self._files.set_aside(key, version, reason)
        except FileNotFoundError:
            pass  # gone already
        except (OSError, StoreUnavailable) as error:
            swallow(error, "session %s could not be set aside", short_key(key))

    def quarantined(self) -> int:
        """See `Quarantine.quarantined`."""
        return self._quarantine.count()
