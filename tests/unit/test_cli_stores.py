"""Every command that looks at a store or changes it, on every kind of store."""

from __future__ import annotations

import itertools
import json
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

import flask_sites
import pytest
from command_line import run, said
from demo_server import DemoServer
from store_urls import LONG, STORES, TAKING_OVER, Place, of_the_table, place_of
from worlds import Visit

from wsgi_sessions.contract import Context
from wsgi_sessions.core.commit.loop import Lifetimes
from wsgi_sessions.core.manager import SessionManager
from wsgi_sessions.core.pseudonyms import Pseudonyms
from wsgi_sessions.core.record.codec import encode
from wsgi_sessions.core.transaction import Transaction
from wsgi_sessions.identity import short_key, store_key
from wsgi_sessions.settings.kinds import hide_credentials
from wsgi_sessions.stores.sql.schema import SCHEMA_VERSION
from wsgi_sessions.stores.urls import is_sql_url

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from click.testing import Result

    from wsgi_sessions.contract import Backend

DAY = 86400.0
LIFETIMES = Lifetimes(idle=30 * DAY, absolute=90 * DAY)
SECRET_VALUE = "a value that only --values may show"
KEYS = {"WSGI_SESSIONS_SECRET_KEYS": "s" * 40}
_LONG = LONG | {"cluster", "postgresql"}
_numbers = itertools.count()


class Filled(NamedTuple):
    """A store with sessions: two of alice's, one of bob's, one of nobody's that is 10 days old."""

    place: Place
    ids: dict[str, str]

    def run(self, *arguments: str, **environ: str) -> Result:
        """Run a command as the application's operator would."""
        return run(
            *arguments,
            **self.place.settings,
            **environ,
            WSGI_SESSIONS_KEY_PREFIX=self.place.prefix,
            WSGI_SESSIONS_IDLE_LIFETIME="30d",
            WSGI_SESSIONS_ABSOLUTE_LIFETIME="90d",
            WSGI_SESSIONS_TIMEOUT="5s",
            WSGI_SESSIONS_HEALTH_TIMEOUT="10s",
        )

    def json(self, *arguments: str, **environ: str) -> Any:
        """What a command prints as JSON, without a word beside it."""
        result = self.run(*arguments, "--json", **environ)
        assert (result.exit_code, result.stderr) == (0, ""), result.stdout
        return json.loads(result.stdout)

    def key(self, name: str) -> str:
        """How a session is shown."""
        return short_key(store_key(self.ids[name]))

    def live(self) -> set[str]:
        """Who has a session still."""
        with closing(self.place.open()) as backend:
            return {
                name
                for name, session_id in self.ids.items()
                if SessionManager(backend, lifetimes=LIFETIMES).loader.load(session_id) is not None
            }


@pytest.fixture(
    scope="module",
    params=of_the_table("memory", long=_LONG),
)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str]]:
    with STORES[request.param](tmp_path_factory.mktemp("files")) as url:
        yield request.param, url


@pytest.fixture
def store(server: tuple[str, str], tmp_path: Path) -> Iterator[Filled]:
    name, url = server
    place = place_of(name, url, tmp_path, f"test{next(_numbers)}:")
    with closing(place.open()) as backend:  # while it lives, so does the lease on a file
        yield Filled(place, _fill(backend))
        assert backend.leases is not None


def _fill(backend: Backend) -> dict[str, str]:
    ids = {}
    for name, user, age in (
        ("alice", "alice", 0),
        ("alice too", "alice", 3),
        ("bob", "bob", 0),
        ("nobody", None, 10),
    ):
        at = time.time() - age * DAY
        manager = SessionManager(backend, lifetimes=LIFETIMES, clock=lambda at=at: at)  # type: ignore[misc]
        transaction = Transaction(manager, Visit(None, "POST /log-in"))
        if user is not None:
            transaction.session.login(user)
        transaction.session["note"] = SECRET_VALUE
        transaction.commit()
        assert transaction.snapshot is not None
        ids[name] = transaction.snapshot.session_id
    contexts, leases = backend.contexts, backend.leases
    assert contexts is not None
    assert leases is not None
    for user, age in (("alice", 0), ("bob", 100)):
        contexts.set(user, "deal", Context(encode(SECRET_VALUE), time.time() - age * DAY))
    leases.acquire(store_key(ids["bob"]), "a-request", 60)
    return ids


