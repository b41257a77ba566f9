"""LeaseMiddleware against PEP 3333, and every way in which a request may end."""

from __future__ import annotations

import gc
import logging
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import closing
from typing import TYPE_CHECKING, Any
from wsgiref.util import FileWrapper
from wsgiref.validate import validator

import bodies
import pytest
from redis_servers import RedisServer, available, wait_until
from requirements_of_tests import require
from watched_leases import SECRET, TEXT, WatchedLeases
from wsgi_client import Browser, call, environ_of

from wsgi_sessions import (
    Config,
    ConfigurationError,
    LeaseMiddleware,
    LeasePolicy,
    Leases,
    SessionManager,
    StoreUnavailable,
    build,
    get_session,
    open_backend,
)
from wsgi_sessions.core.draft import Draft
from wsgi_sessions.refresh.settings import RefreshConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Handler = Callable[[Any, Any], Any]

LONG = 60.0


STORES = ("memory", "file", "redis")


@pytest.fixture(params=STORES)
def url(request: pytest.FixtureRequest, tmp_path: Any) -> str:
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        server.command("FLUSHALL")
        return server.url
    return "memory://" if request.param == "memory" else f"file://{tmp_path}/sessions"


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    require(available())
    with RedisServer() as server:
        yield server


@pytest.fixture
def web(url: str) -> Iterator[WatchedLeases]:
    with closing(WatchedLeases(url)) as watched:
        watched.browser.get("/start")
        watched.settle()
        yield watched


@pytest.fixture
def memory() -> Iterator[WatchedLeases]:
    with closing(WatchedLeases("memory://", LeasePolicy(ttl=0.3, wait=0.05))) as watched:
        watched.browser.get("/start")
        watched.settle()
        yield watched


# -- from the retrieval to the end ---------------------------------------------------------------


def test_a_session_is_in_use_from_its_first_access_to_the_end(web: WatchedLeases) -> None:
    @web.on("/page")
    def _(environ: Any, start_response: Any) -> list[bytes]:
        web.see()
        get_session(environ).get("n")
        web.see()
        get_session(environ).get("n")
        web.see()
        start_response("200 OK", [*TEXT])
        return [b""]

    web.browser.get("/page")
    web.settle()
    assert web.seen == [0, 1, 1]
    assert web.holders() == 0


def test_a_first_read_of_the_session_after_the_end_holds_nothing(web: WatchedLeases) -> None:
    """As a middleware may that stands outside, and writes the access log."""
    cookie = "; ".join(f"{name}={value}" for name, value in web.browser.cookies.items())
    environ = environ_of("/none", cookie=cookie)
    call(web.app, environ)
    assert get_session(environ)["n"] == 1
    web.settle()
    assert web.holders() == 0


def test_a_stream_is_in_use_until_it_is_closed(web: WatchedLeases) -> None:
    @web.on("/stream")
    def _(environ: Any, start_response: Any) -> Iterator[bytes]:
        get_session(environ).get("n")
        start_response("200 OK", [*TEXT])
        yield b"1"
        yield b"2"

    body = web.body("/stream")
    assert web.holders() == 1
    assert list(body) == [b"1", b"2"]
    assert web.holders() == 1
    assert not web.store.claim(web.key, "refresher", LONG)
    body.close()
    web.settle()
    assert web.store.claim(web.key, "refresher", LONG)


def test_a_change_after_the_headers_is_committed_before_the_lease_ends(web: WatchedLeases) -> None:
    @web.on("/stream")
    def _(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [*TEXT])
        yield b"1"
        get_session(environ)["late"] = True
        yield b"2"

    seen = []
    save = web.backend.sessions.save

    def spied(*args: Any, **more: Any) -> int:
        seen.append(web.holders())
        return save(*args, **more)

    web.backend.sessions.save = spied  # type: ignore[method-assign]
    web.browser.get("/stream")
    assert seen == [1]


def test_a_request_that_leaves_its_session_alone_costs_nothing(web: WatchedLeases) -> None:
    names = ("acquire", "renew", "release", "load_and_acquire", "holders", "claim")
    web.spy(web.store, *(name for name in names if hasattr(web.store, name)))
    web.spy(web.backend.sessions, "load")
    web.on("/none")(lambda _, start: (start("200 OK", [*TEXT]) and None) or [b""])
    web.browser.get("/none")
    web.settle()
    assert web.calls == {}


def test_a_visitor_without_a_session_holds_nothing(web: WatchedLeases) -> None:
    web.spy(web.store, "acquire", "release")
    Browser(web.app).get("/read")
    web.settle()
    assert web.calls == {}


