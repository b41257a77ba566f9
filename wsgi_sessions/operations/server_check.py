"""Compares running servers: their store, keys and time. For `wsgi_sessions.operations.doctor`."""

from __future__ import annotations

import json
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from wsgi_sessions import texts
from wsgi_sessions.clock import wall_clock
from wsgi_sessions.errors import ConfigurationError
from wsgi_sessions.http.cookies.scope import covers_host
from wsgi_sessions.settings.kinds import hide_credentials

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from wsgi_sessions.stack.config import Config

Level = Literal["fault", "warning"]
_REQUESTS = 12  # enough to reach most workers of a server
_MAX_ANSWER = 1 << 20
_MAX_SKEW = 3.0  # seconds: a Date header has whole ones
_DEFAULT_PATH = "/health/session"


class Finding(NamedTuple):
    """A problem and its remedy. A fault keeps sessions from working; a warning may do so later."""

    level: Level
    topic: str
    text: str


@texts.shows("backend", "place")
class Expected(NamedTuple):
    """The values of the settings here: kind of store, its fingerprint, those of the keys."""

    backend: str
    place: str
    keys: tuple[str, ...]


@texts.shows("skew")
class WorkerReply(NamedTuple):
    """The health report of a worker, and the seconds by which its clock is ahead, if known."""

    server: str
    report: dict[str, Any]
    skew: float | None

    @property
    def details(self) -> dict[str, Any]:
        """The details beside its health; empty for strangers."""
        found: dict[str, Any] = self.report.get("details", {})
        return found


def compare(
    servers: Sequence[str],
    expected: Expected,
    config: Config,
    clock: Callable[[], float] = wall_clock,
) -> list[Finding]:
    """Ask the workers of each server, and compare them with each other and with the settings here.

    A URL without a path is that of a server; the health path is then taken from the configuration.
    Raises ConfigurationError for anything but an http or https URL.
    """
    answers: list[WorkerReply] = []
    urls = [_health_url(server, config) for server in servers]
    found = [finding for url in urls for finding in _of_cookie(url, config)]
    for url in urls:
        try:
            answers += [_ask(url, config, clock) for _ in range(_REQUESTS)]
        except (OSError, ValueError) as error:
            text = (
                f"the server's health path {hide_credentials(url)} did not answer ({error}): is "
                "this the right URL?"
            )
            found.append(Finding("fault", "server", text))
    found += _of_schemes(answers, config)
    return [*found, *_compared(answers, expected)] if answers else found


def _health_url(server: str, config: Config) -> str:
    if not server.startswith(("http://", "https://")):
        raise ConfigurationError(
            "the server's URL must begin with http:// or https://, such as "
            f"http://127.0.0.1:8000 or http://127.0.0.1:8000{_DEFAULT_PATH}"
        )
    if urlsplit(server).path in ("", "/"):
        return server.rstrip("/") + (config.health.path or _DEFAULT_PATH)
    return server


def _of_cookie(url: str, config: Config) -> Iterator[Finding]:
    """Check whether browsers accept the cookie at this address, if they use this address."""
    policy, parts = config.cookie, urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "http" and policy.is_secure("http") and not _is_local(host):
        text = (
            f"browsers refuse the session cookie from http://{host} because it has Secure: serve "
            "https, or set WSGI_SESSIONS_COOKIE_SECURE=auto and a name without __Host- or "
            "__Secure-"
        )
        yield Finding("warning", "cookie", text)
    if not covers_host(policy, host):
        text = (
            f"browsers refuse the session cookie from {host} because its domain is "
            f"{policy.domain}: correct WSGI_SESSIONS_COOKIE_DOMAIN, unless they reach the server "
            "under another name"
        )
        yield Finding("warning", "cookie", text)


def _of_schemes(answers: Sequence[WorkerReply], config: Config) -> Iterator[Finding]:
    """Check whether workers see the scheme that browsers use, as a proxy should tell them."""
    for server, seen in sorted({(a.server, str(a.details.get("scheme", ""))) for a in answers}):
        asked, host = urlsplit(server).scheme, urlsplit(server).hostname or ""
        if (asked, seen) == ("https", "http") and not config.cookie.is_secure("http"):
            text = (
                f"workers take requests to {server} for plain http, so the session cookie has no "
                "Secure: pass the scheme on (werkzeug's ProxyFix, or forwarded_allow_ips of "
                "gunicorn), or set WSGI_SESSIONS_COOKIE_SECURE=always"
            )
            yield Finding("warning", "cookie", text)
        elif (asked, seen) == ("http", "https") and not _is_local(host):
            text = (
                f"workers take requests to {server} for https, so the session cookie has Secure, "
                "and browsers refuse it: serve https there, or have the proxy send the scheme that "
                "browsers use (X-Forwarded-Proto)"
            )
            yield Finding("warning", "cookie", text)


def _is_local(host: str) -> bool:
    """Return whether browsers trust this address without TLS."""
    return host in ("localhost", "::1") or host.endswith(".localhost") or host.startswith("127.")


