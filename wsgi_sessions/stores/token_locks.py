"""One mutex per session from two steps of a store: take it for a while, free it by its token."""

from __future__ import annotations

import os
import random
import secrets
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from wsgi_sessions import texts
from wsgi_sessions.clock import monotonic
from wsgi_sessions.errors import LockTimeout, StoreUnavailable
from wsgi_sessions.identity import short_key
from wsgi_sessions.mutex import Fence, Held
from wsgi_sessions.stores.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOCK_TTL = 30.0
_LONGEST_PAUSE = 0.01
_CLOCK_SECONDS = 60.0  # after that, clocks that drift apart by 0.05 % differ by 30 ms
_MOST_LATE = 3
_MOST_DOUBTS = 1000
_MOST_FREED = 3  # by one request

_log = texts.log(__name__)


@texts.shows("outcome", "now")
class LockAttempt(NamedTuple):
    """The result of an attempt to take a lock, and the server's clock then, if known.

    The clock is in seconds since the epoch. "late": the attempt reached the server after its time,
    and nothing was done.
    """

    outcome: Literal["taken", "held", "late"]
    now: float | None = None


Freeing = Literal["freed", "lost", "unknown"]


class TokenHolds(Protocol):
    """The steps of a mutex, each atomic on the server, where it expires after `ttl` seconds.

    `patience`: the least seconds to wait for an attempt after its start. Every step may raise
    StoreUnavailable; its outcome is then unknown.
    """

    ttl: float
    patience: float

    def clock(self, key: str) -> float:
        """Return the clock of the server that has the lock of this key: seconds since the epoch."""
        ...

    def take(self, key: str, token: str, latest: float) -> LockAttempt:
        """Take it unless another token has it, or it is later than `latest` (the server's clock).

        Taking it again with the same token succeeds, even if it is late: the answer to a first
        attempt may have been lost.
        """
        ...

    def free(self, key: str, token: str) -> Freeing:
        """Free it if this token has it; return "lost" if it had not.

        "unknown": an attempt with a lost answer may have freed it.
        """
        ...


class TokenLocks:
    """`SessionLocks`: taken with a random token, freed by its holder alone.

    Of the callers of one process that wait for the same session, one asks the server.

    An attempt carries its deadline, by the server's clock, so that a hung server does not take the
    lock for a caller that has given up. If the answer to a timely attempt was lost, the next caller
    in this process uses the same token, or frees it when it comes for another session; until then
    other processes wait, at most until it expires.

    A block that takes longer than the time to live no longer keeps others out.
    """

    def __init__(self, holds: TokenHolds, clock: Callable[[], float] = monotonic) -> None:
        self.holds = holds
        self._clock = clock
        self._turns = Turns()
        self._ahead: tuple[float, float] | None = None  # the server's clock of ours; as of when
        self._doubts: dict[str, _Doubt] = {}

    @contextmanager
    def hold(self, key: str, timeout: float) -> Iterator[Held]:
        token = self._doubtful(key) or secrets.token_hex(16)
        try:
            self._acquire(key, token, timeout)
        except StoreUnavailable as error:
            if not isinstance(error, LockTimeout):
                self._doubt(key, token)
            raise
        except BaseException:
            # Interrupted (gevent.Timeout, SystemExit), perhaps between the step and its reply.
            with suppress(StoreUnavailable):  # if this fails, it expires
                self.holds.free(key, token)
            raise
        if self._doubts:
            self._free_doubtful()
        held, since = Held(Fence(key, token)), self._clock()
        try:
            yield held
        finally:
            held.was_lost = self._is_lost(key, token, since)

    def _acquire(self, key: str, token: str, timeout: float) -> None:
        deadline = self._clock() + timeout
        with self._turns.turn(key, timeout) as is_first:
            if is_first and self._poll(key, token, deadline):
                return
        raise LockTimeout(
            f"the lock of session {short_key(key)} was held by another request for "
            f"{timeout:g} s; try again",
            operation="lock",
            key=short_key(key),
        )

    def _poll(self, key: str, token: str, deadline: float) -> bool:
        """Ask until it is taken, or until the deadline; return whether it is."""
        pause = 0.0
        while not self._take(key, token):
            left = deadline - self._clock()
            if left <= 0:
                return False
            # Short at first: among many short blocks it is free in a moment. Jitter keeps processes
            # from asking in step.
            pause = min(_LONGEST_PAUSE, pause + 0.002)
            time.sleep(min(left, random.uniform(pause / 2, pause)))  # noqa: S311 - nothing secret
        return True

    def _take(self, key: str, token: str) -> bool:
        """Make one attempt; repeat it if it was late, as when the server's clock was set."""
        for _ in range(_MOST_LATE):
            latest = self._clock() + self.holds.patience
            taking = self.holds.take(key, token, latest + self._server_ahead(key))
            if taking.now is not None:
                self._learn(taking.now)
            if taking.outcome != "late":
                return taking.outcome == "taken"
        raise StoreUnavailable(
            f"the lock of session {short_key(key)} cannot be taken: each attempt reached the "
            f"store too late; is it overloaded, or is its clock being set?",
            operation="lock",
            key=short_key(key),
            attempts=_MOST_LATE,
        )

    def _server_ahead(self, key: str) -> float:
        """Return the lead of the server's clock over this process' clock, or a little less."""
        known = self._ahead
        if known is None or self._clock() - known[1] > _CLOCK_SECONDS:
            known = self._learn(self.holds.clock(key))
        return known[0]

    def _learn(self, there: float) -> tuple[float, float]:
        # Computed as if the answer had taken no time: too little rather than too much.
        here = self._clock()
        known = self._ahead = (there - here, here)
        return known

    def _doubt(self, key: str, token: str) -> None:
        while len(self._doubts) >= _MOST_DOUBTS:
            with suppress(KeyError, StopIteration, RuntimeError):  # other threads do the same
                del self._doubts[next(iter(self._doubts))]
        self._doubts[key] = _Doubt(token, self._clock() + self.holds.ttl, os.getpid())

    def _doubtful(self, key: str) -> str | None:
        """Return the token of an attempt that may have taken the lock, without an answer."""
        if not self._doubts:
            return None
        doubt = self._doubts.pop(key, None)
        # A fork must not use its parent's: both would hold it.
        if doubt is None or doubt.pid != os.getpid() or doubt.until < self._clock():
            return None
        return doubt.token

    def _free_doubtful(self) -> None:
        """Free a lock that such an attempt may have taken, now that the server answers."""
        for key in list(self._doubts)[:_MOST_FREED]:
            token = self._doubtful(key)
            if token is None:
                continue
            try:
                self.holds.free(key, token)
            except StoreUnavailable as error:
                _log.warning(
                    "the lock of session %s stays until it expires: %s", short_key(key), error
                )
                return

    def _is_lost(self, key: str, token: str, since: float) -> bool:
        """Free it; return whether it was lost before.

        Never raises for a fault: the block is done, and the lock expires.
        """
        try:
            freeing = self.holds.free(key, token)
        except StoreUnavailable as error:
            _log.warning("the lock of session %s stays until it expires: %s", short_key(key), error)
            freeing = "unknown"
        if freeing == "unknown":
            return self._clock() - since > self.holds.ttl
        return freeing == "lost"


@texts.shows("until", "pid")
class _Doubt(NamedTuple):
    token: str
    until: float
    pid: int
