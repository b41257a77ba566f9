"""The configuration: what the environment may say, and what is said of it."""

from __future__ import annotations

import string
from dataclasses import FrozenInstanceError
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgi_sessions.contexts.settings import ContextConfig
from wsgi_sessions.errors import ConfigurationError
from wsgi_sessions.health.settings import HealthConfig
from wsgi_sessions.http.cookies.session_cookie import CookiePolicy
from wsgi_sessions.importers.settings import ImportConfig
from wsgi_sessions.metrics.settings import MetricsConfig
from wsgi_sessions.refresh.settings import RefreshConfig
from wsgi_sessions.settings.kinds import duration, hide_credentials, show_duration, show_size, size
from wsgi_sessions.stack.config import SETTINGS, Config
from wsgi_sessions.stack.config_help import Row, describe, settings_as_markdown
from wsgi_sessions.versions.settings import VersionConfig

if TYPE_CHECKING:
    from pathlib import Path

OLD, NEW = "old-secret-" + "o" * 32, "new-secret-" + "n" * 32
HOME = {"HOME": "/home/ada"}
ENV = "WSGI_SESSIONS_"
# By their attributes, what the variables of a group end in where they are not called after it.
IN_A_GROUP = {
    "refresh.hook": "REFRESH",
    "refresh.where": "REFRESH_IN",
    "refresh.lease_ttl": "LEASE_TTL",
    "version.login_url": "LOGIN_URL",
    "imports.source": "IMPORT_FROM",
    "imports.until": "IMPORT_UNTIL",
    "imports.secret_keys": "IMPORT_SECRET_KEYS",
    "health.liveness_path": "LIVENESS_PATH",
}


def read(**variables: str) -> Config:
    """The configuration of these variables; a name in lower case gets this project's prefix."""
    named = {(ENV + k.upper() if k.islower() else k): v for k, v in variables.items()}
    return Config.from_environ({**HOME, **named})


