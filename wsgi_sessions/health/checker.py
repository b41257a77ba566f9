"""A check that the session store is fit to serve: it does what requests do, within a time limit."""

from __future__ import annotations

import hmac
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Raw

from wsgi_sessions import texts
from wsgi_sessions.background import PerProcess
from wsgi_sessions.clock import monotonic, wall_clock
from wsgi_sessions.core.record.codec import encode
from wsgi_sessions.core.record.envelope import Envelope, seal
from wsgi_sessions.core.record.history import NO_COMMITS
from wsgi_sessions.core.record.tombstones import ENDED
from wsgi_sessions.errors import SessionError, StoreUnavailable, VersionConflict
from wsgi_sessions.identity import new_id, store_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from wsgi_sessions.contract import Backend, SessionStore

CheckEffect = Literal["probe", "look"]
DEFAULT_TIMEOUT = 2.0
SHARED_SECONDS = 1.0
"""Seconds for which `HealthChecker` gives one report to all callers."""
_PROBE_SECONDS = 60.0
_log = texts.log(__name__)


@dataclass(frozen=True)
class HealthReport:
    """The result of a check. `details` are plain values for JSON, without secrets and session ids.

    - ``latency_ms``: milliseconds of each step
    - ``warnings``: settings that endanger sessions, a sentence each; they do not make it unhealthy
    - ``store``: facts of the store, such as its file system and free space
    - ``place``: a fingerprint of the store itself: the same in every worker that uses it
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
    """Return 8 hex characters that show whether workers hold the same key, too few to guess it."""
    key = secret.encode() if isinstance(secret, str) else secret
    return hmac.digest(key, b"wsgi_sessions.fingerprint.v1", "sha256").hex()[:8]


def look(backend: Backend, *, timeout: float = DEFAULT_TIMEOUT) -> HealthReport:
    """Like `check`, without writes: the store answers and reads."""
    return HealthChecker(backend, timeout=timeout, effect="look").check()


def check(
    backend: Backend,
    *,
    timeout: float = DEFAULT_TIMEOUT,
    fingerprints: Sequence[str] = (),
    place: str = "",
) -> HealthReport:
    """Write, read, compare-and-set and delete a probe record; check the store's own settings.

    Never raises: faults are in the report. After `timeout` seconds the store is unhealthy, whatever
    its own deadline. The probe is not a session, and expires within a minute.
    """
    checker = HealthChecker(backend, timeout=timeout, fingerprints=fingerprints, place=place)
    return checker.check()


class HealthChecker:
    """Runs one check at a time, and gives its report to all callers until a second after it.

    So neither a hung store nor many callers make many threads, probes, or writes. Each process
    checks for itself. `clock`: seconds, from any moment.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        fingerprints: Sequence[str] = (),
        place: str = "",
        effect: CheckEffect = "probe",
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._place = place
        self._backend = backend
        self._timeout = timeout
        self._effect: CheckEffect = effect
        self._fingerprints = tuple(fingerprints)
        self._clock = clock
        self._checks = PerProcess(_Checks)

    def check(self) -> HealthReport:
        """See the function `check`."""
        run = self._join()
        if run.done.wait(self._timeout) and run.report is not None:
            return run.report
        return self._unhealthy(
            f"the {self._backend.name} store did not answer within {self._timeout:g} s"
        )

    def _join(self) -> _Run:
        """Return the check that runs or has just ended, or a new one."""
        checks = self._checks.get()
        with checks.lock:
            run = checks.last
            if run is None or run.is_over(self._clock()):
                run = _Run()
                checks.last = run if self._start(run) else None
        return run

    def _start(self, run: _Run) -> bool:
        # A daemon: a hung store must not keep the process from ending.
        thread = threading.Thread(
            target=self._examine, args=(run,), name="wsgi_sessions.health", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:
            run.report = self._unhealthy(f"the check could not be started: {error}")
            run.done.set()
            return False
        return True

    def _unhealthy(self, error: str) -> HealthReport:
        return HealthReport(self._backend.name, healthy=False, details={"error": error})

    def _examine(self, run: _Run) -> None:
        try:
            run.report = examine(self._backend, self._fingerprints, self._effect, self._place)
        finally:
            run.ended_at = self._clock()
            run.done.set()


class _Checks:
    """The checks of one process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.last: _Run | None = None


@dataclass
class _Run:
    """A check, running or ended."""

    done: threading.Event = field(default_factory=threading.Event)
    report: HealthReport | None = None
    ended_at: float | None = None

    def is_over(self, now: float) -> bool:
        """Return whether it ended too long ago for its report to count."""
        return self.ended_at is not None and now - self.ended_at >= SHARED_SECONDS


def examine(
    backend: Backend,
    fingerprints: Sequence[str] = (),
    effect: CheckEffect = "probe",
    place: str = "",
) -> HealthReport:
    """Run `check`, or `look` with that `effect`, without a time limit."""
    details: dict[str, Any] = {"keys": [*fingerprints]} if fingerprints else {}
    if place:
        details["place"] = place
    try:
        probe = _Probe(backend.sessions)
        if effect == "look":
            details["latency_ms"] = probe.look()
        else:
            _run(probe, backend, details)
        if backend.advice is not None:
            details["warnings"] = backend.advice.warnings()
    except SessionError as error:
        details["error"] = str(error)
    except Exception as error:  # noqa: BLE001  # who asks wants an answer, whatever it is
        _log.exception("the health check of the %s store failed", backend.name)
        details["error"] = f"the check failed with {type(error).__name__}: see the log"
    return HealthReport(backend.name, healthy="error" not in details, details=details)


def _run(probe: _Probe, backend: Backend, details: dict[str, Any]) -> None:
    diagnosis = backend.diagnosis
    try:
        details["latency_ms"] = probe.run()
    finally:
        if diagnosis is not None:
            diagnosis.tidy(probe.key)
    if diagnosis is not None:
        details["store"] = {**diagnosis.facts()}


class _Probe:
    """A record that is written, read, compared and deleted like a session."""

    def __init__(self, sessions: SessionStore) -> None:
        self._sessions = sessions
        self.key = store_key(new_id())
        self._times: dict[str, float] = {}

    def run(self) -> dict[str, float]:
        """Return milliseconds by step. Raises StoreUnavailable, also if a promise was broken."""
        sessions, key, expires_at = self._sessions, self.key, wall_clock() + _PROBE_SECONDS
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
            raise self._broken("a deleted record is still there")
        return self._times

    def look(self) -> dict[str, float]:
        """Like `run`, for the steps that only read."""
        self._time("ping", self._sessions.ping)
        if self._time("read", lambda: self._sessions.load(self.key)) is not None:
            raise self._broken("a record was read that was never written")
        return self._times

    def _time(self, step: str, action: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = action()
        self._times[step] = round((time.perf_counter() - started) * 1000, 3)
        return result

    def _payload(self, number: int) -> bytes:
        """Return an ended envelope: neither damage nor a session to any process."""
        metadata = {ENDED: Raw(encode("probe")), "number": Raw(encode(number))}
        return seal(Envelope(wall_clock(), NO_COMMITS, metadata, {}), self.key)

    def _expect(self, payload: bytes, version: int, found: Any) -> None:
        if found is None or (found.version, found.payload) != (version, payload):
            raise self._broken("a read gave other data than had been written")

    def _expect_conflict(self, payload: bytes, expires_at: float) -> None:
        try:
            self._sessions.save(self.key, payload, expires_at, expected_version=1)
        except VersionConflict:
            return
        raise self._broken("a save over another version was not refused")

    def _broken(self, what: str) -> StoreUnavailable:
        return StoreUnavailable(f"the session store breaks its promise: {what}", operation="probe")
