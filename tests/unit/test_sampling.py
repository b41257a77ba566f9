"""A sample of a store is bounded, and says how many sessions there are, or that it cannot."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import pytest
from overlapping import Sessions

from wsgi_sessions import open_backend
from wsgi_sessions.core.commit.loop import Lifetimes
from wsgi_sessions.operations.sampling import Sample, sampled

if TYPE_CHECKING:
    from pathlib import Path

    from wsgi_sessions.contract import Backend

MANY = 500


@pytest.fixture
def files(tmp_path: Path) -> Backend:
    return open_backend(f"file://{tmp_path}/sessions")


def fill(backend: Backend, number: int = MANY) -> Sessions:
    sessions = Sessions(backend)
    for n in range(number):
        sessions.new(n=n)
    return sessions


def sample(backend: Backend, most: int, **bounds: object) -> Sample:
    return sampled(backend, Lifetimes(), 0.0, most=most, **bounds)  # type: ignore[arg-type]


def test_a_small_store_is_read_whole(files: Backend) -> None:
    fill(files, 7)
    found = sample(files, 7)
    assert (len(found.sessions), found.is_all, found.total) == (7, True, 7)


def test_a_large_store_is_estimated_by_the_keys_reached(files: Backend) -> None:
    fill(files)
    found = sample(files, 100)
    assert (len(found.sessions), found.is_all) == (100, False)
    assert found.total is not None
    assert MANY / 2 < found.total < MANY * 2  # five standard deviations of such a sample


def test_where_keys_come_in_no_order_the_total_is_left_open() -> None:
    backend = open_backend("memory://")
    fill(backend, 60)
    assert sample(backend, 50).total is None
    assert sample(backend, 60).total == 60


def test_time_bounds_it_too(files: Backend) -> None:
    fill(files, 50)
    clock = count()
    found = sample(files, 100, seconds=10, clock=lambda: float(next(clock)))
    assert 1 <= len(found.sessions) <= 10
    assert not found.is_all


def test_what_is_no_session_is_left_out_of_the_estimate(files: Backend) -> None:
    sessions = fill(files, 3)
    session_id = sessions.new(n=1)
    sessions.login(session_id, "ada")  # leaves a tombstone under the old id
    found = sample(files, 100)
    assert (len(found.sessions), found.total) == (4, 4)
    assert [each.user for each in found.sessions].count("ada") == 1


def test_an_empty_store_has_none(files: Backend) -> None:
    assert sample(files, 100).total == 0
