"""The commit loop: races, lost replies, log-in and log-out, lifetimes; on a memory store."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from worlds import HOUR, START, Visit, World, id_of

from wsgi_sessions.core.commit.loop import Lifetimes
from wsgi_sessions.core.manager import SessionManager
from wsgi_sessions.core.record.envelope import open_sealed
from wsgi_sessions.core.transaction import Transaction
from wsgi_sessions.errors import (
    HeadersAlreadySent,
    LockTimeout,
    SessionConflict,
    SessionExists,
    SessionGone,
    SessionTooLarge,
    StoreUnavailable,
    VersionConflict,
)
from wsgi_sessions.identity import short_key, store_key

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def world() -> World:
    return World()


# -- overlapping requests ----------------------------------------------------------------------


def test_overlapping_changes_of_different_keys_all_stay(world: World) -> None:
    session_id = world.new(start=True)
    overlapping = [world.begin(session_id) for _ in range(8)]
    for number, transaction in enumerate(overlapping):
        transaction.session[f"key{number}"] = number
    for transaction in overlapping:
        assert transaction.commit() == "saved"
    assert world.data(session_id) == {"start": True} | {f"key{n}": n for n in range(8)}
    assert world.conflicts() == []


def test_a_request_that_only_reads_undoes_nothing(world: World) -> None:
    session_id = world.new(n=1, cart=[1])
    reader, writer = world.begin(session_id), world.begin(session_id)
    assert reader.session["cart"] == [1]
    writer.session["cart"].append(2)
    writer.session["n"] = 2
    writer.commit()
    assert reader.commit() == "unchanged"
    assert world.data(session_id) == {"n": 2, "cart": [1, 2]}


def test_no_request_starves_beside_a_constant_writer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read before a wait is old after it: the attempt that counts follows without one."""
    session_id = world.new(n=0)
    store: Any = world.backend.sessions
    save, attempts, losses = store.save, [], 20

    def busy() -> None:
        record = store.load(store_key(session_id))
        save(record_key, record.payload, record.expires_at, expected_version=record.version)

    def saved(*args: Any, **more: Any) -> int:
        attempts.append(args)
        if len(attempts) <= losses:
            busy()
        found: int = save(*args, **more)
        return found

    record_key = store_key(session_id)
    transaction = world.begin(session_id)
    transaction.session["mine"] = 1
    monkeypatch.setattr(store, "save", saved)
    monkeypatch.setattr("wsgi_sessions.core.commit.attempts.time.sleep", lambda _: busy())
    assert transaction.commit() == "saved"
    assert len(attempts) <= losses + 2
    assert world.data(session_id) == {"n": 0, "mine": 1}


def test_every_lost_update_of_a_naive_counter_is_reported(world: World) -> None:
    session_id = world.new(n=0)
    for _ in range(50):
        one, other = world.begin(session_id, "POST /one"), world.begin(session_id, "POST /other")
        one.session["n"] = one.session["n"] + 1
        other.session["n"] = other.session["n"] + 1
        one.commit()
        other.commit()
    assert world.data(session_id)["n"] == 100 - len(world.conflicts())
    assert len(world.conflicts()) == 50
    event = next(event for event in world.events if event.name == "conflict")
    assert event.facts["route"] == "POST /other"
    assert event.facts["others"] == ["POST /one"]


def test_increments_and_appends_of_many_threads_all_count(world: World) -> None:
    session_id = world.new(n=0)
    barrier = threading.Barrier(8)

    def work(number: int) -> None:
        barrier.wait()
        for step in range(25):
            transaction = world.begin(session_id)
            transaction.session.increment("n")
            transaction.session.append("log", (number, step))
            transaction.commit()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    data = world.data(session_id)
    assert data["n"] == 200
    assert len(data["log"]) == len(set(data["log"])) == 200
    for number in range(8):
        assert [s for n, s in data["log"] if n == number] == list(range(25))
    assert world.conflicts() == []


def test_raise_refuses_a_conflict_and_writes_nothing() -> None:
    world = World(on_conflict="raise")
    session_id = world.new(n=0, other=0)
    one, other = world.begin(session_id), world.begin(session_id)
    one.session["n"] = 1
    other.session["n"] = 2
    other.session["other"] = 2
    one.commit()
    with pytest.raises(SessionConflict, match="n") as caught:
        other.commit()
    assert [conflict.path for conflict in caught.value.conflicts] == ["n"]
    assert world.data(session_id) == {"n": 1, "other": 0}


def test_marks_of_both_sides_stay(world: World) -> None:
    session_id = world.new(n=1)
    login, other = world.begin(session_id), world.begin(session_id)
    login.session.login("alice")
    other.session.remember(7200)
    other.commit()
    login.commit()
    session = world.begin(id_of(login)).session
    assert (session.principal, session.lifetime) == ("alice", 7200)


def test_a_transaction_is_based_on_the_stored_session_after_a_save(world: World) -> None:
    session_id = world.new(n=1)
    world.now += 7200
    transaction = world.begin(session_id)
    transaction.session["n"] = 2
    transaction.commit()
    record = world.backend.sessions.load(store_key(session_id))
    assert record is not None
    found = transaction.snapshot
    assert found is not None
    assert (found.version, found.expires_at) == (record.version, record.expires_at)
    assert transaction.commit() == "unchanged"


def test_earlier_changes_are_not_committed_again(world: World) -> None:
    session_id = world.new(n=1)
    transaction = world.begin(session_id)
    transaction.session.increment("n")
    transaction.session.login("alice")
    assert transaction.commit() == "cycled"
    assert not transaction.session.modified
    assert transaction.commit() == "unchanged"
    transaction.session.increment("n")
    assert transaction.commit() == "saved"
    assert world.data(id_of(transaction)) == {"n": 3}


