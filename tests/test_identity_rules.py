"""Which of an application's own keys give the session another id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from test_transaction import START, Visit, World, id_of

from wsgi_sessions.config import Config
from wsgi_sessions.errors import ConfigurationError
from wsgi_sessions.identity_rules import IdentityRules
from wsgi_sessions.transaction import Transaction

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_sessions.session import Session

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
def test_what_changes_no_rights_keeps_the_id(
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
    request = Transaction.in_background(world.manager, Visit(old, "refresh"), snapshot)
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


def test_the_keys_are_read_from_the_environment() -> None:
    config = Config.from_environ({"HOME": "/srv", "WSGI_SESSIONS_PRIVILEGE_KEYS": "role, is_admin"})
    assert config.privilege_keys == ("role", "is_admin")
    with pytest.raises(ConfigurationError, match="WSGI_SESSIONS_PRIVILEGE_KEYS='role,,x'"):
        Config.from_environ({"HOME": "/srv", "WSGI_SESSIONS_PRIVILEGE_KEYS": "role,,x"})
