"""The console of operators: who is let in, what it may do, what is on it, and what never is."""

from __future__ import annotations

import hmac
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from command_line import NOBODY_LISTENS, assert_refused, run
from console_operator import HOSTILE, PATHS, Operator
from overlapping import SECRET, Sessions
from werkzeug.test import Client

from wsgi_sessions import Config, open_backend
from wsgi_sessions.console.admission import COOKIE
from wsgi_sessions.console.board import board
from wsgi_sessions.console.charts import Series, stacked
from wsgi_sessions.console.numbers.collected import STORE, TITLES
from wsgi_sessions.identity import short_key, store_key
from wsgi_sessions.stack.store import open_store
from wsgi_sessions.testing import StoreFaults
from wsgi_sessions.versions.policy import STAMPS

if TYPE_CHECKING:
    from pathlib import Path

    from wsgi_sessions.contract import Backend


@pytest.fixture
def backend() -> Backend:
    return open_backend("memory://")


@pytest.fixture
def sessions(backend: Backend) -> Sessions:
    return Sessions(backend)


@pytest.fixture
def operator(backend: Backend) -> Operator:
    return Operator(backend)


# -- who is let in ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_shown_without_the_token(operator: Operator, path: str) -> None:
    response = Client(operator.console).get(path)
    assert response.status_code == 403
    assert "Set-Cookie" not in response.headers


@pytest.mark.parametrize("wrong", ["", "x", "é", "x" * 43])
def test_a_wrong_token_or_cookie_is_refused(operator: Operator, wrong: str) -> None:
    client = Client(operator.console)
    assert client.get("/console/", query_string={"token": wrong}).status_code == 403
    client.set_cookie(COOKIE, wrong, path="/console")
    assert client.get("/console/").status_code == 403
    client.set_cookie(COOKIE, operator.token, path="/console")  # not the token: it is in the URL
    assert client.get("/console/").status_code == 403


def test_the_token_gives_a_strict_cookie_and_leaves_the_address(operator: Operator) -> None:
    client = Client(operator.console)
    response = client.get(f"/console/?token={operator.token}")
    assert (response.status_code, response.headers["Location"]) == (303, "/console/")
    words = set(response.headers["Set-Cookie"].split("; ")[1:])
    assert words == {"HttpOnly", "SameSite=Strict", "Path=/console"}
    assert operator.token not in response.headers["Set-Cookie"]
    assert client.get("/console/").status_code == 200


def test_each_start_has_a_token_of_its_own(operator: Operator, backend: Backend) -> None:
    other = Operator(backend)
    assert len(operator.token) >= 43
    assert Client(other.console).get(f"/console/?token={operator.token}").status_code == 403


