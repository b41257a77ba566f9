"""Fixtures for pytest, found by an entry point; unused, they do nothing."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wsgi_sessions.testing.client import SessionClient


@pytest.fixture
def session_clients(request: pytest.FixtureRequest) -> Iterator[Callable[[], SessionClient]]:
    """Return a function that opens another browser for the application of fixture ``app``."""
    from wsgi_sessions.testing.client import SessionClient

    app: Any = request.getfixturevalue("app")
    with ExitStack() as clients:
        yield lambda: clients.enter_context(SessionClient(app))


@pytest.fixture
def session_client(session_clients: Callable[[], SessionClient]) -> SessionClient:
    """A `SessionClient` for the application of fixture ``app``."""
    return session_clients()
