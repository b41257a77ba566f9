"""A worker that is killed while it gives a session another id leaves nothing that is listed."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from overlapping import Sessions
from worlds import id_of

from wsgi_sessions.clock import wall_clock
from wsgi_sessions.core.record.tombstones import TOMBSTONE_SECONDS
from wsgi_sessions.errors import StoreUnavailable
from wsgi_sessions.identity import store_key
from wsgi_sessions.operations.inspection import inspect
from wsgi_sessions.stores.memory.backend import open_memory
from wsgi_sessions.stores.sweeper import Sweeper

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_sessions.contract import Backend


class KilledError(BaseException):
    """Nothing that the worker would do later happens."""


def kill(part: Any, name: str, *, at: int, calls: str = "before") -> Callable[[], None]:
    """Have the call number `at` of a store's operation never come back; what repairs it again."""
    operation, count = getattr(part, name), [0]

    def killed(*args: Any, **more: Any) -> Any:
        count[0] += 1
        if count[0] != at:
            return operation(*args, **more)
        if calls == "after":
            operation(*args, **more)
        raise KilledError

    setattr(part, name, killed)
    return lambda: setattr(part, name, operation)


STEPS = [
    ("index", "add", 1, "before"),
    ("index", "add", 1, "after"),
    ("sessions", "save", 1, "before"),
    ("sessions", "save", 1, "after"),
    ("sessions", "save", 2, "before"),
]


def killed_login(sessions: Sessions, old: str, step: tuple[str, str, int, str]) -> None:
    part, name, at, calls = step
    login = sessions.begin(old)
    login.session.login("alice")
    repair = kill(getattr(sessions.backend, part), name, at=at, calls=calls)
    with suppress(KilledError):
        login.commit()
        pytest.fail("it was not killed")
    repair()


def seconds_left(backend: Backend) -> list[float]:
    """Of each record."""
    records = [backend.sessions.load(key) for key in backend.iteration.keys()]  # noqa: SIM118
    return [record.expires_at - wall_clock() for record in records if record is not None]


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_a_killed_login_is_not_listed_and_lasts_a_minute(
    backend: Backend, step: tuple[str, str, int, str]
) -> None:
    sessions = Sessions(backend)
    old = sessions.new(n=1)
    killed_login(sessions, old, step)
    is_old_alive = dict(sessions.begin(old).session) == {"n": 1}
    assert sessions.live() == is_old_alive
    assert sessions.manager.sessions_of("alice") == []
    keys = set(backend.iteration.keys()) - {store_key(old)}
    assert [inspect(backend, key, sessions.manager.lifetimes) for key in keys] == [None]
    lasting = [seconds for seconds in seconds_left(backend) if seconds > TOMBSTONE_SECONDS]
    assert len(lasting) == is_old_alive


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_the_sweep_removes_what_a_killed_login_left(step: tuple[str, str, int, str]) -> None:
    now = [1_000_000.0]
    backend = open_memory(clock=lambda: now[0])
    sessions = Sessions(backend, clock=lambda: now[0])
    old = sessions.new(n=1)
    killed_login(sessions, old, step)
    is_old_alive = sessions.live() == 1
    now[0] += TOMBSTONE_SECONDS + 1
    assert Sweeper(backend, interval=60).sweep().expired == 2 - is_old_alive
    assert backend.iteration.count() == is_old_alive


def test_a_login_that_succeeds_lives_as_long_as_any_session(backend: Backend) -> None:
    sessions = Sessions(backend)
    new = sessions.login(sessions.new(n=1), "alice")
    [listed] = sessions.manager.sessions_of("alice")
    assert listed.key == store_key(new)
    assert listed.expires_at - wall_clock() > 20 * 3600
    assert sessions.live() == 1
    stored = backend.sessions.load(store_key(new))
    found = sessions.begin(new).snapshot
    assert stored is not None
    assert found is not None
    assert found.version == stored.version
    assert sessions.do(new, lambda session: session.update(n=2)) == "saved"


def between_the_steps(sessions: Sessions, at: int, act: Callable[[], object]) -> None:
    """Have something happen just before the save number `at` from now on."""
    store: Any = sessions.backend.sessions
    save, count = store.save, [0]

    def interrupted(*args: Any, **more: Any) -> Any:
        count[0] += 1
        if count[0] == at:
            store.save = save
            act()
        return save(*args, **more)

    store.save = interrupted


def test_a_change_that_comes_by_the_old_id_before_the_last_step_stays() -> None:
    sessions = Sessions(open_memory())
    old = sessions.new(n=1)
    rotation, late = sessions.begin(old), sessions.begin(old)
    rotation.session.cycle_id()
    late.session.increment("n")
    between_the_steps(sessions, 2, late.commit)
    assert rotation.commit() == "cycled"
    assert sessions.seen(id_of(rotation)) == (None, {"n": 2})
    rotation.session["m"] = 1
    assert rotation.commit() == "saved"
    assert sessions.live() == 1


@pytest.mark.parametrize("at", [1, 2])
def test_ending_all_sessions_of_a_user_reaches_one_that_is_getting_another_id(at: int) -> None:
    sessions = Sessions(open_memory())
    old = sessions.login(None, "alice")
    rotation = sessions.begin(old)
    rotation.session.cycle_id()
    between_the_steps(sessions, at, lambda: sessions.manager.destroy_sessions_of("alice"))
    assert rotation.commit() == "gone"
    assert sessions.live() == 0
    assert sessions.manager.sessions_of("alice") == []


def test_a_lost_reply_to_the_last_step_is_not_a_failure() -> None:
    sessions = Sessions(open_memory())
    old = sessions.new(n=1)
    login = sessions.begin(old)
    login.session.login("alice")
    store: Any = sessions.backend.sessions
    save, count = store.save, [0]

    def twice(*args: Any, **more: Any) -> Any:
        count[0] += 1
        if count[0] == 2:
            save(*args, **more)
        return save(*args, **more)

    store.save = twice
    assert login.commit() == "cycled"
    assert sessions.seen(id_of(login)) == ("alice", {"n": 1})


def test_a_store_that_fails_at_the_last_step_fails_the_login() -> None:
    sessions = Sessions(open_memory())
    login = sessions.begin(sessions.new(n=1))
    login.session.login("alice")

    def fail() -> None:
        raise StoreUnavailable("down", operation="save")

    between_the_steps(sessions, 2, fail)
    with pytest.raises(StoreUnavailable, match="down"):
        login.commit()
    assert sessions.live() == 0
