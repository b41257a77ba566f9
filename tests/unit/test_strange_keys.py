"""Keys and principals that nobody should use: huge numbers, hostile or endless texts."""

from __future__ import annotations

import traceback
from typing import Any

import pytest
from click.testing import CliRunner
from hostile import HOSTILE, assert_harmless
from worlds import World

from wsgi_sessions import texts
from wsgi_sessions.cli import main
from wsgi_sessions.core.identity_rules import IdentityRules
from wsgi_sessions.core.manager import SessionManager
from wsgi_sessions.core.transaction import Transaction
from wsgi_sessions.errors import UnserializableValue
from wsgi_sessions.stores.urls import open_backend

NUMBER = 10**5000  # Python writes it as no text


@pytest.mark.parametrize("key", [HOSTILE, NUMBER, (NUMBER,), -(2**64)], ids=type)
def test_a_strange_key_leaves_a_short_error(key: Any) -> None:
    session = World().begin().session
    for use in (
        lambda: session.__setitem__(key, 1),
        lambda: session.__getitem__(key),
        lambda: session.__delitem__(key),
        lambda: session.setdefault(key, {}),
        lambda: session.update({key: 1}),
        lambda: session.increment(key),
        lambda: session.append(key, 1),
        lambda: session.pop(key),
    ):
        with pytest.raises((UnserializableValue, KeyError)) as caught:
            use()
        assert len("".join(traceback.format_exception(caught.value))) < 4000
        assert_harmless(str(caught.value), texts.LINE)
    assert session.get(key) is None
    assert key not in session


def test_an_absent_key_is_named_as_it_is() -> None:
    with pytest.raises(KeyError) as caught:
        World().begin().session["päth"]
    assert caught.value.args == ("päth",)


def test_a_number_that_names_no_user_logs_no_user_in() -> None:
    world = World(identity=IdentityRules(principal_key="user"))
    transaction = world.begin()
    with pytest.raises(UnserializableValue, match="1024 bits"):
        transaction.session.login(NUMBER)
    transaction.session["user"] = NUMBER
    with pytest.raises(UnserializableValue, match="user: a principal"):
        transaction.commit()
    assert world.live() == 0
    transaction = world.begin()
    transaction.session["user"] = 2**128
    transaction.commit()
    assert len(world.manager.sessions_of(2**128)) == 1


def test_a_command_shows_a_number_that_is_too_large_to_write(tmp_path: Any) -> None:
    url = f"file://{tmp_path}/sessions"
    backend = open_backend(url)
    world = World()
    transaction = Transaction(SessionManager(backend), world.begin().request)
    transaction.session["n"] = {NUMBER: [NUMBER]}
    transaction.commit()
    (key,) = backend.iteration.keys()
    for more in ([], ["--json"]):
        done = CliRunner().invoke(main, ["show", key, "--values", "--url", url, *more])
        assert done.exit_code == 0, done.stdout
        assert "<dict>" in done.stdout