def test_a_save_that_fails_is_not_tried_again_here(world: World) -> None:
    """The adapter retries, within its deadline; twice would be beyond it."""
    session_id = world.new(n=1)
    store: Any = world.backend.sessions
    tries: list[str] = []

    def fault(key: str, *_: Any, **__: Any) -> int:
        tries.append(key)
        raise StoreUnavailable("down")

    store.save = fault
    transaction = world.begin(session_id)
    transaction.session["n"] = 2
    with pytest.raises(StoreUnavailable, match="down"):
        transaction.commit()
    assert len(tries) == 1


def test_a_session_that_all_fight_for_ends_in_a_fault_not_in_a_loop(world: World) -> None:
    session_id = world.new(n=0)
    store: Any = world.backend.sessions
    save = store.save

    def contested(key: str, *args: Any, expected_version: int, **more: Any) -> int:
        save(key, store.load(key).payload, START + 9, expected_version=expected_version)
        return int(save(key, *args, expected_version=expected_version, **more))

    store.save = contested
    transaction = world.begin(session_id)
    transaction.session["n"] = 1
    with pytest.raises(StoreUnavailable, match="too many requests"):
        transaction.commit()


# -- lost replies ------------------------------------------------------------------------------


def losing_a_reply(operation: Any, meanwhile: Callable[[], object] = lambda: None) -> Any:
    """An adapter's operation whose first reply is lost: it was done, and is sent again."""
    tries: list[Any] = []

    def lossy(*args: Any, **more: Any) -> Any:
        if tries:
            return operation(*args, **more)
        tries.append(operation(*args, **more))
        meanwhile()
        try:
            return operation(*args, **more)
        except VersionConflict as conflict:
            raise VersionConflict(conflict.current, is_after_retry=True) from None

    return lossy


def let_in(world: World, session_id: str, others: int) -> Callable[[], None]:
    """What other requests do meanwhile: each counts up."""

    def count() -> None:
        for _ in range(others):
            other = world.begin(session_id)
            other.session.increment("n")
            other.commit()

    return count


@pytest.mark.parametrize("others", [0, 1, 6])
def test_an_increment_whose_reply_was_lost_counts_once(world: World, others: int) -> None:
    session_id = world.new(n=0)
    store: Any = world.backend.sessions
    store.save = losing_a_reply(store.save, let_in(world, session_id, others))
    transaction = world.begin(session_id)
    transaction.session.increment("n")
    assert transaction.commit() == "saved"
    assert world.data(session_id) == {"n": 1 + others}
    assert world.conflicts() == []


def test_an_unknown_outcome_is_a_fault(world: World) -> None:
    """So many others saved after the lost reply that our token is no longer kept."""
    session_id = world.new(n=0)
    store: Any = world.backend.sessions
    store.save = losing_a_reply(store.save, let_in(world, session_id, 30))
    transaction = world.begin(session_id)
    transaction.session.increment("n")
    with pytest.raises(StoreUnavailable, match="is unknown"):
        transaction.commit()
    assert world.data(session_id) == {"n": 31}


def never_arriving(operation: Any, meanwhile: Callable[[], object]) -> Any:
    """An adapter's operation whose first request was lost: it was not done, and is sent again."""
    tries: list[Any] = []

    def lossy(*args: Any, **more: Any) -> Any:
        if tries:
            return operation(*args, **more)
        tries.append(args)
        meanwhile()
        try:
            return operation(*args, **more)
        except VersionConflict as conflict:
            raise VersionConflict(conflict.current, is_after_retry=True) from None

    return lossy


@pytest.mark.parametrize("others", [1, 2, 8])
def test_a_save_that_never_arrived_is_done_while_all_that_were_are_known(
    world: World, others: int
) -> None:
    session_id = world.new(n=0)
    world.now += 100
    store: Any = world.backend.sessions
    store.save = never_arriving(store.save, let_in(world, session_id, others))
    transaction = world.begin(session_id)
    transaction.session.increment("n")
    assert transaction.commit() == "saved"
    assert world.data(session_id) == {"n": 1 + others}


def test_a_lost_reply_is_known_by_its_token_also_if_a_clock_lags(world: World) -> None:
    session_id = world.new(n=0)
    store: Any = world.backend.sessions

    def lag() -> None:
        world.now -= 2
        let_in(world, session_id, 1)()
        world.now += 2

    store.save = losing_a_reply(store.save, lag)
    transaction = world.begin(session_id)
    transaction.session.increment("n")
    assert transaction.commit() == "saved"
    assert world.data(session_id) == {"n": 2}


def test_a_conflict_whose_own_reply_was_lost_names_the_others_only(world: World) -> None:
    session_id = world.new(n=0)
    one, other = world.begin(session_id, "POST /one"), world.begin(session_id, "POST /other")
    one.session["n"] = 1
    other.session["n"] = 2
    one.commit()
    store: Any = world.backend.sessions
    save, lossy = store.save, losing_a_reply(store.save)

    def second_reply_lost(*args: Any, **more: Any) -> Any:
        store.save = lossy
        return save(*args, **more)

    store.save = second_reply_lost
    assert other.commit() == "saved"
    assert world.data(session_id) == {"n": 2}
    (event,) = [event for event in world.events if event.name == "conflict"]
    assert event.facts["others"] == ["POST /one"]


def test_a_create_whose_reply_was_lost_makes_one_session(world: World) -> None:
    store: Any = world.backend.sessions
    store.create = losing_a_reply(store.create)
    session_id = world.new(n=1)
    assert world.data(session_id) == {"n": 1}
    assert world.backend.iteration.count() == 1


def test_a_create_that_meets_a_stranger_takes_another_id(world: World) -> None:
    store: Any = world.backend.sessions
    create = store.create
    refused: list[str] = []

    def occupied_once(key: str, *args: Any) -> None:
        if not refused:
            refused.append(key)
            create(key, b"somebody else's", START + 100)
            raise SessionExists(key)
        create(key, *args)

    store.create = occupied_once
    assert world.data(world.new(n=1)) == {"n": 1}
    assert len(refused) == 1


