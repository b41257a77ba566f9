"""Is everything set up well? What is wrong with the store, the settings and the clocks, and what to
do about each. For an operator at a prompt; servers answer `wsgi_sessions.health` alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from wsgi_sessions.clock import wall_clock
from wsgi_sessions.errors import ConfigurationError, StoreUnavailable
from wsgi_sessions.health import HealthReport, check, fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wsgi_sessions.config import Config
    from wsgi_sessions.stores.base import Backend

Level = Literal["fault", "warning"]
MAX_SKEW = 2.0
_SERVER_REQUESTS = 12  # so that most workers of a server are met
_MAX_ANSWER = 1 << 20


class Finding(NamedTuple):
    """What is wrong, and what to do. A fault keeps sessions from working; a warning may yet."""

    level: Level
    topic: str
    text: str


class Examination(NamedTuple):
    """A health report and what was found beside it. `skew`: by how many seconds the store's clock
    is ahead of this host's, or None if it has none of its own or does not answer."""

    health: HealthReport
    skew: float | None
    findings: tuple[Finding, ...]

    @property
    def is_well(self) -> bool:
        """Whether there is no fault; there may be warnings."""
        return all(finding.level != "fault" for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the health report, and more."""
        findings = [finding._asdict() for finding in self.findings]
        return {**self.health.as_dict(), "clock_skew": self.skew, "findings": findings}


def examine(
    backend: Backend,
    config: Config,
    *,
    unknown: Mapping[str, str],
    server: str | None = None,
    clock: Callable[[], float] = wall_clock,
) -> Examination:
    """Look at the store, at the settings (of which `unknown` names those that are none, each with
    what to do), and at a running server if the URL of its health path is given: have its workers
    the same keys, and the same kind of store?

    Changes nothing but what a health check does. Never raises for what is wrong; ConfigurationError
    for a `server` that is no http or https URL.
    """
    fingerprints = [fingerprint(secret) for secret in config.secret_keys]
    health = check(backend, timeout=config.health_timeout, fingerprints=fingerprints)
    findings = [*_of_health(health), *_of_keys(backend, config)]
    skew = None
    if health.healthy:
        skew, found = _of_clock(backend, clock)
        findings += found
    findings += [
        Finding("warning", "settings", f"{name} is no setting and is ignored: {hint}")
        for name, hint in unknown.items()
    ]
    if server is not None:
        findings += _of_server(server, health, fingerprints, config.health_timeout)
    return Examination(health, skew, tuple(findings))


def _of_health(health: HealthReport) -> list[Finding]:
    error = health.details.get("error")
    faults = [] if error is None else [Finding("fault", "store", str(error))]
    return faults + [
        Finding("warning", "store", text) for text in health.details.get("warnings", ())
    ]


def _of_keys(backend: Backend, config: Config) -> list[Finding]:
    found = []
    if not config.secret_keys and backend.secret is None:
        text = (
            "WSGI_SESSIONS_SECRET_KEYS is not set: the application will not start; make one with "
            "'wsgi-sessions keygen', the same for all workers"
        )
        found.append(Finding("fault", "keys", text))
    if backend.name == "memory":
        text = "memory:// is for tests and a single worker process: name a store that all share"
        found.append(Finding("warning", "store", text))
    return found


def _of_clock(backend: Backend, clock: Callable[[], float]) -> tuple[float | None, list[Finding]]:
    if backend.clock is None:
        return None, []
    before = clock()
    try:
        there = backend.clock.now()
    except StoreUnavailable as error:
        return None, [Finding("fault", "clock", str(error))]
    # Anything between the two moments is no skew.
    skew = there - min(max(there, before), clock())
    if abs(skew) <= MAX_SKEW:
        return skew, []
    text = (
        f"the store's clock is {abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} this "
        "host's: sessions end too early or too late; keep all hosts in step, as by NTP"
    )
    return skew, [Finding("warning", "clock", text)]


def _of_server(
    url: str, health: HealthReport, fingerprints: list[str], timeout: float
) -> list[Finding]:
    if not url.startswith(("http://", "https://")):
        raise ConfigurationError(
            "the server's URL must lead to its health path: http://127.0.0.1:8000/health/session"
        )
    try:
        answers = [_ask(url, timeout + 1) for _ in range(_SERVER_REQUESTS)]
    except (OSError, ValueError) as error:
        text = f"the server's health path did not answer ({error}): is this its URL?"
        return [Finding("fault", "server", text)]
    found = []
    errors = {str(answer["details"].get("error")) for answer in answers if not answer["healthy"]}
    found += [Finding("fault", "server", f"a worker says: {error}") for error in sorted(errors)]
    stores = {str(answer["backend"]) for answer in answers}
    if stores != {health.backend}:
        text = (
            f"the server's workers use {_and(stores)}, and the settings here {health.backend}: "
            "give them one WSGI_SESSIONS_URL"
        )
        found.append(Finding("fault" if len(stores) > 1 else "warning", "server", text))
    keys = {tuple(answer["details"].get("keys", ())) for answer in answers if answer["healthy"]}
    if len(keys) > 1:
        shown = _and({",".join(names) for names in keys})
        text = (
            f"the server's workers have different keys ({shown}), so that a cookie of one is "
            "unknown to another: give them one WSGI_SESSIONS_SECRET_KEYS"
        )
        found.append(Finding("fault", "keys", text))
    elif fingerprints and keys and keys != {tuple(fingerprints)}:
        text = "the server's workers have other keys than the settings here: was one deployed only?"
        found.append(Finding("warning", "keys", text))
    return found


def _ask(url: str, timeout: float) -> dict[str, Any]:
    """A worker's health report. Raises OSError, and ValueError for what is none."""
    request = Request(url, headers={"Connection": "close"})  # noqa: S310  # checked by the caller
    try:
        with urlopen(request, timeout=timeout) as response:  # noqa: S310  # as above
            body = response.read(_MAX_ANSWER)
    except HTTPError as error:
        with error:
            body = error.read(_MAX_ANSWER)
    answer = json.loads(body)
    if not isinstance(answer, dict) or not isinstance(answer.get("details"), dict):
        raise ValueError("what it answers is no health report")  # noqa: TRY004  # of a stranger
    return answer


def _and(names: set[str]) -> str:
    return " and ".join(sorted(names))
