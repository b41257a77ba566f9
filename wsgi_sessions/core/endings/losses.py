"""Losses: the reason why a session that a client asks for is not there. No WSGI."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions import texts
from wsgi_sessions.background import FaultLog
from wsgi_sessions.core.endings.expiry import expiry_of
from wsgi_sessions.endings import UNSIGNED, Absence
from wsgi_sessions.errors import StoreUnavailable

if TYPE_CHECKING:
    from wsgi_sessions.contract import Backend
    from wsgi_sessions.core.endings.traces import Traces
    from wsgi_sessions.core.limits.lifetimes import Lifetimes

_log = texts.log(__name__)


class Losses:
    """Finds out why sessions are not there: by traces, and by expired records that still are.

    Without a backend, it is not known whether the records are still there.
    """

    def __init__(
        self, traces: Traces | None, backend: Backend | None, lifetimes: Lifetimes
    ) -> None:
        self._traces = traces
        self._backend = backend
        self._lifetimes = lifetimes
        self._trouble = FaultLog(_log, "it cannot be said why sessions are not there")

    def of(self, key: str) -> Absence:
        """Return why there is no session with this store key, or for `UNSIGNED`.

        Costs one store call; another one if that finds nothing. Without traces, none is made. A
        fault is only logged: the reason is then unknown.
        """
        if key == UNSIGNED:
            return Absence("signature")
        if self._traces is None:
            return Absence("unknown")
        try:
            return self._found(key, self._traces)
        except StoreUnavailable as error:
            self._trouble.met(error)
            return Absence("unknown")

    def _found(self, key: str, traces: Traces) -> Absence:
        trace = traces.of(key)
        if trace is not None:
            return Absence(trace.why, trace=trace)
        if self._backend is None:
            return Absence("unknown")
        expired = self._backend.expired
        record = None if expired is None else expired.remains(key)
        expiry = None if record is None else expiry_of(key, record, self._lifetimes)
        if expiry is not None:
            return Absence(expiry.why)
        if self._backend.expires_silently:
            return Absence("expired-idle", is_inferred=True)
        return Absence("unknown")
