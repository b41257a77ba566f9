"""What a request made goes with it: nothing waits for the garbage collector.

An environ holds the session, which holds what the request is known by. Were that a circle, every
request would stay in memory, its environ included, until the collector had looked for it.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import pytest
from wsgi_client import Browser, call, environ_of

from wsgi_sessions import Config, build, get_session, select_context
from wsgi_sessions.contexts.settings import ContextConfig
from wsgi_sessions.refresh.settings import RefreshConfig
from wsgi_sessions.versions.settings import VersionConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsgi_sessions.stack.build import Stack

KEY = "current_deal_id"
PATHS = ("/null", "/read", "/write", "/append", "/exclusive", "/select", "/stream", "/late", "/500")


def app(environ: Any, start_response: Any) -> Any:
    path, session = environ["PATH_INFO"], get_session(environ)
    if path == "/login":
        session.login("alice")
    elif path == "/write":
        session["n"] = session.get("n", 0) + 1
    elif path == "/append":
        session.append("log", path)
    elif path == "/exclusive":
        with session.exclusive():
            session["n"] = 1
    elif path == "/select":
        select_context(environ, 7)
    elif path == "/stream":
        start_response("200 OK", [])
        return stream(session)
    elif path not in ("/null", "/late"):
        session.get("n")
    start_response("500 Sorry" if path == "/500" else "200 OK", [])
    return [b""]


def stream(session: Any) -> Iterator[bytes]:
    session["chunk"] = 0
    yield b"one"
    session["chunk"] = 1
    yield b"two"


SETTINGS: Any = {"url": "memory://", "secret_keys": ("s" * 40,), "sweep_interval": None}


def plain() -> Stack:
    return build(app, Config(**SETTINGS))


def with_all_middlewares() -> Stack:
    config = Config(
        **SETTINGS,
        context=ContextConfig(key=(KEY,)),
        version=VersionConfig(scopes=("global",), max_age=0.0),
        refresh=RefreshConfig(where="process"),
    )
    return build(
        app,
        config,
        may_access=lambda *_: True,
        version_refresh=lambda session, environ: dict(session),
        refresh=lambda session: None,
    )


@pytest.mark.parametrize(
    ("make", "path"),
    [
        pytest.param(plain, path, marks=[] if path == "/write" else [pytest.mark.soak])
        for path in PATHS
        if path != "/select"
    ]
    + [(with_all_middlewares, path) for path in PATHS],
)
def test_a_request_leaves_no_circle(make: Any, path: str) -> None:
    stack = make()
    browser = Browser(stack)
    browser.get("/login")
    browser.get(path)
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            browser.get(path)
            if path == "/late":
                read_late(browser)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        left = [type(thing).__name__ for thing in gc.garbage if is_of_a_request(thing)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
        stack.close()
    assert left == []


def read_late(browser: Browser) -> None:
    """As a middleware does that stands outside, and is the first to read the session."""
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    environ = environ_of("/late", cookie=cookie)
    call(browser.app, environ)
    assert get_session(environ).principal == "alice"


def is_of_a_request(thing: object) -> bool:
    is_environ = isinstance(thing, dict) and "wsgi_sessions.session" in thing
    return is_environ or type(thing).__module__.startswith("wsgi_sessions")
