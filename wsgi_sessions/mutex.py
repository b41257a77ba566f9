"""The mutex of a session, as stores promise it, and the proof that a save still holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from wsgi_sessions import texts
from wsgi_sessions.errors import LockLost
from wsgi_sessions.identity import short_key

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


@texts.shows()
class Fence(NamedTuple):
    """The part of a save that belongs to an exclusive block: the mutex and this holding of it.

    The mutex is named by a store key, perhaps another session's.
    """

    key: str
    number: str


class Held:
    """A mutex that is held; its `fence` is None where it cannot be lost.

    `was_lost`: after the release, whether the mutex had been lost before it, as far as can be told.
    """

    __slots__ = ("fence", "was_lost")

    def __init__(self, fence: Fence | None = None) -> None:
        self.fence = fence
        self.was_lost = False


def lock_lost(key: str) -> LockLost:
    """Return the error of a save whose mutex is no longer held; `key` is the record's."""
    return LockLost(
        f"the lock of session {short_key(key)} was lost before its block ended, and nothing of the "
        f"block was stored: it took too long, or the store failed over; try again",
        operation="save",
        key=short_key(key),
    )


class SessionLocks(Protocol):
    """One mutex per session key, for `Session.exclusive()`."""

    def hold(self, key: str, timeout: float) -> AbstractContextManager[Held]:
        """Hold the mutex while in the context. Raises `LockTimeout` after `timeout` seconds.

        Not re-entrant. A dead holder's mutex is freed: at once where the kernel holds it, elsewhere
        when its time is up. Not promised: fairness, and exclusion of a holder that was paused for
        longer than the lock's time; its later save under its fence is refused.
        """
