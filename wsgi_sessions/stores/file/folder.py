"""What else lies in the session folder: quarantine, index, locks, and its upkeep."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import stat
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import portalocker

from wsgi_sessions import texts
from wsgi_sessions.clock import system_clock, wall_clock
from wsgi_sessions.identity import short_key
from wsgi_sessions.stores.file.leases import FileLeases
from wsgi_sessions.stores.file.retries import retrying
from wsgi_sessions.stores.file.system import (
    locked_path,
    remove_if_unlocked,
    swallow,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from wsgi_sessions.stores.file.ownership import Ownership

MAX_QUARANTINED = 100
_NFS_FILE_AGE = 24 * 3600.0  # .nfs* files stand for open, removed ones: alive, until long unused
_log = texts.log("wsgi_sessions.stores.file")


class QuarantineFolder:
    """Damaged session files, kept for a look: the latest 100, older ones are removed."""

    def __init__(self, folder: str) -> None:
        self._folder = os.path.join(folder, "quarantine")

    def take(self, path: str, key: str, reason: str) -> None:
        """Move what lies at `path` here. Idempotent. Raises OSError."""
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        name = f"{time.time_ns()}-{secrets.token_hex(4)}-{key}"
        try:
            os.rename(path, os.path.join(self._folder, name))
        except FileNotFoundError:
            return
        _log.error("session %s set aside in quarantine: %s", short_key(key), reason)
        for old in sorted(self._names())[:-MAX_QUARANTINED]:
            _remove(os.path.join(self._folder, old))

    def count(self) -> int:
        """How many are here."""
        return len(self._names())

    def _names(self) -> list[str]:
        try:
            return os.listdir(self._folder)
        except FileNotFoundError:
            return []


class FileIndex:
    """Which sessions belong to a principal: a folder per principal, an empty file per session.

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
        digest = hashlib.sha256(principal.encode("utf-8", "surrogatepass")).hexdigest()
        return os.path.join(self._folder, digest[:2], digest)

    def _add(self, folder: str, key: str, expires_at: float) -> None:
        for path in (self._folder, os.path.dirname(folder), folder):
            with suppress(FileExistsError):
                os.mkdir(path, 0o700)  # makedirs would give the mode to the last one only
        path = os.path.join(folder, key)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        os.utime(path, (expires_at, expires_at))

    def _remove(self, folder: str, key: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(folder, key))
        with suppress(OSError):  # not empty, or somebody adds to it: then _add makes it again
            os.rmdir(folder)

    def _keys_in(self, folder: str) -> list[str]:
        now = self._clock()
        try:
            with os.scandir(folder) as entries:
                found = [(entry.name, entry.stat().st_mtime) for entry in entries]
        except FileNotFoundError:
            return []
        return [name for name, expires_at in found if expires_at > now]


class FileLocks:
    """A kernel lock per session: a dead holder frees it at once."""

    def __init__(self, folder: str) -> None:
        self._folder = os.path.join(folder, "locks")

    def hold(self, key: str, timeout: float) -> AbstractContextManager[None]:
        """See `SessionLocks.hold`."""
        return locked_path(os.path.join(self._folder, key), timeout, key)


class FileUpkeep:
    """The folder's upkeep by one elected process, and what to warn of."""

    def __init__(self, folder: str, ours: Ownership) -> None:
        self._root = folder
        self._ours = ours

    @contextmanager
    def elect(self, interval: float) -> Iterator[bool]:
        """See `Leftovers.elect`. The kernel's lock elects; the file's time tells the last sweep."""
        path = os.path.join(self._root, "sweep")
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            elected = _is_free(fd) and _is_due(os.fstat(fd), interval)
            if elected:
                os.pwrite(fd, b"the time of this file is the time of the last sweep\n", 0)
                os.utime(fd)
            yield elected
        finally:
            os.close(fd)

    def remove_leftovers(self) -> dict[str, int]:
        """See `Leftovers.remove_leftovers`."""
        counts = {"temporaries": 0, "nfs": 0, "locks": 0, "index": 0}
        for path in self._files("sessions"):
            name = os.path.basename(path)
            if name.startswith(".tmp-"):
                counts["temporaries"] += remove_if_unlocked(path)
            elif name.startswith(".nfs"):
                counts["nfs"] += _remove_if_old(path, _NFS_FILE_AGE)
        for path in self._files("locks"):
            counts["locks"] += remove_if_unlocked(path)
        for path in self._files("index"):
            counts["index"] += _remove_if_old(path, 0.0)
        counts["leases"] = FileLeases(self._root).remove_abandoned()
        return counts

    def warnings(self) -> list[str]:
        """See `Advice.warnings`."""
        found = []
        status = os.stat(self._root)
        mode = stat.S_IMODE(status.st_mode)
        if status.st_uid not in self._ours.owners:
            found.append(
                f"the session folder belongs to user {status.st_uid}, and this process is user "
                f"{os.geteuid()}: what one writes the other may not read; run all as one user"
            )
        if mode & (0o007 if status.st_gid == self._ours.group else 0o077):
            found.append(
                f"the session folder has mode {mode:o}: other users can look into it; chmod 700 it"
            )
        with suppress(FileNotFoundError):
            if stat.S_IMODE(os.lstat(os.path.join(self._root, "secret")).st_mode) & 0o077:
                found.append(
                    "the secret in the session folder can be read by other users: delete it "
                    "(everybody then logs in again), or chmod 600 it if nobody else has been here"
                )
        free = shutil.disk_usage(self._root)
        if free.free < free.total // 50:
            found.append("less than 2 % of the session file system is free: log-ins will fail")
        return found

    def _files(self, folder: str) -> Iterator[str]:
        for root, _, names in os.walk(os.path.join(self._root, folder)):
            yield from (os.path.join(root, name) for name in names)


def _is_free(fd: int) -> bool:
    """Whether nobody holds the lock of an open file: it is ours from now on, until it is closed."""
    try:
        portalocker.lock(fd, portalocker.LOCK_EX | portalocker.LOCK_NB)
    except portalocker.LockException:
        return False
    return True


def _is_due(status: os.stat_result, interval: float) -> bool:
    return status.st_size == 0 or abs(system_clock() - status.st_mtime) >= interval


def _remove_if_old(path: str, age: float) -> bool:
    """Remove a file whose time of modification is more than `age` seconds ago."""
    try:
        if os.lstat(path).st_mtime >= system_clock() - age:
            return False
        os.unlink(path)
    except OSError:
        return False
    return True


def _remove(path: str) -> None:
    try:
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
    except OSError as error:
        swallow(error, "an old quarantined file stays")
