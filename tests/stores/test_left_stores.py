"""What lies in a store that was left for another one could not be ended: it is not accepted."""

from __future__ import annotations

import gc
import os
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import pytest
from click.testing import CliRunner
from redis_servers import RedisServer, available
from requirements_of_tests import require
from store_urls import sqlite_url
from wsgi_client import Browser

from wsgi_sessions import Config, ConfigurationError, build, get_session
from wsgi_sessions.cli import main
from wsgi_sessions.core.record.envelope import Envelope, seal
from wsgi_sessions.errors import SessionExists
from wsgi_sessions.health.settings import HealthConfig
from wsgi_sessions.identity import store_key
from wsgi_sessions.stack.choice.acceptance import not_before
from wsgi_sessions.stack.choice.chosen import open_chosen
from wsgi_sessions.stack.choice.history import History
from wsgi_sessions.stores.urls import open_backend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    from wsgi_sessions.stack.build import Stack

SECRET = "a-secret-of-the-tests-with-32-bytes-or-more"
FAR = 4e9
T = TypeVar("T")


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    session = get_session(environ)
    if environ["PATH_INFO"] == "/login":
        session.login("alice")
    if environ["PATH_INFO"] == "/logout":
        session.flush()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(session.principal).encode()]


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    require(available())
    with RedisServer(persistence="aof") as server:
        yield server


@pytest.fixture(params=["file", "sqlite"])
def config(redis: RedisServer, tmp_path: Path, request: pytest.FixtureRequest) -> Config:
    second = f"file://{tmp_path}/s" if request.param == "file" else sqlite_url(tmp_path)
    return Config(
        url=f"{redis.url} {second}",
        secret_keys=(SECRET,),
        choice_folder=str(tmp_path / "choices"),
        health=HealthConfig(timeout=5),
        sweep_interval=None,
    )


def served(config: Config, store: str, work: Callable[[Stack], T]) -> T:
    """What the work gives, on all processes of a server that uses the one store or the other."""
    stack = build(app, config)
    try:
        assert (stack.manager.backend.name == "redis") == (store == "first")
        return work(stack)
    finally:
        stack.close()
        del stack, work
        gc.collect()  # so that nobody holds the agreement any more


def logged_in(stack: Stack) -> dict[str, str]:
    """The cookies of Alice, who logs in."""
    browser = Browser(stack)
    browser.get("/login")
    assert browser.get("/").body == b"alice"
    return dict(browser.cookies)


def who(cookies: dict[str, str]) -> Callable[[Stack], bytes]:
    """Whom the cookies open a session of."""

    def look(stack: Stack) -> bytes:
        browser = Browser(stack)
        browser.cookies = dict(cookies)
        return browser.get("/").body

    return look


def ended(stack: Stack) -> int:
    return stack.manager.destroy_sessions_of("alice")


def nothing(_stack: Stack) -> None:
    return None


def test_a_session_that_could_have_been_ended_is_not_accepted(
    redis: RedisServer, config: Config
) -> None:
    stolen = served(config, "first", logged_in)
    redis.kill()
    assert served(config, "second", who(stolen)) == b"None"
    served(config, "second", logged_in)
    assert served(config, "second", ended) == 1
    redis.start()
    assert served(config, "first", who(stolen)) == b"None"
    assert served(config, "first", ended) == 0
    again = served(config, "first", logged_in)
    assert served(config, "first", who(again)) == b"alice", "a restart leaves no store"


def test_with_another_password_it_is_the_same_store(redis: RedisServer, config: Config) -> None:
    stolen = served(config, "first", logged_in)
    redis.kill()
    served(config, "second", ended)
    redis.start()
    host = redis.url.removeprefix("redis://")
    changed = replace(config, url=config.url.replace(redis.url, f"redis://default:new@{host}"))
    assert served(changed, "first", who(stolen)) == b"None"


def test_one_that_was_left_alive_in_the_second_store_is_not_accepted_either(
    redis: RedisServer, config: Config
) -> None:
    redis.kill()
    stolen = served(config, "second", logged_in)
    assert served(config, "second", who(stolen)) == b"alice"
    redis.start()
    served(config, "first", nothing)
    redis.kill()
    assert served(config, "second", who(stolen)) == b"None"


