"""One refresher's visit to one session: claim it, call the hook, commit, release."""

from __future__ import annotations

import random
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from wsgi_sessions import texts
from wsgi_sessions.clock import wall_clock
from wsgi_sessions.core.commit.throttle import Throttle
from wsgi_sessions.core.jobs import in_background
from wsgi_sessions.errors import (
    ConfigurationError,
    CorruptRecord,
    SessionError,
    StoreUnavailable,
)
from wsgi_sessions.identity import short_key
from wsgi_sessions.leases.policy import require_leases
from wsgi_sessions.refresh.rule import Refreshing, note_attempt, note_failure, note_success

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_sessions.contract import Backend, LeaseStore, RefreshQueue
    from wsgi_sessions.core.draft import Snapshot
    from wsgi_sessions.core.manager import SessionManager
    from wsgi_sessions.core.source import Access
    from wsgi_sessions.core.transaction import Transaction
    from wsgi_sessions.refresh.hook_runner import HookResult, HookRunner

RefreshOutcome = Literal[
    "refreshed",
    "in use",  # a request holds a lease: later
    "claimed",  # another refresher is visiting it
    "early",  # another refresher has done it
    "over",  # the session is dead, or no longer kept alive
    "failed",  # the hook raised, hung, or left a value that cannot be stored
    "lost",  # the claim: this process was paused for too long, or the server failed over
    "stopped",  # `Refresher.stop` was called
]
_MOST_REPORTED = 10_000  # the most sessions remembered; beyond it, some are reported again
_JITTER = 0.1  # of the interval, so that sessions that began together drift apart
_log = texts.log(__name__)


@dataclass(frozen=True)
class RefreshPolicy:
    """The times of the background refresh, in seconds.

    `interval`: between two refreshes of a session; `deadline`: for one call of the hook; `ttl`: how
    long a dead refresher keeps requests waiting.
    """

    interval: float = 60.0
    deadline: float = 30.0
    ttl: float = 30.0

    def __post_init__(self) -> None:
        if min(self.interval, self.deadline, self.ttl) <= 0:
            raise ConfigurationError(f"the times of {self} must be above 0 seconds")


