"""Copying a store, and reading through one, with all that belongs to sessions."""

from __future__ import annotations

import json
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from command_line import assert_refused, run
from documents import PAGES, blocks
from gunicorn_server import SECRET, GunicornServer
from redis_servers import RedisServer, available
from requirements_of_tests import require
from worlds import Visit

from wsgi_sessions.contract import Context
from wsgi_sessions.core.commit.loop import Lifetimes
from wsgi_sessions.core.manager import SessionManager
from wsgi_sessions.core.record.codec import decode
from wsgi_sessions.core.transaction import Transaction
from wsgi_sessions.errors import SessionExists, StoreUnavailable
from wsgi_sessions.identity import new_id, store_key
from wsgi_sessions.migration.copying import Counts, copy
from wsgi_sessions.migration.takeover import read_through
from wsgi_sessions.migration.takeover_parts import remaining
from wsgi_sessions.stores.memory.backend import open_memory
from wsgi_sessions.stores.urls import open_backend
from wsgi_sessions.versions.policy import STAMPS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from wsgi_sessions.contract import Backend

DAY = 86400.0


@pytest.fixture
def old() -> Backend:
    return open_memory()


@pytest.fixture
def new() -> Backend:
    return open_memory()


@pytest.fixture
def through(new: Backend, old: Backend) -> Backend:
    return read_through(new, old, absolute_lifetime=30 * DAY)


def begin(backend: Backend, **values: Any) -> str:
    """A session with these values; of the user in `user`, if that is there. Its id."""
    transaction = Transaction(SessionManager(backend), Visit(None, "/"))
    transaction.session.update(values)
    if "user" in values:
        transaction.session.login(values["user"])
    if "stamps" in values:
        transaction.draft().set_metadata(STAMPS, values["stamps"])
    if "keep_alive" in values:
        transaction.session.keep_alive()
    transaction.commit()
    assert transaction.snapshot is not None
    return transaction.snapshot.session_id


def change(backend: Backend, session_id: str, **values: Any) -> None:
    transaction = Transaction(SessionManager(backend), Visit(session_id, "/"))
    transaction.session.update(values)
    assert transaction.commit() == "saved"


def values_of(backend: Backend, session_id: str) -> dict[str, Any] | None:
    """What the application finds, or None if the session is unknown."""
    snapshot = SessionManager(backend).loader.load(session_id)
    if snapshot is None:
        return None
    return {name: decode(bytes(value)) for name, value in snapshot.envelope.data.items()}


# -- reading through -------------------------------------------------------------------------------


def test_a_users_sessions_are_found_and_ended_in_both_stores(
    through: Backend, old: Backend, new: Backend
) -> None:
    ids = [begin(old, user="alice"), begin(old, user="alice"), begin(new, user="alice")]
    other = begin(old, user="bob")
    assert values_of(through, ids[0]) == {"user": "alice"}
    manager = SessionManager(through)
    assert {s.key for s in manager.sessions_of("alice")} == set(map(store_key, ids))
    assert set(through.iteration.keys()) == set(map(store_key, [*ids, other]))
    assert through.iteration.count() == 4
    assert manager.destroy_sessions_of("alice") == 3
    for store in (through, old, new):
        assert [values_of(store, session_id) for session_id in ids] == [None, None, None]
    assert values_of(through, other) == {"user": "bob"}
    assert new.index.keys_of("bob") == [store_key(other)]
    assert old.index.keys_of("bob") == []


def test_a_session_that_is_not_used_yet_can_be_ended_by_its_key(
    through: Backend, old: Backend
) -> None:
    session_id = begin(old, n=1)
    SessionManager(through).destroy(store_key(session_id))
    assert values_of(through, session_id) is None
    assert values_of(old, session_id) is None


