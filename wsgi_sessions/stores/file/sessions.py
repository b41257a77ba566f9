"""Sessions in files: a store's operations, repeated after faults of the system."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from wsgi_sessions.clock import wall_clock
from wsgi_sessions.contract import Record
from wsgi_sessions.errors import StoreUnavailable
from wsgi_sessions.identity import short_key
from wsgi_sessions.stores.file.disk.presence import Presence
from wsgi_sessions.stores.file.disk.retries import once, retry, retrying
from wsgi_sessions.stores.file.disk.system import Fsync, swallow
from wsgi_sessions.stores.file.locks import FileLocks
from wsgi_sessions.stores.file.quarantine import QuarantineFolder
from wsgi_sessions.stores.file.records import RecordFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wsgi_sessions.contract import Purpose
    from wsgi_sessions.mutex import Fence
    from wsgi_sessions.upkeep import OnDeleted, OnSetAside


class FileStore:
    """Session records in a folder."""

    def __init__(
        self,
        folder: str,
        *,
        fsync: Fsync = "none",
        timeout: float = 1.0,
        group: str | None = None,
        purpose: Purpose = "use",
        clock: Callable[[], float] = wall_clock,
    ) -> None:
        self.folder = os.path.abspath(folder)
        self.presence = Presence(self.folder, group, purpose)
        self._clock = clock
        self._swept_up_to = ""
        self._quarantine = QuarantineFolder(self.folder, purpose)
        self._locks = FileLocks(self.folder)
        self._files = RecordFiles(
            self.presence,
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

    def save(
        self,
        key: str,
        payload: bytes,
        expires_at: float,
        *,
        expected_version: int,
        fence: Fence | None = None,
    ) -> int:
        """See `SessionStore.save`."""
        record = Record(expected_version + 1, payload, expires_at)
        if fence is not None:
            self._locks.require(fence, key)
        try:
            self._files.save(key, record)
        except OSError as error:
            retry(error, "save", key, self._files.save, record)
        return record.version

    def touch(self, key: str, expires_at: float) -> None:
        """See `SessionStore.touch`."""
        once("touch", key, self._files.touch, expires_at)

    def delete(self, key: str) -> None:
        """See `SessionStore.delete`."""
        retrying("delete", key, self._files.delete)

    def ping(self) -> None:
        """See `SessionStore.ping`."""
        self.presence.require("ping")

    def close(self) -> None:
        """Do nothing: no file stays open between calls."""

    # -- iteration, expiry, quarantine ---------------------------------------------------------

    def keys(self) -> Iterator[str]:
        """See `SessionIteration.keys`."""
        return (key for key in self._files.all_keys() if self.load(key) is not None)

    def count(self) -> int:
        """See `SessionIteration.count`."""
        return sum(1 for _ in self.keys())

    def keys_from(self, beginning: str, limit: int) -> list[str]:
        """See `KeySearch.keys_from`. Lists one folder."""
        return self._files.keys_from(beginning)[:limit]

    def delete_expired(self, limit: int, told: OnDeleted | None = None) -> int:
        """See `ExpiredDeletion.delete_expired`."""
        deleted = 0
        # From the end of the last call on: a sweep goes around once, in any number of calls.
        for key in self._files.all_keys(self._swept_up_to):
            if deleted == limit:
                self._swept_up_to = key
                break
            record = self._files.delete_if_expired(key)
            if record is not None:
                deleted += 1
                if told is not None:
                    told(key, record)
        return deleted

    def remains(self, key: str) -> Record | None:
        """See `ExpiredDeletion.remains`."""
        record = retrying("load", key, self._files.load)
        return None if record is None or record.expires_at > self._clock() else record

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

    def report_to(self, told: OnSetAside) -> None:
        """See `Quarantine.report_to`."""
        self._quarantine.told = told
