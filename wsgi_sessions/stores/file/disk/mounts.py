"""The mount point of a path, and its kind of file system (`proc(5)`, mountinfo)."""

from __future__ import annotations

import re
from typing import NamedTuple

from wsgi_sessions import texts

MOUNTS = "/proc/self/mountinfo"


@texts.shows("point", "kind")
class Mount(NamedTuple):
    """The mount point above a path, and the kind of file system, as ``ext4`` or ``nfs4``.

    Empty, and "unknown", if the kernel does not tell.
    """

    point: str
    kind: str


def mount_of(path: str, mounts: str = MOUNTS) -> Mount:
    """Return the mount of a path without links."""
    try:
        with open(mounts, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:
        return Mount("", "unknown")
    found = Mount("", "unknown")
    for line in lines:
        before, _, after = line.partition(" - ")
        point = _unescaped(before.split(" ")[4])
        # Of two mounts at one place, the later covers the earlier.
        if _is_below(path, point) and len(point) >= len(found.point):
            found = Mount(point, after.split(" ")[0])
    return found


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