def test_a_log_out_is_dead_in_the_new_store_also_if_the_old_one_is_down(
    old: Backend, new: Backend
) -> None:
    session_id = begin(new, n=1)
    down = open_backend("redis://127.0.0.1:1/0", timeout=0.2)
    with pytest.raises(StoreUnavailable):
        read_through(new, down, absolute_lifetime=DAY).sessions.delete(store_key(session_id))
    assert values_of(new, session_id) is None
    moved, unmoved = begin(new, n=1), begin(old, n=1)
    halved = read_through(new, down, absolute_lifetime=DAY)
    assert values_of(halved, moved) == {"n": 1}
    with pytest.raises(StoreUnavailable):
        values_of(halved, unmoved)


def test_nothing_is_created_over_what_the_old_store_has(
    through: Backend, old: Backend, new: Backend
) -> None:
    key = store_key(new_id())
    old.sessions.create(key, b"here", time.time() + 100)
    with pytest.raises(SessionExists):
        through.sessions.create(key, b"other", time.time() + 100)
    record = new.sessions.load(key)
    assert record is not None
    assert record.payload == b"here"


def test_stamps_are_as_high_as_the_higher_of_both(
    through: Backend, old: Backend, new: Backend
) -> None:
    assert through.versions is not None
    assert old.versions is not None
    assert new.versions is not None
    for _ in range(5):
        old.versions.bump("global")
    assert through.versions.current(["global", "x"]) == {"global": 5, "x": 0}
    assert new.versions.current(["global"]) == {"global": 5}
    assert through.versions.bump("global") == 6
    old.versions.bump("global", least=9)
    assert through.versions.bump("global") == 10
    assert through.versions.current(["global"]) == {"global": 10}
    assert [bump.version for bump in through.versions.history("global", 3)] == [10, 9, 6]


def test_a_moved_session_finds_the_stamps_that_it_was_made_from(
    old: Backend, new: Backend, through: Backend
) -> None:
    """Also once the old store is gone."""
    assert old.versions is not None
    assert new.versions is not None
    old.versions.bump("league:5", least=41)
    session_id = begin(old, stamps={"league:5": 40})
    assert values_of(through, session_id) is not None
    assert new.versions.current(["league:5"]) == {"league:5": 41}


def test_contexts_show_through_until_another_is_selected(
    through: Backend, old: Backend, new: Backend
) -> None:
    first, second = Context(b"1", 1.0), Context(b"2", 2.0)
    assert through.contexts is not None
    assert old.contexts is not None
    assert new.contexts is not None
    old.contexts.set("alice", "deal", first)
    old.contexts.set("bob", "deal", first)
    assert through.contexts.get("alice", "deal") == first
    assert not through.contexts.add("alice", "deal", second)
    through.contexts.set("alice", "deal", second)
    assert through.contexts.get("alice", "deal") == second
    assert sorted(through.contexts.items()) == [("alice", "deal", second), ("bob", "deal", first)]
    through.contexts.clear("bob", "deal", first)
    through.contexts.clear("alice", "deal")
    for contexts in (through.contexts, old.contexts, new.contexts):
        assert list(contexts.items()) == []


def test_a_session_to_be_refreshed_is_due_in_one_store(
    through: Backend, old: Backend, new: Backend
) -> None:
    assert through.refreshes is not None
    assert old.refreshes is not None
    assert new.refreshes is not None
    session_id = begin(old, keep_alive=True)
    now = time.time() + 1
    assert through.refreshes.due(now, 10) == [store_key(session_id)]
    assert values_of(through, session_id) is not None
    assert through.refreshes.due(now, 10) == new.refreshes.due(now, 10) == [store_key(session_id)]
    assert old.refreshes.due(now, 10) == []
    through.refreshes.remove(store_key(session_id))
    assert through.refreshes.due(now, 10) == []


def test_both_stores_are_swept_and_the_rest_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    now = [time.time()]
    stores = [
        open_backend(f"file://{tmp_path}/{name}", clock=lambda: now[0]) for name in ("new", "old")
    ]
    both = read_through(*stores, absolute_lifetime=DAY, clock=lambda: now[0])
    for store in stores:
        store.sessions.create(store_key(new_id()), b"x", now[0] + 10)
    used, unused = store_key(new_id()), store_key(new_id())
    for key in (used, unused):
        stores[1].sessions.create(key, b"x", now[0] + 1000)
    assert both.sessions.load(used) is not None
    now[0] += 100
    assert both.expired is not None
    assert both.expired.delete_expired(10) == 2
    assert list(remaining(stores[1])) == [unused]
    caplog.set_level("INFO", "wsgi_sessions.migration")
    assert both.leftovers is not None
    both.leftovers.remove_leftovers()
    assert "1 sessions are still in the old file store" in caplog.messages


