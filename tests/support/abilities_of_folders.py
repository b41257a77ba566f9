"""Abilities of a file store, each with a folder of its own."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from wsgi_sessions.contract import Context

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager


KEY = "a" * 64


SOON = time.time() + 3600


def entered(context: AbstractContextManager[Any]) -> None:
    with context:
        pass


def abilities(backend: Any) -> dict[str, Callable[[], object]]:
    """Every operation that touches the folder."""
    sessions, context = backend.sessions, Context(b"", 1.0)
    return {
        "create": lambda: sessions.create(KEY, b"x", SOON),
        "load": lambda: sessions.load(KEY),
        "save": lambda: sessions.save(KEY, b"x", SOON, expected_version=1),
        "touch": lambda: sessions.touch(KEY, SOON + 60),
        "delete": lambda: sessions.delete(KEY),
        "ping": sessions.ping,
        "keys": lambda: list(backend.iteration.keys()),
        "count": backend.iteration.count,
        "index": lambda: backend.index.add("alice", KEY, SOON),
        "unindex": lambda: backend.index.remove("alice", KEY),
        "keys of": lambda: backend.index.keys_of("alice"),
        "lock": lambda: entered(backend.locks.hold(KEY, 0.1)),
        "set aside": lambda: backend.quarantine.set_aside(KEY, 1, "damaged"),
        "quarantined": backend.quarantine.quarantined,
        "delete expired": lambda: backend.expired.delete_expired(10),
        "count expired": backend.expired.count_expired,
        "elect": lambda: entered(backend.leftovers.elect(0)),
        "leftovers": backend.leftovers.remove_leftovers,
        "advice": backend.advice.warnings,
        "facts": backend.diagnosis.facts,
        "secret": backend.secret.secret,
        "versions": lambda: backend.versions.current(["league"]),
        "bump": lambda: backend.versions.bump("league"),
        "history": lambda: backend.versions.history("league"),
        "context": lambda: backend.contexts.get("alice", "team"),
        "set context": lambda: backend.contexts.set("alice", "team", context),
        "add context": lambda: backend.contexts.add("bob", "team", context),
        "clear context": lambda: backend.contexts.clear("alice", "team"),
        "contexts": lambda: list(backend.contexts.items()),
        "acquire": lambda: backend.leases.acquire(KEY, "holder", 5),
        "renew": lambda: backend.leases.renew(KEY, "holder", 5),
        "release": lambda: backend.leases.release(KEY, "holder"),
        "holders": lambda: backend.leases.holders(KEY),
        "claim": lambda: backend.leases.claim(KEY, "claimant", 5),
        "leases": lambda: list(backend.lease_listing.leases()),
        "schedule": lambda: backend.refreshes.schedule(KEY, 1.0),
        "due": lambda: backend.refreshes.due(2.0, 5),
        "unschedule": lambda: backend.refreshes.remove(KEY),
    }
