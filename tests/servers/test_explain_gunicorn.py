"""Ends of sessions under gunicorn: afterwards ``explain`` names the reason of each."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from command_line import run
from gunicorn_server import APPLICATION, SECRET, GunicornServer
from redis_servers import wait_until
from store_urls import STORES

from wsgi_sessions.identity import short_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gunicorn_server import HttpBrowser

pytestmark = pytest.mark.soak

IDLE_SECONDS = 6


class Operated:
    """A server of three workers, and the commands of its operator."""

    def __init__(self, server: GunicornServer) -> None:
        self.server = server
        self.environ = {
            "WSGI_SESSIONS_URL": server.url,
            "WSGI_SESSIONS_SECRET_KEYS": SECRET,
            "WSGI_SESSIONS_APPLICATION": APPLICATION,
            "WSGI_SESSIONS_IDLE_LIFETIME": f"{IDLE_SECONDS}s",
        }

    def login(self, user: str) -> HttpBrowser:
        browser = self.server.browser()
        browser.get("/start")
        assert browser.get("/login", user=user).status == 200
        return browser

    def command(self, *arguments: str) -> str:
        result = run(*arguments, **self.environ)
        assert result.exit_code == 0, result.output
        return result.stdout

    def explained(self, key: str) -> dict[str, Any]:
        found = json.loads(self.command("explain", short_key(key), "--json"))
        (story,) = found["sessions"]
        return dict(story)

    def wait_for(self, key: str, why: str) -> dict[str, Any]:
        wait_until(lambda: self.explained(key)["why"] == why, f"{why} of {short_key(key)}", 60)
        return self.explained(key)


@pytest.fixture(params=["file", "redis", "sqlite"])
def operated(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Operated]:
    with ExitStack() as stack:
        url = stack.enter_context(STORES[request.param](tmp_path))
        times = {
            "WSGI_SESSIONS_IDLE_LIFETIME": f"{IDLE_SECONDS}s",
            "WSGI_SESSIONS_SWEEP_INTERVAL": "1s",
        }
        server = GunicornServer(worker_class="gthread", url=url, environ=times)
        yield Operated(stack.enter_context(server))


def test_each_end_under_gunicorn_is_explained_by_key_and_by_user(operated: Operated) -> None:
    leaving, ended, unused, moving, staying = (
        operated.login(user) for user in ("lea", "eva", "una", "mo", "stan")
    )
    key = {name: b.key for name, b in (("lea", leaving), ("eva", ended), ("una", unused))}
    began = moving.key
    assert leaving.get("/logout").status == 200
    assert moving.get("/login", user="mo").status == 200
    operated.command("revoke", short_key(key["eva"]), "--yes")

    assert operated.wait_for(key["lea"], "logged-out")["route"] == "GET /logout"
    revoked = operated.wait_for(key["eva"], "revoked")
    assert revoked["by"].startswith("command revoke of ")
    replaced = operated.wait_for(began, "replaced")
    assert replaced["successor"] == short_key(moving.key)
    assert "process" in str(replaced["process"])

    deadline = time.monotonic() + IDLE_SECONDS + 3
    while time.monotonic() < deadline:  # in use, as una's is not
        assert staying.get("/change", item=int(time.monotonic())).status == 200
        time.sleep(0.5)
    assert operated.explained(staying.key)["state"] == "live"
    _expect_expiry(operated, key["una"], "una")

    by_user = json.loads(operated.command("explain", "--principal", "eva", "--json"))
    assert [story["why"] for story in by_user["sessions"]] == ["revoked"]
    at = time.strftime("%H:%M:%S", time.gmtime(revoked["steps"][-1]["at"]))
    told = operated.command("explain", "--principal", "eva", "--at", at)
    assert "ended: revoked" in told
    assert "the time asked for" in told


def _expect_expiry(operated: Operated, key: str, user: str) -> None:
    if not operated.server.url.startswith(("redis", "unix")):
        assert operated.wait_for(key, "expired-idle")["by"] == "sweeper"
        return
    found = json.loads(operated.command("explain", short_key(key), "--json"))
    assert found["sessions"] == []
    assert any("the server deleted" in gap for gap in found["not_known"])
    (story,) = json.loads(operated.command("explain", "--principal", user, "--json"))["sessions"]
    assert (story["key"], story["why"], story["is_inferred"]) == (
        short_key(key),
        "expired-idle",
        True,
    )
