"""The sessions of this process' Django site: opened on use, and again when settings change."""

from __future__ import annotations

import os
import threading
from functools import cache
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.signals import setting_changed

from wsgi_sessions.contrib.django.config import FORMER_ENGINE, config_of, own_settings
from wsgi_sessions.contrib.django.former import adoption_from
from wsgi_sessions.http.devices import browser_namer
from wsgi_sessions.stack.sessions import Sessions, open_sessions

if TYPE_CHECKING:
    from wsgi_sessions.http.devices import NameDevice
    from wsgi_sessions.importers.adoption import Adoption

_CHUNK = 1000
_OURS = ("SESSION_COOKIE_", "SECRET_KEY", "WSGI_SESSIONS")


class Site:
    """The sessions of the present settings, until they change."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._opened: tuple[Sessions, Adoption | None] | None = None

    def sessions(self) -> Sessions:
        """The sessions. Raises ConfigurationError."""
        return self._open()[0]

    def adoption(self) -> Adoption | None:
        """The adoption of sessions of the site's former engine, if there is one."""
        return self._open()[1]

    def name_device(self) -> NameDevice | None:
        """Return what names the device of a log-in, or None. Raises ConfigurationError."""
        return browser_namer() if self.sessions().config.label_devices else None

    def use(self, opened: Sessions) -> None:
        """Take these sessions, which the site's WSGI application has opened."""
        with self._lock:
            former, self._opened = self._opened, (opened, _adoption(opened))
        if former is not None and former[0] is not opened:
            former[0].close()

    def clear_expired(self) -> None:
        """Delete expired records, in chunks; some stores expire them on their own."""
        manager = self.sessions().manager
        ability, told = manager.backend.expired, manager.endings.expired_by("clearsessions")
        while ability is not None and ability.delete_expired(_CHUNK, told) >= _CHUNK:
            pass
        if manager.endings.traces is not None:
            manager.endings.traces.settle()

    def close(self) -> None:
        """Close what is open; the next use opens it again."""
        with self._lock:
            former, self._opened = self._opened, None
        if former is not None:
            former[0].close()

    def _open(self) -> tuple[Sessions, Adoption | None]:
        opened = self._opened
        if opened is None:
            with self._lock:
                opened = self._opened
                if opened is None:
                    sessions = open_sessions(config_of(settings, os.environ))
                    opened = self._opened = sessions, _adoption(sessions)
        return opened


@cache
def site() -> Site:
    """Return the one site of this process."""
    made = Site()
    setting_changed.connect(_follow, dispatch_uid="wsgi_sessions")
    return made


def _follow(setting: str, **_: Any) -> None:
    """Called by Django's tests when they override a setting."""
    if setting.startswith(_OURS):
        site().close()


def _adoption(opened: Sessions) -> Adoption | None:
    engine = own_settings(settings).get(FORMER_ENGINE)
    return opened.adoption if engine is None else adoption_from(engine, opened)
