"""A trap for the holder of a session's lock: the process that comes into it stands still.

A fault sets it for a moment of an exclusive block, and the first worker that gets there stops
itself (SIGSTOP), so that the lock's time runs out while its block is under way. Both sides know the
trap's folder, the workers by their environment.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

from wsgi_sessions.stores.token_locks import TokenLocks

if TYPE_CHECKING:
    from pathlib import Path

    from wsgi_sessions.contract import Backend

FOLDER = "HISTORY_TRAP"
LOCK_SECONDS = "HISTORY_LOCK_SECONDS"
MOMENTS = ("entered", "read", "changed")  # of a block
_CAUGHT = "caught-"


def shorten_locks(backend: Backend) -> None:
    """Give locks the life that the environment says, where it says one and locks have one: the
    kernel's last as long as their holder."""
    seconds = os.environ.get(LOCK_SECONDS)
    if seconds is not None and isinstance(backend.locks, TokenLocks):
        backend.locks.holds.ttl = float(seconds)


def come_by(moment: str) -> None:
    """Stand still until somebody lets this process go on, if the trap is set for this moment."""
    folder = os.environ[FOLDER]
    with suppress(FileNotFoundError):
        os.rename(f"{folder}/{moment}", f"{folder}/{_CAUGHT}{os.getpid()}")  # one gets it
        os.kill(os.getpid(), signal.SIGSTOP)


class Trap:
    """The fault's side."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def set(self, moment: str) -> None:
        """Stop the first that comes by at this moment."""
        (self._folder / moment).touch()

    def caught(self) -> int | None:
        """The process that has been caught, if one has."""
        for path in self._folder.glob(f"{_CAUGHT}*"):
            return int(path.name.removeprefix(_CAUGHT))
        return None

    def clear(self) -> None:
        """Let go whom it has caught, and catch nobody any more."""
        for moment in MOMENTS:
            (self._folder / moment).unlink(missing_ok=True)
        for path in self._folder.glob(f"{_CAUGHT}*"):
            path.unlink()
            with suppress(ProcessLookupError):  # gunicorn may have ended it
                os.kill(int(path.name.removeprefix(_CAUGHT)), signal.SIGCONT)
