"""Two applications never meet in a session, a secret or an index, unless they are told to."""

from __future__ import annotations

import gc
import importlib.util
import itertools
import json
import logging
import os
import re
import subprocess
import sys
import threading
from dataclasses import replace
from functools import partial
from pathlib import PurePath
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result
from flask import Flask, session
from store_urls import sqlite_url
from werkzeug.exceptions import NotFound
from werkzeug.local import LocalProxy
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from worlds import Visit
from wsgi_client import Browser

from wsgi_sessions import Config, build, from_env, get_session
from wsgi_sessions.cli import main
from wsgi_sessions.contract import Context
from wsgi_sessions.contrib.flask import WSGISessions
from wsgi_sessions.core.manager import SessionManager
from wsgi_sessions.core.transaction import Transaction
from wsgi_sessions.identity import IdSigner, new_id, store_key
from wsgi_sessions.operations.inspection import live_sessions
from wsgi_sessions.operations.maintenance import rebuild_index
from wsgi_sessions.refresh.refresher import Refresher
from wsgi_sessions.stack.applications import derive, named_after, project_path
from wsgi_sessions.stack.declared.store import APPLICATION
from wsgi_sessions.stores.named import of_application
from wsgi_sessions.stores.urls import open_backend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from redis_servers import RedisServer

    from wsgi_sessions.stack.build import Stack

SECRET = "a-secret-of-the-tests-with-32-bytes-or-more"
PROGRAM = """
from wsgi_sessions import from_env, get_session

def app(environ, start_response):
    session = get_session(environ)
    if environ["PATH_INFO"] == "/login":
        session.login("1")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(session.principal).encode()]

application = from_env(app)
if __name__ == "__main__":
    print(application.config.application)
"""
_numbers = itertools.count()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user with nothing configured."""
    for name in list(os.environ):
        if name.startswith("WSGI_SESSION") or name in ("SECRET_KEY", "DATABASE_URL", "REDIS_URL"):
            monkeypatch.delenv(name)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def program(folder: Path, name: str = "wsgi") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.py"
    path.write_text(PROGRAM)
    return path


def loaded(path: Path) -> Stack:
    """The application of a program, as a server loads it."""
    spec = importlib.util.spec_from_file_location(f"_program_{next(_numbers)}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    application: Stack = module.application
    return application


def logged_in(app: WSGIApplication) -> Browser:
    browser = Browser(app)
    assert browser.get("/login").body == b"1"
    assert browser.get("/").body == b"1"
    return browser


def with_cookies(app: WSGIApplication, browser: Browser) -> Browser:
    other = Browser(app)
    other.cookies = dict(browser.cookies)
    return other


def begin(manager: SessionManager, *, user: str, kept_alive: bool = False) -> str:
    """A session of a user; its id."""
    transaction = Transaction(manager, Visit(None, "/"))
    transaction.session.login(user)
    if kept_alive:
        transaction.session.keep_alive()
    transaction.commit()
    assert transaction.snapshot is not None
    return transaction.snapshot.session_id


def command(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(main, arguments, env=environ)


# -- the name --------------------------------------------------------------------------------------


def test_a_name_comes_from_where_the_code_lies(tmp_path: Path) -> None:
    blog, shop = (loaded(program(tmp_path / name)) for name in ("blog", "shop"))
    names = [str(stack.config.application) for stack in (blog, shop)]
    assert re.fullmatch(r"blog-wsgi-[0-9a-f]{8}", names[0])
    assert re.fullmatch(r"shop-wsgi-[0-9a-f]{8}", names[1])
    assert loaded(tmp_path / "shop" / "wsgi.py").config.application == names[1]
    for stack in (blog, shop):
        assert stack.config.url.endswith(f"/wsgi_sessions/applications/{stack.config.application}")


def test_it_is_the_same_in_all_processes_and_for_a_script_too(tmp_path: Path) -> None:
    path = program(tmp_path / "shop")
    expected = loaded(path).config.application
    found = {
        subprocess.run(
            [sys.executable, *words], cwd=cwd, capture_output=True, text=True, check=True
        ).stdout.strip()
        for cwd, words in (
            (tmp_path, ["shop/wsgi.py"]),
            (path.parent, ["wsgi.py"]),
            (path.parent, ["-c", "import wsgi; print(wsgi.application.config.application)"]),
        )
    }
    assert found == {expected}


def test_a_deploy_into_another_release_keeps_it(tmp_path: Path) -> None:
    first = loaded(program(tmp_path / "shop" / "releases" / "20260101")).config.application
    second = loaded(program(tmp_path / "shop" / "releases" / "20260102")).config.application
    other = loaded(program(tmp_path / "blog" / "releases" / "20260102")).config.application
    assert first == second != other
    (tmp_path / "shop" / "current").symlink_to(tmp_path / "shop" / "releases" / "20260102")
    assert loaded(tmp_path / "shop" / "current" / "wsgi.py").config.application == first


def test_an_upgrade_of_the_interpreter_keeps_it() -> None:
    paths = (f"/srv/venv/lib/python3.{n}/site-packages/shop/wsgi.py" for n in (11, 12))
    assert {project_path(path) for path in paths} == {"/srv/venv/shop/wsgi.py"}


@pytest.mark.parametrize("origin", ["/wsgi.py", "/srv/é ü/ä.py", "/" + "x" * 300 + ".py", "/.py"])
def test_a_name_is_always_one_that_a_setting_could_give(origin: str) -> None:
    name = named_after(origin).name
    environ = {"WSGI_SESSIONS_URL": "memory://", APPLICATION: name}
    assert Config.from_environ(environ).application == name


def test_a_middleware_around_the_application_does_not_change_what_is_inside() -> None:
    from werkzeug.middleware.proxy_fix import ProxyFix

    assert derive(ProxyFix(one_app)).name == derive(one_app).name
    assert derive(another_app).name != derive(one_app).name


def one_app(_environ: WSGIEnvironment, _start_response: StartResponse) -> Iterable[bytes]:
    return []


def another_app(_environ: WSGIEnvironment, _start_response: StartResponse) -> Iterable[bytes]:
    return []


class Application:
    """One of several, by what it was made of."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        session_ = get_session(environ)
        if environ["PATH_INFO"] == "/login":
            session_.login("1")
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(session_.principal).encode()]


