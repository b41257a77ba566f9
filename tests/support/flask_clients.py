"""Flask's test clients and their cookies, and applications whose sessions are closed at the end."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from wsgi_sessions.contrib.flask import WSGISessions
from wsgi_sessions.contrib.flask.naming import application_of
from wsgi_sessions.identity import IdSigner

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest
    from flask import Flask
    from flask.testing import FlaskClient


def cookie_of(client: FlaskClient, name: str = "session") -> str:
    """What the client would send."""
    cookie = client.get_cookie(name)
    assert cookie is not None
    return cookie.value


def of_nobody(app: Flask) -> str:
    """A cookie that verifies, of no session."""
    signer = IdSigner([app.config["SECRET_KEY"]], application_of(app).name)
    return signer.sign("i" * 40)


def with_cookie(app: Flask, value: str) -> FlaskClient:
    """Another client that has this cookie."""
    client = app.test_client()
    client.set_cookie("session", value)
    return client


@contextmanager
def all_closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close what is opened for the applications that are made in this block."""
    made: list[tuple[WSGISessions, Flask]] = []
    init_app = WSGISessions.init_app

    def init(interface: WSGISessions, app: Flask) -> None:
        init_app(interface, app)
        made.append((interface, app))

    monkeypatch.setattr(WSGISessions, "init_app", init)
    yield
    for interface, app in made:
        interface.close(app)
