"""A session as the release of one schema sees it, whichever release stored it."""

from __future__ import annotations

from collections.abc import MutableMapping
from copy import copy
from typing import TYPE_CHECKING, Any

from wsgi_sessions.core.merge.delta import ABSENT
from wsgi_sessions.errors import StaleValue, UnsupportedFormat
from wsgi_sessions.models.migrations import Overlay, all_copied, copied

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsgi_sessions.core.session import Session
    from wsgi_sessions.models.migrations import Schema


class VersionedSession(MutableMapping[str, Any]):
    """The keys of a session at the version of a schema.

    A session that is stored at a former version is migrated on an `Overlay`, which stores nothing.
    A change goes back to the former version, or brings the session to this one.

    It keeps what it gave out beside the session's own values: what the overlay holds, and the
    defaults of absent keys (`offer`). The workspace calls `_take_over`, which finds their changes.
    """

    __slots__ = ("_is_busy", "_migrated", "_offered", "_schema", "_session")

    def __init__(self, session: Session, schema: Schema) -> None:
        self._session = session
        self._schema = schema
        self._migrated: Migrated | None = None
        self._offered: dict[str, tuple[Any, Any]] = {}
        self._is_busy = False

    def get(self, key: str, default: Any = None) -> Any:
        migrated = self._migrate()
        if migrated is None or key not in migrated.overlay.changes:
            return self._session.get(key, default)
        value = migrated.overlay.changes[key]
        return default if value is ABSENT else value

    def offer(self, key: str, default: Any) -> Any:
        """Return a container for an absent key, which is the key's default once it is changed."""
        self._watch()
        return self._offered.setdefault(key, (default, copied(default)))[0]

    def __getitem__(self, key: str) -> Any:
        value = self.get(key, ABSENT)
        if value is ABSENT:
            raise KeyError(key)
        return value

    def __setitem__(self, key: str, value: Any) -> None:
        self._offered.pop(key, None)
        migrated = self._migrate()
        if migrated is None:
            self._session[key] = value
        else:
            self._store(migrated, {key: value})

    def __delitem__(self, key: str) -> None:
        _ = self[key]
        migrated = self._migrate()
        if migrated is None:
            del self._session[key]
        else:
            self._store(migrated, {key: ABSENT})

    def __iter__(self) -> Iterator[str]:
        migrated = self._migrate()
        return iter(self._session if migrated is None else migrated.overlay)

    def __len__(self) -> int:
        return len([*self])

    def _migrate(self) -> Migrated | None:
        """Return the session's keys at this version; None if that is how they are stored."""
        stored = self._session.get(self._schema.key, 1)
        if stored == self._schema.version:
            self._migrated = None
        elif stored not in self._schema.forward:
            raise UnsupportedFormat(f"this release has no migration from its {self._schema.key}")
        elif self._is_busy:
            return self._migrated
        elif self._watch() or self._migrated is None or not self._migrated.is_current():
            self._migrated = Migrated(self._session, self._schema, stored)
        return self._migrated

    def _watch(self) -> bool:
        """Have changes taken over; return whether former ones are no longer the session's."""
        workspace = self._session._read().data  # noqa: SLF001  # of this package
        is_new = workspace.watch(self._take_over)
        if is_new:
            self._offered, self._migrated = {}, None
        return is_new

    def _take_over(self) -> None:
        """Give the session what was changed in place outside of it."""
        if self._is_busy:
            return
        self._is_busy = True
        try:
            if self._migrated is not None and self._migrated.is_changed():
                self._store(self._migrated, {})
            for key, (value, before) in [*self._offered.items()]:
                if value != before:
                    del self._offered[key]
                    self._begin(key, value, before)
        finally:
            self._is_busy = False

    def _begin(self, key: str, value: Any, before: Any) -> None:
        """Make an offered container, which was changed since, the value of its key."""
        if self._migrated is not None:
            self._store(self._migrated, {key: value})
        elif key in self._session:
            raise StaleValue(key)
        else:
            _set_default(self._session, key, value, before)

    def _store(self, migrated: Migrated, changes: dict[str, Any]) -> None:
        was_busy, self._is_busy = self._is_busy, True
        self._migrated = None  # if it fails, the session counts
        try:
            migrated.overlay.changes.update(changes)
            migrated.store()
            self._migrated = migrated
        finally:
            self._is_busy = was_busy


class Migrated:
    """The keys of a session that is stored at a former version, brought to this one."""

    def __init__(self, session: Session, schema: Schema, stored: int) -> None:
        self._session = session
        self._schema = schema
        self.overlay = Overlay(session)
        for version in range(stored, schema.version):
            schema.forward[version](self.overlay)
        self._before = all_copied(self.overlay.changes)

    def is_current(self) -> bool:
        """Return whether the session still has the values that were migrated."""
        read = self.overlay.read
        return all(self._session.get(key, ABSENT) == value for key, value in read.items())

    def is_changed(self) -> bool:
        """Return whether a container was changed in place."""
        return self.overlay.changes != self._before

    def store(self) -> None:
        """Store the changes at the former version, if there is a step back, or all at this one."""
        changes = self.overlay.changes
        back = Overlay(self.overlay)
        if self._schema.back is None:
            back[self._schema.key] = self._schema.version
        else:
            self._schema.back(back)
        for key, value in {**changes, **back.changes}.items():
            _put(self._session, key, value)
        # What a step back left alone is the session's own by now.
        self.overlay.changes = {k: v for k, v in changes.items() if k in back.changes}
        for key in self.overlay.read:
            self.overlay.read[key] = copied(self._session.get(key, ABSENT))
        self._before = all_copied(self.overlay.changes)


def _put(session: Session, key: str, value: Any) -> None:
    """Give a key a value; in place where that is possible, so that others' changes merge."""
    present = session.get(key, ABSENT)
    if value is ABSENT:
        session.pop(key, None)
    elif type(value) not in (list, dict, set):
        if type(present) is not type(value) or present != value:
            session[key] = value
    elif present is ABSENT:
        _set_default(session, key, value, type(value)())
    elif type(present) is not type(value):
        session[key] = value
    elif present is not value and present != value:
        _fill(present, value)


def _set_default(session: Session, key: str, value: Any, before: Any) -> None:
    """Assign a default, changed in place since: first commits of two requests merge."""
    after = copy(value)
    _fill(value, before)
    session.setdefault(key, value)
    _fill(value, after)


def _fill(container: Any, contents: Any) -> None:
    if isinstance(container, list):
        container[:] = contents
    else:
        container.clear()
        container.update(contents)
