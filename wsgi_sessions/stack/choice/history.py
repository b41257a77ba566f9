"""When each of several session stores was last left for another one.

What lies in a store that was left could have been ended meanwhile, where nobody could reach it: so
it is not accepted when the store is back in use (CVE-2025-29928). One moment per store tells it.

It is kept in a file of the folder in which processes agree on a store, and, if none is named, also
under the user's state directory: temporary files do not outlive every restart of the host.

Not promised: that another host, or another user, knows of it; nor anything if all these files are
lost, as in a container that keeps none.
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
_MOST = 100  # stores that a user has left: URLs change now and then
_LIMIT = 1 << 16
_log = texts.log(__name__)


class History:
    """The moments at which stores were left, in the same file of several folders.

    The latest of what the folders tell counts. `clock`: seconds since the epoch.
    """

    def __init__(
        self, folders: Sequence[str], *, timeout: float, clock: Callable[[], float] = wall_clock
    ) -> None:
        self._folders = folders
        self._timeout = timeout
        self._clock = clock

    def left_at(self, store: str) -> float:
        """When a store (its URL and prefix) was last left; 0 if that is not known."""
        return max(_read_in(folder).get(_digest(store), 0.0) for folder in self._folders)

    def leave(self, stores: Iterable[str]) -> None:
        """Note that another store than these is in use from now on.

        Raises ConfigurationError if none of the folders can be used: what is ended now would
        be alive again later.
        """
        left = dict.fromkeys(map(_digest, stores), self._clock())
        faults = [fault for folder in self._folders if (fault := self._leave_in(folder, left))]
        if len(faults) == len(self._folders):
            raise ConfigurationError(faults[0])

    def _leave_in(self, folder: str, left: dict[str, float]) -> str | None:
        """What is wrong with a folder, if anything is."""
        try:
            os.makedirs(os.path.dirname(folder), exist_ok=True)
            with folder_of_user(folder, self._timeout) as place:
                known = {**_read(place), **left}
                latest = sorted(known.items(), key=lambda item: item[1])[-_MOST:]
                data = msgspec.json.encode(dict(latest))
                replace_file(_FILE, data, fsync="full", mode=STICKY, place=place)
        except (OSError, ConfigurationError, LockTimeout) as error:
            return f"the folder {folder} cannot keep when a session store was left: {error}"
        return None


def _digest(store: str) -> str:
    """A hash, since a URL may hold a password."""
    return texts.hashed(store)


def _read_in(folder: str) -> dict[str, float]:
    try:
        place = os.open(folder, _READ | os.O_DIRECTORY)
    except OSError:
        return {}
    try:
        # Of another user's folder nothing counts: it could tell that nobody's session is accepted.
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
        _log.error("when session stores were left cannot be read, and is forgotten: %s", error)
        return {}
    finally:
        os.close(fd)
