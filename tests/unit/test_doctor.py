"""`wsgi-sessions check`: what it finds, and what it says to do."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

import pytest
from answering import serving
from command_line import A_SECRET, NOBODY_LISTENS, run, said
from databases import sqlite
from redis_servers import RedisServer, available
from requirements_of_tests import require

from wsgi_sessions import Config, open_backend
from wsgi_sessions.health.checker import fingerprint
from wsgi_sessions.health.middleware import HealthMiddleware
from wsgi_sessions.http.cookies.session_cookie import CookiePolicy
from wsgi_sessions.operations import server_check
from wsgi_sessions.operations.doctor import examine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result

OTHER_SECRET = "another-secret-of-the-tests-with-32-bytes"


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """A file store."""
    open_backend(f"file://{tmp_path}/s").close()
    return f"{tmp_path}/s"


def findings(url: str, *options: str, **environ: str) -> list[tuple[str, str, str]]:
    """What is found, which has the same exit code as JSON and as text, and stands in both."""
    environ = {"WSGI_SESSIONS_URL": url, "WSGI_SESSIONS_SECRET_KEYS": A_SECRET, **environ}
    as_json = run("check", "--json", *options, **environ)
    as_text = run("check", *options, **environ)
    assert as_json.exit_code == as_text.exit_code
    assert as_json.stderr == said(as_text) == ""
    found = [tuple(finding.values()) for finding in json.loads(as_json.stdout)["findings"]]
    has_fault = any(level == "fault" for level, *_ in found)
    warned = 3 if found and "--strict" in options else 0
    assert as_json.exit_code == (1 if has_fault else warned)
    for level, topic, text in found:
        assert f"\n{level} ({topic}): {text}\n" in as_text.stdout
    return found


def test_nothing_is_found_where_all_is_well(folder: str) -> None:
    assert findings(f"file://{folder}", "--strict") == []


@pytest.mark.parametrize(
    ("settings", "also"),
    [({}, ""), ({"DOMAIN": "example.org", "PATH": "/app"}, "unset WSGI_SESSIONS_COOKIE_DOMAIN")],
)
def test_a_name_that_other_hosts_cannot_set_is_advised_by_name(
    folder: str, settings: dict[str, str], also: str
) -> None:
    """It is no finding: an application on plain http could not follow."""
    variables = {f"WSGI_SESSIONS_COOKIE_{name}": value for name, value in settings.items()}
    variables["WSGI_SESSIONS_URL"] = f"file://{folder}"
    (text,) = json.loads(run("check", "--json", **variables).stdout)["advice"]
    assert "WSGI_SESSIONS_COOKIE_NAME=__Host-session" in text
    assert also in text
    assert f"advice: {text}\n" in run("check", **variables).stdout
    assert f"advice: {text}\n" in run("config", **variables).stderr


@pytest.mark.parametrize(
    ("name", "value"), [("NAME", "__Host-sid"), ("NAME", "__host-sid"), ("SECURE", "never")]
)
def test_nothing_is_advised_where_it_is_so_or_cannot_be(folder: str, name: str, value: str) -> None:
    variables = {f"WSGI_SESSIONS_COOKIE_{name}": value, "WSGI_SESSIONS_URL": f"file://{folder}"}
    assert json.loads(run("check", "--json", **variables).stdout)["advice"] == []
    assert "__Host-session" not in run("config", **variables).stdout


def test_wrong_permissions(folder: str) -> None:
    os.chmod(folder, 0o755)  # what is to be found
    with open(f"{folder}/secret", "w", encoding="ascii") as file:
        file.write(A_SECRET)
    os.chmod(f"{folder}/secret", 0o644)
    (mode, secret) = findings(f"file://{folder}")
    assert mode[:2] == secret[:2] == ("warning", "store")
    assert "mode 755" in mode[2]
    assert "chmod 700" in mode[2]
    assert "chmod 600" in secret[2]
    assert len(findings(f"file://{folder}", "--strict")) == 2


def test_a_folder_of_another_user(folder: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(folder, 12345, -1)
    result = run("check", WSGI_SESSIONS_URL=f"file://{folder}")
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"{folder} belongs to user 12345" in result.stderr
    assert "Run it as its owner: sudo -E -u '#12345' wsgi-sessions" in result.stderr


def test_an_eviction_policy() -> None:
    require(available())
    with RedisServer() as server:
        server.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        ((level, topic, text),) = findings(server.url)
        assert (level, topic) == ("warning", "store")
        assert "allkeys-lru" in text
        assert "set maxmemory-policy to noeviction" in text


def test_missing_tables(tmp_path: Path) -> None:
    database = sqlite(tmp_path)
    database.run("CREATE TABLE something (id INTEGER)")
    ((level, topic, text),) = findings(database.url)
    assert (level, topic) == ("fault", "store")
    assert "wsgi-sessions migrate-schema" in text


def test_a_store_that_is_down() -> None:
    ((level, topic, text),) = findings(NOBODY_LISTENS)
    assert (level, topic) == ("fault", "store")
    assert "127.0.0.1:1" in text
    assert "a-password" not in text


def test_missing_keys() -> None:
    result = run("check", "--json", WSGI_SESSIONS_URL="memory://")
    (keys, memory) = json.loads(result.stdout)["findings"]
    assert (result.exit_code, keys["level"], keys["topic"]) == (1, "fault", "keys")
    assert "wsgi-sessions keygen" in keys["text"]
    assert "single worker" in memory["text"]


def test_a_misspelt_variable(folder: str) -> None:
    ((level, topic, text),) = findings(f"file://{folder}", WSGI_SESSIONS_TIMOUT="1s")
    assert (level, topic) == ("warning", "settings")
    assert text.endswith(
        "unknown setting WSGI_SESSIONS_TIMOUT ignored: did you mean WSGI_SESSIONS_TIMEOUT?"
    )


@pytest.mark.parametrize(("ahead", "word"), [(30.0, "behind"), (-30.0, "ahead of")])
def test_a_clock_that_is_not_in_step(folder: str, ahead: float, word: str) -> None:
    config = Config(url=f"file://{folder}", secret_keys=(A_SECRET,))
    found = examine(open_backend(config.url), config, clock=lambda: time.time() + ahead)
    (finding,) = found.findings
    assert (finding.level, finding.topic) == ("warning", "clock")
    assert word in finding.text
    assert found.skew == pytest.approx(-ahead, abs=20)


# -- a server --------------------------------------------------------------------------------------


def workers(folder: str, *secrets: str, **more: Any) -> Callable[[Any, Any], Any]:
    """Workers with these secrets, that answer in turn."""
    backend = open_backend(f"file://{folder}")
    apps = [
        HealthMiddleware(lambda *_: [], backend, fingerprints=[fingerprint(secret)], **more)
        for secret in secrets
    ]
    numbers = iter(range(10_000))
    return lambda environ, start: apps[next(numbers) % len(apps)](environ, start)


def test_workers_that_agree(folder: str) -> None:
    with serving(workers(folder, A_SECRET, A_SECRET)) as url:
        assert findings(f"file://{folder}", "--server", url) == []


@pytest.mark.parametrize(
    ("address", "settings", "said"),
    [
        ("http://shop.example.org", {"secure": "always"}, ["Secure"]),
        ("http://shop.example.org", {"name": "__Host-session"}, ["Secure"]),
        ("http://shop.example.org", {}, []),
        ("http://127.0.0.1:8000", {"secure": "always"}, []),
        ("http://localhost:8000", {"secure": "always"}, []),
        ("https://shop.example.org", {"secure": "always"}, []),
        ("https://shop.example.org", {"domain": "example.org"}, []),
        ("https://shop.example.net", {"domain": "example.org"}, ["WSGI_SESSIONS_COOKIE_DOMAIN"]),
        ("https://notexample.org:444", {"domain": "example.org"}, ["WSGI_SESSIONS_COOKIE_DOMAIN"]),
    ],
)
def test_browsers_would_not_take_the_cookie(
    address: str, settings: dict[str, Any], said: list[str]
) -> None:
    config = Config(url="memory://", secret_keys=(A_SECRET,), cookie=CookiePolicy(**settings))
    found = list(server_check._of_cookie(address, config))
    assert [finding.level for finding in found] == ["warning"] * len(said)
    for finding, text in zip(found, said, strict=True):
        assert text in finding.text


def test_workers_with_different_keys(folder: str) -> None:
    with serving(workers(folder, A_SECRET, A_SECRET, OTHER_SECRET)) as url:
        ((level, topic, text),) = findings(f"file://{folder}", "--server", url)
    assert (level, topic) == ("fault", "keys")
    assert fingerprint(A_SECRET) in text
    assert fingerprint(OTHER_SECRET) in text
    assert "WSGI_SESSIONS_SECRET_KEYS" in text


def test_workers_with_other_keys_than_here(folder: str) -> None:
    with serving(workers(folder, OTHER_SECRET)) as url:
        ((level, topic, _),) = findings(f"file://{folder}", "--server", url)
    assert (level, topic) == ("warning", "keys")


def test_workers_on_another_store(folder: str, tmp_path: Path) -> None:
    from wsgi_sessions.stores.sql.backend import migrate_schema

    database = sqlite(tmp_path)
    migrate_schema(database.url)
    with serving(workers(folder, A_SECRET)) as url:
        ((level, topic, text),) = findings(database.url, "--server", url)
    assert (level, topic) == ("warning", "server")
    assert "use file" in text


def test_workers_that_show_details_to_holders_of_a_token(folder: str) -> None:
    token = {"WSGI_SESSIONS_HEALTH_TOKEN": "t" * 43}
    url = f"file://{folder}"
    with serving(workers(folder, A_SECRET, details="token", token="t" * 43)) as server:
        ((level, topic, text),) = findings(url, "--server", server)
        assert (level, topic) == ("warning", "server")
        assert "WSGI_SESSIONS_HEALTH_TOKEN" in text
        assert findings(url, "--server", server, **token) == []
    with serving(workers(folder, OTHER_SECRET, details="token", token="t" * 43)) as server:
        ((_, topic, _),) = findings(url, "--server", server, **token)
        assert topic == "keys"


def test_a_token_goes_to_the_named_server_alone(folder: str) -> None:
    seen = []

    def elsewhere(environ: Any, start_response: Any) -> list[bytes]:
        seen.append(environ.get("HTTP_AUTHORIZATION"))
        start_response("200 OK", [])
        return [b'{"backend": "file", "healthy": true}']

    with serving(elsewhere) as other:

        def redirect(environ: Any, start_response: Any) -> list[bytes]:
            assert environ["HTTP_AUTHORIZATION"]
            start_response("302 Found", [("Location", other)])
            return []

        with serving(redirect) as server:
            token = {"WSGI_SESSIONS_HEALTH_TOKEN": "t" * 43}
            findings(f"file://{folder}", "--server", server, **token)
    assert set(seen) == {None}


def strange(_: Any, start_response: Any) -> list[bytes]:
    start_response("404 Not Found", [("Content-Type", "text/html")])
    return [b"<p>nothing here"]


def test_an_address_that_is_not_a_server(folder: str) -> None:
    with serving(strange) as url:
        ((level, topic, text),) = findings(f"file://{folder}", "--server", url)
    assert (level, topic) == ("fault", "server")
    assert "did not answer" in text
    ((level, topic, _),) = findings(f"file://{folder}", "--server", url)
    assert (level, topic) == ("fault", "server"), "nobody listens there any more"


@pytest.mark.parametrize("url", ["file:///etc/passwd", "127.0.0.1:8000", "ftp://host/"])
def test_a_server_is_asked_by_http(folder: str, url: str) -> None:
    result: Result = run("check", "--server", url, WSGI_SESSIONS_URL=f"file://{folder}")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "http://127.0.0.1:8000/health/session" in result.stderr