def refused(**variables: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read(**variables)
    return str(caught.value)


# -- defaults and sources --------------------------------------------------------------------------


def test_the_defaults() -> None:
    config = read()
    assert config == Config(url="file:///home/ada/.local/state/wsgi_sessions")
    assert config.secret_keys == ()
    assert config.idle_lifetime == 24 * 3600
    assert config.absolute_lifetime == 30 * 24 * 3600
    assert config.cookie == CookiePolicy()
    assert config.principal_key is None
    assert config.key_prefix == "session:"
    assert config.fsync == "none"
    assert config.exclusive_paths == ()
    assert config.on_conflict == "last-wins"
    assert config.timeout == 1
    assert config.max_size == 1024**2
    assert config.max_sessions is None
    assert config.sweep_interval == 600
    assert config.refresh == RefreshConfig(None, 60, "workers", 30)
    assert config.version == VersionConfig()
    assert not config.version.is_on
    assert config.version.login_url is None
    assert config.imports == ImportConfig(None, None, ())
    assert config.context == ContextConfig()
    assert config.health == HealthConfig("/health/session", "/health/live", 2, "local", None)
    assert set(config.sources.values()) == {"default"}


def test_every_setting_is_read() -> None:
    config = read(
        url="redis://localhost/1",
        secret_keys=f"{OLD},{NEW}",
        idle_lifetime="30m",
        absolute_lifetime="8h",
        cookie_name="__Secure-s",
        cookie_secure="always",
        cookie_samesite="none",
        cookie_domain="example.org",
        cookie_path="/app",
        cookie_partitioned="on",
        early_cookie="on",
        label_devices="on",
        retry_token_header="Idempotency-Key",
        application="shop",
        principal_key="user_id",
        privilege_keys="role, is_admin",
        login_keys="username,uid",
        login_drops="csrf",
        migrate_from="file:///srv/sessions",
        key_prefix="shop:",
        fsync="data",
        folder_group="www-data",
        sql_schema="create",
        exclusive_paths="/cart, /api/*",
        exclusive_wait="250ms",
        exclusive_waiters="5",
        busy_status="429",
        on_unavailable="app.pages:outage",
        on_conflict="raise",
        retry_paths="/orders/*",
        retry_max_body="1m",
        merge="visits:sum, log.*:append, basket:shop.merging:both",
        timeout="500ms",
        max_size="64k",
        anonymous_max_size="8k",
        anonymous_idle_lifetime="10m",
        max_sessions="1000",
        sweep_interval="off",
        endings_kept="12h",
        refresh="shop.feeds:renew",
        refresh_interval="5m",
        refresh_in="process",
        lease_ttl="10s",
        version_scopes="global, league:{league_id}",
        version_rights="user:{principal}",
        version_grace="0",
        version_required="id,email",
        version_refresh="app.hooks:renew",
        version_validate="app.hooks:exists",
        version_url="postgresql+psycopg://user:word@db/league",
        version_table="public.system_settings",
        version_max_age="0",
        login_url="/login?lang=de",
        context_key="deal, fund",
        context_permission="app.hooks:may_open,app.hooks:Fund.may_open",
        context_enabled="off",
        context_remember="selected",
        context_tenancy="on",
        context_tenant="app:in_tenant",
        context_load="app:load",
        context_store="app:store",
        context_audit="on",
        import_from="flask-session+redis://user:word@old/0?prefix=s:",
        import_until="2030-12-31",
        import_secret_keys="old key, short",
        health_path="/api/health/session",
        liveness_path="off",
        health_timeout="500ms",
        health_details="token",
        health_token="t" * 32,
        metrics_path="/api/metrics",
        metrics_readers="token",
        choice_folder="/run/shop",
    )
    assert config == Config(
        url="redis://localhost/1",
        secret_keys=(OLD, NEW),
        idle_lifetime=1800,
        absolute_lifetime=8 * 3600,
        cookie=CookiePolicy("__Secure-s", "always", "None", "example.org", "/app", True),
        early_cookie=True,
        label_devices=True,
        retry_token_header="Idempotency-Key",
        application="shop",
        principal_key="user_id",
        privilege_keys=("role", "is_admin"),
        login_keys=("username", "uid"),
        login_drops=("csrf",),
        migrate_from="file:///srv/sessions",
        key_prefix="shop:",
        fsync="data",
        folder_group="www-data",
        sql_schema="create",
        exclusive_paths=("/cart", "/api/*"),
        exclusive_wait=0.25,
        exclusive_waiters=5,
        busy_status="429",
        on_unavailable="app.pages:outage",
        on_conflict="raise",
        retry_paths=("/orders/*",),
        retry_max_body=1024 * 1024,
        merge=(("visits", "sum"), ("log.*", "append"), ("basket", "shop.merging:both")),
        timeout=0.5,
        max_size=65536,
        anonymous_max_size=8192,
        anonymous_idle_lifetime=600,
        max_sessions=1000,
        sweep_interval=None,
        endings_kept=12 * 3600.0,
        refresh=RefreshConfig("shop.feeds:renew", 300, "process", 10),
        version=VersionConfig(
            scopes=("global", "league:{league_id}"),
            rights=("user:{principal}",),
            grace=0,
            required=("id", "email"),
            refresh="app.hooks:renew",
            validate="app.hooks:exists",
            url="postgresql+psycopg://user:word@db/league",
            table="public.system_settings",
            max_age=0,
            login_url="/login?lang=de",
        ),
        context=ContextConfig(
            key=("deal", "fund"),
            permission=("app.hooks:may_open", "app.hooks:Fund.may_open"),
            enabled=False,
            remember="selected",
            tenancy=True,
            tenant="app:in_tenant",
            load="app:load",
            store="app:store",
            audit=True,
        ),
        imports=ImportConfig(
            "flask-session+redis://user:word@old/0?prefix=s:",
            date(2030, 12, 31),
            ("old key, short",),
        ),
        health=HealthConfig("/api/health/session", None, 0.5, "token", "t" * 32),
        metrics=MetricsConfig("/api/metrics", "token"),
        choice_folder="/run/shop",
    )
    assert config.sources == {setting.env: setting.env for setting in SETTINGS.values()}


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"version_scopes": "a,,b"}, "WSGI_SESSIONS_VERSION_SCOPES='a,,b'"),
        ({"version_scopes": "a b"}, "such as global"),
        ({"version_refresh": "app.renew"}, "package.module:function"),
        ({"version_table": "x;y"}, "plain table name"),
        ({"version_table": "a.b.c"}, "plain table name"),
        ({"version_max_age": "2h"}, "0: always ask"),
        ({"version_url": "nowhere"}, "WSGI_SESSIONS_VERSION_URL"),
        ({"login_url": "login"}, "/login"),
        ({"login_url": "//evil.example"}, "/login"),
        ({"login_url": "/\\evil.example"}, "/login"),
        ({"login_url": "/a#b"}, "/login"),
    ],
)
def test_what_versions_cannot_be(variables: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(**variables)
    assert words in str(caught.value)


def test_the_credentials_of_the_stamps_are_hidden() -> None:
    config = read(version_url="postgresql://user:hidden-word@db/league")
    assert "hidden-word" not in repr(config)
    assert "hidden-word" not in str(describe(config))


def test_the_familiar_names_of_contexts_are_read() -> None:
    config = read(AUTO_RESTORE_ENABLED="false", USE_MULTI_TENANCY="true", USE_AUDIT_LOGGING="1")
    assert config.context == ContextConfig(enabled=False, tenancy=True, audit=True)
    own = read(context_enabled="on", AUTO_RESTORE_ENABLED="false")
    assert own.context.enabled is True


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"context_key": "deal,deal"}, "twice"),
        ({"context_key": "deal,,fund"}, "WSGI_SESSIONS_CONTEXT_KEY='deal,,fund'"),
        ({"context_permission": "app:x"}, "1 functions for 0 keys"),
        ({"context_key": "a,b", "context_permission": "app:x"}, "1 functions for 2 keys"),
        ({"context_key": "a", "context_permission": "app.x"}, "package.module:function"),
        ({"context_load": "app:load"}, "set both"),
        ({"context_remember": "all"}, "set, selected"),
        ({"health_path": "health"}, "WSGI_SESSIONS_HEALTH_PATH='health'"),
        ({"USE_AUDIT_LOGGING": "perhaps"}, "USE_AUDIT_LOGGING='perhaps'"),
    ],
)
def test_what_contexts_and_health_cannot_be(variables: dict[str, str], words: str) -> None:
    assert words in refused(**variables)


