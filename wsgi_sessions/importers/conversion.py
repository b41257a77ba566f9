"""Converts all stored sessions of another library in advance, offline.

It reads pickles, which a request must never do, and shows what an import will refuse. The old
records stay as they are, so that the old application can keep running or come back.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Literal, NamedTuple

from wsgi_sessions import texts
from wsgi_sessions.clock import wall_clock
from wsgi_sessions.core.record.codec import encode
from wsgi_sessions.errors import (
    ImportRefused,
    SessionExists,
    SessionGone,
    SessionTooLarge,
    UnserializableValue,
    VersionConflict,
)
from wsgi_sessions.identity import derived_id
from wsgi_sessions.importers.adoption import new_session
from wsgi_sessions.importers.receipts import Receipt, birth

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wsgi_sessions.core.manager import SessionManager
    from wsgi_sessions.importers.base import Imported, Importer

ConversionOutcome = Literal["imported", "updated", "in use", "expired", "refused"]
_ROUTE = "wsgi-sessions import"


@texts.shows("outcome", "reason")
class Converted(NamedTuple):
    """The outcome for one foreign session; `reason`: why it was refused."""

    outcome: ConversionOutcome
    reason: str = ""


def convert(
    manager: SessionManager,
    importer: Importer,
    *,
    mode: Literal["store", "try"] = "store",
    clock: Callable[[], float] = wall_clock,
) -> Iterator[Converted]:
    """Store each foreign session under the id that its cookie leads to; yield each outcome.

    Safe to repeat: converted sessions are updated, unless they are in use by now. Converting does
    not count as use: a session lives at most as long as the foreign one would. "try" stores
    nothing.

    Raises StoreUnavailable, and ConfigurationError if the library stores no sessions.
    """
    for name in importer.records.names():
        try:
            imported = importer.load(name)
            if imported is None:
                yield Converted("expired")
            elif mode == "try":
                yield _tried(imported)
            else:
                expires_by = importer.records.expires_at(name) or math.inf
                yield Converted(_stored(manager, importer.kind, name, imported, expires_by, clock))
        except (ImportRefused, UnserializableValue, SessionTooLarge) as error:
            yield Converted(
                "refused", error.reason if isinstance(error, ImportRefused) else str(error)
            )


def count(converted: Iterator[Converted]) -> tuple[Counter[ConversionOutcome], Counter[str]]:
    """Count sessions by outcome, and refused ones by reason."""
    outcomes: Counter[ConversionOutcome] = Counter()
    reasons: Counter[str] = Counter()
    for outcome, reason in converted:
        outcomes[outcome] += 1
        if reason:
            reasons[reason] += 1
    return outcomes, reasons


def _tried(imported: Imported) -> Converted:
    for key, value in imported.data.items():
        encode(value, key)
    return Converted("imported")


def _stored(
    manager: SessionManager,
    kind: str,
    name: str,
    imported: Imported,
    expires_by: float,
    clock: Callable[[], float],
) -> ConversionOutcome:
    session_id = derived_id("import", kind, name)
    receipt = Receipt(manager.backend.sessions, kind, name, clock())
    if receipt.birth() is not None:
        return "in use"
    present = manager.loader.load(session_id)
    try:
        if present is None:
            begun = new_session(imported, _ROUTE)
            stored = manager.create(session_id, begun, expires_by=expires_by)
        else:
            begun = new_session(imported, _ROUTE, birth(present.envelope))
            stored = manager.recreate(present, begun, expires_by=expires_by)
    except (SessionExists, SessionGone, VersionConflict):
        return "in use"
    manager.principals.add(stored.key, stored.envelope)
    return "imported" if present is None else "updated"