# -- looking ---------------------------------------------------------------------------------------


def test_count(store: Filled) -> None:
    found = store.json("count")
    assert (found["sessions"], found["contexts"], found["quarantined"]) == (4, 2, 0)
    assert found["health"]["healthy"]
    shown = dict(line.split() for line in store.run("count").stdout.splitlines())
    assert (shown["sessions"], shown["contexts"]) == ("4", "2")


def test_list(store: Filled) -> None:
    found = store.json("list")
    assert {session["key"] for session in found} == {store.key(name) for name in store.ids}
    ages = [time.time() - session["created_at"] for session in found]
    assert [round(age / DAY) for age in ages] == [10, 3, 0, 0], "the oldest first"
    assert [round((time.time() - s["last_used_at"]) / DAY) for s in found] == [10, 3, 0, 0]
    heading, *rows, total = store.run("list").stdout.splitlines()
    assert heading.split() == ["KEY", "USER", "BYTES", "CREATED", "LAST", "USED", "EXPIRES"]
    assert rows[0].startswith(store.key("nobody"))
    assert rows[0].endswith("10 d ago   in 20 d")
    assert total == "4 sessions"


def names(store: Filled, *arguments: str) -> list[str]:
    """Whose sessions are listed."""
    whose = {store.key(name): name for name in store.ids}
    return [whose[session["key"]] for session in store.json("list", *arguments, **KEYS)]


def test_list_shows_sizes_and_users_by_their_hash(store: Filled) -> None:
    found = {session["key"]: session for session in store.json("list", **KEYS)}
    pseudonym = Pseudonyms(KEYS["WSGI_SESSIONS_SECRET_KEYS"]).of
    for name, user in (("alice", "alice"), ("alice too", "alice"), ("bob", "bob")):
        assert found[store.key(name)]["user"] == pseudonym(user)
        assert found[store.key(name)]["is_bound"]
    nobodys = found[store.key("nobody")]
    assert (nobodys["user"], nobodys["is_bound"]) == (None, False)
    size = store.json("show", store.key("nobody"))["size"]
    assert nobodys["size"] == size
    rows = store.run("list", **KEYS).stdout.splitlines()
    assert rows[1].split()[:3] == [store.key("nobody"), "-", str(size)]
    assert {row.split()[1] for row in rows[3:5]} == {pseudonym("alice"), pseudonym("bob")}
    for row in store.run("list").stdout.splitlines()[2:5]:  # without the secret
        assert row.split()[1] == "?"


def test_list_in_an_order(store: Filled) -> None:
    with closing(store.place.open()) as backend:
        manager = SessionManager(backend, lifetimes=LIFETIMES)
        transaction = Transaction(manager, Visit(store.ids["bob"], "POST /"))
        transaction.session["more"] = "x" * 1000
        transaction.commit()
    assert names(store, "--sort", "size")[0] == "bob"
    for order in ("created", "used", "expires"):
        assert names(store, "--sort", order)[:2] == ["nobody", "alice too"]
        assert names(store, "--sort", order, "--limit", "1") == ["nobody"]
    result = store.run("list", "--sort", "created", "--limit", "3")
    assert said(result) == "3 sessions; there are more: raise --limit\n"
    assert names(store, "--larger-than", "1000") == ["bob"]
    assert names(store, "--larger-than", "1k", "--principal", "alice") == []


def test_list_of_some(store: Filled) -> None:
    assert names(store, "--older-than", "5d") == ["nobody"]
    assert names(store, "--older-than", "1d") == ["nobody", "alice too"]
    assert names(store, "--older-than", "1d", "--principal", "alice") == ["alice too"]
    alices = Pseudonyms(KEYS["WSGI_SESSIONS_SECRET_KEYS"]).of("alice")
    assert names(store, "--user", str(alices)) == ["alice too", "alice"]
    assert names(store, "--user", "0123456789") == []


def test_list_of_a_user(store: Filled) -> None:
    assert [session["key"] for session in store.json("list", "--principal", "alice")] == [
        store.key("alice too"),
        store.key("alice"),
    ]
    assert store.json("list", "--principal", "mallory") == []
    assert store.run("list", "--principal", "mallory").stdout == "0 sessions\n"


def test_list_tells_that_there_are_more(store: Filled) -> None:
    result = store.run("list", "--limit", "3")
    assert len(result.stdout.splitlines()) == 4
    assert said(result) == "3 sessions; there are more: raise --limit\n"
    assert len(store.json("list", "--limit", "3")) == 3


