"""For tests: of an application with sessions, and of a store of sessions.

`SessionClient` is a browser for an application's tests; pytest has it as fixture
``session_client``. `SessionStoreContract` holds a store to what `wsgi_sessions.contract` says; it
needs pytest, as extra ``wsgi-sessions[testing]`` installs it.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from wsgi_sessions.testing.client import SessionClient
from wsgi_sessions.testing.faults import StoreFaults

if TYPE_CHECKING:
    from wsgi_sessions.testing.contract.contexts import ContextStoreContract
    from wsgi_sessions.testing.contract.endings import EndTracesContract
    from wsgi_sessions.testing.contract.leases import LeaseStoreContract
    from wsgi_sessions.testing.contract.refreshes import RefreshQueueContract
    from wsgi_sessions.testing.contract.suite import SessionStoreContract
    from wsgi_sessions.testing.contract.under_test import StoreUnderTest
    from wsgi_sessions.testing.contract.versions import VersionStampsContract

__all__ = [
    "ContextStoreContract",
    "EndTracesContract",
    "LeaseStoreContract",
    "RefreshQueueContract",
    "SessionClient",
    "SessionStoreContract",
    "StoreFaults",
    "StoreUnderTest",
    "VersionStampsContract",
]
_CONTRACT = {
    "ContextStoreContract": "contexts",
    "EndTracesContract": "endings",
    "LeaseStoreContract": "leases",
    "RefreshQueueContract": "refreshes",
    "SessionStoreContract": "suite",
    "StoreUnderTest": "under_test",
    "VersionStampsContract": "versions",
}


def __getattr__(name: str) -> Any:
    """Import the contract on use: it alone needs pytest."""
    if name not in _CONTRACT:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        import pytest
    except ImportError as error:
        raise ImportError(f"{name} needs pytest: pip install 'wsgi-sessions[testing]'") from error
    if f"{__name__}.contract" not in sys.modules:  # else somebody imported it without this
        pytest.register_assert_rewrite(f"{__name__}.contract")
    return getattr(import_module(f"{__name__}.contract.{_CONTRACT[name]}"), name)
