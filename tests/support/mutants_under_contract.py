"""A test class for each mutant, as the author of that store would write it: one run tells what the
contract finds. It is no test of this project's; see ``test_shipped_contract.py``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from store_mutants import MUTANTS, OF_PROCESSES, open_mutant

from wsgi_sessions.testing import (
    ContextStoreContract,
    EndTracesContract,
    LeaseStoreContract,
    RefreshQueueContract,
    SessionStoreContract,
    StoreUnderTest,
    VersionStampsContract,
)

if TYPE_CHECKING:
    from pathlib import Path

    from wsgi_sessions import Backend


CONTRACT = (
    SessionStoreContract,
    VersionStampsContract,
    ContextStoreContract,
    EndTracesContract,
    LeaseStoreContract,
    RefreshQueueContract,
)


def _class_for(name: str) -> type:
    class TestMutant(*CONTRACT):  # type: ignore[misc]  # each class is a contract
        @pytest.fixture
        def store(self, tmp_path: Path) -> StoreUnderTest:
            if name in OF_PROCESSES:
                (tmp_path / "shelves").mkdir()
                return StoreUnderTest(partial(open_mutant, name, tmp_path / "shelves"))
            opened = open_mutant(name)
            return StoreUnderTest(partial(_again, opened, name), processes="one")

    TestMutant.__name__ = TestMutant.__qualname__ = f"Test_{name}"
    return TestMutant


def _again(opened: Backend, name: str, **more: Any) -> Backend:
    """The same store each time, unless another clock is asked for."""
    return open_mutant(name, **more) if more else opened


globals().update({f"Test_{name}": _class_for(name) for name in MUTANTS})


class TestNothing(SessionStoreContract):
    """Of an author who has not said how the store is opened."""
