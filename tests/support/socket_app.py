"""A Flask application with a socket of flask-sock, and one with the events of Flask-SocketIO."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from flask import Flask, session
from flask_sock import Sock
from flask_socketio import SocketIO

from wsgi_sessions.contrib.flask import WSGISessions

if TYPE_CHECKING:
    from collections.abc import Mapping


def create() -> Flask:
    """For a server, with its settings in the environment; the socket is at /socket."""
    app = with_pages(os.environ)
    WSGISessions(app)
    sock = Sock(app)

    @sock.route("/socket")  # type: ignore[untyped-decorator]
    def talk(socket: Any) -> None:
        while (text := socket.receive(timeout=5)) not in (None, "bye"):
            session["said"] = text
            socket.send(f"{session['user']} said {text}")

    return app


def with_events(config: Mapping[str, str], order: str) -> tuple[Flask, SocketIO]:
    """An application whose events share the session, made in either order of the two."""
    app = with_pages(config)
    if order == "sessions first":
        WSGISessions(app)
        events = SocketIO(app, manage_session=False, async_mode="threading")
    else:
        events = SocketIO(app, manage_session=False, async_mode="threading")
        WSGISessions(app)

    @events.on("say")  # type: ignore[untyped-decorator]
    def say(text: str) -> str:
        session["said"] = text
        return f"{session['user']} said {text}"

    return app, events


def with_pages(config: Mapping[str, str]) -> Flask:
    """An application without sockets; no sessions yet."""
    app = Flask(__name__)
    app.config.update(config)
    app.config["SECRET_KEY"] = config["WSGI_SESSIONS_SECRET_KEYS"]

    @app.get("/login")
    def login() -> str:
        session["user"] = "alice"
        return "in"

    @app.get("/")
    def page() -> str:
        return str(session.get("said"))

    return app
