"""Taking over foreign sessions: who races whom, what a crash leaves, and what is dead stays dead.

Both stores are real. Somebody else's steps are put between those of the request under test by
`Interrupted` records.
"""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any, Literal

import flask_sites
import pytest
from flask_sites import PLAIN
from gunicorn_server import GunicornServer, HttpBrowser, at_once

from wsgi_sessions.core.draft import Draft
from wsgi_sessions.core.events import Event, Events
from wsgi_sessions.core.manager import SessionManager
from wsgi_sessions.errors import StoreUnavailable
from wsgi_sessions.identity import derived_id, short_key, store_key
from wsgi_sessions.importers.adoption import Adoption
from wsgi_sessions.importers.conversion import convert, count
from wsgi_sessions.importers.urls import ImportOptions, open_importer
from wsgi_sessions.migration.copying import copy
from wsgi_sessions.stores.urls import open_backend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from redis_servers import RedisServer

    from wsgi_sessions.importers.base import ForeignRecords
    from wsgi_sessions.importers.conversion import ConversionOutcome

DAY = date(2030, 6, 30)
NOON = 1909051200.0  # of that day


class Interrupted:
    """The foreign records, and what happens just before or after a step on them, once."""

    def __init__(self, records: ForeignRecords) -> None:
        self._records = records
        self.after_load: Callable[[], object] = lambda: None
        self.before_delete: Callable[[], object] = lambda: None

    def load(self, name: str) -> bytes | None:
        payload = self._records.load(name)
        interruption, self.after_load = self.after_load, lambda: None
        interruption()
        return payload

    def delete(self, name: str) -> None:
        interruption, self.before_delete = self.before_delete, lambda: None
        interruption()
        self._records.delete(name)

    def names(self) -> Iterator[str]:
        return self._records.names()

    def expires_at(self, name: str) -> float | None:
        return self._records.expires_at(name)

    def close(self) -> None:
        self._records.close()


class Worker:
    """One process of ours: an adoption on the stores that all of them share."""

    def __init__(self, ours: str, theirs: str, events: list[Event]) -> None:
        self.now = NOON
        self.backend = open_backend(ours, timeout=5.0)
        self.manager = SessionManager(self.backend, events=Events(events.append))
        importer = open_importer(theirs, ImportOptions((b"dev",), 1800.0, 5.0, self.clock))
        self.records = Interrupted(importer.records)
        self.importer = replace(importer, records=self.records)
        self.adoption = Adoption(self.manager, self.importer, until=DAY, clock=self.clock)

    def take(self, cookie: str) -> str | None:
        """What a request with this foreign cookie gets: the id of our session, or nothing."""
        return self.adoption.session_id(f"session={cookie}", lambda: "GET /")

    def change(self, session_id: str, **values: object) -> None:
        """What that request then does to it."""
        snapshot = self.manager.loader.load(session_id)
        assert snapshot is not None
        draft = Draft(snapshot)
        for key, value in values.items():
            draft.data.set(key, value)
        self.manager.commit(draft, lambda: "GET /")

    def values(self, session_id: str) -> dict[str, Any] | None:
        snapshot = self.manager.loader.load(session_id)
        if snapshot is None:
            return None
        data = Draft(snapshot).data
        return {key: data.peek(key) for key in data if not key.startswith("_")}

    def log_out(self, session_id: str) -> None:
        self.manager.destroy(store_key(session_id))

    def clock(self) -> float:
        return self.now


class Stage:
    """Two workers, the former application, and one user who is logged in there."""

    def __init__(self, folder: Path, redis: RedisServer) -> None:
        self.events: list[Event] = []
        self.url = f"flask-session+{redis.url}"
        self.theirs = flask_sites.in_redis(redis.url)
        self.a, self.b = (Worker(f"file://{folder}/ours", self.url, self.events) for _ in range(2))
        self.cookie = self.theirs.login()

    def records(self) -> int:
        return self.a.backend.iteration.count()


@pytest.fixture
def stage(tmp_path: Path, end_to_end_redis: RedisServer) -> Iterator[Stage]:
    made = Stage(tmp_path, end_to_end_redis)
    yield made
    for worker in (made.a, made.b):
        worker.adoption.close()
        worker.backend.close()


