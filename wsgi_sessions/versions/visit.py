"""One request's session and its versions: if it is stale, it is rebuilt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from wsgi_sessions import texts
from wsgi_sessions.core.draft import PRINCIPAL
from wsgi_sessions.core.record.codec import encode
from wsgi_sessions.core.record.history import REBUILT
from wsgi_sessions.endings import Cause
from wsgi_sessions.errors import CorruptRecord, SessionTooLarge, StoreUnavailable
from wsgi_sessions.identity import short_key
from wsgi_sessions.versions.policy import AT_LOGIN, STAMPS, Staleness, StoredValues

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from _typeshed.wsgi import WSGIEnvironment

    from wsgi_sessions.core.draft import Draft, Snapshot
    from wsgi_sessions.core.events import Events
    from wsgi_sessions.core.session import Session
    from wsgi_sessions.core.transaction import Transaction
    from wsgi_sessions.http.exchange import SessionExchange
    from wsgi_sessions.http.response import Answer
    from wsgi_sessions.versions.policy import CachedStamps, Reading, VersionPolicy

    Refresh = Callable[[Session, WSGIEnvironment], "Mapping[str, Any] | None"]
    Validate = Callable[[Session, WSGIEnvironment], object]

CheckOutcome = Literal["fresh", "refreshed", "ended", "unread"]

_log = texts.log(__name__)


@dataclass(frozen=True)
class Rules:
    """The rules for stale sessions: versions, policy and hooks; `wait` and `grace` in seconds."""

    policy: VersionPolicy
    versions: CachedStamps
    refresh: Refresh | None
    validate: Validate | None
    wait: float
    grace: float
    events: Events


class RefreshFailed(Exception):
    """The hook's result cannot make a session; the text says why, without any value."""