@pytest.mark.parametrize(
    ("variables", "url", "source"),
    [
        ({"XDG_STATE_HOME": "/state"}, "file:///state/wsgi_sessions", "default"),
        ({"XDG_STATE_HOME": "state"}, "file:///h/.local/state/wsgi_sessions", "default"),
        ({"XDG_STATE_HOME": ""}, "file:///h/.local/state/wsgi_sessions", "default"),
        ({"HOME": "/a b/é"}, "file:///a%20b/%C3%A9/.local/state/wsgi_sessions", "default"),
        ({"HOME": "/\udcff"}, "file:///%FF/.local/state/wsgi_sessions", "default"),
        ({"REDIS_URL": "redis://r/2"}, "file:///h/.local/state/wsgi_sessions", "default"),
        (
            {"REDIS_URL": "redis://r/2", "USE_REDIS_SESSIONS": "false"},
            "file:///h/.local/state/wsgi_sessions",
            "default",
        ),
        (
            {"REDIS_URL": "redis://r/2", "USE_REDIS_SESSIONS": "true"},
            "redis://r/2 file:///h/.local/state/wsgi_sessions",
            "REDIS_URL, default",
        ),
        (
            {"USE_REDIS_SESSIONS": "TRUE", "DATABASE_URL": "postgresql://d/app"},
            "redis://localhost:6379/0 postgresql://d/app file:///h/.local/state/wsgi_sessions",
            "USE_REDIS_SESSIONS, DATABASE_URL, default",
        ),
        (
            {"DATABASE_URL": "sqlite:///app.db", "REDIS_URL": "redis://r/2"},
            "sqlite:///app.db file:///h/.local/state/wsgi_sessions",
            "DATABASE_URL, default",
        ),
        ({"DATABASE_URL": "sqlite:///app.db", "HOME": ""}, "sqlite:///app.db", "DATABASE_URL"),
        (
            {"WSGI_SESSIONS_URL": " memory:// ", "USE_REDIS_SESSIONS": "true"},
            "memory://",
            "WSGI_SESSIONS_URL",
        ),
    ],
)
def test_where_sessions_are_stored(variables: dict[str, str], url: str, source: str) -> None:
    config = Config.from_environ({"HOME": "/h", **variables})
    assert config.url == url
    assert config.sources["WSGI_SESSIONS_URL"] == source


@pytest.mark.parametrize("environ", [{}, {"HOME": ""}, {"HOME": "home"}, {"XDG_STATE_HOME": "s"}])
def test_without_a_home_a_url_is_asked_for(environ: dict[str, str]) -> None:
    with pytest.raises(
        ConfigurationError, match="WSGI_SESSIONS_URL is not set, and HOME is not set"
    ):
        Config.from_environ(environ)
    assert Config.from_environ({**environ, "WSGI_SESSIONS_URL": "memory://"}).url == "memory://"


def test_a_home_that_is_not_a_file_name_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"='/\\ud800/.*: is not a valid file name"):
        Config.from_environ({"HOME": "/\ud800"})


def test_familiar_names_are_read_where_our_own_are_absent() -> None:
    config = read(SECRET_KEY=NEW, PERMANENT_SESSION_LIFETIME="1800")
    assert config.secret_keys == (NEW,)
    assert config.idle_lifetime == 1800
    assert config.sources["WSGI_SESSIONS_SECRET_KEYS"] == "SECRET_KEY"
    assert config.sources["WSGI_SESSIONS_IDLE_LIFETIME"] == "PERMANENT_SESSION_LIFETIME"


def test_our_own_names_come_first() -> None:
    config = read(
        secret_keys=NEW, idle_lifetime="2h", SECRET_KEY="short", PERMANENT_SESSION_LIFETIME="nan"
    )
    assert config.secret_keys == (NEW,)
    assert config.idle_lifetime == 7200


