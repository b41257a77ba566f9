"""The guarantees of requests: the package's own code on top of the store, with faults."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from wsgi_sessions.core.manager import SessionManager
from wsgi_sessions.core.transaction import Transaction
from wsgi_sessions.errors import StoreUnavailable
from wsgi_sessions.testing.contract.under_test import Fixtures
from wsgi_sessions.testing.faults import StoreFaults

if TYPE_CHECKING:
    from wsgi_sessions.contract import Backend
    from wsgi_sessions.core.source import Access


class _Request(NamedTuple):
    """A request that presents an id, as a transaction sees one."""

    presented: str | None

    def session_id(self) -> str | None:
        return self.presented

    def route(self) -> str:
        return "a request of the contract"

    def access(self) -> Access:
        return "shared"


class Requests:
    """Requests with sessions of one store."""

    def __init__(self, backend: Backend) -> None:
        self.manager = SessionManager(backend)

    def begin(self, session_id: str | None) -> Transaction:
        """Begin a request, and let it read its session."""
        transaction = Transaction(self.manager, _Request(session_id))
        _ = transaction.session.new
        return transaction

    def new(self, **data: Any) -> str:
        """Begin a session that holds `data`; return its id."""
        transaction = self.begin(None)
        transaction.session.update(data)
        transaction.commit()
        return _id_of(transaction)

    def login(self, session_id: str, principal: str) -> str:
        """Log in; return the new id."""
        transaction = self.begin(session_id)
        transaction.session.login(principal)
        transaction.commit()
        return _id_of(transaction)

    def data(self, session_id: str) -> dict[str, Any]:
        """Return the data that a request with this id finds."""
        return dict(self.begin(session_id).session)


def _id_of(transaction: Transaction) -> str:
    assert transaction.snapshot is not None
    return transaction.snapshot.session_id


class GuaranteeLaws(Fixtures):
    """The promises of `wsgi_sessions` itself."""

    @pytest.fixture
    def requests(self, backend: Backend) -> Requests:
        """Requests with sessions of the store."""
        return Requests(backend)

    @pytest.fixture
    def faults(self, backend: Backend) -> StoreFaults:
        """Faults of the store."""
        return StoreFaults(backend)

    def test_changes_of_overlapping_requests_all_stay(self, requests: Requests) -> None:
        session_id = requests.new(start=True)
        overlapping = [requests.begin(session_id) for _ in range(4)]
        for number, transaction in enumerate(overlapping):
            transaction.session[f"key {number}"] = number
            transaction.session.increment("n")
        for transaction in overlapping:
            assert transaction.commit() == "saved"
        stored = {"start": True, "n": 4} | {f"key {n}": n for n in range(4)}
        assert requests.data(session_id) == stored

    def test_a_request_that_only_reads_undoes_nothing(self, requests: Requests) -> None:
        session_id = requests.new(n=1)
        reader, writer = requests.begin(session_id), requests.begin(session_id)
        writer.session["n"] = 2
        writer.commit()
        assert reader.session["n"] == 1
        assert reader.commit() == "unchanged"
        assert requests.data(session_id) == {"n": 2}

    def test_an_increment_that_was_sent_twice_counts_once(
        self, requests: Requests, faults: StoreFaults
    ) -> None:
        session_id = requests.new(n=1)
        transaction = requests.begin(session_id)
        transaction.session.increment("n")
        with faults.retry_saves():
            assert transaction.commit() == "saved"
        assert requests.data(session_id) == {"n": 2}

    def test_a_session_that_was_ended_is_not_brought_back(self, requests: Requests) -> None:
        session_id = requests.new(n=1)
        late, logout = requests.begin(session_id), requests.begin(session_id)
        late.session["n"] = 2
        logout.session.flush()
        assert logout.commit() == "destroyed"
        assert late.commit() == "gone"
        assert requests.begin(session_id).session.new

    def test_a_fault_is_not_taken_for_an_empty_session(
        self, requests: Requests, faults: StoreFaults
    ) -> None:
        session_id = requests.new(n=1)
        with faults.fail("load"), pytest.raises(StoreUnavailable):
            requests.begin(session_id)
        assert requests.data(session_id) == {"n": 1}

    def test_a_save_that_fails_leaves_the_session_as_it_was(
        self, requests: Requests, faults: StoreFaults
    ) -> None:
        session_id = requests.new(n=1)
        transaction = requests.begin(session_id)
        transaction.session["n"] = 2
        with faults.fail("save"), pytest.raises(StoreUnavailable):
            transaction.commit()
        assert requests.data(session_id) == {"n": 1}
        assert transaction.commit() == "saved"
        assert requests.data(session_id) == {"n": 2}

    def test_a_user_is_logged_out_everywhere(self, requests: Requests) -> None:
        ids = [requests.login(requests.new(n=n), "alice") for n in range(3)]
        other = requests.login(requests.new(n=9), "bob")
        assert len(requests.manager.sessions_of("alice")) == 3
        assert requests.manager.destroy_sessions_of("alice") == 3
        assert [requests.begin(session_id).session.new for session_id in ids] == [True] * 3
        assert requests.data(other) == {"n": 9}
