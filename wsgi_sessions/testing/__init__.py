"""For tests: of an application with sessions, and of a store of sessions.

`SessionClient` is a browser for an application's tests; pytest has it as fixture
``session_client``. `SessionStoreContract` holds a store to what `wsgi_sessions.contract` says; it
needs pytest, as extra ``wsgi-sessions[testing]`` installs it.
"""

import sys
from typing import TYPE_CHECKING, Any

from wsgi_sessions.testing.client import SessionClient
from wsgi_sessions.testing.faults import StoreFaults

if TYPE_CHECKING:
    from wsgi_sessions.testing.contract.suite import SessionStoreContract
    from wsgi_sessions.testing.contract.under_test import StoreUnderTest

__all__ = ["SessionClient", "SessionStoreContract", "StoreFaults", "StoreUnderTest"]


def __getattr__(name: str) -> Any:
    """The contract is imported on use: it alone needs pytest."""
    if name not in ("SessionStoreContract", "StoreUnderTest"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        import pytest
    except ImportError as error:
        raise ImportError(f"{name} needs pytest: pip install 'wsgi-sessions[testing]'") from error
    if f"{__name__}.contract" not in sys.modules:  # else somebody imported it without this
        pytest.register_assert_rewrite(f"{__name__}.contract")
    from wsgi_sessions.testing.contract import suite, under_test

    return getattr(suite if name == "SessionStoreContract" else under_test, name)
