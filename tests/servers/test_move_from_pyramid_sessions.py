"""A Pyramid application moves from other sessions by one line and settings, and nobody notices."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import webtest
from gunicorn_server import GunicornServer
from moving_visitor import MovingVisitor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis_servers import RedisServer

SECRET = "the-shop's-own-secret-which-is-long-enough"
FORMER = (Path(__file__).parents[1] / "support" / "former_pyramid.py").read_text()
BEFORE = "config.set_session_factory(factory(settings))"
AFTER = 'config.include("wsgi_sessions.contrib.pyramid")'


class PyramidShop:
    """The shop under gunicorn, as it was and as it is after the move."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self._folder = folder
        self._environ = {"SHOP_SECRET": SECRET, "PYTHONPATH": str(folder), **settings}

    @contextmanager
    def former(self) -> Iterator[int]:
        with self._served(FORMER) as port:
            yield port

    @contextmanager
    def moved(self, source: str) -> Iterator[int]:
        assert FORMER.count(BEFORE) == 1
        settings = {
            "WSGI_SESSIONS_IMPORT_FROM": source,
            "WSGI_SESSIONS_IMPORT_UNTIL": "2090-12-31",
            "WSGI_SESSIONS_IMPORT_SECRET_KEYS": SECRET,
        }
        with self._served(FORMER.replace(BEFORE, AFTER), **settings) as port:
            yield port

    @contextmanager
    def _served(self, program: str, **settings: str) -> Iterator[int]:
        (self._folder / "pyramid_shop.py").write_text(program)
        with GunicornServer(
            worker_class="gthread",
            workers=2,
            app="pyramid_shop:served()",
            environ={**self._environ, **settings},
        ) as server:
            yield server.port
            assert "Traceback" not in server.log(), server.log()


def visitor_named(port: int, name: str) -> MovingVisitor:
    visitor = MovingVisitor()
    page = visitor.post(port, "/enter", visitor.get(port, "/").form, item=name)
    assert (page.statuses, page.user) == ([302, 200], name)
    return visitor


def put_into(port: int, visitor: MovingVisitor, form: dict[str, str], item: str) -> str:
    page = visitor.post(port, "/", form, item=item)
    assert (page.statuses, page.flashes) == ([302, 200], [f"put {item}"])
    return page.cart


@pytest.mark.parametrize("line", [BEFORE, AFTER], ids=["former", "moved"])
def test_the_shop_s_own_tests_pass_before_and_after(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shop_as_module.py").write_text(FORMER.replace(BEFORE, line))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "shop_as_module", raising=False)
    main = import_module("shop_as_module").main
    ours = {"url": "memory://", "secret_keys": SECRET}
    settings = {f"wsgi_sessions.{name}": value for name, value in ours.items()}
    app = webtest.TestApp(main(**{"shop.secret": SECRET, **settings}))

    def token() -> dict[str, str]:
        return {"csrf_token": app.get("/").forms[0]["csrf_token"].value}

    assert app.post("/", {"item": "tea"}, status=400)  # without the token
    app.post("/enter", {**token(), "item": "alice"}, status=302)
    page = app.post("/", {**token(), "item": "tea"}, status=302).follow()
    assert {"user=alice cart=tea", "flash=put tea"} <= set(page.text.splitlines())
    assert "flash=" not in app.get("/").text
    app.post("/leave", token(), status=302)
    assert "user=None" in app.get("/").text


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["cookie", "redis"])
def test_clients_of_a_pyramid_application_do_not_notice_the_move(
    kind: str, end_to_end_redis: RedisServer, tmp_path: Path
) -> None:
    url = end_to_end_redis.url
    more = {"SHOP_REDIS": url} if kind == "redis" else {}
    shop = PyramidShop(tmp_path, **more)
    with shop.former() as port:
        alice, bob = visitor_named(port, "alice"), visitor_named(port, "bob")
        form = alice.get(port, "/").form
        alice.post(port, "/", form, item="tea")
        forms = {who: who.get(port, "/").form for who in (alice, bob)}
        former = dict(bob.cookies)
    with shop.moved(
        f"pyramid-session-redis+{url}" if more else "pyramid-cookie://?max_age=1h"
    ) as port:
        assert put_into(port, alice, forms[alice], "cup").endswith("tea,cup")
        assert put_into(port, bob, forms[bob], "pot") == "pot", "the failed attempt left nothing"
        assert alice.get(port, "/").user == "alice"
        bob.post(port, "/leave", forms[bob])
        assert bob.get(port, "/").user == "None"
        bob.cookies = former
        assert bob.get(port, "/").user == "None", "the former cookie is dead too"
        assert visitor_named(port, "carol").get(port, "/").user == "carol"
