"""A request that is sent again with its retry token is stored once."""

from __future__ import annotations

import io
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from overlapping import Site, cookie_in
from wsgi_client import call, environ_of

from wsgi_sessions.core.commit.pending import Pending
from wsgi_sessions.core.merge.delta import Assign
from wsgi_sessions.core.record.codec import encode
from wsgi_sessions.core.record.history import (
    NO_COMMITS,
    Commit,
    commits_in,
    number_in,
    with_commit,
    with_repeat,
)
from wsgi_sessions.core.record.repeats import Repeats, repeats_of
from wsgi_sessions.errors import StoreUnavailable
from wsgi_sessions.http.request_body import digest_of_body

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADER = "HTTP_IDEMPOTENCY_KEY"
VALUE = "7f3c9a52-order-1"


class RepeatShop:
    """A site with a counter, whose client sends a retry token with what it asks for."""

    def __init__(self) -> None:
        self.site = Site("memory://", retry_token_header="Idempotency-Key")
        self.was_repeated: list[bool] = []
        self.site.pages["/add"] = self.add
        self.site.pages["/twice"] = self.twice
        self.site.pages["/start"] = lambda session: session.update(n=0)
        self.cookie = cookie_in(self.site.get("/start"))

    def add(self, session: Any) -> None:
        session.increment("n")
        self.was_repeated.append(session.is_repeated)

    def twice(self, session: Any) -> None:
        with session.exclusive():
            session["n"] = session["n"] + 1
        self.was_repeated.append(session.is_repeated)
        session.increment("n", 10)

    def send(self, path: str = "/add", value: str | None = VALUE, **more: Any) -> Any:
        environ = environ_of(path, cookie=self.cookie, meanwhile=more.pop("meanwhile", None))
        if value is not None:
            environ[HEADER] = value
        return call(self.site.stack, {**environ, **more})

    def lose_answers(self) -> None:
        """Of one save that is done."""
        store: Any = self.site.stack.manager.backend.sessions
        save = store.save

        def losing(*args: Any, **options: Any) -> int:
            save(*args, **options)
            store.save = save
            error = StoreUnavailable("no answer", operation="save")
            error.in_doubt = True
            raise error

        store.save = losing

    @property
    def count(self) -> int:
        self.site.pages["/look"] = lambda session: self.seen.append(session["n"])
        self.seen: list[int] = []
        self.send("/look", None)
        return self.seen[0]

    def events(self, name: str) -> int:
        return sum(event.name == name for event in self.site.events)


@pytest.fixture
def shop() -> Iterator[RepeatShop]:
    shop = RepeatShop()
    with closing(shop.site.stack):
        yield shop


def test_changes_stored_without_an_answer_are_not_stored_again(shop: RepeatShop) -> None:
    shop.lose_answers()
    assert shop.send().status == 503
    assert shop.count == 1
    assert shop.send().status == 200
    assert shop.count == 1
    assert shop.was_repeated == [False, True]
    assert shop.events("repeated") == 1


def test_changes_that_were_not_stored_are_stored_later(shop: RepeatShop) -> None:
    store: Any = shop.site.stack.manager.backend.sessions
    save = store.save
    store.save = lambda *_, **__: (_ for _ in ()).throw(StoreUnavailable("down", operation="save"))
    assert shop.send().status == 503
    store.save = save
    assert shop.send().status == 200
    assert shop.count == 1
    assert shop.was_repeated == [False, False]


def test_the_steps_of_a_request_are_known_one_by_one(shop: RepeatShop) -> None:
    shop.lose_answers()  # to the block; what comes after it was not stored
    assert shop.send("/twice").status == 503
    assert shop.count == 1
    assert shop.send("/twice").status == 200
    assert shop.count == 11
    assert shop.send("/twice").status == 200
    assert shop.count == 11
    assert shop.was_repeated == [True, True], "the first time, it did not get that far"


def test_two_at_once_are_one(shop: RepeatShop) -> None:
    assert shop.send(meanwhile=shop.send).status == 200
    assert shop.count == 1


@pytest.mark.parametrize(
    ("value", "more"),
    [
        (None, {}),
        ("another-token", {}),
        ("short", {}),
        ("\xe4" * 20, {}),
        ("a" * 201, {}),
        (VALUE, {"QUERY_STRING": "item=2"}),
        (VALUE, {"CONTENT_LENGTH": "7"}),
        (VALUE, {"REQUEST_METHOD": "POST"}),
    ],
)
def test_another_request_is_another(
    shop: RepeatShop, value: str | None, more: dict[str, str]
) -> None:
    shop.send()
    shop.send(value=value, **more)
    assert shop.count == 2
    shop.send()
    assert shop.count == 2, "the first one is known still"