def _compared(answers: Sequence[WorkerReply], expected: Expected) -> Iterator[Finding]:
    if not all("details" in answer.report for answer in answers):
        text = (
            "the server shows no details to this host, so its store and keys were not compared: "
            "ask on its own host, or set WSGI_SESSIONS_HEALTH_TOKEN as on the server"
        )
        yield Finding("warning", "server", text)
    errors = {_error_of(answer) for answer in answers if not answer.report["healthy"]}
    for error in sorted(errors):
        yield Finding("fault", "server", f"a worker says: {error}")
    yield from _of_stores(answers, expected)
    yield from _of_keys(answers, expected)
    yield from _of_clocks(answers)


def _of_stores(answers: Sequence[WorkerReply], expected: Expected) -> Iterator[Finding]:
    kinds = {str(answer.report["backend"]) for answer in answers}
    if kinds != {expected.backend}:
        text = (
            f"the server's workers use {_and(kinds)}, but the settings here {expected.backend}: "
            "set one WSGI_SESSIONS_URL for all"
        )
        yield Finding("fault" if len(kinds) > 1 else "warning", "server", text)
        return
    places = {str(answer.details["place"]) for answer in answers if "place" in answer.details}
    if len(places) > 1:
        text = (
            f"workers use different stores ({_of_servers(answers, 'place')}), though all are "
            f"{expected.backend}, so that sessions of one are unknown to others: set the same "
            "WSGI_SESSIONS_URL, key prefix and WSGI_SESSIONS_APPLICATION for all, with the same "
            "address"
        )
        yield Finding("fault", "server", text)
    elif places and places != {expected.place}:
        text = (
            f"the server's workers use another {expected.backend} store ({_and(places)}) than the "
            f"settings here ({expected.place}), or another address of it: name the application "
            "with --app, or its store with --url"
        )
        yield Finding("warning", "server", text)


def _of_keys(answers: Sequence[WorkerReply], expected: Expected) -> Iterator[Finding]:
    healthy = [a for a in answers if a.report["healthy"] and "details" in a.report]
    keys = {tuple(answer.details.get("keys", ())) for answer in healthy}
    if len(keys) > 1:
        shown = _and({",".join(names) for names in keys})
        text = (
            f"the server's workers have different keys ({shown}), so that cookies of one are "
            "unknown to others: set the same WSGI_SESSIONS_SECRET_KEYS for all"
        )
        yield Finding("fault", "keys", text)
    elif expected.keys and keys and keys != {expected.keys}:
        text = (
            "the server's workers have different keys than the settings here: was a change "
            "deployed only partly?"
        )
        yield Finding("warning", "keys", text)


def _of_clocks(answers: Sequence[WorkerReply]) -> Iterator[Finding]:
    for server in dict.fromkeys(answer.server for answer in answers):
        skews = [a.skew for a in answers if a.server == server and a.skew is not None]
        skew = min(skews, key=abs, default=0.0)
        if abs(skew) > _MAX_SKEW:
            text = (
                f"the clock of {server} is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'}"
                " this host's, by its Date header: sessions end too early or too late; keep all "
                "hosts in step, as by NTP"
            )
            yield Finding("warning", "clock", text)


def _of_servers(answers: Iterable[WorkerReply], name: str) -> str:
    pairs = {f"{a.server}: {a.details[name]}" for a in answers if name in a.details}
    return ", ".join(sorted(pairs))


def _error_of(answer: WorkerReply) -> str:
    unknown = "it is not healthy, and shows this host no details"
    return str(answer.report.get("details", {"error": unknown}).get("error"))


def _ask(url: str, config: Config, clock: Callable[[], float]) -> WorkerReply:
    """Return the health report of a worker. Raises OSError, and ValueError for anything else."""
    request = Request(url, headers={"Connection": "close"})  # noqa: S310  # checked by the caller
    if config.health.token is not None:
        # Not sent to the target of a redirect.
        request.add_unredirected_header("Authorization", f"Bearer {config.health.token}")
    before = clock()
    try:
        with urlopen(request, timeout=config.health.timeout + 1) as response:  # noqa: S310  # as above
            date, body = response.headers.get("Date"), response.read(_MAX_ANSWER)
    except HTTPError as error:
        with error:
            date, body = error.headers.get("Date"), error.read(_MAX_ANSWER)
    skew = _skew(date, before, clock())
    answer = json.loads(body)
    if (
        not isinstance(answer, dict)
        or not isinstance(answer.get("details", {}), dict)
        or not {"backend", "healthy"} <= answer.keys()
    ):
        raise ValueError("the answer is not a health report")  # of a stranger
    return WorkerReply(
        hide_credentials(f"{urlsplit(url).scheme}://{urlsplit(url).netloc}"), answer, skew
    )


def _skew(date: str | None, before: float, after: float) -> float | None:
    """Return the skew; a time between the two readings is not a skew."""
    try:
        there = parsedate_to_datetime(date or "").timestamp()
    except (ValueError, OverflowError, TypeError):
        return None
    return there - min(max(there, before), after)


def _and(names: set[str]) -> str:
    return " and ".join(sorted(names))