def closure(name: str) -> WSGIApplication:
    inner = Application(name)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return inner(environ, start_response)

    return app


@pytest.mark.parametrize("make", [Application, closure])
def test_two_products_of_one_factory_are_two(
    make: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / make.__name__))
    blog, shop = from_env(make("blog")), from_env(make("shop"))
    assert with_cookies(shop, logged_in(blog)).get("/").body == b"None"
    again = from_env(make("shop"))
    assert with_cookies(again, logged_in(shop)).get("/").body == b"1", "the same once more"
    assert "several applications in this process have the same code" in caplog.text
    assert "number 2 keeps its own sessions" in caplog.text


def test_a_name_that_is_given_is_for_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Programs that are to share their sessions."""
    monkeypatch.setenv(APPLICATION, "shop")
    site, admin = loaded(program(tmp_path / "site")), loaded(program(tmp_path / "admin"))
    assert with_cookies(admin, logged_in(site)).get("/").body == b"1"
    assert admin.manager.destroy_sessions_of("1") == 1


def test_one_line_says_what_was_chosen_and_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = program(tmp_path / "shop")
    with caplog.at_level(logging.INFO):
        stack = loaded(path)
    (line,) = (r.getMessage() for r in caplog.records if r.name == "wsgi_sessions.stack.sessions")
    name = stack.config.application
    assert line == (
        f"sessions of application {name} (from {path}) are kept in "
        f"file://{tmp_path}/home/.local/state/wsgi_sessions/applications/{name}"
    )


def test_values_given_in_python_are_taken_as_they_are(tmp_path: Path) -> None:
    """As before: no name, the plain signature."""
    stack = build(Application("x"), Config(url=f"file://{tmp_path}/s", secret_keys=(SECRET,)))
    browser = logged_in(stack)
    assert IdSigner([SECRET]).verify(browser.cookies["session"]) is not None


def make_by_class(name: str) -> WSGIApplication:
    class App(Application):
        title = name

        def __init__(self) -> None:
            """Without an attribute of its own."""

    return App()


class Slotted(Application):
    __slots__ = ("other",)

    def __init__(self, name: str) -> None:
        self.other = SimpleNamespace(names=[PurePath(name)])


def serve(environ: WSGIEnvironment, start_response: StartResponse, name: object) -> Iterable[bytes]:
    return Application(str(name))(environ, start_response)


MAKERS: dict[str, Callable[[str], WSGIApplication]] = {
    "a dictionary": lambda name: with_settings({"names": {"title": name}}),
    "a list": lambda name: with_settings([1, [name]]),
    "a set": lambda name: with_settings({name, "x"}),
    "an object": lambda name: with_settings(SimpleNamespace(name=name)),
    "a path": lambda name: with_settings(PurePath("/srv", name)),
    "a class": lambda name: with_settings({"blog": Application, "shop": Browser}[name]),
    "a function": lambda name: with_settings(lambda: name),
    "a partial": lambda name: partial(serve, name={"is": name}),
    "a class made in a function": make_by_class,
    "slots": Slotted,
    "a dispatcher": lambda name: DispatcherMiddleware(NotFound(), {"/login": Application(name)}),
    "functions of one name": lambda name: (
        (lambda environ, start_response: serve(environ, start_response, 1))
        if name == "blog"
        else (lambda environ, start_response: serve(environ, start_response, 2))
    ),
}


def with_settings(settings: object) -> WSGIApplication:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return serve(environ, start_response, settings)

    return app


@pytest.mark.parametrize("kind", list(MAKERS))
def test_so_they_are_whatever_tells_them_apart(
    kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    make = MAKERS[kind]
    blog, shop = (from_env(make(name)) for name in ("blog", "shop"))
    again = [from_env(make(name)) for name in ("shop", "blog")]
    names = [str(stack.config.application) for stack in (blog, shop, *again)]
    assert names[0] != names[1]
    assert names[:2] == names[:1:-1], "the same once more"


def test_an_object_is_the_same_whatever_has_become_of_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    app = Application("changing")
    before = from_env(app)
    app.name = "changed"
    assert from_env(app).config.application == before.config.application


def test_unreadable_objects_hinder_nothing(tmp_path: Path) -> None:
    """A proxy outside of its request, a cycle, and more than is ever looked at."""
    cycle: list[Any] = [LocalProxy(lambda: 1 / 0), lambda: cycle, *range(10_000)]
    cycle.append({"again": cycle, "lock": threading.Lock(), "module": sys})
    odd = type("Odd", (Slotted,), {"__module__": 5, "other": property(lambda _: 1 / 0)})
    cycle[:0] = [odd, object.__new__(odd)]
    assert derive(with_settings(cycle), store=str(tmp_path)).name


HELPER = """
import sys
from wsgi_sessions import from_env
def wrap(app):
    return from_env(app)