def test_a_login_whose_replies_were_lost_happens_once(world: World) -> None:
    session_id = world.new(n=1)
    store: Any = world.backend.sessions
    store.create, store.save = losing_a_reply(store.create), losing_a_reply(store.save)
    transaction = world.begin(session_id)
    transaction.session.login("alice")
    assert transaction.commit() == "cycled"
    assert world.data(session_id) == {}
    assert world.data(id_of(transaction)) == {"n": 1}
    assert world.live() == 1


# -- the session object ------------------------------------------------------------------------


def test_a_session_is_a_dictionary(world: World) -> None:
    session = world.begin(world.new(a=1, b=[2])).session
    assert session == {"a": 1, "b": [2]}
    assert (len(session), list(session)) == (2, ["a", "b"])
    assert "a" in session
    assert "x" not in session
    for missing in (session.__getitem__, session.__delitem__, session.pop):
        with pytest.raises(KeyError):
            missing("x")
    assert session.setdefault("a", 9) == session.pop("a") == 1
    session.clear()
    assert not session


def test_a_repr_shows_no_value(world: World) -> None:
    session = world.begin(world.new(card="4111")).session
    assert repr(session) == "<Session: not accessed>"
    assert session["card"] == "4111"
    assert repr(session) == "<Session: 1 keys>"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda session: session.get("cart"), False),
        (lambda session: session["cart"].append(2), True),
        (lambda session: session.cycle_id(), True),
        (lambda session: session.remember(60), True),
        (lambda session: session.remember(None), False),
        (lambda session: session.flush(), True),
    ],
)
def test_modified_says_whether_there_is_something_to_commit(
    world: World, change: Any, expected: bool
) -> None:
    transaction = world.begin(world.new(cart=[1]))
    assert not transaction.session.modified
    change(transaction.session)
    assert transaction.session.modified == expected
    assert (transaction.commit() != "unchanged") == expected


@pytest.mark.parametrize(
    "change",
    [
        lambda session: session.__setitem__("n", 2),
        lambda session: session.increment("n"),
        lambda session: session.flush(),
        lambda session: session.cycle_id(),
    ],
)
def test_nothing_can_be_changed_after_the_end(world: World, change: Any) -> None:
    transaction = world.begin(world.new(n=1))
    assert transaction.session["n"] == 1
    transaction.close()
    with pytest.raises(HeadersAlreadySent, match="ended"):
        change(transaction.session)


def test_a_lifetime_may_be_a_timedelta(world: World) -> None:
    session = world.begin(world.new(n=1)).session
    session.remember(timedelta(days=2, seconds=1))
    assert session.lifetime == 2 * 24 * HOUR + 1


@pytest.mark.parametrize("lifetime", [0, 0.5, -1, float("inf"), float("nan"), timedelta(0)])
def test_an_invalid_lifetime_is_refused(world: World, lifetime: Any) -> None:
    session = world.begin(world.new(n=1)).session
    with pytest.raises(ValueError, match="lifetime"):
        session.remember(lifetime)
    assert not session.modified


