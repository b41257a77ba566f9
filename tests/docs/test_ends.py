"""Each place that deletes a record, or sets it aside, has its reason: no end goes untold."""

from __future__ import annotations

import ast
from collections import Counter

from house import ROOT

ADAPTERS = ("testing/", "stores/file", "stores/sql", "stores/redis", "stores/memory")
CALLS = {"delete", "delete_expired", "set_aside", "take_out"}
STORES = ("store", "sessions", "_old", "_new", "expired", "ability", "quarantine", "manager")
TOLD = {
    "core/endings/ender.py": "logged-out, revoked, stale, …, by the Cause of its caller",
    "core/commit/succession.py": "part of Ender.end and of a new id, which are told",
    "core/principals.py": "revoked",
    "core/loading.py": "expired-absolute, damaged",
    "stores/sweeper.py": "expired-idle, expired-absolute, by the sweeper",
    "operations/maintenance.py": "swept, expired-idle, expired-absolute",
    "contrib/django/site.py": "expired-idle, expired-absolute, by clearsessions",
    "migration/takeover_parts.py": "as that of the two stores which finds it",
    "migration/mover.py": "the log-out in the old store, which that told",
    "migration/takeover.py": "part of every other deletion",
}
NO_SESSION = {
    "core/commit/creation.py": "no client has the id of what could not be announced",
    "core/commit/cycling.py": "no client has the new id of a change that was refused",
    "health/checker.py": "the record of a health check",
    "stack/choice/acceptance.py": "the record of a probe",
    "metrics/measured.py": "passes calls on",
    "migration/copying.py": "the copy of a session that logged out",
    "demo/cards/deals.py": "the demonstration loses a session on purpose",
}
"""Where what is deleted was no session, or is not over."""


def deletions() -> Counter[str]:
    found: Counter[str] = Counter()
    for path in ROOT.rglob("*.py"):
        where = path.relative_to(ROOT).as_posix()
        if where.startswith(ADAPTERS):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                of = ast.unparse(node.func.value).rpartition(".")[2]
                if node.func.attr in CALLS and of.strip("_") in {s.strip("_") for s in STORES}:
                    found[where] += 1
    return found


def test_each_deletion_of_a_record_is_known() -> None:
    """A new one: tell of it by the report of ends, add its path to the ends of all stores."""
    known = TOLD.keys() | NO_SESSION.keys()
    assert deletions().keys() == known, deletions().keys() ^ known