def test_tokens_are_compared_in_constant_time(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(given: bytes, expected: bytes) -> bool:
        compared.append((given, expected))
        return given == expected

    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert operator.admission.knows(operator.token)
    operator.page()
    assert len(compared) == 2


# -- what the page may do --------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*PATHS, "/nothing", "/console/?token=wrong"])
def test_every_answer_forbids_foreign_and_inline_code(operator: Operator, path: str) -> None:
    for client in (operator.client, Client(operator.console)):
        headers = client.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none';")
        assert "unsafe" not in policy
        assert headers["Cache-Control"] == "no-store"
        assert headers["Referrer-Policy"] == "no-referrer"


def test_the_page_has_no_inline_code_and_loads_nothing_from_elsewhere(
    operator: Operator, sessions: Sessions
) -> None:
    sessions.login(sessions.new(n=1), "ada")
    for path in ("/console/", "/console/user?principal=ada"):
        page = operator.page(path)
        assert not re.search(r"<style|<script(?! src=\"/)|\son\w+=|\sstyle=|https?://", page)


def test_only_the_files_of_the_page_are_served(operator: Operator) -> None:
    for name in ("script.js", "style.css", "icon.svg"):
        assert operator.client.get(f"/console/static/{name}").status_code == 200
    for name in ("page.html", "../app.py", "%2e%2e%2fapp.py"):
        assert operator.client.get(f"/console/static/{name}").status_code == 404


def test_looking_changes_nothing(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/sessions"
    opened = open_backend(url)
    sessions = Sessions(opened)
    key = store_key(sessions.login(sessions.new(n=1), "ada"))
    opened.index.add("ada", "f" * 64, 4e9)  # of a session that is gone: a listing would tidy it
    damaged = tmp_path / "sessions" / "sessions" / "aa" / ("aa" * 32)
    damaged.parent.mkdir(exist_ok=True)
    damaged.write_bytes(b"rubbish" * 1000)

    def state() -> dict[str, Any]:
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}

    looked_at = open_store(Config(url=url, secret_keys=(SECRET,)), "look").backend
    before, operator = state(), Operator(looked_at)
    for path in [*PATHS, f"/console/session?key={short_key(key)}"]:
        operator.client.get(path)
    after = state()
    assert {name for name in before.keys() | after if before.get(name) != after.get(name)} == set()


def test_a_console_that_only_looks_ends_nothing(operator: Operator, sessions: Sessions) -> None:
    sessions.login(sessions.new(n=1), "ada")
    page = operator.page("/console/user?principal=ada")
    assert "1 live session" in page
    assert "revoke" not in page
    token = operator.admission.form_token
    assert operator.revoke(principal="ada", only="all", token=token).status_code == 405
    assert sessions.live() == 1


# -- ending sessions -------------------------------------------------------------------------------


def test_sessions_of_a_user_are_ended_one_or_all(backend: Backend, sessions: Sessions) -> None:
    operator = Operator(backend, may_revoke=True)
    first, *_ = [sessions.login(sessions.new(n=n), "ada") for n in range(3)]
    others = sessions.login(sessions.new(n=9), "grace")
    forms = re.findall(r'name="token" value="(\w+)"', operator.page("/console/user?principal=ada"))
    token, key = forms[0], short_key(store_key(first))

    response = operator.revoke(principal="ada", only=key, token=token)
    assert response.status_code == 303
    assert "Ended 1 session." in operator.page(response.headers["Location"])
    assert (sessions.seen(first)[0], sessions.live()) == (None, 3)
    # That of another user is not theirs.
    assert (
        "ended=0"
        in operator.revoke(principal="ada", only=short_key(store_key(others)), token=token).headers[
            "Location"
        ]
    )
    assert (
        "ended=2" in operator.revoke(principal="ada", only="all", token=token).headers["Location"]
    )
    assert sessions.live() == 1


@pytest.mark.parametrize("token", [None, "", "wrong", "the cookie", "the URL"])
def test_a_form_of_another_page_ends_nothing(
    backend: Backend, sessions: Sessions, token: str | None
) -> None:
    operator = Operator(backend, may_revoke=True)
    sessions.login(sessions.new(n=1), "ada")
    cookie = operator.client.get_cookie(COOKIE, path="/console")
    assert cookie is not None
    known = {"the cookie": cookie.value, "the URL": operator.token}
    form = {"principal": "ada", "only": "all"}
    if token is not None:
        form["token"] = known.get(token, token)
    assert operator.revoke(**form).status_code == 403
    assert sessions.live() == 1


def test_a_form_without_the_cookie_ends_nothing(backend: Backend, sessions: Sessions) -> None:
    operator = Operator(backend, may_revoke=True)
    sessions.login(sessions.new(n=1), "ada")
    form = {"principal": "ada", "only": "all", "token": operator.admission.form_token}
    assert Client(operator.console).post("/console/revoke", data=form).status_code == 403
    assert sessions.live() == 1


def test_who_ended_a_session_is_reported(
    backend: Backend, sessions: Sessions, caplog: pytest.LogCaptureFixture
) -> None:
    operator = Operator(backend, may_revoke=True)
    sessions.login(sessions.new(n=1), "ada")
    operator.revoke(principal="ada", only="all", token=operator.admission.form_token)
    assert "1 session of user" in caplog.text
    assert "console by root" in caplog.text
    assert "ada" not in caplog.text
    assert backend.endings is not None
    (trace,) = backend.endings.of_user(operator.view.pseudonym("ada"), 2)
    assert (trace.why, trace.by) == ("revoked", "console by root")


def test_a_store_that_fails_while_ending_is_said(backend: Backend, sessions: Sessions) -> None:
    operator = Operator(backend, may_revoke=True)
    sessions.login(sessions.new(n=1), "ada")
    with StoreFaults(backend).fail("delete"):
        form = {"principal": "ada", "only": "all", "token": operator.admission.form_token}
        response = operator.revoke(**form)
    assert response.status_code == 503
    assert "Nothing may have ended" in response.text


# -- what is never shown ---------------------------------------------------------------------------


def test_hostile_texts_are_shown_as_text(backend: Backend, sessions: Sessions) -> None:
    session_id = sessions.login(sessions.new(**{HOSTILE: 1}), HOSTILE)
    transaction = sessions.begin(session_id, f"GET /{HOSTILE}")
    transaction.session.label = HOSTILE
    transaction.session["n"] = 2
    transaction.commit()
    assert backend.versions is not None
    operator = Operator(backend, may_revoke=True)
    key = short_key(store_key(session_id))
    user = operator.client.get("/console/user", query_string={"principal": HOSTILE}).text
    assert "1 live session" in user
    user = re.sub(r'value="[^"]*"', "", user)  # what the operator typed, to be sent again
    for page in (operator.page(), operator.page(f"/console/session?key={key}"), user):
        assert "<script>alert" not in page
        assert "\x1b" not in page
    assert "\u202e" not in operator.page() + operator.page(f"/console/session?key={key}")
    assert "&lt;script&gt;" in operator.page()


def test_no_id_no_whole_key_no_value_and_no_user_is_shown(
    operator: Operator, sessions: Sessions
) -> None:
    session_id = sessions.login(sessions.new(card="4111-1111"), "ada@example.org")
    key = store_key(session_id)
    pages = [operator.page(), operator.page(f"/console/session?key={short_key(key)}")]
    assert all(short_key(key) in page for page in pages)
    for page in pages:
        for secret in (session_id, key, "4111-1111", "ada@example.org", SECRET, operator.token):
            assert secret not in page
        assert operator.view.pseudonym("ada@example.org") in page


@pytest.mark.parametrize("key", ["", "abc", "x" * 10, "a" * 65, "7/" + "0" * 20])
def test_what_is_no_key_is_not_repeated(operator: Operator, key: str) -> None:
    page = operator.client.get("/console/session", query_string={"key": key}).text
    assert "4 to 64 hexadecimal digits" in page
    assert not key or f">{key}<" not in page


# -- the panels ------------------------------------------------------------------------------------


def test_the_panels_of_an_empty_store_say_so(operator: Operator) -> None:
    assert "Answers." in operator.panel("store")
    assert "Live sessions 0 All sessions were read." in operator.panel("live")
    assert "No session is in use." in operator.panel("leases")
    assert "visible only there" in operator.panel("versions")
    assert "No two requests wrote" in operator.panel("conflicts")
    assert "There is no session." in operator.panel("heavy")
    assert "Begun in the last 24 hours, of the sessions read: none." in operator.panel("live")


def test_records_that_cannot_be_read_are_counted(
    operator: Operator, sessions: Sessions, backend: Backend
) -> None:
    sessions.new(n=1)
    for key in ("aa" * 32, "bb" * 32):
        backend.sessions.create(key, b"\x01damaged", 4e9)
    told = operator.panel("live")
    assert "Live sessions 1 All sessions were read. 2 records beside them could not be" in told


def test_live_sessions_are_counted_and_charted(operator: Operator, sessions: Sessions) -> None:
    for n in range(3):
        sessions.new(n=n)
    sessions.login(sessions.new(n=1), "ada")
    told = operator.panel("live")
    assert "Live sessions 4" in told
    assert "Logged in 25 %" in told
    assert "logged in 1 not logged in 3" in told


def test_the_largest_and_the_most_written_come_first(
    operator: Operator, sessions: Sessions
) -> None:
    large, busy = sessions.new(text="x" * 5000), sessions.new(n=0)
    for n in range(1, 9):
        sessions.do(busy, lambda session, n=n: session.update(n=n))  # type: ignore[misc]
    told = operator.panel("heavy")
    largest, written = told.split("Most written")
    assert re.search(rf"Last used {short_key(store_key(large))} 5,\d\d\d", largest)
    assert re.search(rf"Last route {short_key(store_key(busy))} 9", written)


def test_routes_that_write_at_the_same_time_are_named(
    operator: Operator, sessions: Sessions
) -> None:
    session_id = sessions.new(n=0)
    for route in ("POST /cart", "GET /track"):
        transaction = sessions.begin(session_id, route)
        transaction.session[route] = 1
        transaction.commit()
    told = operator.panel("conflicts")
    assert "GET /track and POST /cart 1" in told
    assert "session.increment" in told


def test_leases_are_listed(operator: Operator, sessions: Sessions, backend: Backend) -> None:
    key = store_key(sessions.new(n=0))
    assert backend.leases is not None
    backend.leases.acquire(key, "holder", 1000)
    assert f"1 in use. Session Used by At most for {short_key(key)} a request" in operator.panel(
        "leases"
    )


def test_bumps_and_the_sessions_behind_are_listed(tmp_path: Path) -> None:
    backend = open_backend(f"file://{tmp_path}/sessions")
    operator, sessions = Operator(backend), Sessions(backend)
    assert "No scope was ever bumped." in operator.panel("versions")
    assert backend.versions is not None
    stamped = {"global": backend.versions.bump("global"), "team:<7>": 0}
    transaction = sessions.begin(None)
    transaction.session["n"] = 1
    transaction.draft().set_metadata(STAMPS, stamped)
    transaction.commit()
    backend.versions.bump("global")
    told = Operator(backend).panel("versions")
    assert re.search(r"global 2 \d s ago 2 or more 1 of 1 read", told)
    assert "team:&lt;7&gt; 0 - - 0 of 1 read" in told


def test_an_ability_that_a_store_lacks_is_said(backend: Backend) -> None:
    bare = replace(backend, lease_listing=None, versions=None, quarantine=None)
    operator = Operator(bare)
    for name in ("leases", "versions"):
        assert "Not kept by this store." in operator.panel(name)


def test_a_panel_that_fails_leaves_the_others(operator: Operator, backend: Backend) -> None:
    broken = replace(operator.view.backend, lease_listing=object())  # type: ignore[arg-type]
    operator.view.backend = broken
    assert "Could not be made: AttributeError" in operator.panel("leases")
    assert "All sessions were read." in operator.panel("live")


def test_a_store_that_is_down_is_asked_once(operator: Operator, backend: Backend) -> None:
    with StoreFaults(backend).fail():
        assert "Not healthy: the test made the store fail" in operator.panel("store")
        for name in TITLES.keys() - {STORE}:
            assert "Not asked: the store does not answer." in operator.panel(name)


def test_the_script_is_given_the_same_board(operator: Operator) -> None:
    part = operator.page("/console/board")
    assert part.startswith('<div id="board">')
    assert re.sub(r"As of.*?UTC", "", part).count("<section") == board(operator.view).count(
        "<section"
    )


# -- look-ups --------------------------------------------------------------------------------------


def test_a_session_is_found_by_what_the_log_shows(operator: Operator, sessions: Sessions) -> None:
    key = store_key(sessions.new(cart=[1]))
    page = operator.page(f"/console/session?key={short_key(key).upper()}")
    assert "cart" in page
    assert "list" in page
    sessions.manager.destroy(key)
    assert "no live session" in operator.page(f"/console/session?key={short_key(key)}")


def test_a_session_that_was_shown_is_found_without_a_scan(
    operator: Operator, sessions: Sessions
) -> None:
    key = store_key(sessions.login(sessions.new(n=1), "ada"))
    operator.page("/console/user?principal=ada")
    operator.view.backend = replace(operator.view.backend, iteration=_no_scan())
    assert "Began" in operator.page(f"/console/session?key={short_key(key)}")


def _no_scan() -> Any:
    class _Refusing:
        def keys(self) -> Any:
            raise AssertionError("a scan")

    return _Refusing()


# -- charts ----------------------------------------------------------------------------------------


def test_a_chart_stacks_its_series_and_escapes_their_names() -> None:
    chart = stacked("T", [Series("<a>", "s0", [1, 0]), Series("b", "s1", [3, 0])], ["x", "<y>"])
    tops = [
        (float(y), float(h))
        for y, h in re.findall(r'y="([\d.]+)" width="8" height="([\d.]+)"', chart)
    ]
    assert tops == [(75.5, 24.5), (2.0, 73.5)]
    assert "&lt;a&gt;" in chart
    assert "<y>" not in chart
    assert "x: 1 &lt;a&gt;, 3 b" in chart


def test_a_chart_of_nothing_is_a_sentence() -> None:
    chart = stacked("Begun", [Series("a", "s0", [0, 0])], ["x", "y"])
    assert "<svg" not in chart
    assert ">Begun: none.<" in chart


# -- the command -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--url", "memory://"], 2, ["visible only to their own process"]),
        (["--url", NOBODY_LISTENS], 1, ["127.0.0.1:1"]),
        (["--bind", "nonsense"], 2, ["not an address"]),
        (["--url", NOBODY_LISTENS, "--metrics", "file:///x"], 2, ["not a URL of metrics"]),
    ],
)
def test_the_command_refuses_what_cannot_be_served(
    arguments: list[str], code: int, words: list[str]
) -> None:
    assert_refused(run("console", *arguments), code, *words)
