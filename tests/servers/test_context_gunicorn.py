"""Contexts under gunicorn with several workers: the session is lost, the context is not."""

from __future__ import annotations

import itertools
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from context_app import KEY, RIGHTS
from gunicorn_server import SECRET, GunicornServer, at_once, store_of
from spreads import SPREAD

from wsgi_sessions.core.pseudonyms import Pseudonyms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gunicorn_server import HttpBrowser

    from wsgi_sessions.contract import Backend, Context

_numbers = itertools.count()


class OfficeServer:
    """A server, the rights that its workers look up, and its store as another process sees it."""

    def __init__(self, server: GunicornServer, rights: Path, prefix: str) -> None:
        self.server = server
        self.rights = rights
        self.user = f"user {next(_numbers)}"
        self.backend: Backend = store_of(server.url, prefix)

    def enter(self, browser: HttpBrowser | None = None) -> HttpBrowser:
        """A browser that has just logged in: without a session before, if it is a new one."""
        browser = browser or self.server.browser()
        assert browser.get("/login", user=self.user).json["result"] is None
        return browser

    def deny(self, deal: int, verdict: str = "denied") -> None:
        (self.rights / f"{verdict}-{deal}").touch()

    def grant(self, deal: int) -> None:
        (self.rights / f"denied-{deal}").unlink()

    def remembered(self) -> Context | None:
        assert self.backend.contexts is not None
        return self.backend.contexts.get(self.user, KEY)

    def events(self) -> list[str]:
        """What was reported of this user's contexts, by all workers."""
        user = Pseudonyms(SECRET).of(self.user)
        mine = [event for event in self.server.events() if event.get("user") == user]
        return [event["name"] for event in mine]


@pytest.fixture(scope="module", params=SPREAD, ids="-".join)
def started(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    store_url: Callable[[str], str | None],
) -> Iterator[tuple[GunicornServer, Path, str]]:
    store, worker_class = request.param
    url = store_url(store)
    rights, prefix = tmp_path_factory.mktemp("rights"), f"contexts-{worker_class}:"
    environ = {
        "WSGI_SESSIONS_KEY_PREFIX": prefix,
        "WSGI_SESSIONS_CONTEXT_KEY": KEY,
        "WSGI_SESSIONS_CONTEXT_PERMISSION": "context_app:may_access",
        RIGHTS: str(rights),
    }
    app = "context_app:create()"
    with GunicornServer(worker_class=worker_class, url=url, app=app, environ=environ) as server:
        yield server, rights, prefix


@pytest.fixture
def office(started: tuple[GunicornServer, Path, str]) -> Iterator[OfficeServer]:
    server = started[0]
    server.forget_events()
    before = len(server.log())
    office = OfficeServer(*started)
    yield office
    office.backend.close()
    for path in office.rights.iterdir():
        path.unlink()
    log = server.log()[before:]
    assert "Traceback" not in log, log


def get(browser: HttpBrowser, path: str, **query: str | int) -> Any:
    return browser.get(path, **query).json["result"]


def test_the_context_is_back_after_the_session_was_lost(office: OfficeServer) -> None:
    """Whichever workers remembered it, logged in and restored it."""
    workers = office.server.workers()
    assert len(workers) > 1
    for deal, (selects, restores) in enumerate(itertools.permutations(workers, 2), 1):
        with office.server.only(selects):
            selected = office.enter().get("/select", deal=deal).json
        with office.server.only(restores):
            restored = office.enter().get("/deal").json
        assert (selected["result"], selected["pid"]) == ("allowed", selects)
        assert (restored["result"], restored["pid"]) == (deal, restores)


def test_values_that_the_application_sets_come_back_too(office: OfficeServer) -> None:
    browser = office.enter()
    get(browser, "/choose", deal=7)
    get(browser, "/logout")
    assert browser.cookie is None
    assert get(office.enter(browser), "/deal") == 7


def test_a_session_that_the_store_lost(office: OfficeServer) -> None:
    browser = office.enter()
    get(browser, "/select", deal=7)
    office.backend.sessions.delete(browser.key)
    assert get(browser, "/deal") is None
    assert get(office.enter(browser), "/deal") == 7


@pytest.mark.parametrize("verdict", ["denied", "gone"])
def test_a_revoked_permission_ends_it(office: OfficeServer, verdict: str) -> None:
    get(office.enter(), "/select", deal=7)
    assert get(office.enter(), "/deal") == 7
    office.deny(7, verdict)
    assert get(office.enter(), "/deal") is None
    assert office.remembered() is None
    assert "lost access" in office.server.log()
    assert office.events().count("context-lost") == 1
    for path in office.rights.iterdir():
        path.unlink()
    assert get(office.enter(), "/deal") is None


@pytest.mark.parametrize("verdict", ["denied", "gone"])
def test_a_refused_selection_changes_nothing(office: OfficeServer, verdict: str) -> None:
    browser = office.enter()
    get(browser, "/select", deal=7)
    before = office.remembered()
    office.deny(8, verdict)
    assert get(browser, "/select", deal=8) == verdict
    assert get(browser, "/deal") == 7
    assert office.remembered() == before


def test_many_cold_requests_at_once(office: OfficeServer) -> None:
    get(office.enter(), "/select", deal=7)
    for _ in range(5):
        browser = office.enter()
        replies = at_once(*[partial(browser.twin().get, "/deal") for _ in range(8)])
        assert [reply.json["result"] for reply in replies] == [7] * 8
        assert not any(reply.set_cookies for reply in replies)
    assert office.server.events("conflict") == []


def test_a_selection_among_cold_requests_stands(office: OfficeServer) -> None:
    """If they restored the last one before, replacing that is reported, as any overwriting is."""
    get(office.enter(), "/select", deal=1)
    for deal in range(2, 12):
        browser = office.enter()
        readers = [partial(browser.twin().get, "/deal") for _ in range(4)]
        selector = partial(browser.twin().get, "/select", deal=deal)
        assert at_once(*readers, selector, *readers)[4].json["result"] == "allowed"
        assert get(browser, "/deal") == deal
        assert get(office.enter(), "/deal") == deal
    assert {event["path"] for event in office.server.events("conflict")} <= {KEY}