def test_a_familiar_secret_is_one_secret() -> None:
    assert read(SECRET_KEY=f"{OLD}, {NEW}").secret_keys == (f"{OLD}, {NEW}",)


def test_the_process_environment_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSGI_SESSIONS_FSYNC", "full")
    monkeypatch.setenv("XDG_STATE_HOME", "/elsewhere")
    monkeypatch.setenv("SECRET_KEY", NEW)
    assert read() == Config(url="file:///home/ada/.local/state/wsgi_sessions")


def test_a_configuration_does_not_change() -> None:
    config = read()
    with pytest.raises(FrozenInstanceError):
        config.url = "memory://"  # type: ignore[misc]
    with pytest.raises(TypeError):
        config.sources["WSGI_SESSIONS_URL"] = "x"  # type: ignore[index]
    assert hash(config) == hash(read())


# -- values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1800", 1800),
        ("90s", 90),
        ("30m", 1800),
        ("24h", 86400),
        ("7d", 604800),
        ("1w", 604800),
        ("1.5h", 5400),
        (" 30m\n", 1800),
        ("30 m", 1800),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert read(idle_lifetime=text).idle_lifetime == seconds


@given(st.integers(1, 10**9).map(lambda milliseconds: milliseconds / 1000))
def test_a_duration_that_was_shown_reads_as_the_same(seconds: float) -> None:
    assert duration(0, 10**9, "1s").parse(show_duration(seconds)) == seconds


@given(st.integers(1, 2**36))
def test_a_size_that_was_shown_reads_as_the_same(count: int) -> None:
    assert size(0, 2**40).parse(show_size(count)) == count


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.5, "500ms"), (1, "1s"), (60, "60s"), (90, "90s"), (600, "10m"), (86400, "24h")],
)
def test_how_durations_are_shown(seconds: float, text: str) -> None:
    assert show_duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "count"), [("1024", 1024), ("64k", 65536), ("1M", 2**20), ("2 MiB", 2**21)]
)
def test_sizes(text: str, count: int) -> None:
    assert read(max_size=text).max_size == count


@pytest.mark.parametrize("text", ["on", "TRUE", "yes", "1"])
def test_switches(text: str) -> None:
    assert read(cookie_partitioned=text, cookie_secure="Always").cookie.partitioned is True


@pytest.mark.parametrize(
    "url",
    [
        "memory://",
        "file:///srv/a,b",
        "unix:///run/redis.sock?db=1",
        "redis://:p%40ss@[::1]:6379/0",
        "redis+sentinel://h1:26379,h2:26379/mymaster/0",
        "redis+cluster://h1:7000,h2:7001",
    ],
)
def test_urls(url: str) -> None:
    assert read(url=url).url == url


SETTINGS_WITH_VALUES = [s.env for s in SETTINGS.values()]


@pytest.mark.parametrize("text", ["", " ", "\t\n"])
@pytest.mark.parametrize(
    "name", [*SETTINGS_WITH_VALUES, "SECRET_KEY", "PERMANENT_SESSION_LIFETIME"]
)
def test_an_empty_value_is_refused(name: str, text: str) -> None:
    assert refused(**{name: text}).startswith(f"{name} is empty: unset it, or set it to ")


NUMBERS = [
    "0",
    "-1",
    "+1",
    "1e309",
    "nan",
    "inf",
    "\uff11\uff10",
    "maybe",
    "1,5",
    "0x10",
    "9" * 5000,
]


@pytest.mark.parametrize("text", [*NUMBERS, "1.0000001h", "10y", "30M", "m", "31 days, 0:00:00"])
@pytest.mark.parametrize(
    "name", ["IDLE_LIFETIME", "ABSOLUTE_LIFETIME", "TIMEOUT", "SWEEP_INTERVAL"]
)
def test_a_bad_duration_is_refused(name: str, text: str) -> None:
    message = refused(**{ENV + name: text})
    assert message.startswith(f"{ENV}{name}={ascii(text)[:100]}")
    assert "must be a duration such as" in message
    assert len(message) < 400


@pytest.mark.parametrize("text", [*NUMBERS, "1g", "1.5m", "k"])
def test_a_bad_size_is_refused(text: str) -> None:
    assert "must be a size such as" in refused(max_size=text)


