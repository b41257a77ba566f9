"""Agreement between processes: one text, decided by the first of them.

The text is in a file on which each process holds a shared lock until it ends, however it ends. It
is valid while any process holds the lock, or while a server lives whose workers held it, so that it
survives a restart of all workers. A later process finds it; a process that starts after it has
ended decides again. All this happens under one lock of the folder.

Not promised: agreement between hosts, between users, or between processes with different folders.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import weakref
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from wsgi_sessions.clock import monotonic
from wsgi_sessions.errors import ConfigurationError
from wsgi_sessions.stack.choice.server_process import Process, server_of_this_process
from wsgi_sessions.stores.file.disk.folders import make_private
from wsgi_sessions.stores.file.disk.locking import try_lock, wait_for_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_FILE = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
_OURS = re.compile(r"[0-9a-f]{64}(\.new)?")
STICKY = 0o1600  # systemd-tmpfiles never removes such a file, however old


class Hold:
    """The hold of a process on an agreement, while this object or a fork of it lives."""

    def __init__(self, fd: int) -> None:
        self.release = weakref.finalize(self, os.close, fd)


class Agreed(NamedTuple):
    """The agreed text, whether this process decided it, and its hold on it."""

    text: str
    is_new: bool
    hold: Hold


def agree(folder: str, name: str, decide: Callable[[], str], *, timeout: float) -> Agreed:
    """Return the text agreed in `folder` under `name` (64 hex characters), or agree on `decide()`.

    The folder is created (0700) if missing. `decide` returns one line, or raises: then nothing is
    agreed. `timeout` is the time to wait for another process that decides, in seconds.

    Raises ConfigurationError if the folder is unsafe or unusable: a process without it could decide
    differently from the others. Raises LockTimeout if another process does not reach a decision.
    """
    try:
        with folder_of_user(folder, timeout) as place:
            standing = _standing(place, name)
            is_new = standing is None
            fd = _begin(place, name, decide()) if standing is None else standing
            hold = Hold(fd)
            _note_server(fd)
            return Agreed(_read(fd).text, is_new, hold)
    except OSError as error:
        raise ConfigurationError(
            f"the folder {folder}, which processes use to agree on a session store, cannot be "
            f"used ({error.strerror}): {_REMEDY}"
        ) from error


def standing(folder: str, name: str) -> str | None:
    """Return the text agreed in `folder` under `name`, or None. Creates nothing and takes no hold:
    the agreement may have ended when this returns.

    Raises ConfigurationError as `agree` does.
    """
    try:
        place = os.open(folder, _FOLDER)
    except OSError:
        return None  # there is no agreement yet
    try:
        _require_private(folder, os.fstat(place))
        fd = _standing(place, name)
        if fd is None:
            return None
        try:
            return _read(fd).text
        finally:
            os.close(fd)
    except OSError as error:
        raise ConfigurationError(
            f"the folder {folder}, which processes use to agree on a session store, cannot be "
            f"read ({error.strerror}): {_REMEDY}"
        ) from error
    finally:
        os.close(place)


_REMEDY = "name one store, or another folder in WSGI_SESSIONS_CHOICE_FOLDER"


@contextmanager
def folder_of_user(folder: str, timeout: float) -> Iterator[int]:
    """Open and lock a folder that belongs to this user alone; create it (0700) if missing.

    Raises ConfigurationError if it is not, LockTimeout, and OSError.
    """
    make_private(folder)
    place = os.open(folder, _FOLDER)
    try:
        _require_private(folder, os.fstat(place))
        wait_for_lock(
            place,
            monotonic() + timeout,
            f"the folder {folder}, which processes use to agree on a session store,",
        )
        yield place
    finally:
        # Closing unlocks: a fork in between only starts a program, which inherits nothing.
        os.close(place)


def _require_private(folder: str, status: os.stat_result) -> None:
    if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigurationError(
            f"the folder {folder}, which processes use to agree on a session store, does not "
            f"belong to this user alone: inspect and remove it, {_REMEDY}"
        )


def _standing(place: int, name: str) -> int | None:
    """Open and hold the file of this name; None if it is missing or has ended."""
    try:
        fd = os.open(name, _FILE, dir_fd=place)
    except FileNotFoundError:
        return None
    if _is_over(fd):
        os.close(fd)
        return None
    # Never blocks: only the holder of the folder locks it exclusively.
    fcntl.flock(fd, fcntl.LOCK_SH)
    return fd


def _is_over(fd: int) -> bool:
    """Return whether the file has no holder, and no living server whose workers held it."""
    return try_lock(fd) and not any(server.is_alive() for server in _read(fd).servers)


def _begin(place: int, name: str, text: str) -> int:
    """Create a file with this text, held before it becomes visible."""
    _remove_old(place)
    fd = os.open(f"{name}.new", _FILE | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=place)
    try:
        with suppress(OSError):  # the mode is not allowed everywhere
            os.fchmod(fd, STICKY)
        fcntl.flock(fd, fcntl.LOCK_SH)
        _write(fd, f"{text}\n")
        os.rename(f"{name}.new", name, src_dir_fd=place, dst_dir_fd=place)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _remove_old(place: int) -> None:
    """Remove files that have ended, of any name."""
    for name in filter(_OURS.fullmatch, os.listdir(place)):
        try:
            fd = os.open(name, _FILE, dir_fd=place)
        except OSError:
            continue  # not a file of ours; if it is in the way, the next step says so
        try:
            if name.endswith(".new") or _is_over(fd):
                os.unlink(name, dir_fd=place)
        finally:
            os.close(fd)


def _note_server(fd: int) -> None:
    server = server_of_this_process()
    if server is not None and server not in _read(fd).servers:
        os.lseek(fd, 0, os.SEEK_END)
        _write(fd, f"{server.pid} {server.started}\n")


def _write(fd: int, text: str) -> None:
    data = text.encode()
    if os.write(fd, data) < len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class _Content(NamedTuple):
    text: str
    servers: list[Process]


def _read(fd: int) -> _Content:
    text, *lines = os.pread(fd, os.fstat(fd).st_size, 0).decode().split("\n")
    numbers = (re.fullmatch(r"(\d+) (\d+)", line) for line in lines)
    return _Content(text, [Process(int(m[1]), int(m[2])) for m in numbers if m])
