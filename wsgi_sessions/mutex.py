"""What a store promises of the mutex of a session, and how a save proves that it still has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from wsgi_sessions import texts
from wsgi_sessions.errors import LockLost
from wsgi_sessions.identity import short_key

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


@texts.shows()
class Fence(NamedTuple):
    """What a `SessionStore.save` bears that belongs to a block: whose mutex it is (a store key,
    perhaps another session's), and which holding of it."""

    key: str
    number: str


class Held:
    """A mutex that is held; its `fence` is None where it cannot be lost.

    `was_lost`: once it is freed, whether it was not held any more by then, as far as can be told.
    """

    __slots__ = ("fence", "was_lost")

    def __init__(self, fence: Fence | None = None) -> None:
        self.fence = fence
        self.was_lost = False


def lock_lost(key: str) -> LockLost:
    """What a save raises whose mutex is not held any more; `key` is the record's."""
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

        Not re-entrant. A dead holder frees it: at once where the kernel holds it, else when its
        time is up. Not promised: fairness, and exclusion of a holder that was paused for longer
        than the lock's time; what it then saves under its fence is refused.
        """
