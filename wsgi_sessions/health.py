"""Is the session store fit to serve? A check that does what requests do, within a time limit."""

from __future__ import annotations

import hmac
import os
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from msgspec import Raw

from wsgi_sessions import texts
from wsgi_sessions.clock import wall_clock
from wsgi_sessions.errors import SessionError, StoreUnavailable, VersionConflict
from wsgi_sessions.identity import new_id, store_key
from wsgi_sessions.serialization import Envelope, encode, history, seal
from wsgi_sessions.tombstones import ENDED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from wsgi_sessions.stores.base import Backend, SessionStore

DEFAULT_TIMEOUT = 2.0
_PROBE_SECONDS = 60.0
_log = texts.log("wsgi_sessions.health")


@dataclass(frozen=True)
class HealthReport:
    """What a check found. `details` are plain values for JSON, without secrets and session ids.

    - ``latency_ms``: milliseconds that each step took
    - ``warnings``: settings that endanger sessions, a sentence each; they make nothing unhealthy
    - ``store``: facts of the store, such as its file system and the room on it
    - ``keys``: a `fingerprint` of each signing key, the newest last: the same in every worker
    - ``error``: why it is not healthy; it may name the store's address or folder
    """

    backend: str
    healthy: bool
    details: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """For JSON: ``{"backend": "redis", "healthy": true, "details": {...}}``."""
        return {"backend": self.backend, "healthy": self.healthy, "details": {**self.details}}


def fingerprint(secret: str | bytes) -> str:
    """8 hex characters by which workers can be seen to hold one key, too few to tell it from."""
    key = secret.encode() if isinstance(secret, str) else secret
    return hmac.digest(key, b"wsgi_sessions.fingerprint.v1", "sha256").hex()[:8]


def check(
    backend: Backend, *, timeout: float = DEFAULT_TIMEOUT, fingerprints: Sequence[str] = ()
) -> HealthReport:
    """Write, read, compare-and-set and delete a probe record; look at the store's own settings.

    Never raises: what goes wrong is in the report. After `timeout` seconds it is unhealthy,
    whatever the store's own deadline. The probe is no session, and expires within a minute.
    """
    return HealthChecker(backend, timeout=timeout, fingerprints=fingerprints).check()


class HealthChecker:
    """Checks one at a time: who asks while a check runs gets its report.

    So that neither a hung store nor many who ask make many threads, or many probes.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        fingerprints: Sequence[str] = (),
    ) -> None:
        self._backend = backend
        self._timeout = timeout
        self._fingerprints = tuple(fingerprints)
        self._lock = threading.Lock()
        self._running: _Run | None = None

    def check(self) -> HealthReport:
        """See the function `check`."""
        run = self._join()
        if run.done.wait(self._timeout) and run.report is not None:
            return run.report
        return self._unhealthy(
            f"the {self._backend.name} store did not answer within {self._timeout:g} s"
        )

    def _join(self) -> _Run:
        """The check that runs, or a new one."""
        with self._lock:
            run = self._running
            if run is None or run.pid != os.getpid():
                run = self._running = _Run()
                self._start(run)
        return run

    def _start(self, run: _Run) -> None:
        # A daemon: a store that hangs must not keep the process from its end.
        thread = threading.Thread(
            target=self._examine, args=(run,), name="wsgi_sessions.health", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:
            run.report = self._unhealthy(f"the check could not be started: {error}")
            run.done.set()
            self._running = None

    def _unhealthy(self, error: str) -> HealthReport:
        return HealthReport(self._backend.name, healthy=False, details={"error": error})

    def _examine(self, run: _Run) -> None:
        try:
            run.report = examine(self._backend, self._fingerprints)
        finally:
            with self._lock:
                self._running = None
            run.done.set()


@dataclass
class _Run:
    """A check under way, in this process."""

    pid: int = field(default_factory=os.getpid)
    done: threading.Event = field(default_factory=threading.Event)
    report: HealthReport | None = None


def examine(backend: Backend, fingerprints: Sequence[str] = ()) -> HealthReport:
    """`check` without a time limit of its own."""
    details: dict[str, Any] = {"keys": [*fingerprints]} if fingerprints else {}
    try:
        details["latency_ms"] = _Probe(backend.sessions).run()
        if backend.diagnosis is not None:
            details["store"] = {**backend.diagnosis.facts()}
        if backend.advice is not None:
            details["warnings"] = backend.advice.warnings()
    except SessionError as error:
        details["error"] = str(error)
    except Exception as error:  # noqa: BLE001  # who asks wants an answer, whatever it is
        _log.exception("the health check of the %s store failed", backend.name)
        details["error"] = f"the check failed with {type(error).__name__}: see the log"
    return HealthReport(backend.name, healthy="error" not in details, details=details)


class _Probe:
    """A record that is written, read, compared and deleted as a session is."""

    def __init__(self, sessions: SessionStore) -> None:
        self._sessions = sessions
        self._key = store_key(new_id())
        self._times: dict[str, float] = {}

    def run(self) -> dict[str, float]:
        """Milliseconds by step. Raises StoreUnavailable, also if a promise was broken."""
        sessions, key, expires_at = self._sessions, self._key, wall_clock() + _PROBE_SECONDS
        first, second = (self._payload(number) for number in (1, 2))
        self._time("write", lambda: sessions.create(key, first, expires_at))
        self._expect(first, 1, self._time("read", lambda: sessions.load(key)))
        self._time(
            "compare_and_set", lambda: sessions.save(key, second, expires_at, expected_version=1)
        )
        self._expect_conflict(first, expires_at)
        self._expect(second, 2, sessions.load(key))
        self._time("delete", lambda: sessions.delete(key))
        if sessions.load(key) is not None:
            raise self._broken("a record that was deleted is there still")
        return self._times

    def _time(self, step: str, action: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = action()
        self._times[step] = round((time.perf_counter() - started) * 1000, 3)
        return result

    def _payload(self, number: int) -> bytes:
        """An envelope, so that nobody takes it for damage; ended, so that it is no session."""
        marks = {ENDED: Raw(encode("probe")), "number": Raw(encode(number))}
        return seal(Envelope(wall_clock(), history([]), marks, {}), self._key)

    def _expect(self, payload: bytes, version: int, found: Any) -> None:
        if found is None or (found.version, found.payload) != (version, payload):
            raise self._broken("what was read is not what had been written")

    def _expect_conflict(self, payload: bytes, expires_at: float) -> None:
        try:
            self._sessions.save(self._key, payload, expires_at, expected_version=1)
        except VersionConflict:
            return
        raise self._broken("a save over another version was not refused")

    def _broken(self, what: str) -> StoreUnavailable:
        return StoreUnavailable(f"the session store breaks its promise: {what}", operation="probe")
