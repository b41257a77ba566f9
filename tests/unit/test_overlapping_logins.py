"""Log-ins, log-outs and new ids beside other requests of the same session, in every order."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask, request
from flask import session as flask_session
from overlapping import SECRET, Sessions, Site, cookie_in
from redis_servers import RedisServer, available
from requirements_of_tests import require
from worlds import id_of

from wsgi_sessions.contrib.flask import WSGISessions
from wsgi_sessions.errors import StoreUnavailable
from wsgi_sessions.identity import store_key
from wsgi_sessions.stores.memory.backend import open_memory
from wsgi_sessions.stores.urls import open_backend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from wsgi_sessions.contract import Backend
    from wsgi_sessions.core.session import Session
    from wsgi_sessions.testing.clock import MovedClock

KEY = "user_id"


@pytest.fixture
def sessions(backend: Backend) -> Sessions:
    """On each store."""
    return Sessions(backend, principal_key=KEY)


@pytest.fixture
def here() -> Sessions:
    """On the memory store, for what is the same everywhere."""
    return Sessions(open_memory(), principal_key=KEY)


# -- a request that begins with the old id ---------------------------------------------------------


def test_a_request_with_the_old_id_is_anonymous_and_stores_nothing(sessions: Sessions) -> None:
    old = sessions.new(cart=[1])
    new = sessions.login(old, "alice")
    late = sessions.begin(old, "POST /late")
    assert dict(late.session) == {}
    assert late.session.principal is None
    late.session["csrf_token"] = "x"
    assert late.commit() == "superseded"
    assert late.snapshot is None
    assert sessions.reported("superseded") == ["POST /late"]
    assert sessions.seen(new) == ("alice", {"cart": [1]})
    assert sessions.live() == 1


def test_a_request_with_the_old_id_of_a_rotation_stores_nothing(here: Sessions) -> None:
    old = here.new(n=1)
    assert here.do(old, lambda session: session.cycle_id()) == "cycled"
    assert here.do(old, lambda session: session.update(m=2)) == "superseded"
    assert here.live() == 1


def test_a_request_with_the_old_id_may_read_and_reports_nothing(here: Sessions) -> None:
    old = here.new(n=1)
    here.login(old, "alice")
    assert here.do(old, dict) == "unchanged"
    assert here.reported("superseded") == []


def test_a_minute_later_an_old_id_is_any_unknown_id() -> None:
    now = [1_000_000.0]
    here = Sessions(open_memory(clock=lambda: now[0]), clock=lambda: now[0])
    old = here.new(n=1)
    here.login(old, "alice")
    now[0] += 61
    assert here.do(old, lambda session: session.update(m=2)) == "created"


def test_a_tombstone_that_a_reader_moved_on_counts_for_a_minute_all_the_same() -> None:
    now = [1_000_000.0]
    here = Sessions(open_memory(clock=lambda: now[0]), clock=lambda: now[0])
    old = here.new(n=1)
    here.login(old, "alice")
    here.backend.sessions.touch(store_key(old), now[0] + 3600)
    now[0] += 61
    assert here.do(old, lambda session: session.update(m=2)) == "created"


@pytest.mark.parametrize("by", ["login", "principal key"])
def test_a_login_with_the_old_id_begins_a_session_of_its_own(sessions: Sessions, by: str) -> None:
    old = sessions.new(cart=[1])
    new = sessions.login(old, "alice")
    late = sessions.begin(old)
    if by == "login":
        late.session.login("bob")
    else:
        late.session[KEY] = "bob"
    assert late.commit() == "created"
    assert id_of(late) not in ("", old, new)
    assert sessions.seen(id_of(late))[0] == "bob"
    assert "cart" not in sessions.seen(id_of(late))[1]
    assert sessions.seen(new) == ("alice", {"cart": [1]})


# -- a request that began before -------------------------------------------------------------------


def test_a_change_that_overlaps_a_login_is_dropped_and_reported(sessions: Sessions) -> None:
    old = sessions.new(n=1)
    late = sessions.begin(old, "POST /late")
    new = sessions.login(old, "alice")
    late.session["late"] = 1
    assert late.commit() == "superseded"
    assert sessions.reported("superseded") == ["POST /late"]
    assert sessions.reported("gone") == []
    assert sessions.seen(new) == ("alice", {"n": 1})
    assert sessions.live() == 1


@pytest.mark.parametrize("rotations", [1, 3])
def test_a_change_that_overlaps_a_rotation_is_merged(sessions: Sessions, rotations: int) -> None:
    session_id = sessions.new(n=1, log=["a"])
    late = sessions.begin(session_id)
    for _ in range(rotations):
        rotation = sessions.begin(session_id)
        rotation.session.cycle_id()
        rotation.session.append("log", "b")
        rotation.commit()
        session_id = id_of(rotation)
    late.session.increment("n")
    late.session.append("log", "c")
    assert late.commit() == "saved"
    assert sessions.seen(session_id) == (None, {"n": 2, "log": ["a"] + ["b"] * rotations + ["c"]})
    assert id_of(late) == "", "the new id is not known, and cannot be told"
    late.session["again"] = True
    assert late.commit() == "saved"
    assert sessions.seen(session_id)[1]["again"] is True
    assert sessions.live() == 1


def test_a_change_that_overlaps_a_rotation_and_then_a_login_is_dropped(here: Sessions) -> None:
    old = here.new(n=1)
    late = here.begin(old)
    rotation = here.begin(old)
    rotation.session.cycle_id()
    rotation.commit()
    new = here.login(id_of(rotation), "alice")
    late.session["late"] = 1
    assert late.commit() == "superseded"
    assert here.seen(new) == ("alice", {"n": 1})


def test_the_first_of_two_rotations_at_once_counts(here: Sessions) -> None:
    old = here.new(n=1)
    first, second = here.begin(old), here.begin(old)
    for transaction in (first, second):
        transaction.session.cycle_id()
    second.session["second"] = True
    assert first.commit() == "cycled"
    assert second.commit() == "saved"
    assert id_of(second) == ""
    assert here.seen(id_of(first)) == (None, {"n": 1, "second": True})
    assert here.live() == 1


def test_a_block_that_overlaps_a_rotation_reads_and_changes_the_session(here: Sessions) -> None:
    old = here.new(n=1)
    late = here.begin(old)
    rotation = here.begin(old)
    rotation.session.cycle_id()
    rotation.session["n"] = 10
    rotation.commit()
    with late.session.exclusive():
        late.session["n"] += 1
    assert late.commit() == "unchanged"
    assert here.seen(id_of(rotation)) == (None, {"n": 11})


def test_a_change_in_an_overlapping_block_is_dropped_after_a_login(here: Sessions) -> None:
    old = here.new(n=1)
    late = here.begin(old, "POST /late")
    new = here.login(old, "alice")
    with late.session.exclusive():
        late.session["n"] += 1
    assert late.commit() == "superseded"
    assert here.reported("superseded") == ["POST /late"]
    assert here.seen(new) == ("alice", {"n": 1})


# -- two log-ins -----------------------------------------------------------------------------------


@pytest.mark.parametrize("second", ["alice", "bob"])
@pytest.mark.parametrize("by", ["login", "principal key"])
def test_each_of_two_logins_at_once_is_true(sessions: Sessions, second: str, by: str) -> None:
    old = sessions.new(cart=[1])
    transactions = [sessions.begin(old), sessions.begin(old)]
    for transaction, principal in zip(transactions, ("alice", second), strict=True):
        if by == "login":
            transaction.session.login(principal)
        else:
            transaction.session[KEY] = principal
    assert [t.commit() for t in transactions] == ["cycled", "created"]
    first_id, second_id = map(id_of, transactions)
    assert sessions.seen(first_id)[0] == "alice"
    assert sessions.seen(second_id)[0] == second
    assert sessions.seen(second_id)[1]["cart"] == [1]
    assert len(sessions.manager.sessions_of("alice")) == (2 if second == "alice" else 1)


def test_a_login_that_overlaps_a_rotation_takes_the_session_along(here: Sessions) -> None:
    old = here.new(n=1)
    login, rotation = here.begin(old), here.begin(old)
    rotation.session.cycle_id()
    rotation.session["n"] = 2
    rotation.commit()
    login.session.login("alice")
    assert login.commit() == "cycled"
    assert here.seen(id_of(login)) == ("alice", {"n": 2})
    assert here.seen(id_of(rotation)) == (None, {})
    assert here.live() == 1


def test_a_form_that_clears_and_logs_in_spares_the_login_that_was_faster(here: Sessions) -> None:
    """As in Flask's tutorial: ``session.clear()``, then ``session["user_id"] = …``."""
    old = here.new(n=1)
    began_before = here.begin(old)
    new = here.login(old, "alice")
    for transaction in (began_before, here.begin(old)):
        transaction.session.flush()
        transaction.session[KEY] = "bob"
        transaction.commit()
        assert here.seen(id_of(transaction)) == ("bob", {KEY: "bob"})
    assert here.seen(new) == ("alice", {"n": 1})