def test_show(store: Filled) -> None:
    found = store.json("show", store.key("bob"))
    assert (found["version"], found["is_bound"], found["holders"]) == (1, True, 1)
    assert found["values"] == [{"key": "note", "type": "str", "size": len(SECRET_VALUE) + 2}]
    assert [commit["route"] for commit in found["commits"]] == ["POST /log-in"]
    assert "principal" not in found
    shown = store.run("show", store.key("bob")).stdout
    for line in ("in use by", "1 request", "note", "POST /log-in", "in 30 d"):
        assert line in shown
    assert "bob" not in shown


def test_show_with_values(store: Filled) -> None:
    whole = store_key(store.ids["bob"])
    found = store.json("show", whole, "--values")
    assert (found["principal"], found["values"][0]["value"]) == ("bob", repr(SECRET_VALUE))
    shown = store.run("show", whole, "--values").stdout
    assert SECRET_VALUE in shown
    assert "bob" in shown


def test_leases(store: Filled) -> None:
    (found,) = store.json("leases")
    assert (found["key"], found["role"]) == (store.key("bob"), "holder")
    assert 30 < found["seconds"] <= 60
    lines = store.run("leases").stdout.splitlines()
    assert lines[1].split()[:3] == [store.key("bob"), "a", "request"]
    assert lines[2] == "1 session in use"


def test_leases_says_that_none_are_taken(store: Filled) -> None:
    with closing(store.place.open()) as backend:
        assert backend.leases is not None
        backend.leases.release(store_key(store.ids["bob"]), "a-request")
    found = store.run("leases")
    assert found.stdout == "0 sessions in use\n"
    assert "leases are off" in found.stderr
    assert "WSGI_SESSIONS_REFRESH" in found.stderr


def test_check(store: Filled) -> None:
    result = run(
        "check",
        "--json",
        **store.place.settings,
        WSGI_SESSIONS_SECRET_KEYS="a-secret-of-the-tests-with-32-bytes-or-more",
        WSGI_SESSIONS_KEY_PREFIX=store.place.prefix,
        WSGI_SESSIONS_TIMEOUT="5s",
        WSGI_SESSIONS_HEALTH_TIMEOUT="10s",
    )
    found = json.loads(result.stdout)
    assert (result.exit_code, found["healthy"]) == (0, True), found
    assert abs(found["clock_skew"]) < 20
    assert [f for f in found["findings"] if f["level"] == "fault"] == []


# -- ending and cleaning up ------------------------------------------------------------------------


def test_revoke_one(store: Filled) -> None:
    assert store.run("revoke", store.key("alice")).stdout == "ended 1 session\n"
    assert store.live() == {"alice too", "bob", "nobody"}
    again = store.run("revoke", store.key("alice"))
    assert (again.exit_code, again.stdout) == (1, "")
    assert store.json("revoke", store.key("nobody")) == {"ended": 1}
    assert [s["key"] for s in store.json("list", "--principal", "alice")] == [
        store.key("alice too")
    ]


def test_revoke_all_of_a_user(store: Filled) -> None:
    assert store.json("revoke", "--principal", "alice") == {"ended": 2}
    assert store.live() == {"bob", "nobody"}
    assert store.json("revoke", "--principal", "alice") == {"ended": 0}


def test_revoke_all_others_of_a_user(store: Filled) -> None:
    assert store.json("revoke", "--all-but", store.key("alice")) == {"ended": 1}
    assert store.live() == {"alice", "bob", "nobody"}
    not_theirs = store.run("revoke", "--principal", "bob", "--all-but", store.key("alice"))
    assert (not_theirs.exit_code, not_theirs.stdout) == (1, "")
    assert store.run("revoke", "--all-but", store.key("nobody")).exit_code == 1
    assert store.live() == {"alice", "bob", "nobody"}


def test_purge(store: Filled) -> None:
    for options in (["--dry-run"], ["--older-than", "30d"], ["--older-than", "7d", "--dry-run"]):
        found = store.json("purge", *options)
        assert found["expired"] == 0
        assert found["unused"] == (1 if "7d" in options else 0)
        assert store.live() == set(store.ids)
    shown = store.run("purge", "--older-than", "7d").stdout
    assert shown == "deleted 0 expired and 1 unused session\n"
    assert store.live() == {"alice", "alice too", "bob"}