@pytest.mark.parametrize("text", [*NUMBERS, "1.0", "none"])
def test_a_bad_number_is_refused(text: str) -> None:
    assert "must be a whole number from 1 to" in refused(max_sessions=text)


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"cookie_secure": "maybe"}, "COOKIE_SECURE='maybe': must be one of auto, always, never"),
        ({"cookie_samesite": "maybe"}, "='maybe': must be one of Lax, Strict, None"),
        ({"cookie_partitioned": "maybe"}, "COOKIE_PARTITIONED='maybe': must be on or off"),
        ({"fsync": "maybe"}, "FSYNC='maybe': must be one of none, data, full"),
        ({"on_conflict": "maybe"}, "='maybe': must be one of last-wins, raise"),
        ({"merge": "visits"}, "MERGE='visits': must be paths of session keys with their policies"),
        ({"merge": "visits:add"}, "MERGE='visits:add': must be paths of session keys"),
        ({"merge": "a:sum,,b:sum"}, "MERGE='a:sum,,b:sum': must be paths of session keys"),
        ({"merge": "a:sum,a:max"}, "MERGE='a:sum,a:max': a path has two policies; it must be"),
        ({"cookie_name": "a;b"}, "WSGI_SESSIONS_COOKIE_NAME='a;b': must be an RFC 6265 token"),
        ({"cookie_name": "a\r\nb"}, r"WSGI_SESSIONS_COOKIE_NAME='a\r\nb': must be"),
        ({"cookie_path": "a"}, "WSGI_SESSIONS_COOKIE_PATH='a': must be a path"),
        ({"cookie_path": "/a;b"}, "WSGI_SESSIONS_COOKIE_PATH='/a;b': must be a path"),
        ({"cookie_domain": "a\nb"}, r"WSGI_SESSIONS_COOKIE_DOMAIN='a\nb': must be a host name"),
        ({"cookie_samesite": "None"}, "COOKIE_SAMESITE=None needs WSGI_SESSIONS_COOKIE_SECURE"),
        ({"cookie_partitioned": "on"}, "COOKIE_PARTITIONED=on needs WSGI_SESSIONS_COOKIE_SECURE"),
        ({"cookie_name": "__Host-s", "cookie_path": "/a"}, "WSGI_SESSIONS_COOKIE_PATH=/a: must be"),
        ({"principal_key": "a b"}, "WSGI_SESSIONS_PRINCIPAL_KEY='a b': must be"),
        ({"key_prefix": "a b"}, "WSGI_SESSIONS_KEY_PREFIX='a b': must be"),
        ({"key_prefix": "a{b}"}, "WSGI_SESSIONS_KEY_PREFIX='a{b}': must be"),
        ({"key_prefix": "é"}, r"WSGI_SESSIONS_KEY_PREFIX='\xe9': must be"),
        ({"exclusive_paths": "cart"}, "EXCLUSIVE_PATHS='cart': must be paths that begin with /"),
        ({"exclusive_paths": "/a,,/b"}, "EXCLUSIVE_PATHS='/a,,/b': must be paths"),
        ({"exclusive_paths": "/a /b"}, "EXCLUSIVE_PATHS='/a /b': must be paths"),
        ({"USE_REDIS_SESSIONS": "maybe"}, "USE_REDIS_SESSIONS='maybe': must be on or off"),
        ({"USE_REDIS_SESSIONS": ""}, "USE_REDIS_SESSIONS is empty: unset it"),
        ({"USE_REDIS_SESSIONS": "1", "REDIS_URL": ""}, "REDIS_URL is empty: unset it"),
        ({"USE_REDIS_SESSIONS": "1", "REDIS_URL": "h:1"}, "REDIS_URL='h:1': must be one URL"),
        ({"PERMANENT_SESSION_LIFETIME": "0"}, "PERMANENT_SESSION_LIFETIME='0': out of range"),
        ({"timeout": "9ms"}, "TIMEOUT='9ms': out of range; it must be a duration"),
        ({"timeout": "61s"}, "from 10ms to 60s"),
        (
            {"idle_lifetime": "60d"},
            "LIFETIME=30d (default): must not be shorter than the idle lifetime, 60d (WSGI_SESS",
        ),
        (
            {"absolute_lifetime": "1h", "PERMANENT_SESSION_LIFETIME": "7200"},
            "must not be shorter than the idle lifetime, 2h (PERMANENT_SESSION_LIFETIME)",
        ),
    ],
)
def test_a_bad_value_is_refused_with_its_name_and_what_is_allowed(
    variables: dict[str, str], says: str
) -> None:
    assert says in refused(**variables)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("maybe", "must be one URL such as"),
        ("localhost:6379", "must be one URL such as"),
        ("/srv/sessions", "must be one URL such as"),
        ("://h", "must be one URL such as"),
        ("redis://h/é", "must be one URL such as"),
        ("file:///a b", "must be one URL such as"),
        ("redis://h\r\nx", "must be one URL such as"),
        ("redis://[::1/0", "host or port is malformed"),
        ("redis://h:99999/0", "host or port is malformed"),
        ("redis://h:\uff11\uff10/0", "must be one URL such as"),
        ("redis://a,redis://b", "several URLs are separated by blanks"),
        ("redis://:p@a/0, file:///srv", "several URLs are separated by blanks"),
        ("redis://a/0 file:///srv b", "must be one URL such as"),
        ("redis://a/0 redis://b:port", "host or port is malformed"),
    ],
)
def test_a_bad_url_is_refused(url: str, says: str) -> None:
    message = refused(url=url)
    assert message.startswith("WSGI_SESSIONS_URL='")
    assert says in message
    assert message.isprintable()


