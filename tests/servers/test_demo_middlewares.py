"""The demonstration's cards: version stamps, contexts and leases, each as a visitor tries it."""

from __future__ import annotations

import html
import re
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

import chromium
import pytest
from chromium import Chromium
from demo_server import COOKIE, DemoServer, DemoVisitor
from redis_servers import RedisServer, wait_until
from redis_servers import available as redis_available
from requirements_of_tests import require

from wsgi_sessions.demo.cards.use import CHUNKS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from http.client import HTTPResponse
    from pathlib import Path

# What a browser sends when a page is loaded, and when a script calls `fetch` (Fetch Metadata).
PAGE_LOAD = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
BACKGROUND = {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}


@pytest.fixture(scope="module", params=["file", pytest.param("redis", marks=pytest.mark.soak)])
def demo(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DemoServer]:
    with ExitStack() as stack:
        options: list[str] = []
        if request.param == "redis":
            require(redis_available())
            options = ["--store", stack.enter_context(RedisServer()).url]
        yield stack.enter_context(DemoServer(tmp_path_factory.mktemp("demo"), *options))


@pytest.fixture
def visitor(demo: DemoServer) -> DemoVisitor:
    """Somebody who is logged in."""
    visitor = demo.visitor()
    assert visitor.post("/login", name="Ada Lovelace").status == 303
    return visitor


def load(visitor: DemoVisitor) -> str:
    """The page, loaded as by a browser."""
    return text(visitor, "/", PAGE_LOAD)


def call(visitor: DemoVisitor, path: str) -> str:
    """What a script gets in the background."""
    return text(visitor, path, BACKGROUND)


def text(visitor: DemoVisitor, path: str, headers: dict[str, str]) -> str:
    reply = visitor.get(path, **headers)
    assert reply.status == 200, reply
    return html.unescape(reply.text)


def words(page: str, card: str) -> str:
    """What a card says, without its tags."""
    section = re.search(rf'<section class="card" id="{card}".*?</section>', page, re.DOTALL)
    assert section
    return " ".join(re.sub(r"<[^>]+>", " ", section[0]).split())


# -- version stamps --------------------------------------------------------------------------------


class Row(NamedTuple):
    version: str
    points: str


class Shown(NamedTuple):
    """The table of the first card."""

    database: Row
    session: Row


def shown(page: str) -> Shown:
    cells = re.findall(r'<td class="(?:version|points)">(.*?)</td>', page)
    database, session = Row(*cells[:2]), Row(*cells[2:])
    return Shown(database, session)


def test_new_data_is_not_there_in_a_background_call_but_in_the_next_page_load(
    demo: DemoServer, visitor: DemoVisitor
) -> None:
    visitor.post("/notes", note="milk")
    visitor.post("/count")
    before = shown(load(visitor))
    assert before.database == before.session
    cookie = visitor.cookies[COOKIE]

    reply = visitor.post("/data")
    assert (reply.status, reply.headers["Location"]) == (303, "/#freshness")
    for _ in range(2):
        answer = call(visitor, "/freshness")
        stale = shown(answer)
        assert stale.session == before.session, "a background call refreshes nothing"
        assert int(stale.database.version) == int(before.database.version) + 1
        assert stale.database.points != before.database.points
        worker = re.search(r"Stale.</strong> Process (\d+) answered a background call", answer)
        assert worker
        assert int(worker[1]) in demo.workers()

    page = load(visitor)
    assert shown(page) == Shown(stale.database, stale.database)
    refreshed = re.search(
        r"Refreshed at \d\d:\d\d:\d\d UTC by process (\d+)", words(page, "freshness")
    )
    assert refreshed
    assert int(refreshed[1]) in demo.workers()
    assert visitor.cookies[COOKIE] == cookie
    assert "['milk']" in page, "the rest of the session stays"
    assert "Counter: <strong>1</strong>" in page
    assert shown(call(visitor, "/freshness")) == shown(page), "and now it is so for everybody"


# -- contexts --------------------------------------------------------------------------------------


class DemoUser:
    """Somebody who is logged in, and can log in again."""

    def __init__(self, demo: DemoServer, name: str) -> None:
        self.name = name
        self.visitor = demo.visitor()
        self.log_in()

    def log_in(self) -> None:
        assert self.visitor.post("/login", name=self.name, card="deals").status == 303

    def lose_session(self) -> str:
        """What the card says then."""
        assert self.visitor.post("/lose").status == 303
        return self.look()

    def look(self) -> str:
        return words(load(self.visitor), "deals")


_numbers = iter(range(1000))


def new_name() -> str:
    """Of somebody for whom nothing is remembered."""
    return f"user {next(_numbers)}"


