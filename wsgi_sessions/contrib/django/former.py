"""The sessions of the engine that a site had before, read by that engine itself.

With any engine (``db``, ``cached_db``, ``cache``, ``file``, ``signed_cookies``) and any serializer,
a session is taken over when its cookie comes, and users stay logged in.
"""

from __future__ import annotations

import re
from importlib import import_module
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.sessions.backends.signed_cookies import SessionStore as SignedCookies
from django.core.exceptions import SuspiciousOperation

from wsgi_sessions.clock import wall_clock
from wsgi_sessions.core.record.codec import decode
from wsgi_sessions.core.record.plain import encode_plain
from wsgi_sessions.errors import (
    ConfigurationError,
    ImportRefused,
    StoreUnavailable,
    UnserializableValue,
)
from wsgi_sessions.http.cookies.session_cookie import CookiePolicy
from wsgi_sessions.identity import is_id
from wsgi_sessions.importers.adoption import Adoption, end_of, log_end
from wsgi_sessions.importers.base import LATE_SAVES, Imported, Importer
from wsgi_sessions.importers.libraries.django import KIND, lifetime

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsgi_sessions.stack.sessions import Sessions

_KEY = re.compile(r"[!-~]{8,4096}", re.ASCII)


class FormerRecords:
    """`ForeignRecords` of one of Django's engines. A payload is the data, encoded as here.

    `memory`: as in `Importer`; a signed cookie can be sent again for as long as it is valid.
    """

    def __init__(self, engine: str) -> None:
        self._store: Any = import_module(engine).SessionStore
        in_cookies = issubclass(self._store, SignedCookies)  # where no record can be deleted
        self.memory = float(settings.SESSION_COOKIE_AGE) if in_cookies else LATE_SAVES

    def load(self, name: str) -> bytes | None:
        """See `ForeignRecords`."""
        try:
            session = self._store(name)
            data = session.load()
        except SuspiciousOperation:
            return None  # not a key of that engine: a client made it up
        except Exception as error:  # an exception of a database or cache, of any class
            raise StoreUnavailable(
                f"the former session engine failed: {type(error).__name__}", operation="import"
            ) from error
        if session.session_key is None or not data:
            return None
        try:
            return encode_plain({str(key): value for key, value in data.items()})
        except UnserializableValue as error:
            raise ImportRefused(str(error)) from None

    def delete(self, name: str) -> None:
        """See `ForeignRecords`."""
        try:
            self._store(name).delete(name)
        except Exception as error:  # as above
            raise StoreUnavailable(
                f"the former session engine failed: {type(error).__name__}", operation="retire"
            ) from error

    def names(self) -> Iterator[str]:
        """Return nothing: sessions are taken over when their cookies come."""
        return iter(())

    def expires_at(self, name: str) -> float | None:  # noqa: ARG002  # the protocol's
        """Not asked."""
        return None

    def close(self) -> None:
        """Do nothing: connections are Django's."""


def adoption_from(engine: str, opened: Sessions) -> Adoption | None:
    """Return the adoption of sessions of a former engine; None once its time is over.

    Raises ConfigurationError.
    """
    until = opened.config.imports.until
    if until is None:
        raise ConfigurationError(
            "FORMER_ENGINE in WSGI_SESSIONS: set IMPORT_UNTIL too, to the last day on which "
            "sessions are taken over, such as 2027-01-31"
        )
    if wall_clock() >= end_of(until):
        log_end(KIND)
        return None
    idle = opened.config.idle_lifetime
    read_lifetime = lifetime(idle, wall_clock, None)

    def read(payload: bytes) -> Imported:
        data = decode(payload)
        return Imported(data, read_lifetime(data.get("_session_expiry")))

    policy = CookiePolicy(name=settings.SESSION_COOKIE_NAME)
    records = FormerRecords(engine)
    importer = Importer(KIND, policy, _former_key, records, read, memory=records.memory)
    return Adoption(opened.manager, importer, until=until)


def _former_key(value: str) -> str | None:
    """Return a key that may be the former engine's; ours are not looked up there."""
    return value if _KEY.fullmatch(value) and not is_id(value) else None