def test_one_call_more_and_it_comes_after_the_response(web: WatchedLeases, url: str) -> None:
    """Where there are round trips to save; elsewhere acquiring is a call of its own."""
    web.spy(web.store, "acquire", "renew", "release")
    web.spy(web.backend.sessions, "load")
    if web.backend.leased_loading is not None:
        web.spy(web.backend.leased_loading, "load_and_acquire")
    busy = threading.Event()
    web.leases.keeper.do(lambda: busy.wait(10))
    assert web.browser.get("/read").body == b"1"
    if url.startswith("redis"):
        assert web.calls == {"load_and_acquire": 1}
    else:
        assert web.calls == {"acquire": 1, "load": 1}
    web.calls.clear()
    busy.set()
    web.settle()
    assert web.calls == {"release": 1}


# -- every end -----------------------------------------------------------------------------------


def touching(environ: Any) -> None:
    get_session(environ).get("n")


def raising(environ: Any, start_response: Any) -> Any:
    touching(environ)
    raise ZeroDivisionError


def exiting(environ: Any, start_response: Any) -> Any:
    touching(environ)
    raise SystemExit


def raising_at_once(environ: Any, start_response: Any) -> Iterator[bytes]:
    touching(environ)
    start_response("200 OK", [*TEXT])
    if environ:
        raise ZeroDivisionError
    yield b""


def raising_in_the_middle(environ: Any, start_response: Any) -> Iterator[bytes]:
    touching(environ)
    start_response("200 OK", [*TEXT])
    yield b"1"
    raise ZeroDivisionError


class RaisingAtClose:
    def __init__(self, environ: Any, start_response: Any) -> None:
        touching(environ)
        start_response("200 OK", [*TEXT])

    def __iter__(self) -> Iterator[bytes]:
        return iter([b"1"])

    def close(self) -> None:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    "handler", [raising, exiting, raising_at_once, raising_in_the_middle, RaisingAtClose]
)
def test_an_exception_releases(web: WatchedLeases, handler: Any) -> None:
    web.on("/page")(handler)
    with pytest.raises((ZeroDivisionError, SystemExit)):
        web.browser.get("/page")
    web.settle()
    assert web.holders() == 0


def test_an_error_page_and_a_refused_commit_release(web: WatchedLeases) -> None:
    web.page("/bad", lambda session: session.update(x=object()))

    @web.on("/error")
    def _(environ: Any, start_response: Any) -> list[bytes]:
        touching(environ)
        start_response("500 Oops", [*TEXT])
        return [b""]

    with pytest.raises(TypeError):
        web.browser.get("/bad")
    assert web.browser.get("/error").status == 500
    web.settle()
    assert web.holders() == 0


def streaming(environ: Any, start_response: Any) -> Iterator[bytes]:
    touching(environ)
    start_response("200 OK", [*TEXT])
    return iter([b"1", b"2"])


@pytest.mark.parametrize("chunks", [0, 1])
def test_a_client_that_goes_away_releases(web: WatchedLeases, chunks: int) -> None:
    web.on("/stream")(streaming)

    body = web.body("/stream")
    for _ in range(chunks):
        next(body)
    assert web.holders() == 1
    body.close()
    web.settle()
    assert web.holders() == 0


def test_logging_out_releases(web: WatchedLeases) -> None:
    key = web.key
    web.page("/logout", lambda session: session.flush())
    web.browser.get("/logout")
    web.settle()
    assert web.store.holders(key) == 0
    assert web.store.claim(key, "refresher", LONG)


def test_a_body_that_is_never_closed_blocks_for_the_ttl_at_most(memory: WatchedLeases) -> None:
    memory.on("/stream")(streaming)

    body = memory.body("/stream")
    assert memory.holders() == 1
    del body
    gc.collect()
    wait_until(lambda: memory.holders() == 0, "the lease to end")


def test_a_forked_child_does_not_release_its_parents_lease(
    memory: WatchedLeases, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.on("/stream")(streaming)

    body = memory.body("/stream")
    pid = os.getpid()
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: pid + 1)
        body.close()
    memory.settle()
    assert memory.holders() == 1


# -- holders are counted, and renewed ------------------------------------------------------------


def test_the_first_of_two_requests_to_end_does_not_free_the_session(web: WatchedLeases) -> None:
    web.on("/stream")(streaming)

    first, second = web.body("/stream"), web.body("/stream")
    assert web.holders() == 2
    first.close()
    web.settle()
    assert web.holders() == 1
    assert not web.store.claim(web.key, "refresher", LONG)
    second.close()
    web.settle()
    assert web.store.claim(web.key, "refresher", LONG)