def test_events_are_counted_and_a_conflict_is_a_warning(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    session_id = world.new(n=0)
    for value in (1, 2):
        one, other = world.begin(session_id), world.begin(session_id)
        one.session["n"] = value
        other.session["n"] = -value
        one.commit()
        other.commit()
    assert world.manager.events.counts() == {"created": 1, "conflict": 2}
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 2
    assert "conflict" in warnings[0].getMessage()


# -- log-in and log-out ------------------------------------------------------------------------


def test_a_save_after_a_logout_is_refused_and_reported(world: World) -> None:
    session_id = world.new(n=1)
    slow, leaving = world.begin(session_id), world.begin(session_id)
    slow.session["n"] = 2
    leaving.session.flush()
    assert leaving.commit() == "destroyed"
    assert slow.commit() == "gone"
    assert world.backend.iteration.count() == 0
    assert world.names()[-1] == "gone"


def test_a_save_that_overlaps_a_login_is_merged_or_refused(world: World) -> None:
    session_id = world.new(n=1)
    early, late, login = (world.begin(session_id) for _ in range(3))
    login.session.login("alice")
    early.session["early"] = 1
    late.session["late"] = 1
    assert early.commit() == "saved"
    assert login.commit() == "cycled"
    assert late.commit() == "superseded"
    assert world.data(id_of(login)) == {"n": 1, "early": 1}
    assert world.data(session_id) == {}


@pytest.mark.parametrize("is_reply_lost", [False, True])
def test_a_save_between_the_steps_of_a_login_is_not_lost(world: World, is_reply_lost: bool) -> None:
    """After the new record was made, before the old one died."""
    session_id = world.new(n=1)
    store: Any = world.backend.sessions
    create = store.create

    def create_and_let_another_in(*args: Any) -> None:
        create(*args)
        store.create = create
        other = world.begin(session_id)
        other.session["other"] = 1
        other.session["n"] = 2
        other.commit()

    store.create = create_and_let_another_in
    world.now += 10
    login = world.begin(session_id, "POST /login")
    login.session.login("alice")
    login.session["mine"] = 1
    login.session["n"] = 5
    if is_reply_lost:
        store.save = losing_the_reply_of_a_replacement(store.save, store_key(session_id))
    assert login.commit() == "cycled"
    assert world.data(id_of(login)) == {"n": 5, "other": 1, "mine": 1}
    assert world.begin(id_of(login)).session.created_at == world.now
    assert world.data(session_id) == {}
    assert world.conflicts() == [("n", "overwritten")]


def losing_the_reply_of_a_replacement(save: Any, old_key: str) -> Any:
    """As `losing_a_reply`, for saves under any other key."""
    lossy = losing_a_reply(save)

    def save_with(key: str, *args: Any, **more: Any) -> Any:
        return (save if key == old_key else lossy)(key, *args, **more)

    return save_with


def test_a_log_out_that_is_faster_than_a_log_in_wins(world: World) -> None:
    session_id = world.new(n=1)
    first, second = world.begin(session_id), world.begin(session_id)
    first.session.login("alice")
    second.session.flush()
    second.commit()
    assert first.commit() == "gone"
    assert world.backend.iteration.count() == 0
    assert world.manager.sessions_of("alice") == []


def test_a_login_after_a_crash_between_its_steps(world: World) -> None:
    """The new record exists, but nobody has its id: the old session goes on."""
    session_id = world.new(n=1)
    store: Any = world.backend.sessions
    save = store.save

    def crash(*args: Any, **more: Any) -> int:
        raise StoreUnavailable("crash")

    store.save = crash
    login = world.begin(session_id)
    login.session.login("alice")
    with pytest.raises(StoreUnavailable):
        login.commit()
    store.save = save
    assert world.data(session_id) == {"n": 1}


@pytest.mark.parametrize(
    ("settings", "theirs", "error"),
    [
        ({"on_conflict": "raise"}, {"n": 3}, SessionConflict),
        ({"max_size": 600}, {"other": "x" * 400}, SessionTooLarge),
    ],
)
def test_a_login_that_is_refused_half_way_leaves_the_old_session_alone(
    settings: dict[str, Any], theirs: dict[str, Any], error: type[Exception]
) -> None:
    world = World(**settings)
    session_id = world.new(n=1)
    store: Any = world.backend.sessions
    create = store.create

    def create_and_let_another_in(*args: Any) -> None:
        create(*args)
        other = world.begin(session_id)
        other.session.update(theirs)
        other.commit()

    store.create = create_and_let_another_in
    login = world.begin(session_id)
    login.session.login("alice")
    login.session.update({"n": 2, "mine": "x" * 200})
    with pytest.raises(error):
        login.commit()
    assert world.data(session_id) == {"n": 1, **theirs}
    assert world.backend.iteration.count() == 1, "a record that nobody has the id of"
    assert world.manager.sessions_of("alice") == []


def test_a_tombstone_is_as_dead_as_nothing(world: World) -> None:
    session_id = world.new(n=1)
    save, login = (world.begin(session_id) for _ in range(2))
    save.session["n"] = 2
    login.session.login("alice")
    assert login.commit() == "cycled"
    assert world.backend.sessions.load(store_key(session_id)) is not None
    assert world.manager.loader.load(session_id) is None
    assert save.commit() == "superseded"
    assert world.backend.iteration.count() == 2, "the tombstone, and the session"
    assert len(world.manager.sessions_of("alice")) == 1
    assert world.data(id_of(login)) == {"n": 1}
    world.now += 61
    assert world.backend.iteration.count() == 1


def test_a_session_that_is_gone_is_a_new_one_from_then_on(world: World) -> None:
    session_id = world.new(n=1)
    slow, leaving = world.begin(session_id), world.begin(session_id)
    slow.session["n"] = 2
    leaving.session.flush()
    leaving.commit()
    assert slow.commit() == "gone"
    assert slow.session.new
    assert slow.commit() == "unchanged"
    assert world.names().count("gone") == 1


def test_rolled_back_changes_are_not_committed_later(world: World) -> None:
    session_id = world.new(n=1)
    transaction = world.begin(session_id)
    transaction.session["n"] = 2
    transaction.session.cycle_id()
    assert not transaction.roll_back()
    assert transaction.commit() == "unchanged"
    assert world.data(session_id) == {"n": 1}


def test_a_cycle_moves_the_session_and_kills_the_old_id(world: World) -> None:
    session_id = world.new(n=1)
    transaction = world.begin(session_id)
    transaction.session.cycle_id()
    assert transaction.commit() == "cycled"
    assert id_of(transaction) != session_id
    assert world.data(id_of(transaction)) == {"n": 1}
    assert world.data(session_id) == {}


def test_a_logout_takes_back_a_login_before_it(world: World) -> None:
    session_id = world.new(n=1)
    transaction = world.begin(session_id)
    transaction.session.login("alice")
    transaction.session.flush()
    assert transaction.commit() == "destroyed"
    assert world.backend.iteration.count() == 0


def test_a_login_as_the_same_principal_keeps_the_data(world: World) -> None:
    session_id = world.new(n=1)
    first = world.begin(session_id)
    first.session.login("alice")
    first.commit()
    again = world.begin(id_of(first))
    again.session.login("alice")
    assert again.commit() == "cycled"
    assert world.data(id_of(again)) == {"n": 1}
    assert world.data(id_of(first)) == {}


@pytest.mark.parametrize("end", ["log-out", "cycle"])
def test_the_index_follows_a_session_to_its_end(world: World, end: str) -> None:
    login = world.begin()
    login.session.login("alice")
    assert login.commit() == "created"
    key = store_key(id_of(login))
    assert world.backend.index.keys_of("alice") == [key]
    then = world.begin(id_of(login))
    if end == "cycle":
        then.session.cycle_id()
    else:
        then.session.flush()
    then.commit()
    kept = [] if end == "log-out" else [store_key(id_of(then))]
    assert world.backend.index.keys_of("alice") == kept


def test_leftovers_of_a_login_do_not_fail_it(world: World) -> None:
    session_id = world.new(n=1)
    index: Any = world.backend.index

    def fault(*_: Any) -> None:
        raise StoreUnavailable("down")

    login = world.begin(session_id)
    login.session.login("alice")
    login.commit()
    index.remove = fault
    leaving = world.begin(id_of(login))
    leaving.session.flush()
    assert leaving.commit() == "destroyed"
    assert world.live() == 0


def test_sessions_of_a_principal_are_listed_and_ended(world: World) -> None:
    ids = []
    for _ in range(4):
        transaction = world.begin(world.new(n=1))
        transaction.session.login(5)
        transaction.commit()
        ids.append(id_of(transaction))
        world.now += 1
    keys = [store_key(session_id) for session_id in ids]
    listed = world.manager.sessions_of(5)
    assert [session.key for session in listed] == keys
    assert [session.created_at for session in listed] == [START + n for n in range(4)]
    assert world.manager.sessions_of("5") == listed
    world.manager.destroy(keys[0])
    assert [session.key for session in world.manager.sessions_of(5)] == keys[1:]
    assert world.backend.index.keys_of("5") == keys[1:], "the index repairs itself"
    assert world.manager.destroy_sessions_of(5, keep=keys[2]) == 2
    assert world.data(ids[2]) == {"n": 1}
    assert world.data(ids[1]) == world.data(ids[3]) == {}
    assert world.manager.destroy_sessions_of(5) == 1
    assert world.live() == 0
    assert world.backend.index.keys_of("5") == []
    assert [event.key for event in world.events if event.name == "destroyed"] == [
        short_key(key) for key in (keys[0], keys[1], keys[3], keys[2])
    ]


def test_an_index_entry_gives_no_user_the_session_of_another(world: World) -> None:
    login = world.begin()
    login.session.login("alice")
    login.commit()
    world.backend.index.add("mallory", store_key(id_of(login)), world.now + 1000)
    assert world.manager.sessions_of("mallory") == []
    assert world.manager.destroy_sessions_of("mallory") == 0
    assert len(world.manager.sessions_of("alice")) == 1


def test_an_active_session_stays_listed_beyond_the_idle_lifetime() -> None:
    world = World(lifetimes=Lifetimes(idle=HOUR, absolute=10 * HOUR))
    login = world.begin()
    login.session.login("alice")
    login.commit()
    for _ in range(5):
        world.now += HOUR / 2
        request = world.begin(id_of(login))
        assert request.session.principal == "alice"
        request.commit()
    assert len(world.manager.sessions_of("alice")) == 1


def test_a_principal_key_binds_values_other_than_numbers_as_text() -> None:
    world = World(principal_key="user")
    user = UUID(int=7)
    login = world.begin(world.new(n=1))
    login.session["user"] = user
    assert login.commit() == "cycled"
    assert world.begin(id_of(login)).session.principal == str(user)
    assert world.data(id_of(login)) == {"n": 1, "user": user}
    assert len(world.manager.sessions_of(str(user))) == 1


def test_a_principal_key_cycles_whenever_it_is_set_or_goes() -> None:
    """Also to the same user: a password was asked again, and a stolen cookie must not profit."""
    world = World(principal_key="user")
    login = world.begin()
    login.session["user"] = 5
    login.commit()
    same = world.begin(id_of(login))
    same.session["user"] = 5
    assert same.commit() == "cycled"
    assert world.data(id_of(login)) == {}
    reading = world.begin(id_of(same))
    assert reading.session["user"] == 5
    reading.session["page"] = 1
    assert reading.commit() == "saved"
    world.now += 10
    leaving = world.begin(id_of(same))
    del leaving.session["user"]
    assert leaving.commit() == "cycled"
    assert world.begin(id_of(leaving)).session.principal is None
    assert world.begin(id_of(leaving)).session.created_at == START


def test_a_principal_key_that_names_another_user_takes_nothing_of_the_first_along() -> None:
    world = World(principal_key="user")
    first = world.begin(world.new(anonymous=1))
    first.session.update(user=5, secret="of 5")
    first.commit()
    assert world.data(id_of(first)) == {"anonymous": 1, "user": 5, "secret": "of 5"}
    second, late = world.begin(id_of(first)), world.begin(id_of(first))
    late.session["late"] = "of 5"
    second.session.update(user=6, theme="of 6")
    assert second.commit() == "created"
    assert world.data(id_of(second)) == {"user": 6, "theme": "of 6"}
    assert late.commit() == "gone"
    assert world.data(id_of(first)) == {}
    assert [len(world.manager.sessions_of(user)) for user in (5, 6)] == [0, 1]


def test_a_principal_key_that_changes_too_late_changes_nothing() -> None:
    world = World(principal_key="user")
    first = world.begin()
    first.session["user"] = 5
    first.commit()
    streaming = world.begin(id_of(first))
    streaming.session["user"] = 6
    assert streaming.commit("closed") == "dropped"
    assert world.data(id_of(first)) == {"user": 5}


def test_a_principal_key_that_changes_in_an_exclusive_block_waits_for_the_cookie() -> None:
    world = World(principal_key="user")
    first = world.begin()
    first.session.update(user=5, secret="of 5")
    first.commit()
    second = world.begin(id_of(first))
    with second.session.exclusive():
        second.session["user"] = 6
    assert world.data(id_of(first)) == {"user": 5, "secret": "of 5"}
    assert second.commit() == "created"
    assert world.data(id_of(second)) == {"user": 6}
    assert world.data(id_of(first)) == {}


# -- exclusive ---------------------------------------------------------------------------------


def test_exclusive_makes_a_read_modify_write_of_anything() -> None:
    world = World(waiters=6)
    session_id = world.new(text="")
    barrier = threading.Barrier(6)

    def work(letter: str) -> None:
        barrier.wait()
        for _ in range(10):
            transaction = world.begin(session_id)
            transaction.session.get("text")
            with transaction.session.exclusive(timeout=30):
                transaction.session["text"] = transaction.session["text"] + letter
            transaction.commit()
            transaction.close()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, "abcdef"))
    assert sorted(world.data(session_id)["text"]) == sorted("abcdef" * 10)
    assert world.conflicts() == []