# -- log-outs --------------------------------------------------------------------------------------


def cycle(session: Session) -> None:
    session.cycle_id()


def log_in_again(session: Session) -> None:
    session[KEY] = "alice"


@pytest.mark.parametrize("new_id", [cycle, log_in_again])
@pytest.mark.parametrize("began", ["before", "after"])
def test_a_log_out_ends_a_session_that_got_another_id(
    sessions: Sessions, new_id: Callable[[Session], None], began: str
) -> None:
    old = sessions.login(None, "alice")
    leaving = sessions.begin(old) if began == "before" else None
    other = sessions.begin(old)
    new_id(other.session)
    assert other.commit() == "cycled"
    leaving = leaving or sessions.begin(old)
    leaving.session.flush()
    assert leaving.commit() == "destroyed"
    assert sessions.seen(id_of(other)) == (None, {})
    assert sessions.manager.sessions_of("alice") == []
    assert sessions.backend.index.keys_of("alice") == []
    assert sessions.live() == 0


@pytest.mark.parametrize("by", ["cycle", "login", "principal key"])
def test_ending_one_by_its_key_ends_what_it_goes_on_as(sessions: Sessions, by: str) -> None:
    old = sessions.login(sessions.new(n=1), "alice")
    moving = sessions.begin(old)
    if by == "cycle":
        moving.session.cycle_id()
    elif by == "login":
        moving.session.login("alice")
    else:
        moving.session[KEY] = "alice"
    moving.commit()
    sessions.manager.destroy(store_key(old))
    assert sessions.seen(id_of(moving)) == (None, {})
    assert sessions.manager.sessions_of("alice") == []
    assert sessions.live() == 0


