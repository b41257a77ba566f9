"""Naming of a finished file, unless the name is taken, also where there are no hard links."""

from __future__ import annotations

import errno
import fcntl
import os
import time

from wsgi_sessions.clock import monotonic

_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)
_PAUSE = 0.002


def name_new_file(temporary: str, path: str, timeout: float = 1.0) -> None:
    """Give the file `temporary`, in the same folder, the name `path` unless that exists.

    The caller removes `temporary` afterwards: it may or may not still exist.

    A link never replaces anything. Some file systems have none (vfat, some FUSE and SMB mounts, a
    kernel that protects them), and a rename does replace. There, processes take turns by a lock on
    the folder and look before they rename. Raises FileExistsError and the OSError of the system; it
    raises EAGAIN if the turn does not come within `timeout` seconds.
    """
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _rename(temporary, path, monotonic() + timeout)


def _rename(temporary: str, path: str, deadline: float) -> None:
    folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _lock(folder, deadline)
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        os.rename(temporary, path)
    finally:
        os.close(folder)


def _lock(folder: int, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if monotonic() >= deadline:
                raise
            time.sleep(_PAUSE)  # polling leaves a gevent hub running
        else:
            return
