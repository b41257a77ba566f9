"""One request to the application, and what is recorded of it."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from http.client import HTTPException
from typing import TYPE_CHECKING, Any

from gunicorn_server import HttpBrowser

from histories.record import DELETED, Operation, Outcome
from wsgi_sessions.identity import short_key, store_key

if TYPE_CHECKING:
    from gunicorn_server import Reply

_OUTCOMES: dict[int, Outcome] = {200: "ok", 409: "failed", 500: "failed"}


@dataclass(frozen=True)
class Answer:
    """An operation that is over. `cookie` is what the browser holds now."""

    operation: Operation
    cookie: str | None

    @property
    def sets_cookie(self) -> bool:
        """Whether the response gave or deleted a cookie."""
        return self.operation.received is not None


def ask(
    port: int, cookie: str | None, *, process: str, session: str, name: str, number: int, hold: int
) -> Answer:
    """Ask for one operation. Whatever comes of it is an answer; raises nothing of the network's."""
    browser = HttpBrowser(port, cookie)
    reply = None
    begin = time.monotonic()
    with suppress(OSError, HTTPException):  # the worker was killed, or the connection cut: unknown
        reply = browser.get(f"/{name}/{number}", visitor=session, hold=hold)
    operation = Operation(
        number, process, session, name, begin, time.monotonic(), sent=_key(cookie), **_facts(reply)
    )
    if reply is not None and reply.set_cookies:
        operation = replace(operation, received=_key(browser.cookie) or DELETED)
    if name == "start":
        operation = replace(operation, values=None)  # that none was there is as it should be
    return Answer(operation, browser.cookie)


def _facts(reply: Reply | None) -> dict[str, Any]:
    """What a response says of its operation."""
    if reply is None:
        return {"outcome": "unknown"}
    outcome = _OUTCOMES.get(reply.status, "unknown")
    try:
        told = json.loads(reply.body.partition(b"\n")[0])
    except ValueError:  # the server's or the middleware's own answer
        told = {}
        outcome = "unknown" if outcome == "ok" else outcome
    inside = told.get("inside")
    return {
        "outcome": outcome,
        "status": reply.status,
        "values": told.get("values"),
        "inside": None if inside is None else tuple(inside),
        "total": told.get("total"),
    }


def _key(cookie: str | None) -> str | None:
    return None if cookie is None else short_key(store_key(cookie.partition(".")[0]))
