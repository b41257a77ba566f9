"""Version stamps: is a session older than the data that it was made from? No WSGI.

A session keeps, in its metadata, the version of each of its scopes from before its data was read.
It is stale as soon as one of them differs from the current one. Versions are always read *before*
the data, so a bump between the two leaves the session behind, and is never missed.
"""

from __future__ import annotations

import string
import threading
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from wsgi_sessions import texts
from wsgi_sessions.clock import monotonic, wall_clock
from wsgi_sessions.core.record.codec import decode
from wsgi_sessions.errors import ConfigurationError, SessionError
from wsgi_sessions.versions.bump_times import BumpTimes

if TYPE_CHECKING:
    from msgspec import Raw

    from wsgi_sessions.contract import Bump
    from wsgi_sessions.core.session import Session

STAMPS = "version stamps"
"""Metadata key of the stamps of a session: a version for each scope."""
AT_LOGIN = "versions at log-in"
"""Metadata key of the versions when the log-in ended, for scopes that could not be stamped."""

Reason = Literal["missing-field", "unstamped", "behind", "ahead", "invalid"]
OptionalPrincipal = str | int | None
ScopeFunction = Callable[["Session"], Iterable[str]]

_RETRY_SECONDS = 1.0
_MAX_SCOPES = 10_000
_log = texts.log(__name__)


class Staleness(NamedTuple):
    """The reason why a session is stale; `detail` holds no value of the session."""

    reason: Reason
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


class Reading(NamedTuple):
    """Versions by scope.

    Uncertain ones are the last known, of a source that does not answer; a scope that was never read
    is left out.
    """

    versions: Mapping[str, int]
    is_certain: bool


class _Template(NamedTuple):
    """A scope's template, and the keys in its braces."""

    text: str
    keys: tuple[str, ...]

    def filled(self, principal: OptionalPrincipal, data: Mapping[str, Any]) -> str | None:
        """Return the scope, or None while one of the keys has no value."""
        if not self.keys:
            return self.text
        values = {key: data.get(key) for key in self.keys}
        if values.get("principal", "") is None:
            values["principal"] = principal
        if None in values.values():
            return None
        return self.text.format_map(values)


def _parse(text: str) -> _Template:
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError:
        parts = []
    fields = [(key, spec, conversion) for _, key, spec, conversion in parts if key is not None]
    if not parts or any(spec or conv or not key.isidentifier() for key, spec, conv in fields):
        raise ConfigurationError(
            f"version scope {text[:80]!a}: write it as global or as league:{{league_id}}, with "
            "plain names of session keys in the braces"
        )
    return _Template(text, tuple(key for key, _, _ in fields))


@dataclass(frozen=True)
class VersionPolicy:
    """The versions that a session depends on, and the conditions that make it stale.

    Args:
        scopes: templates (``global``, ``league:{league_id}``, ``user:{principal}``) that are filled
            from the session's keys, or a function ``scopes(session)``. A template is left out while
            the session lacks one of its keys.
        rights: templates of further scopes; a bump of one means that the rights of the user
            changed.
        required: keys without which a logged-in session is stale.
        principal_key: as in `SessionManager`.

    Raises:
        ConfigurationError: a template has anything but plain key names in braces.
    """

    scopes: tuple[str, ...] | ScopeFunction = ("global",)
    required: tuple[str, ...] = ()
    principal_key: str | None = None
    rights: tuple[str, ...] = ()
    fixed_scopes: tuple[str, ...] = field(init=False, repr=False, compare=False)
    """The scopes of every session."""
    _rights: tuple[_Template, ...] = field(init=False, repr=False, compare=False)
    _templates: tuple[_Template, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        rights = tuple(map(_parse, self.rights))
        scopes = () if callable(self.scopes) else tuple(map(_parse, self.scopes))
        templates = tuple(dict.fromkeys((*scopes, *rights)))
        fixed = tuple(template.text for template in templates if not template.keys)
        object.__setattr__(self, "_rights", rights)
        object.__setattr__(self, "_templates", templates)
        object.__setattr__(self, "fixed_scopes", fixed)

    @property
    def is_fixed(self) -> bool:
        """Whether every session has the same scopes."""
        return not callable(self.scopes) and len(self.fixed_scopes) == len(self._templates)

    def scopes_of(
        self, session: Session, principal: OptionalPrincipal, data: Mapping[str, Any]
    ) -> tuple[str, ...]:
        """Return the scopes of a session of `principal` with the values `data`."""
        named = self.scopes(session) if callable(self.scopes) else ()
        return tuple(dict.fromkeys((*named, *_filled(self._templates, principal, data))))

    def rights_of(self, principal: OptionalPrincipal, data: Mapping[str, Any]) -> tuple[str, ...]:
        """Return its scopes that stand for the user's rights."""
        return _filled(self._rights, principal, data)

    def is_logged_in(self, principal: OptionalPrincipal, data: Mapping[str, Any]) -> bool:
        """Return whether the session belongs to a user: only then can it be stale."""
        if principal is not None:
            return True
        keys = (*self.required, *(() if self.principal_key is None else (self.principal_key,)))
        return any(data.get(key) is not None for key in keys)

    def staleness(
        self, data: Container[str], stamps: Mapping[str, int] | None, reading: Reading
    ) -> Staleness | None:
        """Return why a logged-in session is stale, or None.

        `data` has its keys, `reading` the versions of its scopes.

        A scope without a stamp counts as 0, the version of a scope that was never bumped. A stamp
        from the future (a database restored from a backup) counts only if the versions are certain:
        else two workers with different last known ones could refresh for ever.
        """
        for key in self.required:
            if key not in data:
                return Staleness("missing-field", key)
        if stamps is None:
            return Staleness("unstamped") if self.scopes or self.rights else None
        for scope, version in reading.versions.items():
            stamp = stamps.get(scope, 0)
            if stamp != version and (stamp < version or reading.is_certain):
                reason: Reason = "behind" if stamp < version else "ahead"
                return Staleness(reason, f"made from version {stamp}, current is {version}")
        return None


def _filled(
    templates: Iterable[_Template], principal: OptionalPrincipal, data: Mapping[str, Any]
) -> tuple[str, ...]:
    found = (template.filled(principal, data) for template in templates)
    return tuple(scope for scope in found if scope is not None)


class StoredValues(Mapping[str, Any]):
    """The values of a stored session, read without counting as a read of the request.

    Raises CorruptRecord for a value that does not decode.
    """

    __slots__ = ("_data",)

    def __init__(self, data: Mapping[str, Raw]) -> None:
        self._data = data

    def __getitem__(self, key: str) -> Any:
        return decode(bytes(self._data[key]))

    def __contains__(self, key: object) -> bool:
        return key in self._data

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)


