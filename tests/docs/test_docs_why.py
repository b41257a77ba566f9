"""The documents' page that tells users why they were logged out, in Flask and in Django, run."""

from __future__ import annotations

import re
from types import ModuleType
from typing import TYPE_CHECKING, Any

import django_project
import pytest
from django.conf import settings
from django.test import Client, override_settings
from documents import PAGES, blocks, codes, rows

from wsgi_sessions.contrib.django import manager
from wsgi_sessions.endings import REASONS, REFUSED
from wsgi_sessions.testing.clock import MovedClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flask import Flask

PAGE = PAGES["howto/tell-the-user-why"]
FLASK, DJANGO = blocks("python", PAGE)
TEMPLATE = blocks("html\\+django", PAGE)[0]
OURS = "wsgi_sessions.contrib.django.SessionMiddleware"
EXPIRED = "Your session expired: it was not used for a while."
REVOKED = "This device was logged out, by you on another one, or by us."
ELSEWHERE, HERE = "You logged out in another tab.", "You are logged out."


def said(page: str) -> str:
    found = re.search(r'<p role="status">(.*?)</p>', page)
    return "" if found is None else found[1]


@pytest.fixture
def clock() -> Iterator[MovedClock]:
    moved = MovedClock()
    yield moved
    moved.restore()


def test_there_are_words_for_each_reason() -> None:
    told = {code for row in rows("`session.lost`", PAGE) for code in codes(row[0])}
    assert told == REASONS.keys() | REFUSED.keys()


# -- Flask -----------------------------------------------------------------------------------------


@pytest.fixture
def flask(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The names of the program."""
    monkeypatch.setenv("STORE", "memory://")
    monkeypatch.setenv("WSGI_SESSIONS_SECRET_KEYS", "a-secret-of-the-tests-with-32-bytes")
    names: dict[str, Any] = {"__name__": "why_flask"}
    exec(FLASK, names)
    yield names
    names["sessions"].close(names["app"])


def revoke(names: dict[str, Any], _clock: MovedClock) -> None:
    names["sessions"].manager(names["app"]).destroy_sessions_of("ann")


def wait(_names: dict[str, Any], clock: MovedClock) -> None:
    clock.advance(25 * 3600.0)


@pytest.mark.parametrize(("end", "text"), [(revoke, REVOKED), (wait, EXPIRED)])
def test_the_flask_page_says_why(
    flask: dict[str, Any], clock: MovedClock, end: Callable[..., None], text: str
) -> None:
    app: Flask = flask["app"]
    browser = app.test_client()
    assert said(browser.get("/", follow_redirects=True).text) == "", "a stranger"
    browser.post("/login", data={"name": "ann"})
    assert browser.get("/").text == "Hello, ann"
    end(flask, clock)
    assert said(browser.get("/", follow_redirects=True).text) == text


def test_the_flask_page_tells_the_tab_that_logged_out_from_the_others(
    flask: dict[str, Any],
) -> None:
    app: Flask = flask["app"]
    browser, program = app.test_client(), app.test_client()
    browser.post("/login", data={"name": "ann"})
    cookie = browser.get_cookie("session")
    assert cookie is not None
    program.set_cookie("session", cookie.value)
    assert said(browser.post("/logout", follow_redirects=True).text) == HERE
    assert said(browser.get("/", follow_redirects=True).text) == ELSEWHERE, "another tab"
    assert said(program.get("/", follow_redirects=True).text) == ELSEWHERE
    browser.post("/login", data={"name": "ann"})
    assert browser.get_cookie("left") is None


def test_what_the_url_says_is_never_shown(flask: dict[str, Any]) -> None:
    page = flask["app"].test_client().get("/login?why=Call+0900-1").text
    assert said(page) == ""
    assert "0900" not in page


# -- Django ----------------------------------------------------------------------------------------


@pytest.fixture
def browser() -> Iterator[Client]:
    """A browser of a user of the site, logged in."""
    urls = ModuleType("why_django")
    exec(DJANGO, vars(urls))
    user = django_project.make_user("ann")
    form = f"{TEMPLATE}<form method=post></form>"
    loader = ("django.template.loaders.locmem.Loader", {"registration/login.html": form})
    engine = {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "OPTIONS": {"loaders": [loader]},
    }
    tell_why = vars(urls)["TellWhy"]
    django_project.TellWhy = tell_why  # type: ignore[attr-defined]
    middlewares = [OURS, *settings.MIDDLEWARE[1:], f"{django_project.__name__}.TellWhy"]
    with override_settings(
        ROOT_URLCONF=urls,
        MIDDLEWARE=middlewares,
        TEMPLATES=[engine],
        LOGIN_REDIRECT_URL="/",
    ):
        made = Client()
        log_in(made)
        assert made.get("/").content == b"Hello, ann"
        yield made
        manager().destroy_sessions_of(str(user.pk))
    del django_project.TellWhy  # type: ignore[attr-defined]


def log_in(browser: Client) -> None:
    browser.post("/login", {"username": "ann", "password": django_project.PASSWORD})


def seen(browser: Client) -> str:
    return said(browser.get("/", follow=True).content.decode())


def test_the_django_page_says_why(browser: Client, clock: MovedClock) -> None:
    assert seen(Client()) == ""
    manager().destroy_sessions_of(str(django_project.make_user("ann").pk))
    assert seen(browser) == REVOKED
    log_in(browser)
    clock.advance(15 * 24 * 3600.0)
    assert seen(browser) == EXPIRED


def test_the_django_page_tells_the_tab_that_logged_out_from_the_others(browser: Client) -> None:
    assert said(browser.post("/logout", follow=True).content.decode()) == HERE
    assert seen(browser) == ELSEWHERE
    log_in(browser)
    assert "left" not in browser.cookies or not browser.cookies["left"].value