def test_purge_of_what_has_expired(store: Filled) -> None:
    with closing(store.place.open()) as backend:
        for name in ("a", "b"):
            backend.sessions.create(store_key(name), b"payload", time.time() + 0.001)
        stay = 0 if backend.expired is None or store.place.name == TAKING_OVER else 2
        time.sleep(0.01)
    assert store.json("purge", "--dry-run")["expired"] == stay
    assert store.run("purge").stdout == f"deleted {stay} expired sessions\n"
    assert store.json("purge")["expired"] == 0
    assert store.live() == set(store.ids)


def test_sweep(store: Filled) -> None:
    found = store.json("sweep")
    assert (found["expired"], found["live"]) == (0, None)
    assert store.run("sweep").stdout.startswith("removed 0 expired")
    assert store.live() == set(store.ids)


def test_reindex(store: Filled) -> None:
    with closing(store.place.open()) as backend:
        for name in ("alice", "alice too"):
            backend.index.remove("alice", store_key(store.ids[name]))
    assert store.json("list", "--principal", "alice") == []
    assert store.json("reindex") == {"indexed": 3}
    assert len(store.json("list", "--principal", "alice")) == 2
    assert store.run("reindex").stdout == "indexed 3 sessions\n"


# -- contexts and versions -------------------------------------------------------------------------


def test_contexts_show_and_clear(store: Filled) -> None:
    (found,) = store.json("contexts", "show", "alice")
    assert found.keys() == {"key", "accessed_at"}
    assert found["key"] == "deal"
    (found,) = store.json("contexts", "show", "alice", "--values")
    assert found["value"] == repr(SECRET_VALUE)
    assert SECRET_VALUE in store.run("contexts", "show", "alice", "--values").stdout
    assert store.json("contexts", "clear", "alice", "another-key") == {"cleared": 0}
    assert store.json("contexts", "clear", "alice") == {"cleared": 1}
    assert store.run("contexts", "show", "alice").stdout == "0 contexts\n"
    assert len(store.json("contexts", "show", "bob")) == 1


