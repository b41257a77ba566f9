"""The times when session stores were last left for another one.

A session in a store that was left may have been ended in between, when the store could not be
reached: so it is not accepted when the store is back in use (CVE-2025-29928). One time per store
decides.

The times are in a file of the folder in which processes agree on a store, and, if no folder is set,
also under the user's state directory: temporary files may not survive a restart of the host.

Not promised: that other hosts or users know; nor anything if all these files are lost, as in a
container without volumes.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from wsgi_sessions import texts
from wsgi_sessions.clock import wall_clock
from wsgi_sessions.errors import ConfigurationError, LockTimeout
from wsgi_sessions.stack.choice.agreement import STICKY, folder_of_user
from wsgi_sessions.stores.file.disk.replace import replace_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_FILE = "left"
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_MOST = 100  # stores that a user has left; URLs change over time
_LIMIT = 1 << 16
_log = texts.log(__name__)


class History:
    """The times when stores were left, in the same file of several folders.

    The latest time in any folder counts. `clock`: seconds since the epoch.
    """

    def __init__(
        self, folders: Sequence[str], *, timeout: float, clock: Callable[[], float] = wall_clock
    ) -> None:
        self._folders = folders
        self._timeout = timeout
        self._clock = clock

    def left_at(self, store: str) -> float:
        """Return the time when a store (its URL and prefix) was last left; 0 if unknown."""
        return max(_read_in(folder).get(_digest(store), 0.0) for folder in self._folders)

    def leave(self, stores: Iterable[str]) -> None:
        """Record that these stores are left from now on.

        Raises ConfigurationError if no folder is usable: sessions that end now would be alive again
        later.
        """
        left = dict.fromkeys(map(_digest, stores), self._clock())
        faults = [fault for folder in self._folders if (fault := self._leave_in(folder, left))]
        if len(faults) == len(self._folders):
            raise ConfigurationError(faults[0])

    def _leave_in(self, folder: str, left: dict[str, float]) -> str | None:
        """Record it in one folder; return the fault, if any."""
        try:
            os.makedirs(os.path.dirname(folder), exist_ok=True)
            with folder_of_user(folder, self._timeout) as place:
                known = {**_read(place), **left}
                latest = sorted(known.items(), key=lambda item: item[1])[-_MOST:]
                data = msgspec.json.encode(dict(latest))
                replace_file(_FILE, data, fsync="full", mode=STICKY, place=place)
        except (OSError, ConfigurationError, LockTimeout) as error:
            return f"the folder {folder} cannot record that a session store was left: {error}"
        return None


def _digest(store: str) -> str:
    """Return a hash, since a URL may contain a password."""
    return texts.hashed(store)


def _read_in(folder: str) -> dict[str, float]:
    try:
        place = os.open(folder, _READ | os.O_DIRECTORY)
    except OSError:
        return {}
    try:
        # A folder of another user does not count: it could make all sessions refused.
        return _read(place) if os.fstat(place).st_uid == os.geteuid() else {}
    finally:
        os.close(place)


def _read(place: int) -> dict[str, float]:
    try:
        fd = os.open(_FILE, _READ, dir_fd=place)
    except OSError:
        return {}
    try:
        return msgspec.json.decode(os.read(fd, _LIMIT), type=dict[str, float])
    except (msgspec.DecodeError, OSError) as error:
        _log.error(
            ("the times when session stores were left are unreadable and are dropped: %s"), error
        )
        return {}
    finally:
        os.close(fd)
