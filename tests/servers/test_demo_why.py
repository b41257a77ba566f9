"""The demonstration's card of ends, at its buttons: the next page says why the session ended."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import chromium
import pytest
from chromium import Chromium
from demo_server import COOKIE, DemoServer, DemoVisitor
from redis_servers import RedisServer, wait_until
from redis_servers import available as redis_available
from requirements_of_tests import require

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE_LOAD = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
ENDS = {
    "/why/log-out": ("logged-out", "You logged out in another tab."),
    "/why/revoke": ("revoked", "This device was logged out, by you on another one, or by us."),
    "/why/expire": ("expired-idle", "Your session expired: it was not used for a while."),
    "/why/replace": ("superseded", "Somebody else logged in on this browser."),
}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoServer]:
    with DemoServer(tmp_path_factory.mktemp("demo")) as server:
        server.wait_for_workers()
        yield server


def card(page: str) -> str:
    found = re.search(r'<section class="card" id="why".*?</section>', page, re.DOTALL)
    assert found
    return found[0]


def end(visitor: DemoVisitor, path: str) -> str:
    """Press a button and follow it as a browser does; the card of the last page."""
    reply = visitor.post(path)
    assert (reply.status, reply.headers["Location"]) == (303, "/#why")
    assert COOKIE in visitor.cookies, "the browser still has the cookie"
    reply = visitor.get("/", **PAGE_LOAD)
    assert reply.status == 303
    assert COOKIE not in visitor.cookies
    return card(visitor.get(reply.headers["Location"], **PAGE_LOAD).text)


@pytest.mark.parametrize("path", ENDS)
def test_the_next_page_says_why_whichever_worker_answers(demo: DemoServer, path: str) -> None:
    visitor, (why, sentence) = demo.visitor(), ENDS[path]
    visitor.post("/login", name="<Ada>")
    assert "<code>None</code>" in card(visitor.get("/", **PAGE_LOAD).text)
    told = end(visitor, path)
    assert f"✗ {sentence}" in told
    assert f'<code>"{why}"</code>' in told
    assert "Log in again as &lt;Ada&gt;" in told
    reply = visitor.post("/login", name="<Ada>", card="why")
    assert reply.headers["Location"] == "/#why"
    assert "<code>None</code>" in card(visitor.get("/", **PAGE_LOAD).text)


def test_the_url_chooses_among_sentences_and_is_not_shown(demo: DemoServer) -> None:
    for why in ("Call+0900", "signature", "unknown", ""):
        told = card(demo.visitor().get(f"/?why={why}", **PAGE_LOAD).text)
        assert "0900" not in told
        assert "Log in</a> to try it" in told


@pytest.mark.parametrize("path", ENDS)
def test_strangers_end_nothing(demo: DemoServer, path: str) -> None:
    assert demo.visitor().post(path).status == 403


def test_a_cookie_of_a_former_start_logs_in_as_a_new_visitor(demo: DemoServer) -> None:
    visitor = demo.visitor()
    visitor.cookies[COOKIE] = "of.another-secret"
    assert visitor.get("/", **PAGE_LOAD).headers["Location"] == "/?welcome"


@pytest.mark.soak
def test_on_a_server_that_expires_sessions_by_itself(tmp_path: Path) -> None:
    require(redis_available())
    with RedisServer() as store, DemoServer(tmp_path, "--store", store.url) as server:
        for path, (why, _) in ENDS.items():
            visitor = server.visitor()
            visitor.post("/login", name="Ada")
            assert f'"{why}"' in end(visitor, path)


@pytest.mark.soak
def test_the_buttons_in_a_browser(demo: DemoServer, tmp_path: Path) -> None:
    require(chromium.available())
    with Chromium(tmp_path) as browser:
        browser.open(demo.url)

        def until(text: str) -> None:
            holds(f"document.getElementById('why')?.textContent.includes({text!r})")

        def holds(expression: str) -> None:
            def is_there() -> bool:
                try:
                    return browser.evaluate(expression) is True
                except AssertionError:  # between two pages
                    return False

            wait_until(is_there, expression, 20)

        holds("document.querySelector('.dot.lost') !== null")  # the race that runs by itself
        for path, (_, sentence) in ENDS.items():
            until("End it, and see")
            browser.evaluate(
                f"void document.querySelector(\"form[action='{path}'] button\").click()"
            )
            until(sentence)
            assert browser.evaluate("location.hash") == "#why"
            browser.evaluate("void document.querySelector('#why button.primary').click()")
        assert browser.complaints == []
