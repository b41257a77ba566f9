"""Which of an application's own keys give the session another id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from worlds import START, Visit, World, id_of

from wsgi_sessions.core.identity_rules import IdentityRules
from wsgi_sessions.core.jobs import in_background
from wsgi_sessions.errors import ConfigurationError
from wsgi_sessions.stack.config import Config

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_sessions.core.session import Session

RULES = IdentityRules(
    "user", privilege_keys=("role", "is_admin", "grants"), confirming_keys=("_fresh",)
)


@pytest.fixture
def world() -> World:
    return World(identity=RULES)


def logged_in(world: World, **data: Any) -> str:
    return world.new(user=5, role="viewer", grants=["read"], _fresh=False, **data)


def admin(session: Session) -> None:
    session["role"] = "admin"


CHANGES: dict[str, Callable[[Session], object]] = {
    "another value": admin,
    "one that appears": lambda s: s.update(is_admin=True),
    "one that goes": lambda s: s.pop("role"),
    "in place": lambda s: s["grants"].append("write"),
    "by an operation": lambda s: s.append("grants", "write"),
    "deleted and set again": lambda s: (s.pop("role"), s.update(role="admin")),
    "the password given again": lambda s: s.update(_fresh=True),
}
NO_CHANGES: dict[str, Callable[[Session], object]] = {
    "the same value": lambda s: s.update(role="viewer"),
    "only read": lambda s: s.update(seen=[s["role"], *s["grants"]]),
    "changed and changed back": lambda s: (s.update(role="admin"), s.update(role="viewer")),
    "no longer fresh": lambda s: s.update(_fresh=False),
    "freshness that goes": lambda s: s.pop("_fresh"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_change_of_rights_gives_another_id(
    world: World, change: Callable[[Session], object]
) -> None:
    old = logged_in(world)
    request = world.begin(old)
    change(request.session)
    assert request.commit() == "cycled"
    assert world.data(old) == {}, "the id of before is dead"
    after = world.begin(id_of(request)).session
    assert after.principal == 5
    assert after.created_at == START, "nobody logged in: the absolute lifetime goes on"


@pytest.mark.parametrize("change", NO_CHANGES.values(), ids=NO_CHANGES.keys())
def test_changes_without_effect_on_rights_keep_the_id(
    world: World, change: Callable[[Session], object]
) -> None:
    old = logged_in(world)
    request = world.begin(old)
    change(request.session)
    assert request.commit() == "saved"
    assert id_of(request) == old


def test_the_password_given_again_to_a_fresh_session_gives_another_id_too(world: World) -> None:
    old = world.new(user=5, _fresh=True)
    request = world.begin(old)
    request.session["_fresh"] = True
    assert request.commit() == "cycled"


def test_a_request_with_the_id_of_before_a_change_of_rights_stores_nothing(world: World) -> None:
    old = logged_in(world)
    request, late = world.begin(old), world.begin(old)
    late.session["planted"] = 1
    admin(request.session)
    assert request.commit() == "cycled"
    assert late.commit() == "superseded"
    assert "planted" not in world.data(id_of(request))


def test_rights_that_change_in_an_exclusive_block_wait_for_the_cookie(world: World) -> None:
    old = logged_in(world)
    request = world.begin(old)
    with request.session.exclusive():
        admin(request.session)
    assert world.data(old)["role"] == "viewer"
    assert request.commit() == "cycled"
    assert world.data(id_of(request))["role"] == "admin"


def test_rights_that_change_after_the_headers_left_are_dropped_and_reported(world: World) -> None:
    old = logged_in(world)
    request = world.begin(old)
    admin(request.session)
    assert request.commit("closed") == "dropped"
    assert world.data(old)["role"] == "viewer"
    assert world.names() == ["created", "dropped"]


@pytest.mark.parametrize("is_exclusive", [False, True])
def test_rights_that_a_background_refresh_changes_are_stored_under_the_id_that_is_there(
    world: World, is_exclusive: bool
) -> None:
    old = logged_in(world)
    snapshot = world.manager.loader.load(old)
    assert snapshot is not None
    request = in_background(world.manager, Visit(old, "refresh"), snapshot)
    if is_exclusive:
        with request.session.exclusive():
            admin(request.session)
    else:
        admin(request.session)
    request.commit("closed")
    assert world.data(old)["role"] == "admin"


def test_a_login_that_changes_rights_too_is_a_login(world: World) -> None:
    anonymous = world.new(role="viewer")
    world.now += 10
    request = world.begin(anonymous)
    request.session.login(5)
    admin(request.session)
    assert request.commit() == "cycled"
    assert world.begin(id_of(request)).session.created_at == START + 10


@pytest.fixture
def quick() -> World:
    """An application that names its user in a key, as in Flask's quickstart."""
    return World(identity=IdentityRules(login_keys=("username", "user")))


def name_user(session: Session) -> None:
    session["username"] = "alice"


NAMINGS: dict[str, tuple[dict[str, Any], Callable[[Session], object]]] = {
    "appears": ({}, name_user),
    "after None": ({"username": None}, name_user),
    "another": ({"username": "bob"}, name_user),
    "a container": ({}, lambda s: s.update(user={"id": 5})),
    "a number": ({"user": 5}, lambda s: s.update(user=6)),
    "another type": ({"user": UUID(int=1)}, lambda s: s.update(user=UUID(int=2))),
    "after False": ({"user": False}, lambda s: s.update(user={"id": 5})),
    "after a placeholder": ({"user": "anonymous"}, lambda s: s.update(user={"id": 5})),
    "in an empty container": ({"user": {}}, lambda s: s["user"].update(id=5)),
}
NO_NAMINGS: dict[str, tuple[dict[str, Any], Callable[[Session], object]]] = {
    "the same": ({"username": "alice"}, name_user),
    "goes": ({"username": "alice"}, lambda s: s.pop("username")),
    "empty": ({}, lambda s: s.update(username="", user={})),
    "inside of a container": ({"user": {"id": 5}}, lambda s: s["user"].update(seen=1)),
}


