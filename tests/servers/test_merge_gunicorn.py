"""Naive routes whose keys have a merge policy: nothing of overlapping requests is lost."""

from __future__ import annotations

from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

import pytest
from gunicorn_server import at_once, most_at_once

if TYPE_CHECKING:
    from gunicorn_server import GunicornServer, HttpBrowser

EACH_STORE_ONCE = [
    ("file", "gthread"),
    ("redis", "gevent"),
    ("sqlite", "gthread"),
    ("postgresql", "sync"),
]
pytestmark = [
    pytest.mark.soak,
    pytest.mark.parametrize("shared_server", EACH_STORE_ONCE, indirect=True, ids="-".join),
]
BURSTS, PARALLEL, HOLD = 50, 8, 10
ROLES: tuple[dict[str, str | int], ...] = ({"empty": 1}, {"inside": 1}, *[{}] * (PARALLEL - 2))


def bursts(browser: HttpBrowser) -> list[list[dict[str, Any]]]:
    """In each, one request empties the jar, and one works in an exclusive block."""
    done = []
    for burst in range(BURSTS):
        calls = [
            partial(browser.twin().get, "/meant", item=burst * PARALLEL + i, hold=HOLD, **role)
            for i, role in enumerate(ROLES)
        ]
        done.append([reply.json for reply in at_once(*calls)])
    return done


def test_naive_routes_lose_nothing(server: GunicornServer) -> None:
    """Keys that are absent at first, an assigned dictionary and lists, deletions, blocks."""
    browser = server.browser()
    assert browser.get("/start").status == 200
    done = bursts(browser)

    number = BURSTS * PARALLEL
    values = browser.values()
    assert values["hits"] == number
    assert values["stats"] == {"n": number}
    assert sorted(values["seen"]) == list(range(number))
    assert sorted(values["trail"]) == list(range(number))
    assert values["best"] == number - 1
    taken = sum(span["taken"] for spans in done for span in spans)
    assert taken + values.get("jar", 0) == BURSTS * (PARALLEL - 1)
    assert server.events("conflict") == []
    overlaps = [most_at_once([(span["entered"], span["left"]) for span in spans]) for spans in done]
    assert median(overlaps) >= 3, "the requests did not race, so nothing is shown"


def test_nothing_is_lost_to_a_new_id(server: GunicornServer) -> None:
    """Both of a pair have read the session under its old id before one of them gives it another."""
    browser = server.browser()
    assert browser.get("/start").status == 200
    for pair in range(20):
        together = server.gate().query(2)
        calls = [
            partial(browser.twin().get, "/meant", item=2 * pair + i, **together, **role)
            for i, role in enumerate(({"cycle": 1}, {}))
        ]
        first, _ = at_once(*calls)
        assert browser.cookie is not None
        (line,) = first.set_cookies
        browser.cookie = line.partition(";")[0].partition("=")[2]

    values = browser.values()
    assert values["hits"] == values["stats"]["n"] == values["jar"] == 40
    assert sorted(values["trail"]) == list(range(40))
    assert server.events("conflict") == []
