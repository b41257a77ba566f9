"""``wsgi-sessions import``: what another library stored, converted; pickles on request."""

from __future__ import annotations

import ast
import json
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import django_site
import flask_sites
import pytest
from command_line import assert_refused, run
from wsgi_client import Browser

import wsgi_sessions
from wsgi_sessions import Config, build, get_session
from wsgi_sessions.importers.settings import ImportConfig

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIEnvironment
    from redis_servers import RedisServer


def user(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    session = get_session(environ)
    start_response("200 OK", [])
    return [json.dumps([session.get("user_id"), session.principal]).encode()]


def seen(store: Path, url: str, cookie: str) -> list[Any]:
    """What our application then knows of the user who has this cookie of the former one."""
    config = Config(url=f"file://{store}", imports=ImportConfig(url, date(9998, 12, 31)))
    stack = build(user, config)
    name = "sessionid" if url.startswith("django") else "session"
    body = Browser(stack).get("/", cookie=f"{name}={cookie}").body
    stack.close()
    found: list[Any] = json.loads(body)
    return found


@pytest.mark.parametrize("library", ["flask-session", "django"])
def test_pickles_are_converted_only_where_that_is_asked_for(
    end_to_end_redis: RedisServer, tmp_path: Path, library: str
) -> None:
    if library == "django":
        settings = django_site.on_redis(end_to_end_redis.url, None)  # its own serializer: pickle
        url = f"django+{end_to_end_redis.url}"
        cookie = django_site.visit(settings, "/login").cookie
        assert cookie is not None
        expected: list[object] = [None, "7"]
        key = "_auth_user_id"
    else:
        cookie = flask_sites.in_files(tmp_path / "theirs").login()
        url = flask_sites.import_url(tmp_path / "theirs")
        expected, key = [7, 7], "user_id"
    environ = {
        "WSGI_SESSIONS_URL": f"file://{tmp_path}/ours",
        "WSGI_SESSIONS_PRINCIPAL_KEY": key,
        "WSGI_SESSIONS_IMPORT_FROM": url,
        "WSGI_SESSIONS_IMPORT_UNTIL": "9998-12-31",
    }
    refused = run("import", **environ)
    assert refused.exit_code == 1
    assert "refused" in refused.stdout
    assert "--allow-pickle" in refused.stdout
    assert cookie not in refused.stdout

    tried = run("import", "--allow-pickle", "--dry-run", "--json", **environ)
    assert tried.exit_code == 0, tried.stdout
    assert json.loads(tried.stdout)["outcomes"]["imported"] >= 1
    assert seen(tmp_path / "ours", url, cookie) == [None, None]

    done = run("import", url, "--allow-pickle", **environ)
    assert done.exit_code == 0, done.stdout
    assert seen(tmp_path / "ours", url, cookie) == expected
    again = run("import", "--allow-pickle", "--json", **environ)
    # The old record was deleted when the session was taken over.
    assert json.loads(again.stdout)["outcomes"].get("imported") is None


def test_usage(tmp_path: Path) -> None:
    environ = {"WSGI_SESSIONS_URL": f"file://{tmp_path}"}
    assert_refused(run("import", **environ), 2, "WSGI_SESSIONS_IMPORT_FROM")
    assert_refused(run("import", "shelve://", **environ), 2, "unknown library")
    environ["WSGI_SESSIONS_IMPORT_SECRET_KEYS"] = "dev"
    assert_refused(run("import", "flask-cookie://", **environ), 2, "nothing to import in advance")
    down = "flask-session+redis://:a-password@127.0.0.1:1/0"
    refused = run("import", down, **environ)
    assert_refused(refused, 1, "127.0.0.1:1")
    assert "a-password" not in refused.stdout


def test_nothing_but_this_command_knows_of_pickle() -> None:
    package = Path(wsgi_sessions.__file__).parent
    importing: dict[str, set[str]] = {"pickle": set(), "wsgi_sessions.importers.pickles": set()}
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [str(node.module), *(f"{node.module}.{a.name}" for a in node.names)]
            for name in importing.keys() & set(names):
                importing[name].add(str(path.relative_to(package)))
    assert importing == {
        "pickle": {"importers/pickles.py"},
        "wsgi_sessions.importers.pickles": {"cli/commands/importing.py"},
    }