def test_a_log_out_that_fails_afterwards_ends_the_successor_too(here: Sessions) -> None:
    old = here.login(None, "alice")
    leaving, other = here.begin(old), here.begin(old)
    other.session.cycle_id()
    other.commit()
    leaving.session.flush()
    assert leaving.roll_back()
    assert here.live() == 0


def test_a_new_id_that_comes_after_the_log_out_is_refused(sessions: Sessions) -> None:
    old = sessions.login(None, "alice")
    leaving, other = sessions.begin(old), sessions.begin(old)
    leaving.session.flush()
    leaving.commit()
    other.session.cycle_id()
    assert other.commit() == "gone"
    assert sessions.live() == 0


def test_a_log_out_between_the_steps_of_a_new_id_ends_it(sessions: Sessions) -> None:
    """After the new record was made, before the old one leads to it."""
    old = sessions.login(None, "alice")
    leaving, other = sessions.begin(old), sessions.begin(old)
    leaving.session.flush()
    index: Any = sessions.backend.index
    add = index.add

    def add_and_let_the_log_out_in(*args: Any) -> None:
        add(*args)
        index.add = add
        assert leaving.commit() == "destroyed"

    index.add = add_and_let_the_log_out_in
    other.session.cycle_id()
    assert other.commit() == "gone"
    assert sessions.live() == 0


def test_a_new_id_between_the_steps_of_a_log_out_ends_too(sessions: Sessions) -> None:
    """The log-out has read the session, and is about to end it."""
    old = sessions.login(None, "alice")
    leaving = sessions.begin(old)
    store: Any = sessions.backend.sessions
    save, new = store.save, []

    def let_another_in(*args: Any, **more: Any) -> Any:
        store.save = save
        other = sessions.begin(old)
        other.session.cycle_id()
        assert other.commit() == "cycled"
        new.append(id_of(other))
        return save(*args, **more)

    store.save = let_another_in
    leaving.session.flush()
    assert leaving.commit() == "destroyed"
    assert sessions.seen(new[0]) == (None, {})
    assert sessions.live() == 0


def test_taking_the_principal_key_away_ends_a_session_that_got_another_id(here: Sessions) -> None:
    old = here.login(None, "alice")
    here.do(old, lambda session: None)
    begun = here.begin(None)
    begun.session[KEY] = "alice"
    begun.commit()
    leaving, again = here.begin(id_of(begun)), here.begin(id_of(begun))
    again.session[KEY] = "alice"
    assert again.commit() == "cycled"
    del leaving.session[KEY]
    assert leaving.commit() == "destroyed"
    assert here.seen(id_of(again)) == (None, {})


