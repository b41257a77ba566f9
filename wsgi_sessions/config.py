"""The configuration: one frozen value, read from a mapping such as `os.environ`.

A field and its setting are declared together, once. Parsing, errors, the table of the
documentation and ``wsgi-sessions config`` (`wsgi_sessions.config_help`) are made from that.
To add a setting, declare its field in `Config`.
"""

# ruff: noqa: RUF009 - `setting` and `group` return a dataclasses.field, which is what belongs there

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from operator import attrgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, get_args
from urllib.parse import quote

from wsgi_sessions import texts
from wsgi_sessions.cookies import RULES, CookiePolicy, SameSite, Secure, variable
from wsgi_sessions.errors import ConfigurationError
from wsgi_sessions.settings import identity, imports, kinds
from wsgi_sessions.settings.contexts import SETTINGS as CONTEXT_SETTINGS
from wsgi_sessions.settings.contexts import ContextConfig
from wsgi_sessions.settings.declaration import (
    PART,
    Fallback,
    Part,
    SecretFile,
    Setting,
    filled_by,
    group,
    nearest,
    setting,
)
from wsgi_sessions.settings.kinds import DAY, HOUR, KIB, MIB, MINUTE, Kind
from wsgi_sessions.settings.versions import LOGIN_URL, VersionConfig
from wsgi_sessions.settings.versions import SETTINGS as VERSION_SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import date

logger = texts.log("wsgi_sessions.config")

Fsync = Literal["none", "data", "full"]
SqlSchema = Literal["require", "create"]
RefreshIn = Literal["workers", "process"]
OnConflict = Literal["last-wins", "raise"]
BusyStatus = Literal["503", "429"]

_PREFIX = "WSGI_SESSION"
_LIFETIME = kinds.duration(1, 3650 * DAY, "1800 (seconds), 90s, 30m, 24h or 30d")


def _state_url(environ: Mapping[str, str]) -> str:
    """A folder of this package's own for the file store (XDG Base Directory Specification)."""
    state, home = environ.get("XDG_STATE_HOME", ""), environ.get("HOME", "")
    if not os.path.isabs(state):
        if not os.path.isabs(home):
            raise ConfigurationError(
                "WSGI_SESSIONS_URL is not set, and without HOME there is no folder for the file "
                f"store: set it to {kinds.URL.allowed}"
            )
        state = os.path.join(home, ".local", "state")
    try:
        return "file://" + quote(os.fsencode(os.path.join(state, "wsgi_sessions")))
    except UnicodeEncodeError:
        raise ConfigurationError(f"HOME or XDG_STATE_HOME={state!a}: is no file name") from None


def _cookie(attribute: str, kind: Kind[Any], about: str) -> Setting[Any]:
    return Setting(variable(attribute), kind, about, getattr(CookiePolicy(), attribute))


_URL_SETTING = Setting(
    "WSGI_SESSIONS_URL",
    kinds.URLS,
    "where sessions are stored; of several, in the first that is healthy at start",
    default="",
    computed=_state_url,
    default_text="a folder of its own under the user's state directory",
    fallbacks=(
        Fallback(
            "REDIS_URL",
            kinds.URL,
            when="USE_REDIS_SESSIONS",
            otherwise="redis://localhost:6379/0",
        ),
        Fallback("DATABASE_URL", kinds.URL),
    ),
    join=lambda urls: " ".join(dict.fromkeys(urls)),
)


