"""Devices: what a user's sessions are called, which one asks, and how one of them ends."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import flask
import pytest
from command_line import run
from overlapping import SECRET
from worlds import World, id_of, login
from wsgi_client import Browser

from wsgi_sessions import (
    Config,
    ConfigurationError,
    UnserializableValue,
    build,
    get_session,
    open_sessions,
)
from wsgi_sessions.contrib.flask import WSGISessions, current_session
from wsgi_sessions.core.manager import SessionManager
from wsgi_sessions.http.cookies.session_cookie import CookiePolicy, SessionCookie
from wsgi_sessions.http.middleware import SessionMiddleware
from wsgi_sessions.identity import IdSigner, store_key
from wsgi_sessions.stores.memory.backend import open_memory

if TYPE_CHECKING:
    from pathlib import Path

    from wsgi_sessions.http.devices import NameDevice

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0"
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1"
)


# -- the application's words -----------------------------------------------------------------------


def test_a_label_is_kept_through_new_ids_and_listed() -> None:
    world = World()
    transaction = world.begin()
    transaction.session.login("alice")
    transaction.session.label = "Ann's phone"
    transaction.commit()
    later = world.begin(id_of(transaction))
    later.session.cycle_id()
    later.commit()
    assert later.session.label == "Ann's phone"
    assert [found.label for found in world.manager.sessions_of("alice")] == ["Ann's phone"]
    again = world.begin(id_of(later))
    again.session.label = None
    again.commit()
    assert [found.label for found in world.manager.sessions_of("alice")] == [None]


def test_another_user_does_not_inherit_the_label() -> None:
    world = World()
    transaction = world.begin(login(world))
    transaction.session.label = "Ann's phone"
    transaction.commit()
    other = world.begin(id_of(transaction))
    other.session.login("bob")
    other.commit()
    assert [found.label for found in world.manager.sessions_of("bob")] == [None]


def test_a_label_alone_begins_no_session() -> None:
    world = World()
    transaction = world.begin()
    transaction.session.label = "a phone"
    assert transaction.commit() == "unchanged"
    assert world.live() == 0


@pytest.mark.parametrize("words", ["", "x" * 201, 7, ["a phone"]])
def test_a_label_is_a_short_text(words: Any) -> None:
    session = World().begin().session
    with pytest.raises(UnserializableValue, match="1 to 200 characters"):
        session.label = words
    assert session.label is None


def test_no_repr_shows_a_label() -> None:
    world = World()
    transaction = world.begin(login(world))
    transaction.session.label = "Ann's phone"
    transaction.commit()
    assert "Ann" not in repr(world.manager.sessions_of("alice"))


def test_a_command_shows_a_label_on_request(tmp_path: Path) -> None:
    sessions = open_sessions(Config(url=f"file://{tmp_path}/sessions"))
    transaction = sessions.begin()
    transaction.session.login("alice")
    transaction.session.label = "Ann's phone"
    transaction.commit()
    key = str(transaction.session.key)
    sessions.close()
    url = ("--url", f"file://{tmp_path}/sessions")
    for asked in ((), ("--json",)):
        assert "Ann's phone" not in run("show", key, *url, *asked).output
        assert "Ann's phone" in run("show", key, "--values", *url, *asked).output
    assert "Ann" not in run("list", "--principal", "alice", "--json", *url).output


# -- which one asks, and which one ends ------------------------------------------------------------


def test_the_session_that_asks_is_marked() -> None:
    world = World()
    ids = [login(world) for _ in range(2)]
    current = world.begin(ids[1]).session.key
    listed = world.manager.sessions_of("alice", current=current)
    assert {found.key: found.is_current for found in listed} == {
        store_key(ids[0]): False,
        store_key(ids[1]): True,
    }
    assert not any(found.is_current for found in world.manager.sessions_of("alice"))


@pytest.mark.parametrize("digits", [10, 64])
def test_one_of_them_ends_by_its_key(digits: int) -> None:
    world = World()
    ids = [login(world) for _ in range(3)]
    key = store_key(ids[1])
    assert world.manager.destroy_sessions_of("alice", only=key[:digits]) == 1
    assert {found.key for found in world.manager.sessions_of("alice")} == {
        store_key(ids[0]),
        store_key(ids[2]),
    }


@pytest.mark.parametrize("only", ["", "0", "not a key"])
def test_what_is_no_key_ends_none(only: str) -> None:
    """A form may come without its field: that must not end all of them."""
    world = World()
    login(world)
    assert world.manager.destroy_sessions_of("alice", only=only) == 0
    assert world.live() == 1


@pytest.mark.parametrize("digits", [10, 64])
def test_the_session_of_another_user_does_not_end(digits: int) -> None:
    world = World()
    login(world)
    theirs = store_key(login(world, "bob"))
    assert world.manager.destroy_sessions_of("alice", only=theirs[:digits]) == 0
    assert world.live() == 2


# -- a label from the browser ----------------------------------------------------------------------


def site(**settings: Any) -> Any:
    """``/in`` logs in, ``/put`` changes, ``/label`` shows, ``/name`` gives the user's own words."""

    def application(environ: Any, start_response: Any) -> list[bytes]:
        session, path = get_session(environ), environ["PATH_INFO"]
        if path == "/in":
            session.login("alice")
        elif path == "/key":
            session["user_id"] = 7
        elif path == "/put":
            session["n"] = session.get("n", 0) + 1
        elif path == "/name":
            session.label = "Ann's phone"
        start_response("200 OK", [])
        return [json.dumps(session.label).encode()]

    config = Config(url="memory://", secret_keys=(SECRET,), sweep_interval=None, **settings)
    return build(application, config)


