"""LeaseMiddleware: marks the session of a request as in use, from its retrieval to the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions.http.environ import get_transaction

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from wsgi_sessions.core.transaction import Transaction
    from wsgi_sessions.leases.policy import Lease, Leases


class LeaseMiddleware:
    """Keeps the background refresher away from sessions that requests are using::

        leases = Leases(backend)
        application = LeaseMiddleware(application, leases)
        application = SessionMiddleware(application, SessionManager(backend), cookie)

    It stands inside of the SessionMiddleware, on any WSGI callable. The lease is acquired at the
    first access of the session, in the same round trip as the load where the store allows that. It
    is released when the session's transaction ends. If the body is made while it is sent (a
    generator, which may block for any time: the lease is renewed), that is when the body is closed.
    If the body is complete (a list, a file wrapper), that is when the application has returned,
    since none of its code runs afterwards. Exceptions and clients that go away end it too.

    A request that leaves its session alone costs nothing; others cost one more store call, after
    the response. For the promises of leases, see `wsgi_sessions.leases.policy`.
    """

    def __init__(self, app: WSGIApplication, leases: Leases) -> None:
        self.app = app
        self.leases = leases

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """PEP 3333. Raises LookupError outside of a SessionMiddleware."""
        transaction = get_transaction(environ)
        lease = self.leases.begin(transaction.reader)
        transaction.reader = lease.load
        transaction.when_committed(lambda: _follow(lease, transaction))
        transaction.when_closed(lease.release)
        return self.app(environ, start_response)


def _follow(lease: Lease, transaction: Transaction) -> None:
    """Follow a new session to its first key, and a cycled one to its new key."""
    lease.follow(None if transaction.snapshot is None else transaction.snapshot.key)