# -- copying ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("leave", ["untouched", "moved"])
def test_all_is_brought_over(old: Backend, new: Backend, leave: Any) -> None:
    assert old.contexts is not None
    assert old.versions is not None
    assert new.contexts is not None
    assert new.versions is not None
    assert new.refreshes is not None
    ids = [begin(old, n=n, user="alice", stamps={"x": 1}, keep_alive=True) for n in range(3)]
    before = {key: old.sessions.load(key) for key in old.iteration.keys()}  # noqa: SIM118
    old.contexts.set("alice", "deal", Context(b"1", 1.0))
    old.versions.bump("global", least=7)
    old.versions.bump("x", least=8)
    steps: list[int] = []
    counts = copy(old, new, leave=leave, progress=lambda c: steps.append(c.sessions))
    done = {"copied" if leave == "untouched" else "moved": 3}
    assert counts == Counts(**done, contexts=1, scopes=1)
    assert steps == [1, 2, 3, 3]
    for session_id in ids:
        record, source = new.sessions.load(store_key(session_id)), before[store_key(session_id)]
        assert record is not None
        assert source is not None
        assert (record.payload, record.expires_at) == (source.payload, source.expires_at)
    assert len(SessionManager(new).sessions_of("alice")) == 3
    assert new.contexts.get("alice", "deal") == Context(b"1", 1.0)
    assert new.versions.current(["global", "x"]) == {"global": 7, "x": 8}
    assert sorted(new.refreshes.due(time.time() + 1, 10)) == sorted(before)
    if leave == "untouched":
        assert {key: old.sessions.load(key) for key in before} == before
        assert copy(old, new, leave=leave) == Counts(kept=3, scopes=1)
    else:
        assert list(remaining(old)) == []
        assert list(old.contexts.items()) == []
        assert copy(old, new, leave=leave) == Counts(gone=3, scopes=1)


def test_counting_changes_nothing(old: Backend, new: Backend) -> None:
    begin(old, n=1)
    assert old.contexts is not None
    old.contexts.set("alice", "deal", Context(b"1", 1.0))
    assert copy(old, new, effect="count") == Counts(copied=1, contexts=1, scopes=1)
    assert copy(old, new, effect="count", leave="moved") == Counts(moved=1, contexts=1, scopes=1)
    assert new.iteration.count() == 0
    assert new.contexts is not None
    assert list(new.contexts.items()) == []
    assert len(list(remaining(old))) == 1


def test_newer_sessions_in_the_target_stay_and_older_ones_are_replaced(
    old: Backend, new: Backend
) -> None:
    mine, theirs = begin(old, n=1), begin(old, n=1)
    copy(old, new)
    change(new, mine, n=2)
    change(old, theirs, n=3)
    assert copy(old, new) == Counts(kept=1, refreshed=1, scopes=1)
    assert values_of(new, mine) == {"n": 2}
    assert values_of(new, theirs) == {"n": 3}
    change(old, mine, n=4)
    assert copy(old, new, leave="moved") == Counts(kept=1, refreshed=1, scopes=1)
    assert values_of(new, mine) == {"n": 4}
    assert list(remaining(old)) == []


def test_a_destroyed_session_stays_dead(old: Backend, new: Backend) -> None:
    in_target, in_source = begin(old, n=1), begin(old, n=1)
    SessionManager(old).destroy(store_key(in_source))
    copy(old, new)
    SessionManager(new).destroy(store_key(in_target))
    for leave in ("untouched", "moved"):
        assert copy(old, new, leave=leave) == Counts(destroyed=1, scopes=1)
    assert values_of(new, in_target) is None
    assert values_of(new, in_source) is None


