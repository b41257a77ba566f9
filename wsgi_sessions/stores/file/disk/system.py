"""Files as the store needs them: opened safely, and read as a whole."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Any, Literal

from wsgi_sessions import texts
from wsgi_sessions.stores.file.slots import MAX_FILE_BYTES

if TYPE_CHECKING:
    from wsgi_sessions.errors import SessionError

Fsync = Literal["none", "data", "full"]

# O_NOFOLLOW: a link is never ours. O_NONBLOCK: opening a FIFO must not wait for its other end.
_SAFE = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
READ = os.O_RDONLY | _SAFE
WRITE = os.O_RDWR | _SAFE
CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | _SAFE

_KIND, _REGULAR = stat.S_IFMT(0o777777), stat.S_IFREG
_NO_FILE_OF_OURS = (errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.EMLINK)
_log = texts.log(__name__)


class NotARecord(Exception):
    """The path of a session leads to something else than a file: a link, a folder, a FIFO."""


def read_file(path: str, owners: frozenset[int]) -> bytes:
    """Return the content of a session file, without a lock.

    Raises NotARecord for anything but a file, and PermissionError for another user's.
    """
    fd = open_own(path, READ)
    try:
        size = own_size(path, os.fstat(fd), owners)
        data = os.read(fd, size)
        return data if len(data) == size else data + read_whole(fd, size - len(data))
    finally:
        os.close(fd)


def open_own(path: str, flags: int) -> int:
    """Return an open file. Raises NotARecord for anything else, and the OSError of the system."""
    try:
        return os.open(path, flags, 0o600)
    except OSError as error:
        if error.errno in _NO_FILE_OF_OURS:
            raise NotARecord(error.strerror) from error
        raise


def own_size(path: str, status: os.stat_result, owners: frozenset[int] | None) -> int:
    """Return the bytes of an open file. Raises as `read_file`; `owners` as in `lock_at`."""
    size = status.st_size
    if status.st_mode & _KIND != _REGULAR:
        raise NotARecord("not a regular file")
    if owners is not None and status.st_uid not in owners:
        raise PermissionError(errno.EACCES, "it belongs to another user", path)
    if size > MAX_FILE_BYTES:
        raise NotARecord(f"{size} bytes, more than any session has")
    return size


def read_whole(fd: int, size: int) -> bytes:
    """Return so many bytes, even if a read is short; less if the file ends."""
    data = os.read(fd, size)
    while len(data) < size and (more := os.read(fd, size - len(data))):
        data += more
    return data


def sync_file(fd: int, fsync: Fsync) -> None:
    """Sync the written data of an open file to the disk, as the policy asks."""
    if fsync == "data":
        os.fdatasync(fd)
    elif fsync == "full":
        os.fsync(fd)


def swallow(error: SessionError | OSError, what: str, *facts: Any) -> None:
    """Log a fault in a side task (a repair, a clean-up) that must not fail the request."""
    _log.warning(f"{what}: %s", *facts, error)  # `what` is a constant format