@pytest.fixture
def user(demo: DemoServer) -> DemoUser:
    return DemoUser(demo, new_name())


def test_a_lost_session_finds_its_deal_again(user: DemoUser) -> None:
    assert "Open in this session: none" in user.look()
    for deal in ("A", "B"):
        reply = user.visitor.post("/deals", deal=deal)
        assert (reply.status, reply.headers["Location"]) == (303, "/#deals")
    assert "Open in this session: Deal B, Harbour" in user.look()
    assert "remembered outside the session" in user.look()

    cookie = user.visitor.cookies[COOKIE]
    card = user.lose_session()
    assert "Lost. The session was deleted in the store: your cookie found nothing." in card
    assert f"Log in again as {user.name}" in card
    assert "<dd>nobody</dd>" in load(user.visitor)
    user.log_in()
    card = user.look()
    assert user.visitor.cookies[COOKIE] != cookie
    assert "Open in this session: Deal B, Harbour" in card
    assert re.search(r"Restored by the middleware at \d\d:\d\d:\d\d UTC, in process \d+", card)


def test_a_context_that_may_no_longer_be_accessed_is_not_restored(user: DemoUser) -> None:
    user.visitor.post("/deals", deal="C")
    user.visitor.post("/deals/revoke")
    assert "Access is revoked. The middleware checks it when it restores" in user.look()
    user.lose_session()
    user.log_in()
    card = user.look()
    assert "Open in this session: none" in card
    assert "Lost access to Deal C, Vineyard" in card

    user.visitor.post("/deals", deal="A")
    assert "Refused" in user.look()
    user.visitor.post("/deals/grant")
    user.lose_session()
    user.log_in()
    assert "Open in this session: none" in user.look(), "it was forgotten"
    user.visitor.post("/deals", deal="A")
    assert "Open in this session: Deal A, Bakery" in user.look()


def test_no_user_gets_the_deal_of_another(demo: DemoServer, user: DemoUser) -> None:
    user.visitor.post("/deals", deal="A")
    user.lose_session()
    user.name = new_name()
    user.log_in()
    assert "Open in this session: none" in user.look()


# -- leases ----------------------------------------------------------------------------------------


class Use(NamedTuple):
    """What the third card tells."""

    others: str
    refreshes: int
    skips: int

    @classmethod
    def of(cls, visitor: DemoVisitor) -> Use:
        page = call(visitor, "/use")
        others = re.search(r'id="others">(.*?)<', page)
        assert others
        return cls(
            others[1],
            int(number[1]) if (number := re.search(r"refresh no\. (\d+)", page)) else 0,
            int(number[1]) if (number := re.search(r">(\d+) times", page)) else 0,
        )


def until(visitor: DemoVisitor, condition: Callable[[Use], bool], what: str) -> Use:
    """The first use of which this is true."""
    use = Use("", 0, 0)

    def look() -> bool:
        nonlocal use
        use = Use.of(visitor)
        return condition(use)

    wait_until(look, what, 30)
    return use


def line(response: HTTPResponse) -> str:
    return response.readline().decode().strip()


@pytest.mark.soak
def test_a_long_download_keeps_the_refresher_away_until_it_ends(visitor: DemoVisitor) -> None:
    """It takes more than two intervals, and the refresher skips the session all the while."""
    until(visitor, lambda use: use.refreshes > 0, "a refresh")
    with visitor.stream("/download") as response:
        assert line(response) == f"Line 1 of {CHUNKS}"
        begun = Use.of(visitor)
        assert begun.others == "1 other request"
        for number in range(2, CHUNKS):
            assert line(response) == f"Line {number} of {CHUNKS}"
        nearly = Use.of(visitor)
        assert (nearly.others, nearly.refreshes) == ("1 other request", begun.refreshes)
        assert nearly.skips > 0
        assert line(response) == f"Line {CHUNKS} of {CHUNKS}"
        assert response.read() == b""
    after = until(visitor, lambda use: use.refreshes > begun.refreshes, "a refresh after it")
    assert after.others == "no other request"


def test_a_visitor_who_leaves_a_download_frees_the_session(visitor: DemoVisitor) -> None:
    with visitor.stream("/download") as response:
        line(response)
        begun = until(visitor, lambda use: use.skips > 0, "a refresh that was due")
        assert begun.others == "1 other request"
    until(visitor, lambda use: use.others == "no other request", "a free session")
    until(visitor, lambda use: use.refreshes > begun.refreshes, "a refresh after it")


def test_two_downloads_are_counted(visitor: DemoVisitor) -> None:
    with visitor.stream("/download") as one:
        line(one)
        with visitor.stream("/download") as other:
            line(other)
            assert Use.of(visitor).others == "2 other requests"
        until(visitor, lambda use: use.others == "1 other request", "the end of one of them")


