"""The session in WebSockets of flask-sock, under gunicorn, and in events of Flask-SocketIO."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from gunicorn_server import COOKIE, SECRET, GunicornServer, WorkerClass
from redis_servers import wait_until
from simple_websocket import Client, ConnectionClosed
from socket_app import with_events

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("worker_class", ["gthread", "gevent"])
def test_a_socket_reads_and_changes_the_session(worker_class: WorkerClass) -> None:
    app = "socket_app:create()"
    with GunicornServer(worker_class=worker_class, app=app, workers=1) as server:
        browser = server.browser()
        browser.get("/login")
        cookie = f"{COOKIE}={browser.cookie}"
        socket = Client(f"ws://127.0.0.1:{server.port}/socket", headers={"Cookie": cookie})
        socket.send("hello")
        assert socket.receive(timeout=10) == "alice said hello"
        socket.send("bye")
        with pytest.raises(ConnectionClosed):
            socket.receive(timeout=10)
        wait_until(lambda: browser.get("/").body == b"hello", "what the socket has changed")
        log = server.log()
        assert "dropped" not in log
        assert "Traceback" not in log


@pytest.mark.parametrize("order", ["sessions first", "events first"])
def test_events_read_and_change_the_session(tmp_path: Path, order: str) -> None:
    config = {
        "WSGI_SESSIONS_URL": f"file://{tmp_path}",
        "WSGI_SESSIONS_SECRET_KEYS": SECRET,
        "WSGI_SESSIONS_SWEEP_INTERVAL": "off",
    }
    app, events = with_events(config, order)
    browser = app.test_client()
    browser.get("/login")
    client = events.test_client(app, flask_test_client=browser)
    assert client.emit("say", "hello", callback=True) == "alice said hello"
    assert browser.get("/").text == "hello"
    browser.get("/login")
    assert client.emit("say", "bye", callback=True) == "alice said bye"
    assert browser.get("/").text == "bye"
