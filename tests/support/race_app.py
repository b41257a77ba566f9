"""The application that the end-to-end tests run, under gunicorn (`create`) or in-process (`app`).

Routes answer JSON. All take two optional parameters that make requests overlap for certain:

- ``hold``: milliseconds between the first access of the session and the end;
- ``gate`` and ``number``: a folder, and how many requests (or the test itself) have to put a file
  into it before any of them goes on.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from wsgi_sessions import Event, Session, from_env, get_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

EVENTS = "RACE_APP_EVENTS"
GATE_SECONDS = 20.0
MERGE = "hits:sum, stats.n:sum, seen:union, trail:append, best:max, jar:sum"


class Call:
    """One request: its parameters, and its session at first use."""

    def __init__(self, environ: WSGIEnvironment) -> None:
        self._environ = environ
        self.query = dict(parse_qsl(environ.get("QUERY_STRING", "")))

    @property
    def session(self) -> Session:
        return get_session(self._environ)

    def linger(self) -> dict[str, Any]:
        """Be under way as long as asked; tells when that was (seconds, of the whole machine)."""
        entered = time.monotonic()
        if "gate" in self.query:
            pass_gate(self.query["gate"], int(self.query["number"]))
        time.sleep(int(self.query.get("hold", 0)) / 1000)
        return {"pid": os.getpid(), "entered": entered, "left": time.monotonic()}


def arrive(gate: str) -> None:
    """Put one more file into a gate's folder."""
    with open(os.path.join(gate, secrets.token_hex(8)), "w"):
        pass


def pass_gate(gate: str, number: int) -> None:
    """Arrive, and wait until `number` have."""
    arrive(gate)
    deadline = time.monotonic() + GATE_SECONDS
    while len(os.listdir(gate)) < number:
        if time.monotonic() > deadline:
            raise TimeoutError(f"fewer than {number} arrived at the gate")
        time.sleep(0.001)


# -- routes that change ----------------------------------------------------------------------------


def change(call: Call) -> dict[str, Any]:
    """A key of its own, a list changed in place, and the typed operations, all in one request."""
    session, item = call.session, int(call.query["item"])
    log = session["log"]
    span = call.linger()
    session[f"key {item}"] = item
    log.append(item)
    session.append("entries", item)
    session.increment("count")
    return span


def note(call: Call) -> dict[str, Any]:
    """Change a list in place, and nothing else."""
    log = call.session["log"]
    span = call.linger()
    log.append(int(call.query["item"]))
    return span


def assign(call: Call) -> dict[str, Any]:
    """Set one key, blindly but for the first access."""
    session = call.session
    session.get("log")
    span = call.linger()
    session[call.query["key"]] = call.query["value"] * int(call.query.get("times", 1))
    return span


def naive(call: Call) -> dict[str, Any]:
    """What everybody writes first."""
    session = call.session
    count = session["n"]
    span = call.linger()
    session["n"] = count + 1
    return span


def retried(call: Call) -> dict[str, Any]:
    """As naive, on a path where requests are run again."""
    session = call.session
    read = session.get("orders", [])
    span = call.linger()
    session["orders"] = [*read, call.query["item"]]
    session["number"] = len(read) + 1
    return {**span, "number": len(read) + 1}


def meant(call: Call) -> dict[str, Any]:
    """All of it naive, for keys whose meaning the configuration says; `MERGE` has it."""
    session, item = call.session, int(call.query["item"])
    before, jar = dict(session), session.get("jar", 0)
    span = call.linger()
    if "cycle" in call.query:
        session.cycle_id()
    with session.exclusive(timeout=20) if "inside" in call.query else nullcontext():
        if "inside" in call.query:
            before, jar = dict(session), session.get("jar", 0)
        stats = before.get("stats", {"n": 0})
        session["hits"] = before.get("hits", 0) + 1
        session["stats"] = {**stats, "n": stats["n"] + 1}
        session["seen"] = [*before.get("seen", []), item]
        session["trail"] = [*before.get("trail", []), item]
        session["best"] = max(before.get("best", 0), item)
        if "empty" not in call.query:
            session["jar"] = jar + 1
        elif "jar" in session:
            del session["jar"]
    return {**span, "taken": jar if "empty" in call.query else 0}


def exclusive(call: Call) -> dict[str, Any]:
    """Read, change, write, with nobody else in between."""
    session = call.session
    session.get("log")
    span = call.linger()
    with session.exclusive(timeout=20):
        entered, total = time.monotonic(), session["total"]
        time.sleep(0.001)
        session["total"] = total + 1
        span |= {"inside": [entered, time.monotonic()]}
    return span


# -- routes that do not ----------------------------------------------------------------------------


def read(call: Call) -> dict[str, Any]:
    """Look at everything, also at what could be changed in place."""
    session = call.session
    values = dict(session)
    return {"values": values, "new": session.new, "principal": session.principal, **call.linger()}


def none(call: Call) -> dict[str, Any]:
    """Leave the session alone."""
    return call.linger()


# -- identity --------------------------------------------------------------------------------------


def start(call: Call) -> dict[str, Any]:
    """A session with something in it."""
    call.session.update({"log": [], "n": 0, "total": 0, "name": call.query.get("name", "")})
    return {}


def login(call: Call) -> dict[str, Any]:
    """Bind the session to a user, and keep the name in it too."""
    call.session["name"] = call.query["user"]
    call.session.login(call.query["user"])
    return {}


def logout(call: Call) -> dict[str, Any]:
    """End the session."""
    call.session.flush()
    return {}


def whoami(call: Call) -> dict[str, Any]:
    """All that the session says of its user, read before and after being under way."""
    session = call.session
    names = [session.get("name"), session.principal]
    call.linger()
    session.increment(f"visits of {call.query['user']}")
    return {"names": [*names, session["name"]], "visits": [k for k in session if "visits" in k]}


ROUTES: dict[str, Callable[[Call], dict[str, Any]]] = {
    f"/{route.__name__}": route
    for route in (
        change,
        note,
        assign,
        naive,
        meant,
        retried,
        exclusive,
        read,
        none,
        start,
        login,
        logout,
        whoami,
    )
}


def stream(call: Call) -> Iterator[bytes]:
    """The user's name, many times, while others are served."""
    for _ in range(5):
        yield f"{call.session.get('name')}\n".encode()
        call.linger()


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """The WSGI application, without sessions of its own."""
    call, path = Call(environ), environ["PATH_INFO"]
    if path == "/stream":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return stream(call)
    body = json.dumps(ROUTES[path](call)).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response("200 OK", headers)
    return [body]


def record(event: Event) -> None:
    """Append an event to the file that all workers share: one write each, so one line each."""
    line = json.dumps({"name": event.name, "key": event.key, **event.facts}, default=str)
    fd = os.open(os.environ[EVENTS], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(fd, f"{line}\n".encode())
    finally:
        os.close(fd)


def create() -> WSGIApplication:
    """What gunicorn calls in each worker."""
    return from_env(app, on_event=record)
