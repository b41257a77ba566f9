"""SessionClient: a test client that can also read and change its session."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from wsgi_sessions.identity import new_id, store_key
from wsgi_sessions.testing.browsers.kinds import browser_of
from wsgi_sessions.testing.clock import MovedClock
from wsgi_sessions.testing.faults import StoreFaults
from wsgi_sessions.testing.overlap import Overlap

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from typing_extensions import Self

    from wsgi_sessions.contract import Backend
    from wsgi_sessions.core.manager import SessionManager
    from wsgi_sessions.http.middleware import SessionMiddleware
    from wsgi_sessions.stack.build import Stack


class SessionClient:
    """A test client of an application with sessions::

        with SessionClient(app) as client:
            client.login("alice", cart=[1])
            assert client.get("/cart").status_code == 200
            with client.session() as session:
                assert session["cart"] == [1]
            client.advance(hours=25)
            assert client.get("/account").status_code == 401

    `app` is a test client: Werkzeug's ``Client``, Flask's ``app.test_client()``, Django's
    ``django.test.Client`` or WebTest's ``TestApp``. It may also be any application that `from_env`,
    `build`, Django's `wrap`, or the adapter for Flask or Pyramid has wrapped, or a middleware
    around one: it gets Werkzeug's client, whose constructor has the other arguments. If a
    middleware hides the sessions, pass the `Stack` or `SessionMiddleware` as `sessions`. Raises
    ValueError if the application has no sessions.

    All attributes that are not described here, such as ``get`` and ``post``, are those of the test
    client, which is `wrapped`.

    Each client is one browser with its own cookies; several clients may share an application.
    """

    def __init__(
        self, app: Any, *args: Any, sessions: Stack | SessionMiddleware | None = None, **more: Any
    ) -> None:
        self._browser = browser_of(app, sessions, *args, **more)
        self._clock = MovedClock()
        self._is_entered = False

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self._browser.client, name)

    @property
    def wrapped(self) -> Any:
        """The framework's own test client."""
        return self._browser.client

    @property
    def manager(self) -> SessionManager:
        """The application's `SessionManager`: to find, count and end sessions."""
        return self._browser.manager

    @property
    def backend(self) -> Backend:
        """The store of the application."""
        return self.manager.backend

    @property
    def faults(self) -> StoreFaults:
        """Faults to inject into the application's store."""
        return StoreFaults(self.backend)

    @contextmanager
    def session(self, path: str | None = None, **more: Any) -> Iterator[Any]:
        """Open the browser's `Session`, and store what the block changed.

        With Django's client it is the one that views have as ``request.session``.

        It is opened and stored as by a request of this browser, under the application's own rules,
        and the browser keeps the cookie; the application itself is not called. Pass `path` and
        `more`, as for ``client.get``, if the cookie has a path or domain. If the block raises,
        nothing is stored. Raises StoreUnavailable and the other errors of a commit.
        """
        with self._browser.session(path, more) as session:
            yield session

    def login(self, principal: Any, **data: Any) -> None:
        """Log `principal` in without a password, and put `data` into the session.

        If the application binds sessions by a key of its own (``principal_key``), this sets that
        key; otherwise it calls `Session.login`. With Django's client, `principal` is a user or a
        username, and ``force_login`` is called.
        """
        self._browser.login(principal, data)

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

    def parallel(self, *requests: Any) -> list[Any]:
        """Send requests that overlap, and return their responses in the same order.

        Each is a path, or a dictionary of ``path``, ``method`` and what the client's own method of
        that name takes; for Werkzeug's client also an EnvironBuilder::

            client.parallel("/add?item=1", {"path": "/add", "method": "POST", "data": {"item": 2}})

        All of them send the present cookies and read their session before the first of them stores
        anything; they store in the given order. The order is the same at each run. Redirects are
        not followed. Raises what the application raised, and RuntimeError if a request waits for
        another one.
        """
        prepared = [self._browser.prepare(request) for request in requests]
        answers = Overlap(self.backend).run([each.send for each in prepared])
        return [each.receive(answer) for each, answer in zip(prepared, answers, strict=True)]

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