def test_exclusive_reads_afresh_keeps_pending_changes_and_commits_at_once(world: World) -> None:
    session_id = world.new(n=1)
    mine, other = world.begin(session_id), world.begin(session_id)
    mine.session["pending"] = True
    other.session["n"] = 5
    other.commit()
    with mine.session.exclusive():
        assert mine.session["n"] == 5
        mine.session["n"] = 6
    assert world.data(session_id) == {"n": 6, "pending": True}
    mine.session["after"] = 1
    mine.commit()
    assert world.data(session_id) == {"n": 6, "pending": True, "after": 1}


def test_an_exclusive_block_counts_once(world: World) -> None:
    session_id = world.new(n=1, log=[])
    transaction = world.begin(session_id)
    held = transaction.session["log"]
    with transaction.session.exclusive():
        transaction.session.increment("n")
        transaction.session.append("log", "inside")
    transaction.session.append("log", "after")
    assert held == ["inside", "after"], "a list that the application holds stays the session's"
    transaction.commit()
    assert world.data(session_id) == {"n": 2, "log": ["inside", "after"]}
    assert world.conflicts() == []


def test_a_login_around_an_exclusive_block_stays_pending_until_the_commit(world: World) -> None:
    """The old id, which somebody may have planted, is never bound to the principal."""
    session_id = world.new(n=1)
    transaction, other = world.begin(session_id), world.begin(session_id)
    other.session["other"] = 1
    other.commit()
    transaction.session.login("alice")
    with transaction.session.exclusive():
        assert transaction.session.principal == "alice"
        transaction.session["inside"] = 1
    assert world.data(session_id) == {"n": 1, "other": 1}
    assert world.begin(session_id).session.principal is None
    assert transaction.commit() == "cycled"
    assert world.begin(id_of(transaction)).session.principal == "alice"
    assert world.data(id_of(transaction)) == {"n": 1, "other": 1, "inside": 1}
    assert world.data(session_id) == {}


