"""Kernel locks on files and paths, with a deadline.

Every operation begins with a fresh look-up of the path: another worker, or another host of a
network file system, may have removed or replaced the file, where a stale handle answers ESTALE. A
retry therefore repeats the whole operation, never a single system call (see `file.disk.retries`).
"""

from __future__ import annotations

import fcntl
import os
import random
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from msgspec import Struct

from wsgi_sessions import texts
from wsgi_sessions.clock import monotonic
from wsgi_sessions.errors import LockTimeout, StoreUnavailable, bare
from wsgi_sessions.identity import short_key
from wsgi_sessions.mutex import Fence, Held
from wsgi_sessions.stores.file.disk.folders import make_private
from wsgi_sessions.stores.file.disk.retries import retrying
from wsgi_sessions.stores.file.disk.system import (
    WRITE,
    Fsync,
    NotARecord,
    open_own,
    own_size,
    read_whole,
    swallow,
    sync_file,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOCK_IF_FREE = fcntl.LOCK_EX | fcntl.LOCK_NB


@texts.shows()
class LockedFile(Struct):
    """A file, open for writing under its exclusive lock, as a context manager. See `lock_at`."""

    path: str
    fd: int
    size: int
    """The size in bytes when the lock was taken."""

    def __enter__(self) -> LockedFile:
        return self

    def __exit__(self, *_: object) -> None:
        _let_go(self.fd)

    def close(self) -> None:
        """Unlock and close."""
        _let_go(self.fd)

    def read(self) -> bytes:
        """Return the whole content."""
        data = os.read(self.fd, self.size)
        size = self.size - len(data)
        return data + read_whole(self.fd, size) if size else data

    def write(self, data: bytes, offset: int) -> None:
        """Write all of `data` at `offset`."""
        written = os.pwrite(self.fd, data, offset)
        while written < len(data):
            written += os.pwrite(self.fd, data[written:], offset + written)

    def cut(self, size: int) -> None:
        """Shorten the file to `size` bytes."""
        os.ftruncate(self.fd, size)

    def sync(self, fsync: Fsync) -> None:
        """Sync the written data to the disk, as the policy asks."""
        sync_file(self.fd, fsync)

    def remove(self) -> bool:
        """Remove the name if it still leads to this file; return whether it did."""
        if not leads_to(self.path, os.fstat(self.fd)):
            return False
        os.unlink(self.path)
        return True

    def number(self) -> str:
        """Return a text that no other file has while this one is open: see `number_of`."""
        return _number(os.fstat(self.fd))


def lock_at(
    path: str,
    flags: int,
    owners: frozenset[int] | None,
    deadline: float,
    key: str,
    what: str = "the file of session %s",
) -> LockedFile:
    """Return the file that the path leads to while its lock is held.

    The path is looked up again if it does not lead to the locked file: the former holder deleted,
    renamed or replaced it, and its lock excludes no process. Device and inode decide, never the
    count of links: a backup by hard links keeps that above 0, and so does NFS, which renames a file
    that is removed while open.

    `owners` are the user ids whose files are ours; None: any owner, for files that only say who
    holds them. `what` names the file in messages. Raises LockTimeout at `deadline` (monotonic
    seconds), NotARecord for anything but a file, PermissionError for another user's, and the
    OSError of the system.
    """
    while True:
        fd = open_own(path, flags)
        try:
            if not try_lock(fd):
                wait_for_lock(fd, deadline, _named(what, key), key)
            status = os.fstat(fd)
            size = own_size(path, status, owners)
            if leads_to(path, status):
                return LockedFile(path, fd, size)
        except BaseException:
            _let_go(fd)
            raise
        _let_go(fd)


def _let_go(fd: int) -> None:
    # Closing would do, except for a child that was forked since: it has the descriptor too.
    unlock(fd)
    os.close(fd)


def leads_to(path: str, status: os.stat_result) -> bool:
    """Return whether the path names the open file of this status: device and inode agree."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return False
    return found.st_ino == status.st_ino and found.st_dev == status.st_dev


def number_of(path: str) -> str | None:
    """Return device and inode of the file that a path leads to, as text; None if there is none."""
    try:
        return _number(os.lstat(path))
    except FileNotFoundError:
        return None


def _number(status: os.stat_result) -> str:
    return f"{status.st_dev}:{status.st_ino}"


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
                f"{what} stays locked by another process: look for a hung one",
                operation="lock",
                key=short_key(key),
            )
        time.sleep(random.uniform(0.0005, 0.004))  # noqa: S311  # spreads waiters, no secret


def try_lock(fd: int) -> bool:
    """Take the exclusive lock if it is free.

    This is portalocker's own call, without portalocker: 4 µs less, which every commit would pay
    twice.
    """
    try:
        fcntl.flock(fd, _LOCK_IF_FREE)
    except BlockingIOError:
        return False
    return True


def try_lock_at(path: str, fd: int) -> bool:
    """Take the lock of an open file if it is free; return whether the path still leads there."""
    return try_lock(fd) and leads_to(path, os.fstat(fd))


def unlock(fd: int) -> None:
    """Release the lock, for all holders of this descriptor."""
    try:
        fcntl.flock(fd, fcntl.LOCK_UN)
    except OSError as error:
        swallow(error, "a lock is released only by closing its file")


def remove_if_unlocked(path: str) -> bool:
    """Remove a file whose lock no live process holds. Never raises for a fault."""
    try:
        fd = os.open(path, WRITE)
    except OSError:
        return False
    try:
        # Its holder may have removed the name since, and another process made and locked it again.
        if not try_lock_at(path, fd):
            return False
        os.unlink(path)
    except OSError as error:
        swallow(error, "a leftover stays until the next sweep")
        return False
    finally:
        os.close(fd)
    return True


@contextmanager
def locked_path(path: str, timeout: float, key: str) -> Iterator[Held]:
    """Hold a lock file while in the context; it is made, with its folder, and removed afterwards.

    It is removed under its lock, and a waiter that then gets the lock of the removed file starts
    again: so two never hold it, and the folder stays small. Raises LockTimeout after `timeout`
    seconds, and StoreUnavailable if the system fails again and again.
    """
    lock = retrying("lock", key, lambda _: _lock_file(path, monotonic() + timeout, key))
    held = Held(Fence(key, lock.number()))
    try:
        yield held
    finally:
        with suppress(OSError):
            held.was_lost = not lock.remove()
        lock.close()


def _lock_file(path: str, deadline: float, key: str) -> LockedFile:
    flags = WRITE | os.O_CREAT
    try:
        return lock_ours(path, flags, deadline, key, "session %s")
    except FileNotFoundError:
        make_private(os.path.dirname(path))
        return lock_ours(path, flags, deadline, key, "session %s")


def lock_ours(path: str, flags: int, deadline: float, key: str, what: str) -> LockedFile:
    """Like `lock_at`, for a file beside the records, of any owner.

    Anything but a file there is a fault (StoreUnavailable).
    """
    try:
        return lock_at(path, flags, None, deadline, key, what)
    except NotARecord as error:
        raise StoreUnavailable(
            f"{path} is not a file of this store ({error}): inspect it, and remove it",
            operation="lock",
            key=short_key(key),
        ) from bare(error)
