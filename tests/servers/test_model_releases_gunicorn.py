"""Releases whose sessions have different schemas, at once on one store, under load."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from gunicorn_server import GunicornServer, at_once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gunicorn_server import HttpBrowser, WorkerClass

STORES: list[tuple[str, WorkerClass]] = [
    ("file", "gthread"),
    ("redis", "gevent"),
    ("sqlite", "gthread"),
    ("postgresql", "sync"),
]
pytestmark = pytest.mark.soak
BURSTS, PARALLEL, HOLD = 30, 8, 10


class Shops:
    """The releases that run on one store."""

    def __init__(self, url: str | None, worker_class: WorkerClass) -> None:
        self._worker_class = worker_class
        self._url = url
        self.running: dict[int, GunicornServer] = {}

    def start(self, release: int) -> GunicornServer:
        server = GunicornServer(
            worker_class=self._worker_class,
            url=self._url,
            app=f"shop_releases:create({release})",
            environ={
                "WSGI_SESSIONS_KEY_PREFIX": f"releases-{self._worker_class}:",
                "WSGI_SESSIONS_MERGE": "visits:sum, again:sum",
            },
        )
        self.running[release] = server
        return server

    def stop(self, release: int) -> None:
        self.running.pop(release).stop()

    def at(self, release: int, browser: HttpBrowser) -> HttpBrowser:
        twin = browser.twin()
        twin.move_to(self.running[release])
        return twin

    def load(self, browser: HttpBrowser, *releases: int, start: int) -> None:
        """Bursts of requests that overlap, each release's in turn."""
        for burst in range(start, start + BURSTS):
            calls = [
                partial(
                    self.at(releases[i % len(releases)], browser).get,
                    "/visit" if i < 2 else "/wish",
                    item=burst * PARALLEL + i,
                    hold=HOLD,
                )
                for i in range(PARALLEL)
            ]
            assert [reply.status for reply in at_once(*calls)] == [200] * PARALLEL

    def conflicts(self) -> list[dict[str, Any]]:
        return [e for server in self.running.values() for e in server.events("conflict")]


@pytest.fixture(params=STORES, ids="-".join)
def shops(
    request: pytest.FixtureRequest, store_url: Callable[[str], str | None], tmp_path: object
) -> Iterator[Shops]:
    store, worker_class = request.param
    shops = Shops(store_url(store) or f"file://{tmp_path}/sessions", worker_class)
    yield shops
    for release in [*shops.running]:
        shops.stop(release)


def names_of(release: str, start: int, *slots: int) -> list[str]:
    return [f"{release} {b * PARALLEL + i}" for b in range(start, start + BURSTS) for i in slots]


def test_two_releases_at_once_lose_nothing(shops: Shops) -> None:
    """The first and the second; then the second and the third; then the second alone."""
    browser = shops.start(1).browser()
    assert browser.get("/visit", item=0).status == 200
    shops.start(2)
    shops.load(browser, 1, 2, start=0)
    expected = Counter(names_of("first", 0, 2, 4, 6) + names_of("second", 0, 3, 5, 7))
    for release in (1, 2):
        found = shops.at(release, browser).get("/").json["after"]
        assert Counter(found["names"]) == expected
        assert found["visits"] == 1 + BURSTS
    assert found["again"] == BURSTS
    assert {found["amounts"][name] for name in names_of("second", 0, 3, 5, 7)} == {2}
    assert shops.conflicts() == []

    shops.stop(1)
    shops.start(3)
    assert shops.at(3, browser).get("/visit", item=0).status == 200  # stored as version 2
    shops.load(browser, 2, 3, start=BURSTS)
    shops.stop(3)
    expected += Counter(names_of("second", BURSTS, *range(2, PARALLEL)))
    found = shops.at(2, browser).get("/").json["after"]
    assert Counter(found["names"]) == expected
    assert (found["visits"], found["again"]) == (1 + BURSTS, BURSTS + 1 + 2 * BURSTS)
    assert shops.conflicts() == []


def test_the_new_release_can_be_taken_back(shops: Shops) -> None:
    """A session that only the second has changed is one of the first's."""
    shops.start(2)
    browser = shops.running[2].browser()
    assert browser.get("/wish", item=1).status == 200
    shops.start(1)
    shops.stop(2)
    assert shops.at(1, browser).get("/wish", item=2).json["after"]["names"] == [
        "second 1",
        "first 2",
    ]
