"""The request's session in its environ, and the two ways to get it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

    from wsgi_sessions.core.session import Session
    from wsgi_sessions.core.transaction import Transaction

ENVIRON_KEY = "wsgi_sessions.session"
TRANSACTION_KEY = "wsgi_sessions.transaction"


def get_session(environ: WSGIEnvironment) -> Session:
    """Return the session of a request. Raises LookupError outside of a SessionMiddleware."""
    try:
        session: Session = environ[ENVIRON_KEY]
    except KeyError:
        raise LookupError(
            "this request has no session: wrap the application, as in "
            "application = wsgi_sessions.from_env(application)"
        ) from None
    return session


def get_transaction(environ: WSGIEnvironment) -> Transaction:
    """Return the transaction of a request's session, for middlewares that join in.

    Raises LookupError outside of a SessionMiddleware.
    """
    get_session(environ)
    transaction: Transaction = environ[TRANSACTION_KEY]
    return transaction