@pytest.mark.parametrize("by", ["login", "principal key", "cycle"])
@pytest.mark.parametrize("end", ["response", "failure", "no cookie"])
def test_a_block_that_changes_the_identity_stores_nothing_under_the_old_id(
    by: str, end: str
) -> None:
    """Whoever planted the old id sees nothing of it: not after the block, not at any end."""
    world = World(principal_key="user")
    planted = world.new(n=1)
    transaction = world.begin(planted)
    with transaction.session.exclusive():
        if by == "login":
            transaction.session.login("alice")
        elif by == "cycle":
            transaction.session.cycle_id()
        else:
            transaction.session["user"] = "alice"
        transaction.session["is_admin"] = True
    assert world.data(planted) == {"n": 1}
    assert world.begin(planted).session.principal is None
    if end == "failure":
        transaction.roll_back()
    else:
        transaction.commit("closed" if end == "no cookie" else "open")
    transaction.close()
    assert world.data(planted) == ({} if end == "response" else {"n": 1})
    assert world.begin(planted).session.principal is None
    assert len(world.manager.sessions_of("alice")) == (end == "response" and by != "cycle")


def test_a_block_that_changes_the_identity_lasts_until_it_is_stored(world: World) -> None:
    session_id = world.new(n=1)
    transaction, other = world.begin(session_id), world.begin(session_id)
    with transaction.session.exclusive():
        transaction.session.cycle_id()
    with pytest.raises(LockTimeout), other.session.exclusive(timeout=0):
        pytest.fail("two blocks overlap")
    transaction.commit()
    transaction.close()
    with world.begin(session_id).session.exclusive(timeout=0):
        pass


def test_nothing_of_the_former_user_that_was_read_or_changed_in_place_goes_along() -> None:
    world = World(principal_key="user")
    first = world.begin()
    first.session.update(user="alice", notes=["of alice"], prefs={"key": "of alice"}, seen=1)
    first.commit()
    second = world.begin(id_of(first))
    second.session.setdefault("notes", []).append("of bob")
    second.session["copied"] = "of bob"
    second.session["prefs"] = {**second.session["prefs"], "more": 1}
    second.session.increment("seen", 5)
    second.session.append("log", "of bob")
    second.session["user"] = "bob"
    assert second.commit() == "created"
    assert world.data(id_of(second)) == {
        "copied": "of bob",
        "seen": 5,
        "log": ["of bob"],
        "user": "bob",
    }


def test_changes_before_a_block_that_raises_stay_pending(world: World) -> None:
    session_id = world.new(n=1)
    transaction = world.begin(session_id)
    transaction.session.login("alice")
    with suppress(ZeroDivisionError), transaction.session.exclusive():
        transaction.session.remember(60)
        _ = 1 / 0
    assert transaction.commit() == "cycled"
    session = world.begin(id_of(transaction)).session
    assert (session.principal, session.lifetime) == ("alice", None)


def test_an_exclusive_block_that_raises_is_undone(world: World) -> None:
    session_id = world.new(n=1, cart=[1])
    transaction = world.begin(session_id)
    transaction.session["pending"] = True
    transaction.session["cart"].append(2)
    with suppress(ZeroDivisionError), transaction.session.exclusive():
        transaction.session["n"] = 99
        transaction.session["cart"].append(3)
        transaction.session.flush()
        _ = 1 / 0
    assert dict(transaction.session) == {"n": 1, "cart": [1, 2], "pending": True}
    assert world.data(session_id) == {"n": 1, "cart": [1]}
    transaction.commit()
    assert world.data(session_id) == {"n": 1, "cart": [1, 2], "pending": True}