def test_all_faults_are_reported_at_once() -> None:
    message = refused(
        url="maybe",
        idle_lifetime="nan",
        cookie_name="a;b",
        cookie_path="x",
        cookie_secure="maybe",
        fsync="",
        max_size="-1",
        SECRET_KEY="short",
    )
    assert message.splitlines()[0] == "8 settings are wrong:"
    named = [line.removeprefix("- ").split("=")[0].split()[0] for line in message.splitlines()[1:]]
    assert named == [
        "WSGI_SESSIONS_URL",
        "SECRET_KEY",
        "WSGI_SESSIONS_IDLE_LIFETIME",
        "WSGI_SESSIONS_COOKIE_NAME",
        "WSGI_SESSIONS_COOKIE_SECURE",
        "WSGI_SESSIONS_COOKIE_PATH",
        "WSGI_SESSIONS_FSYNC",
        "WSGI_SESSIONS_MAX_SIZE",
    ]


def test_combinations_are_reported_beside_other_faults() -> None:
    message = refused(
        cookie_samesite="None", cookie_partitioned="on", idle_lifetime="60d", fsync="maybe"
    )
    assert message.startswith("4 settings are wrong:")


def test_a_bad_value_from_python_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"ABSOLUTE_LIFETIME=60s \(argument\)"):
        Config(url="memory://", absolute_lifetime=60)


# -- secrets ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("separator", [",", " ", "\n", ", ", "\t", " , "])
def test_secrets_are_separated_by_commas_or_blanks(separator: str) -> None:
    assert read(secret_keys=f"{OLD}{separator}{NEW}").secret_keys == (OLD, NEW)


@pytest.mark.parametrize(
    ("secrets", "says"),
    [
        ("hunter2", "shorter than 32 bytes"),
        ("hunter2" * 4, "shorter than 32 bytes"),
        (f"hunter2,{NEW}", "shorter than 32 bytes"),
        ("hunter2" * 5 + "," + "hunter2" * 5, "given twice"),
        ("," + "hunter2" * 5, "one of them is empty"),
        ("hunter2" * 5 + ",", "one of them is empty"),
        (f"{OLD},,{NEW}", "one of them is empty"),
        (",", "one of them is empty"),
        ("hunter2" * 5 + "\udcff", "not valid text"),
    ],
)
def test_bad_secrets_are_refused_and_not_shown(secrets: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(secret_keys=secrets)
    assert f"WSGI_SESSIONS_SECRET_KEYS=(hidden): {says}" in str(caught.value).replace(
        "a secret key is ", ""
    )
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None, "a traceback would show it"
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_short_familiar_secret_is_refused_and_not_shown() -> None:
    message = refused(SECRET_KEY="hunter2")
    assert message.startswith("SECRET_KEY=(hidden): a secret key is shorter than 32 bytes")
    assert "hunter2" not in message


@pytest.mark.parametrize("content", ["{0}\n{1}\n", "{0}\n{1}", "\n  {0}\r\n\n{1}  \n\n"])
def test_a_file_holds_one_secret_a_line(tmp_path: Path, content: str) -> None:
    file = tmp_path / "secrets"
    file.write_bytes(content.format(OLD, NEW).encode())
    config = read(secret_keys_file=str(file), SECRET_KEY="not looked at")
    assert config.secret_keys == (OLD, NEW)
    assert config.sources["WSGI_SESSIONS_SECRET_KEYS"] == "WSGI_SESSIONS_SECRET_KEYS_FILE"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "FILE is empty"),
        (b"\n \n", "FILE is empty"),
        (b"hunter2", "shorter than 32 bytes"),
        (b"hunter2" * 9 + b"\n" + b"hunter2" * 9, "given twice"),
        (b"hunter2" * 9 + b"\xff", "not valid text"),
        (b"hunter2" * 10000, "larger than 65536 bytes"),
    ],
)
def test_a_bad_secret_file_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "secrets"
    file.write_bytes(content)
    message = refused(secret_keys_file=str(file))
    assert message.startswith("WSGI_SESSIONS_SECRET_KEYS_FILE")
    assert says in message
    assert "hunter2" not in message


def test_a_secret_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    assert f"FILE='{absent}': cannot be read: No such file" in refused(secret_keys_file=str(absent))
    assert "cannot be read: Is a directory" in refused(secret_keys_file=str(tmp_path))
    assert "cannot be read: invalid path" in refused(secret_keys_file="/a\x00b")