def test_a_generator_that_blocks_stays_a_holder(url: str) -> None:
    with closing(WatchedLeases(url, LeasePolicy(ttl=0.6))) as web:
        web.browser.get("/start")
        web.settle()
        key, done = web.key, threading.Event()

        @web.on("/stream")
        def _(environ: Any, start_response: Any) -> Iterator[bytes]:
            touching(environ)
            start_response("200 OK", [*TEXT])
            yield b"1"
            done.wait(20)
            yield b"2"

        with ThreadPoolExecutor(1) as pool:
            response = pool.submit(web.browser.get, "/stream")
            wait_until(lambda: web.holders() == 1, "the stream to begin")
            end = time.monotonic() + 2
            while time.monotonic() < end:
                assert not web.store.claim(key, "refresher", LONG)
                time.sleep(0.02)
            done.set()
            assert response.result().body == b"12"
        web.settle()
        assert web.store.claim(key, "refresher", LONG)


def test_a_lease_that_was_lost_is_acquired_again(memory: WatchedLeases) -> None:
    memory.on("/stream")(streaming)

    with closing(memory.body("/stream")):
        store: Any = memory.store
        store._holders.clear()  # as if it had been paused, or its server been restarted
        wait_until(lambda: memory.holders() == 1, "the lease to be back")


@pytest.mark.parametrize("action", ["create", "cycle_id"])
def test_a_stream_holds_the_session_under_its_new_key(web: WatchedLeases, action: str) -> None:
    old = web.key

    @web.on("/stream")
    def _(environ: Any, start_response: Any) -> Iterator[bytes]:
        session = get_session(environ)
        if action == "create":
            session["n"] = 1
        else:
            session.cycle_id()
        start_response("200 OK", [*TEXT])
        yield b"1"
        yield b"2"

    if action == "create":
        web.browser.cookies.clear()
    body = web.body("/stream")
    next(body)
    web.settle()
    keys = set(web.backend.iteration.keys())
    (new,) = keys - {old}
    assert web.store.holders(new) == 1
    assert web.store.holders(old) == 0
    body.close()
    web.settle()
    assert web.store.holders(new) == 0


# -- claims --------------------------------------------------------------------------------------


def test_a_request_waits_for_a_claim_and_sees_what_it_did(url: str) -> None:
    with closing(WatchedLeases(url, LeasePolicy(wait=20))) as web:
        web.browser.get("/start")
        web.settle()
        key = web.key
        assert web.store.claim(key, "refresher", LONG)
        with ThreadPoolExecutor(1) as pool:
            response = pool.submit(web.browser.get, "/read")
            with pytest.raises(FutureTimeout):  # the builtin one from Python 3.11 on
                response.result(0.3)
            change(web, 2)
            web.store.release(key, "refresher")
            assert response.result(10).body == b"2"
        web.settle()
        assert web.holders() == 0


def change(web: WatchedLeases, n: int) -> None:
    """Set n, as a refresher that holds the claim."""
    manager = SessionManager(web.backend)
    snapshot = manager.loader.find(web.key)
    assert snapshot is not None
    draft = Draft(snapshot)
    draft.data.set("n", n)
    assert manager.commit(draft, lambda: "refresh", "closed", "background") == "saved"


def test_a_request_goes_on_after_a_while_and_is_merged(url: str) -> None:
    with closing(WatchedLeases(url, LeasePolicy(ttl=0.6, wait=0.1))) as web:
        web.browser.get("/start")
        web.settle()
        key = web.key
        assert web.store.claim(key, "refresher", LONG)

        @web.on("/stream")
        def _(environ: Any, start_response: Any) -> Iterator[bytes]:
            session = get_session(environ)
            session["mine"] = session.get("n")
            start_response("200 OK", [*TEXT])
            yield b"1"
            yield b"2"

        body = web.body("/stream")
        next(body)
        change(web, 5)
        assert web.holders() == 0
        web.store.release(key, "refresher")
        wait_until(lambda: web.holders() == 1, "the request to become a holder after all")
        body.close()
        web.page("/show", dict)
        assert web.browser.get("/show").body == b"{'n': 5, 'mine': 1}"


def test_a_request_may_be_refused_while_its_session_is_claimed(url: str) -> None:
    policy = LeasePolicy(wait=0.05, on_claim="refuse")
    with closing(WatchedLeases(url, policy)) as web:
        web.browser.get("/start")
        web.settle()
        key = web.key
        web.store.claim(key, "refresher", LONG)
        response = web.browser.get("/read")
        assert (response.status, response.header("Retry-After")) == (503, "1")
        web.on("/none")(lambda _, start: (start("200 OK", [*TEXT]) and None) or [b""])
        assert web.browser.get("/none").status == 200
        web.settle()
        assert not web.store.acquire(key, "other", LONG)  # the claim is as it was
        web.store.release(key, "refresher")
        assert web.browser.get("/read").status == 200


