"""The live processes of a session folder: each keeps one file locked while it lives.

The kernel frees that lock at the death of the process, however it dies.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import weakref
from contextlib import suppress
from typing import Any, NamedTuple

from wsgi_sessions import texts
from wsgi_sessions.stores.file.disk.folders import make_private
from wsgi_sessions.stores.file.disk.locking import (
    remove_if_unlocked,
    try_lock_at,
    unlock,
)
from wsgi_sessions.stores.file.disk.system import CREATE, READ


@texts.shows("fd")
class OwnFile(NamedTuple):
    """The file of this process. `end` unlocks and removes it, once."""

    token: str
    fd: int
    end: weakref.finalize[..., Any]


class LivenessFile:
    """A file that each process of a session folder keeps locked while it lives.

    It is made at the first use in each process, so that a fork has its own. Its name (the `token`)
    is random: process ids are used again, and mean nothing on other hosts.
    """

    def __init__(self, folder: str) -> None:
        self._folder = os.path.join(folder, "processes")
        self._own: dict[int, OwnFile] = {}  # by process id; one at most

    def token(self) -> str:
        """Return this process's token."""
        own = self._own.get(os.getpid())
        return (own or self._begin()).token

    def is_alive(self, token: str) -> bool:
        """Return whether the process with this token lives. Raises OSError if that is unknown."""
        own = self._own.get(os.getpid())
        if own is not None and own.token == token:
            return True
        try:
            fd = os.open(os.path.join(self._folder, os.path.basename(token)), READ)
        except FileNotFoundError:
            return False
        try:
            # Shared, so that two callers do not take each other for the process.
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def remove_dead(self) -> int:
        """Remove the files of dead processes; return how many."""
        try:
            names = os.listdir(self._folder)
        except FileNotFoundError:
            return 0
        return sum(remove_if_unlocked(os.path.join(self._folder, name)) for name in names)

    def _begin(self) -> OwnFile:
        make_private(self._folder)
        made = self._make()
        # setdefault: two threads that race here use the same one.
        own = self._own.setdefault(os.getpid(), made)
        if own is not made:
            made.end()
            return own
        forget = weakref.WeakMethod(self._forget_parent)
        os.register_at_fork(after_in_child=lambda: (method := forget()) and method())
        return own

    def _make(self) -> OwnFile:
        while True:
            token = secrets.token_hex(8)
            path = os.path.join(self._folder, token)
            fd = os.open(path, CREATE, 0o600)
            # Between the two calls a sweep may take it for a dead process's.
            if try_lock_at(path, fd):
                return OwnFile(token, fd, weakref.finalize(self, _end, os.getpid(), path, fd))
            os.close(fd)

    def _forget_parent(self) -> None:
        """Close the parent's file in a forked child: the parent would seem to live on in it."""
        while self._own:
            _, own = self._own.popitem()
            own.end.detach()
            os.close(own.fd)  # without unlocking: the lock is the parent's


def _end(process_id: int, path: str, fd: int) -> None:
    if process_id != os.getpid():
        return  # a fork that ran no fork hooks
    with suppress(OSError):
        os.unlink(path)
    unlock(fd)
    os.close(fd)
