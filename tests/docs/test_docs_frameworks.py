"""The documents' programs for frameworks without an adapter, run, and with more views."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from documents import PAGES, blocks
from wsgi_client import Browser

from wsgi_sessions import StoreUnavailable
from wsgi_sessions.testing import StoreFaults

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAMS = {
    found[1]: program
    for program in blocks("python", PAGES["howto/wsgi"])
    if (found := re.match(r"# (\w+)_app\.py", program))
}

MORE = {
    "plain": """
def every(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/visits":
        return app(environ, start_response)
    status = "500 Internal Server Error" if path == "/fail" else "200 OK"
    start_response(status, [("Content-Type", "text/plain")])
    return globals()[path[1:]](environ)

def nothing(environ):
    return [b"nothing"]

def show(environ):
    return [json.dumps(dict(get_session(environ))).encode()]

def fail(environ):
    get_session(environ)["failed"] = True
    return []

def stream(environ):
    session = get_session(environ)
    yield b"begun"
    session["streamed"] = True
    yield b", and ended"

application.close()
application = from_env(every)
""",
    "bottle": """
@app.get("/nothing")
def nothing():
    return "nothing"

@app.get("/show")
def show():
    return dict(get_session(request.environ))

@app.get("/fail")
def fail():
    get_session(request.environ)["failed"] = True
    raise RuntimeError("planted")

@app.get("/stream")
def stream():
    session = get_session(request.environ)
    yield "begun"
    session["streamed"] = True
    yield ", and ended"
""",
    "falcon": """
class Nothing:
    def on_get(self, req, resp):
        resp.text = "nothing"

class Show:
    def on_get(self, req, resp):
        resp.media = dict(get_session(req.env))

class Fail:
    def on_get(self, req, resp):
        get_session(req.env)["failed"] = True
        raise RuntimeError("planted")

class Stream:
    def on_get(self, req, resp):
        def chunks():
            yield b"begun"
            get_session(req.env)["streamed"] = True
            yield b", and ended"

        resp.stream = chunks()

for resource in (Nothing, Show, Fail, Stream):
    app.add_route(f"/{resource.__name__.lower()}", resource())
""",
    "cherrypy": """
cherrypy.config.update({"log.screen": False})

def nothing():
    return "nothing"

@cherrypy.tools.json_out()
def show():
    return dict(get_session(cherrypy.request.wsgi_environ))

def fail():
    get_session(cherrypy.request.wsgi_environ)["failed"] = True
    raise RuntimeError("planted")

def stream():
    session = get_session(cherrypy.request.wsgi_environ)
    def chunks():
        yield b"begun"
        session["streamed"] = True
        yield b", and ended"
    return chunks()

stream._cp_config = {"response.stream": True}
for page in (nothing, show, fail, stream):
    setattr(Root, page.__name__, staticmethod(cherrypy.expose(page)))
""",
    "fastapi": """
from fastapi.responses import StreamingResponse

@app.get("/nothing")
def nothing():
    return "nothing"

@app.get("/show")
async def show(request: Request):
    return dict(get_session(request.scope["wsgi_environ"]))

@app.get("/fail")
def fail(request: Request):
    get_session(request.scope["wsgi_environ"])["failed"] = True
    raise RuntimeError("planted")

@app.get("/stream")
def stream(request: Request):
    session = get_session(request.scope["wsgi_environ"])
    def chunks():
        yield b"begun"
        session["streamed"] = True
        yield b", and ended"
    return StreamingResponse(chunks())
""",
}


@contextmanager
def loops_ended() -> Iterator[None]:
    """Event loops, and their threads, that begin in the block end with it."""
    made: list[asyncio.AbstractEventLoop] = []
    others = set(threading.enumerate())

    def new_event_loop() -> asyncio.AbstractEventLoop:
        made.append(asyncio.SelectorEventLoop())
        return made[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio, "new_event_loop", new_event_loop)
        yield
    for loop in made:
        asyncio.run_coroutine_threadsafe(tasks_ended(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
    for thread in set(threading.enumerate()) - others:
        thread.join(30)
    for loop in made:
        loop.close()


async def tasks_ended() -> None:
    """A request whose body was closed early leaves its task waiting."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


@pytest.fixture(params=PROGRAMS)
def program(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The names of one program, run as a file that is imported."""
    monkeypatch.setenv("WSGI_SESSIONS_URL", "memory://")
    monkeypatch.setenv("WSGI_SESSIONS_SECRET_KEYS", "a-secret-of-the-tests-with-32-bytes")
    names: dict[str, Any] = {"__name__": f"{request.param}_app"}
    with loops_ended():
        exec(PROGRAMS[request.param], names)
        exec(MORE[request.param], names)
        yield names["application"]
        names["application"].close()


def test_there_is_a_program_for_each_framework() -> None:
    assert PROGRAMS.keys() == MORE.keys()


def test_a_session_lasts_from_request_to_request(program: Any) -> None:
    browser, other = Browser(program), Browser(program)
    assert [visits(browser), visits(browser), visits(other)] == [1, 2, 1]


def test_a_request_that_does_not_touch_its_session_makes_no_store_call(program: Any) -> None:
    browser = Browser(program)
    for called in ({"create": 1}, {}):  # without a cookie, and with one
        with StoreFaults(program.manager.backend).count() as calls:
            answer = browser.get("/nothing")
            assert (answer.status, answer.body.strip(b'"')) == (200, b"nothing")
            assert not calls
            if called:
                visits(browser)
                assert calls == called


def visits(browser: Browser) -> int:
    found: int = json.loads(browser.get("/visits").body)["visits"]
    return found


def test_a_failure_stores_nothing(program: Any) -> None:
    browser = Browser(program)
    visits(browser)
    assert browser.get("/fail").status == 500
    assert json.loads(browser.get("/show").body) == {"visits": 1}


def test_a_stream_changes_the_session_to_its_end(program: Any) -> None:
    browser = Browser(program)
    visits(browser)
    assert browser.get("/stream").body == b"begun, and ended"
    assert json.loads(browser.get("/show").body) == {"visits": 1, "streamed": True}


def test_an_outage_is_a_503(program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("the store is down", operation="load")

    browser = Browser(program)
    visits(browser)
    monkeypatch.setattr(program.manager.backend.sessions, "load", fail)
    assert browser.get("/visits").status == 503
