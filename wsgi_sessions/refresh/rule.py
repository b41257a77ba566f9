"""The rule for background refreshes, over facts that are stored with each session. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from wsgi_sessions.core.draft import FAILURES, KEEP_ALIVE, REFRESHED, TRIED

if TYPE_CHECKING:
    from wsgi_sessions.core.draft import Draft
    from wsgi_sessions.core.record.envelope import Envelope

_MAX_DOUBLINGS = 4


class Failures(NamedTuple):
    """The number of failures since the last successful refresh, and the time of the latest."""

    number: int
    at: float


class Refreshing(NamedTuple):
    """The facts about its refreshes that a session keeps. Times are seconds since the epoch.

    `tried_at`: the start of a hook call with an unknown end: its refresher was stopped, or the
    store did not answer when the changes were stored.
    """

    is_kept_alive: bool
    refreshed_at: float | None = None
    failures: Failures | None = None
    tried_at: float | None = None

    @classmethod
    def of(cls, envelope: Envelope) -> Refreshing:
        """Read the state from a session's metadata. Raises CorruptRecord."""
        failures = envelope.get_metadata(FAILURES)
        return cls(
            KEEP_ALIVE in envelope.metadata,
            envelope.get_metadata(REFRESHED),
            failures and Failures(*failures),
            envelope.get_metadata(TRIED),
        )

    def due_at(self, interval: float) -> float:
        """Return the time of the next refresh; at once (0) for a session that was never refreshed.

        After the n-th failure in a row, 2ⁿ intervals later, but at most 16; never less than one
        after a call of the hook.
        """
        due_at = 0.0 if self.refreshed_at is None else self.refreshed_at + interval
        if self.failures is not None:
            doublings = min(self.failures.number, _MAX_DOUBLINGS)
            due_at = self.failures.at + interval * (1 << doublings)
        return due_at if self.tried_at is None else max(due_at, self.tried_at + interval)

    def needs_refresh(self, now: float, interval: float, holders: int = 0) -> bool:
        """Return whether the session is kept alive, not in use, and due."""
        return self.is_kept_alive and not holders and self.due_at(interval) <= now


def note_attempt(draft: Draft, now: float) -> None:
    """Mark a draft as one whose hook is about to be called."""
    draft.set_metadata(TRIED, now)


def note_success(draft: Draft, now: float) -> None:
    """Mark a draft as refreshed."""
    draft.set_metadata(REFRESHED, now)
    draft.set_metadata(TRIED, None)
    draft.set_metadata(FAILURES, None)


def note_failure(draft: Draft, now: float) -> Refreshing:
    """Mark a draft as one that could not be refreshed, once more."""
    stored = draft.snapshot
    state = Refreshing(is_kept_alive=False) if stored is None else Refreshing.of(stored.envelope)
    failures = Failures(1 + (state.failures.number if state.failures else 0), now)
    draft.set_metadata(FAILURES, list(failures))
    draft.set_metadata(TRIED, None)
    return state._replace(failures=failures, tried_at=None)
