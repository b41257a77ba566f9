"""Audit of contexts: who selected, restored or lost which one, and why; for a log and a hook."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from wsgi_sessions import texts

if TYPE_CHECKING:
    from collections.abc import Callable

Action = Literal["restore", "select", "remember", "forget"]
AuditOutcome = Literal["allowed", "denied", "gone", "failed"]

_log = texts.log(__name__)


@texts.shows("at", "user", "action", "key", "outcome", "why")
@dataclass(frozen=True)
class AuditRecord:
    """One decision about a context.

    The audit is about users and values, so `principal` and `value` are here, and in no other log.

    Attributes:
        action: "select" is `select_context`, "remember" a value that the application put into the
            session itself.
        user: the principal's pseudonym, by which other logs name it.
        at: seconds since the epoch.
        key: the session's key.
        value: the context under that key.
    """

    at: float
    principal: str | int | None = field(repr=False)
    action: Action
    key: str
    value: Any = field(repr=False)
    outcome: AuditOutcome
    why: str
    user: str | None = None


class Audit:
    """Logs each record at INFO to ``wsgi_sessions.contexts.audit``, and passes it to a hook.

    A log record has the whole of it as a dictionary in its attribute ``audit`` (``extra=``); its
    message has everything but the value, and the user by pseudonym. An exception in the hook is
    logged and goes no further.
    """

    def __init__(
        self,
        *,
        logged: bool = False,
        hook: Callable[[AuditRecord], object] | None = None,
    ) -> None:
        self._logged = logged
        self._hook = hook

    def record(self, record: AuditRecord) -> None:
        """Log a decision and pass it to the hook."""
        if self._logged:
            _log.info(
                "%s of %s by %s: %s, %s",
                record.action,
                record.key,
                record.user,
                record.outcome,
                record.why,
                extra={"audit": {**vars(record)}},
            )
        if self._hook is None:
            return
        try:
            self._hook(record)
        except Exception:  # noqa: BLE001  # the application's own code; see the class docstring
            _log.exception("the audit hook raised on the %s of %s", record.action, record.key)
