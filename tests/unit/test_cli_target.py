"""Commands know the application, say which store they look at, and compare running servers."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from answering import serving
from command_line import run
from target_apps import SECRET, app, flask_app, stack
from wsgi_client import Browser

from wsgi_sessions import Config, build
from wsgi_sessions.stack.places import place_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

WSGI = """
from target_apps import stack
application = stack({url!r})
"""
SHOP = """
from target_apps import flask_app
def create_app():
    return flask_app({url!r})
class Middleware:
    def __init__(self, app): self.app = app
wrapped = Middleware(create_app())
other = object()
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"file://{tmp_path}/sessions"


@pytest.fixture
def programs(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Where a server would find the applications: in the current folder."""
    (tmp_path / "target_wsgi.py").write_text(WSGI.format(url=url))
    (tmp_path / "target_shop.py").write_text(SHOP.format(url=url))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in ("target_wsgi", "target_shop"):
        __import__("sys").modules.pop(name, None)


# -- the application -------------------------------------------------------------------------------


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize("target", ["target_wsgi", "target_wsgi:application"])
def test_a_wsgi_application_is_asked_for_its_settings(target: str, url: str) -> None:
    Browser(stack(url)).get("/")
    found = run("list", "--app", target, "--principal", "alice")
    assert found.stdout.endswith("1 session\n"), found.output
    assert f"store: {url} (from argument); application shop" in found.stderr
    assert "warning" not in found.stderr


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize("target", ["target_shop:create_app()", "target_shop:wrapped"])
def test_a_flask_application_is_asked_for_its_settings(target: str, url: str) -> None:
    made = flask_app(url)
    Browser(made.wsgi_app).get("/")
    found = run("count", "--app", target)
    assert found.stdout.split()[:2] == ["sessions", "1"], found.output
    assert f"store: {url} (from WSGI_SESSIONS_URL); application " in found.stderr
    rows = {row["env"]: row for row in json.loads(run("config", "--app", target, "--json").stdout)}
    assert rows["WSGI_SESSIONS_IDLE_LIFETIME"]["value"] == "5m"
    ended = run("revoke", "--app", target, "--principal", "alice", "--yes")
    assert ended.stdout == "ended 1 session\n"


def test_flask_has_the_commands_as_a_group(url: str) -> None:
    made = flask_app(url)
    Browser(made.wsgi_app).get("/")
    runner = made.test_cli_runner()
    found = runner.invoke(args=["sessions", "list", "--principal", "alice"])
    assert found.stdout.endswith("1 session\n"), found.output
    assert f"store: {url} (from WSGI_SESSIONS_URL)" in found.stderr
    assert runner.invoke(args=["sessions", "check"]).exit_code == 0
    listed = runner.invoke(args=["sessions", "--help"]).stdout
    assert "revoke" in listed
    assert "keygen" not in listed
    refused = runner.invoke(args=["sessions", "count", "--url", "memory://"])
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "Error: sessions in memory://" in refused.stderr


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("nowhere:application", "ModuleNotFoundError"),
        ("target_wsgi:missing", "AttributeError"),
        ("target_shop:other", "it has no sessions of this package"),
    ],
)
def test_objects_that_are_not_an_application_are_refused(target: str, told: str) -> None:
    refused = run("count", "--app", target)
    assert refused.exit_code == 2
    assert told in refused.stderr
    assert "Traceback" not in refused.stderr


# -- which store -----------------------------------------------------------------------------------


def test_each_command_says_which_store_and_why(url: str) -> None:
    build(app, Config(url=url, secret_keys=(SECRET,))).close()
    for command in ("count", "list", "leases", "sweep", "purge", "reindex", "check"):
        assert (
            f"store: {url} (from WSGI_SESSIONS_URL)\n" in run(command, WSGI_SESSIONS_URL=url).stderr
        )
        assert f"store: {url} (from --url)\n" in run(command, "--url", url).stderr
        assert run(command, "--url", url, "--json").stderr == ""


def test_the_default_store_is_a_warning(tmp_path: Path) -> None:
    for words in (["count"], ["count", "--json"]):
        found = run(*words, HOME=str(tmp_path), XDG_STATE_HOME=str(tmp_path))
        assert (
            "warning: this is the default store because nothing is configured here" in found.stderr
        )


def test_no_password_is_said() -> None:
    found = run("check", "--url", "redis://:hunter2@127.0.0.1:1/0")
    assert "store: redis://***@127.0.0.1:1/0" in found.stderr
    assert "hunter2" not in found.output


# -- servers ---------------------------------------------------------------------------------------


def findings(*words: str) -> list[tuple[str, str, str]]:
    found = json.loads(run("check", "--json", *words, WSGI_SESSIONS_SECRET_KEYS=SECRET).stdout)
    return [tuple(finding.values()) for finding in found["findings"]]


def shifted(inner: WSGIApplication, date: str) -> WSGIApplication:
    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            return start_response(status, [*headers, ("Date", date)], exc_info)

        return inner(environ, start)

    return application


def base(health_url: str) -> str:
    return health_url.removesuffix("/health/session")


def test_a_server_is_named_with_or_without_its_path(url: str) -> None:
    with serving(build(app, Config(url=url, secret_keys=(SECRET,)))) as server:
        for given in (base(server), base(server) + "/", base(server) + "/health/session"):
            assert findings("--url", url, "--server", given) == []


def test_a_server_on_another_folder_is_reported_even_if_the_kind_is_the_same(
    url: str, tmp_path: Path
) -> None:
    elsewhere = Config(url=f"file://{tmp_path}/other", secret_keys=(SECRET,))
    with serving(build(app, elsewhere)) as server:
        ((level, topic, text),) = findings("--url", url, "--server", server)
    assert (level, topic) == ("warning", "server")
    assert "use another file store" in text


def test_several_servers_are_compared_with_each_other(url: str, tmp_path: Path) -> None:
    configs = [Config(url=u, secret_keys=(SECRET,)) for u in (url, f"file://{tmp_path}/other")]
    with ExitStack() as open_:
        first, second = (open_.enter_context(serving(build(app, c))) for c in configs)
        found = findings("--url", url, "--server", first, "--server", second)
        ((level, topic, text),) = found
        assert (level, topic) == ("fault", "server")
        for server, config in zip((first, second), configs, strict=True):
            assert f"{base(server)}: {place_of(config)}" in text
        assert findings("--url", url, "--server", first, "--server", first) == []


def test_a_server_s_clock_is_compared(url: str) -> None:
    late = shifted(
        build(app, Config(url=url, secret_keys=(SECRET,))), "Mon, 01 Jan 2001 00:00:00 GMT"
    )
    with serving(late) as server:
        ((level, topic, text),) = findings("--url", url, "--server", server)
    assert (level, topic) == ("warning", "clock")
    assert "behind this host's" in text


def test_a_place_tells_stores_apart_and_holds_no_credentials(tmp_path: Path) -> None:
    def place(url: str, **more: Any) -> str:
        return place_of(Config(url=url, **more))

    same = [
        "redis://:a@host/0",
        "redis://user:b@HOST:6379/0?ssl_cert_reqs=none".replace(":6379", ""),
        "redis://host",
    ]
    assert len({place(url) for url in same}) == 1
    others = ["redis://host/1", "redis://host2/0", "postgresql://host/0", "redis://localhost/0"]
    assert len({place(url) for url in [*others, same[0]]}) == 5
    assert place(same[0]) != place(same[0], application="shop")
    assert place(same[0]) != place(same[0], key_prefix="x:")
    assert place("redis://localhost/0") == place("redis://127.0.0.1/0")
    assert place("redis://localhost:1/0") != place("redis://localhost:2/0")
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert place(f"file://{tmp_path}/a") == place(f"file://{tmp_path}/link")
