"""Exclusive blocks: a request's work on its session while no other holder has a turn."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from wsgi_sessions.core.interim import store_block
from wsgi_sessions.core.source import Phase
from wsgi_sessions.core.turn import Turn
from wsgi_sessions.errors import HeadersAlreadySent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsgi_sessions.core.draft import Draft, Snapshot
    from wsgi_sessions.core.transaction import Transaction


@contextmanager
def exclusive_block(transaction: Transaction, timeout: float | None) -> Iterator[None]:
    """See `Session.exclusive`."""
    draft = transaction.draft()
    if draft.fault is not None:
        raise draft.fault
    if draft.snapshot is None:
        yield
        return
    turn = turn_of(transaction)
    with ExitStack() as lock:
        turn.take(lock, draft.snapshot, timeout)
        read_afresh(transaction, draft, draft.snapshot)
        checkpoint = draft.checkpoint()
        turn.blocks += 1
        try:
            yield
            transaction.require_life("an exclusive block came too late")
            is_stored = store_block(transaction, draft, checkpoint)
        except BaseException:
            draft.restore(checkpoint)
            raise
        finally:
            turn.blocks -= 1
        if not is_stored:
            turn.keep(lock.pop_all())


def hold_until_commit(transaction: Transaction) -> None:
    """See `Transaction.hold`."""
    if transaction.phase is not Phase.OPEN:
        raise HeadersAlreadySent("the response has begun: too late to hold the session")
    draft = transaction.peek()
    if draft.fault is not None:
        raise draft.fault
    if draft.snapshot is not None and not turn_of(transaction).is_on:
        with taken(transaction, draft.snapshot):
            read_afresh(transaction, draft, draft.snapshot)


@contextmanager
def taken(transaction: Transaction, session: Snapshot) -> Iterator[None]:
    """Take the turn with this session, and keep it until the commit, unless the block raises."""
    turn = turn_of(transaction)
    with ExitStack() as lock:
        turn.take(lock, session)
        yield
        turn.keep(lock.pop_all())


def turn_of(transaction: Transaction) -> Turn:
    """Return the request's turn with its session, an earlier one if there was one."""
    if transaction.turn is None:
        transaction.turn = Turn(transaction.manager.hold)
        transaction.when_closed(transaction.turn.end)  # where there is no commit
    return transaction.turn


def read_afresh(transaction: Transaction, draft: Draft, snapshot: Snapshot) -> None:
    """Read the session again, and put the pending changes on top."""
    fresh = transaction.manager.loader.reload(snapshot)
    if fresh is None:
        draft.is_gone = True  # the commit finds the same, and reports it
    else:
        transaction.manager.rebase(draft, fresh, transaction.request.route())