def test_a_log_out_takes_place_where_the_store_takes_no_writes() -> None:
    require(available())
    with RedisServer() as redis, closing(open_backend(redis.url)) as backend:
        sessions = Sessions(backend)
        session_id = sessions.login(None, "alice")
        leaving = sessions.begin(session_id)
        store: Any = backend.sessions

        def refuse(*_: Any, **__: Any) -> int:
            raise StoreUnavailable("OOM command not allowed")

        store.save = refuse
        leaving.session.flush()
        assert leaving.commit() == "destroyed"
        assert sessions.live() == 0


# -- what the browser gets -------------------------------------------------------------------------


@pytest.fixture(params=["memory", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory://" if request.param == "memory" else f"file://{tmp_path}/sessions"


@pytest.fixture(params=["shared", "exclusive"])
def site(request: pytest.FixtureRequest, url: str) -> Iterator[Site]:
    paths = ("/write", "/read") if request.param == "exclusive" else ()
    site = Site(url, exclusive_paths=paths)
    site.pages["/write"] = lambda session: session.update(x=1)
    site.pages["/login"] = lambda session: session.login("alice")
    site.pages["/permanent"] = lambda session: session.remember(3600)
    with closing(site.stack):
        yield site


@pytest.mark.parametrize("begins", ["before", "after"])
def test_a_write_beside_a_login_sends_no_cookie(site: Site, begins: str) -> None:
    old = cookie_in(site.get("/write"))
    logged_in = []

    def log_in() -> None:
        logged_in.append(cookie_in(site.get("/login", old)))

    if begins == "before":
        response = site.get("/write", old, log_in)
    else:
        log_in()
        response = site.get("/write", old)
    assert response.status == 200
    assert response.header("Set-Cookie") is None
    assert site.get("/", logged_in[0]).body == b"('alice', {'x': 1})"


def test_a_reader_never_writes_back_an_id_that_a_login_replaced(
    site: Site, clock: MovedClock
) -> None:
    """Where reading renews the cookie, as of a session that is remembered."""
    old = cookie_in(site.get("/permanent"))
    clock.advance(1800)
    renewed = site.get("/read", old)
    assert cookie_in(renewed) == old, "it is alive, so it is renewed"
    clock.advance(1200)
    response = site.get("/read", old, lambda: site.get("/login", old))
    assert response.header("Set-Cookie") is None


def flask_app(url: str, **config: Any) -> Flask:
    app = Flask(__name__)
    app.config.update(SECRET_KEY=SECRET, WSGI_SESSIONS_URL=url, **config)
    app.config["WSGI_SESSIONS_SWEEP_INTERVAL"] = "off"
    WSGISessions(app)

    def run(environ: Any) -> None:
        _ = flask_session.new
        if environ.get("meanwhile"):
            environ["meanwhile"]()

    @app.get("/read")
    def read() -> str:
        run(request.environ)
        return str(flask_session.get("_user_id"))

    @app.get("/write")
    def write() -> str:
        run(request.environ)
        flask_session["x"] = 1
        flask_session.permanent = True
        return "ok"

    @app.get("/login")
    def login() -> str:
        flask_session["_user_id"] = "alice"
        return "ok"

    return app


@pytest.mark.parametrize("each", [True, False])
@pytest.mark.parametrize("path", ["/read", "/write"])
@pytest.mark.parametrize("begins", ["before", "after"])
def test_in_flask_no_request_undoes_a_login(url: str, each: bool, path: str, begins: str) -> None:
    app = flask_app(url, SESSION_REFRESH_EACH_REQUEST=each)
    browser = app.test_client()
    browser.get("/write")
    cookie = browser.get_cookie("session")
    assert cookie is not None
    parallel = app.test_client(use_cookies=False)
    headers = {"Cookie": f"session={cookie.value}"}
    if begins == "before":
        meanwhile = {"meanwhile": lambda: browser.get("/login")}
        response = parallel.get(path, headers=headers, environ_base=meanwhile)
    else:
        browser.get("/login")
        response = parallel.get(path, headers=headers)
    assert response.status_code == 200
    assert "Set-Cookie" not in response.headers
    assert browser.get("/read").text == "alice"
