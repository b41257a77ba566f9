"""The lease on a new session, or a new id, is there before anybody is told the id."""

from __future__ import annotations

import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from redis_servers import RedisServer, available
from requirements_of_tests import require
from watched_leases import TEXT, WatchedLeases
from wsgi_client import environ_of

from wsgi_sessions import LeasePolicy, get_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

ENDINGS = ("list", "stream")
CHANGES: dict[str, Callable[[Any], object]] = {
    "makes a session": lambda session: session.update(n=1),
    "logs in": lambda session: session.login("alice"),
    "cycles the id": lambda session: session.cycle_id(),
}


@pytest.fixture(params=["memory", pytest.param("file", marks=pytest.mark.soak), "redis"])
def web(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[WatchedLeases]:
    if request.param != "redis":
        url = "memory://" if request.param == "memory" else f"file://{tmp_path}/sessions"
        with closing(WatchedLeases(url)) as web:
            yield web
        return
    require(available())
    with RedisServer() as server, closing(WatchedLeases(server.url)) as web:
        yield web


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("change", CHANGES)
def test_a_session_is_held_before_its_id_leaves(
    web: WatchedLeases, change: str, ending: str
) -> None:
    """Also while the thread that renews leases is busy elsewhere."""

    @web.on("/change")
    def page(environ: Any, start_response: Any) -> Any:
        CHANGES[change](get_session(environ))
        start_response("200 OK", [*TEXT])
        return [b"x"] if ending == "list" else iter([b"x", b"y"])

    if change == "cycles the id":
        web.browser.get("/start")
    told: list[int] = []
    before = set(web.backend.iteration.keys())
    busy = threading.Event()
    web.leases.keeper.do(lambda: busy.wait(10))

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
        assert any(name == "Set-Cookie" for name, _ in headers)
        told.extend(map(web.store.holders, set(web.backend.iteration.keys()) - before))
        return lambda data: None

    cookie = "; ".join(f"{name}={value}" for name, value in web.browser.cookies.items())
    body = web.app(environ_of("/change", cookie=cookie or None), start_response)
    list(body)
    if hasattr(body, "close"):
        body.close()
    busy.set()
    assert told == [1]


def test_a_claim_on_the_new_id_is_waited_for_no_longer_than_on_others() -> None:
    with closing(WatchedLeases("memory://", LeasePolicy(wait=0.0))) as web:
        lease = web.leases.begin(web.backend.sessions.load)
        assert web.store.claim("k" * 64, "a refresher", 60.0)
        lease.follow("k" * 64)
        lease.release()
