"""A look at a session is a read of what is stored, not of what the request itself wrote.

What was read decides whether an equal change by two requests may be a lost update: a conflict.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, Any

import flask
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import Template
from worlds import World

from wsgi_sessions.contrib.flask import WSGISessions
from wsgi_sessions.contrib.flask.mapping import ending_of
from wsgi_sessions.errors import SessionConflict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, MutableMapping

    from wsgi_sessions.core.merge.delta import Delta
    from wsgi_sessions.core.values.workspace import Workspace

    Mapping = MutableMapping[str, Any]
    Look = Callable[[Mapping], object]

STORED = {"a": 1, "b": [1], "c": "c"}
KEYS = ["a", "b", "c", "d"]


def same(mapping: Mapping) -> object:
    return mapping == {"a": 1}


def jinja(mapping: Mapping) -> object:
    """As a debug bar does."""
    template = "{% for key, value in s.items() %}{{ key }}{{ value }}{% endfor %}{{ s.a }}"
    return Template(template).render(s=mapping)


# Looks that show all the keys that are there, but `jinja`, which looks at "a" in any case.
AT_ALL: list[Look] = [
    *(list, dict, same, sorted, jinja),
    lambda mapping: list(mapping.keys()),
    lambda mapping: list(mapping.values()),
    lambda mapping: list(mapping.items()),
    lambda mapping: mapping != {},
    lambda mapping: [key for key in mapping if key in mapping],
    lambda mapping: {**mapping},
]
AT_ONE: list[Callable[[Mapping, str], object]] = [
    lambda mapping, key: key in mapping,
    lambda mapping, key: key in mapping.keys(),  # noqa: SIM118  # another way
    lambda mapping, key: mapping.get(key),
    lambda mapping, key: mapping[key] if mapping.get(key) else None,
    lambda mapping, key: (key, 1) in mapping.items(),
]
AT_NONE: list[Look] = [len, bool, repr, lambda mapping: getattr(mapping, "modified")]  # noqa: B009

Act = Any  # ("set" | "delete" | "all" | "one" | "none", index, key)
acts = st.lists(
    st.tuples(
        st.sampled_from(["set", "delete", "clear", "all", "one", "none"]),
        st.integers(0, 9),
        st.sampled_from(KEYS),
    ),
    max_size=8,
)


def act(mapping: Mapping, action: Act, *, plainly: bool = False) -> None:
    """Do it; `plainly`: a look is replaced by a `get` of each key that it shows."""
    name, index, key = action
    if name == "set":
        mapping[key] = index
    elif name == "delete":
        with suppress(KeyError):
            del mapping[key]
    elif name == "clear":
        for stored in KEYS:
            act(mapping, ("delete", 0, stored))
    elif name == "none":
        if not plainly:
            AT_NONE[index % len(AT_NONE)](mapping)
    elif name == "one":
        mapping.get(key) if plainly else AT_ONE[index % len(AT_ONE)](mapping, key)
    elif not plainly:
        AT_ALL[index % len(AT_ALL)](mapping)
    else:
        at_all = AT_ALL[index % len(AT_ALL)]
        for shown in [key for key in KEYS if has(mapping, key) or (at_all is jinja and key == "a")]:
            mapping.get(shown)


def has(mapping: Mapping, key: str) -> bool:
    return data_of(mapping).has(key)


def data_of(mapping: Any) -> Workspace:
    session = mapping
    if not hasattr(session, "_source"):
        session = ending_of(mapping)._session
    data: Workspace = session._read().data
    return data


@contextmanager
def by_wsgi() -> Iterator[Mapping]:
    world = World()
    yield world.begin(world.new(**STORED)).session


@cache
def application() -> flask.Flask:
    app = flask.Flask(__name__)
    app.config.update(
        WSGI_SESSIONS_URL="memory://", WSGI_SESSIONS_SECRET_KEY="s" * 40, SECRET_KEY="s" * 40
    )
    WSGISessions(app)
    return app


@contextmanager
def by_flask() -> Iterator[Mapping]:
    app = application()
    client = app.test_client()
    with client.session_transaction() as session:
        session.update(STORED)
    cookie = client.get_cookie("session")
    assert cookie is not None
    with app.test_request_context("/", headers={"Cookie": f"session={cookie.value}"}):
        assert not flask.session.new
        yield flask.session._get_current_object()  # type: ignore[attr-defined]


def delta(mapping: Mapping) -> Delta:
    return data_of(mapping).delta()


VIEWS = pytest.mark.parametrize("view", [by_wsgi, by_flask], ids=["wsgi", "flask"])


@VIEWS
@settings(max_examples=60)
@given(actions=acts)
def test_every_look_is_as_a_get_of_what_it_shows(view: Any, actions: list[Act]) -> None:
    with view() as mapping:
        for action in actions:
            act(mapping, action)
        found = delta(mapping)
    with view() as mapping:
        for action in actions:
            act(mapping, action, plainly=True)
        assert found == delta(mapping)


@VIEWS
@settings(max_examples=60)
@given(actions=acts)
def test_no_look_at_what_the_request_wrote_changes_what_it_says(
    view: Any, actions: list[Act]
) -> None:
    written = [("set", 7, key) for key in KEYS]
    with view() as mapping:
        for action in [*written, *actions]:
            act(mapping, action)
        found = delta(mapping)
    with view() as mapping:
        for action in [*written, *(a for a in actions if a[0] in ("set", "delete", "clear"))]:
            act(mapping, action)
        assert found == delta(mapping)
    assert {getattr(change, "basis", "read") for change in found.values()} <= {"blind"}


@pytest.mark.parametrize("look", AT_ALL)
@pytest.mark.parametrize("before", [{}, {"theme": "light"}])
def test_a_page_that_lists_the_session_makes_no_conflict_of_a_blind_write(
    look: Look, before: dict[str, str]
) -> None:
    world = World(on_conflict="raise")
    session_id = world.new(a=1, **before)
    one, other = world.begin(session_id), world.begin(session_id)
    for transaction in (one, other):
        transaction.session["theme"] = "dark"
        look(transaction.session)
    one.commit()
    other.commit()
    assert world.data(session_id)["theme"] == "dark"


def test_a_deletion_does_not_count_as_a_read() -> None:
    world = World(on_conflict="raise")
    session_id = world.new(a=1, theme="light")
    one, other = world.begin(session_id), world.begin(session_id)
    for transaction in (one, other):
        transaction.session.clear()
        transaction.session["theme"] = "dark"
    one.commit()
    other.commit()
    assert world.data(session_id) == {"theme": "dark"}


def test_learning_that_a_key_is_absent_counts_as_a_read() -> None:
    world = World(on_conflict="raise")
    session_id = world.new(a=1)
    one, other = world.begin(session_id), world.begin(session_id)
    for transaction in (one, other):
        with pytest.raises(KeyError):
            del transaction.session["n"]
        transaction.session["n"] = 1
    one.commit()
    with pytest.raises(SessionConflict):
        other.commit()


def test_a_blind_write_before_a_block_stays_one() -> None:
    world = World(on_conflict="raise")
    session_id = world.new(a=1)
    one, other = world.begin(session_id), world.begin(session_id)
    for transaction in (one, other):
        transaction.session["tags"] = ["new"]
        transaction.catch_up()
    one.commit()
    other.commit()
    assert world.data(session_id)["tags"] == ["new"]
