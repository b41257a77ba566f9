"""The last context of each principal: remembered, and put back after its session was lost.

A context is what a user works on, such as a deal or a project: the value of one key of the session.
`ContextPolicy` decides; it knows no WSGI. It passes `environ` on to the application's hooks, and
reads nothing in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from wsgi_sessions import texts
from wsgi_sessions.clock import wall_clock
from wsgi_sessions.contexts.audit import Audit, AuditRecord
from wsgi_sessions.contexts.permissions import as_verdict
from wsgi_sessions.contract import Context
from wsgi_sessions.core.events import Events
from wsgi_sessions.core.record.codec import decode, encode
from wsgi_sessions.errors import CorruptRecord, SessionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_sessions.contexts.audit import Action, AuditOutcome
    from wsgi_sessions.contexts.permissions import Environ, MayAccess, Principal, Verdict
    from wsgi_sessions.contexts.settings import Remembering
    from wsgi_sessions.contract import ContextStore
    from wsgi_sessions.core.events import EventName

    Load = Callable[[Principal, str, Environ], Any]
    Store = Callable[[Principal, str, Any, Environ], object]


_log = texts.log(__name__)


@texts.shows("accessed_at")
class Remembered(NamedTuple):
    """A last context: its value, its time of selection (if known), and its stored form."""

    value: Any
    accessed_at: float | None = None
    stored: Context | None = None


class ContextMemory(Protocol):
    """The memory of last contexts. May raise anything."""

    def load(self, principal: Principal, name: str, environ: Environ) -> Remembered | None:
        """Return the last context, or None."""

    def store(self, principal: Principal, name: str, value: Any, environ: Environ) -> None:
        """Remember a value in place of the last one."""

    def clear(
        self, principal: Principal, name: str, environ: Environ, found: Remembered | None = None
    ) -> None:
        """Forget the context; with `found`, only that one, if the memory can tell them apart."""


class StoredContexts:
    """Contexts in a `ContextStore`, by the principal's text. `clock`: seconds since the epoch."""

    def __init__(self, contexts: ContextStore, clock: Callable[[], float] = wall_clock) -> None:
        self._contexts = contexts
        self._clock = clock

    def load(self, principal: Principal, name: str, _environ: Environ) -> Remembered | None:
        """See `ContextMemory.load`. A value that does not decode is forgotten: CorruptRecord."""
        context = self._contexts.get(str(principal), name)
        if context is None:
            return None
        try:
            return Remembered(decode(context.value), context.accessed_at, context)
        except CorruptRecord:
            self._contexts.clear(str(principal), name, context)
            raise

    def store(self, principal: Principal, name: str, value: Any, _environ: Environ) -> None:
        """See `ContextMemory.store`."""
        self._contexts.set(str(principal), name, Context(encode(value, name), self._clock()))

    def clear(
        self, principal: Principal, name: str, _environ: Environ, found: Remembered | None = None
    ) -> None:
        """See `ContextMemory.clear`."""
        self._contexts.clear(str(principal), name, found and found.stored)


@dataclass(frozen=True)
class ApplicationContexts:
    """Contexts in the application's own table, as in a column ``last_deal_id`` of its users.

    Both functions run in the request, after the session was read or committed.

    Args:
        load_value: ``load(principal, key, environ)`` returns the value or None.
        store_value: ``store(principal, key, value, environ)`` keeps the value; None forgets it.

    Not promised: that a context selected at the same moment survives when a stale one is cleared.
    """

    load_value: Load
    store_value: Store

    def load(self, principal: Principal, name: str, environ: Environ) -> Remembered | None:
        """See `ContextMemory.load`."""
        value = self.load_value(principal, name, environ)
        return None if value is None else Remembered(value)

    def store(self, principal: Principal, name: str, value: Any, environ: Environ) -> None:
        """See `ContextMemory.store`."""
        self.store_value(principal, name, value, environ)

    def clear(
        self, principal: Principal, name: str, environ: Environ, found: Remembered | None = None
    ) -> None:
        """See `ContextMemory.clear`."""
        del found  # the application's table is not asked again
        self.store_value(principal, name, None, environ)


@texts.shows("key", "would", "why")
@dataclass(frozen=True)
class Explanation:
    """The fate of a principal's session without a context, and the reason."""

    key: str
    principal: Principal | None
    would: Literal["restore", "refuse", "fail", "nothing"]
    why: str
    value: Any = field(default=None, repr=False)
    accessed_at: float | None = None