def test_there_and_back_again(old: Backend, new: Backend) -> None:
    """The index of what was copied forgets what was moved away since."""
    session_id = begin(old, n=1)
    copy(old, new)
    SessionManager(old).destroy(store_key(session_id))
    copy(new, old, leave="moved")
    assert values_of(old, session_id) == {"n": 1}
    change(old, session_id, n=2)
    new.sessions.delete(store_key(session_id))  # the sign that it has moved expires
    copy(old, new, leave="moved")
    assert values_of(new, session_id) == {"n": 2}


@pytest.mark.parametrize("marks", [{"remember": 5.0}, {"cycle": True}])
def test_a_copy_does_not_come_to_life_when_the_session_ended_early(
    marks: dict[str, Any], old: Backend, new: Backend
) -> None:
    """Where the old store was left untouched, and still has it."""
    through = read_through(new, old, absolute_lifetime=30 * DAY)
    session_id = begin(old, n=1)
    copy(old, new)
    transaction = Transaction(SessionManager(through), Visit(session_id, "/"))
    if "remember" in marks:
        transaction.session.remember(marks["remember"])
    else:
        transaction.session.cycle_id()
    transaction.commit()
    assert old.sessions.load(store_key(session_id)) is None


# -- on real stores --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    require(available())
    with RedisServer() as server:
        yield server.url


_MOVER = """
import sys
from wsgi_sessions.migration.copying import copy
from wsgi_sessions.stores.urls import open_backend
source, target, prefix = sys.argv[1:]
stores = [open_backend(url, key_prefix=prefix, timeout=20.0) for url in (source, target)]
print("ready", flush=True)
copy(*stores, leave="moved")
"""


def test_a_move_that_is_killed_again_and_again_loses_nothing(
    tmp_path: Path, redis_url: str
) -> None:
    url, prefix = f"file://{tmp_path}/sessions", f"{tmp_path.name}:"
    source = open_backend(url)
    target = open_backend(redis_url, key_prefix=prefix, timeout=20.0)
    ids = [begin(source, n=n) for n in range(300)]
    rng = random.Random(5)
    ends = []
    for _ in range(4):
        command = [sys.executable, "-c", _MOVER, url, redis_url, prefix]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            time.sleep(rng.uniform(0, 0.04))  # anywhere within a step
            process.send_signal(signal.SIGKILL)
            ends.append(process.wait())
    assert ends.count(-signal.SIGKILL) > 1
    copy(source, target, leave="moved")
    assert [values_of(target, session_id) for session_id in ids] == [{"n": n} for n in range(300)]
    assert list(remaining(source)) == []
    target.close()


def test_the_command(tmp_path: Path, redis_url: str) -> None:
    url, prefix = f"file://{tmp_path}/sessions", f"{tmp_path.name}:"
    settings = {"WSGI_SESSIONS_KEY_PREFIX": prefix, "WSGI_SESSIONS_MIGRATE_FROM": redis_url}
    source = open_backend(url)
    ids = [begin(source, n=n) for n in range(2)]
    dry = run("copy", url, redis_url, "--dry-run", **settings)
    assert dry.stdout == (
        "would be: sessions: 2 copied, 0 moved, 0 refreshed, 0 kept, 0 destroyed, 0 gone; "
        "0 contexts, 1 scopes\n"
    )
    found = json.loads(run("copy", "--json", url, redis_url, **settings).stdout)
    assert found == {
        "from": "file",
        "to": "redis",
        "dry_run": False,
        "copied": 2,
        "moved": 0,
        "refreshed": 0,
        "kept": 0,
        "destroyed": 0,
        "gone": 0,
        "others": 0,
        "contexts": 0,
        "scopes": 1,
    }
    assert json.loads(run("copy", "--json", "--move", url, redis_url, **settings).stdout)["kept"]
    target = open_backend(redis_url, key_prefix=prefix)
    assert [values_of(target, session_id) for session_id in ids] == [{"n": 0}, {"n": 1}]
    target.close()


