"""The application of the benchmarks: one page for each way to use a session.

Every contestant serves these very pages; its adapter (`peers`, `ours`) says how it opens its
session, what it must be told after a change in place, and how it ends the session.

| path | what it does |
|---|---|
| ``/null`` | leaves its session alone |
| ``/new`` | begins a session; ``size``: bytes of text in it beside the usual |
| ``/read`` | reads one value |
| ``/write`` | counts up |
| ``/key``, ``/append``, ``/increment`` | read, wait ``hold`` milliseconds, change |
| ``/slow`` | reads, waits ``hold`` milliseconds, changes nothing |
| ``/grow`` | adds ``size`` bytes |
| ``/logout`` | ends the session |
| ``/state`` | what is stored, as JSON |
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qsl

USER = "somebody"
OK = b"ok"
GONE = b"gone"  # of a session that should have been there
Open = Callable[[], MutableMapping[str, Any]]


def nothing() -> None:
    """For those who find changes by themselves."""


def page(
    environ: dict[str, Any],
    open_session: Open,
    *,
    save: Callable[[], object] = nothing,
    end: Callable[[], object],
) -> bytes:
    """The body of one response."""
    path = environ["PATH_INFO"]
    if path == "/null":
        return OK
    session = open_session()
    if path == "/read":
        return OK if session.get("user") else GONE
    if path == "/write":
        if not session.get("user"):
            return GONE
        session["n"] = session["n"] + 1
        save()
        return OK
    query = dict(parse_qsl(environ.get("QUERY_STRING", "")))
    if path == "/logout":
        end()
        return OK
    if path == "/state":
        return _state(session)
    _change(path, session, query)
    if path != "/slow":
        save()
    return OK


def answer(start_response: Any, body: bytes) -> list[bytes]:
    """A response with this body."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def _change(path: str, session: MutableMapping[str, Any], query: dict[str, str]) -> None:
    if path == "/new":
        session.update(
            {"user": USER, "n": 0, "cart": ["a", "b", "c"], "theme": "dark", "items": []}
        )
        if "size" in query:
            session["text"] = "x" * int(query["size"])
        return
    session.get("user")
    time.sleep(float(query.get("hold", 0)) / 1000)
    item = query.get("item", "")
    if path == "/key":
        session[f"key{item}"] = item
    elif path == "/append":
        session["items"].append(item)
    elif path == "/increment":
        increment = getattr(session, "increment", None)  # where its documentation offers one
        if increment is None:
            session["n"] = session.get("n", 0) + 1
        else:
            increment("n")
    elif path == "/grow":
        session["text"] = "y" * int(query["size"])


def _state(session: MutableMapping[str, Any]) -> bytes:
    names = ("user", "n", "items", *(f"key{item}" for item in range(64)))
    state = {name: session.get(name) for name in names if session.get(name) is not None}
    return json.dumps({**state, "text": len(session.get("text") or "")}).encode()
