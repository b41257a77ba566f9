"""Opens the importer at a URL: ``library+where://…?options``."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qsl, unquote, urlencode

from wsgi_sessions import texts
from wsgi_sessions.clock import wall_clock
from wsgi_sessions.errors import ConfigurationError
from wsgi_sessions.http.cookies.session_cookie import RULES, CookiePolicy
from wsgi_sessions.importers.base import Importer
from wsgi_sessions.importers.beaker_records import open_beaker_records
from wsgi_sessions.importers.cookie_records import CookieRecords
from wsgi_sessions.importers.file_records import HASHES, open_file_records
from wsgi_sessions.importers.libraries import (
    beaker,
    django,
    flask_cookie,
    flask_session,
    pyramid_cookie,
    pyramid_redis,
)
from wsgi_sessions.settings.kinds import DAY, duration

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Mapping, Sequence

    from wsgi_sessions.importers.base import ForeignRecords

_REDIS = (
    *("redis", "redis+sentinel", "redis+cluster"),
    *("rediss", "rediss+sentinel", "rediss+cluster"),
    "unix",
)
_SQL = ("postgresql", "postgres", "sqlite", "mysql", "mariadb")
_CACHE_PREFIX = ":1:django.contrib.sessions.cache"
_BEAKER_PREFIX, _BEAKER_SUFFIX = "beaker_cache:", ":session"
_DURATION = duration(1, 400 * DAY, "31d")


@texts.shows("idle", "timeout")
class ImportOptions(NamedTuple):
    """Options for every library. `secrets`: those of the application that wrote the sessions.
    `idle`: the lifetime of permanent sessions, in seconds. `unpickle` reads pickles, only in the
    offline command."""

    secrets: Sequence[bytes] = ()
    idle: float = float(DAY)
    timeout: float = 1.0
    clock: Callable[[], float] = wall_clock
    unpickle: Callable[[bytes], object] | None = None


@texts.shows()
class _Source(NamedTuple):
    """The parts of a URL: those of this module, and the rest."""

    where: str
    rest: str
    url: str
    options: Mapping[str, str]

    def switch(self, name: str) -> bool:
        value = self.options.get(name, "off")
        if value not in ("on", "off"):
            raise _fault(f"{name} must be on or off")
        return value == "on"


def open_importer(url: str, options: ImportOptions) -> Importer:
    """Return the importer at a URL. Servers are not contacted before the first use.

    ``flask-session+redis://host/0``, ``flask-session+file:///folder``,
    ``flask-session+postgresql://host/database`` (options ``cookie``, ``prefix``, ``signer``,
    ``hash``, ``table``), ``django+postgresql://host/database``,
    ``django+sqlite:////file`` (``cookie``, ``table``, ``browser_close``), ``django+redis://host/1``
    (``cookie``, ``prefix``, ``browser_close``), ``flask-cookie://`` (``cookie``, ``max_age``),
    ``pyramid-cookie://`` (``cookie``, ``lasting``, ``max_age``),
    ``pyramid-session-redis+redis://host/0`` (``cookie``, ``lasting``), ``beaker+file:///folder``,
    ``beaker+redis://host/0`` (``cookie``, ``lasting``, ``timeout``). In place of ``redis``, all
    schemes of a Redis store are accepted.

    Raises ConfigurationError, without passwords in the message.
    """
    library = library_of(url)
    if library not in _LIBRARIES:
        known = ", ".join(_LIBRARIES)
        raise _fault(f"unknown library {library[:40]!a}: a URL begins with one of {known}")
    plan = _LIBRARIES[library]
    source = _taken_apart(url, plan.options)
    cookie = source.options.get("cookie", plan.cookie)
    if not RULES["name"].pattern.fullmatch(cookie):
        raise _fault(f"cookie must be {RULES['name'].allowed}")
    return plan.open(source, CookiePolicy(name=cookie), options)


def library_of(url: str) -> str:
    """Return the library that a URL names."""
    return url.partition("://")[0].partition("+")[0]


# -- libraries -------------------------------------------------------------------------------------


def _open_flask_session(source: _Source, cookie: CookiePolicy, options: ImportOptions) -> Importer:
    prefix = source.options.get("prefix", "session:")
    verify: Callable[[str], str | None] = flask_session.plain_name
    if source.switch("signer"):
        verify = flask_session.signed_name(_required(options.secrets))
    records: ForeignRecords
    if source.where == "file":
        algorithm = source.options.get("hash", "sha256")
        if algorithm not in HASHES:
            raise _fault("hash must be sha256 or md5, as in cachelib's file names")
        verify = flask_session.file_name(verify, prefix, algorithm)
        records = _files(source, options)
    elif source.where.partition("+")[0] in _SQL:
        table = source.options.get("table", "sessions")
        columns = ("session_id", "data", "expiry")
        records = _table(source, (table, *columns, prefix), options)
    else:
        records = _redis(source, prefix, flask_session.NAME, options)
    read = flask_session.reader(options.idle, options.unpickle)
    return Importer(flask_session.KIND, cookie, verify, records, read)


def _open_django(source: _Source, cookie: CookiePolicy, options: ImportOptions) -> Importer:
    default = None if source.switch("browser_close") else options.idle
    lifetime = django.lifetime(options.idle, options.clock, default)
    records: ForeignRecords
    if source.where.partition("+")[0] in _SQL:
        table = source.options.get("table", "django_session")
        columns = ("session_key", "session_data", "expire_date")
        records = _table(source, (table, *columns, ""), options)
        read = django.database_reader(_required(options.secrets), lifetime)
    else:
        records = _redis(source, source.options.get("prefix", _CACHE_PREFIX), django.NAME, options)
        read = django.cache_reader(lifetime, options.unpickle)
    return Importer(django.KIND, cookie, django.plain_name, records, read)


def _open_flask_cookie(source: _Source, cookie: CookiePolicy, options: ImportOptions) -> Importer:
    if source.rest:
        raise _fault("Flask's own sessions are not on a server: write flask-cookie://")
    max_age = _seconds(source, "max_age", 31 * DAY)
    verify = flask_cookie.signed_part(_required(options.secrets), max_age, options.clock)
    records = CookieRecords("Flask", flask_cookie.payload)
    read = flask_cookie.reader(options.idle)
    return Importer(flask_cookie.KIND, cookie, verify, records, read, memory=max_age)


def _open_pyramid_cookie(source: _Source, cookie: CookiePolicy, options: ImportOptions) -> Importer:
    if source.rest:
        raise _fault("Pyramid's own sessions are not on a server: write pyramid-cookie://")
    max_age = _seconds(source, "max_age", 20 * 60)
    secrets = _required(options.secrets)
    verify = pyramid_cookie.signed_content(secrets, max_age, options.clock)
    records = CookieRecords("Pyramid", pyramid_cookie.payload)
    read = pyramid_cookie.reader(_lasting(source, options))
    return Importer(pyramid_cookie.KIND, cookie, verify, records, read, memory=max_age)


def _open_pyramid(source: _Source, cookie: CookiePolicy, options: ImportOptions) -> Importer:
    verify = pyramid_redis.signed_name(_required(options.secrets))
    records = _redis(source, "", pyramid_redis.NAME, options)
    read = pyramid_redis.reader(_lasting(source, options), options.clock, options.unpickle)
    return Importer(pyramid_redis.KIND, cookie, verify, records, read)


def _open_beaker(source: _Source, cookie: CookiePolicy, options: ImportOptions) -> Importer:
    verify = beaker.signed_name(_required(options.secrets))
    records: ForeignRecords
    if source.where == "file":
        timeout = _seconds(source, "timeout", options.idle)
        records = open_beaker_records(_folder(source), timeout, options.clock)
    else:
        records = _redis(source, _BEAKER_PREFIX, beaker.NAME, options, _BEAKER_SUFFIX)
    read = beaker.reader(_lasting(source, options), options.unpickle)
    return Importer(beaker.KIND, cookie, verify, records, read)


def _lasting(source: _Source, options: ImportOptions) -> float | None:
    """Return the lifetime of the cookies of sessions that outlive the browser, or None."""
    return options.idle if source.switch("lasting") else None


class _Plan(NamedTuple):
    open: Callable[[_Source, CookiePolicy, ImportOptions], Importer]
    cookie: str
    options: tuple[str, ...]


_LIBRARIES: Mapping[str, _Plan] = MappingProxyType(
    {
        flask_session.KIND: _Plan(
            _open_flask_session, "session", ("cookie", "prefix", "signer", "hash", "table")
        ),
        django.KIND: _Plan(
            _open_django, "sessionid", ("cookie", "prefix", "table", "browser_close")
        ),
        flask_cookie.KIND: _Plan(_open_flask_cookie, "session", ("cookie", "max_age")),
        pyramid_cookie.KIND: _Plan(
            _open_pyramid_cookie, "session", ("cookie", "lasting", "max_age")
        ),
        pyramid_redis.KIND: _Plan(_open_pyramid, "session", ("cookie", "lasting")),
        beaker.KIND: _Plan(_open_beaker, "beaker.session.id", ("cookie", "lasting", "timeout")),
    }
)


# -- places ----------------------------------------------------------------------------------------


def _redis(
    source: _Source,
    prefix: str,
    names: re.Pattern[str],
    options: ImportOptions,
    suffix: str = "",
) -> ForeignRecords:
    if source.where not in _REDIS:
        raise _fault(f"no sessions can be read from {source.where[:40]!a}")
    from wsgi_sessions.importers.redis_records import (
        open_redis_records,
    )  # imported on use: needs a driver

    return open_redis_records(
        source.url, prefix=prefix, pattern=names, timeout=options.timeout, suffix=suffix
    )


def _table(
    source: _Source, names: tuple[str, str, str, str, str], options: ImportOptions
) -> ForeignRecords:
    """Return the records of a table; `names` are those of a `ForeignTable`."""
    # Imported on use: needs a driver.
    from wsgi_sessions.importers.sql_records import ForeignTable, open_sql_records

    place = ForeignTable(*names)
    return open_sql_records(source.url, place=place, timeout=options.timeout, clock=options.clock)


def _files(source: _Source, options: ImportOptions) -> ForeignRecords:
    return open_file_records(_folder(source), options.clock)


def _folder(source: _Source) -> str:
    path = unquote(source.rest)
    if not path.startswith("/") or "\0" in path:
        raise _fault("a folder is named by an absolute path: flask-session+file:///srv/sessions")
    return path


def _seconds(source: _Source, name: str, default: float) -> float:
    try:
        return _DURATION.parse(source.options[name]) if name in source.options else default
    except ValueError:
        raise _fault(f"{name} must be {_DURATION.allowed}") from None


def _required(secrets: Sequence[bytes]) -> Sequence[bytes]:
    if not secrets:
        raise ConfigurationError(
            "`imports.secret_keys` is not set: importing signed sessions needs the SECRET_KEY of "
            "the application that signed them"
        )
    return secrets


def _taken_apart(url: str, own: Sequence[str]) -> _Source:
    base, _, query = url.partition("?")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise _fault("the part after '?' must be name=value pairs joined by '&'") from None
    options = {name: value for name, value in pairs if name in own}
    others = [(name, value) for name, value in pairs if name not in own]
    if len(options) + len(others) < len(pairs):
        raise _fault("an option is given twice")
    scheme, _, rest = base.partition("://")
    where = scheme.partition("+")[2]
    inner = f"{where}://{rest}" + (f"?{urlencode(others)}" if others else "")
    return _Source(where, rest, inner, options)


def _fault(what: str) -> ConfigurationError:
    return ConfigurationError(f"`imports.source`: {what}")
