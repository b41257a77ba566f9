"""SessionMiddleware: gives every request a session, and commits it before the headers leave."""

from __future__ import annotations

import fnmatch
import re
from typing import TYPE_CHECKING, Literal

from wsgi_sessions import texts
from wsgi_sessions.cookies import Presented
from wsgi_sessions.draft import LIFETIME
from wsgi_sessions.errors import (
    CorruptRecord,
    SessionConflict,
    SessionError,
    StoreUnavailable,
    TooManyWaiting,
)
from wsgi_sessions.headers import private_cache_headers, vary_on_cookie, without_cookie
from wsgi_sessions.middleware.answers import REFUSALS, answer_to
from wsgi_sessions.middleware.response import Answer, LateResponse
from wsgi_sessions.serialization import decode
from wsgi_sessions.session import Phase, Session
from wsgi_sessions.transaction import Access, Transaction

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from wsgi_sessions.config import BusyStatus
    from wsgi_sessions.cookies import SessionCookie
    from wsgi_sessions.draft import Snapshot
    from wsgi_sessions.events import EventName
    from wsgi_sessions.headers import Headers
    from wsgi_sessions.importers.adoption import Adoption
    from wsgi_sessions.manager import Result, SessionManager

ENVIRON_KEY = "wsgi_sessions.session"
TRANSACTION_KEY = "wsgi_sessions.transaction"
Keeping = Literal["all", "what needs no cookie", "nothing"]
_ROUTE_LENGTH = 60
_HEADERS_SENT = Phase.HEADERS_SENT  # see `session._ENDED`
_log = texts.log("wsgi_sessions.middleware")


def get_session(environ: WSGIEnvironment) -> Session:
    """The session of a request. Raises LookupError outside of a SessionMiddleware."""
    try:
        session: Session = environ[ENVIRON_KEY]
    except KeyError:
        raise LookupError(
            "this request has no session: wrap the application, as in "
            "application = wsgi_sessions.from_env(application)"
        ) from None
    return session


def get_transaction(environ: WSGIEnvironment) -> Transaction:
    """What the session of a request stands on, for middlewares that join in.

    Raises LookupError outside of a SessionMiddleware.
    """
    get_session(environ)
    transaction: Transaction = environ[TRANSACTION_KEY]
    return transaction


class SessionMiddleware:
    """Puts a `Session` into ``environ["wsgi_sessions.session"]`` of every request::

        backend = open_backend("file:///var/lib/app/sessions")
        cookie = SessionCookie(CookiePolicy(), IdSigner([secret]))
        application = SessionMiddleware(application, SessionManager(backend), cookie)

    A request that does not touch its session costs no store call and no cookie parsing; one that
    reads it, one store call; one that changes it, one more. The commit takes place just before the
    headers leave, so that a generator may still change the session before its first chunk. What is
    changed later is committed when the body is closed, unless it would need a cookie.

    A response of status 500 or more, and an exception, commit nothing; a log-out takes place all
    the same. If the store does not answer, a request that needs its session gets 503 with
    Retry-After, and one that does not is not affected. `SessionConflict` is answered with 409.

    `exclusive_paths` are patterns (``/cart/*``) of paths whose requests run one at a time per
    session, from their first access of the session to their commit, which comes with the headers:
    a client that reads slowly keeps nobody waiting. `busy_status` answers a request that finds too
    many others waiting for its session.

    `adoption` is asked about requests without a valid cookie of ours: theirs may be another
    library's, whose session it takes over.
    """

    def __init__(
        self,
        app: WSGIApplication,
        manager: SessionManager,
        cookie: SessionCookie,
        *,
        exclusive_paths: Sequence[str] = (),
        adoption: Adoption | None = None,
        busy_status: BusyStatus = "503",
    ) -> None:
        self._app = app
        self.manager = manager
        self.cookie = cookie
        self.adoption = adoption
        self.busy_status: BusyStatus = busy_status
        patterns = "|".join(fnmatch.translate(pattern) for pattern in exclusive_paths)
        self.exclusive_paths = re.compile(patterns) if patterns else None
        self._told_of_http = False

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """PEP 3333."""
        return LateResponse(environ, start_response, Exchange(self, environ)).run(self._app)

    def open(self, environ: WSGIEnvironment) -> Exchange:
        """Begin a request: its session is in the environ. Nothing is parsed or read yet.

        For adapters whose framework has no WSGI response at hand; they call the `Handler` methods.
        """
        return Exchange(self, environ)

    def access(self, path: str) -> Access:
        """Whether requests on this path share their session with overlapping ones."""
        if self.exclusive_paths is None or not self.exclusive_paths.match(path):
            return "shared"
        return "exclusive"

    def warn_of_http(self) -> None:
        """Say once per process that a cookie goes out without Secure, if nobody asked for that."""
        if not self._told_of_http and self.cookie.policy.secure != "never":
            self._told_of_http = True
            self.manager.events.emit(
                "insecure",
                advice="the session cookie goes out over plain http without Secure: behind a proxy "
                "that ends TLS, pass its scheme on (werkzeug's ProxyFix), or set "
                "WSGI_SESSIONS_COOKIE_SECURE=always",
            )


