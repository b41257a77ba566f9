"""The programs of the page about sessions with a schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from documents import PAGES, blocks
from session_handlers import RunsHandlers

from wsgi_sessions import InvalidValue
from wsgi_sessions.models import typed
from wsgi_sessions.testing import SessionClient

if TYPE_CHECKING:
    from wsgi_sessions import Session

FIRST, SECOND = blocks("python", PAGES["howto/typed-sessions"])


def run(program: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": __name__}
    exec(compile(program, "page", "exec", dont_inherit=True), names)
    return names


def test_the_program_counts_and_fills_the_cart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSGI_SESSIONS_URL", "memory://")
    monkeypatch.setenv("WSGI_SESSIONS_SECRET_KEYS", "a-secret-of-the-tests-with-32-bytes")
    names = run(FIRST)
    with SessionClient(names["application"]) as client:
        assert client.get("/tea").text == "visit 1, 1 in the cart\n"
        assert client.get("/tea").text == "visit 2, 2 in the cart\n"
        with client.session() as session:
            assert session["cart"] == [{"name": "tea"}, {"name": "tea"}]
            with pytest.raises(InvalidValue) as caught:
                typed(session, names["Shop"]).visits = "many"
    assert f"``{caught.value} ``" in PAGES["howto/typed-sessions"]


def test_the_releases_share_a_session() -> None:
    names = run(SECOND)
    wishes, wish = names["Wishes"], names["Wish"]
    application = RunsHandlers()
    application.ask(lambda s: s.update(wishes=["tea"]))

    def handler(session: Session) -> None:
        view = typed(session, wishes)
        assert view.wishlist == [wish(name="tea")]
        view.wishlist.append(wish(name="milk", amount=2))

    application.ask(handler)
    assert application.values() == {"wishes": ["tea", "milk"], "amounts": {"milk": 2}}
