"""The console on what is over: ends of sessions, and conflicts that a server's workers counted."""

from __future__ import annotations

import html
import re
from contextlib import contextmanager
from dataclasses import replace
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest
from console_operator import HOSTILE, Operator
from werkzeug.serving import make_server

from wsgi_sessions import open_backend
from wsgi_sessions.clock import wall_clock
from wsgi_sessions.console.scrape import MetricsPath
from wsgi_sessions.endings import EndTrace
from wsgi_sessions.identity import new_id, short_key, store_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsgi_sessions.contract import Backend
    from wsgi_sessions.endings import EndReason


@pytest.fixture
def backend() -> Backend:
    return open_backend("memory://")


@pytest.fixture
def operator(backend: Backend) -> Operator:
    return Operator(backend)


def keep(backend: Backend, why: EndReason, number: int = 1, *, ago: float = 60) -> None:
    """Have a store keep the traces of so many ends."""
    assert backend.endings is not None
    at = wall_clock() - ago
    traces = [EndTrace(store_key(new_id()), why, at) for _ in range(number)]
    backend.endings.keep(traces, 1e6)


# -- ends ------------------------------------------------------------------------------------------


def test_ends_are_told_by_reason_and_time(operator: Operator, backend: Backend) -> None:
    assert "None in the last 7 d" in operator.panel("ends")
    keep(backend, "revoked", 3)
    keep(backend, "logged-out", 2)
    keep(backend, "swept", ago=30 * 3600)
    told = operator.panel("ends")
    assert "From all 6 traces that are kept." in told
    assert "logged-out 2 revoked 3 Reason" in told  # the legend of the last 24 hours
    assert "revoked 3 3 3 logged-out 2 2 2 swept 0 0 1" in told


def test_many_ends_are_sampled_and_it_says_so(operator: Operator, backend: Backend) -> None:
    keep(backend, "revoked", 4000)
    told = operator.panel("ends")
    assert re.search(r"An estimate, from [\d,]+ traces that were read", told)
    found = re.search(r"revoked ([\d,]+) [\d,]+ [\d,]+$", told)
    assert found
    assert 1000 < int(found[1].replace(",", "")) < 16000


def test_a_store_without_traces_says_where_ends_are_told(backend: Backend) -> None:
    assert "Not kept by this store." in Operator(replace(backend, endings=None)).panel("ends")


def test_an_ended_session_is_explained(operator: Operator, backend: Backend) -> None:
    key, after = store_key(new_id()), store_key(new_id())
    user, now = operator.view.pseudonym("ada"), wall_clock()
    route, commits = f"POST /{HOSTILE}", ((now - 2, f"GET /{HOSTILE}"),)
    trace = EndTrace(key, "replaced", now, route=route, successor=after, user=user, commits=commits)
    assert backend.endings is not None
    backend.endings.keep([trace], 1e6)
    page = operator.page(f"/console/session?key={short_key(key)}")
    assert "it goes on under a new id" in page
    assert short_key(after) in page
    assert key not in page
    devices = operator.page("/console/user?principal=ada")
    assert "Ended lately" in devices
    for shown in (page, devices):
        assert "<script>alert" not in shown
        assert "\x1b" not in shown
        assert short_key(key) in shown


def test_what_never_was_has_no_trace(operator: Operator) -> None:
    assert "no trace of its end" in operator.page("/console/session?key=0123456789")


# -- conflicts -------------------------------------------------------------------------------------


def test_conflicts_by_key_are_read_from_a_server_with_the_advice(operator: Operator) -> None:
    assert "--metrics URL" in operator.panel("conflicts")
    text = (
        "# TYPE wsgi_sessions_conflicts_total counter\n"
        'wsgi_sessions_conflicts_total{key="<cart>\\"\\n",kind="overwritten"} 7.0\n'
        'wsgi_sessions_conflicts_total{key="n",kind="identical"} 12\n'
        'wsgi_sessions_conflicts_total_other{key="z",kind="identical"} 99\n'
    )
    with answering(text, "a-token") as url:
        operator.view.metrics = MetricsPath(url, "a-token")
        told = html.unescape(operator.panel("conflicts"))
        operator.view.metrics = MetricsPath(url)
        refused = html.unescape(operator.panel("conflicts"))
    assert "n identical 12 increment, if it is a counter" in told
    assert '<cart>"\\n overwritten 7 append, increment or exclusive' in told
    assert "99" not in told
    assert "the server's metrics cannot be read" in refused
    assert "No two requests wrote" in refused  # the rest of the panel is there


@contextmanager
def answering(text: str, token: str) -> Iterator[str]:
    """A server with metrics for holders of a token; its URL."""

    def application(environ: Any, start_response: Any) -> list[bytes]:
        is_allowed = environ.get("HTTP_AUTHORIZATION") == f"Bearer {token}"
        start_response("200 OK" if is_allowed else "403 Forbidden", [])
        return [text.encode()]

    server = make_server("127.0.0.1", 0, application)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/metrics"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
