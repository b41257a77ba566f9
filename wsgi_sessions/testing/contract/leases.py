"""Leases: who uses a session right now, for stores that keep leases."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from wsgi_sessions.identity import store_key
from wsgi_sessions.testing.contract.processes import OtherProcess, hold_lease
from wsgi_sessions.testing.contract.under_test import Fixtures, another_key, wait_until

if TYPE_CHECKING:
    from wsgi_sessions.contract import Backend, LeaseStore
    from wsgi_sessions.testing.contract.under_test import StoreUnderTest

LONG = 60.0
SHORT = 0.05


class LeaseStoreContract(Fixtures):
    """The contract of `Backend.leases` as tests, for a store that keeps leases.

    It covers `lease_listing` and `leased_loading` too. It is used as `SessionStoreContract` is,
    with the same fixture ``store``.
    """

    @pytest.fixture
    def leases(self, backend: Backend) -> LeaseStore:
        """The leases of the store."""
        assert backend.leases is not None, "this store keeps no leases"
        return backend.leases

    def test_an_unused_session_has_no_holder_and_can_be_claimed(
        self, leases: LeaseStore, key: str
    ) -> None:
        assert leases.holders(key) == 0
        assert leases.claim(key, "refresher", LONG)
        assert leases.holders(key) == 0

    def test_a_holder_keeps_claims_away_until_it_releases(
        self, leases: LeaseStore, key: str
    ) -> None:
        assert leases.acquire(key, "a", LONG)
        assert not leases.claim(key, "refresher", LONG)
        leases.release(key, "a")
        assert leases.claim(key, "refresher", LONG)

    def test_the_first_of_two_holders_to_end_does_not_free_the_session(
        self, leases: LeaseStore, key: str
    ) -> None:
        assert leases.acquire(key, "a", LONG)
        assert leases.acquire(key, "b", LONG)
        leases.release(key, "a")
        assert leases.holders(key) == 1
        assert not leases.claim(key, "refresher", LONG)
        leases.release(key, "b")
        assert leases.claim(key, "refresher", LONG)

    def test_a_claim_keeps_holders_and_other_claims_out(self, leases: LeaseStore, key: str) -> None:
        assert leases.claim(key, "refresher", LONG)
        assert not leases.acquire(key, "a", LONG)
        assert not leases.claim(key, "another", LONG)
        assert leases.holders(key) == 0
        leases.release(key, "another")
        assert not leases.acquire(key, "a", LONG)
        leases.release(key, "refresher")
        assert leases.acquire(key, "a", LONG)

    def test_all_leases_can_be_looked_at(self, backend: Backend, leases: LeaseStore) -> None:
        assert backend.lease_listing is not None
        used, refreshed, free = (another_key() for _ in range(3))
        for key, holder in ((used, "a"), (used, "b"), (free, "c")):
            leases.acquire(key, holder, LONG)
        leases.claim(refreshed, "refresher", LONG)
        leases.release(free, "c")
        found = sorted(backend.lease_listing.leases(), key=lambda lease: lease.holder)
        assert [lease[:3] for lease in found] == [
            (used, "holder", "a"),
            (used, "holder", "b"),
            (refreshed, "claim", "refresher"),
        ]
        assert all(LONG / 2 < lease.seconds <= LONG for lease in found)

    def test_an_expired_lease_is_ignored(self, backend: Backend, leases: LeaseStore) -> None:
        listing = backend.lease_listing
        assert listing is not None
        for holder, ttl in (("a", SHORT), ("b", LONG)):
            leases.acquire(store_key("used"), holder, ttl)
        leases.claim(store_key("refreshed"), "refresher", SHORT)
        wait_until(lambda: len(list(listing.leases())) == 1, "two leases end")
        assert [lease.holder for lease in listing.leases()] == ["b"]

    def test_leases_of_different_sessions_have_nothing_to_do_with_each_other(
        self, leases: LeaseStore, key: str
    ) -> None:
        other = another_key()
        assert leases.acquire(key, "a", LONG)
        assert leases.claim(other, "refresher", LONG)
        leases.release(other, "a")
        assert leases.holders(key) == 1

    def test_everything_may_be_sent_twice(self, leases: LeaseStore, key: str) -> None:
        for _ in range(2):
            assert leases.acquire(key, "a", LONG)
        assert leases.holders(key) == 1
        for _ in range(2):
            leases.release(key, "a")
        for _ in range(2):
            assert leases.claim(key, "refresher", LONG)
        for _ in range(2):
            leases.release(key, "refresher")
        assert leases.acquire(key, "b", LONG)

    def test_a_dead_holder_blocks_for_its_ttl_and_no_longer(
        self, leases: LeaseStore, key: str
    ) -> None:
        leases.acquire(key, "dead", SHORT)
        wait_until(lambda: leases.claim(key, "refresher", LONG), "the lease to end")
        assert leases.holders(key) == 0

    def test_a_dead_claim_blocks_for_its_ttl_and_no_longer(
        self, leases: LeaseStore, key: str
    ) -> None:
        leases.claim(key, "dead", SHORT)
        wait_until(lambda: leases.acquire(key, "a", LONG), "the claim to end")

    def test_a_holder_that_renews_outlives_its_ttl(self, leases: LeaseStore, key: str) -> None:
        leases.acquire(key, "a", 0.5)
        assert leases.renew(key, "a", LONG)
        time.sleep(0.6)
        assert leases.holders(key) == 1
        assert not leases.claim(key, "refresher", LONG)

    def test_a_claim_that_is_renewed_outlives_its_ttl(self, leases: LeaseStore, key: str) -> None:
        leases.claim(key, "refresher", 0.5)
        assert leases.renew(key, "refresher", LONG)
        time.sleep(0.6)
        assert not leases.acquire(key, "a", LONG)
        assert leases.holders(key) == 0

    def test_a_holder_that_lost_its_lease_learns_it_at_its_renewal(
        self, leases: LeaseStore, key: str
    ) -> None:
        assert not leases.renew(key, "a", LONG)
        leases.acquire(key, "a", SHORT)
        wait_until(lambda: leases.holders(key) == 0, "the lease to end")
        assert not leases.renew(key, "a", LONG)
        assert leases.holders(key) == 0

    @pytest.mark.parametrize("next_one", ["holder", "claim"])
    def test_releasing_after_the_expiry_changes_nothing_for_the_next(
        self, leases: LeaseStore, key: str, next_one: str
    ) -> None:
        leases.acquire(key, "late", SHORT)
        wait_until(lambda: leases.holders(key) == 0, "the lease to end")
        take = leases.acquire if next_one == "holder" else leases.claim
        assert take(key, "next", LONG)
        leases.release(key, "late")
        assert not leases.claim(key, "refresher", LONG)
        assert leases.acquire(key, "another", LONG) == (next_one == "holder")

    def test_releasing_a_claim_after_its_expiry_does_not_free_the_next_claim(
        self, leases: LeaseStore, key: str
    ) -> None:
        leases.claim(key, "late", SHORT)
        wait_until(lambda: leases.claim(key, "next", LONG), "the claim to end")
        leases.release(key, "late")
        assert not leases.renew(key, "late", LONG)
        assert not leases.acquire(key, "a", LONG)

    def test_a_later_holder_does_not_prolong_an_abandoned_one(
        self, leases: LeaseStore, key: str
    ) -> None:
        leases.acquire(key, "dead", SHORT)
        leases.acquire(key, "a", LONG)
        wait_until(lambda: leases.holders(key) == 1, "the abandoned lease to end")
        leases.release(key, "a")
        assert leases.claim(key, "refresher", LONG)

    def test_many_abandoned_holders_are_purged(self, backend: Backend, key: str) -> None:
        leases = backend.leases
        assert leases is not None
        for number in range(2000):
            leases.acquire(key, f"abandoned {number}", 0.001)
        wait_until(lambda: leases.claim(key, "refresher", LONG), "the leases to end")
        assert leases.holders(key) == 0

    def test_one_of_many_concurrent_claims_succeeds(self, leases: LeaseStore, key: str) -> None:
        barrier = threading.Barrier(8)

        def claim(number: int) -> bool:
            barrier.wait(10)
            return leases.claim(key, f"refresher {number}", LONG)

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(claim, range(8))) == 1

    def test_a_claim_and_a_holder_never_meet(self, leases: LeaseStore, key: str) -> None:
        inside: dict[str, int] = {"holder": 0, "claim": 0}
        seen: list[dict[str, int]] = []

        def work(role: str, number: int) -> None:
            take = leases.acquire if role == "holder" else leases.claim
            turn = 0
            while turn < 20:
                name = f"{role} {number} {turn}"
                if take(key, name, LONG):
                    inside[role] += 1
                    time.sleep(0.0005)  # others may come now, if they can
                    seen.append(dict(inside))
                    inside[role] -= 1
                    leases.release(key, name)
                    turn += 1

        with ThreadPoolExecutor(4) as pool:
            jobs = [pool.submit(work, r, n) for n in range(2) for r in ("holder", "claim")]
            for job in jobs:
                job.result()
        assert sum(now["claim"] for now in seen) >= 40
        assert not [now for now in seen if now["claim"] and now["holder"]]
        assert leases.holders(key) == 0

    def test_loading_with_the_lease_gives_the_same_as_load(
        self, backend: Backend, key: str
    ) -> None:
        if backend.leased_loading is None:
            pytest.skip("this store has no round trips to save")
        leases = backend.leases
        assert leases is not None
        load = backend.leased_loading.load_and_acquire
        assert load(key, "a", LONG) == (None, False)
        assert leases.holders(key) == 0

        backend.sessions.create(key, b"payload", time.time() + 100)
        assert load(key, "a", LONG) == (backend.sessions.load(key), True)
        assert leases.holders(key) == 1
        leases.release(key, "a")

        leases.claim(key, "refresher", LONG)
        assert load(key, "a", LONG) == (backend.sessions.load(key), False)
        assert leases.holders(key) == 0

    def test_a_lease_of_another_process_counts(
        self, store: StoreUnderTest, leases: LeaseStore, key: str
    ) -> None:
        if store.processes == "one":
            pytest.skip("memory is of one process")
        other = OtherProcess(hold_lease, store.open, key)
        other.begin()
        try:
            wait_until(lambda: leases.holders(key) == 1, "another process to hold the session")
            assert not leases.claim(key, "refresher", LONG)
        finally:
            other.kill()
