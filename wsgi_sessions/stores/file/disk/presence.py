"""The presence of the session folder: only while it is there is a missing file a missing session.

``FORMAT`` says so: an empty mount point has none. A cleaner of old files (systemd-tmpfiles in the
system's folders for temporary files) may remove it from a folder in use, and an administrator may
make a lost folder again by hand: then it is made again, where that is safe.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from wsgi_sessions import texts
from wsgi_sessions.clock import system_clock
from wsgi_sessions.errors import ConfigurationError, StoreUnavailable
from wsgi_sessions.identity import short_key
from wsgi_sessions.stores.file.disk.mounts import mount_of
from wsgi_sessions.stores.file.disk.ownership import inspect, prepare

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsgi_sessions.contract import Purpose

_FRESH_SECONDS = 24 * 3600.0  # cleaners of old files wait for 10 days
_LASTING = ("versions", "contexts", "processes")
_log = texts.log(__name__)


class Presence:
    """The watch over a prepared session folder.

    With `purpose` "look" nothing is made or repaired. Raises ConfigurationError if the folder
    cannot be used safely (see `ownership.prepare`).
    """

    def __init__(self, folder: str, group: str | None = None, purpose: Purpose = "use") -> None:
        self.folder = folder
        self.purpose = purpose
        self._group = group
        self._marker = os.path.join(folder, "FORMAT")
        if purpose == "look":
            self.ownership = inspect(folder, self._marker, group)
        else:
            self.ownership = prepare(folder, self._marker, group)
        self._place = self._where()

    def require(self, operation: str, key: str = "") -> None:
        """Raise StoreUnavailable unless the folder is there, or can be taken into use again.

        It can if it is at the same place of the same file system, unlike one that is not mounted.
        """
        if os.path.exists(self._marker):
            return
        missing = self._why_missing()
        if missing is None and self.purpose != "look":
            missing = self._restore()
        elif missing is None:
            missing = f"{self._marker} is missing: a worker that uses the folder makes it again"
        if missing is not None:
            raise StoreUnavailable(missing, operation=operation, key=short_key(key))

    def refresh(self) -> None:
        """Keep lasting files from looking old to cleaners. Raises OSError for a missing folder."""
        self.require("sweep")
        for path in (self._marker, os.path.join(self.folder, "secret"), *self._lasting()):
            with suppress(OSError):  # gone, or not ours to touch: an aside
                if os.lstat(path).st_mtime < system_clock() - _FRESH_SECONDS:
                    os.utime(path, follow_symlinks=False)

    def _lasting(self) -> Iterator[str]:
        for name in _LASTING:
            for root, _, names in os.walk(os.path.join(self.folder, name)):
                yield from (os.path.join(root, name) for name in names)

    def _why_missing(self) -> str | None:
        try:
            is_folder = stat.S_ISDIR(os.lstat(self.folder).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            is_folder = False
        if not is_folder:
            return (
                f"the session folder {self.folder} is gone or not mounted: restore it; or make an "
                f"empty one (mkdir -m 700 {self.folder}), and all users log in again"
            )
        if self._where() != self._place:
            return (
                f"the session folder {self.folder} is gone or not mounted: what is there is on "
                "another file system than before. Mount its volume, or restart the workers to "
                "begin with what is there"
            )
        return None

    def _restore(self) -> str | None:
        """Take the folder into use again; return why not, if that is not safe."""
        try:
            prepare(self.folder, self._marker, self._group)
        except ConfigurationError as error:
            return str(error)
        _log.warning(
            "%s was missing, and was made again: does something remove old files there "
            "(systemd-tmpfiles), or was the folder replaced? Users of lost sessions log in again. "
            "Name a folder outside of those for temporary files in `url`",
            self._marker,
        )
        return None

    def _where(self) -> tuple[int, str]:
        """Return the device and its mount point."""
        return os.lstat(self.folder).st_dev, mount_of(os.path.realpath(self.folder)).point