# -- one foreign session, one of ours --------------------------------------------------------------


@pytest.mark.parametrize("moment", ["after_load", "before_delete"])
def test_overlapping_first_requests_share_one_session(stage: Stage, moment: str) -> None:
    a, b, cookie = stage.a, stage.b, stage.cookie

    def other() -> None:
        session_id = b.take(cookie)
        assert session_id is not None
        b.change(session_id, b=1)

    setattr(a.records, moment, other)
    session_id = a.take(cookie)
    assert session_id is not None
    a.change(session_id, a=1)
    assert b.values(session_id) == {**PLAIN, "a": 1, "b": 1}
    assert [event.name for event in stage.events] == ["imported", "ended"]
    ended = stage.events[-1].facts
    assert (ended["why"], ended["to"]) == ("taken-over", short_key(store_key(session_id)))
    assert "flask-session" in str(ended["detail"])


def test_the_id_follows_from_the_foreign_session_alone() -> None:
    """Not from a secret: workers agree on it while those are rotated."""
    ids = {
        derived_id("import", "django", "a" * 32),
        derived_id("import", "flask-session", "a" * 32),
        derived_id("import", "flask-session", "a" * 31),
        derived_id("import", "flask-sessiona", "a" * 31),
    }
    assert len(ids) == 4
    assert all(len(session_id) == 40 and session_id.isascii() for session_id in ids)


# -- dead is dead ----------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["after_load", "before_delete"])
def test_a_slower_request_brings_no_dead_session_back(stage: Stage, moment: str) -> None:
    """It had read the foreign record; then another imported it, and the user logged out."""
    a, b, cookie = stage.a, stage.b, stage.cookie

    def other() -> None:
        session_id = b.take(cookie)
        assert session_id is not None
        b.log_out(session_id)

    setattr(a.records, moment, other)
    session_id = a.take(cookie)
    assert session_id is None or a.values(session_id) is None
    for worker in (a, b):
        session_id = worker.take(cookie)
        assert session_id is None


def test_one_that_was_made_of_a_dead_one_is_destroyed(stage: Stage) -> None:
    """The other's import and log-out fall between this one's look at the receipt and its save."""
    a, b, cookie = stage.a, stage.b, stage.cookie
    create = a.manager.create

    def late(*args: Any, **more: Any) -> Any:
        session_id = b.take(cookie)
        assert session_id is not None
        b.log_out(session_id)
        return create(*args, **more)

    a.manager.create = late  # type: ignore[method-assign]
    assert a.take(cookie) is None
    assert b.values(derived_id("import", "flask-session", cookie)) is None


def test_a_late_save_of_the_former_application_does_not_undo_a_log_out(stage: Stage) -> None:
    """Flask-Session creates at a save: its record is back, and still nobody is logged in here."""
    session_id = stage.a.take(stage.cookie)
    assert session_id is not None
    stage.a.log_out(session_id)
    with stage.theirs.app.config["SESSION_REDIS"] as client:
        client.set(f"session:{stage.cookie}", b"\x81\xa7user_id\x07")
    assert stage.theirs.user(stage.cookie) == 7
    assert stage.b.take(stage.cookie) is None


# -- crashes and faults ----------------------------------------------------------------------------


class Crash(Exception):
    """Instead of kill -9: nothing after it runs."""


@pytest.mark.parametrize("step", ["create", "add"])
def test_a_crash_between_the_steps_loses_nothing(stage: Stage, step: str) -> None:
    a, b, cookie = stage.a, stage.b, stage.cookie
    doer = a.manager if step == "create" else a.manager.principals
    done = getattr(doer, step)

    def crash(*args: Any, **more: Any) -> Any:
        done(*args, **more)
        raise Crash

    setattr(doer, step, crash)
    with pytest.raises(Crash):
        a.take(cookie)
    session_id = b.take(cookie)
    assert session_id is not None
    assert b.values(session_id) == PLAIN
    assert stage.theirs.user(cookie) is None
    b.log_out(session_id)
    assert b.take(cookie) is None