@pytest.mark.parametrize("length", [6, 64 * 1024])
def test_another_body_is_another_request(shop: RepeatShop, length: int) -> None:
    """Else a client could keep its attempts at a code from being counted."""

    def attempt(body: bytes) -> None:
        more: Any = {"CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body)}
        shop.send(REQUEST_METHOD="POST", **more)

    for number in range(3):
        attempt(b"%06d" % number + b"x" * (length - 6))
    assert shop.count == 3
    attempt(b"%06d" % 2 + b"x" * (length - 6))
    assert shop.count == 3


@pytest.mark.parametrize(
    "more",
    [
        {"CONTENT_LENGTH": str(64 * 1024 + 1)},
        {"CONTENT_LENGTH": "9" * 5000},
        {"CONTENT_LENGTH": "x"},
        {"CONTENT_LENGTH": "7"},  # and the client went away
        {"HTTP_TRANSFER_ENCODING": "chunked"},
    ],
)
def test_a_body_that_is_not_looked_at_is_never_the_same(
    shop: RepeatShop, more: dict[str, str]
) -> None:
    shop.send(**more)
    shop.send(**more)
    assert shop.count == 2


@pytest.mark.parametrize("body", [b"", b"a=1", b"x" * 64 * 1024])
def test_a_body_that_was_looked_at_is_there_for_the_application(body: bytes) -> None:
    server = io.BytesIO(body + b"the next request")
    environ = environ_of("/", CONTENT_LENGTH=str(len(body)))
    environ["wsgi.input"] = server
    found = digest_of_body(environ)
    assert found is not None
    assert environ["wsgi.input"].read(len(body)) == body
    assert server.read() == b"the next request"
    assert digest_of_body(environ) == found, "it is read once"


def test_others_in_between_do_not_make_it_forgotten(shop: RepeatShop) -> None:
    shop.send()
    for _ in range(20):
        shop.send(value=None)
    shop.send()
    assert shop.count == 21


def token(number: int) -> bytes:
    repeats = Repeats(b"%d" % number)
    return repeats.token


def test_they_are_known_for_a_minute_and_bounded_in_number() -> None:
    repeats: list[Commit] = []
    for number in range(20):
        repeats = with_repeat(repeats, Commit(float(number), token(number), "GET /"))
    assert tokens(repeats) == [*map(token, range(4, 20))]
    repeats = with_repeat(repeats, Commit(70.0, token(99), "GET /"))
    assert tokens(repeats) == [*map(token, range(10, 20)), token(99)]
    assert tokens(with_repeat(repeats, Commit(700.0, token(7), "GET /"))) == [token(7)]


def test_other_commits_are_known_for_seconds_and_bounded_in_number() -> None:
    def after(history: bytes, at: float, token: bytes) -> list[bytes]:
        return tokens(commits_in(with_commit(history, Commit(at, token, "GET /"))))

    history = NO_COMMITS
    for number in range(20):
        history = with_commit(history, Commit(30.0, b"%08d" % number, "GET /" * number))
    assert tokens(commits_in(history)) == [b"%08d" % number for number in range(12, 20)]
    assert len(after(history, 35.0, b"let late")) == 8
    assert after(history, 35.1, b"too late") == [b"too late"]
    assert after(history, 24.9, b"set back") == [b"set back"]


COMMITS = st.builds(
    Commit,
    st.floats(0.0, 5.0),
    st.binary(min_size=8, max_size=8),
    st.text(max_size=60).map(lambda text: text.encode(errors="replace").decode()),
)


@given(commits=st.lists(COMMITS, max_size=20))
def test_a_history_has_the_last_commits_as_they_were(commits: list[Commit]) -> None:
    history = NO_COMMITS
    for commit in commits:
        history = with_commit(history, commit)
    assert commits_in(history) == commits[-8:]
    assert number_in(history) == len(commits[-8:])


@given(history=st.binary(max_size=60), route=st.text(min_size=100, max_size=300))
def test_neither_damage_nor_a_route_fails_a_commit(history: bytes, route: str) -> None:
    commits_in(with_commit(history, Commit(5.0, b"of-eight", route)))
    (commit,) = commits_in(with_commit(NO_COMMITS, Commit(5.0, b"of-eight", route + "\udc80")))
    assert (commit.at, commit.token) == (5.0, b"of-eight")
    assert commit.route[:60] == route[:60].encode(errors="replace").decode()


def test_an_ordinary_commit_leaves_those_of_requests_that_may_be_sent_again() -> None:
    first = Pending({"n": Assign(encode(1))}, {}, 0.0, "POST /", token=token(1)).alone()
    later, _ = Pending({"n": Assign(encode(2))}, {}, 9.0, "GET /").onto(first, first)
    assert tokens(later.repeats) == [token(1)]
    assert [commit.route for commit in later.commits] == ["POST /", "GET /"]


def tokens(commits: list[Commit]) -> list[bytes]:
    return [each.token for each in commits]


def test_the_tokens_of_a_request_are_its_own_and_in_order() -> None:
    first, again, other = (repeats_of(VALUE, *more) for more in (("GET",), ("GET",), ("POST",)))
    assert first is not None
    assert again is not None
    assert other is not None
    assert first.token == first.token == again.token != other.token
    assert len(first.token) == 16
    first.advance()
    assert first.token != again.token
