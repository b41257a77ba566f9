"""The free space of a file system: bytes, and inodes, of which each file takes one."""

from __future__ import annotations

import os
from typing import NamedTuple

from wsgi_sessions import texts

_LEVELS = 4  # a record, its shard, "sessions", the session folder
_LOW = 50  # a fiftieth is left


@texts.shows("free_bytes", "bytes", "free_inodes", "inodes")
class FreeSpace(NamedTuple):
    """The space that this user may still take, and the total; 0 `inodes`: not counted there."""

    free_bytes: int
    bytes: int
    free_inodes: int
    inodes: int

    @classmethod
    def at(cls, path: str) -> FreeSpace:
        """Return that of the file system of a path. Raises OSError."""
        found = os.statvfs(path)
        unit = found.f_frsize
        return cls(found.f_bavail * unit, found.f_blocks * unit, found.f_favail, found.f_files)

    def warnings(self) -> list[str]:
        """Return what is running short."""
        found = []
        if self.free_bytes < self.bytes // _LOW:
            found.append("less than 2 % of the session file system is free: log-ins will fail")
        if self.inodes and self.free_inodes < self.inodes // _LOW:
            found.append(
                "less than 2 % of the inodes of the session file system are free, of which each "
                "session takes one or two: log-ins will fail, whatever space is free; remove "
                "files, or format the file system with more inodes"
            )
        return found


def remedy_at(path: object) -> str:
    """Return the remedy where the system reports no space: inodes may be short instead."""
    for _ in range(_LEVELS):
        if not isinstance(path, str) or path in ("", "/"):
            break
        try:
            room = FreeSpace.at(path)
        except OSError:
            path = os.path.dirname(path)  # no longer made
            continue
        if room.inodes and not room.free_inodes:
            return (
                "The session file system is out of inodes (df -i), not of space: remove files "
                "there, or format it with more inodes."
            )
        break
    return "Free space on the session file system."
