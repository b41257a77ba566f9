"""The application of the version stamps' end-to-end tests: players, whose names change.

A player's name is in a file, or in a table of PostgreSQL. Every call of the refresh hook leaves a
line in a file. A page load that bears ``gate`` and ``number`` arrives there (see `race_app`), and
the hook goes on only when so many have arrived, so that they overlap for certain.
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from race_app import GATE_SECONDS, arrive, record

from wsgi_sessions import from_env, get_session
from wsgi_sessions.http.page_load import is_page_load

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

DATA = "VERSION_APP_DATA"  # a folder with a file for each player, or PostgreSQL's address
CALLS = "VERSION_APP_CALLS"


def name_of(player: str) -> str | None:
    """The name that the player has now; None: there is no such player."""
    if os.environ[DATA].startswith("postgresql:"):
        return _name_in_database(player)
    try:
        with open(os.path.join(os.environ[DATA], player)) as file:
            return file.read()
    except FileNotFoundError:
        return None


def _name_in_database(player: str) -> str | None:
    import psycopg

    with psycopg.connect(os.environ[DATA]) as connection:
        found = connection.execute("SELECT name FROM players WHERE id = %s", (player,)).fetchone()
    return None if found is None else str(found[0])


def query_of(environ: WSGIEnvironment) -> dict[str, str]:
    return dict(parse_qsl(environ.get("QUERY_STRING", "")))


def renew(session: Any, environ: WSGIEnvironment) -> dict[str, Any] | None:
    """The refresh hook."""
    with open(os.environ[CALLS], "a") as file:
        file.write(f"{session.principal}\n")
    _wait(query_of(environ))
    name = name_of(session.principal)
    return None if name is None else {"name": name, "made_by": os.getpid()}


def _wait(query: dict[str, str]) -> None:
    deadline = time.monotonic() + GATE_SECONDS
    while "gate" in query and len(os.listdir(query["gate"])) < int(query["number"]):
        if time.monotonic() > deadline:
            raise TimeoutError("not all have arrived")
        time.sleep(0.001)


def applies(environ: WSGIEnvironment) -> bool:
    """What the headers say; and who waits at a gate has arrived."""
    query = query_of(environ)
    if "gate" in query:
        arrive(query["gate"])
    return is_page_load(environ)


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Log in (``/login?player=…``), or show the session."""
    session, query = get_session(environ), query_of(environ)
    if environ["PATH_INFO"] == "/login":
        session["name"] = name_of(query["player"])
        session.login(query["player"])
    body = json.dumps({"values": dict(session), "pid": os.getpid()}).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response("200 OK", headers)
    return [body]


def create() -> WSGIApplication:
    """What gunicorn calls in each worker."""
    return from_env(app, on_event=record, version_applies=applies)
