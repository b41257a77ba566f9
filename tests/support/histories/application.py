"""The application of the workload: each operation is a route, ``/NAME/NUMBER?visitor=…&hold=…``.

It answers what the session held at the first access, and changes nothing where there is none: only
`start` begins one. ``hold`` is how many milliseconds pass between reading and changing.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import race_app

from histories import trap
from histories.effects import FAILING, VISITOR, beginning, role_of
from wsgi_sessions import from_env, get_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from wsgi_sessions import Session

    Change = Callable[[Session, int], dict[str, Any] | None]

EXCLUSIVE_SECONDS = 5.0


def key(session: Session, number: int) -> None:
    session[f"key {number}"] = number


def append(session: Session, number: int) -> None:
    session.append("entries", number)


def note(session: Session, number: int) -> None:
    session["log"].append(number)


def nest(session: Session, number: int) -> None:
    session["nest"][str(number)] = number


def count(session: Session, number: int) -> None:
    session.increment("count")


def change(session: Session, number: int) -> None:
    """Several kinds at once: all of them are stored, or none."""
    for part in (key, append, note, nest, count):
        part(session, number)


def assign(session: Session, number: int) -> None:
    session["reg"] = number


def pair(session: Session, number: int) -> None:
    session["left"] = number
    session["right"] = number


def org(session: Session, number: int) -> None:
    """One value that is a mapping."""
    session["org"] = {"id": number, "role": role_of(number)}


def rank(session: Session, number: int) -> None:
    """Two keys; what is assigned to the second often equals what is stored."""
    session["rank id"] = number
    session["rank role"] = role_of(number)


def exclusive(session: Session, number: int) -> dict[str, Any]:
    """Read, think, write, with nobody else in between."""
    with session.exclusive(timeout=EXCLUSIVE_SECONDS):
        entered = time.monotonic()
        trap.come_by("entered")
        total = session["total"]
        trap.come_by("read")
        time.sleep(0.001)
        session["total"] = total + 1
        session["done"].append(number)
        trap.come_by("changed")
        left = time.monotonic()
    return {"inside": [entered, left], "total": total}


def across(session: Session, number: int) -> None:
    """Keep a list, enter a block that reads afresh, and change the list after it."""
    log = session["log"]
    with session.exclusive(timeout=EXCLUSIVE_SECONDS):
        session["total"] = session["total"] + 1
    log.append(number)


def login(session: Session, number: int) -> None:
    session.login(f"user of {session[VISITOR]}")


def cycle(session: Session, number: int) -> None:
    session.cycle_id()


def logout(session: Session, number: int) -> None:
    session.flush()


def read(session: Session, number: int) -> None:
    """Change nothing."""


_CHANGES = (
    *(key, append, note, nest, count, change, assign, pair, org, rank, exclusive, across),
    *(login, cycle, logout, read),
)
CHANGES: dict[str, Change] = {each.__name__: each for each in _CHANGES}


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """The WSGI application, without sessions of its own."""
    _, name, number = environ["PATH_INFO"].split("/")
    query = dict(parse_qsl(environ["QUERY_STRING"]))
    session = get_session(environ)
    found = _found(session)
    time.sleep(int(query["hold"]) / 1000)
    answer: dict[str, Any] = {"values": found}
    if name == "stream":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return _stream(session, int(number), _line(answer), found)
    if name == "start":
        session.update(beginning(query["visitor"]))
    elif found:
        answer |= CHANGES["change" if name in FAILING else name](session, int(number)) or {}
    if name == "raise" and found:
        raise RuntimeError("as asked")
    status = "500 Internal Server Error" if name == "fail" and found else "200 OK"
    start_response(status, [("Content-Type", "application/json")])
    return [_line(answer)]


def _found(session: Session) -> dict[str, Any]:
    """A copy: what is changed in place afterwards is not in it."""
    if VISITOR not in session:
        return {}
    values: dict[str, Any] = json.loads(json.dumps(dict(session)))
    return values


def _stream(session: Session, number: int, first: bytes, found: dict[str, Any]) -> Iterator[bytes]:
    """Change the session between the chunks, when the headers have left."""
    yield first
    if found:
        session["late"].append(number)
    yield b"the end\n"


def _line(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer).encode() + b"\n"


def create() -> WSGIApplication:
    """What gunicorn calls in each worker."""
    stack = from_env(app, on_event=race_app.record)
    trap.shorten_locks(stack.manager.backend)
    return stack
