"""Overlapping requests on one session, under real gunicorn: nothing is lost silently."""

from __future__ import annotations

from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

import pytest
from gunicorn_server import at_once, most_at_once

if TYPE_CHECKING:
    from gunicorn_server import GunicornServer, HttpBrowser

BURSTS, PARALLEL, HOLD = 50, 8, 20
REQUESTS = BURSTS * PARALLEL


@pytest.fixture
def visitor(server: GunicornServer) -> HttpBrowser:
    """A browser with a session."""
    browser = server.browser()
    assert browser.get("/start", name="visitor").status == 200
    return browser


def burst(browser: HttpBrowser, path: str, first: int) -> list[dict[str, Any]]:
    """Eight requests of one browser at once, 20 ms each from their first access to the end."""
    calls = [partial(browser.twin().get, path, item=first + i, hold=HOLD) for i in range(PARALLEL)]
    replies = at_once(*calls)
    assert not any(reply.set_cookies for reply in replies)
    return [reply.json for reply in replies]


def bursts(browser: HttpBrowser, path: str) -> list[list[dict[str, Any]]]:
    return [burst(browser, path, number * PARALLEL) for number in range(BURSTS)]


def overlap(spans: list[dict[str, Any]]) -> int:
    return most_at_once([(span["entered"], span["left"]) for span in spans])


def test_nothing_is_lost_and_no_request_waits(server: GunicornServer, visitor: HttpBrowser) -> None:
    """Keys of their own, a list changed in place, `append` and `increment`."""
    done = bursts(visitor, "/change")

    values, items = visitor.values(), set(range(REQUESTS))
    assert {name: values.get(f"key {name}") for name in items} == {name: name for name in items}
    assert len(values["log"]) == REQUESTS
    assert set(values["log"]) == items
    assert len(values["entries"]) == REQUESTS
    assert set(values["entries"]) == items
    assert values["count"] == REQUESTS
    # A sync worker serves one at a time, so there are three at once at most.
    assert median(map(overlap, done)) >= 3
    assert server.events("conflict") == []


def test_exclusive_blocks_never_overlap(visitor: HttpBrowser) -> None:
    done = bursts(visitor, "/exclusive")

    assert visitor.values()["total"] == REQUESTS
    assert most_at_once([span["inside"] for spans in done for span in spans]) == 1
    assert median(map(overlap, done)) >= 3, "the requests did not race, so nothing is shown"


def test_each_naive_loss_is_a_reported_conflict(
    server: GunicornServer, visitor: HttpBrowser
) -> None:
    """Both of a pair read before either writes: that is certain, not likely."""
    for _ in range(BURSTS):
        together = server.gate().query(2)
        at_once(*[partial(visitor.twin().get, "/naive", **together)] * 2)
    for _ in range(5):
        assert visitor.get("/naive").status == 200

    conflicts = [event for event in server.events("conflict") if event["path"] == "n"]
    requests = 2 * BURSTS + 5
    assert len(conflicts) == BURSTS
    assert visitor.values()["n"] == requests - len(conflicts)
    assert {event["kind"] for event in conflicts} == {"identical"}
    assert {event["key"] for event in conflicts} == {visitor.key[:10]}
    assert conflicts[0]["route"] == "GET /naive"
    assert conflicts[0]["others"] == ["GET /naive"]


def test_a_change_in_place_is_found_without_a_flag(
    server: GunicornServer, visitor: HttpBrowser
) -> None:
    """No other key changes with it, and both of a pair saw the same list."""
    for pair in range(10):
        together = server.gate().query(2)
        calls = [
            partial(visitor.twin().get, "/note", item=2 * pair + i, **together) for i in (0, 1)
        ]
        at_once(*calls)
    assert sorted(visitor.values()["log"]) == list(range(20))
    assert server.events("conflict") == []


def test_a_conflict_by_overwriting_is_reported(
    server: GunicornServer, visitor: HttpBrowser
) -> None:
    """Two blind values of one key: the later commit stands, and says so."""
    slow = server.begin(visitor, "/assign", key="colour", value="red")
    assert visitor.get("/assign", key="colour", value="blue").status == 200
    assert slow.finish().status == 200

    assert visitor.values()["colour"] == "red"
    assert [event["kind"] for event in server.events("conflict")] == ["overwritten"]


@pytest.mark.parametrize("path", ["/read", "/none"])
def test_a_slow_reader_undoes_nothing(
    server: GunicornServer, visitor: HttpBrowser, path: str
) -> None:
    slow = server.begin(visitor, path)
    assert visitor.get("/change", item=7).status == 200
    assert slow.finish().status == 200

    values = visitor.values()
    assert (values["log"], values["entries"], values["count"], values["key 7"]) == ([7], [7], 1, 7)


def test_a_write_is_read_by_every_worker(visitor: HttpBrowser) -> None:
    """Read your writes: each write is answered before the reads begin, wherever those arrive."""
    for item in range(20):
        assert visitor.get("/change", item=item).status == 200
        readers = [partial(visitor.twin().get, "/read", hold=2) for _ in range(4)]
        for reply in at_once(*readers):
            assert reply.json["values"]["log"] == list(range(item + 1))