class StampSource(Protocol):
    """A source of current versions: any `VersionStamps`.

    Without ``history(scope, limit)`` of bumps and their times, a bump counts from the moment when a
    process learned of it.
    """

    def current(self, scopes: Sequence[str]) -> dict[str, int]:
        """Return the current version of each scope."""


class _CachedVersion(NamedTuple):
    version: int
    asked_at: float  # when the latest look-up began
    since: float  # when the first look-up with this version had ended


class CachedStamps:
    """A cache of a source of versions, asked once in `max_age` seconds for each scope and process.

    If the source fails, the last known versions stay in use, and it is asked again after a second
    or `max_age`, whichever is longer. The fault is logged once, and so is the return. The cache
    never raises.

    Args:
        max_age: seconds; 0 asks at each call.
        clock: monotonic seconds.
        wall: seconds since the epoch.
    """

    def __init__(
        self,
        source: StampSource,
        *,
        max_age: float = 1.0,
        clock: Callable[[], float] = monotonic,
        wall: Callable[[], float] = wall_clock,
    ) -> None:
        self._source = source
        self._max_age = max_age
        self._clock = clock
        self._known: dict[str, _CachedVersion] = {}
        self.times = BumpTimes(self._ask_history, wall)
        self._failed_at: float | None = None
        self._lock = threading.Lock()

    def current(self, scopes: Sequence[str]) -> Reading:
        """Return the versions, none of them older than `max_age`."""
        oldest, known, versions = self._clock() - self._max_age, self._known, {}
        for scope in scopes:
            found = known.get(scope)
            if found is None or found.asked_at <= oldest:
                return self.fresh(scopes)
            versions[scope] = found.version
        return Reading(versions, self._failed_at is None)

    def fresh(self, scopes: Sequence[str]) -> Reading:
        """Return the versions as they are now."""
        if not scopes or self._is_pausing():
            return self._last_known(scopes)
        asked_at = self._clock()
        try:
            versions = self._source.current(scopes)
        except Exception as error:  # noqa: BLE001  # whatever a source raises: see the class
            self._failed(error)
            return self._last_known(scopes)
        self._answered(versions, asked_at)
        return Reading(versions, is_certain=True)

    def known_before(self, scopes: Sequence[str], moment: float) -> dict[str, int]:
        """Return versions that were current at some time before `moment`, of the scopes known then.

        Does not ask the source. A version that has changed since is left out.
        """
        found = {scope: self._known.get(scope) for scope in scopes}
        return {s: known.version for s, known in found.items() if known and known.since <= moment}

    def _ask_history(self, scope: str, limit: int) -> Sequence[Bump] | None:
        ask = getattr(self._source, "history", None)
        if ask is None or self._is_pausing():
            return None
        try:
            bumps: Sequence[Bump] = ask(scope, limit)
        except Exception as error:  # noqa: BLE001  # whatever a source raises: see the class
            self._failed(error)
            return None
        return bumps

    def now(self) -> float:
        """Return a moment, for `known_before`."""
        return self._clock()

    def _is_pausing(self) -> bool:
        failed_at = self._failed_at
        pause = max(self._max_age, _RETRY_SECONDS)
        return failed_at is not None and self._clock() - failed_at < pause

    def _last_known(self, scopes: Sequence[str]) -> Reading:
        found = {scope: self._known.get(scope) for scope in scopes}
        versions = {scope: known.version for scope, known in found.items() if known}
        return Reading(versions, self._failed_at is None)

    def _answered(self, versions: Mapping[str, int], asked_at: float) -> None:
        ended_at = self._clock()
        with self._lock:
            if len(self._known) > _MAX_SCOPES:
                self._known.clear()
            for scope, version in versions.items():
                before = self._known.get(scope)
                if before is None or before.asked_at <= asked_at:  # else a late, older answer
                    is_same = before is not None and before.version == version
                    since = before.since if before and is_same else ended_at
                    self._known[scope] = _CachedVersion(version, asked_at, since)
                    if not is_same and version:
                        self.times.note_current(scope, version)
            is_back, self._failed_at = self._failed_at is not None, None
        if is_back:
            _log.info("the source of version stamps answers again")

    def _failed(self, error: Exception) -> None:
        with self._lock:
            is_first, self._failed_at = self._failed_at is None, self._clock()
        if is_first:
            _log.warning(
                "the source of version stamps does not answer, so sessions are judged by what was "
                "last known: %s",
                error if isinstance(error, SessionError) else type(error).__name__,
            )
