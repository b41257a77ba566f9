"""A store in files: one per session, changed in place under a kernel lock, read without one.

Works for all processes of one host, and on network file systems that support flock. Promises what
`SessionStore` says; at a power failure, what the `fsync` policy says: with "none" a session may be
found as it was some seconds ago, with "data" and "full" every acknowledged commit is on the disk.

The folder::

    FORMAT              made with the folder: while it is there, a missing file is a missing session
    sessions/ab/<key>   the records (see `file_slots`), sharded by the first two digits
    index/, locks/, quarantine/, leases/, processes/, refreshes/, secret, sweep
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import time
from typing import TYPE_CHECKING

from wsgi_sessions.errors import (
    ConfigurationError,
    SessionExists,
    SessionGone,
    StoreUnavailable,
    VersionConflict,
)
from wsgi_sessions.identity import short_key
from wsgi_sessions.stores.base import Backend, Record
from wsgi_sessions.stores.file_contexts import FileContexts
from wsgi_sessions.stores.file_diagnosis import FileDiagnosis
from wsgi_sessions.stores.file_folder import FileIndex, FileLocks, FileUpkeep, QuarantineFolder
from wsgi_sessions.stores.file_leases import FileLeases
from wsgi_sessions.stores.file_refreshes import FileRefreshes
from wsgi_sessions.stores.file_slots import (
    Slots,
    blank_slot,
    pack_file,
    pack_slot,
    pack_touch,
    parse,
)
from wsgi_sessions.stores.file_system import (
    CREATE,
    WRITE,
    Fsync,
    LockedFile,
    NotARecord,
    make_folder,
    read_file,
    retrying,
    swallow,
    sync_folder,
)
from wsgi_sessions.stores.file_versions import FileVersions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_OPTIMISTIC_READS = 2
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)


def open_files(
    folder: str,
    *,
    fsync: Fsync = "none",
    timeout: float = 1.0,
    clock: Callable[[], float] = time.time,
) -> Backend:
    """A backend in this folder, which is made (mode 0700) if it is not there.

    `timeout`: seconds a call may wait for a lock. `clock`: seconds since the epoch. Raises
    ConfigurationError if the folder cannot be used safely.
    """
    store = FileStore(folder, fsync=fsync, timeout=timeout, clock=clock)
    upkeep = FileUpkeep(store.folder)
    return Backend(
        name="file",
        sessions=store,
        iteration=store,
        index=FileIndex(store.folder, clock),
        locks=FileLocks(store.folder),
        quarantine=store,
        contexts=FileContexts(store.folder, fsync=fsync, timeout=timeout),
        expired=store,
        leftovers=upkeep,
        advice=upkeep,
        diagnosis=FileDiagnosis(store.folder),
        secret=upkeep,
        versions=FileVersions(store.folder, timeout=timeout, clock=clock),
        leases=FileLeases(store.folder, timeout=timeout, clock=clock),
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
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.folder = os.path.abspath(folder)
        self._fsync: Fsync = fsync
        self._timeout = timeout
        self._clock = clock
        self._marker = os.path.join(self.folder, "FORMAT")
        self._sessions = os.path.join(self.folder, "sessions")
        self._quarantine = QuarantineFolder(self.folder)
        self._owners = _prepare(self.folder, self._marker)

    # -- the five operations -------------------------------------------------------------------

    def create(self, key: str, payload: bytes, expires_at: float) -> None:
        """See `SessionStore.create`."""
        record = Record(1, payload, expires_at)
        retrying("create", key, lambda key: self._create(key, record))

    def load(self, key: str) -> Record | None:
        """See `SessionStore.load`."""
        record = retrying("load", key, self._load)
        return record if record is not None and record.expires_at > self._clock() else None

    def save(self, key: str, payload: bytes, expires_at: float, *, expected_version: int) -> int:
        """See `SessionStore.save`."""
        record = Record(expected_version + 1, payload, expires_at)
        retrying("save", key, lambda key: self._save(key, record))
        return record.version

    def touch(self, key: str, expires_at: float) -> None:
        """See `SessionStore.touch`."""
        retrying("touch", key, lambda key: self._touch(key, expires_at))

    def delete(self, key: str) -> None:
        """See `SessionStore.delete`."""
        retrying("delete", key, self._delete)

    def ping(self) -> None:
        """See `SessionStore.ping`."""
        self._require_folder("ping", "")

    def close(self) -> None:
        """Nothing stays open between calls."""

    # -- iteration, expiry, quarantine ---------------------------------------------------------

    def keys(self) -> Iterator[str]:
        """See `SessionIteration.keys`."""
        return (key for key in self._all_keys() if self.load(key) is not None)

    def count(self) -> int:
        """See `SessionIteration.count`."""
        return sum(1 for _ in self.keys())

    def delete_expired(self, limit: int) -> int:
        """See `ExpiredDeletion.delete_expired`."""
        deleted = 0
        for key in self._all_keys():
            if deleted == limit:
                break
            deleted += self._delete_if_expired(key)
        return deleted

    def set_aside(self, key: str, version: int, reason: str) -> None:
        """See `Quarantine.set_aside`."""
        try:
            with self._locked(key) as file:
                record = parse(file.read(), key).record
                if record is None or record.version == version:
                    self._quarantine.take(self._path(key), key, reason)
        except FileNotFoundError:
            pass
        except (OSError, StoreUnavailable) as error:
            swallow(error, "session %s could not be set aside", short_key(key))

    def quarantined(self) -> int:
        """See `Quarantine.quarantined`."""
        return self._quarantine.count()

    # -- reading -------------------------------------------------------------------------------

    def _load(self, key: str) -> Record | None:
        """Read without a lock. An invalid slot means that a writer is at work, or died: the other
        one, read a moment earlier, may be two versions old by now. So read again; if that
        repeats, look under the lock, where an invalid slot is believed."""
        try:
            for _ in range(_OPTIMISTIC_READS):
                slots = parse(read_file(self._path(key), self._owners), key)
                if slots.record is not None and not slots.torn:
                    return slots.record
            return self._load_damaged(key)
        except FileNotFoundError:
            self._require_folder("load", key)
            return None
        except NotARecord as error:
            self._quarantine.take(self._path(key), key, str(error))
            return None

    def _load_damaged(self, key: str) -> Record | None:
        with self._locked(key) as file:
            slots = parse(file.read(), key)
            if slots.record is None:
                self._quarantine.take(self._path(key), key, "no valid slot")
            elif slots.torn:
                self._repair(file, slots, key)
            return slots.record

    def _repair(self, file: LockedFile, slots: Slots, key: str) -> None:
        """Blank what a dead writer left in a slot, so that later readers need no lock."""
        try:
            file.write(blank_slot(), slots.offset(slots.torn[0]))
        except OSError as error:
            swallow(error, "a torn slot of session %s stays", short_key(key))

    # -- writing -------------------------------------------------------------------------------

    def _create(self, key: str, record: Record) -> None:
        path = self._path(key)
        try:
            temporary = self._write_temporary(path, key, record)
        except FileNotFoundError:
            self._require_folder("create", key)
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            temporary = self._write_temporary(path, key, record)
        with temporary.file:
            try:
                self._link(temporary.path, path, key)
            finally:
                temporary.remove()
        self._sync_folder(path)

    def _link(self, temporary: str, path: str, key: str) -> None:
        """Give the file its name; unlike a rename, a link never replaces."""
        try:
            os.link(temporary, path)
        except OSError as error:
            if error.errno not in _NO_LINKS and error.errno != errno.EEXIST:
                raise
            if self.load(key) is not None:
                raise SessionExists(short_key(key)) from None
            # Over an expired one, or where there are no links. Nobody else knows this new key yet.
            os.rename(temporary, path)

    def _save(self, key: str, record: Record) -> None:
        try:
            with self._locked(key) as file:
                slots = parse(file.read(), key)
                current = slots.record
                if current is None or current.expires_at <= self._clock():
                    raise SessionGone(short_key(key))
                if current.version != record.version - 1:
                    raise VersionConflict(current)
                self._write(file, slots, key, record)
        except (FileNotFoundError, NotARecord):
            self._require_folder("save", key)
            raise SessionGone(short_key(key)) from None

    def _write(self, file: LockedFile, slots: Slots, key: str, record: Record) -> None:
        if len(record.payload) > slots.capacity:
            self._replace(key, record)
            return
        offset = slots.offset(1 - slots.newest)
        file.write(pack_slot(record, key, slots.capacity), offset)
        try:
            file.sync(self._fsync)
        except OSError:
            # After a failed fsync the kernel forgets the dirty pages: trying again on this file
            # would lie. The slot is made invalid, and the record goes through a file of its own.
            file.write(blank_slot(), offset)
            self._replace_once(key, record)

    def _replace_once(self, key: str, record: Record) -> None:
        try:
            self._replace(key, record)
        except OSError as error:  # not again: see _write
            raise StoreUnavailable(
                f"the disk did not take session {short_key(key)} ({error.strerror}); it is as it "
                "was. Check the disk.",
                operation="save",
                key=short_key(key),
            ) from error

    def _replace(self, key: str, record: Record) -> None:
        """Write the record into a new, larger file and put it in the place of the old one.

        The caller holds the old file's lock; who waits for it then finds a file without a link,
        and begins anew.
        """
        path = self._path(key)
        temporary = self._write_temporary(path, key, record)
        with temporary.file:
            try:
                os.rename(temporary.path, path)
            except BaseException:
                temporary.remove()
                raise
        self._sync_folder(path)

    def _touch(self, key: str, expires_at: float) -> None:
        try:
            with self._locked(key) as file:
                record = parse(file.read(), key).record
                if record is not None and self._clock() < record.expires_at < expires_at:
                    file.write(pack_touch(record.version, expires_at), 0)
        except (FileNotFoundError, NotARecord):
            self._require_folder("touch", key)

    def _delete(self, key: str) -> None:
        path = self._path(key)
        try:
            with self._locked(key):
                os.unlink(path)
        except FileNotFoundError:
            self._require_folder("delete", key)
        except NotARecord as error:
            self._quarantine.take(path, key, str(error))
        self._sync_folder(path)

    def _delete_if_expired(self, key: str) -> bool:
        now = self._clock()
        try:
            record = parse(read_file(self._path(key), self._owners), key).record
            if record is None or record.expires_at > now:
                return False  # a damaged one is set aside when it is asked for
            with self._locked(key) as file:
                record = parse(file.read(), key).record
                if record is None or record.expires_at > now:
                    return False
                os.unlink(self._path(key))
        except (OSError, NotARecord, StoreUnavailable):
            return False  # gone, busy or unreadable: the next sweep comes by
        return True

    # -- inside --------------------------------------------------------------------------------

    def _path(self, key: str) -> str:
        return f"{self._sessions}/{key[:2]}/{key}"

    def _all_keys(self) -> Iterator[str]:
        for shard in sorted(os.listdir(self._sessions)):
            try:
                names = os.listdir(os.path.join(self._sessions, shard))
            except (FileNotFoundError, NotADirectoryError):
                continue
            yield from (name for name in names if len(name) == 64)

    def _locked(self, key: str) -> LockedFile:
        """The session's file under its lock. Raises FileNotFoundError, LockTimeout."""
        deadline = time.monotonic() + self._timeout
        while True:
            file = LockedFile(self._path(key), WRITE, self._owners, deadline, key)
            if file.is_linked:
                return file
            file.close()  # deleted or replaced while we waited: look the path up again

    def _write_temporary(self, path: str, key: str, record: Record) -> Temporary:
        temporary = Temporary(os.path.dirname(path), self._owners, key)
        try:
            temporary.file.write(pack_file(record, key), 0)
            temporary.file.sync(self._fsync)
        except BaseException:
            temporary.remove()
            temporary.file.close()
            raise
        return temporary

    def _sync_folder(self, path: str) -> None:
        if self._fsync == "full":
            sync_folder(os.path.dirname(path))

    def _require_folder(self, operation: str, key: str) -> None:
        """A file that is missing is a missing session only while the folder is there."""
        if not os.path.exists(self._marker):
            raise StoreUnavailable(
                f"the session folder {self.folder} is gone or not mounted: restore it, or restart "
                "the workers to begin with an empty one",
                operation=operation,
                key=short_key(key),
            )