def test_contexts_prune(store: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    old = ["contexts", "prune", "--older-than", "30d"]
    assert store.json(*old, "--dry-run") == {"examined": 2, "cleared": 1, "dry_run": True}
    assert store.run(*old).stdout == "cleared 1 of 2 contexts\n"
    assert store.json("contexts", "show", "bob") == []
    hook = f"{__name__}:is_valid"
    for answer, cleared in ((True, 0), (False, 1)):
        monkeypatch.setitem(globals(), "is_valid", lambda *_, answer=answer: answer)
        found = store.json("contexts", "prune", "--still-valid", hook)
        assert found == {"examined": 1, "cleared": cleared, "dry_run": False}


def test_versions(store: Filled) -> None:
    assert store.run("versions", "show").stdout == "global  version 0\n"
    assert store.json("versions", "bump", "league:5") == {"scope": "league:5", "version": 1}
    assert store.run("versions", "bump", "league:5").stdout == "league:5 is at version 2\n"
    found = store.json("versions", "show", "global", "league:5")
    assert [(v["scope"], v["version"]) for v in found] == [("global", 0), ("league:5", 2)]
    assert found[0]["history"] == []
    assert found[1]["history"][0]["version"] == 2
    assert store.run("versions", "show", "league:5").stdout.startswith("league:5  version 2  since")


# -- what they all have in common ------------------------------------------------------------------


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_no_command_prints_ids_or_values_without_being_asked(
    store: Filled, form: list[str]
) -> None:
    commands = [
        ["check"],
        ["count"],
        ["list"],
        ["list", "--principal", "alice"],
        *(["show", store.key(name)] for name in store.ids),
        ["leases"],
        ["contexts", "show", "alice"],
        ["contexts", "prune", "--older-than", "1d", "--dry-run"],
        ["versions", "show"],
        ["purge", "--older-than", "7d"],
        ["reindex"],
        ["sweep"],
        ["revoke", store.key("bob")],
        ["revoke", "--principal", "alice"],
        ["contexts", "clear", "alice"],
    ]
    output = "".join(store.run(*command, *form).stdout for command in commands)
    for session_id in store.ids.values():
        assert session_id not in output
        assert store_key(session_id) not in output
    assert SECRET_VALUE not in output


def is_valid(*_: object) -> bool:
    """What ``--still-valid`` names here; each test puts its own in this place."""
    raise AssertionError


# -- setting up and moving -------------------------------------------------------------------------


def test_config(store: Filled) -> None:
    settings = {setting["env"]: setting for setting in store.json("config")}
    found = settings["WSGI_SESSIONS_URL"]
    shown = hide_credentials(store.place.own_url)
    assert (found["value"], found["source"]) == (shown, "WSGI_SESSIONS_URL")
    assert shown in store.run("config").stdout


def test_migrate_schema(store: Filled) -> None:
    result = store.run("migrate-schema")
    if is_sql_url(store.place.own_url):
        assert (result.exit_code, result.stdout) == (
            0,
            f"the tables are up to date, at version {SCHEMA_VERSION}\n",
        )
        assert store.json("migrate-schema") == {"before": SCHEMA_VERSION, "after": SCHEMA_VERSION}
    else:
        assert result.exit_code == 2
        assert "is not a SQL store" in result.stderr
    assert store.live() == {"alice", "alice too", "bob", "nobody"}


@pytest.mark.parametrize("options", [[], ["--move"]])
def test_copy(store: Filled, tmp_path: Path, options: list[str]) -> None:
    """All of it into files, and back to where it came from."""
    here, there = store.place.own_url, f"file://{tmp_path}/there"
    done = "moved" if options else "copied"
    tried = store.json("copy", here, there, "--dry-run", *options)
    assert (tried[done], tried["contexts"], tried["dry_run"]) == (4, 2, True)
    assert store.json("copy", here, there, *options)[done] == 4
    copied = store._replace(place=store.place._replace(name="file", url=there))
    assert copied.live() == {"alice", "alice too", "bob", "nobody"}
    assert copied.json("count")["contexts"] == 2
    back = store.json("copy", there, here, *options)
    assert (back[done], back["kept"]) == ((4, 0) if options else (0, 4))
    assert store.live() == {"alice", "alice too", "bob", "nobody"}


def test_import(store: Filled, tmp_path: Path) -> None:
    for _ in range(3):
        flask_sites.in_files(tmp_path / "theirs").login()
    url = flask_sites.import_url(tmp_path / "theirs")
    assert store.json("import", url, "--allow-pickle")["outcomes"] == {"imported": 3}
    assert store.json("count")["sessions"] == 7
    assert store.json("import", url, "--allow-pickle")["outcomes"] == {"updated": 3}
    assert store.live() == {"alice", "alice too", "bob", "nobody"}


def test_demo(store: Filled, tmp_path: Path) -> None:
    with DemoServer(tmp_path, "--store", store.place.own_url) as demo:
        visitor = demo.visitor()
        assert visitor.post("/login", name="carol").status == 303
        assert "carol" in visitor.get("/").text
        assert visitor.get("/health/session").json["healthy"]
    assert demo.stop() == 0


# -- what a terminal is shown ------------------------------------------------------------------

HOSTILE = "x\x1b[2J\r\nroot logged in\x9b31m\u202e"
HOLDER = HOSTILE[:-5]  # a token: ASCII in any store


def test_nothing_in_the_store_is_obeyed_by_a_terminal(store: Filled) -> None:
    with closing(store.place.open()) as backend:
        manager = SessionManager(backend, lifetimes=LIFETIMES)
        transaction = Transaction(manager, Visit(None, f"GET /{HOSTILE}"))
        transaction.session.login(f"mallory {HOSTILE}")
        transaction.session[HOSTILE] = HOSTILE
        transaction.commit()
        assert transaction.snapshot is not None
        key = transaction.snapshot.key
        leases, contexts = backend.leases, backend.contexts
        assert leases is not None
        assert contexts is not None
        leases.acquire(key, HOLDER, 60.0)
        contexts.set(f"mallory {HOSTILE}", HOSTILE, Context(encode(HOSTILE), 1.0))
        for arguments in (
            ["list"],
            ["list", "--json"],
            ["show", key, "--values"],
            ["show", key, "--values", "--json"],
            ["leases"],
            ["leases", "--json"],
            ["contexts", "show", f"mallory {HOSTILE}", "--values"],
            ["versions", "show", HOSTILE],
        ):
            result = store.run(*arguments)
            assert result.exit_code == 0, result.stdout
            assert all(line.isprintable() for line in result.stdout.split("\n")), arguments
        leases.release(key, HOLDER)
