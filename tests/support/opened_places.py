"""Opening a place in a store: also in other processes, which import nothing else of the tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions.clock import wall_clock
from wsgi_sessions.migration.takeover import read_through
from wsgi_sessions.stores.urls import open_backend

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_sessions.contract import Backend


def open_place(urls: str, prefix: str, *, clock: Callable[[], float] = wall_clock) -> Backend:
    """A store, which may take over from a second one, patient with a busy machine."""
    new, *old = [
        open_backend(url, key_prefix=prefix, timeout=5.0, clock=clock) for url in urls.split()
    ]
    return read_through(new, *old, absolute_lifetime=86400.0) if old else new
