"""Diagnosis of the store, the settings and the clocks, with a remedy for each fault. For operators
at a prompt; servers answer health checks with `wsgi_sessions.health.checker`."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from wsgi_sessions.clock import wall_clock
from wsgi_sessions.core.limits.sizes import SizeRule, heaviest
from wsgi_sessions.errors import StoreUnavailable
from wsgi_sessions.health.checker import HealthReport, check, fingerprint
from wsgi_sessions.identity import short_key
from wsgi_sessions.operations.inspection import live_sessions
from wsgi_sessions.operations.server_check import Expected, Finding, compare
from wsgi_sessions.stack.config import with_variables
from wsgi_sessions.stack.config_help import advice
from wsgi_sessions.stack.places import place_of
from wsgi_sessions.stack.sessions import lifetimes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wsgi_sessions.contract import Backend
    from wsgi_sessions.operations.inspection import LiveSession
    from wsgi_sessions.stack.config import Config

MAX_SKEW = 2.0
SAMPLED = 200
"""Stored sessions that are looked at, so that the time does not grow with their number."""
_LARGE = 0.5


class Examination(NamedTuple):
    """A health report and further findings. `skew`: the seconds by which the store's clock is ahead
    of this host's, or None if the store has no clock or does not answer. `advice`: improvements
    that are not warnings."""

    health: HealthReport
    skew: float | None
    findings: tuple[Finding, ...]
    advice: tuple[str, ...] = ()

    @property
    def is_well(self) -> bool:
        """Whether there is no fault; there may be warnings."""
        return all(finding.level != "fault" for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Return the health report and the findings, for JSON."""
        findings = [finding._asdict() for finding in self.findings]
        return {
            **self.health.as_dict(),
            "clock_skew": self.skew,
            "findings": findings,
            "advice": [*self.advice],
        }


def examine(
    backend: Backend,
    config: Config,
    *,
    servers: Sequence[str] = (),
    clock: Callable[[], float] = wall_clock,
) -> Examination:
    """Check the store, the settings, and running servers, each by its URL or that of its health
    path: all workers must have the same store, the same keys and the same time.

    Of the stored sessions, looks at `SAMPLED`. Changes nothing beyond a health check. Faults become
    findings and are not raised; ConfigurationError is raised for one of `servers` that is not an
    http or https URL.
    """
    fingerprints = [fingerprint(secret) for secret in config.secret_keys]
    here = place_of(config)
    health = check(backend, timeout=config.health.timeout, fingerprints=fingerprints, place=here)
    findings = [*_of_health(health), *_of_rights(backend), *_of_keys(backend, config)]
    skew = None
    if health.healthy:
        skew, found = _of_clock(backend, clock)
        findings += [*found, *_of_sizes(backend, config)]
    findings += [Finding("warning", "settings", remark) for remark in config.remarks]
    if servers:
        findings += compare(servers, Expected(health.backend, here, tuple(fingerprints)), config)
    told = tuple(finding._replace(text=with_variables(finding.text)) for finding in findings)
    return Examination(health, skew, told, tuple(advice(config)))


def _of_health(health: HealthReport) -> list[Finding]:
    error = health.details.get("error")
    faults = [] if error is None else [Finding("fault", "store", str(error))]
    return faults + [
        Finding("warning", "store", text) for text in health.details.get("warnings", ())
    ]


def _of_rights(backend: Backend) -> list[Finding]:
    """Return missing rights of the user, even if the server is unhealthy for that very reason."""
    try:
        refused = [] if backend.rights is None else backend.rights.warnings()
    except StoreUnavailable:
        return []  # the health report has the same fault
    return [Finding("fault", "rights", text) for text in refused]


def _of_keys(backend: Backend, config: Config) -> list[Finding]:
    found = []
    if not config.secret_keys and backend.secret is None:
        text = (
            "WSGI_SESSIONS_SECRET_KEYS is not set: the application will not start; make one with "
            "'wsgi-sessions keygen', the same for all workers"
        )
        found.append(Finding("fault", "keys", text))
    if backend.name == "memory":
        text = (
            "memory:// is for tests and single worker processes: name a store that all workers "
            "share"
        )
        found.append(Finding("warning", "store", text))
    return found


def _of_sizes(backend: Backend, config: Config) -> list[Finding]:
    """Return the largest of some sessions, if it takes more than half of its limit."""
    rule, largest = SizeRule(config.max_size, lifetimes_of(config).anonymous), None
    try:
        for found in live_sessions(backend, islice(backend.iteration.keys(), SAMPLED)):
            share = len(found.record.payload) / rule.limit(found.envelope)
            if share > max(_LARGE, 0.0 if largest is None else largest[0]):
                largest = share, found
    except StoreUnavailable as error:
        return [Finding("fault", "store", str(error))]
    return [] if largest is None else [Finding("warning", "sessions", _of_size(largest[1], rule))]


def _of_size(found: LiveSession, rule: SizeRule) -> str:
    limit = rule.limit(found.envelope)
    setting = "max_size" if limit == rule.most else "anonymous_max_size"
    (name, size), *_ = heaviest(found.envelope, 1) or [("none", 0)]
    return (
        f"session {short_key(found.key)} takes {len(found.record.payload)} of at most {limit} "
        f"bytes, {size} of them under key {name}: keep large values in the application's "
        f"database, and in the session what finds them, or raise `{setting}`; 'wsgi-sessions list "
        f"--larger-than {limit // 2} --sort size' finds all such sessions"
    )


def _of_clock(backend: Backend, clock: Callable[[], float]) -> tuple[float | None, list[Finding]]:
    if backend.clock is None:
        return None, []
    before = clock()
    try:
        there = backend.clock.now()
    except StoreUnavailable as error:
        return None, [Finding("fault", "clock", str(error))]
    # A time between the two readings is not a skew.
    skew = there - min(max(there, before), clock())
    if abs(skew) <= MAX_SKEW:
        return skew, []
    text = (
        f"the store's clock is {abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} this "
        "host's: sessions end too early or too late; keep all hosts in step, as by NTP"
    )
    return skew, [Finding("warning", "clock", text)]
