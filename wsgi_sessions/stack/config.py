"""The configuration: one frozen value, read from a mapping such as `os.environ`.

Each setting is declared once. Parsing, errors, the table in the documentation and ``wsgi-sessions
config`` (`wsgi_sessions.stack.config_help`) are made from that declaration. To add a setting,
declare it in the settings of its feature; or declare it in `wsgi_sessions.stack.declared`, and its
field in `Config`.
"""

# ruff: noqa: RUF009 - `setting` and `group` return a dataclasses.field, which is what belongs there

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from operator import attrgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, get_args

from wsgi_sessions.contexts.settings import ContextConfig
from wsgi_sessions.errors import ConfigurationError
from wsgi_sessions.health.settings import HealthConfig
from wsgi_sessions.http.cookies.session_cookie import (
    RULES,
    CookiePolicy,
    SameSite,
    Secure,
)
from wsgi_sessions.importers.settings import ImportConfig
from wsgi_sessions.metrics.settings import MetricsConfig
from wsgi_sessions.refresh.settings import RefreshConfig
from wsgi_sessions.settings import kinds
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
from wsgi_sessions.stack.declared import familiar, identity, limits, requests, store
from wsgi_sessions.versions.settings import VersionConfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from wsgi_sessions.core.commit.loop import OnConflict
    from wsgi_sessions.settings.kinds import Kind
    from wsgi_sessions.stack.declared.requests import BusyStatus, MergePairs
    from wsgi_sessions.stores.file.disk.system import Fsync
    from wsgi_sessions.stores.urls import SqlSchema

# Not after a quote: a quote begins a value from the outside.
_ATTRIBUTE = re.compile(r"(?<!['\"])`([a-z_]+(?:\.[a-z_]+)?)(=[^`\s]+)?`")
_SPELLED = MappingProxyType({"=True": "=on", "=False": "=off"})
_PREFIX = re.compile(r"WSGI_?SESSION", re.IGNORECASE)
NAME_OF_COOKIE = "the name of the cookie; `__Host-session` keeps other hosts from setting one"


def variable(attribute: str) -> str:
    """Return the environment variable of a `CookiePolicy` attribute."""
    return f"WSGI_SESSIONS_COOKIE_{attribute.upper()}"


def _cookie(attribute: str, kind: Kind[Any], about: str) -> Setting[Any]:
    return Setting(variable(attribute), kind, about, getattr(CookiePolicy(), attribute))


