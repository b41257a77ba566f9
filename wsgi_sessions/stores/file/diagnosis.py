"""What a health check looks at in a session folder: the file system, its room, its locks."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from wsgi_sessions.errors import StoreUnavailable
from wsgi_sessions.stores.file.owners import refused_because
from wsgi_sessions.stores.file.system import CREATE, WRITE, try_lock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_MOUNTS = "/proc/self/mountinfo"


class FileDiagnosis:
    """`Diagnosis` and `StoreClock` of a session folder."""

    def __init__(self, folder: str, mounts: str = _MOUNTS) -> None:
        self._folder = folder
        self._mounts = mounts

    def facts(self) -> Mapping[str, str | int | float]:
        """See `Diagnosis.facts`."""
        try:
            self._test_locks()
            space = shutil.disk_usage(self._folder)
        except OSError as error:
            raise self._unusable(error) from error
        return {
            "file_system": file_system_of(os.path.realpath(self._folder), self._mounts),
            "free_bytes": space.free,
            "free_percent": round(100 * space.free / max(space.total, 1), 1),
        }

    @staticmethod
    def _unusable(error: OSError) -> StoreUnavailable:
        advice = refused_because(error) or (
            "check its file system, and that the worker's user may write there"
        )
        return StoreUnavailable(
            f"the session folder cannot be used ({error.strerror}): {advice}",
            operation="diagnose",
        )

    def now(self) -> float:
        """See `StoreClock.now`: the time that the file system gives a new file. Files expire by
        the clocks of the hosts, which on a network file system should agree with the server's."""
        try:
            with self._probe() as (_, fd):
                return os.fstat(fd).st_mtime
        except OSError as error:
            raise self._unusable(error) from error

    @contextmanager
    def _probe(self) -> Iterator[tuple[str, int]]:
        """A new file, open: its path and descriptor. What a crash leaves is swept."""
        folder = os.path.join(self._folder, "locks")
        with suppress(FileExistsError):
            os.mkdir(folder, 0o700)
        path = os.path.join(folder, f"probe-{secrets.token_hex(8)}")
        fd = os.open(path, CREATE, 0o600)
        try:
            yield path, fd
        finally:
            os.unlink(path)
            os.close(fd)

    def _test_locks(self) -> None:
        """Two descriptors of one file must exclude each other."""
        with self._probe() as (path, first):
            second = os.open(path, WRITE)
            try:
                works = try_lock(first) and not try_lock(second)
            finally:
                os.close(second)
        if not works:
            raise StoreUnavailable(
                "locks have no effect on the session file system: mount it with locking (on NFS "
                "without nolock), or keep the sessions elsewhere",
                operation="diagnose",
            )


def file_system_of(path: str, mounts: str = _MOUNTS) -> str:
    """The kind of file system that a path is on, such as ``ext4`` or ``nfs4``; "unknown" if the
    kernel does not tell (`proc(5)`, mountinfo)."""
    try:
        with open(mounts, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:
        return "unknown"
    found, kind = "", "unknown"
    for line in lines:
        before, _, after = line.partition(" - ")
        point = _unescaped(before.split(" ")[4])
        # Of two mounts at one place, the later covers the earlier.
        if _is_below(path, point) and len(point) >= len(found):
            found, kind = point, after.split(" ")[0]
    return kind


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