"""


def test_a_helper_that_two_applications_call_makes_them_one_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the application itself is a library's object, as Django's and Pyramid's are."""
    program(tmp_path / "common", "shared_helper").write_text(HELPER)
    monkeypatch.syspath_prepend(str(tmp_path / "common"))
    lines = ["from shared_helper import wrap", "from werkzeug import Response"]
    text = "\n".join([*lines, "application = wrap(Response())"])
    for name in ("blog", "shop"):
        program(tmp_path / name).write_text(text)
    blog, shop = (
        loaded(tmp_path / name / "wsgi.py").config.application for name in ("blog", "shop")
    )
    assert blog != shop
    assert loaded(tmp_path / "blog" / "wsgi.py").config.application == blog


def test_programs_in_one_folder_of_releases_stay_apart(tmp_path: Path) -> None:
    names = {
        loaded(program(tmp_path / "releases" / name)).config.application
        for name in ("blog", "shop-1.2", "20260101120000", "v1.2.3", "0a1b2c3d4e5f")
    }
    assert len(names) == 3


def test_a_nameless_application_goes_on_under_a_derived_name_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In one store, with one secret."""
    monkeypatch.setenv("WSGI_SESSIONS_URL", f"file://{tmp_path}/sessions")
    monkeypatch.setenv("WSGI_SESSIONS_SECRET_KEYS", SECRET)
    unnamed = build(Application("x"), Config.from_environ(os.environ))
    assert unnamed.config.application is None
    logged_in_before = logged_in(unnamed)
    derived = from_env(Application("y"))
    assert with_cookies(derived, logged_in_before).get("/").body == b"1"
    monkeypatch.setenv(APPLICATION, "shop")
    assert with_cookies(from_env(Application("z")), logged_in_before).get("/").body == b"None"


# -- one store for two -----------------------------------------------------------------------------


@pytest.fixture(params=["file", "sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store that all applications use, with one secret."""
    if request.param == "file":
        found = f"file://{tmp_path}/sessions"
    elif request.param == "sqlite":
        found = sqlite_url(tmp_path)
    else:
        server: RedisServer = request.getfixturevalue("end_to_end_redis")
        server.command("FLUSHALL")
        found = server.url
    monkeypatch.setenv("WSGI_SESSIONS_URL", found)
    monkeypatch.setenv("WSGI_SESSIONS_SECRET_KEYS", SECRET)
    return found


