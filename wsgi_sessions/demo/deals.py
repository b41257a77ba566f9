"""Deals that visitors work on, with permissions: the context that is restored after a session is
lost."""

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
"""The session key of the open deal."""
DEALS: Mapping[str, str] = MappingProxyType({"A": "Bakery", "B": "Harbour", "C": "Vineyard"})


class News(NamedTuple):
    """The latest decision for a visitor; `at` in seconds since the epoch."""

    action: Action
    deal: str
    outcome: AuditOutcome
    worker: int
    at: float


class Deals:
    """Access to the deals, and the latest decisions."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.run("CREATE TABLE IF NOT EXISTS revoked (principal TEXT PRIMARY KEY)")
        database.run(
            "CREATE TABLE IF NOT EXISTS news (principal TEXT PRIMARY KEY, "
            "action TEXT, deal TEXT, outcome TEXT, worker INTEGER, at REAL)"
        )

    def may_access(self, principal: Principal, deal: Any, _environ: Environ) -> Verdict:
        """Decide as the permission hook of `ContextMiddleware`."""
        if deal not in DEALS:
            return "gone"
        return "denied" if self.is_revoked(principal) else "allowed"

    def is_revoked(self, principal: Principal) -> bool:
        """Return whether access is revoked for a visitor."""
        return bool(self._database.run("SELECT 1 FROM revoked WHERE principal = ?", principal))

    def revoke(self, principal: Principal) -> None:
        """Revoke the access of a visitor."""
        self._database.run("INSERT OR IGNORE INTO revoked VALUES (?)", principal)

    def grant(self, principal: Principal) -> None:
        """Restore the access of a visitor."""
        self._database.run("DELETE FROM revoked WHERE principal = ?", principal)

    def note(self, record: AuditRecord) -> None:
        """Keep the latest decision for each visitor, as the audit hook."""
        self._database.run(
            "INSERT OR REPLACE INTO news VALUES (?, ?, ?, ?, ?, ?)",
            *(record.principal, record.action, record.value, record.outcome),
            *(os.getpid(), record.at),
        )

    def news(self, principal: Principal) -> News | None:
        """Return the latest decision, if any."""
        rows = self._database.run(
            "SELECT action, deal, outcome, worker, at FROM news WHERE principal = ?", principal
        )
        return News(*rows[0]) if rows else None
