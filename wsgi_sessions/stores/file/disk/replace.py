"""Small files that are replaced as a whole: unlocked readers find the old or the new one."""

from __future__ import annotations

import os
from contextlib import suppress

from wsgi_sessions.stores.file.disk.folders import sync_folder
from wsgi_sessions.stores.file.disk.system import CREATE, Fsync, sync_file

_MODE = 0o600


def replace_file(
    path: str,
    data: bytes,
    *,
    fsync: Fsync = "none",
    modified_at: float | None = None,
    mode: int = _MODE,
    place: int | None = None,
) -> None:
    """Replace the file at `path`, or make it, with this content.

    The caller holds a lock of all who replace it, so one temporary name is enough, and a file under
    that name was left by a writer that died. `fsync`: as for sessions, including the folder's
    entry. `modified_at`: the file's time, in seconds since the epoch. `place`: an open folder that
    `path` is relative to. Raises OSError.
    """
    new = f"{path}.new"
    with suppress(FileNotFoundError):
        os.unlink(new, dir_fd=place)
    with open(os.open(new, CREATE, _MODE, dir_fd=place), "wb") as file:
        if mode != _MODE:
            with suppress(OSError):  # not allowed everywhere
                os.fchmod(file.fileno(), mode)
        file.write(data)
        file.flush()
        sync_file(file.fileno(), fsync)
        if modified_at is not None:
            os.utime(file.fileno(), (modified_at, modified_at))
    os.rename(new, path, src_dir_fd=place, dst_dir_fd=place)
    if fsync == "full":
        _sync_folder_of(path, place)


def _sync_folder_of(path: str, place: int | None) -> None:
    if place is None:
        sync_folder(os.path.dirname(path))
    else:
        os.fsync(place)
