"""When the user changes, nothing of the former one's goes along, whatever the request held, and
across whatever reads and commits."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from worlds import World, id_of

from wsgi_sessions.errors import StaleValue

if TYPE_CHECKING:
    from wsgi_sessions.core.session import Session

ALICE = "of alice"
KEYS = ["notes", "prefs", "tags", "log"]
BEFORE: dict[str, Any] = {
    "notes": [ALICE],
    "prefs": {"name": ALICE, "inner": {"list": [ALICE]}},
    "tags": {ALICE},
}


class FormerRequest:
    """One of alice's, and others of hers beside it."""

    def __init__(self) -> None:
        self.world = World(principal_key="user")
        self.session_id = self.world.new(user="alice", **BEFORE)
        self.transaction = self.world.begin(self.session_id)
        self.held: list[tuple[str, Any]] = []

    @property
    def session(self) -> Session:
        return self.transaction.session

    def hold(self, key: str) -> None:
        if key in self.session:
            self.held.append((key, self.session[key]))

    def look(self, _key: str) -> None:
        dict(self.session)

    def change(self, _key: str) -> None:
        for _, value in self.held:
            change(value)

    def put_back(self, _key: str) -> None:
        for key, value in self.held:
            self.session[key] = value

    def default(self, key: str) -> None:
        change(self.session.setdefault(key, []))

    def append(self, key: str) -> None:
        with suppress(TypeError):
            self.session.append(key, "of bob")

    def assign(self, key: str) -> None:
        self.session[key] = ["of bob"]

    def delete(self, key: str) -> None:
        self.session.pop(key, None)

    def block(self, _key: str) -> None:
        with self.session.exclusive():
            pass

    def fail(self, key: str) -> None:
        with suppress(LookupError), self.session.exclusive():
            self.session[key] = "undone"
            raise LookupError

    def commit(self, _key: str) -> None:
        self.session.commit()

    def read_afresh(self, _key: str) -> None:
        self.transaction.catch_up()

    def others(self, key: str) -> None:
        other = self.world.begin(self.session_id)
        other.session[key] = {ALICE: [ALICE]}
        other.commit()


def change(held: Any) -> None:
    """In place, in one of its values too."""
    if isinstance(held, list):
        held.append("of bob")
    elif isinstance(held, set):
        held.add("of bob")
    else:
        held["more"] = "of bob"
        if "inner" in held:
            held["inner"]["list"].append("of bob")


ACTIONS = [
    *(
        FormerRequest.hold,
        FormerRequest.look,
        FormerRequest.change,
        FormerRequest.put_back,
        FormerRequest.default,
    ),
    *(
        FormerRequest.append,
        FormerRequest.assign,
        FormerRequest.delete,
        FormerRequest.block,
        FormerRequest.fail,
    ),
    *(FormerRequest.commit, FormerRequest.read_afresh, FormerRequest.others),
]
acts = st.lists(st.tuples(st.sampled_from(ACTIONS), st.sampled_from(KEYS)), max_size=10)


@settings(max_examples=200, deadline=None)
@given(acts)
@example(
    [
        (FormerRequest.append, "notes"),
        (FormerRequest.others, "notes"),
        (FormerRequest.read_afresh, ""),
    ]
)
@example(
    [
        (FormerRequest.hold, "notes"),
        (FormerRequest.delete, "notes"),
        (FormerRequest.block, ""),
        (FormerRequest.put_back, ""),
    ]
)
@example([(FormerRequest.hold, "tags"), (FormerRequest.fail, "tags"), (FormerRequest.change, "")])
@example(
    [(FormerRequest.assign, "notes"), (FormerRequest.commit, ""), (FormerRequest.append, "notes")]
)
def test_nothing_of_the_former_user_goes_along(actions: Any) -> None:
    request = FormerRequest()
    for action, key in actions:
        with suppress(StaleValue):
            action(request, key)
    request.session["user"] = "bob"
    try:
        request.transaction.commit()
    except StaleValue:  # then nothing was stored
        return
    data = request.world.data(id_of(request.transaction))
    assert data["user"] == "bob"
    assert ALICE not in repr(data)