def test_the_command_refuses_what_makes_no_sense(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/sessions"
    assert_refused(run("copy", url, url), 2, "the same store")
    assert_refused(run("copy", url, "redis://:a-password@127.0.0.1:1/0"), 1, "127.0.0.1")
    assert_refused(run("copy", "nonsense", url), 2, "WSGI_SESSIONS_URL")
    both = {"WSGI_SESSIONS_URL": url, "WSGI_SESSIONS_MIGRATE_FROM": url}
    assert_refused(run("config", **both), 2, "WSGI_SESSIONS_MIGRATE_FROM", "the same store")
    secret = {"WSGI_SESSIONS_URL": url, "WSGI_SESSIONS_MIGRATE_FROM": f"{url}-old"}
    open_backend(f"{url}-old").close()
    assert "WSGI_SESSIONS_SECRET_KEYS" in run("check", **secret).stdout


def test_check_tells_what_is_left(tmp_path: Path) -> None:
    old = open_backend(f"file://{tmp_path}/old")
    begin(old, n=1)
    settings = {
        "WSGI_SESSIONS_URL": f"file://{tmp_path}/new",
        "WSGI_SESSIONS_MIGRATE_FROM": f"file://{tmp_path}/old",
        "WSGI_SESSIONS_SECRET_KEYS": SECRET,
    }
    found = json.loads(run("check", "--json", **settings).stdout)
    assert found["details"]["migration"] == {"from": "file", "remaining": 1}


def recipe(urls: dict[str, str]) -> Callable[[str], list[str]]:
    """The documented steps with these URLs: the lines of one of them."""
    (block,) = blocks("sh", PAGES["howto/move-to-another-store"])
    for shown, real in urls.items():
        block = block.replace(shown, real)
    steps = re.findall(r"# \d\. .*\n((?:[^#\n].*\n)+)", block)
    assert len(steps) == 3
    return lambda number: steps[int(number) - 1].splitlines()


def settings_of(lines: list[str]) -> dict[str, str]:
    words = [shlex.split(line, comments=True)[-1] for line in lines if "export" in line]
    return dict(word.split("=", 1) for word in words)


def test_the_recipe_does_what_it_says(tmp_path: Path, redis_url: str) -> None:
    """From files with a secret of their own."""
    folder, prefix = tmp_path / "sessions", f"{tmp_path.name}:"
    step = recipe({"/var/lib/app/sessions": str(folder), "redis://localhost:6379/0": redis_url})
    common = {"WSGI_SESSIONS_KEY_PREFIX": prefix}
    own_secret: dict[str, str | None] = {"WSGI_SESSIONS_SECRET_KEYS": None}
    with GunicornServer(
        worker_class="gthread", workers=1, url=f"file://{folder}", environ={**common, **own_secret}
    ) as server:
        browsers = [server.browser() for _ in range(2)]
        for browser in browsers:
            assert browser.get("/login", user="alice").status == 200
    reading = settings_of(step("1"))
    used, unused = browsers
    with GunicornServer(
        worker_class="gthread",
        workers=1,
        url=reading.pop("WSGI_SESSIONS_URL"),
        environ={**common, **own_secret, **reading},
    ) as server:
        used.move_to(server)
        assert used.get("/read").json["principal"] == "alice"
        (command,) = step("2")
        program, *arguments = shlex.split(command)
        assert program == "wsgi-sessions"
        assert "1 moved" in run(*arguments, **common).stdout
    assert step("3") == ["unset WSGI_SESSIONS_MIGRATE_FROM"]
    del reading["WSGI_SESSIONS_MIGRATE_FROM"]
    with GunicornServer(
        worker_class="gthread",
        workers=1,
        url=redis_url,
        environ={**common, **own_secret, **reading},
    ) as server:
        for browser in (used, unused):
            browser.move_to(server)
            assert browser.get("/read").json["principal"] == "alice"


def test_an_index_lives_as_long_as_the_session_may(old: Backend, new: Backend) -> None:
    begin(old, user="alice")
    copy(old, new, absolute_lifetime=Lifetimes().absolute)
    assert len(new.index.keys_of("alice")) == 1
