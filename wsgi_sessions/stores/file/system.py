"""Files as the store needs them: opened safely, locked with a deadline, retried on faults.

Every operation begins with a fresh look-up of the path, because a file may have been removed or
replaced since: by another worker, or on another host of a network file system, where a stale handle
answers ESTALE. A retry therefore repeats the whole operation, never a single system call (see
`file.retries`).
"""

from __future__ import annotations

import errno
import fcntl
import os
import random
import stat
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from wsgi_sessions import texts
from wsgi_sessions.clock import monotonic
from wsgi_sessions.errors import ConfigurationError, LockTimeout, SessionError, StoreUnavailable
from wsgi_sessions.identity import short_key
from wsgi_sessions.stores.file.retries import retrying
from wsgi_sessions.stores.file.slots import MAX_FILE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

Fsync = Literal["none", "data", "full"]
T = TypeVar("T")

# O_NOFOLLOW: a link is never ours. O_NONBLOCK: opening a FIFO must not wait for its other end.
_SAFE = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
READ = os.O_RDONLY | _SAFE
WRITE = os.O_RDWR | _SAFE
CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | _SAFE

_NO_FILE_OF_OURS = (errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.EMLINK)
_log = texts.log("wsgi_sessions.stores.file")


class NotARecord(Exception):
    """What lies at a session's path is no file: a link, a folder, a FIFO."""


def read_file(path: str, owners: frozenset[int]) -> bytes:
    """The content of a session file, without a lock.

    Raises NotARecord for what is no file, and PermissionError for another user's.
    """
    fd = _open(path, READ)
    try:
        size = _own_size(path, os.fstat(fd), owners)
        data = os.read(fd, size)
        return data if len(data) == size else data + _read_whole(fd, size - len(data))
    finally:
        os.close(fd)


def _open(path: str, flags: int) -> int:
    try:
        return os.open(path, flags, 0o600)
    except OSError as error:
        if error.errno in _NO_FILE_OF_OURS:
            raise NotARecord(error.strerror) from error
        raise


def _own_size(path: str, status: os.stat_result, owners: frozenset[int] | None) -> int:
    if not stat.S_ISREG(status.st_mode):
        raise NotARecord("not a regular file")
    if owners is not None and status.st_uid not in owners:
        raise PermissionError(errno.EACCES, "it belongs to another user", path)
    if status.st_size > MAX_FILE_BYTES:
        raise NotARecord(f"{status.st_size} bytes, more than any session has")
    return status.st_size


def _read_whole(fd: int, size: int) -> bytes:
    """So many bytes, also where a read is short; less if the file ends."""
    data = os.read(fd, size)
    while len(data) < size and (more := os.read(fd, size - len(data))):
        data += more
    return data


class LockedFile:
    """A file, open for writing under its exclusive lock. A context manager.

    `is_linked` tells whether the path still led to this very file once the lock was held: if not,
    it was deleted, renamed or replaced by the one who held the lock before, and the lock excludes
    nobody. Device and inode decide, never the count of links: a backup by hard links keeps that
    above 0, and so does NFS, which renames a file that is removed while open.

    `owners` are the user ids whose files are ours; None: no matter whose, for files that say
    nothing but who holds them. `what` names the file in messages. Raises LockTimeout at `deadline`
    (monotonic seconds), NotARecord for what is no file, PermissionError for another user's, and the
    OSError of the system.
    """

    __slots__ = ("_fd", "_path", "is_linked", "size")

    def __init__(
        self,
        path: str,
        flags: int,
        owners: frozenset[int] | None,
        deadline: float,
        key: str,
        what: str = "the file of session %s",
    ) -> None:
        self._path = path
        self._fd = fd = _open(path, flags)
        try:
            if not try_lock(fd):
                wait_for_lock(fd, deadline, _named(what, key), key)
            status = os.fstat(fd)
            self.size = _own_size(path, status, owners)
            self.is_linked = leads_to(path, status)
        except BaseException:
            self.close()
            raise

    @classmethod
    def at(
        cls,
        path: str,
        flags: int,
        owners: frozenset[int] | None,
        deadline: float,
        key: str,
        what: str = "the file of session %s",
    ) -> LockedFile:
        """The file that the path leads to while its lock is held, looked up again if it was
        deleted or replaced while the caller waited. Raises what the class does."""
        while True:
            file = cls(path, flags, owners, deadline, key, what)
            if file.is_linked:
                return file
            file.close()

    def __enter__(self) -> LockedFile:
        return self

    def __exit__(self, *_: object) -> None:
        # Closing alone would do, but for a child forked meanwhile: it has the descriptor too.
        unlock(self._fd)
        os.close(self._fd)

    def close(self) -> None:
        """Unlock and close."""
        self.__exit__()

    def read(self) -> bytes:
        """The whole content."""
        return _read_whole(self._fd, self.size)

    def write(self, data: bytes, offset: int) -> None:
        """Write all of `data` at `offset`."""
        written = os.pwrite(self._fd, data, offset)
        while written < len(data):
            written += os.pwrite(self._fd, data[written:], offset + written)

    def cut(self, size: int) -> None:
        """Shorten the file to `size` bytes."""
        os.ftruncate(self._fd, size)

    def sync(self, fsync: Fsync) -> None:
        """Bring what was written to the disk, as the policy asks."""
        if fsync == "data":
            os.fdatasync(self._fd)
        elif fsync == "full":
            os.fsync(self._fd)

    def remove(self) -> None:
        """Remove the name, under the lock, if it still leads here: another file's stays."""
        if leads_to(self._path, os.fstat(self._fd)):
            os.unlink(self._path)