def test_a_secret_set_as_the_file_is_not_shown() -> None:
    message = refused(secret_keys_file=NEW)
    assert message == "WSGI_SESSIONS_SECRET_KEYS_FILE: must be the absolute path of a file"


def test_secrets_and_a_file_of_them_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "secrets"
    file.write_text(NEW)
    message = refused(secret_keys=OLD, secret_keys_file=str(file))
    assert message == (
        "WSGI_SESSIONS_SECRET_KEYS and WSGI_SESSIONS_SECRET_KEYS_FILE are both set: keep one"
    )


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://h:6379/0", "redis://h:6379/0"),
        ("file:///srv/sessions", "file:///srv/sessions"),
        ("redis://ada:hunter2@h/0", "redis://***@h/0"),
        ("redis://:hun@ter/2@h/0", "redis://***@h/0"),
        ("redis://:hunter2", "redis://:***"),
        ("redis://h:hunter2/0", "redis://h:***/0"),
        ("redis://h1:1,h2:2/s", "redis://h1:1,h2:2/s"),
        ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
        ("redis://h/0?password=hunter2&db=1#x", "redis://h/0?password=***&db=***#x"),
        ("redis://:hunter2@a redis://:hunter3@b", "redis://***@b"),
        (":hunter2@h", "***@h"),
        ("hunter2\n@h", "***@h"),
    ],
)
def test_credentials_in_a_url_are_hidden(url: str, shown: str) -> None:
    assert hide_credentials(url) == shown


def test_nothing_that_shows_a_configuration_shows_its_secrets() -> None:
    config = read(url="redis://ada:hunter2@h/0", secret_keys=f"{OLD} {NEW}")
    for text in (repr(config), str(config), f"{config}", str(describe(config))):
        assert "hunter2" not in text
        assert OLD not in text
        assert NEW not in text
        assert "redis://***@h/0" in text
        assert "2 (hidden)" in text


names = st.sampled_from(
    [
        *(name for setting in SETTINGS.values() for name in setting.variables()),
        *(f.env for setting in SETTINGS.values() for f in setting.fallbacks),
        "USE_REDIS_SESSIONS",
        "HOME",
        "XDG_STATE_HOME",
    ]
)
texts = st.one_of(
    st.text(st.characters(), max_size=60),  # lone surrogates and NUL too
    st.text(string.digits + ".smhdk", max_size=5),
    st.from_regex(r"redis(\+[a-z]+)?://[!-~]*", fullmatch=True),
    st.sampled_from(["on", "off", "true", "/a", "/", "none", "None", "always", f"{OLD},{NEW}"]),
)


@given(st.dictionaries(names, texts, max_size=12))
def test_any_environment_gives_a_configuration_or_a_configuration_error(
    environ: dict[str, str],
) -> None:
    try:
        shown = repr(Config.from_environ(environ))
    except ConfigurationError as error:
        shown = str(error).replace("\n", "")
    assert shown.isprintable()


SECRET = "hunter2-\u00fc-hunter2"
around = st.text(st.characters(exclude_characters="\x00"), max_size=20)


@given(
    st.sampled_from(["SECRET_KEY", ENV + "SECRET_KEYS", ENV + "SECRET_KEYS_FILE"]),
    st.lists(st.one_of(around, st.just(SECRET), st.just(SECRET * 3)), max_size=5).map("".join),
)
def test_a_secret_is_never_shown(name: str, text: str) -> None:
    try:
        shown = repr(Config.from_environ({**HOME, name: f"{text.lstrip('/ ')}{SECRET}"}))
    except ConfigurationError as error:
        shown = repr(error)
    assert "hunter2" not in shown


@given(
    # Not with " x://" in it: after a blank, that is another URL.
    st.text(string.ascii_letters + string.digits + "/?#:%,;[]! é\n", max_size=20).filter(
        lambda noise: "://" not in noise
    ),
    st.sampled_from(["redis://u:{}@h:6379/0", "redis://:{}@h:port/0", "redis:/{}@h", "{}@h"]),
    st.sampled_from(["", " redis://h2", "\n", ":99999", "\u00e9"]),
)
def test_a_password_in_a_url_is_never_shown(noise: str, form: str, end: str) -> None:
    url = form.format(f"{noise}hunter2{noise}") + end
    try:
        shown = repr(Config.from_environ({**HOME, "WSGI_SESSIONS_URL": url}))
    except ConfigurationError as error:
        shown = repr(error)
    assert "hunter2" not in shown