def test_an_exclusive_block_that_cannot_be_committed_is_undone() -> None:
    """By who does not take part, and so commits in the middle of the block."""
    world = World(on_conflict="raise")
    session_id = world.new(n=1)
    transaction, other = world.begin(session_id), world.begin(session_id)
    transaction.session["pending"] = True
    other.session["n"] = 5

    def block() -> None:
        with transaction.session.exclusive():
            transaction.session["n"] = 2
            other.commit()

    with pytest.raises(SessionConflict):
        block()
    assert dict(transaction.session) == {"n": 1, "pending": True}
    assert transaction.commit() == "saved"
    assert world.data(session_id) == {"n": 5, "pending": True}


def test_exclusive_waits_no_longer_than_asked_and_nests(world: World) -> None:
    session_id = world.new(n=1)
    first, second = world.begin(session_id), world.begin(session_id)
    with first.session.exclusive():
        with first.session.exclusive(timeout=0):
            first.session["inner"] = 1
        with pytest.raises(LockTimeout), second.session.exclusive(timeout=0.02):
            pytest.fail("two at once")
    with (
        first.session.exclusive(),
        pytest.raises(LockTimeout),
        second.session.exclusive(timeout=0),
    ):
        pytest.fail("the second block of a transaction holds nothing")
    with second.session.exclusive(timeout=0):
        pass


@pytest.mark.parametrize("end", ["commit", "roll_back", "close"])
def test_exclusive_access_holds_from_the_first_access_to_the_commit(world: World, end: str) -> None:
    session_id = world.new(n=1)
    whole = Transaction(world.manager, Visit(session_id, "", "exclusive"))
    other = world.begin(session_id)
    with other.session.exclusive(timeout=0):
        pass  # nothing is held yet
    assert whole.session["n"] == 1
    with whole.session.exclusive(timeout=0):
        whole.session["n"] = 2
    with pytest.raises(LockTimeout), other.session.exclusive(timeout=0):
        pytest.fail("two at once")
    getattr(whole, end)()
    with other.session.exclusive(timeout=0):
        assert other.session["n"] == 2


def test_exclusive_without_a_stored_session_just_runs(world: World) -> None:
    transaction = world.begin()
    with transaction.session.exclusive():
        transaction.session["n"] = 1
    assert world.backend.iteration.count() == 0
    assert transaction.commit() == "created"


def test_exclusive_on_a_session_that_is_gone(world: World) -> None:
    session_id = world.new(n=1)
    transaction, leaving = world.begin(session_id), world.begin(session_id)
    transaction.session.get("n")
    leaving.session.flush()
    leaving.commit()
    with transaction.session.exclusive():
        transaction.session["n"] = 2
    assert transaction.commit() == "gone"
    assert world.backend.iteration.count() == 0


def test_an_exclusive_block_commits_marks_with_the_data_but_for_those_with_a_cookie(
    world: World,
) -> None:
    session_id = world.new(n=1)
    transaction = world.begin(session_id)
    with transaction.session.exclusive():
        transaction.session["n"] = 2
        transaction.draft().set_metadata("stamps", {"global": 7})
        transaction.session.remember(100)
    seen = world.begin(session_id).draft()
    assert (seen.get_metadata("stamps"), seen.get_metadata("lifetime")) == ({"global": 7}, None)
    assert seen.snapshot is not None
    assert seen.snapshot.version == 2  # one change
    assert transaction.commit() == "saved"
    assert world.begin(session_id).session.lifetime == 100


def test_a_mark_of_an_exclusive_block_that_raises_is_undone(world: World) -> None:
    session_id = world.new(n=1)
    transaction = world.begin(session_id)
    with suppress(ZeroDivisionError), transaction.session.exclusive():
        transaction.draft().set_metadata("stamps", {"global": 7})
        _ = 1 / 0
    assert transaction.draft().get_metadata("stamps") is None
    assert transaction.commit() == "unchanged"


def test_a_logout_in_an_exclusive_block_is_done_when_it_ends(world: World) -> None:
    session_id = world.new(n=1)
    transaction, waiting = world.begin(session_id), world.begin(session_id)
    waiting.session.get("n")
    with transaction.session.exclusive():
        transaction.session.flush()
    assert world.backend.iteration.count() == 0
    with waiting.session.exclusive():
        assert waiting.draft().is_gone
    assert transaction.commit() == "destroyed"
    assert world.names().count("destroyed") == 1


def test_a_login_by_principal_key_in_an_exclusive_block_cycles_the_id() -> None:
    world = World(principal_key="user_id")
    session_id = world.new(n=1)
    transaction = world.begin(session_id)
    with transaction.session.exclusive():
        transaction.session["user_id"] = 5
    assert transaction.commit() == "cycled"
    assert transaction.session.principal == 5
    assert world.data(session_id) == {}


def test_a_conflict_met_on_entering_exclusive_is_reported_or_refused() -> None:
    for policy in ("last-wins", "raise"):
        world = World(on_conflict=policy)
        session_id = world.new(n=1)
        mine, other = world.begin(session_id), world.begin(session_id)
        mine.session["n"] = 2
        other.session["n"] = 3
        other.commit()
        if policy == "raise":
            with pytest.raises(SessionConflict), mine.session.exclusive():
                pytest.fail("entered")
        else:
            with mine.session.exclusive():
                assert mine.session["n"] == 2
        assert world.conflicts() == [("n", "overwritten")]


# -- joining in ---------------------------------------------------------------------------------


def test_a_peek_at_the_stored_session_is_not_an_access(world: World) -> None:
    session_id = world.new(n=1)
    transaction = world.begin(session_id)
    ran: list[str] = []
    transaction.when_loaded(lambda: ran.append("before"))
    assert transaction.peek().snapshot is not None
    assert (ran, transaction.session.accessed) == ([], False)
    transaction.session.get("n")
    assert ran == ["before"]
    transaction.when_loaded(lambda: ran.append("after"))
    transaction.session.get("n")
    transaction.draft()
    assert ran == ["before", "after"]


# -- lifetimes ---------------------------------------------------------------------------------


