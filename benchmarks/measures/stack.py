"""What the other middlewares add to a request that has a session, warm, in process.

Each row is one stack over SessionMiddleware alone, measured in the same rounds (see cost.py): a
logged-in user whose session is fresh, has its context, and is read by a page load. The calls to the
store are counted: those before the first byte of the response, and those after it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from contextlib import ExitStack
from typing import Any

from benchmarks.harness.machine import as_line, awake, machine
from benchmarks.harness.rounds import less, measure, spread, timer
from benchmarks.harness.visitors import environ
from wsgi_sessions import Config, build, get_session
from wsgi_sessions.stack.hooks import Hooks

SECRET = "benchmark-secret-benchmark-secret-benchmark"
VERSIONS = {"WSGI_SESSIONS_VERSION_SCOPES": "global,team:{team}"}
CONTEXTS = {"WSGI_SESSIONS_CONTEXT_KEY": "deal_id"}
LEASES = {
    "WSGI_SESSIONS_REFRESH": "benchmarks.measures.stack:nothing",
    "WSGI_SESSIONS_REFRESH_IN": "process",
}
STACKS: dict[str, dict[str, str]] = {
    "session": {},
    "+ version": VERSIONS,
    "+ context": CONTEXTS,
    "+ version, context": {**VERSIONS, **CONTEXTS},
    "+ version, context, lease": {**VERSIONS, **CONTEXTS, **LEASES},
}
WITHOUT_LEASE, WITH_LEASE = "+ version, context", "+ version, context, lease"
LIMIT = 10.0  # microseconds, without lease
COUNTED = {
    "sessions": ("load", "save", "touch", "create", "delete"),
    "leases": ("acquire", "renew", "release", "claim", "load_and_acquire"),
    "versions": ("current",),
    "contexts": ("get", "set", "clear"),
}


def nothing(*_: Any) -> None:
    """A refresh hook."""


def application(environ: Any, start_response: Any) -> list[bytes]:
    """A page that reads its session, and a log-in."""
    session = get_session(environ)
    if environ["PATH_INFO"] == "/login":
        session.login("somebody")
        session.update(team=5, deal_id=7, name="Somebody")
    session.get("name")
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]


class Visitor:
    """One logged-in user of a stack."""

    def __init__(self, url: str, settings: dict[str, str]) -> None:
        values = {"WSGI_SESSIONS_URL": url, "WSGI_SESSIONS_SECRET_KEYS": SECRET, **settings}
        config = Config.from_environ({**values, "WSGI_SESSIONS_SWEEP_INTERVAL": "off"})
        hooks = Hooks()
        if settings.keys() & CONTEXTS.keys():
            hooks["may_access"] = _allowed
        if settings.keys() & VERSIONS.keys():
            hooks["version_refresh"] = _same
        self.app = build(application, config, **hooks)
        self.calls = {"before": 0, "after": 0}
        self._phase = "after"
        self._is_inside = False  # one ability may use another: that is one call
        self._cookie: str | None = None
        self._request("/login")
        self._request("/")
        self._count_calls()

    def page(self) -> None:
        """A page load."""
        self._request("/")

    def _request(self, path: str) -> None:
        self._phase = "before"
        request = environ(path, self._cookie)
        request["wsgi.url_scheme"] = "https"
        request["HTTP_SEC_FETCH_MODE"], request["HTTP_SEC_FETCH_DEST"] = "navigate", "document"
        body = self.app(request, self._start_response)
        for _ in body:
            pass

    def _start_response(self, _: str, headers: list[tuple[str, str]], *__: Any) -> Any:
        self._phase = "after"
        cookie = dict(headers).get("Set-Cookie")
        if cookie is not None:
            self._cookie = cookie.partition(";")[0]

    def _count_calls(self) -> None:
        backend = self.app.manager.backend
        for ability, names in COUNTED.items():
            store = getattr(backend, ability)
            for name in names:
                if hasattr(store, name):
                    setattr(store, name, self._counted(getattr(store, name)))

    def _counted(self, operation: Any) -> Any:
        def counted(*args: Any, **more: Any) -> Any:
            is_outermost, self._is_inside = not self._is_inside, True
            self.calls[self._phase] += is_outermost
            try:
                return operation(*args, **more)
            finally:
                self._is_inside = not is_outermost

        return counted


def _allowed(*_: Any) -> bool:
    return True


def _same(session: Any, _: Any) -> dict[str, Any]:
    return dict(session)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--milliseconds", type=float, default=40.0, help="per stack and round")
    parser.add_argument("--folder", default=".", help="on the file system to measure")
    parser.add_argument("--json", action="store_true", help="for machines")
    options = parser.parse_args()
    sys.modules.setdefault("stack", sys.modules["__main__"])  # where LEASES finds its hook
    report = {"machine": machine(options.folder), "stacks": _run(options)}
    print(json.dumps(report, indent=2) if options.json else _as_text(report))


def _run(options: argparse.Namespace) -> dict[str, Any]:
    with ExitStack() as stack:
        place = stack.enter_context(tempfile.TemporaryDirectory(dir=os.path.abspath(".")))
        visitors = {
            name: Visitor(f"file://{place}/{number}", settings)
            for number, (name, settings) in enumerate(STACKS.items())
        }
        for visitor in visitors.values():
            stack.callback(visitor.app.close)
        counts = {name: _calls_of_a_page(visitor) for name, visitor in visitors.items()}
        pages = {name: timer(visitor.page) for name, visitor in visitors.items()}
        stack.enter_context(awake())
        figures = measure(pages, options.rounds, options.milliseconds / 1000)
    plain = figures["session"]
    return {
        name: {
            "microseconds": spread(values)._asdict(),
            "added": spread(less(values, plain))._asdict(),
            "store calls": counts[name],
        }
        for name, values in figures.items()
    }


def _calls_of_a_page(visitor: Visitor) -> dict[str, int]:
    visitor.page()
    visitor.calls.update(before=0, after=0)
    visitor.page()
    return dict(visitor.calls)


def _as_text(report: dict[str, Any]) -> str:
    lines = [as_line(report["machine"]), ""]
    lines.append(f"{'':28}{'µs':>9}{'added, min':>12}{'median':>9}{'max':>9}   store calls")
    for name, row in report["stacks"].items():
        added, calls = row["added"], row["store calls"]
        lines.append(
            f"{name:28}{row['microseconds']['median']:9.2f}{added['min']:12.2f}"
            f"{added['median']:9.2f}{added['max']:9.2f}"
            f"   {calls['before']} before the first byte, {calls['after']} after"
        )
    added = report["stacks"][WITHOUT_LEASE]["added"]["median"]
    verdict = "met" if added <= LIMIT else "MISSED"
    lines += ["", f"without lease, added: {added:.2f} µs; target ≤ {LIMIT} µs: {verdict}"]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