@dataclass(frozen=True, repr=False)
class Config:
    """Every setting. Times are in seconds, sizes in bytes.

    `sources` maps the variable of each setting to the origin of its value: the name of a variable,
    or ``default``. `remarks` are sentences about values that may be unintended. Neither `repr` nor
    an error shows a secret or the credentials in a URL.

    `url` is one URL, or several in order of priority, separated by blanks. Only adapters set
    `confirming_keys` and `login_cookies`: see `IdentityRules` and `SessionMiddleware`; so does
    `signs_ids`: False where the framework's cookie holds the id as it is.

    Raises `ConfigurationError`.
    """

    url: str = field(metadata={PART: Part({"": store.URL})})
    secret_keys: tuple[str, ...] = setting(
        "WSGI_SESSIONS_SECRET_KEYS",
        kinds.SECRETS,
        "secrets that sign the cookie: the newest signs, all verify; or name a file with them",
        (),
        file=SecretFile("WSGI_SESSIONS_SECRET_KEYS_FILE", kinds.SECRET_LINES),
        fallbacks=(Fallback("SECRET_KEY", kinds.ONE_SECRET),),
        default_text="made and kept by the file store; required by all others",
    )
    idle_lifetime: float = filled_by(limits.IDLE_LIFETIME)
    absolute_lifetime: float | None = filled_by(limits.ABSOLUTE_LIFETIME)
    cookie: CookiePolicy = group(
        CookiePolicy,
        name=_cookie("name", kinds.matching(*RULES["name"]), NAME_OF_COOKIE),
        secure=_cookie(
            "secure", kinds.choice(get_args(Secure)), "whether it has Secure; auto: on https"
        ),
        samesite=_cookie(
            "samesite", kinds.choice(get_args(SameSite)), "its SameSite; None needs Secure always"
        ),
        domain=_cookie(
            "domain", kinds.matching(*RULES["domain"]), "its Domain; not set: this host only"
        ),
        path=_cookie("path", kinds.matching(*RULES["path"]), "its Path"),
        partitioned=_cookie(
            "partitioned", kinds.SWITCH, "whether it is Partitioned (CHIPS); needs Secure always"
        ),
    )
    early_cookie: bool = filled_by(requests.EARLY_COOKIE)
    label_devices: bool = filled_by(requests.LABEL_DEVICES)
    retry_token_header: str | None = filled_by(requests.RETRY_TOKEN_HEADER)
    principal_key: str | None = filled_by(identity.PRINCIPAL_KEY)
    privilege_keys: tuple[str, ...] = filled_by(identity.PRIVILEGE_KEYS)
    login_keys: tuple[str, ...] | None = filled_by(identity.LOGIN_KEYS)
    login_drops: tuple[str, ...] | None = filled_by(identity.LOGIN_DROPS)
    migrate_from: str | None = filled_by(store.MIGRATE_FROM)
    key_prefix: str = filled_by(store.KEY_PREFIX)
    fsync: Fsync = filled_by(store.FSYNC)
    folder_group: str | None = filled_by(store.FOLDER_GROUP)
    sql_schema: SqlSchema = filled_by(store.SQL_SCHEMA)
    exclusive_paths: tuple[str, ...] = filled_by(requests.EXCLUSIVE_PATHS)
    exclusive_wait: float = filled_by(requests.EXCLUSIVE_WAIT)
    exclusive_waiters: int = filled_by(requests.EXCLUSIVE_WAITERS)
    busy_status: BusyStatus = filled_by(requests.BUSY_STATUS)
    on_unavailable: str | None = filled_by(requests.ON_UNAVAILABLE)
    on_conflict: OnConflict = filled_by(requests.ON_CONFLICT)
    retry_paths: tuple[str, ...] = filled_by(requests.RETRY_PATHS)
    retry_max_body: int = filled_by(requests.RETRY_MAX_BODY)
    merge: MergePairs = filled_by(requests.MERGE)
    timeout: float = filled_by(store.TIMEOUT)
    max_size: int = filled_by(limits.MAX_SIZE)
    anonymous_max_size: int = filled_by(limits.ANONYMOUS_MAX_SIZE)
    anonymous_idle_lifetime: float | None = filled_by(limits.ANONYMOUS_IDLE_LIFETIME)
    max_sessions: int | None = filled_by(limits.MAX_SESSIONS)
    sweep_interval: float | None = filled_by(limits.SWEEP_INTERVAL)
    endings_kept: float = filled_by(limits.ENDINGS_KEPT)
    refresh: RefreshConfig = group(RefreshConfig)
    version: VersionConfig = group(VersionConfig)
    context: ContextConfig = group(ContextConfig)
    imports: ImportConfig = group(ImportConfig)
    health: HealthConfig = group(HealthConfig)
    metrics: MetricsConfig = group(MetricsConfig)
    choice_folder: str | None = filled_by(store.CHOICE_FOLDER)
    application: str | None = filled_by(store.APPLICATION_NAME)
    confirming_keys: tuple[str, ...] = ()
    login_cookies: tuple[str, ...] = ()
    signs_ids: bool = True
    sources: Mapping[str, str] = field(default_factory=dict, compare=False)
    remarks: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sources", MappingProxyType(dict(self.sources)))
        faults = _lifetime_faults(self.idle_lifetime, self.absolute_lifetime, self.sources)
        if self.migrate_from in self.urls:
            faults.append(
                "WSGI_SESSIONS_MIGRATE_FROM and WSGI_SESSIONS_URL name the same store: unset the "
                "first, or set it to the previous store"
            )
        _raise_all(faults)

    @property
    def has_derived_name(self) -> bool:
        """Whether the application's name was derived from its code."""
        return self.sources.get(store.APPLICATION, "").startswith(store.DERIVED)

    @property
    def store_prefix(self) -> str:
        """The prefix of the application's own keys in a shared store."""
        return f"{self.key_prefix}@{self.application}:" if self.application else self.key_prefix

    @property
    def urls(self) -> tuple[str, ...]:
        """The URLs in `url`, in order of priority."""
        return kinds.separate(self.url)

    def __repr__(self) -> str:
        shown = (f"{path}={shown_value(self, path)!r}" for path in SETTINGS)
        return f"Config({', '.join(shown)})"

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Config:
        """Return the configuration in a mapping. Nothing else is read, except secret files it
        names.

        Raises one `ConfigurationError` for all faults. An unknown variable with this project's
        prefix becomes a remark.
        """
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
        _raise_all(faults)
        remarks = (*_unknown(environ), *familiar.remarks_on(environ, sources[store.URL.env]))
        return cls(**values, sources=sources, remarks=remarks)


PARTS: Mapping[str, Part] = MappingProxyType(
    {f.name: f.metadata[PART] for f in fields(Config) if PART in f.metadata}
)
"""The source of each field of `Config`."""
SETTINGS: Mapping[str, Setting[Any]] = MappingProxyType(
    {path: declared for name, part in PARTS.items() for path, declared in part.paths(name).items()}
)
"""All settings, keyed by the dotted attribute of `Config` that they fill."""


def shown_value(config: Config, path: str) -> str:
    """Return the text of a value, without secrets."""
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
    if part.factory is None:
        return values[""]
    try:
        return part.factory(**values)
    except ConfigurationError as error:
        raise ConfigurationError(with_variables(str(error))) from None


def with_variables(text: str) -> str:
    """Return a message with the variable of each setting in place of its attribute.

    The packages below know no variables: their messages name an attribute of `Config` in backticks,
    as in "raise `max_size`" or "set `cookie.secure=always`". Other words in backticks stay.
    """
    return _ATTRIBUTE.sub(_as_variable, text)


def _as_variable(named: re.Match[str]) -> str:
    declared = SETTINGS.get(named[1])
    if declared is None:
        return named[0]
    return declared.env + _SPELLED.get(named[2] or "", named[2] or "")


@contextmanager
def naming_variables() -> Iterator[None]:
    """Put variables in place of attributes in the errors of a block: see `with_variables`."""
    try:
        yield
    except ConfigurationError as error:
        text = with_variables(str(error))
        if text == str(error):
            raise
        raise ConfigurationError(text) from error.__cause__


def _lifetime_faults(idle: float, absolute: float | None, sources: Mapping[str, str]) -> list[str]:
    if absolute is None or absolute >= idle:
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


def _unknown(environ: Iterable[str]) -> Iterator[str]:
    """Yield a sentence for each unknown variable with this project's prefix."""
    known = [name for declared in SETTINGS.values() for name in declared.variables()]
    for name in environ:
        if _PREFIX.match(name) and name not in known:
            meant = nearest(name, known)
            hint = f"did you mean {meant}?" if meant else "see 'wsgi-sessions config'"
            yield f"unknown setting {ascii(name)[1:-1]} ignored: {hint}"
