"""What all processes that share something agree on: one text, decided by the first of them.

It is kept in a file that each of them holds locked (shared) while it lives, however it dies. The
text stands as long as somebody holds it, or a server lives whose workers held it: so also while all
of its workers are being restarted. Who comes later finds it; who comes when it has ended decides
anew. All this happens under one lock of the folder.

Not promised: agreement between hosts, between users, or between those who name different folders.
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
STICKY = 0o1600  # systemd-tmpfiles leaves such a file alone, however old it is


class Hold:
    """A process' share in what was agreed, for as long as this object, or a fork of it, lives."""

    def __init__(self, fd: int) -> None:
        self.release = weakref.finalize(self, os.close, fd)


class Agreed(NamedTuple):
    """What was agreed, whether this process decided it, and its hold on it."""

    text: str
    is_new: bool
    hold: Hold


def agree(folder: str, name: str, decide: Callable[[], str], *, timeout: float) -> Agreed:
    """What stands in `folder` under `name` (64 hex characters), else what `decide` answers.

    The folder is made (0700) if need be. `decide` gives one line, and may raise: then nothing is
    agreed. `timeout` is how long to wait for others who decide, in seconds.

    Raises ConfigurationError if the folder is not safe or cannot be used: whoever went on without
    it could differ from the others. LockTimeout if another process does not come to a decision.
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
            f"the folder {folder}, in which processes agree on one of several session stores, "
            f"cannot be used ({error.strerror}): {_REMEDY}"
        ) from error


def standing(folder: str, name: str) -> str | None:
    """What stands in `folder` under `name`; None if nothing does. Makes nothing, and agrees to
    nothing: it may be over when this returns.

    Raises ConfigurationError as `agree`.
    """
    try:
        place = os.open(folder, _FOLDER)
    except OSError:
        return None  # nobody has agreed on anything there yet
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
            f"the folder {folder}, in which processes agree on one of several session stores, "
            f"cannot be read ({error.strerror}): {_REMEDY}"
        ) from error
    finally:
        os.close(place)


_REMEDY = "name one store, or another folder in WSGI_SESSIONS_CHOICE_FOLDER"


@contextmanager
def folder_of_user(folder: str, timeout: float) -> Iterator[int]:
    """A folder that is this user's alone, made (0700) if need be: open, and locked.

    Raises ConfigurationError if it is not, LockTimeout, and OSError.
    """
    make_private(folder)
    place = os.open(folder, _FOLDER)
    try:
        _require_private(folder, os.fstat(place))
        wait_for_lock(
            place,
            monotonic() + timeout,
            f"the folder {folder}, in which processes agree on a session store,",
        )
        yield place
    finally:
        # Closing unlocks: nobody forks in between but to start a program, which inherits nothing.
        os.close(place)


def _require_private(folder: str, status: os.stat_result) -> None:
    if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigurationError(
            f"the folder {folder}, in which processes agree on one of several session stores, is "
            f"not of this user alone: remove it after a look, {_REMEDY}"
        )


def _standing(place: int, name: str) -> int | None:
    """The file under this name, held; None if there is none or its time is over."""
    try:
        fd = os.open(name, _FILE, dir_fd=place)
    except FileNotFoundError:
        return None
    if _is_over(fd):
        os.close(fd)
        return None
    # At once: nobody holds it exclusively but who has the folder.
    fcntl.flock(fd, fcntl.LOCK_SH)
    return fd


def _is_over(fd: int) -> bool:
    """Whether nobody holds the file, and no server whose workers did lives."""
    return try_lock(fd) and not any(server.is_alive() for server in _read(fd).servers)


def _begin(place: int, name: str, text: str) -> int:
    """A file with this text, held from before it can be found."""
    _remove_old(place)
    fd = os.open(f"{name}.new", _FILE | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=place)
    try:
        with suppress(OSError):  # not everywhere for everybody
            os.fchmod(fd, STICKY)
        fcntl.flock(fd, fcntl.LOCK_SH)
        _write(fd, f"{text}\n")
        os.rename(f"{name}.new", name, src_dir_fd=place, dst_dir_fd=place)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _remove_old(place: int) -> None:
    """Remove what nobody needs any more, of whichever name."""
    for name in filter(_OURS.fullmatch, os.listdir(place)):
        try:
            fd = os.open(name, _FILE, dir_fd=place)
        except OSError:
            continue  # no file of ours; if it is in the way, the next step says so
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
