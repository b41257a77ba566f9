"""The documents' pages of a user's devices, in Flask and in Django, run."""

from __future__ import annotations

import re
from types import ModuleType
from typing import TYPE_CHECKING, Any

import django_project
import pytest
from django.conf import settings
from django.test import Client, override_settings
from documents import PAGES, blocks

from wsgi_sessions.contrib.django import manager

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask import Flask

FLASK, DJANGO, *_ = blocks("python", PAGES["howto/devices"])
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0"
EDGE = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/131.0.0.0 Safari/537.36 Edg/131.0.0.0"
OURS = "wsgi_sessions.contrib.django.SessionMiddleware"


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Flask:
    monkeypatch.setenv("STORE", "memory://")
    monkeypatch.setenv("WSGI_SESSIONS_SECRET_KEYS", "a-secret-of-the-tests-with-32-bytes")
    names: dict[str, Any] = {"__name__": "devices_flask"}
    exec(FLASK, names)
    made: Flask = names["app"]

    @made.post("/enter/<name>")
    def enter(name: str) -> str:
        names["current_session"]().login(name)
        return "in"

    return made


def devices(page: str) -> list[tuple[str, bool]]:
    """The label of each device on a page, and whether it is the one that asks."""
    items = re.findall(r"<li>(.*?), since.*?</li>", page, re.DOTALL)
    current = ["(this one)" in item for item in re.findall(r"<li>.*?</li>", page, re.DOTALL)]
    return list(zip(items, current, strict=True))


def buttons(page: str) -> list[str]:
    return re.findall(r'name="device" value="(\w+)"', page)


def test_the_flask_page_shows_devices_and_ends_one(app: Flask) -> None:
    phone, desk, other = app.test_client(), app.test_client(), app.test_client()
    for client, agent, name in ((phone, FIREFOX, "ann"), (desk, EDGE, "ann"), (other, EDGE, "bob")):
        client.post(f"/enter/{name}", headers={"User-Agent": agent})
    page = phone.get("/devices").text
    assert devices(page) == [("Firefox on Linux", True), ("Edge on Windows", False)]
    (button,) = buttons(page)
    other.post("/devices/end", data={"device": button})
    assert desk.get("/devices").status_code == 200, "another user ends none of hers"
    phone.post("/devices/end", data={"device": button})
    assert desk.get("/devices").status_code == 403
    assert devices(phone.get("/devices").text) == [("Firefox on Linux", True)]


def test_the_flask_page_ends_all_others(app: Flask) -> None:
    clients = [app.test_client() for _ in range(3)]
    for client in clients:
        client.post("/enter/ann")
    clients[1].post("/devices/end-others")
    assert [client.get("/devices").status_code for client in clients] == [403, 200, 403]


@pytest.fixture
def browsers() -> Iterator[list[Client]]:
    """Three browsers of one user of a site, logged in."""
    urls = ModuleType("devices_django")
    exec(DJANGO, vars(urls))
    urls.urlpatterns += django_project.urlpatterns  # type: ignore[attr-defined]
    user = django_project.make_user("ann")
    middlewares = [OURS, *settings.MIDDLEWARE[1:]]
    with override_settings(
        ROOT_URLCONF=urls, MIDDLEWARE=middlewares, WSGI_SESSIONS_LABEL_DEVICES="on"
    ):
        made = [Client(headers={"User-Agent": agent}) for agent in (FIREFOX, EDGE, EDGE)]
        for browser in made:
            browser.get("/enter?name=ann")
        yield made
        manager().destroy_sessions_of(str(user.pk))


def test_the_django_page_shows_devices_and_ends_one(browsers: list[Client]) -> None:
    page = browsers[0].get("/devices").content.decode()
    assert devices(page) == [
        ("Firefox on Linux", True),
        ("Edge on Windows", False),
        ("Edge on Windows", False),
    ]
    assert browsers[0].post("/devices/end", {"device": buttons(page)[0]}).status_code == 302
    assert len(devices(browsers[0].get("/devices").content.decode())) == 2
    assert [browser.get("/whoami").content for browser in browsers].count(b"ann") == 2


def test_the_django_page_ends_all_others(browsers: list[Client]) -> None:
    assert browsers[0].post("/devices/end-others").status_code == 302
    assert [browser.get("/whoami").content for browser in browsers] == [b"ann", b"", b""]
