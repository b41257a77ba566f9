"""SessionClient: a test client that can also read and change its session."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from werkzeug.test import Client, EnvironBuilder, run_wsgi_app

from wsgi_sessions.identity import new_id, store_key
from wsgi_sessions.testing.clock import MovedClock
from wsgi_sessions.testing.faults import StoreFaults
from wsgi_sessions.testing.overlap import Overlap
from wsgi_sessions.testing.wrapped import sessions_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from typing import TypeAlias

    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment
    from typing_extensions import Self
    from werkzeug.test import TestResponse

    from wsgi_sessions.contract import Backend
    from wsgi_sessions.core.manager import SessionManager
    from wsgi_sessions.core.session import Session
    from wsgi_sessions.http.middleware import SessionMiddleware
    from wsgi_sessions.stack.build import Stack

    ClientRequest: TypeAlias = "str | Mapping[str, Any] | EnvironBuilder"


class SessionClient(Client):
    """Werkzeug's test client, for an application with sessions::

        with SessionClient(app) as client:
            client.login("alice", cart=[1])
            assert client.get("/cart").status_code == 200
            with client.session() as session:
                assert session["cart"] == [1]
            client.advance(hours=25)
            assert client.get("/account").status_code == 401

    `app` is any application that `from_env`, `build`, Django's `wrap`, or the adapter for Flask or
    Pyramid has wrapped, or a middleware around one. If the middleware hides it, pass the `Stack` or
    `SessionMiddleware` as `sessions`. Other arguments are Werkzeug's. Raises ValueError if the
    application has no sessions.

    Each client is one browser with its own cookies; several clients may share an application.
    """

    def __init__(
        self,
        app: WSGIApplication,
        *args: Any,
        sessions: Stack | SessionMiddleware | None = None,
        **more: Any,
    ) -> None:
        super().__init__(app, *args, **more)
        self._wrapped = app if sessions is None else sessions
        self._clock = MovedClock()
        self._is_entered = False
        sessions_of(self._wrapped)

    @property
    def manager(self) -> SessionManager:
        """The application's `SessionManager`: to find, count and end sessions."""
        return sessions_of(self._wrapped).manager

    @property
    def backend(self) -> Backend:
        """The store of the application."""
        return self.manager.backend

    @property
    def faults(self) -> StoreFaults:
        """Faults to inject into the application's store."""
        return StoreFaults(self.backend)

    @contextmanager
    def session(self, path: str | None = None, **more: Any) -> Iterator[Session]:
        """Open the browser's session, and store what the block changed.

        It is opened and stored as by a request of this browser, under the application's own rules,
        and the browser keeps the cookie; the application itself is not called. Pass `path` and
        `more`, as for ``client.get``, if the cookie has a path or domain. If the block raises,
        nothing is stored. Raises StoreUnavailable and the other errors of a commit.
        """
        sessions = sessions_of(self._wrapped)
        path = sessions.cookie.policy.path if path is None else path
        exchange = sessions.open(self._environ({"path": path, **more}))
        try:
            yield exchange.transaction.session
        except BaseException as error:
            exchange.fail(error)
            exchange.end(ran_on=False)
            raise
        answer = exchange.finish("200 OK", [])
        exchange.end(ran_on=False)
        if exchange.refusal is not None:
            raise exchange.refusal
        if answer is not None:
            self._replay(([], answer.status, answer.headers), path=path, **more)

    def login(self, principal: str | int, **data: Any) -> None:
        """Log `principal` in without a password, and put `data` into the session.

        If the application binds sessions by a key of its own (``principal_key``), this sets that
        key; otherwise it calls `Session.login`.
        """
        key = self.manager.identity.principal_key
        with self.session() as session:
            if key is None:
                session.login(principal)
            else:
                session[key] = principal
            session.update(data)

    def advance(
        self, *, days: float = 0.0, hours: float = 0.0, minutes: float = 0.0, seconds: float = 0.0
    ) -> None:
        """Move ``time.time`` of this process forward, until the client's ``with`` block ends.

        Raises RuntimeError outside of such a block, and for a store that expires sessions by its
        server's clock: Redis, PostgreSQL, MariaDB. Raises ValueError unless time moves forward.
        """
        passed = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        if passed <= timedelta(0):
            raise ValueError(f"advance() by {passed}: time passes forward only")
        if not self._is_entered:
            raise RuntimeError(
                "advance() outside of 'with SessionClient(app) as client:', at whose end the clock "
                "is put back"
            )
        self._move(passed.total_seconds())

    def fail_store(self, *operations: str) -> AbstractContextManager[None]:
        """Make the application's store fail for the duration of a block.

        `operations` names the ones that fail, such as ``"save"``; by default all do. Requests that
        need them are answered with 503, or by the application's own outage page.
        """
        return self.faults.fail(*operations)

    def parallel(self, *requests: ClientRequest) -> list[TestResponse]:
        """Send requests that overlap, and return their responses in the same order.

        Each is a path, or the arguments of ``client.open`` as a dictionary or EnvironBuilder::

            client.parallel("/add?item=1", {"path": "/add", "method": "POST", "data": {"item": 2}})

        All of them send the present cookies and read their session before the first of them stores
        anything; they store in the given order. The order is the same at each run. Redirects are
        not followed. Raises what the application raised, and RuntimeError if a request waits for
        another one.
        """
        environs = [self._environ(request) for request in requests]
        app = self.application
        answers = Overlap(self.backend).run(
            [partial(run_wsgi_app, app, environ, buffered=True) for environ in environs]
        )
        return [
            self._replay((list(body), status, list(headers)), environ)
            for environ, (body, status, headers) in zip(environs, answers, strict=True)
        ]

    def close(self) -> None:
        """Put the clock back; the application's store stays open."""
        self._clock.restore()
        self._is_entered = False

    def __enter__(self) -> Self:
        self._is_entered = True
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _move(self, seconds: float) -> None:
        """Move the clock, and check that the store follows it."""
        store, probe = self.backend.sessions, store_key(new_id())
        store.create(probe, b"", self.manager.now() + seconds / 2)
        self._clock.advance(seconds)
        follows = store.load(probe) is None
        store.delete(probe)
        if not follows:
            self._clock.advance(-seconds)
            raise RuntimeError(
                f"advance() does not move the clock of the store ({self.backend.name}), which is "
                "its server's: let the tests keep sessions in memory:// or in files"
            )

    def _environ(self, request: ClientRequest) -> WSGIEnvironment:
        """Return the environ of a request of this browser, without sending it."""
        seen: list[WSGIEnvironment] = []

        def capture(environ: WSGIEnvironment, start_response: Any) -> list[bytes]:
            seen.append(environ)
            start_response("204 No Content", [])
            return []

        arguments = request if isinstance(request, Mapping) else None
        with self._answered_by(capture):
            self.open(**arguments) if arguments is not None else self.open(request)
        return seen[0]

    def _replay(self, answer: tuple[Any, str, Any], *args: Any, **more: Any) -> TestResponse:
        """Hand an answer that was made before to the browser."""
        body, status, headers = answer

        def replay(_: WSGIEnvironment, start_response: Any) -> list[bytes]:
            start_response(status, headers)
            return [*body]

        with self._answered_by(replay):
            return self.open(*args, **more)

    @contextmanager
    def _answered_by(self, app: Any) -> Iterator[None]:
        self.application, before = app, self.application
        try:
            yield
        finally:
            self.application = before