def test_an_idle_session_expires_and_an_active_one_does_not() -> None:
    world = World(lifetimes=Lifetimes(idle=HOUR, absolute=100 * HOUR))
    session_id = world.new(n=1)
    for _ in range(20):
        world.now += HOUR * 0.9
        transaction = world.begin(session_id)
        assert transaction.session["n"] == 1
        assert transaction.commit() == "touched"
    world.now += HOUR + 1
    assert world.data(session_id) == {}


def test_touches_are_throttled() -> None:
    world = World(lifetimes=Lifetimes(idle=HOUR, absolute=100 * HOUR))
    session_id = world.new(n=1)
    results = []
    for _ in range(60):
        world.now += HOUR / 60
        transaction = world.begin(session_id)
        transaction.session.get("n")
        results.append(transaction.commit())
    assert results.count("touched") in range(12, 21)


def test_the_absolute_lifetime_ends_an_active_session() -> None:
    world = World(lifetimes=Lifetimes(idle=HOUR, absolute=5 * HOUR))
    session_id = world.new(n=1)
    for _ in range(9):
        world.now += HOUR / 2
        transaction = world.begin(session_id)
        transaction.session["n"] = world.now
        assert transaction.commit() == "saved"
    world.now = START + 5 * HOUR
    assert world.data(session_id) == {}


def test_a_session_at_the_end_of_its_absolute_lifetime_is_no_longer_touched() -> None:
    world = World(lifetimes=Lifetimes(idle=HOUR, absolute=2 * HOUR))
    session_id = world.new(n=1)
    results = []
    for _ in range(11):
        world.now += HOUR / 6
        transaction = world.begin(session_id)
        transaction.session.get("n")
        results.append(transaction.commit())
    assert results == ["touched"] * 6 + ["unchanged"] * 5


def test_a_shorter_absolute_lifetime_holds_for_existing_sessions() -> None:
    world = World()
    session_id = world.new(n=1)
    world.now += 10 * HOUR
    stricter = SessionManager(
        world.backend,
        lifetimes=Lifetimes(idle=HOUR, absolute=2 * HOUR),
        clock=lambda: world.now,
    )
    assert stricter.loader.load(session_id) is None
    assert world.backend.iteration.count() == 0


def test_a_login_restarts_the_absolute_lifetime_and_a_cycle_does_not() -> None:
    world = World(lifetimes=Lifetimes(idle=10 * HOUR, absolute=10 * HOUR))
    session_id = world.new(n=1)
    world.now += 6 * HOUR
    cycle = world.begin(session_id)
    cycle.session.cycle_id()
    cycle.commit()
    assert world.begin(id_of(cycle)).session.created_at == START
    login = world.begin(id_of(cycle))
    login.session.login("alice")
    login.commit()
    assert world.begin(id_of(login)).session.created_at == START + 6 * HOUR
    world.now += HOUR
    cycle = world.begin(id_of(login))
    cycle.session.cycle_id()
    cycle.commit()
    assert world.begin(id_of(cycle)).session.principal == "alice"
    assert world.begin(id_of(cycle)).session.created_at == START + 6 * HOUR


def test_remember_keeps_one_session_longer_up_to_the_absolute_lifetime() -> None:
    world = World(lifetimes=Lifetimes(idle=HOUR, absolute=50 * HOUR))
    session_id = world.new(n=1)
    transaction = world.begin(session_id)
    transaction.session.remember(timedelta(hours=20))
    transaction.commit()
    world.now += HOUR / 2
    transaction = world.begin(session_id)
    assert transaction.session["n"] == 1
    assert transaction.commit() == "unchanged", "touched in proportion to its own lifetime"
    world.now += 18.5 * HOUR
    transaction = world.begin(session_id)
    assert transaction.session["n"] == 1
    assert transaction.session.lifetime == 20 * HOUR
    assert transaction.commit() == "touched"
    world.now += 19 * HOUR
    transaction = world.begin(session_id)
    transaction.session.get("n")
    transaction.commit()
    assert transaction.session.expires_at == START + 50 * HOUR


def test_the_size_limit_is_met_before_anything_is_written() -> None:
    world = World(max_size=1000)
    session_id = world.new(n=1)
    transaction = world.begin(session_id)
    transaction.session["big"] = "x" * 1000
    with pytest.raises(SessionTooLarge) as caught:
        transaction.commit()
    assert caught.value.limit == 1000
    assert world.data(session_id) == {"n": 1}
    fresh = world.begin()
    fresh.session["big"] = "x" * 1000
    with pytest.raises(SessionTooLarge):
        fresh.commit()
    assert world.backend.iteration.count() == 1


def test_a_quiet_session_keeps_one_token_and_a_busy_one_a_few(world: World) -> None:
    session_id = world.new(n=1)

    def tokens() -> int:
        record = world.backend.sessions.load(store_key(session_id))
        assert record is not None
        return len(open_sealed(record.payload, store_key(session_id)).commits)

    for number in range(20):
        transaction = world.begin(session_id)
        transaction.session["n"] = number + 2
        transaction.commit()
    assert 2 <= tokens() <= 8
    world.now += 100
    transaction = world.begin(session_id)
    transaction.session["n"] = 0
    transaction.commit()
    assert tokens() == 1


def test_a_record_under_another_key_is_refused(world: World) -> None:
    alice, bob = world.new(user="alice"), world.new(user="bob")
    store = world.backend.sessions
    hers = store.load(store_key(alice))
    assert hers is not None
    store.save(store_key(bob), hers.payload, hers.expires_at, expected_version=1)
    assert world.data(bob) == {}
    assert world.data(alice) == {"user": "alice"}
    assert world.backend.quarantine is not None
    assert world.backend.quarantine.quarantined() == 1
    with pytest.raises(SessionGone):
        store.save(store_key(bob), b"x", START + 10, expected_version=1)