def test_a_crash_before_the_foreign_record_is_deleted(stage: Stage) -> None:
    def crash() -> None:
        raise Crash

    stage.a.records.before_delete = crash
    with pytest.raises(Crash):
        stage.a.take(stage.cookie)
    session_id = stage.b.take(stage.cookie)
    assert session_id is not None
    stage.b.log_out(session_id)
    assert stage.b.take(stage.cookie) is None
    assert stage.theirs.user(stage.cookie) is None


def test_no_record_of_ours_before_there_is_one_of_theirs(stage: Stage) -> None:
    for _ in range(3):
        assert stage.a.take("x" * 40) is None
    assert stage.records() == 0
    assert stage.events == []


def test_an_unsupported_session_is_left_where_it_is(stage: Stage) -> None:
    nested: Any = "leaf"
    for _ in range(80):
        nested = [nested]
    stage.theirs.values["deep"] = nested
    cookie = stage.theirs.login()
    assert stage.a.take(cookie) is None
    (event,) = stage.events
    assert event.name == "import-refused"
    assert "deep" in str(event.facts["reason"])
    assert "leaf" not in str(event)
    assert stage.theirs.user(cookie) == 7
    assert stage.records() == 0


# -- the bound -------------------------------------------------------------------------------------


def test_the_last_day_is_whole_and_the_last(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    worker = stage.a
    worker.now = NOON + 12 * 3600
    for _ in range(2):
        assert worker.take(stage.cookie) is None
    assert caplog.text.count("remove `imports.source`") == 1
    assert stage.theirs.user(stage.cookie) == 7
    worker.now -= 1
    assert worker.take(stage.cookie) is not None


def test_an_import_is_remembered_for_a_day_or_as_long_as_the_cookie_lives(
    tmp_path: Path, stage: Stage
) -> None:
    """After that the foreign record is gone, or the cookie too old; and nothing is left of it."""
    cookie = flask_sites.in_cookie(PLAIN).login()
    flask = Worker(f"file://{tmp_path}/b", "flask-cookie://?max_age=7d", stage.events)
    flask.now = time.time()
    for worker, taken, days in ((stage.a, stage.cookie, 1), (flask, cookie, 7)):
        session_id = worker.take(taken)
        assert session_id is not None
        worker.log_out(session_id)
        keys = {*worker.backend.iteration.keys()} - {store_key(session_id)}  # a tombstone is left
        (key,) = keys  # the receipt
        record = worker.backend.sessions.load(key)
        assert record is not None
        end = min(worker.now + days * 86400, NOON + 12 * 3600)
        assert end <= record.expires_at <= end + 3700
        assert worker.manager.loader.find(key) is None
    flask.backend.close()


@pytest.mark.parametrize("leave", ["untouched", "moved"])
def test_a_dead_session_stays_dead_in_another_store(
    tmp_path: Path, leave: Literal["untouched", "moved"]
) -> None:
    cookie = flask_sites.in_cookie(PLAIN).login()
    old, new = (Worker(f"file://{tmp_path}/{name}", "flask-cookie://", []) for name in "ab")
    for worker in (old, new):
        worker.now = time.time()
    session_id = old.take(cookie)
    assert session_id is not None
    old.log_out(session_id)
    copy(old.backend, new.backend, leave=leave)
    assert new.take(cookie) is None
    for worker in (old, new):
        worker.backend.close()


# -- converted beforehand --------------------------------------------------------------------------


def outcomes(worker: Worker) -> Mapping[ConversionOutcome, int]:
    found, _ = count(convert(worker.manager, worker.importer, clock=worker.clock))
    return found


def test_conversion_is_repeatable_and_leaves_alone_what_is_in_use(
    tmp_path: Path, stage: Stage
) -> None:
    theirs = flask_sites.in_redis(
        stage.url.removeprefix("flask-session+"), SESSION_KEY_PREFIX="converted:"
    )
    worker = Worker(f"file://{tmp_path}/b", f"{stage.url}?prefix=converted:", stage.events)
    used, idle = theirs.login(), theirs.login()
    client = theirs.app.config["SESSION_REDIS"]
    payload = client.get(f"converted:{used}")
    assert outcomes(worker) == {"imported": 2}
    session_id = worker.take(used)
    assert session_id is not None
    worker.change(session_id, cart=["pot"])
    theirs.values["cart"] = ["changed there"]
    browser = theirs.app.test_client()
    for cookie in (used, idle):
        browser.set_cookie("session", cookie)
        browser.get("/login")
    assert theirs.user(idle) == 7
    client.set(f"converted:{used}", payload)  # a late save of the former application
    found = outcomes(worker)
    assert (found["updated"], found["in use"]) == (1, 1)
    assert worker.values(session_id) == {**PLAIN, "cart": ["pot"]}
    other = worker.take(idle)
    assert other is not None
    assert worker.values(other) == {**PLAIN, "cart": ["changed there"]}
    worker.backend.close()


def test_conversion_does_not_count_as_use_of_a_session(stage: Stage) -> None:
    stage.theirs.app.config["SESSION_REDIS"].expire(f"session:{stage.cookie}", 100)
    [*convert(stage.a.manager, stage.a.importer)]
    snapshot = stage.a.manager.loader.load(derived_id("import", "flask-session", stage.cookie))
    assert snapshot is not None
    assert snapshot.expires_at < time.time() + 101


def test_a_converted_pickle_in_files_is_taken_over(tmp_path: Path) -> None:
    from wsgi_sessions.importers.pickles import unpickle

    values = {**PLAIN, "tags": {1, 2}, "pair": (1, b"x")}
    theirs = flask_sites.in_files(tmp_path / "theirs", values)
    cookie, other = theirs.login(), theirs.login()
    url = flask_sites.import_url(tmp_path / "theirs")
    worker = Worker(f"file://{tmp_path}/ours", url, [])
    offline = open_importer(url, ImportOptions(unpickle=unpickle))
    found, _ = count(convert(worker.manager, offline, clock=worker.clock))
    assert found == {"imported": 2}
    session_id = worker.take(cookie)
    assert session_id is not None
    assert worker.values(session_id) == values
    assert theirs.user(cookie) is None
    assert theirs.user(other) == 7
    worker.log_out(session_id)
    assert worker.take(cookie) is None
    worker.backend.close()


def test_a_folder_that_cannot_be_read_does_not_count_as_empty(tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    cookie = flask_sites.in_files(folder).login()
    worker = Worker(f"file://{tmp_path}/ours", flask_sites.import_url(folder), [])
    (name,) = worker.importer.names(f"session={cookie}")
    file = folder / name
    file.unlink()
    file.mkdir()
    with pytest.raises(StoreUnavailable):
        worker.take(cookie)
    worker.backend.close()


# -- under gunicorn --------------------------------------------------------------------------------


def test_parallel_first_requests_of_several_workers_lose_no_update(
    end_to_end_redis: RedisServer,
) -> None:
    theirs = flask_sites.in_redis(end_to_end_redis.url, SESSION_KEY_PREFIX="parallel:")
    theirs.values.update(log=[])
    cookie = theirs.login()
    environ = {
        "WSGI_SESSIONS_IMPORT_FROM": f"flask-session+{end_to_end_redis.url}?prefix=parallel:",
        "WSGI_SESSIONS_IMPORT_UNTIL": "9998-12-31",
    }
    with GunicornServer(worker_class="gthread", environ=environ) as server:
        browsers = [HttpBrowser(server.port, cookie) for _ in range(12)]
        replies = at_once(
            *[
                lambda browser=browser, item=item: browser.get("/change", item=item)
                for item, browser in enumerate(browsers)
            ]
        )
        assert {reply.status for reply in replies} == {200}
        assert len({reply.json["pid"] for reply in replies}) > 1
        assert len({browser.key for browser in browsers}) == 1
        assert browsers[0].cookie != cookie
        values = browsers[0].values()
        assert sorted(values["log"]) == sorted(values["entries"]) == [*range(12)]
        assert values["count"] == 12
        assert values["user_id"] == 7
        assert len(server.events("imported")) == 1
        assert server.events("conflict") == []
