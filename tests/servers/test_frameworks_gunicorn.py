"""Sites of frameworks on three workers: overlapping requests of one session lose nothing."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import django_project
import pytest
from gunicorn_server import GunicornServer, HttpBrowser, at_once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REQUESTS, PARALLEL = 200, 8
STORES = ("file", "redis", "sqlite", "postgresql")
SITES = {
    "django": ("django_project:create()", {django_project.WIRING: "engine"}),
    "wrapped-django": ("django_project:create()", {django_project.WIRING: "wrapped"}),
    "pyramid": ("pyramid_project:served()", {}),
}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(
            (site, store),
            marks=[] if store == "file" and site != "django" else [pytest.mark.soak],
        )
        for site in SITES
        for store in STORES
    ],
    ids="-".join,
)
def site(
    request: pytest.FixtureRequest, store_url: Callable[[str], str | None]
) -> Iterator[GunicornServer]:
    """One site of each kind on each store."""
    kind, store = request.param
    app, environ = SITES[kind]
    prefixes = {"WSGI_SESSIONS_KEY_PREFIX": f"{kind}:", "WSGI_SESSIONS_SQL_SCHEMA": "create"}
    with GunicornServer(
        worker_class="gthread", url=store_url(store), app=app, environ={**environ, **prefixes}
    ) as server:
        yield server


@pytest.fixture
def visitor(site: GunicornServer) -> HttpBrowser:
    """A browser with a session."""
    browser = site.browser()
    assert browser.get("/put", begun=1).status == 200
    assert browser.cookie is not None
    return browser


def all_at_once(visitor: HttpBrowser, path: str, name: str, number: int, **more: int) -> None:
    for first in range(0, number, PARALLEL):
        calls = [
            partial(visitor.twin().get, path, **{name: first + i}, **more) for i in range(PARALLEL)
        ]
        assert {reply.status for reply in at_once(*calls)} == {200}


def test_all_overlapping_changes_are_kept(site: GunicornServer, visitor: HttpBrowser) -> None:
    all_at_once(visitor, "/bump", "item", REQUESTS, hold=10)
    values = visitor.get("/show").json
    items = {str(number) for number in range(REQUESTS)}
    assert values["n"] == REQUESTS
    assert len(values["cart"]) == REQUESTS
    assert set(values["cart"]) == items
    assert {name for name in values if name.startswith("item ")} == {f"item {i}" for i in items}
    assert "Traceback" not in site.log()


def test_messages_of_overlapping_requests_are_all_shown_once(visitor: HttpBrowser) -> None:
    all_at_once(visitor, "/say", "text", 40)
    heard = visitor.get("/hear").json["heard"]
    assert sorted(map(int, heard)) == list(range(40))
    assert visitor.get("/hear").json["heard"] == []


def test_a_log_out_is_dead_in_all_workers(visitor: HttpBrowser) -> None:
    thief = visitor.twin()
    visitor.get("/leave")
    assert visitor.cookie != thief.cookie
    for _ in range(10):
        assert thief.twin().get("/show").json == {}
