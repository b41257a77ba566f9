"""VersionMiddleware: rebuilds a session that is older than the data it was made from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions.core.events import Events
from wsgi_sessions.http.answers import send
from wsgi_sessions.http.environ import get_transaction
from wsgi_sessions.http.page_load import is_page_load
from wsgi_sessions.versions.login import (
    check_login_url,
    is_login_page,
    login_answer,
    unauthorized_answer,
)
from wsgi_sessions.versions.policy import CachedStamps, VersionPolicy
from wsgi_sessions.versions.visit import Rules, VersionCheck

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from wsgi_sessions.core.transaction import Transaction
    from wsgi_sessions.http.response import Answer
    from wsgi_sessions.versions.policy import ScopeFunction, StampSource
    from wsgi_sessions.versions.visit import Refresh, Validate

    Applies = Callable[[WSGIEnvironment], bool]


class VersionMiddleware:
    """Rebuilds a stale session at the next page load, before the application runs::

        def refresh(session, environ):
            user = load_user(session.principal)
            return user and {"id": user.id, "email": user.email, "player_id": user.player_id}

        application = VersionMiddleware(
            application,
            backend.versions,
            scopes=("global", "league:{league_id}"),
            required=("id", "email", "player_id"),
            refresh=refresh,
            login_url="/login",
        )

    It stands inside of a SessionMiddleware. A session is stale when a required key is missing, its
    stamps are not the current versions, or ``validate(session, environ)`` is false (or raises).
    Anonymous sessions are never stale: those without a principal and without any required key.

    ``refresh(session, environ)`` returns the values that replace all of the session's. They and the
    new stamps are one commit; id, cookie and principal stay, and the application sees them in the
    same request. The versions are read before the hook is called, so the next page load finds any
    later bump. Of many concurrent requests, one calls the hook, and the others wait for it up to
    `wait` seconds; after that, or at once if the manager's `waiters` are waiting, they get 503.
    This holds as long as a refresh is shorter than the store's lock (30 s on Redis; files: any
    time).

    The session ends if the hook raises, returns None, leaves out a required key or changes the
    owner of the session, if the new values do not validate, or if there is no hook. A page load is
    then sent to `login_url` with ``next``, another client gets 401. A hook that raises
    `StoreUnavailable` says "not now": 503, and the session stays as it is, unserved.

    `is_page_load`, or `applies(environ)`, decides which requests rebuild a session. All others, as
    of scripts, are served from the stale session for `grace` seconds after the first bump that it
    missed; not at all after one of `rights`. After that, they are anonymous: they may log a user in
    or out but store nothing else, and get 401 with ``{"error": "session_stale"}``, whatever the
    application answers; the next page load decides. A request that leaves its session alone is not
    affected, and costs nothing.

    Cost when fresh: one comparison per scope, and the session's own load, which the application
    does anyway. The current versions come from a cache of this process, no older than `max_age`
    seconds; with 0, each page load of a logged-in user asks: memory a dictionary, files one small
    file per scope, Redis one HMGET, SQL one connection and SELECT.

    If the source of the versions does not answer, the last known ones judge sessions (see
    `CachedStamps`): requests go on, and no refresh is missed once it is back.

    Log-in: the session is stamped with the versions known before that request began. A scope that
    was not known then counts as 0, which costs one refresh at most, and never misses a bump. Until
    that page load, other requests are judged by the version when the log-in ended; if its bump was
    less than ten minutes before, for `grace` seconds at most. Log out with `Session.flush`: a
    session that is only cleared still belongs to its user, and is refreshed.

    Args:
        versions: a store's ability, or `SqlVersions` on the database whose loader calls
            `bump_version`.
        scopes, rights, required, principal_key: see `VersionPolicy`.

    Raises:
        ConfigurationError: a wrong `login_url` or scope.
    """

    def __init__(
        self,
        app: WSGIApplication,
        versions: StampSource | CachedStamps,
        *,
        scopes: tuple[str, ...] | ScopeFunction = ("global",),
        rights: tuple[str, ...] = (),
        grace: float = 60.0,
        refresh: Refresh | None = None,
        validate: Validate | None = None,
        required: tuple[str, ...] = (),
        principal_key: str | None = None,
        login_url: str | None = None,
        applies: Applies = is_page_load,
        max_age: float = 1.0,
        wait: float = 10.0,
        events: Events | None = None,
    ) -> None:
        if login_url is not None:
            check_login_url(login_url)
        if not isinstance(versions, CachedStamps):
            versions = CachedStamps(versions, max_age=max_age)
        policy = VersionPolicy(scopes, required, principal_key, rights)
        self.app = app
        self._rules = Rules(policy, versions, refresh, validate, wait, grace, events or Events())
        self._login_url = login_url
        self._stale = unauthorized_answer(login_url, "session_stale")
        self._applies = applies

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """PEP 3333."""
        visit = VersionCheck(self._rules, environ, get_transaction(environ))
        outcome = visit.refresh() if self._applies(environ) else "unread"
        if outcome == "unread":
            visit.judge(self._stale)
        elif outcome == "ended":
            answer = self._answer(environ)
            if answer is not None:
                return send(answer, environ["REQUEST_METHOD"], start_response)
        return self.app(environ, start_response)

    def judge(self, environ: WSGIEnvironment, transaction: Transaction) -> None:
        """Withhold a stale session from a transaction as from a script's request.

        For transactions that were opened past this middleware, as for an event of a socket.
        """
        VersionCheck(self._rules, environ, transaction).judge(self._stale)

    def _answer(self, environ: WSGIEnvironment) -> Answer | None:
        """Return the answer to log in again; None for the log-in page, which shows itself."""
        url = self._login_url
        if url is None or not is_page_load(environ):
            return unauthorized_answer(url)
        return None if is_login_page(environ, url) else login_answer(environ, url)
