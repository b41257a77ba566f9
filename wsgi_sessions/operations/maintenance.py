"""Maintenance of a store, as functions: clean-up, status, repair. No WSGI.

Each function goes through the store record by record while it serves, and changes only what it has
just read, so that it can be interrupted and repeated at any time. All raise StoreUnavailable.
`on_progress` is called from time to time with the number of records examined.
"""

from __future__ import annotations

from datetime import timedelta
from math import inf
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from msgspec import Raw

from wsgi_sessions import texts
from wsgi_sessions.clock import wall_clock
from wsgi_sessions.core.commit.loop import Lifetimes
from wsgi_sessions.core.draft import APPLICATION, PRINCIPAL
from wsgi_sessions.core.limits.lifetimes import FixedEnd
from wsgi_sessions.core.record.codec import decode, encode
from wsgi_sessions.core.record.envelope import Envelope, seal
from wsgi_sessions.core.record.history import NO_COMMITS
from wsgi_sessions.core.record.tombstones import ENDED, TOMBSTONE_SECONDS
from wsgi_sessions.endings import Cause
from wsgi_sessions.errors import (
    CorruptRecord,
    SessionGone,
    StoreUnavailable,
    UnsupportedFormat,
    VersionConflict,
)
from wsgi_sessions.health.checker import DEFAULT_TIMEOUT, HealthReport, look
from wsgi_sessions.operations.inspection import LiveSession, live_sessions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wsgi_sessions.contract import Backend, Context
    from wsgi_sessions.core.endings.report import EndingReport
    from wsgi_sessions.upkeep import OnDeleted

    OnProgress = Callable[[int], object]
    StillValid = Callable[[str, str, Any], bool]

CHUNK = 500
_log = texts.log(__name__)


class Deletion(NamedTuple):
    """The numbers of expired and of unused live sessions that were (or would be) deleted, and of
    records examined."""

    expired: int
    unused: int
    examined: int


class ContextClearing(NamedTuple):
    """The numbers of contexts examined, and of those that were (or would be) cleared."""

    examined: int
    cleared: int


class BackendStatus(NamedTuple):
    """The contents of a store and its health.

    `sessions` are live; `expired` ones are still stored; `quarantined` ones were damaged and set
    aside; `contexts` are remembered. None: the store does not keep them, or does not answer.
    """

    backend: str
    health: HealthReport
    sessions: int | None = None
    expired: int | None = None
    quarantined: int | None = None
    contexts: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {**self._asdict(), "health": self.health.as_dict()}


# -- sessions --------------------------------------------------------------------------------------


def delete_expired(
    backend: Backend,
    *,
    dry_run: bool = False,
    older_than: timedelta | float | None = None,
    lifetimes: Lifetimes | None = None,
    clock: Callable[[], float] = wall_clock,
    on_progress: OnProgress | None = None,
    report: EndingReport | None = None,
    by: str = "delete_expired()",
) -> Deletion:
    """Delete expired sessions that are still stored, in chunks; some stores do that on their own.

    With `older_than` (seconds, or a timedelta), also delete live sessions not used for that long.
    `lifetimes` must be the application's: the last use is derived from the expiry, within 5 % of
    the idle lifetime, in the session's favour. Sessions are kept whose expiry has reached the
    absolute lifetime (they end within the idle lifetime anyway), on which a request holds a lease,
    or that change at the same time. With `dry_run`, count what would be deleted; this needs a scan.

    The `report` of a manager (`SessionManager.endings`) tells each end, with the caller's name
    `by`, and keeps its trace.

    Not promised: to notice a request that only reads, at the very moment of the deletion. Raises
    ValueError if `older_than` is not above 0.
    """
    seconds = _seconds(older_than)
    told = None if report is None else report.expired_by(by)
    expired = examined = _expired(backend, told, on_progress, dry_run=dry_run)
    unused = 0
    if seconds is not None:
        for session, is_unused in _judged(backend, seconds, lifetimes, clock):
            examined += 1
            if is_unused:
                unused += dry_run or _delete_as_found(backend, session, clock(), report, by)
            _tell(on_progress, examined)
    return Deletion(expired, unused, examined)


def rebuild_index(
    backend: Backend,
    *,
    lifetimes: Lifetimes | None = None,
    on_progress: OnProgress | None = None,
) -> int:
    """Rebuild the index of sessions by principal; return the number of sessions with one.

    Needed only if the index was lost or never existed, as after a restore from a backup: a session
    in use restores its own entry, and dead entries are removed when found.

    If several applications share the store, only sessions of this one are indexed. Sessions without
    an application are counted in the log; they are indexed when they are used.
    """
    times, bound, nobodys = lifetimes or Lifetimes(), 0, 0
    unnamed = _those_without_a_name(backend)
    for examined, (key, record, envelope) in enumerate(live_sessions(backend), 1):
        principal, application = _text_of(envelope, PRINCIPAL), _text_of(envelope, APPLICATION)
        if principal is not None and application is None and unnamed == "anybody's":
            nobodys += 1
        elif principal is not None and application in (None, backend.application):
            until = max(record.expires_at, times.listed_until(record.expires_at, envelope))
            backend.index.add(principal, key, until)
            bound += 1
        _tell(on_progress, examined)
    if nobodys:
        _log.warning("%d sessions have no application recorded and are not indexed", nobodys)
    return bound


def _those_without_a_name(backend: Backend) -> Literal["ours", "anybody's"]:
    """Decide about sessions without an application: they are of earlier releases, or of an
    application without a name."""
    if backend.application is None or backend.name == "redis" or backend.tenants is None:
        return "ours"  # in Redis each application scans only its own keys
    return "ours" if len(backend.tenants.names()) < 2 else "anybody's"