@dataclass(frozen=True, repr=False)
class Config:
    """Every setting. Times are in seconds, sizes in bytes.

    `sources` tells for each setting's variable where its value came from: the name of a variable,
    or ``default``. Neither `repr` nor an error shows a secret or a URL's credentials.

    `url` is one URL, or several in order of priority, separated by blanks. `confirming_keys` come
    from adapters alone: see `IdentityRules`.

    Raises `ConfigurationError`.
    """

    url: str = field(metadata={PART: Part({"": _URL_SETTING})})
    secret_keys: tuple[str, ...] = setting(
        "WSGI_SESSIONS_SECRET_KEYS",
        kinds.SECRETS,
        "secrets that sign the cookie: the newest signs, all verify; or name a file of them",
        (),
        file=SecretFile("WSGI_SESSIONS_SECRET_KEYS_FILE", kinds.SECRET_LINES),
        fallbacks=(Fallback("SECRET_KEY", kinds.ONE_SECRET),),
        default_text="made and kept by the file store; required by every other",
    )
    idle_lifetime: float = setting(
        "WSGI_SESSIONS_IDLE_LIFETIME",
        _LIFETIME,
        "a session that nobody uses ends after this time",
        float(24 * HOUR),
        fallbacks=(Fallback("PERMANENT_SESSION_LIFETIME", _LIFETIME),),
    )
    absolute_lifetime: float = setting(
        "WSGI_SESSIONS_ABSOLUTE_LIFETIME",
        _LIFETIME,
        "every session ends this time after it began; not shorter than the idle lifetime",
        float(30 * DAY),
    )
    cookie: CookiePolicy = group(
        CookiePolicy,
        name=_cookie("name", kinds.matching(*RULES["name"]), "name of the cookie"),
        secure=_cookie(
            "secure", kinds.choice(get_args(Secure)), "whether it bears Secure; auto: on https"
        ),
        samesite=_cookie(
            "samesite", kinds.choice(get_args(SameSite)), "its SameSite; None needs Secure always"
        ),
        domain=_cookie(
            "domain", kinds.matching(*RULES["domain"]), "its Domain; not set: this host alone"
        ),
        path=_cookie("path", kinds.matching(*RULES["path"]), "its Path"),
        partitioned=_cookie(
            "partitioned", kinds.SWITCH, "whether it is Partitioned (CHIPS); needs Secure always"
        ),
    )
    principal_key: str | None = filled_by(identity.PRINCIPAL_KEY)
    privilege_keys: tuple[str, ...] = filled_by(identity.PRIVILEGE_KEYS)
    login_keys: tuple[str, ...] | None = filled_by(identity.LOGIN_KEYS)
    login_drops: tuple[str, ...] | None = filled_by(identity.LOGIN_DROPS)
    migrate_from: str | None = setting(
        "WSGI_SESSIONS_MIGRATE_FROM",
        kinds.or_off(kinds.URL),
        "the store that was used before: its sessions are taken over, each at its next use",
        None,
    )
    key_prefix: str = setting(
        "WSGI_SESSIONS_KEY_PREFIX",
        kinds.KEY_PREFIX,
        "what keys in a shared store begin with",
        "session:",
    )
    fsync: Fsync = setting(
        "WSGI_SESSIONS_FSYNC",
        kinds.choice(get_args(Fsync)),
        "what the file store flushes to disk at each commit, against power loss",
        "none",
    )
    folder_group: str | None = setting(
        "WSGI_SESSIONS_FOLDER_GROUP",
        kinds.PRINTABLE,
        "a group (name or number) whose members may write to the file store's folder",
        None,
        default_text="not set: nobody but its user may",
    )
    sql_schema: SqlSchema = setting(
        "WSGI_SESSIONS_SQL_SCHEMA",
        kinds.choice(get_args(SqlSchema)),
        "whether a SQL store needs its tables to be there, or makes and upgrades them on first use",
        "require",
    )
    exclusive_paths: tuple[str, ...] = setting(
        "WSGI_SESSIONS_EXCLUSIVE_PATHS",
        kinds.PATH_PATTERNS,
        "requests on these paths run one at a time per session",
        (),
    )
    exclusive_wait: float = setting(
        "WSGI_SESSIONS_EXCLUSIVE_WAIT",
        kinds.duration(0.01, 5 * MINUTE, "5 (seconds), 500ms or 1m"),
        "how long a request waits for a session that another one holds, before the answer is 503",
        5.0,
    )
    exclusive_waiters: int = setting(
        "WSGI_SESSIONS_EXCLUSIVE_WAITERS",
        kinds.whole_number(0, 10**6),
        "how many requests of a process wait for one session at a time; more are refused at once",
        2,
    )
    busy_status: BusyStatus = setting(
        "WSGI_SESSIONS_BUSY_STATUS",
        kinds.choice(get_args(BusyStatus)),
        "the answer to a request that finds too many others waiting for its session",
        "503",
    )
    on_conflict: OnConflict = setting(
        "WSGI_SESSIONS_ON_CONFLICT",
        kinds.choice(get_args(OnConflict)),
        "when two requests changed the same key: the last wins (and is reported), or answer 409",
        "last-wins",
    )
    timeout: float = setting(
        "WSGI_SESSIONS_TIMEOUT",
        kinds.duration(0.01, MINUTE, "1 (second), 500ms or 2s"),
        "how long a store call may take in all, before the answer is 503",
        1.0,
    )
    max_size: int = setting(
        "WSGI_SESSIONS_MAX_SIZE",
        kinds.size(KIB, 64 * MIB),
        "what one session may take in the store",
        MIB,
    )
    max_sessions: int | None = setting(
        "WSGI_SESSIONS_MAX_SESSIONS",
        kinds.or_off(kinds.whole_number(1, 10**12)),
        "with more sessions than this, expired ones are swept at once; live ones are never evicted",
        None,
    )
    sweep_interval: float | None = setting(
        "WSGI_SESSIONS_SWEEP_INTERVAL",
        kinds.or_off(kinds.duration(1, 7 * DAY, "600 (seconds), 10m or 1h")),
        "how often one worker removes expired sessions and leftovers",
        float(10 * MINUTE),
    )
    refresh: str | None = setting(
        "WSGI_SESSIONS_REFRESH",
        kinds.or_off(kinds.HOOK),
        "refreshes sessions that are kept alive, in the background, while no request uses them",
        None,
    )
    refresh_interval: float = setting(
        "WSGI_SESSIONS_REFRESH_INTERVAL",
        kinds.duration(1, 7 * DAY, "60 (seconds), 90s or 10m"),
        "how often a session is refreshed",
        60.0,
    )
    refresh_in: RefreshIn = setting(
        "WSGI_SESSIONS_REFRESH_IN",
        kinds.choice(get_args(RefreshIn)),
        "where: in each worker, or in a process of its own ('wsgi-sessions refresh')",
        "workers",
    )
    lease_ttl: float = setting(
        "WSGI_SESSIONS_LEASE_TTL",
        kinds.duration(1, HOUR, "30 (seconds), 45s or 1m"),
        "how long a request that died keeps the refresher away from its session",
        30.0,
    )
    version: VersionConfig = group(VersionConfig, **VERSION_SETTINGS)
    login_url: str | None = setting(
        "WSGI_SESSIONS_LOGIN_URL",
        LOGIN_URL,
        "where a user logs in whose session could not be made anew; not set: such a one gets 401",
        None,
    )
    context: ContextConfig = group(ContextConfig, **CONTEXT_SETTINGS)
    import_from: str | None = filled_by(imports.FROM)
    import_until: date | None = filled_by(imports.UNTIL)
    import_secret_keys: tuple[str, ...] = filled_by(imports.SECRET_KEYS)
    health_path: str | None = setting(
        "WSGI_SESSIONS_HEALTH_PATH",
        kinds.or_off(kinds.PATH),
        "answers whether the session store is fit to serve",
        "/health/session",
    )
    liveness_path: str | None = setting(
        "WSGI_SESSIONS_LIVENESS_PATH",
        kinds.or_off(kinds.PATH),
        "answers that this worker serves requests, and never asks the store",
        "/health/live",
    )
    health_timeout: float = setting(
        "WSGI_SESSIONS_HEALTH_TIMEOUT",
        kinds.duration(0.01, MINUTE, "2 (seconds), 500ms or 5s"),
        "how long the store may take before it is held to be unhealthy",
        2.0,
    )
    choice_folder: str | None = setting(
        "WSGI_SESSIONS_CHOICE_FOLDER",
        kinds.FOLDER,
        "where the processes of this user agree on one of several stores",
        None,
        default_text="`wsgi_sessions-UID` in the system's folder for temporary files",
    )
    confirming_keys: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sources", MappingProxyType(dict(self.sources)))
        faults = _lifetime_faults(self.idle_lifetime, self.absolute_lifetime, self.sources)
        if self.migrate_from in self.urls:
            faults.append(
                "WSGI_SESSIONS_MIGRATE_FROM and WSGI_SESSIONS_URL name the same store: unset the "
                "first, or name the store that was used before"
            )
        _raise_all(faults + imports.faults_of(self.import_from, self.import_until))

    @property
    def urls(self) -> tuple[str, ...]:
        """Each URL of `url`, in order of priority."""
        return kinds.separate(self.url)

    def __repr__(self) -> str:
        shown = (f"{path}={shown_value(self, path)!r}" for path in SETTINGS)
        return f"Config({', '.join(shown)})"

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Config:
        """The configuration in a mapping. Nothing else is read but a file of secrets it names.

        Raises one `ConfigurationError` for all that is wrong. Warns in the log of a variable that
        begins like this project's own and is none.
        """
        _warn_of_unknown(environ)
        values: dict[str, Any] = {}
        sources: dict[str, str] = {}
        faults: list[str] = []
        for name, part in PARTS.items():
            try:
                values[name] = _read_part(part, environ, sources)
            except ConfigurationError as error:
                faults += str(error).splitlines()
        if values.keys() >= {"idle_lifetime", "absolute_lifetime"}:
            faults += _lifetime_faults(
                values["idle_lifetime"], values["absolute_lifetime"], sources
            )
        if values.keys() >= {"import_from", "import_until"}:
            faults += imports.faults_of(values["import_from"], values["import_until"])
        _raise_all(faults)
        return cls(**values, sources=sources)