def test_a_command_that_looks_leaves_no_store_and_one_that_ends_sessions_does(
    redis: RedisServer, config: Config
) -> None:
    environ = {
        "WSGI_SESSIONS_URL": config.url,
        "WSGI_SESSIONS_SECRET_KEYS": SECRET,
        "WSGI_SESSIONS_CHOICE_FOLDER": str(config.choice_folder),
        "WSGI_SESSIONS_HEALTH_TIMEOUT": "5",
    }

    def run(*words: str) -> None:
        assert CliRunner().invoke(main, words, env=environ).exit_code == 0
        gc.collect()

    cookies = served(config, "first", logged_in)
    redis.kill()
    run("count")
    run("list", "--principal", "alice")
    redis.start()
    assert served(config, "first", who(cookies)) == b"alice"
    redis.kill()
    run("revoke", "--principal", "alice", "--yes")
    redis.start()
    assert served(config, "first", who(cookies)) == b"None"


def test_a_store_that_is_named_alone_is_asked_nothing(tmp_path: Path) -> None:
    config = Config(url=f"file://{tmp_path}/s", choice_folder=str(tmp_path / "choices"))
    with closing(open_chosen(config).backend) as backend:
        assert type(backend.sessions).__name__ == "FileStore"
    assert not (tmp_path / "choices").exists()


def test_it_is_remembered_where_a_restart_of_the_host_removes_nothing(
    redis: RedisServer, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "before"))
    (tmp_path / "before").mkdir()
    (tmp_path / "after").mkdir()
    config = replace(config, choice_folder=None)
    stolen = served(config, "first", logged_in)
    redis.kill()
    served(config, "second", nothing)
    redis.start()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "after"))
    assert served(config, "first", who(stolen)) == b"None"


# -- what is kept ----------------------------------------------------------------------------------


def test_the_latest_moment_counts_and_no_url_is_kept(tmp_path: Path) -> None:
    folders = [str(tmp_path / name) for name in ("a", "b")]
    url = "redis://:hunter2@host/0"
    assert History(folders, timeout=5).left_at(url) == 0
    History(folders[:1], timeout=5, clock=lambda: 7.0).leave([url, "file:///x"])
    History(folders[1:], timeout=5, clock=lambda: 9.0).leave([url])
    assert History(folders, timeout=5).left_at(url) == 9.0
    assert History(folders, timeout=5).left_at("file:///x") == 7.0
    assert History(folders, timeout=5).left_at("file:///y") == 0
    assert "hunter2" not in (tmp_path / "a" / "left").read_text()


def test_an_unusable_folder_stops_a_process_without_another(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    os.chmod(tmp_path / "open", 0o777)
    good, bad = str(tmp_path / "good"), str(tmp_path / "open")
    History([bad, good], timeout=5).leave(["x"])
    assert History([bad, good], timeout=5).left_at("x") > 0
    with pytest.raises(ConfigurationError, match="cannot record that a session store was left"):
        History([bad], timeout=5).leave(["x"])


@pytest.mark.parametrize("content", [b"", b"nonsense", b'{"a": "b"}', b"[]"])
def test_a_damaged_file_is_reported_and_replaced(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "left").write_bytes(content)
    os.chmod(tmp_path, 0o700)
    kept = History([str(tmp_path)], timeout=5)
    assert kept.left_at("x") == 0
    assert "are dropped" in caplog.text
    kept.leave(["x"])
    assert kept.left_at("x") > 0


# -- what is accepted ------------------------------------------------------------------------------


def payload(key: str, created_at: float) -> bytes:
    return seal(Envelope(created_at, b"", {}, {}), key)


def test_sessions_that_began_before_are_as_if_absent() -> None:
    store = open_backend("memory://")
    old, new = store_key("old"), store_key("new")
    for key, at in ((old, 99.0), (new, 100.0)):
        store.sessions.create(key, payload(key, at), FAR)
    later = not_before(store, 100.0)
    assert later.sessions.load(old) is None
    assert later.sessions.load(new) is not None
    with pytest.raises(SessionExists):
        later.sessions.create(new, payload(new, 101.0), FAR)
    later.sessions.create(old, payload(old, 102.0), FAR)
    assert later.sessions.load(old) is not None
    assert not_before(store, 0.0) is store


def test_a_lease_on_redis_is_no_way_round(redis: RedisServer) -> None:
    with closing(open_backend(redis.url, timeout=5.0)) as store:
        key = store_key("old")
        store.sessions.create(key, payload(key, 99.0), FAR)
        later = not_before(store, 100.0)
        assert later.leased_loading is not None
        assert later.leased_loading.load_and_acquire(key, "me", 5.0)[0] is None
        assert store.leased_loading is not None
        assert store.leased_loading.load_and_acquire(key, "me", 5.0)[0] is not None
