"""SessionStoreContract: the whole suite."""

from __future__ import annotations

from wsgi_sessions.testing.contract.abilities import AbilityLaws
from wsgi_sessions.testing.contract.expiry import ExpiryLaws
from wsgi_sessions.testing.contract.guarantees import GuaranteeLaws
from wsgi_sessions.testing.contract.races import RaceLaws
from wsgi_sessions.testing.contract.records import RecordLaws


class SessionStoreContract(RecordLaws, ExpiryLaws, AbilityLaws, RaceLaws, GuaranteeLaws):
    """The contract of a store, as tests: a store that passes has every guarantee of this package.

    A test class inherits it, and says in a fixture how the store is opened::

        class TestShelf(SessionStoreContract):
            @pytest.fixture
            def store(self, tmp_path):
                return StoreUnderTest(functools.partial(open_shelf, tmp_path / "shelf"))

    `open_shelf` takes `clock` by keyword, and returns a `Backend`. Each test opens the store in
    an empty place. The tests use threads, other processes, and one that is killed; they take
    some seconds.

    Abilities of other middlewares have suites of their own: `VersionStampsContract`,
    `ContextStoreContract`, `LeaseStoreContract`, `RefreshQueueContract` and `EndTracesContract`.
    """
