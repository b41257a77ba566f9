"""Who selected, restored or lost which context, and why: for an audit log and a hook."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

Action = Literal["restore", "select", "remember", "forget"]
Outcome = Literal["allowed", "denied", "gone", "failed"]
AuditLogging = Literal["on", "off"]

_log = logging.getLogger("wsgi_sessions.audit")


@dataclass(frozen=True)
class AuditRecord:
    """One decision. `at` is seconds since the epoch, `key` the session's key, `value` its context.

    "select" is `select_context`, "remember" a value that the application put into the session
    itself. The value is what the audit is about, so it is here, and in no other log.
    """

    at: float
    principal: str | int | None
    action: Action
    key: str
    value: Any = field(repr=False)
    outcome: Outcome
    why: str


class Audit:
    """Logs each record at INFO to ``wsgi_sessions.audit``, and passes it to a hook.

    A log record bears the whole of it as a dictionary in its attribute ``audit`` (``extra=``); its
    message tells all but the value. An exception in the hook is logged and goes no further.
    """

    def __init__(
        self,
        logged: AuditLogging = "off",
        hook: Callable[[AuditRecord], object] | None = None,
    ) -> None:
        self._logged = logged
        self._hook = hook

    def record(self, record: AuditRecord) -> None:
        """Tell of a decision."""
        if self._logged == "on":
            _log.info(
                "%s of %s by %r: %s, %s",
                record.action,
                record.key,
                record.principal,
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