class ContextPolicy:
    """The rules for one key of the session, whose last value is remembered for each principal.

    Args:
        may_access: ``may_access(principal, value, environ)`` is asked before every restore, every
            selection, and before a value that the application set is remembered. No answer is kept.
        restoring: False puts nothing back.
        remembering: "set" remembers every value that the application puts under the key; "selected"
            only those of `select_context`.
    """

    def __init__(
        self,
        key: str,
        memory: ContextMemory,
        may_access: MayAccess,
        *,
        restoring: bool = True,
        remembering: Remembering = "set",
        events: Events | None = None,
        audit: Audit | None = None,
        clock: Callable[[], float] = wall_clock,
    ) -> None:
        self.key = key
        self.restoring = restoring
        self.remembering = remembering
        self._memory = memory
        self.may_access = may_access
        self._events = events or Events()
        self._audit = audit or Audit()
        self._clock = clock

    def ask(self, principal: Principal, value: Any, environ: Environ) -> Verdict:
        """Return the permission hook's answer. Raises as the hook; ValueError for a bad answer."""
        return as_verdict(self.may_access(principal, value, environ))

    def restore(self, principal: Principal, environ: Environ, put: Callable[[Any], object]) -> None:
        """Pass the last context to `put` if the principal may still access it; else forget it.

        Never raises: a request without its context is still worth answering.
        """
        if not self.restoring:
            return
        value: Any = None
        try:
            found = self._memory.load(principal, self.key, environ)
            if found is None:
                return
            value = found.value
            verdict = self.ask(principal, value, environ)
            if verdict == "allowed":
                put(value)
            self._report("restore", principal, value, verdict)
            if verdict != "allowed":
                self._memory.clear(principal, self.key, environ, found)
        except Exception as error:  # noqa: BLE001  # hooks and stores of all kinds; see above
            self._failed("restore", principal, value, error)

    def select(self, principal: Principal | None, value: Any, environ: Environ) -> Verdict:
        """Return whether the principal may select this value. Raises as the permission hook."""
        if principal is None:
            self._report("select", principal, value, "denied", "nobody is logged in")
            return "denied"
        verdict = self.ask(principal, value, environ)
        self._report("select", principal, value, verdict)
        return verdict

    def keep(self, principal: Principal, value: Any, environ: Environ) -> None:
        """Remember a selected context. Never raises: the selection itself stands."""
        try:
            self._memory.store(principal, self.key, value, environ)
        except Exception as error:  # noqa: BLE001  # hooks and stores of all kinds
            self._failed("remember", principal, value, error)

    def remember(self, principal: Principal, value: Any, environ: Environ) -> None:
        """Remember a value that the application set, if access is allowed. Never raises."""
        try:
            verdict = self.ask(principal, value, environ)
        except Exception as error:  # noqa: BLE001  # the application's own code
            self._failed("remember", principal, value, error)
            return
        self._report("remember", principal, value, verdict)
        if verdict == "allowed":
            self.keep(principal, value, environ)

    def forget(self, principal: Principal, environ: Environ) -> None:
        """Forget the context. Never raises."""
        try:
            self._memory.clear(principal, self.key, environ)
        except Exception as error:  # noqa: BLE001  # hooks and stores of all kinds
            self._failed("forget", principal, None, error)
            return
        self._report("forget", principal, None, "allowed", "the application asked for it")

    def explain(self, principal: Principal | None, environ: Environ) -> Explanation:
        """Return what `restore` would do now, and why. Changes nothing, never raises."""
        if principal is None:
            return Explanation(self.key, None, "nothing", "nobody is logged in")
        if not self.restoring:
            return Explanation(self.key, principal, "nothing", "restoring is switched off")
        try:
            found = self._memory.load(principal, self.key, environ)
            if found is None:
                return Explanation(self.key, principal, "nothing", "no context is remembered")
            verdict = self.ask(principal, found.value, environ)
        except Exception as error:  # noqa: BLE001  # hooks and stores of all kinds
            return Explanation(self.key, principal, "fail", _text_of(error))
        would: Literal["restore", "refuse"] = "restore" if verdict == "allowed" else "refuse"
        why = _WHY[verdict]
        return Explanation(self.key, principal, would, why, found.value, found.accessed_at)

    def _report(
        self,
        action: Action,
        principal: Principal | None,
        value: Any,
        outcome: AuditOutcome,
        why: str = "",
    ) -> None:
        why = why or _WHY[outcome]
        now, user = self._clock(), self._events.pseudonyms.of(principal)
        self._audit.record(
            AuditRecord(now, principal, action, self.key, value, outcome, why, user=user)
        )
        name = _event_of(action, outcome)
        if name == "context-lost":
            why = f"lost access: {why}; it is not restored, and is forgotten"
        self._events.emit(name, context=self.key, user=user, why=why)

    def _failed(self, action: Action, principal: Principal, value: Any, error: Exception) -> None:
        if not isinstance(error, SessionError):
            _log.error("the %s of %s failed in the application", action, self.key, exc_info=error)
        self._report(action, principal, value, "failed", f"{action} failed: {_text_of(error)}")


_WHY = {
    "allowed": "the permission hook says allowed",
    "denied": "the permission hook says denied",
    "gone": "the permission hook says that it no longer exists",
}


def _text_of(error: Exception) -> str:
    """Return the text of our own errors, which hold no values; of others, only the type."""
    return str(error) if isinstance(error, SessionError) else type(error).__name__


def _event_of(action: Action, outcome: AuditOutcome) -> EventName:
    if outcome == "failed":
        return "context-failed"
    if action == "restore":
        return "context-restored" if outcome == "allowed" else "context-lost"
    if action == "forget":
        return "context-forgotten"
    return "context-selected" if outcome == "allowed" else "context-refused"