class RefreshJob:
    """The common parts of visits to sessions. Every method may raise StoreUnavailable."""

    def __init__(
        self,
        manager: SessionManager,
        policy: RefreshPolicy,
        clock: Callable[[], float] = wall_clock,
    ) -> None:
        self.queue = require_queue(manager.backend)
        self.policy = policy
        self.clock = clock
        self._manager = manager
        self._leases = require_leases(manager.backend)
        self._reports = Throttle(_MOST_REPORTED)

    def visit(self, key: str, runner: HookRunner) -> RefreshOutcome:
        """Refresh a session, unless a request or another refresher has it."""
        claim = _Claim(self._leases, key, self.policy.ttl)
        if not claim.take():
            return self._skip(key)
        try:
            return self._examine(claim, runner)
        finally:
            claim.release()

    def _skip(self, key: str) -> RefreshOutcome:
        """Leave a session to its holder: a request, or another refresher."""
        if not self._leases.holders(key):
            return "claimed"
        if self._reports.is_due(key, self.clock(), self.policy.interval):
            self._manager.events.emit("refresh-skipped", short_key(key))
        # Behind the others that are due: sessions in use must not fill every batch.
        self.queue.schedule(key, self.clock())
        return "in use"

    def _examine(self, claim: _Claim, runner: HookRunner) -> RefreshOutcome:
        snapshot = self._manager.loader.find(claim.key)
        state = _NEVER if snapshot is None else self._state(snapshot)
        if snapshot is None or not state.is_kept_alive:
            self.queue.remove(claim.key)
            return "over"
        if not state.needs_refresh(self.clock(), self.policy.interval):
            self._schedule(claim.key, state)
            return "early"
        return self._refresh(snapshot, claim, runner)

    def _state(self, snapshot: Snapshot) -> Refreshing:
        try:
            return Refreshing.of(snapshot.envelope)
        except CorruptRecord as error:
            self._manager.loader.set_aside(snapshot, error.reason)
            return _NEVER

    def _refresh(self, snapshot: Snapshot, claim: _Claim, runner: HookRunner) -> RefreshOutcome:
        transaction = self._transaction(snapshot)
        # First of all, so that a hook is not called twice if the store fails after its first call.
        note_attempt(transaction.draft(), self.clock())
        transaction.commit("closed")
        if transaction.snapshot is None:
            self.queue.remove(claim.key)
            return "over"
        try:
            ending = runner.call(transaction.session, claim.renew, self.policy.ttl / 3)
        finally:
            transaction.close()  # from here on, a thread left behind can change nothing
        if ending.kind == "stopped" or ending.kind == "lost":
            return ending.kind  # for the visit after the interval
        if ending.kind != "done":
            return self._fail(snapshot, self._reason(ending))
        try:
            return self._commit(transaction, claim.key)
        except StoreUnavailable as error:
            self._report(claim.key, type(error).__name__, self.policy.interval)
            raise
        except SessionError as error:  # a value of the hook cannot be stored
            return self._fail(snapshot, str(error))

    def _reason(self, ending: HookResult) -> str:
        if ending.error is not None:
            _log.warning("the refresh hook raised", exc_info=ending.error)
            return type(ending.error).__name__
        return f"it took over {self.policy.deadline:g} s"

    def _commit(self, transaction: Transaction, key: str) -> RefreshOutcome:
        # Read again first: changes of a concurrent request (the expiry) must stay.
        transaction.catch_up()
        draft = transaction.draft()
        if draft.snapshot is not None:
            note_success(draft, self.clock())
        transaction.commit("closed")
        if transaction.snapshot is None:  # logged out by the hook, or by a concurrent request
            self.queue.remove(key)
            return "over"
        self._manager.events.emit("refreshed", short_key(key))
        self._schedule(key, self._state(transaction.snapshot))
        return "refreshed"

    def _fail(self, snapshot: Snapshot, reason: str) -> RefreshOutcome:
        """Keep the count of failures with the session, so that every refresher waits as long."""
        transaction, now = self._transaction(snapshot), self.clock()
        transaction.catch_up()
        state = note_failure(transaction.draft(), now)
        transaction.commit("closed")
        self._schedule(snapshot.key, state)
        self._report(snapshot.key, reason, state.due_at(self.policy.interval) - now)
        return "failed"

    def _report(self, key: str, reason: str, seconds: float) -> None:
        self._manager.events.emit(
            "refresh-failed", short_key(key), reason=reason, retry_in=round(seconds, 3)
        )

    def _schedule(self, key: str, state: Refreshing) -> None:
        if state.is_kept_alive:
            interval = self.policy.interval
            jitter = random.uniform(0, _JITTER) * interval  # noqa: S311  # no secret
            self.queue.schedule(key, state.due_at(interval) + jitter)

    def _transaction(self, snapshot: Snapshot) -> Transaction:
        return in_background(self._manager, _Background(), snapshot)


class _Claim:
    """A claim on one session."""

    def __init__(self, leases: LeaseStore, key: str, ttl: float) -> None:
        self.key = key
        self._leases = leases
        self._ttl = ttl
        self._holder = secrets.token_hex(8)

    def take(self) -> bool:
        """Claim the session; return whether it worked."""
        return self._leases.claim(self.key, self._holder, self._ttl)

    def renew(self) -> bool:
        """Renew the claim for another ttl; return whether it still holds."""
        return self._leases.renew(self.key, self._holder, self._ttl)

    def release(self) -> None:
        """Release the claim; if the store does not answer, it expires."""
        try:
            self._leases.release(self.key, self._holder)
        except StoreUnavailable as error:
            _log.warning("the claim of session %s ends by its ttl: %s", short_key(self.key), error)


class _Background:
    """The request of a background transaction."""

    def session_id(self) -> None:
        """Return None: the session is there already."""

    def route(self) -> str:
        return "background refresh"

    def access(self) -> Access:
        return "shared"


_NEVER = Refreshing(is_kept_alive=False)


def require_queue(backend: Backend) -> RefreshQueue:
    """Return the backend's refresh queue. Raises ConfigurationError if it has none."""
    if backend.refreshes is None:
        raise ConfigurationError(f"the {backend.name} store keeps no refresh times: use another")
    return backend.refreshes