def leads_to(path: str, status: os.stat_result) -> bool:
    """Whether the path is a name of the open file that has this status: device and inode agree."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return False
    return found.st_ino == status.st_ino and found.st_dev == status.st_dev


def _named(what: str, key: str) -> str:
    return what % short_key(key) if "%" in what else what


def wait_for_lock(fd: int, deadline: float, what: str, key: str = "") -> None:
    """Take the exclusive lock of an open file by `deadline` (monotonic), polling.

    Polling (a few ms) leaves a gevent hub running, where a blocking flock would stop it. Raises
    LockTimeout, or the OSError of flock itself.
    """
    while not try_lock(fd):
        if monotonic() >= deadline:
            raise LockTimeout(
                f"{what} stays locked by another process; look for one that hangs",
                operation="lock",
                key=short_key(key),
            )
        time.sleep(random.uniform(0.0005, 0.004))  # noqa: S311  # spreads waiters, no secret


def try_lock(fd: int) -> bool:
    """Take the exclusive lock if it is free: portalocker's own call, 4 µs cheaper than through it,
    which every commit would pay twice."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def unlock(fd: int) -> None:
    """Let go of the lock, for all who have this descriptor."""
    try:
        fcntl.flock(fd, fcntl.LOCK_UN)
    except OSError as error:
        swallow(error, "a lock is left to close")


def remove_if_unlocked(path: str) -> bool:
    """Remove a file that no live process holds the lock of. Never raises for a fault."""
    try:
        fd = os.open(path, WRITE)
    except OSError:
        return False
    try:
        # Its holder may have removed the name since, and somebody made and locked it again.
        if not try_lock(fd) or not leads_to(path, os.fstat(fd)):
            return False
        os.unlink(path)
    except OSError as error:
        swallow(error, "a leftover stays until the next sweep")
        return False
    finally:
        os.close(fd)
    return True


@contextmanager
def locked_path(path: str, timeout: float, key: str) -> Iterator[None]:
    """Hold a lock file while in the context; it is made, with its folder, and removed afterwards.

    It is removed under its lock, and a waiter who then gets the lock of a removed file begins
    again: so two never hold it, and the folder stays small. Raises LockTimeout after `timeout`
    seconds, and StoreUnavailable if the system fails again and again.
    """
    lock = retrying("lock", key, lambda _: _lock_file(path, monotonic() + timeout, key))
    try:
        yield
    finally:
        with suppress(OSError):
            lock.remove()
        lock.close()


def _lock_file(path: str, deadline: float, key: str) -> LockedFile:
    flags = WRITE | os.O_CREAT
    try:
        return lock_ours(path, flags, deadline, key, "session %s")
    except FileNotFoundError:
        # One level: if the session folder itself is gone, that must not be made again.
        with suppress(FileExistsError):
            os.mkdir(os.path.dirname(path), 0o700)
        return lock_ours(path, flags, deadline, key, "session %s")


def lock_ours(path: str, flags: int, deadline: float, key: str, what: str) -> LockedFile:
    """`LockedFile.at` for a file beside the records: whoever made it, and what is no file there is
    a fault (StoreUnavailable)."""
    try:
        return LockedFile.at(path, flags, None, deadline, key, what)
    except NotARecord as error:
        raise StoreUnavailable(
            f"{path} is no file that this store could have made ({error}): remove it after a look",
            operation="lock",
            key=short_key(key),
        ) from error


def make_folder(path: str) -> None:
    """Make a private folder (0700), and its parents. Raises ConfigurationError if it cannot."""
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with suppress(FileExistsError):
            os.mkdir(path, 0o700)
        os.listdir(path)
    except OSError as error:
        raise ConfigurationError(
            f"the session folder {path} cannot be made ({error.strerror}): "
            "name another one in WSGI_SESSIONS_URL, or change its permissions"
        ) from error


def sync_folder(path: str) -> None:
    """Bring a folder's entries to the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def swallow(error: SessionError | OSError, what: str, *facts: Any) -> None:
    """Log a fault in an aside (a repair, a clean-up) that must not fail the request."""
    _log.warning(f"{what}: %s", *facts, error)  # `what` is a constant format