def test_several_urls_are_in_order_of_priority() -> None:
    config = read(url=" redis+cluster://a,b:7000  file:///srv\nfile:///srv redis://:p@c ")
    assert config.urls == ("redis+cluster://a,b:7000", "file:///srv", "redis://:p@c")
    assert config.url == " ".join(config.urls)
    assert describe(config)[0].value == "redis+cluster://a,b:7000 file:///srv redis://***@c"


def test_one_store_may_still_be_written_with_a_blank_in_python() -> None:
    assert Config(url="file:///a b").urls == ("file:///a b",)


def test_a_familiar_name_that_is_wrong_stops_the_start_too() -> None:
    with pytest.raises(ConfigurationError, match=r"DATABASE_URL='app\.db': must be one URL"):
        Config.from_environ({**HOME, "DATABASE_URL": "app.db"})


# -- unknown names ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("WSGI_SESSIONS_IDLE_LIFETIM", "WSGI_SESSIONS_IDLE_LIFETIME"),
        ("WSGI_SESSIONS_SECRET_KEY", "WSGI_SESSIONS_SECRET_KEYS"),
        ("WSGI_SESSIONS_SECRETS_KEY_FILE", "WSGI_SESSIONS_SECRET_KEYS_FILE"),
        ("WSGI_SESSIONS_SAMESITE", "WSGI_SESSIONS_COOKIE_SAMESITE"),
        ("WSGI_SESSION_URL", "WSGI_SESSIONS_URL"),
        ("wsgi_sessions_fsync", "WSGI_SESSIONS_FSYNC"),
        ("WSGI_SESSIONS_ZZZZZZ", None),
        ("WSGI_SESSIONS_", None),
    ],
)
def test_an_unknown_name_is_remarked_on_with_the_nearest(name: str, meant: str | None) -> None:
    config = Config.from_environ({**HOME, name: "hunter2"})
    assert config == read()
    hint = f"did you mean {meant}?" if meant else "see 'wsgi-sessions config'"
    assert config.remarks == (f"unknown setting {name} ignored: {hint}",)


def test_known_and_foreign_names_are_not_remarked_on(tmp_path: Path) -> None:
    file = tmp_path / "secrets"
    file.write_text(NEW)
    config = read(
        secret_keys_file=str(file), fsync="full", WSGI_APP="x", PATH="y", SESSION_COOKIE_NAME="z"
    )
    assert config.remarks == ()


# -- what is said of it ----------------------------------------------------------------------------


def test_a_configuration_is_described_with_sources() -> None:
    rows = describe(read(USE_REDIS_SESSIONS="1", idle_lifetime="1800", max_sessions="off"))
    assert [row.env for row in rows] == [setting.env for setting in SETTINGS.values()]
    assert rows[:4] == [
        Row(
            "WSGI_SESSIONS_URL",
            "redis://localhost:6379/0 file:///home/ada/.local/state/wsgi_sessions",
            "USE_REDIS_SESSIONS, default",
        ),
        Row("WSGI_SESSIONS_SECRET_KEYS", "not set", "default"),
        Row("WSGI_SESSIONS_IDLE_LIFETIME", "30m", "WSGI_SESSIONS_IDLE_LIFETIME"),
        Row("WSGI_SESSIONS_ABSOLUTE_LIFETIME", "30d", "default"),
    ]


def test_values_passed_in_python_are_described_as_arguments() -> None:
    rows = describe(Config(url="memory://", cookie=CookiePolicy(name="s")))
    sources = {row.env: row.source for row in rows}
    assert {env for env, source in sources.items() if source == "argument"} == {
        "WSGI_SESSIONS_URL",
        "WSGI_SESSIONS_COOKIE_NAME",
    }
    assert set(sources.values()) == {"argument", "default"}


def test_the_description_configures_the_same() -> None:
    """Each value is shown as it may be written, except where it is hidden or not set."""
    config = read(url="memory://", max_size="2m", exclusive_paths="/a,/b*", timeout="250ms")
    shown = {row.env: row.value for row in describe(config) if row.value != "not set"}
    assert Config.from_environ(shown) == config


def test_the_documentation_has_every_variable_once() -> None:
    text = settings_as_markdown()
    assert text.count("\n### ") == text.count("\n- Allowed: ") == len(SETTINGS)
    assert r"/cart,/api/\*" in text
    for path, setting in SETTINGS.items():
        assert f"`Config.{path}`" in text
        for name in setting.variables():
            assert text.count(f"`{name}`") == 1
        for fallback in setting.fallbacks:
            assert f"`{fallback.env}`" in text


def test_every_setting_fills_a_field() -> None:
    config: Any = read()
    for path, setting in SETTINGS.items():
        value = config
        for attribute in path.split("."):
            value = getattr(value, attribute)
        if setting.computed is None:
            assert value == setting.default
        assert setting.env == ENV + IN_A_GROUP.get(path, path).replace(".", "_").upper()
        assert setting.about
        assert setting.kind.allowed