class VersionCheck:
    """The check of one request, from before the application runs to its commit."""

    __slots__ = ("_began", "_environ", "_rules", "_session", "_transaction")

    def __init__(self, rules: Rules, environ: WSGIEnvironment, transaction: Transaction) -> None:
        self._rules = rules
        self._environ = environ
        self._transaction = transaction
        self._session = self._transaction.session
        self._began = rules.versions.now()
        self._transaction.when_committing(self._stamp_login)

    def refresh(self) -> CheckOutcome:
        """Refresh or end a stale session, before the application sees it.

        Raises StoreUnavailable if a refresh is needed that cannot be made now.
        """
        try:
            # No access: a page that does not use its session does not depend on the cookie.
            draft = self._transaction.peek()
        except StoreUnavailable:
            return "unread"  # the application finds the same fault, if it needs its session
        try:
            return self._check(draft)
        except CorruptRecord as error:
            self._transaction.damaged(error)
            raise

    def judge(self, stale: Answer) -> None:
        """Withhold a session that is stale for too long, and answer in place of the application.

        This request cannot rebuild it.
        """

        def look() -> None:
            draft = self._transaction.peek()
            if self._is_somebodys(draft.snapshot) and self._is_overdue(draft):
                exchange: SessionExchange = self._transaction.request  # type: ignore[assignment]
                exchange.withheld = stale
                self._transaction.withhold()

        self._transaction.when_loaded(look)

    def _is_overdue(self, draft: Draft) -> bool:
        """Return whether a bump of rights was missed, or another one for the grace time."""
        versions = self._rules.versions.current(self._scopes(draft)).versions
        stamps: dict[str, int] = draft.get_metadata(STAMPS) or {}
        behind = [scope for scope, version in versions.items() if version > stamps.get(scope, 0)]
        if not behind:
            return False
        known = {**(draft.get_metadata(AT_LOGIN) or {}), **stamps}
        rights = self._rules.policy.rights_of(draft.get_metadata(PRINCIPAL), _stored(draft))
        begun = draft.snapshot.envelope.created_at if draft.snapshot else 0.0
        times = self._rules.versions.times
        for scope in behind:
            stamp, version = known.get(scope), versions[scope]
            if stamp is not None and version > stamp:
                if scope in rights:
                    return True
                since = times.missed_since(scope, stamp, version)
            elif scope in rights and times.came_after(begun, scope, version):
                return True
            elif times.may_overlap(begun, scope, version):
                since = begun
            else:
                continue
            if times.wall() - since >= self._rules.grace:
                return True
        return False

    def _check(self, draft: Draft) -> CheckOutcome:
        if not self._is_somebodys(draft.snapshot):
            self._prepare_login(draft)
            return "fresh"
        reading = self._rules.versions.current(self._scopes(draft))
        return "fresh" if self._staleness(draft, reading) is None else self._renew(draft)

    # -- is it stale? --------------------------------------------------------------------------

    def _is_somebodys(self, snapshot: Snapshot | None) -> bool:
        if snapshot is None:
            return False
        policy, data = self._rules.policy, StoredValues(snapshot.envelope.data)
        return PRINCIPAL in snapshot.envelope.metadata or policy.is_logged_in(None, data)

    def _scopes(self, draft: Draft) -> tuple[str, ...]:
        policy = self._rules.policy
        if policy.is_fixed:  # nothing has to be decoded
            return policy.fixed_scopes
        return policy.scopes_of(self._session, draft.get_metadata(PRINCIPAL), _stored(draft))

    def _staleness(self, draft: Draft, reading: Reading) -> Staleness | None:
        keys = draft.snapshot.envelope.data if draft.snapshot else ()
        found = self._rules.policy.staleness(keys, draft.get_metadata(STAMPS), reading)
        return Staleness("invalid") if found is None and not self._is_valid() else found

    def _is_valid(self) -> bool:
        validate = self._rules.validate
        if validate is None:
            return True
        try:
            return bool(validate(self._session, self._environ))
        except StoreUnavailable:
            raise
        except Exception:  # noqa: BLE001  # the application's own: unconfirmed is not valid
            _log.exception("the validate hook raised, so the session is taken to be stale")
            return False

    # -- refreshing ----------------------------------------------------------------------------

    def _renew(self, draft: Draft) -> CheckOutcome:
        try:
            with self._session.exclusive(self._rules.wait):
                outcome = self._renew_alone(draft)
        except SessionTooLarge as error:  # which only the commit finds out
            return self._end(draft, error)
        if outcome == "refreshed":
            key = _short_key(draft)
            _log.info("refreshed session %s", key)
            self._rules.events.emit("version-refreshed", key)
        return outcome

    def _renew_alone(self, draft: Draft) -> CheckOutcome:
        """Renew the session with its mutex held, after reading it afresh."""
        if draft.is_gone:
            # An earlier request ended it or gave it another id. The browser may have a new cookie
            # by now, so it is left alone.
            draft.adopt(None)
            return "ended"
        versions = self._rules.versions
        reading = versions.fresh(self._scopes(draft))  # before the hook reads the data
        before = versions.now()
        stale = self._staleness(draft, reading)
        if stale is None:
            return "fresh"  # another request has refreshed it
        _log.info("refreshing stale session for %s (%s)", _short_key(draft), stale)
        try:
            self._rebuild(draft)
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001  # whatever the hook raised: no refresh, no session
            return self._end(draft, error)
        draft.set_metadata(STAMPS, {**self._known_before(before), **self._of_now(reading)})
        draft.set_metadata(AT_LOGIN, None)
        draft.set_metadata(REBUILT, self._transaction.manager.now())
        return "refreshed"

    def _rebuild(self, draft: Draft) -> None:
        """Replace all values by those of the hook. Raises the hook's exceptions, too."""
        refresh, session, owner = self._rules.refresh, self._session, self._session.principal
        if refresh is None:
            raise RefreshFailed("there is no refresh hook")
        old = _stored(draft)
        new = refresh(session, self._environ)
        if new is None:
            raise RefreshFailed("the refresh hook returned None")
        values = dict(new)
        self._require(values)
        if session.new or session.principal != owner or self._changes_owner(old, values):
            raise RefreshFailed("the refresh hook changed the owner of the session")
        _replace(session, values)
        if not self._is_valid():
            raise RefreshFailed("the new values do not validate")

    def _require(self, values: Mapping[str, Any]) -> None:
        missing = [key for key in self._rules.policy.required if key not in values]
        if missing:  # without it, the session would be stale at once, and refreshed for ever
            raise RefreshFailed(f"the refresh hook left out {', '.join(missing)}")

    def _changes_owner(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
        key = self._rules.policy.principal_key
        return key is not None and old.get(key) != new.get(key)

    def _end(self, draft: Draft, error: Exception) -> CheckOutcome:
        """Destroy the session: otherwise it would be served with stale rights."""
        key, is_ours = _short_key(draft), isinstance(error, (RefreshFailed, SessionTooLarge))
        why = str(error) if is_ours else f"the refresh raised {type(error).__name__}"
        _log.error("session %s ends: %s", key, why, exc_info=None if is_ours else error)
        self._rules.events.emit("version-ended", key, why=why)
        draft.flush(Cause("stale", detail=why))
        return "ended"

    # -- stamps --------------------------------------------------------------------------------

    def _prepare_login(self, draft: Draft) -> None:
        """Ask for the versions of every session, where a log-in may come.

        A log-in's session can be stamped only with versions known before.
        """
        if draft.snapshot is not None or self._environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            self._rules.versions.current(self._rules.policy.fixed_scopes)
            self._began = self._rules.versions.now()

    def _stamp_login(self) -> None:
        """Stamp the session at the commit of a request that logged a user in."""
        draft, policy = self._transaction.draft(), self._rules.policy
        if self._is_somebodys(draft.snapshot):
            return
        if policy.is_logged_in(self._transaction.owner(), self._session):
            stamps, scopes = self._known_before(self._began), self._scopes_now()
            others = [scope for scope in scopes if scope not in stamps]
            draft.set_metadata(STAMPS, stamps)
            draft.set_metadata(AT_LOGIN, self._rules.versions.current(others).versions or None)

    def _known_before(self, moment: float) -> dict[str, int]:
        """Return the versions known before this moment, for the session as it is now."""
        return self._rules.versions.known_before(self._scopes_now(), moment)

    def _of_now(self, reading: Reading) -> dict[str, int]:
        """Return the part of a reading that is about the session as it is now."""
        return {s: reading.versions[s] for s in self._scopes_now() if s in reading.versions}

    def _scopes_now(self) -> tuple[str, ...]:
        session = self._session
        return self._rules.policy.scopes_of(session, self._transaction.owner(), session)


def _replace(session: Session, values: Mapping[str, Any]) -> None:
    """Leave only these values in a session.

    Values that it has already are not written, so that concurrent changes of them stay.
    """
    for key in [key for key in session if key not in values]:
        del session[key]
    for key, value in values.items():
        if key not in session or encode(session[key]) != encode(value, key):
            session[key] = value


def _stored(draft: Draft) -> StoredValues:
    return StoredValues({} if draft.snapshot is None else draft.snapshot.envelope.data)


def _short_key(draft: Draft) -> str | None:
    return None if draft.snapshot is None else short_key(draft.snapshot.key)
