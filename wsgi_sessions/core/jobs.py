"""Transactions without a response: of a job, a test, a framework, or a background refresh."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from wsgi_sessions import texts
from wsgi_sessions.core.draft import Draft
from wsgi_sessions.core.source import Phase
from wsgi_sessions.core.transaction import Transaction
from wsgi_sessions.identity import is_id, short_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsgi_sessions.core.draft import Snapshot
    from wsgi_sessions.core.manager import SessionManager
    from wsgi_sessions.core.session import Session
    from wsgi_sessions.core.source import Access, Request


@texts.shows("name", "mode")
class Job(NamedTuple):
    """The stand-in for a request: the id that it presents, and its name in reports."""

    presented: str | None
    name: str
    mode: Access = "shared"

    def session_id(self) -> str | None:
        """See `Request`."""
        return self.presented

    def route(self) -> str:
        """See `Request`."""
        return self.name

    def access(self) -> Access:
        """See `Request`."""
        return self.mode


def begin(
    manager: SessionManager, session_id: str | None = None, *, route: str = "job"
) -> Transaction:
    """Begin a transaction on the session of this id, or on a new one. Nothing is read yet.

    A malformed id leads to a new session, as an unknown one does: none is ever adopted. `commit`
    stores all changes at once, and `Transaction.session_id` is then the id; `close` ends it.
    """
    presented = session_id if session_id is not None and is_id(session_id) else None
    return Transaction(manager, Job(presented, route))


def begin_at(manager: SessionManager, key: str, *, route: str = "job") -> Transaction:
    """Begin a transaction without a response, on the session with this store key.

    Raises LookupError if there is none. See `in_background`.
    """
    snapshot = manager.loader.find(key)
    if snapshot is None:
        raise LookupError(f"there is no session {short_key(key)}: it has ended, or got another key")
    return in_background(manager, Job(None, route), snapshot)


@contextmanager
def committed(transaction: Transaction) -> Iterator[Session]:
    """Provide a transaction's session for a block of code, and commit it at the end.

    A block that raises stores nothing but a log-out.
    """
    try:
        yield transaction.session
    except BaseException as error:
        transaction.roll_back(f"the job raised {type(error).__name__}")
        raise
    else:
        transaction.commit("open" if transaction.phase is Phase.OPEN else "closed")
    finally:
        transaction.close()


def in_background(manager: SessionManager, request: Request, snapshot: Snapshot) -> Transaction:
    """Begin a transaction without a response, on a session that has been loaded.

    Its commit moves no lifetime; a change that needs a cookie raises `HeadersAlreadySent`.
    """
    transaction = Transaction(manager, request)
    transaction._draft = Draft(snapshot)  # noqa: SLF001  # of this package
    transaction.activity = "background"
    transaction.phase = Phase.HEADERS_SENT
    return transaction