@pytest.mark.usefixtures("url")
def test_in_one_store_they_do_not_meet(tmp_path: Path) -> None:
    blog, shop = (loaded(program(tmp_path / name)) for name in ("blog", "shop"))
    at_blog, at_shop = logged_in(blog), logged_in(shop)
    assert with_cookies(shop, at_blog).get("/").body == b"None"
    assert len(shop.manager.sessions_of("1")) == 1
    assert shop.manager.destroy_sessions_of("1") == 1
    assert at_blog.get("/").body == b"1"
    assert at_shop.get("/").body == b"None"


def test_their_contexts_do_not_meet(url: str) -> None:
    blog, shop = (of_application(open_backend(url), name) for name in ("blog", "shop"))
    assert blog.contexts is not None
    assert shop.contexts is not None
    blog.contexts.set("1", "deal", Context(b"x", 5.0))
    assert shop.contexts.get("1", "deal") is None
    assert list(shop.contexts.items()) == []
    assert list(blog.contexts.items()) == [("1", "deal", Context(b"x", 5.0))]
    shop.contexts.clear("1", "deal")
    assert not shop.contexts.add("1", "deal", Context(b"y", 6.0)) or blog.contexts.get("1", "deal")


def test_a_command_finds_the_only_application_there(url: str, tmp_path: Path) -> None:
    browser = logged_in(loaded(program(tmp_path / "shop")))
    shown = command("list", "--principal", "1", "--url", url)
    assert "\n1 session" in shown.stdout
    assert "sessions     1" in command("count", "--url", url).stdout
    ended = command("revoke", "--principal", "1", "--yes", "--url", url)
    assert ended.stdout == "ended 1 session\n"
    assert browser.get("/").body == b"None"


def test_a_command_wants_one_of_several_named(url: str, tmp_path: Path) -> None:
    blog, shop = (loaded(program(tmp_path / name)) for name in ("blog", "shop"))
    at_blog, at_shop = logged_in(blog), logged_in(shop)
    refused = command("revoke", "--principal", "1", "--yes", "--url", url)
    assert refused.exit_code == 2
    for stack in (blog, shop):
        assert str(stack.config.application) in refused.stderr
    words = ("revoke", "--principal", "1", "--yes", "--url", url)
    done = command(*words, **{APPLICATION: str(shop.config.application)})
    assert done.stdout == "ended 1 session\n"
    assert (at_blog.get("/").body, at_shop.get("/").body) == (b"1", b"None")