def labels(stack: Any, principal: str = "alice") -> list[str | None]:
    return [found.label for found in stack.manager.sessions_of(principal)]


@pytest.mark.parametrize(
    ("agent", "label"),
    [
        (FIREFOX, "Firefox on Linux"),
        (IPHONE, "Mobile Safari on iOS"),
        ("curl/8.5.0", "curl"),
        ("", None),
        ("x" * 100_000, None),
        ("\x1b[31m", None),
    ],
)
def test_a_log_in_labels_its_session_by_the_browser(agent: str, label: str | None) -> None:
    stack = site(label_devices=True)
    Browser(stack).get("/in", HTTP_USER_AGENT=agent)
    assert labels(stack) == [label]


def test_the_applications_own_log_in_is_labelled_too() -> None:
    stack = site(label_devices=True, principal_key="user_id")
    Browser(stack).get("/key", HTTP_USER_AGENT=FIREFOX)
    assert labels(stack, "7") == ["Firefox on Linux"]


def test_words_of_the_application_stay() -> None:
    stack = site(label_devices=True)
    browser = Browser(stack)
    browser.get("/in", HTTP_USER_AGENT=FIREFOX)
    browser.get("/name", HTTP_USER_AGENT=FIREFOX)
    browser.get("/put", HTTP_USER_AGENT=FIREFOX)
    assert labels(stack) == ["Ann's phone"]


def test_a_session_from_before_is_labelled_at_its_next_change() -> None:
    stack = site(label_devices=True)
    browser = Browser(stack)
    browser.get("/in")
    version = stack.manager.backend.sessions.load(stack.manager.sessions_of("alice")[0].key).version
    browser.get("/label", HTTP_USER_AGENT=FIREFOX)
    record = stack.manager.backend.sessions.load(stack.manager.sessions_of("alice")[0].key)
    assert (record.version, labels(stack)) == (version, [None]), "to read is no reason to write"
    browser.get("/put", HTTP_USER_AGENT=FIREFOX)
    assert labels(stack) == ["Firefox on Linux"]


def test_anonymous_visitors_get_no_label() -> None:
    stack = site(label_devices=True)
    browser = Browser(stack)
    browser.get("/put", HTTP_USER_AGENT=FIREFOX)
    assert browser.get("/label", HTTP_USER_AGENT=FIREFOX).body == b"null"


def test_it_is_off_unless_asked_for() -> None:
    stack = site()
    Browser(stack).get("/in", HTTP_USER_AGENT=FIREFOX)
    assert labels(stack) == [None]


def test_without_the_parser_the_start_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ua_parser", None)
    with pytest.raises(ConfigurationError, match=r"LABEL_DEVICES.*sessions\[devices\]"):
        site(label_devices=True)
    site()


def middleware(name_device: NameDevice) -> SessionMiddleware:
    def application(environ: Any, start_response: Any) -> list[bytes]:
        get_session(environ).login("alice")
        start_response("200 OK", [])
        return [b"in"]

    cookie = SessionCookie(CookiePolicy(), IdSigner([SECRET]))
    manager = SessionManager(open_memory())
    return SessionMiddleware(application, manager, cookie, name_device=name_device)


def test_a_log_in_does_not_fail_for_want_of_a_label(caplog: pytest.LogCaptureFixture) -> None:
    def name(user_agent: str) -> str | None:
        raise KeyError(user_agent)

    app = middleware(name)
    assert Browser(app).get("/", HTTP_USER_AGENT="a secret").status == 200
    assert [found.label for found in app.manager.sessions_of("alice")] == [None]
    assert "KeyError" in caplog.text
    assert "a secret" not in caplog.text


def test_what_a_browser_calls_itself_is_escaped_and_cut() -> None:
    app = middleware(lambda _: "\x1b[31m" + "x" * 500)
    Browser(app).get("/", HTTP_USER_AGENT="x")
    (found,) = app.manager.sessions_of("alice")
    assert found.label is not None
    assert found.label.isprintable()
    assert len(found.label) <= 80


def test_flask_labels_too() -> None:
    app = flask.Flask(__name__)
    app.config.update(
        SECRET_KEY=SECRET, WSGI_SESSIONS_URL="memory://", WSGI_SESSIONS_LABEL_DEVICES="on"
    )
    sessions = WSGISessions(app)

    @app.post("/in")
    def enter() -> str:
        current_session().login("alice")
        return "in"

    app.test_client().post("/in", headers={"User-Agent": FIREFOX})
    (found,) = sessions.manager(app).sessions_of("alice")
    assert found.label == "Firefox on Linux"
