"""What operators do with a store, as functions: clean up, look, repair. No WSGI.

Each goes through the store record by record while it serves, and changes only what it has just
seen, so that it can be interrupted at any time and called again. All raise StoreUnavailable.
`on_progress`, where there is one, is told from time to time how many records were looked at.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Raw

from wsgi_sessions.clock import wall_clock
from wsgi_sessions.commit import Lifetimes
from wsgi_sessions.draft import LIFETIME, PRINCIPAL, mark_of
from wsgi_sessions.errors import CorruptRecord, SessionGone, UnsupportedFormat, VersionConflict
from wsgi_sessions.health import DEFAULT_TIMEOUT, HealthReport, check
from wsgi_sessions.inspection import LiveSession, live_sessions
from wsgi_sessions.serialization import Envelope, decode, encode, history, seal
from wsgi_sessions.tombstones import ENDED, TOMBSTONE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wsgi_sessions.stores.base import Backend, Context

    OnProgress = Callable[[int], object]
    StillValid = Callable[[str, str, Any], bool]

CHUNK = 500


class Deletion(NamedTuple):
    """How many sessions were (or would be) deleted: that had expired, and that were live but not
    used for long; and how many records were looked at in all."""

    expired: int
    unused: int
    examined: int


class ContextClearing(NamedTuple):
    """How many contexts were looked at, and how many of them were (or would be) cleared."""

    examined: int
    cleared: int


class BackendStatus(NamedTuple):
    """What is in a store, and whether it is fit to serve.

    `sessions` are live; `expired` lie there still; `quarantined` were damaged and set aside;
    `contexts` are remembered. None: this store does not keep such, or it does not answer.
    """

    backend: str
    health: HealthReport
    sessions: int | None = None
    expired: int | None = None
    quarantined: int | None = None
    contexts: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**self._asdict(), "health": self.health.as_dict()}


# -- sessions --------------------------------------------------------------------------------------


def delete_expired(
    backend: Backend,
    *,
    older_than: timedelta | float | None = None,
    lifetimes: Lifetimes | None = None,
    clock: Callable[[], float] = wall_clock,
    on_progress: OnProgress | None = None,
) -> Deletion:
    """Delete what has expired and lies there still, in chunks; some stores do that by themselves.

    With `older_than` (seconds, or a timedelta) live sessions go too that nobody has used for that
    long. `lifetimes` have to be the application's: the time of the last use is told by the expiry,
    within 5 % of the idle lifetime, and a doubt is in the session's favour. These are kept, too:
    one whose expiry has reached the absolute lifetime, because its last use can no longer be told
    (it ends within the idle lifetime anyway); one that a request holds a lease on; one that is
    changed meanwhile.

    Not promised: to notice a request that only reads in the very moment of the deletion.
    Raises ValueError for an `older_than` that is not above 0.
    """
    seconds = _seconds(older_than)
    expired = unused = examined = 0
    while backend.expired is not None:
        count = backend.expired.delete_expired(CHUNK)
        expired = examined = expired + count
        _tell(on_progress, examined)
        if count < CHUNK:
            break
    if seconds is not None:
        for session, is_unused in _judged(backend, seconds, lifetimes, clock):
            unused += is_unused and _delete_as_found(backend, session, clock())
            examined += 1
            _tell(on_progress, examined)
    return Deletion(expired, unused, examined)


def count_expired(
    backend: Backend,
    *,
    older_than: timedelta | float | None = None,
    lifetimes: Lifetimes | None = None,
    clock: Callable[[], float] = wall_clock,
    on_progress: OnProgress | None = None,
) -> Deletion:
    """What `delete_expired` would delete now. Deletes nothing; costs a scan."""
    seconds = _seconds(older_than)
    expired = 0 if backend.expired is None else backend.expired.count_expired()
    unused, examined = 0, expired
    if seconds is not None:
        for _, is_unused in _judged(backend, seconds, lifetimes, clock):
            unused += is_unused
            examined += 1
            _tell(on_progress, examined)
    return Deletion(expired, unused, examined)


def rebuild_index(
    backend: Backend,
    *,
    lifetimes: Lifetimes | None = None,
    on_progress: OnProgress | None = None,
) -> int:
    """Index every session by its principal anew, and return how many have one.

    Needed only where the index was lost, or has never been, as after a restore from a backup: a
    session in use puts its own entry back, and a dead entry goes when it is met.
    """
    absolute, bound = (lifetimes or Lifetimes()).absolute, 0
    for examined, (key, record, envelope) in enumerate(live_sessions(backend), 1):
        principal = _principal(envelope)
        if principal is not None:
            until = max(record.expires_at, envelope.created_at + absolute)
            backend.index.add(principal, key, until)
            bound += 1
        _tell(on_progress, examined)
    return bound


# -- contexts --------------------------------------------------------------------------------------


def clear_stale_contexts(
    backend: Backend,
    still_valid: StillValid | None = None,
    *,
    older_than: timedelta | float | None = None,
    clock: Callable[[], float] = wall_clock,
    on_progress: OnProgress | None = None,
) -> ContextClearing:
    """Forget every remembered context that leads nowhere any more, and with `older_than` (seconds,
    or a timedelta) every one that was not selected for that long.

    ``still_valid(principal, name, value)`` says so with True or False; the principal is text. What
    it raises ends the clearing. A value that does not decode is cleared. One that was selected
    meanwhile stays.

    Raises TypeError for any other answer, so that a function that forgets to return one forgets
    nobody's context, and ValueError for an `older_than` that is not above 0.
    """
    judged = _judged_contexts(backend, still_valid, _seconds(older_than), clock)
    examined = cleared = 0
    for examined, (principal, name, context, is_stale) in enumerate(judged, 1):
        if is_stale and backend.contexts is not None:
            backend.contexts.clear(principal, name, context)
            cleared += 1
        _tell(on_progress, examined)
    return ContextClearing(examined, cleared)


def count_stale_contexts(
    backend: Backend,
    still_valid: StillValid | None = None,
    *,
    older_than: timedelta | float | None = None,
    clock: Callable[[], float] = wall_clock,
    on_progress: OnProgress | None = None,
) -> ContextClearing:
    """What `clear_stale_contexts` would clear now. Clears nothing."""
    judged = _judged_contexts(backend, still_valid, _seconds(older_than), clock)
    examined = stale = 0
    for examined, (*_, is_stale) in enumerate(judged, 1):
        stale += is_stale
        _tell(on_progress, examined)
    return ContextClearing(examined, stale)


# -- status ----------------------------------------------------------------------------------------


def backend_status(backend: Backend, *, timeout: float = DEFAULT_TIMEOUT) -> BackendStatus:
    """The store's kind, its health (see `wsgi_sessions.health.check`, which `timeout` is for), and
    how much is in it. Costs a scan, and `StoreUnavailable` only if the store fails during that: one
    that is not healthy is not counted."""
    health = check(backend, timeout=timeout)
    if not health.healthy:
        return BackendStatus(backend.name, health)
    return BackendStatus(
        backend.name,
        health,
        sessions=backend.iteration.count(),
        expired=None if backend.expired is None else backend.expired.count_expired(),
        quarantined=None if backend.quarantine is None else backend.quarantine.quarantined(),
        contexts=None if backend.contexts is None else sum(1 for _ in backend.contexts.items()),
    )


# -- inside ----------------------------------------------------------------------------------------


def _judged(
    backend: Backend, seconds: float, lifetimes: Lifetimes | None, clock: Callable[[], float]
) -> Iterator[tuple[LiveSession, bool]]:
    """Every live session, and whether it is unused for certain."""
    times = lifetimes or Lifetimes()
    for session in live_sessions(backend):
        try:
            yield session, _is_unused(session, clock() - seconds, times)
        except CorruptRecord:
            yield session, False


def _is_unused(session: LiveSession, since: float, lifetimes: Lifetimes) -> bool:
    _, record, envelope = session
    if record.expires_at >= envelope.created_at + lifetimes.absolute - 1:
        return False
    idle = mark_of(envelope, LIFETIME) or lifetimes.idle
    last_used_at = lifetimes.last_used(record.expires_at, envelope.created_at, idle)
    if envelope.commits:  # by a refresh, perhaps; and the lifetime may have been another one then
        last_used_at = max(last_used_at, envelope.commits[-1].at)
    # A reader moves the expiry once in this time only.
    return last_used_at + idle / 20 < since


def _delete_as_found(backend: Backend, session: LiveSession, now: float) -> bool:
    """Delete a session if it is still as it was found, and nobody uses it."""
    key, record, envelope = session
    if backend.leases is not None and backend.leases.holders(key):
        return False
    tombstone = Envelope(now, history([]), {ENDED: Raw(encode("unused"))}, {})
    try:
        # A delete has no version to compare: what is saved meanwhile would go with it.
        backend.sessions.save(
            key, seal(tombstone, key), now + TOMBSTONE_SECONDS, expected_version=record.version
        )
    except (VersionConflict, SessionGone):
        return False
    backend.sessions.delete(key)
    principal = _principal(envelope)
    if principal is not None:
        backend.index.remove(principal, key)
    if backend.refreshes is not None:
        backend.refreshes.remove(key)
    return True


def _judged_contexts(
    backend: Backend,
    still_valid: StillValid | None,
    seconds: float | None,
    clock: Callable[[], float],
) -> Iterator[tuple[str, str, Context, bool]]:
    """Every context, and whether it is stale."""
    for principal, name, context in () if backend.contexts is None else backend.contexts.items():
        is_old = seconds is not None and context.accessed_at < clock() - seconds
        is_stale = is_old or not _is_valid(still_valid, principal, name, context)
        yield principal, name, context, is_stale


def _is_valid(still_valid: StillValid | None, principal: str, name: str, context: Context) -> bool:
    try:
        value = decode(context.value)
    except UnsupportedFormat:
        return True  # a newer release's
    except CorruptRecord:
        return False
    answer = True if still_valid is None else still_valid(principal, name, value)
    if not isinstance(answer, bool):
        raise TypeError(
            f"whether a context is still valid was answered with {type(answer).__name__}: "
            "return True or False"
        )
    return answer


def _principal(envelope: Envelope) -> str | None:
    try:
        principal = mark_of(envelope, PRINCIPAL)
    except (CorruptRecord, UnsupportedFormat):
        return None
    return None if principal is None else str(principal)


def _seconds(older_than: timedelta | float | None) -> float | None:
    if older_than is None:
        return None
    seconds = older_than.total_seconds() if isinstance(older_than, timedelta) else older_than
    if not seconds > 0:
        raise ValueError(f"older_than={older_than!r}: must be above 0 seconds")
    return seconds


def _tell(on_progress: OnProgress | None, examined: int) -> None:
    if on_progress is not None:
        on_progress(examined)
