"""One request and its response: its cookie, its commit, and the headers that go out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from wsgi_sessions import texts
from wsgi_sessions.core.commit.results import for_cookie
from wsgi_sessions.core.session import Session
from wsgi_sessions.core.source import Phase
from wsgi_sessions.core.transaction import Transaction
from wsgi_sessions.endings import UNSIGNED
from wsgi_sessions.errors import CorruptRecord, SessionError, StoreUnavailable
from wsgi_sessions.http.answers import REFUSALS, answer_to
from wsgi_sessions.http.cookies.early import begin_early
from wsgi_sessions.http.cookies.incoming import foreign_one, one_that_counts
from wsgi_sessions.http.cookies.login import without_login_cookies
from wsgi_sessions.http.cookies.outgoing import OutgoingCookie, cookie_is_due, may_move
from wsgi_sessions.http.cookies.reach import SAFE_METHODS, why_out_of_reach
from wsgi_sessions.http.environ import ENVIRON_KEY, TRANSACTION_KEY
from wsgi_sessions.http.headers import private_cache_headers, vary_on_cookie, without_cookie
from wsgi_sessions.http.reports import report_first, report_lost, report_refusal
from wsgi_sessions.http.request_body import digest_of_body, repeats_of_request
from wsgi_sessions.http.response import Answer

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

    from wsgi_sessions.core.commit.results import Result
    from wsgi_sessions.core.draft import Snapshot
    from wsgi_sessions.core.source import Access
    from wsgi_sessions.http.cookies.session_cookie import PresentedCookie, SessionCookie
    from wsgi_sessions.http.cookies.twins import Twins
    from wsgi_sessions.http.headers import Headers
    from wsgi_sessions.http.middleware import SessionMiddleware

Keeping = Literal["all", "what needs no cookie", "nothing"]
NOT_SAVED = "the application did not save it"
_ROUTE_LENGTH = 60
_HEADERS_SENT = Phase.HEADERS_SENT  # see `session._ENDED`
_log = texts.log(__name__)


@texts.shows()
class SessionExchange(Struct, eq=False):
    """One request and its response: the `Handler` that commits the session.

    `refusal` is the error that was answered in place of the application's response. `withheld` is
    the answer for a request whose session is withheld from it (`Transaction.withhold`). Until the
    headers leave, `cookie` and `keeping` may be changed: the reader and writer of this request's
    cookie, and what the response stores of the session.
    """

    _middleware: SessionMiddleware
    _environ: WSGIEnvironment
    transaction: Transaction = None  # type: ignore[assignment]  # set by __post_init__
    cookie: SessionCookie = None  # type: ignore[assignment]  # likewise
    keeping: Keeping = "all"
    refusal: SessionError | None = None
    withheld: Answer | None = None
    _header: str | None = None
    _path: str = ""
    _method: str = ""
    _presented: PresentedCookie | None = None
    _twins: Twins | None = None
    _is_over: bool = False  # refused or failed: no more commits

    def __post_init__(self) -> None:
        middleware, environ = self._middleware, self._environ
        self.cookie = middleware.cookie
        self._header = environ.get("HTTP_COOKIE")
        self._path = environ.get("PATH_INFO", "")
        self._method = environ.get("REQUEST_METHOD", "")
        self.transaction = transaction = Transaction(middleware.manager, self)
        key = middleware.retry_token_key
        if key is not None and key in environ and digest_of_body(environ) is not None:
            transaction.when_loaded(self._may_be_repeated)
        environ[TRANSACTION_KEY] = transaction
        environ[ENVIRON_KEY] = Session(transaction)

    def session_id(self) -> str | None:
        """See `Request`."""
        presented, middleware = self.cookie.read(self._header), self._middleware
        if presented.state == "ambiguous":
            presented, self._twins = one_that_counts(presented, middleware.manager, self.route)
        self._presented = presented
        if not middleware.comebacks.is_settled and presented.state in ("valid", "renew"):
            middleware.comebacks.came()
        session_id, adoption = presented.session_id, middleware.adoption
        if session_id is None:
            if adoption is None:  # else it may be another library's
                if presented.state == "invalid":
                    self.transaction.miss(UNSIGNED)
            elif presented.state != "ambiguous":
                foreign = foreign_one(adoption, self._header, self.route)
                self._presented = presented = foreign or presented
            return presented.session_id
        if adoption is not None:
            self.transaction.when_loaded(self._came_back)
        return session_id

    def _may_be_repeated(self) -> None:
        token = self._environ.get(self._middleware.retry_token_key or "")
        draft = self.transaction.draft()
        draft.repeats = repeats_of_request(token, self._environ, self._method, self._path)
        _ = self.transaction.session.is_repeated  # later commits may be this request's own

    def _came_back(self) -> None:
        adoption = self._middleware.adoption
        if adoption is not None:
            adoption.came_back(self.transaction.draft(), self.route())

    def route(self) -> str:
        """See `Request`."""
        return f"{self._method} {self._path}"[:_ROUTE_LENGTH]

    def access(self) -> Access:
        """See `Request`."""
        middleware = self._middleware
        if middleware.exclusive_paths is None:
            return "shared"
        # The present path, too: another middleware may have moved or rewritten it since.
        path, root = self._environ.get("PATH_INFO", ""), self._environ.get("SCRIPT_NAME", "")
        return middleware.access(self._path, path, root + path)

    def finish(self, status: str, headers: Headers) -> Answer | None:
        """Commit, and add the cookie to the headers."""
        transaction = self.transaction
        answer = None
        is_early = (
            self._middleware.gives_early
            and self.keeping == "all"
            and status < "400"
            and status[:3] != "304"
            and begin_early(transaction, self._environ, self.cookie, self._header)
        )
        if transaction.is_accessed:
            answer = self._committed(status, headers, is_early=is_early)
        elif transaction.fault is not None:
            answer = self._answer_for_fault(transaction.fault, status)
        if transaction.turn is not None:
            transaction.turn.end()  # peeked at, but not accessed: there was no commit
        transaction.phase = _HEADERS_SENT
        return answer

    def fail(self, error: BaseException) -> Answer | None:
        """Commit nothing but a log-out."""
        if isinstance(error, REFUSALS):
            self._roll_back(None)  # the answer is reported
            return self._refused(error)
        self._roll_back(f"the application raised {type(error).__name__}")
        if self.withheld is None or not isinstance(error, Exception):
            return None
        return self._refused_as_stale(self.withheld)  # it may have failed without its session

    def exhausted(self) -> None:
        """Commit changes made after the headers left; a failure is event ``lost``."""
        transaction = self.transaction
        if self._is_over:
            return
        transaction.phase = _HEADERS_SENT  # or never are, where the connection was taken over
        try:
            if transaction.session.modified:
                if self.keeping == "nothing":
                    transaction.roll_back(NOT_SAVED)
                transaction.commit("closed")
        except BaseException as error:  # raised again: the server breaks off the response
            self._is_over = True
            report_lost(self._middleware.manager.events, error, transaction.snapshot, self.route())
            raise

    def end(self, *, ran_on: bool) -> None:
        """Commit the changes since, and free what is held."""
        transaction = self.transaction
        try:
            if ran_on:
                self.exhausted()
        finally:
            transaction.close()
            meter = self._middleware.meter
            if meter is not None:
                meter.request(transaction.did if transaction.is_accessed else None)
            # Both refer back here (see `Transaction.close`) and are no longer needed: an outer
            # middleware that now reads the session first needs the cookie only.
            del self.transaction, self._environ

    def _committed(self, status: str, headers: Headers, *, is_early: bool) -> Answer:
        transaction = self.transaction
        before = transaction.snapshot
        had_one = before is not None or transaction.had_session
        bare = status[:3] == "304" or self.keeping != "all"  # no cookie, so none of its changes
        try:
            if status >= "500" or self.keeping == "nothing":
                result = self._given_up(status)
            else:
                if before is None:
                    self._look_at_reach()
                result = transaction.commit("closed" if bare else "open")
        except REFUSALS as error:
            if is_early:  # the page itself stores nothing
                transaction.draft().adopt(None)
                return Answer(status, vary_on_cookie(headers))
            if isinstance(error, CorruptRecord):
                transaction.damaged(error)
            return self._refused(error)
        result = for_cookie(result, None if bare else transaction.moved)
        if before is not None and self._is_plain(result, before):
            return Answer(status, vary_on_cookie(headers))
        return self._answer_with(status, headers, result, before, bare=bare, had_one=had_one)

    def _answer_with(
        self,
        status: str,
        headers: Headers,
        result: Result,
        before: Snapshot | None,
        *,
        bare: bool,
        had_one: bool,
    ) -> Answer:
        """Return the answer after a commit with this `result`, with all headers that it needs.

        `before`: the session as the commit found it. `had_one`: the request had a session at some
        time. `bare`: no cookie can go out.
        """
        replacement = self._in_place(status)
        if replacement is not None:
            return replacement
        if result == "created":
            self._note_first()
        headers = vary_on_cookie(headers)
        names = self._middleware.login_cookies
        if names:
            headers = without_login_cookies(headers, names, self.transaction, result)
        if not bare:
            lies_deep = had_one and self.cookie.policy.path != "/"
            headers = self._with_cookies(headers, result, before, lies_deep=lies_deep)
        return Answer(status, headers)

    def _with_cookies(
        self, headers: Headers, result: Result, before: Snapshot | None, *, lies_deep: bool
    ) -> Headers:
        """Return the headers after a commit; `before` is the session as it found it."""
        is_due = cookie_is_due(self.transaction, self._presented, result, before)
        if is_due or self._twins is not None:
            outgoing = OutgoingCookie(
                self.cookie,
                self.transaction,
                self._presented,
                self._twins,
                self._environ,
                self._middleware.warn_of_http,
            )
            cookies = outgoing.values(result, is_due=is_due, lies_deep=lies_deep)
            if cookies:
                headers = private_cache_headers(without_cookie(headers, self.cookie.policy.name))
                headers += [("Set-Cookie", each) for each in cookies]
        return headers

    def _is_plain(self, result: Result, before: Snapshot) -> bool:
        """Return whether no header of a session is due, as with most requests: a shortcut."""
        presented, transaction = self._presented, self.transaction
        if (
            presented is None
            or presented.state != "valid"
            or transaction.renewal == "always"
            or transaction.fault is not None
            or self._twins is not None
            or self._middleware.login_cookies
        ):
            return False
        return result == "unchanged" or (
            result == "saved" and not may_move(before, transaction.snapshot)
        )

    def _look_at_reach(self) -> None:
        """Let no session begin whose cookie would not come back, or replace one held back."""
        policy, presented = self.cookie.policy, self._presented
        if self._method in SAFE_METHODS and policy.path == "/" and policy.domain is None:
            return
        draft = self.transaction.draft()
        if draft.snapshot is None and presented is not None and presented.state == "absent":
            draft.out_of_reach = why_out_of_reach(self._environ, policy, self._path)

    def _given_up(self, status: str) -> Result:
        """Store nothing but a log-out."""
        self._is_over = True
        reason = f"the response was a {status[:3]}" if status >= "500" else NOT_SAVED
        return "destroyed" if self.transaction.roll_back(reason) else "unchanged"

    def _note_first(self) -> None:
        """Report a session that began without a cookie, where one should have come."""
        presented, snapshot = self._presented, self.transaction.snapshot
        if presented is None or presented.state != "absent" or snapshot is None:
            return
        why = self._middleware.comebacks.reason_for_none(self._environ, self.cookie.policy)
        report_first(self._middleware.manager.events, self._environ, snapshot, why, self.route())

    def _refused(self, error: SessionError) -> Answer:
        """Return the answer in place of the application's."""
        self._is_over = True
        self.refusal = error
        self.report(error)
        middleware = self._middleware
        page = middleware.on_unavailable
        if page is not None:  # it may read the session
            transaction = self.transaction
            transaction.give_up(error)
            if transaction.turn is not None:
                transaction.turn.end()
        return answer_to(error, self._environ, middleware.busy_status, page)

    def report(self, error: SessionError) -> None:
        """Report why a request gets another answer; the commit has reported conflicts."""
        report_refusal(self._middleware.manager.events, error, self.route())

    def _answer_for_fault(self, fault: SessionError, status: str) -> Answer | None:
        """Return the answer in place of a 500 that an unreadable session has led to.

        None for any other status: that is the application's own answer.
        """
        if status[:3] == "500":
            return self._refused(fault)
        if self.transaction.has_failed:
            self.report(fault)
        return None

    def _in_place(self, status: str) -> Answer | None:
        """Return the answer in place of an application that had not seen its session."""
        fault = self.transaction.fault
        if fault is not None and status[:3] == "500":
            return self._refused(fault)
        return None if self.withheld is None else self._refused_as_stale(self.withheld)

    def _refused_as_stale(self, answer: Answer) -> Answer | None:
        """Return the answer, unless a user logs in or out: a stale session does not hinder that."""
        if not self.transaction.is_withheld:
            return None
        self._is_over = True
        self._middleware.manager.events.emit("version-refused", route=self.route())
        return answer

    def _roll_back(self, reason: str | None) -> None:
        try:
            self.transaction.roll_back(reason)
        except StoreUnavailable as error:
            # The application's own exception says more, and is on its way.
            _log.warning("a log-out could not take place while an error was handled: %s", error)
