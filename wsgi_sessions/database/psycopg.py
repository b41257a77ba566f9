"""psycopg 3 connections with a deadline, even if the server is stopped.

The server keeps `statement_timeout`, so a hung one does not, and poolers such as PgBouncer refuse
it in the start-up packet. libpq's ``tcp_user_timeout`` ends when the kernel at the other end has
acknowledged; its ``connect_timeout`` is at least two seconds.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

import psycopg

from wsgi_sessions.clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Generator


_USES = 5
"""A statement is prepared on the server at its sixth use by one connection, as psycopg does."""
_GRACE = 0.3
"""Seconds that a server has to confirm a cancelled statement, before the client hangs up."""


class PsycopgConnection(psycopg.Connection[Any]):
    """A connection that gives a statement up at its deadline.

    `deadline` is by `time.monotonic`, or None. It is checked as often as psycopg wakes up, every
    0.1 seconds. Then the client asks the server to cancel the statement, so that it does not go on,
    and perhaps take effect, without a client. If the server does not confirm that within a moment,
    the connection is closed, and the outcome is unknown.

    `is_cancelled`: the server was asked. The connection must not be used again: the request may
    come late and hit the next statement.
    """

    deadline: float | None = None
    is_cancelled = False

    def is_direct(self) -> bool:
        """Return whether the server itself is at the other end, and not a pooler. One round trip.

        The server gives its process id at the start of a connection; a pooler, an id of its own.
        """
        with suppress(psycopg.Error):  # the first statement tells what is wrong
            found = self.pgconn.exec_(b"SELECT pg_backend_pid()").get_value(0, 0)
            return found == str(self.pgconn.backend_pid).encode()
        return False

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        """See `psycopg.Connection.wait`, through which every exchange with the server goes."""
        return super().wait(self._until_deadline(gen), *args, **kwargs)

    def _until_deadline(self, gen: Any) -> Generator[Any, Any, Any]:
        try:
            state = next(gen)
            while True:
                ready = yield state
                if not ready and self.deadline is not None and monotonic() > self.deadline:
                    self._give_up()
                state = gen.send(ready)
        except StopIteration as stop:
            return stop.value

    def _give_up(self) -> None:
        """Ask the server to cancel the statement; the second time, hang up."""
        if not self.is_cancelled:
            self.is_cancelled = True
            with suppress(psycopg.Error):
                self.cancel_safe(timeout=_GRACE)
                self.deadline = monotonic() + _GRACE
                return
        self.pgconn.finish()
        raise psycopg.OperationalError("no answer within the deadline")


Preparing = Literal["as given", "without a pooler"]
"""Whether statements are prepared on the server: by the arguments, or unless there is a pooler."""


def connect(
    timeout: float, args: Any, kwargs: Any, *, prepare: Preparing = "as given"
) -> PsycopgConnection:
    """Connect within `timeout` seconds, in a thread that may be left behind.

    Raises as psycopg. A thread that comes too late closes what it opened.
    """
    attempt = _Attempt(args, kwargs, prepare)
    threading.Thread(target=attempt.run, name="wsgi_sessions-connect", daemon=True).start()
    return attempt.result(timeout)


class _Attempt:
    """One attempt to connect; the connection goes to the caller, unless it gave up."""

    def __init__(self, args: Any, kwargs: Any, prepare: Preparing) -> None:
        self._args = args
        self._kwargs = kwargs
        self._prepare = prepare
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._is_abandoned = False
        self._connection: PsycopgConnection | None = None
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            connection = PsycopgConnection.connect(*self._args, **self._kwargs)
            if self._prepare == "without a pooler":
                connection.prepare_threshold = _USES if connection.is_direct() else None
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            self._error = error
        else:
            with self._lock:
                self._connection = connection
                if self._is_abandoned:
                    connection.close()
        finally:
            self._done.set()

    def result(self, timeout: float) -> PsycopgConnection:
        try:
            self._done.wait(timeout)
        finally:  # also if gevent.Timeout interrupted the wait
            with self._lock:
                self._is_abandoned = True
        if self._error is not None:
            raise self._error
        if self._connection is None:
            raise psycopg.OperationalError("no connection within the deadline")
        return self._connection
