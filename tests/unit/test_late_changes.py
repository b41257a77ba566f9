"""What a response changes after its headers have left: stored before the server learns of its end,
or reported; and `Session.commit`, which stores at once."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from late_site import LateSite

from wsgi_sessions.errors import HeadersAlreadySent, SessionConflict, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wsgi_sessions.core.session import Session

    Page = Callable[[Session], Any]


@pytest.fixture
def site() -> LateSite:
    return LateSite()


def change_late(session: Session) -> Iterator[bytes]:
    yield b"first"
    session["late"] = 1
    yield b"last"


def change_last(session: Session) -> Iterator[bytes]:
    yield b"first"
    yield b"last"
    session["late"] = 1


# -- when it is stored -----------------------------------------------------------------------------


@pytest.mark.parametrize("page", [change_late, change_last])
def test_changes_of_a_stream_are_stored_before_the_server_knows_of_its_end(
    site: LateSite, page: Page
) -> None:
    body = site.start(page)
    assert list(body) == [b"first", b"last"]
    assert site.seen() == {"n": 1, "late": 1}, "before the server closes the body"
    body.close()
    assert site.lost() == []


def test_changes_while_the_body_is_closed_are_stored_too(site: LateSite) -> None:
    class Body:
        def __init__(self, session: Session) -> None:
            self._session = session

        def __iter__(self) -> Iterator[bytes]:
            yield b"x"
            self._session["late"] = 1

        def close(self) -> None:
            self._session["closed"] = 1

    body = site.start(Body)
    assert list(body) == [b"x"]
    assert site.seen() == {"n": 1, "late": 1}
    body.close()
    assert site.seen() == {"n": 1, "late": 1, "closed": 1}


def test_the_changes_before_a_client_leaves_are_stored(
    site: LateSite,
) -> None:
    body = site.start(change_late)
    assert [next(body), next(body)] == [b"first", b"last"]
    body.close()
    assert site.seen() == {"n": 1, "late": 1}


def test_a_stream_that_changes_nothing_late_makes_no_store_call_at_its_end(site: LateSite) -> None:
    site.fault = StoreUnavailable("down")
    body = site.start(lambda session: iter([str(session["n"]).encode(), b"last"]))
    assert list(body) == [b"1", b"last"]
    body.close()
    assert site.lost() == []


# -- when it cannot be stored ----------------------------------------------------------------------


@pytest.mark.parametrize("error", [StoreUnavailable("the store is down"), ZeroDivisionError()])
def test_a_late_change_that_cannot_be_stored_breaks_the_response_off_and_is_reported_once(
    site: LateSite, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    body = site.start(change_late)
    assert [next(body), next(body)] == [b"first", b"last"]
    site.fault = error
    with pytest.raises(type(error)):
        next(body)
    site.fault = None
    body.close()
    (lost,) = site.lost()
    assert lost["route"] == "GET /stream"
    assert lost["error"] == (str(error) or "ZeroDivisionError")
    (line,) = [record for record in caplog.records if " lost " in record.getMessage()]
    assert line.levelno == logging.ERROR
    assert site.seen() == {"n": 1}, "it was reported as lost: nothing is tried again"


def test_a_late_change_of_a_client_that_left_is_reported_too(site: LateSite) -> None:
    body = site.start(change_late)
    assert [next(body), next(body)] == [b"first", b"last"]
    site.fault = StoreUnavailable("the store is down")
    with pytest.raises(StoreUnavailable):
        body.close()
    assert len(site.lost()) == 1


def test_a_late_conflict_that_is_to_be_refused_is_reported_as_lost() -> None:
    site = LateSite(on_conflict="raise")

    def page(session: Session) -> Iterator[bytes]:
        before = session["n"]
        yield b"first"
        session["n"] = before + 1

    body = site.start(page)
    assert next(body) == b"first"
    site.pages["/other"] = lambda session: [str(session.update(n=7)).encode()]
    site.browser.get("/other")
    with pytest.raises(SessionConflict):
        next(body)
    body.close()
    assert len(site.lost()) == 1


# -- Session.commit --------------------------------------------------------------------------------


def test_commit_stores_at_once_in_the_middle_of_a_stream(site: LateSite) -> None:
    def page(session: Session) -> Iterator[bytes]:
        yield b"first"
        session["late"] = 1
        session.commit()
        yield b"last"

    body = site.start(page)
    assert [next(body), next(body)] == [b"first", b"last"]
    assert site.seen() == {"n": 1, "late": 1}
    assert list(body) == []
    body.close()


def test_commit_before_the_headers_stands_though_the_request_fails_later(site: LateSite) -> None:
    def page(session: Session) -> list[bytes]:
        session["job"] = "begun"
        session.commit()
        session["job"] = "ended"
        return [b""]

    site.status = "500 Oops"
    site.start(page)
    site.status = "200 OK"
    assert site.seen() == {"n": 1, "job": "begun"}


def test_commit_leaves_what_needs_a_cookie_to_the_response(site: LateSite) -> None:
    seen: list[Any] = []

    def log_in(session: Session) -> list[bytes]:
        session["is_admin"] = True
        session.login("alice")
        session.commit()
        seen.append(site.seen())
        return [b""]

    site.pages["/login"] = log_in
    site.browser.get("/login")
    assert seen == [{"n": 1}], "nothing of a log-in lies under the old id"
    assert site.seen() == {"n": 1, "is_admin": True}


def test_commit_of_a_new_session_waits_for_its_cookie() -> None:
    site = LateSite()
    site.browser.cookies.clear()
    counts: list[int] = []

    def begin(session: Session) -> list[bytes]:
        session["n"] = 2
        session.commit()
        counts.append(site.stack.manager.backend.iteration.count())
        return [b""]

    site.pages["/new"] = begin
    site.browser.get("/new")
    assert counts == [1], "that of the site's own first visitor"
    assert site.seen() == {"n": 2}


def test_commit_ends_a_session_at_once(site: LateSite) -> None:
    counts: list[int] = []

    def log_out(session: Session) -> list[bytes]:
        session.flush()
        session.commit()
        counts.append(site.stack.manager.backend.iteration.count())
        return [b""]

    site.pages["/logout"] = log_out
    site.browser.get("/logout")
    assert counts == [0]
    assert site.browser.cookies == {}


def test_commit_of_a_session_that_has_ended_is_reported_by_the_response(site: LateSite) -> None:
    def page(session: Session) -> list[bytes]:
        session["n"] = 2
        site.stack.manager.backend.sessions.delete(
            next(site.stack.manager.backend.iteration.keys())
        )
        session.commit()
        return [b""]

    site.start(page)
    assert [event.name for event in site.events].count("gone") == 1


def test_a_failed_commit_keeps_the_changes(site: LateSite) -> None:
    def page(session: Session) -> Iterator[bytes]:
        yield b"first"
        session["late"] = 1
        site.fault = StoreUnavailable("down")
        with pytest.raises(StoreUnavailable):
            session.commit()
        site.fault = None

    body = site.start(page)
    assert list(body) == [b"first"]
    assert site.seen() == {"n": 1, "late": 1}


def test_commit_is_refused_in_an_exclusive_block_and_after_the_end(site: LateSite) -> None:
    kept: list[Session] = []

    def page(session: Session) -> list[bytes]:
        with session.exclusive(), pytest.raises(RuntimeError, match="leaving the block"):
            session.commit()
        session.commit()
        kept.append(session)
        return [b""]

    site.start(page)
    with pytest.raises(HeadersAlreadySent, match="ended"):
        kept[0].commit()