# -- who may, and what else is refused -------------------------------------------------------------


@pytest.mark.parametrize("path", ["/data", "/deals/revoke", "/deals/grant", "/lose"])
def test_the_buttons_are_for_logged_in_visitors(demo: DemoServer, path: str) -> None:
    stranger = demo.visitor()
    assert stranger.post(path).status == 403
    assert stranger.get(path).status == 405
    assert COOKIE not in stranger.cookies


@pytest.mark.parametrize("path", ["/freshness", "/use", "/download"])
def test_strangers_get_no_parts_of_the_page(demo: DemoServer, path: str) -> None:
    stranger = demo.visitor()
    assert stranger.get(path).status == 403
    assert COOKIE not in stranger.cookies


def test_a_wrong_deal_is_refused(demo: DemoServer, visitor: DemoVisitor) -> None:
    assert visitor.post("/deals", deal="D").status == 404
    assert visitor.post("/deals").status == 400
    assert demo.visitor().post("/deals", deal="A").status == 403


def test_a_stranger_has_to_log_in(demo: DemoServer) -> None:
    page = demo.visitor().get().text
    page = re.sub(r"<a[^>]*>|</a>", "", page)
    for card in ("freshness", "deals", "use"):
        assert "Log in to try it." in words(page, card)


def test_the_name_of_a_lost_visitor_is_text(demo: DemoServer) -> None:
    visitor = demo.visitor()
    visitor.cookies["lost"] = "<b>{0}</b>"
    page = visitor.get().text
    assert "Log in again as &lt;b&gt;{0}&lt;/b&gt;" in page


def test_a_log_in_leads_to_no_other_site(demo: DemoServer) -> None:
    reply = demo.visitor().post("/login", name="Ada", card="//example.org")
    assert reply.headers["Location"] == "/"


# -- in a browser ----------------------------------------------------------------------------------


class Tab:
    """A page whose buttons are pressed."""

    def __init__(self, browser: Chromium) -> None:
        self._browser = browser

    def press(self, selector: str) -> None:
        self.until(f"!!document.querySelector({selector!r})")
        self._browser.evaluate(f"void document.querySelector({selector!r}).click()")

    def until(self, expression: str) -> None:
        """Wait. Between two pages there may be nothing to ask, and at first a page has neither its
        script nor its styles."""
        whole = f"document.readyState === 'complete' && ({expression})"

        def is_true() -> bool:
            try:
                return self._browser.evaluate(whole) is True
            except AssertionError:
                return False

        wait_until(is_true, expression, 30)

    def until_card(self, card: str, *contents: str) -> None:
        for content in contents:
            self.until(f"document.getElementById({card!r}).textContent.includes({content!r})")

    def value(self, expression: str) -> object:
        return self._browser.evaluate(expression)


@pytest.mark.soak
def test_the_cards_in_a_browser(demo: DemoServer, tmp_path: Path) -> None:
    require(chromium.available())
    with Chromium(tmp_path) as browser:
        browser.open(demo.url)
        tab = Tab(browser)
        tab.until("document.querySelector('.dot.lost') !== null")  # the race that runs by itself
        tab.press("form[action='/logout'] button")
        tab.until("document.getElementById('name') !== null")
        browser.evaluate(f"void (document.getElementById('name').value = {'W' * 40!r})")
        tab.press("form[action='/login'] button")

        tab.until_card("freshness", "Fresh.", "Loaded at the log-in")
        tab.press("#data-form button")
        tab.until_card("freshness", "Stale.", "answered a background call")
        tab.press("#freshness .reload")
        tab.until_card("freshness", "Refreshed at", "Same cookie")

        tab.press("#deals button[value='B']")
        tab.until_card("deals", "Open in this session: Deal B")
        tab.press("form[action='/lose'] button")
        tab.until_card("deals", "Lost.")
        browser.resize(360, 740)
        assert tab.value("document.documentElement.scrollWidth") == 360
        assert tab.value(_OVERFLOWING) == 0
        tab.press("#deals button.primary")
        tab.until_card("deals", "Restored", "Open in this session: Deal B")

        tab.press("#download")
        tab.until_card("use", "1 other request")
        tab.until("document.getElementById('progress').value > 0")
        assert tab.value("document.documentElement.scrollWidth") == 360
        assert tab.value(_OVERFLOWING) == 0
        tab.until("document.getElementById('progress').hidden")
        tab.until_card("use", "no other request", "refresh no.")
        assert browser.complaints == []


_OVERFLOWING = (
    "[...document.querySelectorAll('.card *')].filter((element) => "
    "!element.closest('pre') && element.getBoundingClientRect().right > "
    "element.closest('.card').getBoundingClientRect().right).length"
)
