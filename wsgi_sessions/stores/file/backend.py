"""A store in files: one per session, changed in place under a kernel lock, read without one.

Works for all processes of one host, and on network file systems that support flock. It keeps the
promises of `SessionStore`; after a power failure, those of the `fsync` policy: with "none" a
session may be some seconds old, with "data" and "full" every acknowledged commit is on the disk.

The folder::

    FORMAT              made with the folder: while it exists, a missing file is a missing session
    sessions/ab/<key>   the records (see `file.slots`), sharded by the first two digits
    contexts/ab/<hash>  last contexts (see `file.contexts`) index/, locks/, quarantine/, leases/,
    processes/, refreshes/, endings/, secret, sweep
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions.clock import wall_clock
from wsgi_sessions.contract import Backend
from wsgi_sessions.stores.file.contexts import FileContexts
from wsgi_sessions.stores.file.disk.diagnosis import FileDiagnosis
from wsgi_sessions.stores.file.endings import FileEndings
from wsgi_sessions.stores.file.index import FileIndex
from wsgi_sessions.stores.file.leases import FileLeases
from wsgi_sessions.stores.file.locks import FileLocks
from wsgi_sessions.stores.file.refreshes import FileRefreshes
from wsgi_sessions.stores.file.secret import FileSecret
from wsgi_sessions.stores.file.sessions import FileStore
from wsgi_sessions.stores.file.upkeep import FileUpkeep
from wsgi_sessions.stores.file.versions import FileVersions

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_sessions.contract import Purpose
    from wsgi_sessions.stores.file.disk.system import Fsync


def open_files(
    folder: str,
    *,
    fsync: Fsync = "none",
    timeout: float = 1.0,
    group: str | None = None,
    purpose: Purpose = "use",
    clock: Callable[[], float] = wall_clock,
) -> Backend:
    """Return the backend in this folder; a missing folder is made (mode 0700).

    `timeout`: seconds that a call may wait for a lock. `group`: its members may write to the folder
    (name or number). With `purpose` "look" nothing is made or repaired. `clock`: seconds since the
    epoch. Raises ConfigurationError if the folder cannot be used safely (see `ownership.prepare`).
    """
    store = FileStore(
        folder, fsync=fsync, timeout=timeout, group=group, purpose=purpose, clock=clock
    )
    return _backend_of(store, fsync, timeout, clock)


def _backend_of(
    store: FileStore, fsync: Fsync, timeout: float, clock: Callable[[], float]
) -> Backend:
    """Return all abilities of the store in its folder."""
    secret = FileSecret(store.folder, store.presence.ownership)
    upkeep = FileUpkeep(store.presence, secret)
    diagnosis = FileDiagnosis(store.folder)
    leases = FileLeases(store.folder, timeout=timeout, clock=clock)
    return Backend(
        name="file",
        sessions=store,
        iteration=store,
        search=store,
        index=FileIndex(store.folder, clock),
        locks=FileLocks(store.folder),
        quarantine=store,
        contexts=FileContexts(store.presence, fsync=fsync, timeout=timeout),
        expired=store,
        leftovers=upkeep,
        advice=upkeep,
        diagnosis=diagnosis,
        clock=diagnosis,
        secret=secret,
        versions=FileVersions(store.folder, timeout=timeout, clock=clock),
        leases=leases,
        lease_listing=leases,
        refreshes=FileRefreshes(store.folder, timeout=timeout),
        endings=FileEndings(store.folder, timeout=timeout),
    )