class Temporary:
    """A file that is being written under a name of its own.

    Its writer holds its lock: one that nobody holds is an orphan, whatever its age.
    """

    PREFIX = ".tmp-"

    def __init__(self, folder: str, owners: frozenset[int], key: str) -> None:
        self.path = f"{folder}/{self.PREFIX}{os.getpid()}-{secrets.token_hex(8)}"
        self.file = LockedFile(self.path, CREATE, owners, time.monotonic(), key)

    def remove(self) -> None:
        """Remove the name, if it is still there."""
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass
        except OSError as error:
            swallow(error, "a temporary stays until the next sweep")


def _prepare(folder: str, marker: str) -> frozenset[int]:
    """Make the folder if need be, check that it is safe, and return whose files are trusted."""
    make_folder(folder)
    make_folder(os.path.join(folder, "sessions"))
    status = os.stat(folder)
    if status.st_mode & stat.S_IWOTH:
        raise ConfigurationError(
            f"the session folder {folder} is writable by everybody: chmod 700 it after a look at "
            "what is in it, or name a new folder inside it"
        )
    try:
        os.close(os.open(marker, CREATE, 0o600))
    except FileExistsError:
        pass
    except OSError as error:
        raise ConfigurationError(
            f"the session folder {folder} is not writable ({error.strerror}): name another one in "
            "WSGI_SESSIONS_URL, or change its permissions"
        ) from error
    # A network file system may map owners: what it made of our marker is ours too.
    return frozenset({os.geteuid(), os.stat(marker).st_uid})
