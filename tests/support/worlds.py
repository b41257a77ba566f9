"""Sessions on a memory store, with a clock that a test moves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from wsgi_sessions.core.events import Event, Events
from wsgi_sessions.core.manager import SessionManager
from wsgi_sessions.core.transaction import Transaction
from wsgi_sessions.operations.inspection import live_sessions
from wsgi_sessions.stores.memory.backend import open_memory

if TYPE_CHECKING:
    from wsgi_sessions.contract import Backend
    from wsgi_sessions.core.source import Access


START = 1_000_000.0


HOUR = 3600.0


class Visit(NamedTuple):
    """A request, as a transaction sees one."""

    presented: str | None
    path: str
    mode: Access = "shared"

    def session_id(self) -> str | None:
        return self.presented

    def route(self) -> str:
        return self.path

    def access(self) -> Access:
        return self.mode


class World:
    """A backend, a manager on it, a clock, and what was reported."""

    def __init__(self, **settings: Any) -> None:
        self.now = START
        self.events: list[Event] = []
        self.backend: Backend = open_memory(clock=lambda: self.now)
        self.manager = SessionManager(
            self.backend,
            events=Events(self.events.append),
            clock=lambda: self.now,
            **settings,
        )

    def begin(self, session_id: str | None = None, route: str = "") -> Transaction:
        return Transaction(self.manager, Visit(session_id, route))

    def new(self, **data: Any) -> str:
        """The id of a fresh session that holds `data`."""
        transaction = self.begin()
        transaction.session.update(data)
        if not data:
            transaction.session.cycle_id()
        transaction.commit()
        assert transaction.snapshot is not None
        return transaction.snapshot.session_id

    def data(self, session_id: str) -> dict[str, Any]:
        return dict(self.begin(session_id).session)

    def live(self) -> int:
        """How many sessions there are, without the tombstones of those that got another id."""
        return sum(1 for _ in live_sessions(self.backend))

    def names(self) -> list[str]:
        return [event.name for event in self.events]

    def conflicts(self) -> list[tuple[object, object]]:
        return [(e.facts["path"], e.facts["kind"]) for e in self.events if e.name == "conflict"]


def id_of(transaction: Transaction) -> str:
    assert transaction.snapshot is not None
    return transaction.snapshot.session_id


def login(world: World, principal: str = "alice") -> str:
    """The id of a new session of theirs."""
    transaction = world.begin()
    transaction.session.login(principal)
    transaction.commit()
    return id_of(transaction)