@pytest.mark.parametrize(("before", "change"), NAMINGS.values(), ids=NAMINGS.keys())
def test_a_named_user_gets_another_id_and_keeps_the_data(
    quick: World, before: dict[str, Any], change: Callable[[Session], object]
) -> None:
    planted = quick.new(cart=["tea"], csrf_token="planted", **before)
    request = quick.begin(planted)
    change(request.session)
    assert request.commit() == "cycled"
    assert quick.data(planted) == {}
    after = quick.data(id_of(request))
    assert after["cart"] == ["tea"]
    assert "csrf_token" not in after


@pytest.mark.parametrize(("before", "change"), NO_NAMINGS.values(), ids=NO_NAMINGS.keys())
def test_a_value_that_names_the_same_user_keeps_the_id(
    quick: World, before: dict[str, Any], change: Callable[[Session], object]
) -> None:
    old = quick.new(cart=["tea"], csrf_token="mine", **before)
    request = quick.begin(old)
    change(request.session)
    assert request.commit() == "saved"
    assert quick.data(old)["csrf_token"] == "mine"


def test_each_of_two_users_named_at_once_has_a_session(quick: World) -> None:
    old = quick.new(cart=["tea"])
    first, second = quick.begin(old), quick.begin(old)
    first.session["username"] = "alice"
    second.session["username"] = "bob"
    assert (first.commit(), second.commit()) == ("cycled", "created")
    assert quick.data(id_of(first))["username"] == "alice"
    assert quick.data(id_of(second))["username"] == "bob"


def test_a_user_named_by_a_request_with_the_id_of_before_a_login_has_a_session(
    quick: World,
) -> None:
    old = quick.new(cart=["tea"])
    first = quick.begin(old)
    first.session["username"] = "alice"
    first.commit()
    late = quick.begin(old)
    late.session["username"] = "bob"
    assert late.commit() == "created"
    assert quick.data(id_of(late)) == {"username": "bob"}


TOKENS = {"csrf_token": "planted", "_csrftoken": "planted", "_csrft_": "planted"}


@pytest.mark.parametrize("how", ["login", "principal key"])
def test_csrf_tokens_planted_before_a_login_are_dropped(world: World, how: str) -> None:
    planted = world.new(cart=["tea"], **TOKENS)
    request = world.begin(planted)
    assert request.session["csrf_token"] == "planted", "the form of the log-in was verified"
    if how == "login":
        request.session.login(5)
        assert "csrf_token" not in request.session, "a page rendered now makes its own"
    else:
        request.session["user"] = 5
    request.session["_csrft_"] = "made by this request"
    request.commit()
    data = world.data(id_of(request))
    assert data.items() & TOKENS.items() == set()
    assert (data["cart"], data["_csrft_"]) == (["tea"], "made by this request")


@pytest.mark.parametrize("how", ["login", "principal key"])
@pytest.mark.parametrize("then", ["commit", "exclusive", "rotation"])
def test_csrf_tokens_planted_during_a_log_in_are_dropped(world: World, how: str, then: str) -> None:
    old = world.new(cart=["tea"])
    request = world.begin(old)
    if how == "login":
        request.session.login(5)
    else:
        request.session["user"] = 5
    request.session["_csrft_"] = "made by this request"
    attacker = world.begin(old)
    attacker.session.update(TOKENS)
    if then == "rotation":
        attacker.session.cycle_id()
    attacker.commit()
    if then == "exclusive":
        with request.session.exclusive():
            request.session["seen"] = True
    request.commit()
    data = world.data(id_of(request))
    assert data.items() & TOKENS.items() == set()
    assert (data["cart"], data["_csrft_"]) == (["tea"], "made by this request")


def test_a_login_keeps_the_keys_named_by_keep(world: World) -> None:
    request = world.begin(world.new(**TOKENS))
    request.session.login(5, keep=["csrf_token"])
    request.session["user"] = 5
    request.commit()
    assert world.data(id_of(request)) == {"csrf_token": "planted", "user": 5}


def test_a_user_who_logs_in_again_keeps_the_csrf_token(world: World) -> None:
    old = world.new(user=5, csrf_token="mine")
    request = world.begin(old)
    request.session.login(5)
    request.session["user"] = 5
    assert request.commit() == "cycled"
    assert world.data(id_of(request))["csrf_token"] == "mine"


def test_the_keys_that_a_login_drops_are_a_setting() -> None:
    world = World(identity=IdentityRules("user", login_drops=("form",)))
    request = world.begin(world.new(form="planted", csrf_token="kept"))
    request.session.login(5)
    request.commit()
    assert world.data(id_of(request)) == {"csrf_token": "kept"}


def test_the_keys_are_read_from_the_environment() -> None:
    config = Config.from_environ({"HOME": "/srv", "WSGI_SESSIONS_PRIVILEGE_KEYS": "role, is_admin"})
    assert config.privilege_keys == ("role", "is_admin")
    with pytest.raises(ConfigurationError, match="WSGI_SESSIONS_PRIVILEGE_KEYS='role,,x'"):
        Config.from_environ({"HOME": "/srv", "WSGI_SESSIONS_PRIVILEGE_KEYS": "role,,x"})
