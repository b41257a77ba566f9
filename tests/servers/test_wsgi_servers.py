"""Each WSGI server that people deploy on: every shape of response, failures and overlaps."""

from __future__ import annotations

import contextlib
from functools import partial
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING

import pytest
from gunicorn_server import at_once
from redis_servers import wait_until
from requirements_of_tests import require
from wsgi_servers import SERVERS, Running, missing, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gunicorn_server import HttpBrowser

pytestmark = pytest.mark.soak
OVERLAPPING = 4


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[Running]:
    require(missing(request.param))
    with running(request.param, {}) as started:
        yield started


@pytest.fixture
def browser(server: Running) -> HttpBrowser:
    """A browser with a session."""
    browser = server.browser()
    assert browser.get("/start").status == 200
    assert browser.cookie is not None
    return browser


def fails(browser: HttpBrowser, path: str) -> bool:
    """Whether a request is answered by 500, or its connection closed in the middle."""
    try:
        return browser.get(path).status == 500
    except (OSError, HTTPException):
        return True


def test_a_stream_stores_what_it_changes_before_each_chunk(browser: HttpBrowser) -> None:
    assert browser.get("/late-stream").body == b"first\nlast\n"
    wait_until(lambda: "before the last chunk" in browser.values(), "the late change", 5)
    assert browser.values()["before the first chunk"] is True


def test_a_stream_begins_a_session_before_its_first_chunk(server: Running) -> None:
    visitor = server.browser()
    assert visitor.get("/late-stream").set_cookies
    assert visitor.values()["before the first chunk"] is True


def test_the_write_callable_sends_the_cookie_first(server: Running, browser: HttpBrowser) -> None:
    if server.name == "granian":
        assert browser.get("/write").status == 500, "Granian has write() now: see the documents"
        return
    assert browser.get("/write").body == b"by write, and by return\n"
    assert browser.values()["before write"] is True


def test_a_file_arrives_whole_and_its_change_is_stored(
    server: Running, browser: HttpBrowser
) -> None:
    if server.name == "granian":
        assert browser.get("/file").status == 500, "Granian has a file_wrapper now"
        return
    assert browser.get("/file").body == (server.site.folder / "file.bin").read_bytes()
    assert browser.values()["sent a file"] is True


@pytest.mark.parametrize("path", ["/raise", "/500"])
def test_a_failure_stores_nothing(browser: HttpBrowser, path: str) -> None:
    assert fails(browser, path)
    assert "changed by a failure" not in browser.values()


def test_a_stream_that_fails_stores_nothing_more(browser: HttpBrowser) -> None:
    with contextlib.suppress(OSError, HTTPException):  # or a body that ends early
        assert browser.get("/failing-stream").body in (b"", b"first\n")
    assert "changed by a failure" not in browser.values()


def test_a_head_request_changes_its_session_like_any_other(
    server: Running, browser: HttpBrowser
) -> None:
    connection = HTTPConnection("127.0.0.1", server.site.port, timeout=10)
    try:
        headers = {"Cookie": f"session={browser.cookie}"}
        connection.request("HEAD", "/set?by=head", headers=headers)
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, b"")
    finally:
        connection.close()
    assert browser.values()["by"] == "head"


def test_overlapping_changes_are_all_kept(browser: HttpBrowser) -> None:
    for first in range(0, 20, OVERLAPPING):
        replies = at_once(
            *(
                partial(browser.twin().get, "/change", item=item, hold=50)
                for item in range(first, first + OVERLAPPING)
            )
        )
        assert [reply.status for reply in replies] == [200] * OVERLAPPING
    values = browser.values()
    assert values["count"] == 20
    assert sorted(values["log"]) == sorted(values["entries"]) == [*range(20)]


def test_a_log_out_is_dead_in_every_worker(server: Running) -> None:
    browser = server.browser()
    browser.get("/login", user="alice")
    stolen = browser.twin()
    browser.get("/logout")
    assert all(stolen.twin().is_anonymous() for _ in range(10))


def test_a_session_is_refreshed_in_the_background(browser: HttpBrowser) -> None:
    browser.get("/keep-alive")
    wait_until(lambda: browser.values().get("refreshes", 0) >= 1, "a refresh", 20)
