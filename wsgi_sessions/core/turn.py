"""A request's turn with its session: the mutex that `exclusive` blocks hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from wsgi_sessions.core.draft import chain_of

if TYPE_CHECKING:
    from contextlib import AbstractContextManager, ExitStack

    from wsgi_sessions.core.draft import Snapshot
    from wsgi_sessions.mutex import Fence, Held


class HoldMutex(Protocol):
    """The type of `SessionManager.hold`."""

    def __call__(self, key: str, timeout: float | None) -> AbstractContextManager[Held]: ...


class Turn:
    """The mutex of one request: at most one, however many blocks ask for it.

    A block takes the turn and gives it back when it is left; what `keep` gets lasts until `end`.
    Inner blocks are part of the outermost one; `blocks` is the number of entered ones.
    """

    __slots__ = ("_held", "_hold", "_kept", "blocks")

    def __init__(self, hold: HoldMutex) -> None:
        self._hold = hold
        self._held: Held | None = None
        self._kept: ExitStack | None = None
        self.blocks = 0

    @property
    def is_on(self) -> bool:
        """Whether it is this request's turn now."""
        return self._held is not None

    @property
    def fence(self) -> Fence | None:
        """The proof of the turn for the store; None outside of a turn."""
        return None if self._held is None else self._held.fence

    def take(self, lock: ExitStack, session: Snapshot, timeout: float | None = None) -> None:
        """Wait for the turn, which lasts until `lock` is closed; do nothing if it is on already.

        The mutex is the same under each id of the session. Raises as `SessionManager.hold`.
        """
        if self._held is None:
            self._held = lock.enter_context(self._hold(chain_of(session), timeout))
            lock.callback(self._over)

    def keep(self, lock: ExitStack) -> None:
        """Let the turn that `take` gave to `lock` go on until `end`."""
        if self._kept is None:
            self._kept = lock
        else:
            lock.close()

    def end(self) -> None:
        """Free whatever is still held."""
        if self._kept is not None:
            self._kept.close()

    def _over(self) -> None:
        self._held = None
