"""How much room a file system has left: bytes, and inodes, of which each file takes one."""

from __future__ import annotations

import os
from typing import NamedTuple

from wsgi_sessions import texts

_LEVELS = 4  # a record, its shard, "sessions", the session folder
_LOW = 50  # a fiftieth is left


@texts.shows("free_bytes", "bytes", "free_inodes", "inodes")
class FreeSpace(NamedTuple):
    """What this user may still take, and what there is; 0 `inodes`: they are not counted there."""

    free_bytes: int
    bytes: int
    free_inodes: int
    inodes: int

    @classmethod
    def at(cls, path: str) -> FreeSpace:
        """Of the file system that a path is on. Raises OSError."""
        found = os.statvfs(path)
        unit = found.f_frsize
        return cls(found.f_bavail * unit, found.f_blocks * unit, found.f_favail, found.f_files)

    def warnings(self) -> list[str]:
        """What will be short soon."""
        found = []
        if self.free_bytes < self.bytes // _LOW:
            found.append("less than 2 % of the session file system is free: log-ins will fail")
        if self.inodes and self.free_inodes < self.inodes // _LOW:
            found.append(
                "less than 2 % of the inodes of the session file system are free, of which each "
                "session takes one or two: log-ins will fail, whatever space is free; remove "
                "files, or make the file system anew with more inodes"
            )
        return found


def remedy_at(path: object) -> str:
    """What to do where the system says that there is no space: inodes may be what is short."""
    for _ in range(_LEVELS):
        if not isinstance(path, str) or path in ("", "/"):
            break
        try:
            room = FreeSpace.at(path)
        except OSError:
            path = os.path.dirname(path)  # not made any more
            continue
        if room.inodes and not room.free_inodes:
            return (
                "Not space is short on the session file system, but inodes (df -i): remove files "
                "there, or make it anew with more inodes."
            )
        break
    return "Free space on the session file system."
