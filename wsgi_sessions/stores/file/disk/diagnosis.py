"""The diagnosis of a session folder: its file system, free space, and locks."""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from wsgi_sessions.errors import StoreUnavailable
from wsgi_sessions.stores.file.disk.locking import try_lock
from wsgi_sessions.stores.file.disk.mounts import MOUNTS, mount_of
from wsgi_sessions.stores.file.disk.owners import refused_because
from wsgi_sessions.stores.file.disk.room import FreeSpace
from wsgi_sessions.stores.file.disk.system import CREATE, WRITE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PROBE = ".tmp-probe-"


class FileDiagnosis:
    """`Diagnosis` and `StoreClock` of a session folder."""

    def __init__(self, folder: str, mounts: str = MOUNTS) -> None:
        self._folder = folder
        self._mounts = mounts

    def facts(self) -> Mapping[str, str | int | float]:
        """See `Diagnosis.facts`."""
        try:
            self._test_locks()
            room = FreeSpace.at(self._folder)
        except OSError as error:
            raise self._unusable(error) from error
        facts: dict[str, str | int | float] = {
            "file_system": mount_of(os.path.realpath(self._folder), self._mounts).kind,
            "free_bytes": room.free_bytes,
            "free_percent": _percent(room.free_bytes, room.bytes),
        }
        if room.inodes:
            facts["free_inodes_percent"] = _percent(room.free_inodes, room.inodes)
        return facts

    def tidy(self, key: str) -> None:
        """See `Diagnosis.tidy`: removes a shard without a session."""
        with suppress(OSError):  # there is a session, or one comes just now
            os.rmdir(os.path.join(self._folder, "sessions", key[:2]))

    @staticmethod
    def _unusable(error: OSError) -> StoreUnavailable:
        advice = refused_because(error) or (
            "check its file system, and that the worker's user may write there"
        )
        return StoreUnavailable(
            f"the session folder cannot be used ({error.strerror}): {advice}",
            operation="diagnose",
        )

    def now(self) -> float:
        """See `StoreClock.now`: the time that the file system gives a new file.

        Files expire by the clocks of the hosts, which on a network file system should agree with
        the server's.
        """
        try:
            with self._probe() as (_, fd):
                return os.fstat(fd).st_mtime
        except OSError as error:
            raise self._unusable(error) from error

    @contextmanager
    def _probe(self) -> Iterator[tuple[str, int]]:
        """Make a new file; yield its path and open descriptor. A sweep removes it after a crash."""
        path = os.path.join(self._folder, f"{PROBE}{secrets.token_hex(8)}")
        fd = os.open(path, CREATE, 0o600)
        try:
            yield path, fd
        finally:
            with suppress(FileNotFoundError):  # a sweep came before it was locked
                os.unlink(path)
            os.close(fd)

    def _test_locks(self) -> None:
        """Raise StoreUnavailable unless two descriptors of one file exclude each other."""
        with self._probe() as (path, first):
            second = os.open(path, WRITE)
            try:
                works = try_lock(first) and not try_lock(second)
            finally:
                os.close(second)
        if not works:
            raise StoreUnavailable(
                "locks have no effect on the session file system: mount it with locking (on NFS "
                "without nolock), or keep the sessions elsewhere",
                operation="diagnose",
            )


def _percent(part: int, whole: int) -> float:
    return round(100 * part / max(whole, 1), 1)
