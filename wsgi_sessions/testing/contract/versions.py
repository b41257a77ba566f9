"""Version stamps: a number per scope that only grows, for stores that keep such numbers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from wsgi_sessions.testing.contract.processes import PROCESSES, TIMES, OtherProcess, bump
from wsgi_sessions.testing.contract.under_test import ODD_TEXTS, Fixtures

if TYPE_CHECKING:
    from wsgi_sessions.contract import Backend, VersionStamps
    from wsgi_sessions.testing.contract.under_test import StoreUnderTest


class VersionStampsContract(Fixtures):
    """The contract of `Backend.versions` as tests, for a store that keeps version stamps.

    It is used as `SessionStoreContract` is, with the same fixture ``store``.
    """

    @pytest.fixture
    def stamps(self, backend: Backend) -> VersionStamps:
        """The stamps of the store."""
        assert backend.versions is not None, "this store keeps no version stamps"
        return backend.versions

    def test_a_scope_begins_at_zero_and_grows_by_one(self, stamps: VersionStamps) -> None:
        assert stamps.current(["global", "league:5"]) == {"global": 0, "league:5": 0}
        assert [stamps.bump("global") for _ in range(3)] == [1, 2, 3]
        assert stamps.bump("league:5") == 1
        found = stamps.current(["global", "league:5", "other"])
        assert found == {"global": 3, "league:5": 1, "other": 0}
        assert stamps.current([]) == {}

    def test_a_bump_reaches_at_least_the_requested_version(self, stamps: VersionStamps) -> None:
        for least, reached in ((7, 7), (7, 8), (3, 9), (20, 20), (0, 21)):
            assert stamps.bump("global", least=least) == reached
        assert stamps.current(["global"]) == {"global": 21}

    def test_a_scope_is_any_text_and_never_a_path_or_a_pattern(self, stamps: VersionStamps) -> None:
        scopes = [text for text in ODD_TEXTS if text]
        for times, scope in enumerate(scopes, 1):
            for _ in range(times):
                stamps.bump(scope)
        found = stamps.current(scopes)
        assert [found[scope] for scope in scopes] == list(range(1, len(scopes) + 1))

    def test_the_history_is_newest_first_and_bounded(
        self, store: StoreUnderTest, stamps: VersionStamps
    ) -> None:
        kept = store.bumps_kept
        assert stamps.history("global") == []
        for _ in range(130):
            stamps.bump("global")
        latest = stamps.history("global", 3)
        assert [bump.version for bump in latest] == [130, 129, 128][:kept]
        assert time.time() - 600 < latest[-1].at <= latest[0].at < time.time() + 600
        assert len(stamps.history("global")) == min(20, kept)
        whole = stamps.history("global", 1000)
        assert [bump.version for bump in whole] == list(range(130, 130 - kept, -1))
        assert stamps.history("global", 0) == []

    def test_stamps_are_not_sessions(self, backend: Backend, stamps: VersionStamps) -> None:
        stamps.bump("global")
        assert list(backend.iteration.keys()) == []
        assert backend.iteration.count() == 0
        if backend.leftovers is not None:
            backend.leftovers.remove_leftovers()
        assert stamps.current(["global"]) == {"global": 1}

    def test_bumps_of_several_processes_all_count(
        self, store: StoreUnderTest, stamps: VersionStamps
    ) -> None:
        """A reader never sees a version fall."""
        if store.processes == "one":
            pytest.skip("memory belongs to one process")
        bumpers = [OtherProcess(bump, store.open, "global") for _ in range(PROCESSES)]
        for bumper in bumpers:
            bumper.wait_until_ready()
        for bumper in bumpers:
            bumper.begin()
        seen = []
        while any(bumper.is_running for bumper in bumpers):
            seen.append(stamps.current(["global"])["global"])
        for bumper in bumpers:
            bumper.end()
        assert seen == sorted(seen)
        assert stamps.current(["global"]) == {"global": PROCESSES * TIMES}
