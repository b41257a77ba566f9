"""Requests that are run again, under load: each decides on what the ones before it have stored."""

from __future__ import annotations

from functools import partial
from statistics import median
from typing import TYPE_CHECKING

import pytest
from gunicorn_server import at_once, most_at_once

if TYPE_CHECKING:
    from gunicorn_server import GunicornServer

BURSTS, PARALLEL, HOLD = 12, 8, 10
EACH_STORE_ONCE = [
    ("file", "gthread"),
    ("redis", "gevent"),
    ("sqlite", "gthread"),
    ("postgresql", "sync"),
]


@pytest.mark.soak
@pytest.mark.parametrize("shared_server", EACH_STORE_ONCE, indirect=True, ids="-".join)
def test_each_request_counts_on_from_the_one_before(server: GunicornServer) -> None:
    """A list and its length, in two keys: no policy could merge that."""
    browser = server.browser()
    assert browser.get("/start").status == 200
    done = []
    for burst in range(BURSTS):
        calls = [
            partial(browser.twin().get, "/retried", item=burst * PARALLEL + i, hold=HOLD)
            for i in range(PARALLEL)
        ]
        done.append([reply.json for reply in at_once(*calls)])

    number = BURSTS * PARALLEL
    values = browser.values()
    assert values["number"] == number
    assert sorted(map(int, values["orders"])) == list(range(number))
    assert sorted(span["number"] for spans in done for span in spans) == list(range(1, number + 1))
    assert server.events("conflict") == []
    assert len(server.events("run-again")) > number // 4, "hardly any overlapped"
    # The spans are those of the calls that were stored: they exclude one another.
    stored = [(span["entered"], span["left"]) for spans in done for span in spans]
    assert median(most_at_once(stored[i : i + PARALLEL]) for i in range(0, number, PARALLEL)) <= 2
