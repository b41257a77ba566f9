"""The files of sessions, one by one: read without a lock, changed in place under one.

Each operation begins with a look-up of the path and raises any OSError, so that it can be repeated
as a whole (`file.disk.retries.retrying`).
"""

from __future__ import annotations

import errno
import os
from bisect import bisect_left
from contextlib import suppress
from typing import TYPE_CHECKING

from wsgi_sessions.clock import monotonic
from wsgi_sessions.errors import SessionExists, SessionGone, StoreUnavailable, VersionConflict, bare
from wsgi_sessions.identity import short_key
from wsgi_sessions.linking import name_new_file
from wsgi_sessions.stores.file.disk.folders import make_private, sync_folder
from wsgi_sessions.stores.file.disk.locking import LockedFile, lock_at
from wsgi_sessions.stores.file.disk.retries import NO_WRITES, folder_fault
from wsgi_sessions.stores.file.disk.system import WRITE, Fsync, NotARecord, read_file, swallow
from wsgi_sessions.stores.file.disk.temporary import Temporary
from wsgi_sessions.stores.file.slots import (
    Slots,
    blank_slot,
    newest,
    next_place,
    pack_file,
    pack_slot,
    pack_touch,
    parse,
    place,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wsgi_sessions.contract import Record
    from wsgi_sessions.stores.file.disk.presence import Presence
    from wsgi_sessions.stores.file.quarantine import QuarantineFolder

_MAX_ATTEMPTS = 5


class RecordFiles:
    """Session files in a prepared folder.

    `timeout`: seconds to wait for a file's lock.
    """

    def __init__(
        self,
        presence: Presence,
        quarantine: QuarantineFolder,
        *,
        fsync: Fsync,
        timeout: float,
        clock: Callable[[], float],
    ) -> None:
        self._presence = presence
        self._owners = presence.ownership.owners
        self._quarantine = quarantine
        self._fsync: Fsync = fsync
        self._timeout = timeout
        self._clock = clock
        self._sessions = os.path.join(presence.folder, "sessions")

    def all_keys(self, first: str = "") -> Iterator[str]:
        """Yield the key of every file, live or not, in order.

        It goes around once, from the folder of `first` on.
        """
        shards = self._shards()
        begin = bisect_left(shards, first[:2])
        for shard in shards[begin:] + shards[:begin]:
            yield from sorted(name for name in self._names_in(shard) if len(name) == 64)

    def keys_from(self, beginning: str) -> list[str]:
        """Return the keys of all files that begin like this."""
        names = self._names_in(beginning[:2])
        return sorted(name for name in names if len(name) == 64 and name.startswith(beginning))

    def _shards(self) -> list[str]:
        with folder_fault("iterate"):
            try:
                return sorted(os.listdir(self._sessions))
            except FileNotFoundError:
                self._presence.require("iterate")
        return []

    def _names_in(self, shard: str) -> list[str]:
        with folder_fault("iterate"), suppress(FileNotFoundError, NotADirectoryError):
            return os.listdir(os.path.join(self._sessions, shard))
        return []

    # -- reading -------------------------------------------------------------------------------

    def load(self, key: str) -> Record | None:
        """Return the record, read without a lock.

        An invalid slot means that a writer is at work, or died. The other slot, read a moment
        earlier, may be two versions old by now. So it reads again and, if that repeats, reads under
        the lock: only there is an invalid slot believed.
        """
        try:
            path, owners = self._path(key), self._owners
            found = newest(read_file(path, owners), key) or newest(read_file(path, owners), key)
            return self._load_damaged(key) if found is None else found[0]
        except FileNotFoundError:
            self._presence.require("load", key)
            return None
        except NotARecord as error:
            self._put_aside(key, str(error))
            return None

    def _load_damaged(self, key: str) -> Record | None:
        try:
            file = self._locked(key)
        except OSError as error:
            if error.errno != errno.EROFS:
                raise
            return parse(read_file(self._path(key), self._owners), key).record
        with file:
            slots = parse(file.read(), key)
            if slots.record is None:
                self._put_aside(key, "no valid slot")
            elif slots.torn and self._presence.purpose != "look":
                self._repair(file, slots, key)
            return slots.record

    def _put_aside(self, key: str, reason: str) -> None:
        try:
            self._quarantine.found(self._path(key), key, reason)
        except OSError as error:
            if error.errno not in NO_WRITES:
                raise
            swallow(error, "session %s is damaged, and cannot be set aside", short_key(key))

    def _repair(self, file: LockedFile, slots: Slots, key: str) -> None:
        """Blank the part of a slot that a dead writer left, so that later readers need no lock."""
        try:
            offset, _ = place(file.size, slots.torn[0])
            file.write(blank_slot(), offset)
        except OSError as error:
            swallow(error, "a torn slot of session %s stays", short_key(key))

    # -- writing -------------------------------------------------------------------------------

    def create(self, key: str, record: Record) -> None:
        """See `SessionStore.create`."""
        path = self._path(key)
        try:
            temporary = self._write_temporary(path, key, record)
        except FileNotFoundError:
            self._presence.require("create", key)
            make_private(self._sessions, os.path.dirname(path))
            temporary = self._write_temporary(path, key, record)
        with temporary.file:
            try:
                self._link(temporary.path, path, key)
            finally:
                temporary.remove()
        self._sync_folder(path)

    def _link(self, temporary: str, path: str, key: str) -> None:
        """Give the file its name, unless a live session has it."""
        for _ in range(_MAX_ATTEMPTS):
            try:
                name_new_file(temporary, path, self._timeout)
            except FileExistsError:
                if self._is_live(key):
                    raise SessionExists(short_key(key)) from None
                self.delete_if_expired(key)
            else:
                return
        raise StoreUnavailable(
            f"a dead file holds the place of session {short_key(key)}, and could not be removed: "
            "try again",
            operation="create",
            key=short_key(key),
        )

    def save(self, key: str, record: Record) -> None:
        """See `SessionStore.save`; `record` is the new one, one version above the expected one."""
        try:
            file = self._locked(key)
        except (FileNotFoundError, NotARecord):
            self._presence.require("save", key)
            raise SessionGone(short_key(key)) from None
        with file:
            data = file.read()
            offset, capacity = next_place(data, record.version - 1, self._clock()) or place(
                len(data), 1 - self._require(data, record.version - 1, key)
            )
            if len(record.payload) > capacity:
                self._replace(key, record)
                return
            file.write(pack_slot(record, key, capacity), offset)
            if self._fsync != "none":
                self._sync(file, offset, key, record)

    def _require(self, data: bytes, version: int, key: str) -> int:
        """Return the slot of the newest record.

        Raises VersionConflict unless it is at this version, and SessionGone if there is no live
        one.
        """
        current, slot = newest(data, key) or parse(data, key)[:2]
        if current is None or current.expires_at <= self._clock():
            raise SessionGone(short_key(key))
        if current.version != version:
            raise VersionConflict(current)
        return slot

    def _sync(self, file: LockedFile, offset: int, key: str, record: Record) -> None:
        try:
            file.sync(self._fsync)
        except OSError:
            # After a failed fsync the kernel forgets the dirty pages: trying again on this file
            # would lie. The slot is made invalid, and the record goes through a file of its own.
            self._move(file, offset, key, record)

    def _move(self, file: LockedFile, offset: int, key: str, record: Record) -> None:
        """Withdraw the data written at `offset` and write the record elsewhere; once, see above."""
        try:
            file.write(blank_slot(), offset)
            self._replace(key, record)
        except OSError as error:
            raise StoreUnavailable(
                f"the disk did not take session {short_key(key)} ({error.strerror}): check it; the "
                "change may or may not be kept",
                operation="save",
                key=short_key(key),
            ) from bare(error)

    def _replace(self, key: str, record: Record) -> None:
        """Write the record into a new, larger file and replace the old one by it.

        The caller holds the old file's lock; a waiter then finds that the path leads elsewhere, and
        looks it up again.
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

    def touch(self, key: str, expires_at: float) -> None:
        """See `SessionStore.touch`."""
        try:
            with self._locked(key) as file:
                record = parse(file.read(), key).record
                if record is not None and self._clock() < record.expires_at < expires_at:
                    file.write(pack_touch(record.version, expires_at), 0)
        except (FileNotFoundError, NotARecord):
            self._presence.require("touch", key)

    def delete(self, key: str) -> None:
        """See `SessionStore.delete`."""
        path = self._path(key)
        try:
            with self._locked(key):
                os.unlink(path)
        except FileNotFoundError:
            self._presence.require("delete", key)
        except NotARecord as error:
            self._quarantine.found(path, key, str(error))
        self._sync_folder(path)

    def is_expired(self, key: str) -> bool:
        """Return whether the file holds an expired record, read without its lock."""
        try:
            record = parse(read_file(self._path(key), self._owners), key).record
        except (OSError, NotARecord):
            return False
        return record is not None and record.expires_at <= self._clock()

    def delete_if_expired(self, key: str) -> Record | None:
        """Delete the file if its record has expired, read under its lock; return what it was."""
        now = self._clock()
        if not self.is_expired(key):
            return None  # a damaged one is set aside when it is loaded
        try:
            with self._locked(key) as file:
                record = parse(file.read(), key).record
                if record is None or record.expires_at > now:
                    return None
                os.unlink(self._path(key))
        except (OSError, NotARecord, StoreUnavailable):
            return None  # gone, busy or unreadable: left to the next sweep
        return record

    def set_aside(self, key: str, version: int, reason: str) -> None:
        """Move the file to the quarantine if its record is damaged, or still at `version`."""
        with self._locked(key) as file:
            record = parse(file.read(), key).record
            if record is None or record.version == version:
                self._quarantine.take(self._path(key), key, reason)

    # -- inside --------------------------------------------------------------------------------

    def _path(self, key: str) -> str:
        return f"{self._sessions}/{key[:2]}/{key}"

    def _is_live(self, key: str) -> bool:
        record = self.load(key)
        return record is not None and record.expires_at > self._clock()

    def _locked(self, key: str) -> LockedFile:
        """Return the session's file under its lock. Raises FileNotFoundError, LockTimeout."""
        path, deadline = self._path(key), monotonic() + self._timeout
        return lock_at(path, WRITE, self._owners, deadline, key)

    def _write_temporary(self, path: str, key: str, record: Record) -> Temporary:
        temporary = Temporary(os.path.dirname(path), self._owners, monotonic() + self._timeout, key)
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
