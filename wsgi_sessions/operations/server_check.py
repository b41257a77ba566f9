"""Do running servers agree: on the store, on the keys, on the time? For
`wsgi_sessions.operations.doctor`."""

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
_REQUESTS = 12  # so that most workers of a server are met
_MAX_ANSWER = 1 << 20
_MAX_SKEW = 3.0  # seconds: a Date header tells whole ones
_DEFAULT_PATH = "/health/session"


class Finding(NamedTuple):
    """What is wrong, and what to do. A fault keeps sessions from working; a warning may yet."""

    level: Level
    topic: str
    text: str


@texts.shows("backend", "place")
class Expected(NamedTuple):
    """What the settings here give: the kind of store, its fingerprint, those of the keys."""

    backend: str
    place: str
    keys: tuple[str, ...]


@texts.shows("skew")
class WorkerReply(NamedTuple):
    """A worker's health report, and by how many seconds its host's clock is ahead, if told."""

    server: str
    report: dict[str, Any]
    skew: float | None

    @property
    def details(self) -> dict[str, Any]:
        """What it tells beside its health; nothing to a stranger."""
        found: dict[str, Any] = self.report.get("details", {})
        return found


def compare(
    servers: Sequence[str],
    expected: Expected,
    config: Config,
    clock: Callable[[], float] = wall_clock,
) -> list[Finding]:
    """Ask each server's workers, and compare them with each other and with what is expected here.

    A URL without a path is a server's; its health path is that of the configuration. Raises
    ConfigurationError for what is no http or https URL.
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
                "this its URL?"
            )
            found.append(Finding("fault", "server", text))
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
    """Whether browsers take the cookie at this address, if it is the one that they have."""
    policy, parts = config.cookie, urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "http" and policy.is_secure("http") and not _is_local(host):
        text = (
            f"browsers that come to http://{host} do not take the session cookie, which has "
            "Secure: serve https, or set WSGI_SESSIONS_COOKIE_SECURE=auto and a name without "
            "__Host- or __Secure-"
        )
        yield Finding("warning", "cookie", text)
    if not covers_host(policy, host):
        text = (
            f"browsers that come to {host} do not take the session cookie, whose domain is "
            f"{policy.domain}: correct WSGI_SESSIONS_COOKIE_DOMAIN, unless they know the server by "
            "another name"
        )
        yield Finding("warning", "cookie", text)


def _is_local(host: str) -> bool:
    """Whether browsers trust this address without TLS."""
    return host in ("localhost", "::1") or host.endswith(".localhost") or host.startswith("127.")


def _compared(answers: Sequence[WorkerReply], expected: Expected) -> Iterator[Finding]:
    if not all("details" in answer.report for answer in answers):
        text = (
            "the server shows this host no details, so that its store and keys could not be "
            "compared: ask it on its own host, or set the WSGI_SESSIONS_HEALTH_TOKEN that it has"
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
            f"the server's workers use {_and(kinds)}, and the settings here {expected.backend}: "
            "give them one WSGI_SESSIONS_URL"
        )
        yield Finding("fault" if len(kinds) > 1 else "warning", "server", text)
        return
    places = {str(answer.details["place"]) for answer in answers if "place" in answer.details}
    if len(places) > 1:
        text = (
            f"workers use different stores ({_of_servers(answers, 'place')}), though all are "
            f"{expected.backend}, so that a session of one is unknown to another: give all one "
            "WSGI_SESSIONS_URL, key prefix and WSGI_SESSIONS_APPLICATION, and address it alike"
        )
        yield Finding("fault", "server", text)
    elif places and places != {expected.place}:
        text = (
            f"the server's workers use another {expected.backend} store ({_and(places)}) than the "
            f"settings here ({expected.place}), or address it in another way: name the "
            "application with --app, or its store with --url"
        )
        yield Finding("warning", "server", text)


def _of_keys(answers: Sequence[WorkerReply], expected: Expected) -> Iterator[Finding]:
    healthy = [a for a in answers if a.report["healthy"] and "details" in a.report]
    keys = {tuple(answer.details.get("keys", ())) for answer in healthy}
    if len(keys) > 1:
        shown = _and({",".join(names) for names in keys})
        text = (
            f"the server's workers have different keys ({shown}), so that a cookie of one is "
            "unknown to another: give them one WSGI_SESSIONS_SECRET_KEYS"
        )
        yield Finding("fault", "keys", text)
    elif expected.keys and keys and keys != {expected.keys}:
        text = "the server's workers have other keys than the settings here: was one deployed only?"
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
    """A worker's health report. Raises OSError, and ValueError for what is none."""
    request = Request(url, headers={"Connection": "close"})  # noqa: S310  # checked by the caller
    if config.health.token is not None:
        # Not to where the server may send us on.
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
        raise ValueError("what it answers is no health report")  # of a stranger
    return WorkerReply(
        hide_credentials(f"{urlsplit(url).scheme}://{urlsplit(url).netloc}"), answer, skew
    )


def _skew(date: str | None, before: float, after: float) -> float | None:
    """Anything between the two moments is no skew."""
    try:
        there = parsedate_to_datetime(date or "").timestamp()
    except (ValueError, OverflowError, TypeError):
        return None
    return there - min(max(there, before), after)


def _and(names: set[str]) -> str:
    return " and ".join(sorted(names))