PARTS: Mapping[str, Part] = MappingProxyType(
    {f.name: f.metadata[PART] for f in fields(Config) if PART in f.metadata}
)
"""What fills each field of `Config`."""
SETTINGS: Mapping[str, Setting[Any]] = MappingProxyType(
    {path: declared for name, part in PARTS.items() for path, declared in part.paths(name).items()}
)
"""Every setting, by the dotted attribute of `Config` that it fills."""


def shown_value(config: Config, path: str) -> str:
    """The text of a value, without secrets."""
    return SETTINGS[path].kind.show(attrgetter(path)(config))


def _read_part(part: Part, environ: Mapping[str, str], sources: dict[str, str]) -> Any:
    values: dict[str, Any] = {}
    faults: list[str] = []
    for member, declared in part.settings.items():
        try:
            values[member], sources[declared.env] = declared.read(environ)
        except ConfigurationError as error:
            faults.append(str(error))
    if faults:
        raise ConfigurationError("\n".join(faults))
    return part.factory(**values) if part.factory else values[""]


def _lifetime_faults(idle: float, absolute: float, sources: Mapping[str, str]) -> list[str]:
    if absolute >= idle:
        return []
    names = ("WSGI_SESSIONS_ABSOLUTE_LIFETIME", "WSGI_SESSIONS_IDLE_LIFETIME")
    whole, idling = (
        f"{kinds.show_duration(seconds)} ({sources.get(name, 'argument')})"
        for name, seconds in zip(names, (absolute, idle), strict=True)
    )
    return [f"{names[0]}={whole}: must not be shorter than the idle lifetime, {idling}"]


def _raise_all(faults: list[str]) -> None:
    if len(faults) == 1:
        raise ConfigurationError(faults[0])
    if faults:
        lines = "\n".join(f"- {fault}" for fault in faults)
        raise ConfigurationError(f"{len(faults)} settings are wrong:\n{lines}")


def unknown_variables(environ: Iterable[str]) -> dict[str, str]:
    """The variables that begin like this project's own and are none, each with what to do."""
    known = [name for declared in SETTINGS.values() for name in declared.variables()]
    found = {}
    for name in environ:
        if name.upper().startswith(_PREFIX) and name not in known:
            meant = nearest(name, known)
            hint = f"did you mean {meant}?" if meant else "see 'wsgi-sessions config'"
            found[ascii(name)[1:-1]] = hint
    return found


def _warn_of_unknown(environ: Iterable[str]) -> None:
    for name, hint in unknown_variables(environ).items():
        logger.warning("%s is no setting and is ignored: %s", name, hint)
