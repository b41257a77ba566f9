"""What visitors work on, and who may: the context that comes back after a session was lost."""

from __future__ import annotations

import os
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wsgi_sessions.contexts.audit import Action, AuditOutcome, AuditRecord
    from wsgi_sessions.contexts.permissions import Environ, Principal, Verdict
    from wsgi_sessions.demo.database import Database

KEY = "deal"
"""The session's key for the deal that is open."""
DEALS: Mapping[str, str] = MappingProxyType({"A": "Bakery", "B": "Harbour", "C": "Vineyard"})


class News(NamedTuple):
    """What was last decided for a visitor; `at` in seconds since the epoch."""

    action: Action
    deal: str
    outcome: AuditOutcome
    worker: int
    at: float


class Deals:
    """Access to the deals, and news of it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.run("CREATE TABLE IF NOT EXISTS revoked (principal TEXT PRIMARY KEY)")
        database.run(
            "CREATE TABLE IF NOT EXISTS news (principal TEXT PRIMARY KEY, "
            "action TEXT, deal TEXT, outcome TEXT, worker INTEGER, at REAL)"
        )

    def may_access(self, principal: Principal, deal: Any, _environ: Environ) -> Verdict:
        """The permission hook of `ContextMiddleware`."""
        if deal not in DEALS:
            return "gone"
        return "denied" if self.is_revoked(principal) else "allowed"

    def is_revoked(self, principal: Principal) -> bool:
        """Whether a visitor may open no deal any more."""
        return bool(self._database.run("SELECT 1 FROM revoked WHERE principal = ?", principal))

    def revoke(self, principal: Principal) -> None:
        """Let a visitor open no deal any more."""
        self._database.run("INSERT OR IGNORE INTO revoked VALUES (?)", principal)

    def grant(self, principal: Principal) -> None:
        """Let a visitor open every deal again."""
        self._database.run("DELETE FROM revoked WHERE principal = ?", principal)

    def note(self, record: AuditRecord) -> None:
        """The audit hook: keep the latest decision for each visitor."""
        self._database.run(
            "INSERT OR REPLACE INTO news VALUES (?, ?, ?, ?, ?, ?)",
            *(record.principal, record.action, record.value, record.outcome),
            *(os.getpid(), record.at),
        )

    def news(self, principal: Principal) -> News | None:
        """The latest decision, if there was one."""
        rows = self._database.run(
            "SELECT action, deal, outcome, worker, at FROM news WHERE principal = ?", principal
        )
        return News(*rows[0]) if rows else None