def test_each_application_s_users_are_indexed_again_as_its_own(url: str, tmp_path: Path) -> None:
    blog, shop = (loaded(program(tmp_path / name)) for name in ("blog", "shop"))
    at_blog, at_shop = logged_in(blog), logged_in(shop)
    for stack in (blog, shop):  # the index is lost
        for listed in stack.manager.sessions_of("1"):
            stack.manager.backend.index.remove("1", listed.key)
    assert shop.manager.destroy_sessions_of("1") == 0
    done = command("reindex", "--url", url, **{APPLICATION: str(shop.config.application)})
    assert done.stdout == "indexed 1 session\n"
    assert shop.manager.destroy_sessions_of("1") == 1
    assert (at_blog.get("/").body, at_shop.get("/").body) == (b"1", b"None")
    assert blog.manager.sessions_of("1") == []


def test_sessions_without_an_application_belong_to_none_of_several(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Those of an earlier release."""
    blog, shop = (loaded(program(tmp_path / name)) for name in ("blog", "shop"))
    logged_in(blog)
    before = SessionManager(replace(shop.manager.backend, application=None))
    session_id = begin(before, user="1")
    shop.manager.backend.index.remove("1", store_key(session_id))
    logged_in(shop)
    is_alone = url.startswith("redis")
    assert rebuild_index(shop.manager.backend) == 1 + is_alone
    assert ("1 sessions have no application recorded" in caplog.text) != is_alone


@pytest.mark.usefixtures("url")
def test_no_application_refreshes_another_s_session(tmp_path: Path) -> None:
    refreshed: list[str] = []
    refreshers = []
    for name in ("blog", "shop"):
        manager = loaded(program(tmp_path / name)).manager
        begin(manager, user=name, kept_alive=True)

        def refresh(session: Any, name: str = name) -> None:
            refreshed.append(f"{name} refreshed {session.principal}'s")

        refreshers.append(Refresher(manager, refresh, interval=3600))
    for refresher in refreshers:
        assert refresher.refresh_due() == {"refreshed": 1}
    assert refreshed == ["blog refreshed blog's", "shop refreshed shop's"]


def test_commands_look_at_the_application_s_own(url: str, tmp_path: Path) -> None:
    blog, shop = (loaded(program(tmp_path / name)) for name in ("blog", "shop"))
    logged_in(blog)
    at_shop = [logged_in(shop) for _ in range(2)]
    named = {APPLICATION: str(shop.config.application)}
    assert "2 sessions\n" in command("list", "--url", url, **named).stdout
    assert len(list(live_sessions(shop.manager.backend))) == 2
    assert len(list(live_sessions(blog.manager.backend))) == 1
    at_shop[0].get("/login")  # under another id
    assert len(list(live_sessions(shop.manager.backend))) == 2


@pytest.mark.parametrize("words", [(), ("--move",)], ids=["copied", "moved"])
def test_a_copy_brings_the_application_s_own(
    url: str, tmp_path: Path, words: tuple[str, ...]
) -> None:
    blog, shop = (loaded(program(tmp_path / name)) for name in ("blog", "shop"))
    at_blog = logged_in(blog)
    logged_in(shop)
    target = f"file://{tmp_path}/target"
    named = {APPLICATION: str(shop.config.application)}
    done = command("copy", *words, "--json", url, target, **named)
    counts = json.loads(done.stdout)
    assert counts["moved" if words else "copied"] == 1
    assert counts["others"] == (not url.startswith("redis"))
    assert at_blog.get("/").body == b"1"
    copied = of_application(open_backend(target), shop.config.application)
    assert copied.iteration.count() == 1
    assert len(copied.index.keys_of("1")) == 1


def test_a_process_with_another_user_s_folder_gets_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WSGI_SESSIONS_URL", f"file://{tmp_path}/sessions")
    blog = loaded(program(tmp_path / "blog"))
    assert "other applications" not in caplog.text
    loaded(program(tmp_path / "shop"))
    assert f"is used by other applications too ({blog.config.application})" in caplog.text


# -- the default folder and commands ---------------------------------------------------------------


def test_a_command_finds_the_only_default_folder(tmp_path: Path) -> None:
    assert "there are no sessions in" in command("count").stderr
    logged_in(loaded(program(tmp_path / "shop")))
    assert command("list", "--principal", "1").stdout.endswith("1 session\n")


def test_a_command_wants_one_of_several_default_folders_named(tmp_path: Path) -> None:
    blog, shop = (loaded(program(tmp_path / name)) for name in ("blog", "shop"))
    logged_in(blog)
    refused = command("count")
    assert refused.exit_code == 2
    assert str(blog.config.application) in refused.stderr
    for stack, number in ((blog, "1"), (shop, "0")):
        done = command("count", **{APPLICATION: str(stack.config.application)})
        assert done.stdout.splitlines()[0].split() == ["sessions", number]


# -- Flask -----------------------------------------------------------------------------------------


def flask_app(import_name: str, secret: str, **config: str) -> Flask:
    app = Flask(import_name)
    app.config.update(SECRET_KEY=secret, **config)
    WSGISessions(app)
    app.add_url_rule("/login", "login", lambda: session.update(_user_id="1") or "1")
    app.add_url_rule("/", "index", lambda: str(session.get("_user_id")))
    return app


def flask_manager(app: Flask) -> Any:
    interface = app.session_interface
    assert isinstance(interface, WSGISessions)
    return interface.manager(app)


@pytest.mark.parametrize("names", [("wiki", "mail"), (__name__, __name__)])
def test_two_flask_applications_have_users_of_their_own(
    names: tuple[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / names[1]))
    wiki, mail = (flask_app(name, f"{n}{SECRET}") for n, name in enumerate(names))
    at_mail = logged_in(mail.wsgi_app)  # the first request decides nothing
    at_wiki = logged_in(wiki.wsgi_app)
    assert flask_manager(wiki).destroy_sessions_of("1") == 1
    assert (at_mail.get("/").body, at_wiki.get("/").body) == (b"1", b"None")


def test_one_factory_s_flask_applications_with_one_secret_are_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "once"))
    first, second = (flask_app(__name__, SECRET) for _ in range(2))
    assert with_cookies(second.wsgi_app, logged_in(first.wsgi_app)).get("/").body == b"1"


def test_the_number_of_a_flask_application_outlives_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "numbers"))
    others = [flask_app(__name__, f"{n}{SECRET}") for n in range(3)]
    first, second = (flask_app(__name__, SECRET) for _ in range(2))
    at_first = logged_in(first.wsgi_app)
    del others
    gc.collect()
    assert with_cookies(second.wsgi_app, at_first).get("/").body == b"1"


def test_with_one_secret_two_flask_applications_do_not_meet(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WSGI_SESSIONS_URL", f"file://{tmp_path}/one")
    wiki, mail = flask_app("wiki", SECRET), flask_app("mail", SECRET)
    assert with_cookies(mail.wsgi_app, logged_in(wiki.wsgi_app)).get("/").body == b"None"
    named = [flask_app(name, SECRET, WSGI_SESSIONS_APPLICATION="one") for name in ("a", "b")]
    assert with_cookies(named[1].wsgi_app, logged_in(named[0].wsgi_app)).get("/").body == b"1"


# -- the signature ---------------------------------------------------------------------------------


def test_an_id_signed_for_one_application_is_refused_by_another() -> None:
    session_id = new_id()
    for name, other in itertools.permutations([None, "blog", "shop"], 2):
        value = IdSigner([SECRET], name).sign(session_id)
        assert IdSigner([SECRET], name).verify(value) == session_id
        assert IdSigner([SECRET], other).verify(value) is None


def test_a_signature_for_no_application_is_good_only_where_it_is_accepted() -> None:
    session_id = new_id()
    before = IdSigner([SECRET]).sign(session_id)
    shop = IdSigner([SECRET], "shop", accepts_unnamed=True)
    found = shop.examine(before)
    assert found is not None
    assert (found.session_id, found.is_current) == (session_id, False)
    assert shop.verify(IdSigner([SECRET], "blog").sign(session_id)) is None
