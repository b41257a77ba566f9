"""Events of sessions, for logs, counters and an application's hook."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, Protocol

from wsgi_sessions import texts
from wsgi_sessions.core.pseudonyms import Pseudonyms

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wsgi_sessions.core.commit.results import Result

EventName = Literal[
    "created",  # a record was made
    "cookieless",  # a script's request, without any cookie, began one: concurrent ones do too
    "cookie-lost",  # cookies of many new sessions did not come back; `reason` says why, if known
    "cycled",  # the session has a new id, the old one is dead
    "destroyed",  # logged out: the record was deleted
    "ended",  # a session is over; `why`, `by`, `route` and `at` say how (`wsgi_sessions.endings`)
    "refused",  # a presented cookie leads to no session; `why` says the reason; throttled
    "imported",  # a session of another library was taken over
    "import-refused",  # such a take-over failed; `reason` says why
    "conflict",  # two requests changed one key; the later commit stands
    "dropped",  # changes could not be stored; `reason` says why
    "gone",  # the record was destroyed before the commit: this request's changes were dropped
    "superseded",  # a log-in had given the session another id: this request's changes were dropped
    "large",  # the session takes more than half of its size limit now; `keys` are the heaviest
    "corrupt",  # a damaged record was set aside
    "expired",  # the absolute lifetime is over
    "ambiguous",  # two cookies of live sessions: the first counts; of two to import, neither does
    "insecure",  # a cookie left over plain http without Secure
    "unavailable",  # the store could not answer
    "lost",  # changes made after the headers left could not be stored; `error` says why
    "full",  # the store is at its limit of sessions: an anonymous visitor got none
    "run-again",  # a request met a conflict, stored nothing, and is run again; `path`, `attempt`
    "repeated",  # a client repeated a request, with its retry token: its changes were there already
    "busy",  # too many requests wait for one session: this one was refused at once
    "lock-lost",  # an exclusive block lost its lock before its end: others may have run in it
    "refreshed",  # a background refresh was committed
    "refresh-skipped",  # a background refresh is due, but a request uses the session
    "refresh-failed",  # the hook raised or hung, or its changes were lost; `reason`, `retry_in` (s)
    "context-restored",  # a session without a context got its principal's last one back
    "context-lost",  # it did not: the principal may no longer access it, so it was forgotten
    "context-selected",  # a context was selected, and will be remembered
    "context-refused",  # a context was not selected, or not remembered; `why` says the reason
    "context-forgotten",  # the application asked to remember nothing
    "context-failed",  # a hook raised, or the store did not answer: went on without
    "version-refreshed",  # a stale session was rebuilt
    "version-refused",  # a request that may not rebuild its stale session was answered with 401
    "version-ended",  # a rebuild failed: the session was destroyed, `why` gives the reason
]
_LEVELS: Mapping[EventName, int] = MappingProxyType(
    {
        "created": logging.DEBUG,
        "cookieless": logging.DEBUG,
        "cycled": logging.DEBUG,
        "destroyed": logging.DEBUG,
        "ended": logging.INFO,
        "refused": logging.INFO,
        "expired": logging.INFO,
        "imported": logging.INFO,
        "run-again": logging.INFO,
        "repeated": logging.INFO,
        "unavailable": logging.ERROR,
        "lost": logging.ERROR,
        "refreshed": logging.INFO,
        "refresh-skipped": logging.INFO,
        "context-restored": logging.INFO,
        "context-selected": logging.DEBUG,
        "context-forgotten": logging.DEBUG,
        "context-failed": logging.ERROR,
        "version-refreshed": logging.DEBUG,
        "version-refused": logging.INFO,
        "corrupt": logging.ERROR,
    }
)  # all others: WARNING


@dataclass(frozen=True)
class Event:
    """One occurrence. `key` is the short store key (never an id), `facts` hold no session value.

    They name a session's top-level keys at most, and a user only by the pseudonym of
    `wsgi_sessions.core.pseudonyms`. Its text is one line, escaped and cut.
    """

    name: EventName
    key: str | None = None
    facts: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))

    def __str__(self) -> str:
        parts = [f"session {self.name}"]
        if self.key is not None:
            parts.append(f"session={self.key}")
        facts = (f"{name}={texts.shown(repr(fact))}" for name, fact in self.facts.items())
        return texts.shown(" ".join([*parts, *facts]), 2 * texts.LINE)


class Meter(Protocol):
    """Counts what requests do with their sessions: every request calls it, so it has to be fast.

    No method raises or waits.
    """

    def event(self, event: Event) -> None:
        """Count an event."""

    def request(self, did: Result | None) -> None:
        """Count a request at its end, by what it did with its session; None: it left it alone."""

    def commit(self, result: Result) -> None:
        """Count a commit that changed, or tried to change, what is stored."""

    def commit_failed(self, error: BaseException) -> None:
        """Count a commit that raised."""

    def saved(self, attempts: int, *, merged: bool) -> None:
        """Count a save by its attempts; `merged`: it was put onto another request's changes."""


class Events:
    """Logs each event, counts it, and passes it to a hook.

    A log record has the event's name as attribute `session_event`, the short key as `session_key`,
    and each fact under its own name: `session_route`, `session_reason`, …; texts in it are escaped.

    An exception in the hook is logged and goes no further: watching a session must never change
    what happens to it.

    Args:
        hook: called in the request with each `Event`.
        pseudonyms: give the stand-ins for users in events.
        meter: counts events, and the ends of requests and commits.
    """

    def __init__(
        self,
        hook: Callable[[Event], object] | None = None,
        pseudonyms: Pseudonyms | None = None,
        wording: Callable[[str], str] | None = None,
        meter: Meter | None = None,
    ) -> None:
        self._hook = hook
        self.meter = meter
        self._wording = wording
        self.pseudonyms = pseudonyms or Pseudonyms()
        self._log = texts.log("wsgi_sessions")
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def emit(self, name: EventName, key: str | None = None, **facts: object) -> None:
        """Report an event about the session with this short key."""
        level = _LEVELS.get(name, logging.WARNING)
        if self._wording is not None and level >= logging.WARNING:
            facts = {k: self._wording(f) if isinstance(f, str) else f for k, f in facts.items()}
        event = Event(name, key, MappingProxyType(facts))
        if self._log.isEnabledFor(level):
            self._log.log(level, "%s", event, extra=_attributes(event))
        with self._lock:
            self._counts[name] += 1
        if self.meter is not None:
            self.meter.event(event)
        if self._hook is None:
            return
        try:
            self._hook(event)
        except Exception:  # noqa: BLE001  # the application's own code; see the class docstring
            self._log.exception("the on_event hook raised on %s", name)

    def counts(self) -> dict[str, int]:
        """Return the number of times that each event happened in this process."""
        with self._lock:
            return dict(self._counts)


def _attributes(event: Event) -> dict[str, object]:
    """Return the attributes of an event's log record: for formatters that write fields."""
    facts = {f"session_{name}": _plain(fact) for name, fact in event.facts.items()}
    return {"session_event": event.name, "session_key": event.key, **facts}


def _plain(fact: object) -> object:
    """Return a fact as JSON has it, its texts escaped and cut."""
    if fact is None or isinstance(fact, (bool, int, float)):
        return fact
    if isinstance(fact, (list, tuple)):
        return [_plain(each) for each in fact]
    return texts.shown(fact)
