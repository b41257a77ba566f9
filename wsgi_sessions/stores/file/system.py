"""Files as the store needs them: opened safely, locked with a deadline, retried on faults.

Every operation begins with a fresh look-up of the path, because a file may have been removed or
replaced since: by another worker, or on another host of a network file system, where a stale handle
answers ESTALE. A retry therefore repeats the whole operation, never a single system call.
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
from wsgi_sessions.errors import ConfigurationError, LockTimeout, SessionError, StoreUnavailable
from wsgi_sessions.identity import short_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Fsync = Literal["none", "data", "full"]
T = TypeVar("T")

# O_NOFOLLOW: a link is never ours. O_NONBLOCK: opening a FIFO must not wait for its other end.
_SAFE = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
READ = os.O_RDONLY | _SAFE
WRITE = os.O_RDWR | _SAFE
CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | _SAFE

_NO_FILE_OF_OURS = (errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.EMLINK)
_RETRY_DELAYS = (0.0, 0.005, 0.02)  # seconds; one try more than there are delays
_log = texts.log("wsgi_sessions.stores.file")


class NotARecord(Exception):
    """What lies at a session's path is no file of ours: a link, a folder, a FIFO, a stranger's."""


def retrying(operation: str, key: str, action: Callable[..., T], *args: object) -> T:
    """Run `action(key, *args)`, again after an OSError; at last raise StoreUnavailable from it.

    A transient fault (ESTALE, EIO, EMFILE, ENOSPC, …) costs a few milliseconds and a log line.
    """
    try:
        return action(key, *args)
    except OSError as error:
        return retry(error, operation, key, action, *args)


def retry(error: OSError, operation: str, key: str, action: Callable[..., T], *args: object) -> T:
    """What `retrying` does after a first `error`. Reading and saving a session go wrong so seldom,
    and are done so often, that they make the first attempt themselves."""
    for attempt, delay in enumerate(_RETRY_DELAYS, 1):
        _log_fault(error, operation, key, attempt)
        time.sleep(delay)
        try:
            return action(key, *args)
        except OSError as another:
            error = another
    attempts = len(_RETRY_DELAYS) + 1
    _log_fault(error, operation, key, attempts)
    raise _unavailable(operation, key, error, attempts) from error


def _log_fault(error: OSError, operation: str, key: str, attempt: int) -> None:
    _log.warning(
        "session %s: %s failed with %s (%s), attempt %d",
        short_key(key),
        operation,
        errno.errorcode.get(error.errno or 0, "?"),
        error.strerror,
        attempt,
    )


def _unavailable(operation: str, key: str, error: OSError, attempts: int) -> StoreUnavailable:
    return StoreUnavailable(
        f"the file of session {short_key(key)} cannot be used: {operation} failed {attempts} "
        f"times, last with {error.strerror}; the session is as it was. {_advice(error.errno)}",
        operation=operation,
        key=short_key(key),
        attempts=attempts,
    )


def _advice(code: int | None) -> str:
    if code in (errno.ENOSPC, errno.EDQUOT):
        return "Free space on the session file system."
    if code in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "Give the worker's user write access to the session folder."
    if code in (errno.EMFILE, errno.ENFILE):
        return "Raise the limit of open files (ulimit -n)."
    return "Check the file system and its mount."


def read_file(path: str, owners: frozenset[int]) -> bytes:
    """The content of a session file, without a lock. Raises NotARecord for no file of ours."""
    fd = _open(path, READ)
    try:
        size = _own_size(os.fstat(fd), owners)
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


def _own_size(status: os.stat_result, owners: frozenset[int]) -> int:
    if status.st_uid not in owners or not stat.S_ISREG(status.st_mode):
        raise NotARecord("not a regular file of this user")
    return status.st_size


def _read_whole(fd: int, size: int) -> bytes:
    """So many bytes, also where a read is short; less if the file ends."""
    data = os.read(fd, size)
    while len(data) < size and (more := os.read(fd, size - len(data))):
        data += more
    return data


class LockedFile:
    """A session file, open for writing under its lock. A context manager.

    `is_linked` tells whether the path still led here once the lock was held: if not, the file was
    deleted or replaced by who held the lock before. Raises LockTimeout at `deadline` (monotonic
    seconds), NotARecord for no file of ours.
    """

    __slots__ = ("_fd", "is_linked", "size")

    def __init__(
        self, path: str, flags: int, owners: frozenset[int], deadline: float, key: str
    ) -> None:
        self._fd = _open(path, flags)
        try:
            if not try_lock(self._fd):
                wait_for_lock(self._fd, deadline, f"the file of session {short_key(key)}", key)
            status = os.fstat(self._fd)
            self.size = _own_size(status, owners)
            self.is_linked = status.st_nlink > 0
        except BaseException:
            self.close()
            raise

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

    def sync(self, fsync: Fsync) -> None:
        """Bring what was written to the disk, as the policy asks."""
        if fsync == "data":
            os.fdatasync(self._fd)
        elif fsync == "full":
            os.fsync(self._fd)


def wait_for_lock(fd: int, deadline: float, what: str, key: str = "") -> None:
    """Take the exclusive lock of an open file by `deadline` (monotonic), polling.

    Polling (a few ms) leaves a gevent hub running, where a blocking flock would stop it. Raises
    LockTimeout, or the OSError of flock itself.
    """
    while not try_lock(fd):
        if time.monotonic() >= deadline:
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
        if not try_lock(fd):
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
    """Hold a lock file while in the context; it is made, and removed afterwards.

    It is removed under its lock, and whoever then gets the lock of a removed file begins anew: so
    two never hold it, and the folder stays small. Raises LockTimeout.
    """
    deadline = time.monotonic() + timeout
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            wait_for_lock(fd, deadline, f"session {short_key(key)}", key)
            if os.fstat(fd).st_nlink:
                break
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
    try:
        yield
    finally:
        with suppress(OSError):
            os.unlink(path)
        unlock(fd)
        os.close(fd)


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