class Exchange:
    """One request and its response: the `Handler` that commits the session.

    `refusal` is the error that was answered in place of the application's response. `cookie` and
    `keeping` may be changed until the headers leave: what reads and writes this request's cookie,
    and what of the session the response shall store.
    """

    __slots__ = (
        "_environ",
        "_header",
        "_is_over",
        "_method",
        "_middleware",
        "_path",
        "_presented",
        "cookie",
        "keeping",
        "refusal",
        "transaction",
    )

    def __init__(self, middleware: SessionMiddleware, environ: WSGIEnvironment) -> None:
        self._middleware = middleware
        self._environ = environ
        self._presented: Presented | None = None
        self.cookie = middleware.cookie
        self.keeping: Keeping = "all"
        self._is_over = False  # refused or failed: nothing is committed any more
        self.refusal: SessionError | None = None
        self._header = environ.get("HTTP_COOKIE")
        self._path = environ.get("PATH_INFO", "")
        self._method = environ.get("REQUEST_METHOD", "")
        self.transaction = transaction = Transaction(middleware.manager, self)
        environ[TRANSACTION_KEY] = transaction
        environ[ENVIRON_KEY] = Session(transaction)

    def session_id(self) -> str | None:
        """See `Request`."""
        self._presented = presented = self.cookie.read(self._header)
        return presented.session_id or self._foreign_id(presented)

    def _foreign_id(self, presented: Presented) -> str | None:
        """The id of another library's session that this one takes over, for want of an own."""
        adoption = self._middleware.adoption
        if presented.state == "ambiguous":
            self._middleware.manager.events.emit("ambiguous", route=self.route())
        elif adoption is not None:
            session_id = adoption.session_id(self._header, self.route)
            if session_id is not None:
                self._presented = Presented("foreign", session_id)
            return session_id
        return None

    def route(self) -> str:
        """See `Request`."""
        return f"{self._method} {self._path}"[:_ROUTE_LENGTH]

    def access(self) -> Access:
        """See `Request`."""
        middleware = self._middleware
        if middleware.exclusive_paths is None:
            return "shared"
        return middleware.access(self._path)

    def finish(self, status: str, headers: Headers) -> Answer | None:
        """Commit, and let the cookie go with the headers."""
        transaction = self.transaction
        answer = None
        if transaction.is_accessed:
            answer = self._committed(status, headers)
        elif transaction.fault is not None and status >= "500":
            answer = self._refused(transaction.fault)
        if transaction.kept is not None:
            transaction.let_go()  # looked at, but not accessed: there was no commit
        transaction.phase = _HEADERS_SENT
        return answer

    def fail(self, error: BaseException) -> Answer | None:
        """Nothing is committed, but a log-out takes place."""
        self._roll_back()
        if isinstance(error, REFUSALS):
            return self._refused(error)
        return None

    def end(self, *, ran_on: bool) -> None:
        """Commit what was changed after the headers left, and free what is held."""
        transaction = self.transaction
        try:
            if ran_on and not self._is_over and transaction.session.modified:
                transaction.commit("closed")
        finally:
            transaction.close()
            # Both lead back here (see `Transaction.close`), and are not needed any more: should an
            # outer middleware now be the first to read the session, it needs the cookie only.
            del self.transaction, self._environ

    def _committed(self, status: str, headers: Headers) -> Answer:
        transaction = self.transaction
        before, failed = transaction.snapshot, status >= "500"
        # A 304 takes no cookie, and so no change that needs one.
        bare = status[:3] == "304" or self.keeping != "all"
        try:
            result = self._stored(bare=bare, failed=failed)
        except REFUSALS as error:
            if isinstance(error, CorruptRecord):
                transaction.damaged(error)
            return self._refused(error)
        if failed and transaction.fault is not None:
            return self._refused(transaction.fault)
        headers = vary_on_cookie(headers)
        if bare or not self._takes_cookie(result, before) or not self._may_renew(result):
            return Answer(status, headers)
        cookie = self._cookie(result)
        if cookie is not None:
            headers = without_cookie(headers, self.cookie.policy.name)
            headers = [*private_cache_headers(headers), ("Set-Cookie", cookie)]
        return Answer(status, headers)

    def _stored(self, *, bare: bool, failed: bool) -> Result:
        transaction = self.transaction
        if failed:
            self._is_over = True
            return "destroyed" if transaction.roll_back() else "unchanged"
        if self.keeping == "nothing":
            self._is_over = True
            return "destroyed" if transaction.withdraw() else "unchanged"
        return transaction.commit("closed" if bare else "open")

    def _takes_cookie(self, result: Result, before: Snapshot | None) -> bool:
        """Whether the session is new, renewed or deleted, or its cookie to be written anew."""
        presented, transaction = self._presented, self.transaction
        if transaction.renewal == "always":
            return True
        if presented is not None and presented.state in ("renew", "foreign"):
            return True  # signed by an older secret, or another library's
        if result == "unchanged":
            return False
        if result in ("created", "cycled", "destroyed"):
            return True
        asked = _asked_lifetime(transaction.snapshot)
        return asked is not None or _asked_lifetime(before) is not None

    def _may_renew(self, result: Result) -> bool:
        """Whether a cookie may be written for what the commit came to.

        A request that only read does not know whether its session is still there. It must not
        write back an id that a log-in has replaced meanwhile: so it looks, and if in doubt does not
        renew.
        """
        if result not in ("unchanged", "touched"):
            return True
        try:
            return self.transaction.is_alive()
        except StoreUnavailable:
            return False

    def _cookie(self, result: Result) -> str | None:
        """The Set-Cookie value for what the session is now; None: there is nothing to tell."""
        # What it is now: a ProxyFix may stand between this middleware and the application.
        scheme = self._environ.get("wsgi.url_scheme", "http")
        cookie, snapshot = self.cookie, self.transaction.snapshot
        if result == "destroyed":
            presented = self._presented
            sent_one = presented is not None and presented.state != "absent"
            return cookie.delete(scheme=scheme) if sent_one else None
        if snapshot is None or not snapshot.session_id:
            return None  # nothing, or a session that another request has given its new id to
        if not cookie.policy.is_secure(scheme):
            self._middleware.warn_of_http()
        asked = _asked_lifetime(snapshot)
        if asked is None:
            return cookie.write(snapshot.session_id, scheme=scheme, max_age=None)
        return cookie.write(
            snapshot.session_id, scheme=scheme, max_age=int(asked), expires=snapshot.expires_at
        )

    def _refused(self, error: SessionError) -> Answer:
        """The answer in place of the application's."""
        self._is_over = True
        self.refusal = error
        if isinstance(error, SessionConflict):
            return answer_to(error)
        key = error.key if isinstance(error, StoreUnavailable) else None
        name: EventName = "busy" if isinstance(error, TooManyWaiting) else "unavailable"
        self._middleware.manager.events.emit(name, key, error=str(error), route=self.route())
        return answer_to(error, self._middleware.busy_status)

    def _roll_back(self) -> None:
        try:
            self.transaction.roll_back()
        except StoreUnavailable:
            # The application's own exception says more, and is on its way.
            _log.exception("a log-out could not take place while an error was handled")


def _asked_lifetime(snapshot: Snapshot | None) -> float | None:
    """What `Session.remember` was told, as it is stored."""
    mark = None if snapshot is None else snapshot.envelope.marks.get(LIFETIME)
    return None if mark is None else float(decode(mark))