# -- contexts --------------------------------------------------------------------------------------


def clear_stale_contexts(
    backend: Backend,
    still_valid: StillValid | None = None,
    *,
    dry_run: bool = False,
    older_than: timedelta | float | None = None,
    clock: Callable[[], float] = wall_clock,
    on_progress: OnProgress | None = None,
) -> ContextClearing:
    """Forget every remembered context that is no longer valid, and with `older_than` (seconds, or a
    timedelta) every one not selected for that long.

    ``still_valid(principal, name, value)`` answers True or False; the principal is text. An
    exception in it ends the clearing. A value that fails to decode is cleared. A context selected
    at the same time stays. With `dry_run`, only count what would be cleared now.

    Raises TypeError for any other answer, so that a function without a return value clears nothing,
    and ValueError if `older_than` is not above 0.
    """
    judged = _judged_contexts(backend, still_valid, _seconds(older_than), clock)
    examined = cleared = 0
    for examined, (principal, name, context, is_stale) in enumerate(judged, 1):
        if is_stale and backend.contexts is not None and not dry_run:
            backend.contexts.clear(principal, name, context)
        cleared += is_stale
        _tell(on_progress, examined)
    return ContextClearing(examined, cleared)


# -- status ----------------------------------------------------------------------------------------


def backend_status(backend: Backend, *, timeout: float = DEFAULT_TIMEOUT) -> BackendStatus:
    """Return the kind of the store, its health (see `wsgi_sessions.health.checker.look`, which
    `timeout` is for), and counts of its contents. Needs a scan. Raises `StoreUnavailable` only if a
    healthy store fails during the scan: in an unhealthy one, everything readable is counted (a full
    store can be read)."""
    health = look(backend, timeout=timeout)
    try:
        return _counted(backend, health)
    except StoreUnavailable:
        if health.healthy:
            raise
        return BackendStatus(backend.name, health)


def _counted(backend: Backend, health: HealthReport) -> BackendStatus:
    return BackendStatus(
        backend.name,
        health,
        sessions=backend.iteration.count(),
        expired=None if backend.expired is None else backend.expired.count_expired(),
        quarantined=None if backend.quarantine is None else backend.quarantine.quarantined(),
        contexts=None if backend.contexts is None else sum(1 for _ in backend.contexts.items()),
    )


# -- inside ----------------------------------------------------------------------------------------


def _expired(
    backend: Backend, told: OnDeleted | None, on_progress: OnProgress | None, *, dry_run: bool
) -> int:
    """Delete expired sessions, or count them; return the number."""
    if backend.expired is None:
        return 0
    if dry_run:
        return backend.expired.count_expired()
    expired, count = 0, CHUNK
    while count >= CHUNK:
        count = backend.expired.delete_expired(CHUNK, told)
        expired += count
        _tell(on_progress, expired)
    return expired


def _judged(
    backend: Backend, seconds: float, lifetimes: Lifetimes | None, clock: Callable[[], float]
) -> Iterator[tuple[LiveSession, bool]]:
    """Yield every live session, and whether it is certainly unused."""
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
    asked = lifetimes.asked(envelope)
    idle = (asked.idle if isinstance(asked, FixedEnd) else asked) or lifetimes.idle
    if idle == inf:
        return False  # its end is fixed
    last_used_at = lifetimes.last_used(record.expires_at, envelope.created_at, idle)
    if envelope.commits:  # possibly by a refresh; and the lifetime may have been different then
        last_used_at = max(last_used_at, envelope.commits[-1].at)
    # Readers move the expiry only once in this time.
    return last_used_at + idle / 20 < since


def _delete_as_found(
    backend: Backend, session: LiveSession, now: float, report: EndingReport | None, by: str
) -> bool:
    """Delete a session if it is unchanged since it was found, and not in use."""
    key, record, envelope = session
    if backend.leases is not None and backend.leases.holders(key):
        return False
    tombstone = Envelope(now, NO_COMMITS, {ENDED: Raw(encode("unused"))}, {})
    try:
        # A delete compares no version: data saved at the same time would be lost with it.
        backend.sessions.save(
            key, seal(tombstone, key), now + TOMBSTONE_SECONDS, expected_version=record.version
        )
    except (VersionConflict, SessionGone):
        return False
    backend.sessions.delete(key)
    principal = _text_of(envelope, PRINCIPAL)
    if principal is not None:
        backend.index.remove(principal, key)
    if backend.refreshes is not None:
        backend.refreshes.remove(key)
    if report is not None:
        report.destroyed(key, Cause("swept", by), envelope)
    return True


def _judged_contexts(
    backend: Backend,
    still_valid: StillValid | None,
    seconds: float | None,
    clock: Callable[[], float],
) -> Iterator[tuple[str, str, Context, bool]]:
    """Yield every context, and whether it is stale."""
    for principal, name, context in () if backend.contexts is None else backend.contexts.items():
        is_old = seconds is not None and context.accessed_at < clock() - seconds
        is_stale = is_old or not _is_valid(still_valid, principal, name, context)
        yield principal, name, context, is_stale


def _is_valid(still_valid: StillValid | None, principal: str, name: str, context: Context) -> bool:
    try:
        value = decode(context.value)
    except UnsupportedFormat:
        return True  # written by a newer release
    except CorruptRecord:
        return False
    answer = True if still_valid is None else still_valid(principal, name, value)
    if not isinstance(answer, bool):
        raise TypeError(f"still_valid returned {type(answer).__name__}: return True or False")
    return answer


def _text_of(envelope: Envelope, name: str) -> str | None:
    try:
        found = envelope.get_metadata(name)
    except (CorruptRecord, UnsupportedFormat):
        return None
    return None if found is None else str(found)


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
