"""What operators do with a store, as functions: clean up, look, repair. No WSGI.

Each goes through the store record by record while it serves, and changes only what it has just
seen, so that it can be interrupted at any time and called again. All raise StoreUnavailable.
`on_progress`, where there is one, is told from time to time how many records were looked at.
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
from wsgi_sessions.core.limits.lifetimes import Ending
from wsgi_sessions.core.record.codec import decode, encode
from wsgi_sessions.core.record.envelope import Envelope, seal
from wsgi_sessions.core.record.tombstones import ENDED, TOMBSTONE_SECONDS
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

    OnProgress = Callable[[int], object]
    StillValid = Callable[[str, str, Any], bool]

CHUNK = 500
_log = texts.log(__name__)


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
    dry_run: bool = False,
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

    With `dry_run`, count what would be deleted now: deletes nothing, and costs a scan.

    Not promised: to notice a request that only reads in the very moment of the deletion.
    Raises ValueError for an `older_than` that is not above 0.
    """
    seconds = _seconds(older_than)
    expired = examined = _expired(backend, on_progress, dry_run=dry_run)
    unused = 0
    if seconds is not None:
        for session, is_unused in _judged(backend, seconds, lifetimes, clock):
            unused += is_unused and (dry_run or _delete_as_found(backend, session, clock()))
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

    Where several applications share the store, only those of this one are indexed; the log tells of
    those that name none, which are indexed as they are used.
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
        _log.warning("%d sessions do not tell their application, and are not indexed anew", nobodys)
    return bound


def _those_without_a_name(backend: Backend) -> Literal["ours", "anybody's"]:
    """Whose the sessions are that do not tell their application: of earlier releases, or of an
    application without a name."""
    if backend.application is None or backend.name == "redis" or backend.tenants is None:
        return "ours"  # in Redis each application goes through its own keys
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
    """Forget every remembered context that leads nowhere any more, and with `older_than` (seconds,
    or a timedelta) every one that was not selected for that long.

    ``still_valid(principal, name, value)`` says so with True or False; the principal is text. What
    it raises ends the clearing. A value that does not decode is cleared. One that was selected
    meanwhile stays. With `dry_run`, count what would be cleared now, and clear nothing.

    Raises TypeError for any other answer, so that a function that forgets to return one forgets
    nobody's context, and ValueError for an `older_than` that is not above 0.
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
    """The store's kind, its health (see `wsgi_sessions.health.checker.look`, which `timeout` is
    for), and how much is in it. Costs a scan. Raises `StoreUnavailable` only if a healthy store
    fails during that: of one that is not, what can be counted is (one that is full can be read)."""
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


def _expired(backend: Backend, on_progress: OnProgress | None, *, dry_run: bool) -> int:
    """How many had expired and were, or would be, deleted."""
    if backend.expired is None:
        return 0
    if dry_run:
        return backend.expired.count_expired()
    expired, count = 0, CHUNK
    while count >= CHUNK:
        count = backend.expired.delete_expired(CHUNK)
        expired += count
        _tell(on_progress, expired)
    return expired


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
    asked = lifetimes.asked(envelope)
    idle = (asked.idle if isinstance(asked, Ending) else asked) or lifetimes.idle
    if idle == inf:
        return False  # it lives until a fixed end
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
    tombstone = Envelope(now, [], {ENDED: Raw(encode("unused"))}, {})
    try:
        # A delete has no version to compare: what is saved meanwhile would go with it.
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
