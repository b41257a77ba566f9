"""`exclusive` holds a session by what stays: blocks under its old and new id take turns."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from overlapping import Sessions
from redis_servers import wait_until
from worlds import id_of

from wsgi_sessions.core.identity_rules import IdentityRules
from wsgi_sessions.errors import LockTimeout
from wsgi_sessions.identity import store_key
from wsgi_sessions.stores.memory.backend import open_memory

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_sessions.contract import Backend
    from wsgi_sessions.core.session import Session
    from wsgi_sessions.core.transaction import Transaction

RULES = IdentityRules("user_id", privilege_keys=("role",))


@pytest.fixture
def here() -> Sessions:
    return Sessions(open_memory(), identity=RULES, wait=0.0)


def cycle(session: Session) -> None:
    session.cycle_id()


def log_in(session: Session) -> None:
    session.login("alice")


def set_user(session: Session) -> None:
    session["user_id"] = "alice"


def change_rights(session: Session) -> None:
    session["role"] = session.get("role", 0) + 1


NEW_IDS = [cycle, log_in, set_user, change_rights]


def moved(sessions: Sessions, old: str, new_id: Callable[[Session], None]) -> str:
    """The session's next id."""
    request = sessions.begin(old)
    new_id(request.session)
    assert request.commit() == "cycled"
    return id_of(request)


def in_a_block(request: Transaction) -> bool:
    """Whether it gets into a block at once."""
    try:
        with request.session.exclusive(timeout=0):
            return True
    except LockTimeout:
        return False


def test_a_block_under_the_old_id_keeps_one_under_the_new_id_out(backend: Backend) -> None:
    sessions = Sessions(backend)
    old = sessions.new(n=1)
    with sessions.begin(old).session.exclusive(timeout=5):
        later = sessions.begin(moved(sessions, old, log_in))
        assert not in_a_block(later)
    assert in_a_block(later)


@pytest.mark.parametrize("new_id", NEW_IDS)
def test_all_ids_of_a_session_share_a_lock(here: Sessions, new_id: Callable[..., None]) -> None:
    ids = [here.new(n=1)]
    early = here.begin(ids[0])
    for _ in range(3):
        ids.append(moved(here, ids[-1], new_id))
    with here.begin(ids[-1]).session.exclusive():
        assert not in_a_block(early)
        assert not in_a_block(here.begin(ids[-1]))
    with early.session.exclusive():
        assert not in_a_block(here.begin(ids[-1]))


def test_a_new_id_that_met_a_change_keeps_the_lock(here: Sessions) -> None:
    """It is stored, and then made anew with what was saved meanwhile."""
    old = here.new(n=1)
    request, early = here.begin(old), here.begin(old)
    request.session.cycle_id()
    here.do(old, lambda session: session.increment("n"))
    assert request.commit() == "cycled"
    with early.session.exclusive():
        assert early.session["n"] == 2
        assert not in_a_block(here.begin(id_of(request)))


def test_a_login_that_met_a_rotation_keeps_the_lock(here: Sessions) -> None:
    old = here.new(n=1)
    login, early = here.begin(old), here.begin(old)
    moved(here, old, cycle)
    login.session.login("alice")
    assert login.commit() == "cycled"
    with early.session.exclusive():
        assert not in_a_block(here.begin(id_of(login)))


def test_a_second_login_has_a_session_and_a_lock_of_its_own(here: Sessions) -> None:
    old = moved(here, here.new(n=1), cycle)
    first, second = here.begin(old), here.begin(old)
    for request, user in ((first, "alice"), (second, "bob")):
        request.session.login(user)
        request.commit()
    with here.begin(id_of(first)).session.exclusive():
        assert in_a_block(here.begin(id_of(second)))


def test_the_session_after_a_log_out_has_a_lock_of_its_own(here: Sessions) -> None:
    old = moved(here, here.new(n=1), log_in)
    early, request = here.begin(old), here.begin(old)
    request.session.flush()
    request.session["n"] = 2
    assert request.commit() == "created"
    with early.session.exclusive():
        assert in_a_block(here.begin(id_of(request)))


@pytest.mark.parametrize("first", ["block", "exclusive path", "exclusive view"])
def test_an_exclusive_request_under_the_new_id_stays_out(here: Sessions, first: str) -> None:
    old = here.new(n=1)
    request = here.begin(old, access="exclusive" if first == "exclusive path" else "shared")
    if first == "exclusive view":
        request.hold()
    with request.session.exclusive():
        new = moved(here, old, log_in)
        with pytest.raises(LockTimeout):
            here.begin(new, access="exclusive")
        with pytest.raises(LockTimeout):
            here.begin(new).hold()
    request.commit()
    request.close()
    here.begin(new, access="exclusive").close()


def test_an_exclusive_request_that_waited_reads_what_the_others_stored() -> None:
    sessions = Sessions(open_memory(), wait=60.0)
    new = moved(sessions, sessions.new(n=1), log_in)
    seen: list[object] = []

    def wait_and_read() -> None:
        request = sessions.begin(new, access="exclusive")
        seen.append(request.session["n"])
        request.close()

    waiting = threading.Thread(target=wait_and_read)
    block, locks = sessions.begin(new), sessions.manager.locks
    waiters: Any = locks.waiters
    with block.session.exclusive():
        waiting.start()
        wait_until(lambda: bool(waiters.waiting) or bool(seen), "it waits, or got in", 30)
        block.session["n"] = 2
    waiting.join(30)
    assert seen == [2]


def test_a_session_that_ended_while_a_request_waited_for_it_is_not_seen() -> None:
    sessions = Sessions(open_memory(), wait=60.0)
    old = sessions.login(sessions.new(n=1), "alice")
    seen: list[object] = []

    def wait_and_read() -> None:
        request = sessions.begin(old, access="exclusive")
        seen.append((request.session.principal, dict(request.session)))
        request.close()

    waiting = threading.Thread(target=wait_and_read)
    waiters: Any = sessions.manager.locks.waiters
    with sessions.begin(old).session.exclusive():
        waiting.start()
        wait_until(lambda: bool(waiters.waiting) or bool(seen), "it waits, or got in", 30)
        sessions.manager.destroy(store_key(old))
    waiting.join(30)
    assert seen == [(None, {})]
