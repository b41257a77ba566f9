"""Contexts: what a principal last worked on, for stores that keep it outside of sessions."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from wsgi_sessions.contract import Context
from wsgi_sessions.testing.contract.processes import SECOND_CONTEXT as SECOND
from wsgi_sessions.testing.contract.processes import OtherProcess, select
from wsgi_sessions.testing.contract.under_test import ODD_TEXTS, Fixtures

if TYPE_CHECKING:
    from wsgi_sessions.contract import Backend, ContextStore
    from wsgi_sessions.testing.contract.under_test import StoreUnderTest

FIRST = Context(b"\x00first\xff", 1.5)


class ContextStoreContract(Fixtures):
    """The contract of `Backend.contexts` as tests, for a store that keeps contexts.

    It is used as `SessionStoreContract` is, with the same fixture ``store``.
    """

    @pytest.fixture
    def contexts(self, backend: Backend) -> ContextStore:
        """The contexts of the store."""
        assert backend.contexts is not None, "this store keeps no contexts"
        return backend.contexts

    def test_nothing_is_remembered_at_first(self, contexts: ContextStore) -> None:
        assert contexts.get("alice", "deal") is None
        assert list(contexts.items()) == []

    def test_the_value_set_last_is_remembered(self, contexts: ContextStore) -> None:
        for context in (FIRST, SECOND):
            contexts.set("alice", "deal", context)
            assert contexts.get("alice", "deal") == context
        assert contexts.get("alice", "fund") is None
        assert contexts.get("bob", "deal") is None

    def test_adding_replaces_nothing(self, contexts: ContextStore) -> None:
        assert contexts.add("alice", "deal", FIRST)
        assert not contexts.add("alice", "deal", SECOND)
        assert contexts.get("alice", "deal") == FIRST
        assert contexts.add("alice", "fund", SECOND)
        contexts.clear("alice", "deal")
        assert contexts.add("alice", "deal", SECOND)
        assert contexts.get("alice", "deal") == SECOND

    @pytest.mark.parametrize("size", [0, 1, 5000, 200_000])
    def test_values_of_every_size_come_back(self, contexts: ContextStore, size: int) -> None:
        context = Context(bytes(i % 251 for i in range(size)), 3.0)
        contexts.set("alice", "deal", context)
        assert contexts.get("alice", "deal") == context

    def test_clearing_is_idempotent_and_of_one_context(self, contexts: ContextStore) -> None:
        contexts.set("alice", "deal", FIRST)
        contexts.set("alice", "fund", FIRST)
        for _ in range(2):
            contexts.clear("alice", "deal")
            assert contexts.get("alice", "deal") is None
        assert contexts.get("alice", "fund") == FIRST

    def test_a_stale_context_is_cleared_only_if_it_is_still_there(
        self, contexts: ContextStore
    ) -> None:
        contexts.set("alice", "deal", SECOND)
        for other in (FIRST, SECOND._replace(accessed_at=7.0), SECOND._replace(value=b"")):
            contexts.clear("alice", "deal", other)
            assert contexts.get("alice", "deal") == SECOND
        for _ in range(2):
            contexts.clear("alice", "deal", SECOND)
            assert contexts.get("alice", "deal") is None

    @pytest.mark.parametrize("text", ODD_TEXTS)
    def test_principals_and_names_are_any_text(self, contexts: ContextStore, text: str) -> None:
        contexts.set(text, "deal", FIRST)
        contexts.set("alice", text, SECOND)
        assert contexts.get(text, "deal") == FIRST
        assert contexts.get("alice", text) == SECOND
        assert sorted(contexts.items()) == sorted([(text, "deal", FIRST), ("alice", text, SECOND)])

    def test_a_principal_and_a_name_are_not_run_together(self, contexts: ContextStore) -> None:
        contexts.set("ab", "c", FIRST)
        assert contexts.get("a", "bc") is None
        assert contexts.get("abc", "") is None

    def test_all_are_listed(self, contexts: ContextStore) -> None:
        expected = {(f"user {i}", name): Context(b"%d" % i, i) for i in range(60) for name in "ab"}
        for (principal, name), context in expected.items():
            contexts.set(principal, name, context)
        contexts.clear("user 0", "a")
        del expected["user 0", "a"]
        assert {(user, name): context for user, name, context in contexts.items()} == expected

    def test_contexts_are_not_sessions(self, backend: Backend, contexts: ContextStore) -> None:
        contexts.set("alice", "deal", FIRST)
        assert list(backend.iteration.keys()) == []
        assert backend.iteration.count() == 0

    def test_another_process_selects(self, store: StoreUnderTest, contexts: ContextStore) -> None:
        if store.processes == "one":
            pytest.skip("memory belongs to one process")
        contexts.set("alice", "deal", FIRST)
        other = OtherProcess(select, store.open, "alice")
        other.begin()
        other.end()
        assert contexts.get("alice", "deal") == SECOND

    def test_a_reader_sees_one_whole_context(self, contexts: ContextStore) -> None:
        """While it is replaced; and no selection is lost to a caller that clears a stale one."""
        sizes = [Context(bytes([n]) * (n * 900 + 1), float(n)) for n in range(1, 9)]
        contexts.set("alice", "deal", sizes[0])
        done = threading.Event()

        def replace() -> None:
            for number in range(120):
                contexts.set("alice", "deal", sizes[number % 8])
            contexts.set("alice", "deal", SECOND)
            done.set()

        def clear() -> None:
            while not done.is_set():
                contexts.clear("alice", "deal", FIRST)

        threads = [threading.Thread(target=target) for target in (replace, clear)]
        for thread in threads:
            thread.start()
        while not done.is_set():
            assert contexts.get("alice", "deal") in [*sizes, SECOND]
        for thread in threads:
            thread.join()
        assert contexts.get("alice", "deal") == SECOND
