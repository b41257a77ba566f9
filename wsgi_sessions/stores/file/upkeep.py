"""The upkeep of the session folder: leftovers, and warnings."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import portalocker

from wsgi_sessions import texts
from wsgi_sessions.clock import system_clock
from wsgi_sessions.stores.file.disk.diagnosis import PROBE
from wsgi_sessions.stores.file.disk.locking import remove_if_unlocked
from wsgi_sessions.stores.file.disk.retries import folder_fault
from wsgi_sessions.stores.file.disk.room import FreeSpace
from wsgi_sessions.stores.file.leases import FileLeases

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsgi_sessions.stores.file.disk.presence import Presence
    from wsgi_sessions.stores.file.secret import FileSecret

_NFS_FILE_AGE = 24 * 3600.0  # .nfs* files stand for open, removed ones: alive, until long unused
_WRITING_SECONDS = 60.0
_log = texts.log(__name__)


class FileUpkeep:
    """`Leftovers` and `Advice` of a session folder."""

    def __init__(self, presence: Presence, secret: FileSecret) -> None:
        self._root = presence.folder
        self._ours = presence.ownership
        self._presence = presence
        self._secret = secret
        self._short: list[str] = []

    @contextmanager
    def elect(self, interval: float) -> Iterator[bool]:
        """See `Leftovers.elect`. The kernel's lock elects; the file's time is the last sweep's."""
        path = os.path.join(self._root, "sweep")
        with folder_fault("sweep"):
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
        with folder_fault("sweep"):
            self._presence.refresh()
            self._secret.restore()
            self._warn_of_shortage()
        counts = {"temporaries": 0, "nfs": 0, "locks": 0, "index": 0}
        for path in self._files("sessions"):
            name = os.path.basename(path)
            if name.startswith(".tmp-"):
                counts["temporaries"] += remove_if_unlocked(path)
            elif name.startswith(".nfs"):
                counts["nfs"] += _remove_if_old(path, _NFS_FILE_AGE)
        for path in self._cut_off():
            counts["temporaries"] += _remove_if_old(path, _WRITING_SECONDS)
        for path in self._files("locks"):
            counts["locks"] += remove_if_unlocked(path)
        for path in self._files("index"):
            counts["index"] += _remove_if_old(path, 0.0)
        with folder_fault("sweep"):
            counts["leases"] = FileLeases(self._root).remove_abandoned()
        return counts

    def warnings(self) -> list[str]:
        """See `Advice.warnings`."""
        with folder_fault("advice"):
            return self._warnings()

    def _warnings(self) -> list[str]:
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
        self._short = FreeSpace.at(self._root).warnings()
        return [*found, *self._short]

    def _warn_of_shortage(self) -> None:
        """Warn once for each time that something runs short, before it is used up."""
        short = FreeSpace.at(self._root).warnings()
        for sentence in short:
            if sentence not in self._short:
                _log.warning("session store file: %s", sentence)
        self._short = short

    def _cut_off(self) -> list[str]:
        """Yield remains of killed workers: half-written secrets, probes of health checks."""
        with folder_fault("sweep"):
            names = [name for name in os.listdir(self._root) if name.startswith(("secret.", PROBE))]
        return [os.path.join(self._root, name) for name in names]

    def _files(self, folder: str) -> Iterator[str]:
        for root, _, names in os.walk(os.path.join(self._root, folder)):
            yield from (os.path.join(root, name) for name in names)


def _is_free(fd: int) -> bool:
    """Return whether the lock of an open file is free: it is ours until the file is closed."""
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