# -- faults --------------------------------------------------------------------------------------


def failing(*_: object) -> bool:
    raise StoreUnavailable("the store is down")


def test_a_request_goes_on_without_leases(
    memory: WatchedLeases, caplog: pytest.LogCaptureFixture
) -> None:
    store: Any = memory.store
    store.acquire = store.renew = store.release = failing
    with caplog.at_level(logging.WARNING, "wsgi_sessions.leases.policy"):
        assert memory.browser.get("/write").status == 200
        assert memory.browser.get("/read").body == b"2"
        memory.settle()
    assert "is used without a lease" in caplog.text
    assert "ends by its ttl" in caplog.text
    assert memory.key not in caplog.text


def test_a_bug_in_the_store_does_not_end_the_keeper(
    memory: WatchedLeases, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    memory.leases.keeper.do(broken)
    memory.settle()
    assert "could not be kept" in caplog.text


def test_closing_releases_what_has_ended(web: WatchedLeases) -> None:
    web.browser.get("/read")
    web.leases.close()
    assert web.holders() == 0
    assert [t.name for t in threading.enumerate() if t.name == "wsgi_sessions leases"] == []
    web.browser.get("/read")  # begins anew
    web.settle()


# -- WSGI ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", bodies.SHAPES)
@pytest.mark.parametrize("use", ["none", "read", "write"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_every_shape_of_response_is_valid_inside_and_outside(
    memory: WatchedLeases, shape: Any, use: str, method: str
) -> None:
    @memory.on("/")
    @validator
    def _(environ: Any, start_response: Any) -> Any:
        if use != "none":
            get_session(environ).get("x")
            memory.see()
        if use == "write":
            get_session(environ)["x"] = 1
        return shape(environ, start_response)

    cookie = f"session={memory.browser.cookies['session']}"
    environ = environ_of("/", method, cookie, QUERY_STRING="")
    response = call(validator(memory.app), environ)
    assert response.status == 200
    assert memory.seen == ([] if use == "none" else [1])
    memory.settle()
    assert memory.holders() == 0


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        (bodies.as_list, list),
        (bodies.as_tuple, tuple),
        (bodies.as_file, FileWrapper),
    ],
)
def test_lists_and_files_stay_what_they_are(memory: WatchedLeases, shape: Any, kind: type) -> None:
    memory.on("/shape")(shape)
    body = memory.body("/shape")
    assert type(body) is kind
    if hasattr(body, "close"):
        body.close()


# -- composition ---------------------------------------------------------------------------------


def test_outside_of_a_session_middleware_it_says_what_to_do() -> None:
    with closing(open_backend("memory://")) as backend:
        app = LeaseMiddleware(bodies.as_list, Leases(backend))
        with pytest.raises(LookupError, match="wrap the application"):
            call(app, environ_of("/"))


@pytest.mark.parametrize("times", [{"ttl": 0}, {"ttl": float("nan")}, {"wait": -1}])
def test_times_that_make_no_sense_are_refused(times: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match="lease"):
        LeasePolicy(**times)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "is_leased"),
    [
        ({}, False),
        ({"refresh": RefreshConfig("builtins:len")}, True),
        ({"refresh": RefreshConfig("builtins:len", where="process")}, True),
    ],
)
def test_requests_hold_leases_where_a_refresher_runs(
    settings: dict[str, Any], *, is_leased: bool
) -> None:
    holders: list[int] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        touching(environ)
        assert stack.manager.backend.leases is not None
        keys = list(stack.manager.backend.iteration.keys())
        holders.append(sum(map(stack.manager.backend.leases.holders, keys)))
        get_session(environ)["n"] = 1
        start_response("200 OK", [*TEXT])
        return [b""]

    config = Config("memory://", (SECRET,), sweep_interval=None, **settings)
    with closing(build(app, config)) as stack:
        browser = Browser(stack)
        browser.get("/")
        if stack.leases is not None:
            stack.leases.close()  # it has released what has ended
        browser.get("/")
        running = [t.name for t in threading.enumerate() if t.name == "wsgi_sessions refresher"]
    assert holders == [0, int(is_leased)]
    assert len(running) == (settings == {"refresh": RefreshConfig("builtins:len")})


def test_a_store_without_leases_is_refused() -> None:
    class Bare:
        name, leases = "bare", None

    backend: Any = Bare()
    with pytest.raises(ConfigurationError, match="bare store has no leases"):
        Leases(backend)
