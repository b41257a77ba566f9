"""Django's contract of a session engine, under Django's own middleware."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import django_project
import pytest
import time_machine
from asgiref.sync import async_to_sync
from django.conf import settings
from django.contrib.auth import user_logged_in
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.backends.cache import SessionStore as CacheStore
from django.contrib.sessions.backends.cached_db import SessionStore as CachedStore
from django.contrib.sessions.backends.db import SessionStore as DatabaseStore
from django.contrib.sessions.backends.file import SessionStore as FileStore
from django.contrib.sessions.backends.signed_cookies import SessionStore as CookieStore
from django.core.management import call_command
from django.db import models
from django.test import Client, override_settings
from django.utils.safestring import SafeString, mark_safe

from wsgi_sessions.contrib.django import SessionStore
from wsgi_sessions.contrib.django.config import application_of, config_of
from wsgi_sessions.contrib.django.site import site
from wsgi_sessions.core.transaction import Transaction
from wsgi_sessions.errors import ConfigurationError, TooManySessions, UnserializableValue
from wsgi_sessions.identity import store_key
from wsgi_sessions.testing.contract.under_test import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COOKIE = "sessionid"


@pytest.fixture(autouse=True)
def store(tmp_path: Path) -> Iterator[None]:
    """Each test has a folder of its own."""
    with override_settings(WSGI_SESSIONS_URL=f"file://{tmp_path}/sessions"):
        yield


@pytest.fixture
def browser() -> Client:
    return Client()


def stored(**data: Any) -> str:
    session = SessionStore()
    session.update(data)
    session.save()
    key = session.session_key
    assert isinstance(key, str)
    return key


def listed(user: Any) -> list[str]:
    return [each.key for each in site().sessions().manager.sessions_of(str(user.pk))]


# -- one store, many workers -----------------------------------------------------------------------


def test_overlapping_requests_keep_both_changes() -> None:
    key = stored(a=0, cart=["tea"])
    first, second = SessionStore(key), SessionStore(key)
    first["a"] = 1
    first["cart"].append("milk")
    second["b"] = 2
    second["cart"].append("salt")
    first.save()
    second.save()
    found = SessionStore(key).load()
    assert sorted(found.pop("cart")) == ["milk", "salt", "tea"]
    assert found == {"a": 1, "b": 2}


def test_increments_all_count() -> None:
    key = stored(n=0)
    sessions = [SessionStore(key) for _ in range(3)]
    for session in sessions:
        session.increment("n")
        session.append("log", "x")
    for session in sessions:
        session.save()
    assert SessionStore(key).load() == {"n": 3, "log": ["x"] * 3}


def test_a_change_inside_of_a_value_is_saved_without_a_flag(browser: Client) -> None:
    session = browser.session
    session["cart"] = {"tea": 1}
    session.save()
    session = browser.session
    session["cart"]["tea"] = 2
    assert session.modified is True
    session.save()
    assert browser.session["cart"] == {"tea": 2}


def test_a_page_that_does_not_look_costs_no_store_call(
    browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser.get("/put?a=1")
    monkeypatch.setattr(Transaction, "peek", lambda self: pytest.fail("read"))
    response = browser.get("/nothing")
    assert response.content == b"nothing"
    assert COOKIE not in response.cookies


def test_reading_saves_nothing_and_sets_no_cookie(browser: Client) -> None:
    browser.get("/put?a=1")
    version = site().sessions().manager.loader.load(browser.cookies[COOKIE].value)
    response = browser.get("/show")
    assert response.json() == {"a": "1"}
    assert COOKIE not in response.cookies
    assert site().sessions().manager.loader.load(browser.cookies[COOKIE].value) == version


def test_a_500_stores_nothing(browser: Client) -> None:
    browser.get("/put?a=1")
    browser.get("/fails")
    assert browser.get("/show").json() == {"a": "1"}


@pytest.mark.parametrize("key", ["N" * 40, "x" * 32, "someunknownkey", "ä" * 40])
def test_an_unknown_key_is_never_adopted(key: str) -> None:
    session = SessionStore(key)
    session["a"] = 1
    session.save()
    assert session.session_key != key
    assert not session.exists(key)


# -- log-in, log-out -------------------------------------------------------------------------------


def test_a_log_in_changes_the_key_before_receivers_see_it(browser: Client) -> None:
    user = django_project.make_user("alice")
    seen: list[str] = []

    def note(request: Any, **_: Any) -> None:
        seen.append(request.session.session_key)

    browser.get("/put?a=1")
    before = browser.cookies[COOKIE].value
    user_logged_in.connect(note)
    try:
        browser.get("/enter?name=alice")
    finally:
        user_logged_in.disconnect(note)
    after = browser.cookies[COOKIE].value
    assert seen == [after]
    assert after != before
    assert not SessionStore().exists(before)
    assert browser.get("/whoami").content == b"alice"
    assert browser.get("/show").json()["a"] == "1"
    assert listed(user) == [store_key(after)]


def test_a_log_out_stays_final_after_late_saves(browser: Client) -> None:
    user = django_project.make_user("alice")
    browser.get("/enter?name=alice")
    key = browser.cookies[COOKIE].value
    late = SessionStore(key)
    late["late"] = True
    response = browser.get("/leave")
    assert response.cookies[COOKIE]["max-age"] == 0
    with pytest.raises(UpdateError):
        late.save()
    with pytest.raises(UpdateError):
        late.save()
    assert not SessionStore().exists(key)
    assert listed(user) == []


def test_a_save_without_changes_tells_that_the_session_is_gone() -> None:
    key = stored(a=1)
    late = SessionStore(key)
    assert late["a"] == 1
    SessionStore(key).flush()
    with pytest.raises(UpdateError):
        late.save()


def test_a_request_that_a_log_in_has_overtaken_deletes_no_cookie(browser: Client) -> None:
    django_project.make_user("alice")
    browser.get("/put?a=1")
    late = Client()
    late.cookies[COOKIE] = browser.cookies[COOKIE].value
    browser.get("/enter?name=alice")
    response = late.get("/show")
    assert response.json() == {}
    assert COOKIE not in response.cookies
    response = late.get("/put?b=1")
    assert response.status_code == 400
    assert COOKIE not in response.cookies


def test_a_log_in_to_a_session_that_just_ended_begins_a_new_one() -> None:
    key = stored(planted=1)
    session = SessionStore(key)
    assert session["planted"] == 1
    SessionStore(key).flush()
    session.cycle_key()
    session["_auth_user_id"] = "7"
    session.save()
    assert SessionStore(session.session_key).load() == {"_auth_user_id": "7"}


def test_another_user_is_listed_in_the_place_of_the_former_one(browser: Client) -> None:
    alice, bob = map(django_project.make_user, ("alice", "bob"))
    browser.force_login(alice)
    browser.force_login(bob)
    assert browser.get("/whoami").content == b"bob"
    assert listed(alice) == []
    assert listed(bob) == [store_key(browser.cookies[COOKIE].value)]
    assert site().sessions().manager.destroy_sessions_of(str(bob.pk)) == 1
    assert browser.get("/whoami").content == b""


def test_a_log_in_gets_a_session_where_a_visitor_does_not() -> None:
    with override_settings(WSGI_SESSIONS={"MAX_SESSIONS": 1}):
        stored(a=1)
        with pytest.raises(TooManySessions):
            stored(b=2)
        session = SessionStore()
        session.cycle_key()  # as `login` begins
        session["_auth_user_id"] = "7"
        session.save()
        assert SessionStore().exists(session.session_key)


# -- modified, empty -------------------------------------------------------------------------------


def test_modified_false_means_as_of_now() -> None:
    key = stored(a=1)
    session = SessionStore(key)
    session["cart"] = ["tea"]
    session.modified = False
    assert session.modified is False
    session["cart"].append("milk")
    assert session.modified is True


def test_an_empty_session_is_created_and_kept() -> None:
    session = SessionStore()
    session.create()
    assert session.modified
    assert SessionStore().exists(session.session_key)
    assert SessionStore(session.session_key).load() == {}


def test_a_new_session_of_the_same_values_leaves_the_old_one() -> None:
    key = stored(a=1)
    session = SessionStore(key)
    assert session["a"] == 1
    session.create()
    assert session.session_key != key
    assert SessionStore(key).load() == SessionStore(session.session_key).load() == {"a": 1}


def test_data_stored_after_a_flush_begins_a_new_session() -> None:
    key = stored(a=1)
    session = SessionStore(key)
    session.flush()
    assert session.session_key is None
    assert session.is_empty()
    session["b"] = 2
    session.save()
    assert SessionStore(session.session_key).load() == {"b": 2}


# -- expiry ----------------------------------------------------------------------------------------


def expires_in(session: Any) -> float:
    manager = site().sessions().manager
    snapshot = manager.loader.load(session.session_key)
    assert snapshot is not None
    return snapshot.expires_at - manager.now()


def expiring(value: Any) -> Any:
    session = SessionStore()
    session["a"] = 1
    session.set_expiry(value)
    session.save()
    return session


DAY = 86400


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, 14 * DAY),
        (0, 14 * DAY),
        (300, 300),
        (30 * DAY, 30 * DAY),
        (timedelta(hours=1), 3600),
    ],
)
def test_an_expiry_is_the_stored_sessions(value: Any, seconds: float) -> None:
    assert expires_in(expiring(value)) == pytest.approx(seconds, abs=60)


def test_a_session_ends_at_a_moment_whatever_is_saved() -> None:
    end = datetime.now(timezone.utc) + timedelta(hours=2)
    session = expiring(end)
    again = SessionStore(session.session_key)
    again["b"] = 2
    again.save()
    assert expires_in(again) == pytest.approx(7200, abs=60)


@pytest.mark.parametrize("value", [-1, timedelta(seconds=-10)])
def test_a_session_that_is_over_is_gone(value: Any) -> None:
    assert not SessionStore().exists(expiring(value).session_key)


def test_an_expiry_that_is_taken_back_is_the_settings() -> None:
    session = SessionStore(expiring(300).session_key)
    session.set_expiry(None)
    session.save()
    assert expires_in(session) == pytest.approx(14 * DAY, abs=60)


def test_the_cookies_age_is_the_idle_lifetime() -> None:
    with override_settings(SESSION_COOKIE_AGE=600):
        assert expires_in(expiring(None)) == pytest.approx(600, abs=60)


def test_every_request_saves_where_the_settings_say_so(browser: Client) -> None:
    with override_settings(SESSION_SAVE_EVERY_REQUEST=True):
        browser.get("/put?a=1")
        assert COOKIE in browser.get("/show").cookies
        SessionStore(browser.cookies[COOKIE].value).flush()
        assert browser.get("/show").json() == {}


# -- keys and values -------------------------------------------------------------------------------


class Colour(models.TextChoices):  # type: ignore[misc]  # Django has no annotations
    RED = "red"


def test_keys_and_values_of_subclasses_are_what_they_equal() -> None:
    session = SessionStore()
    session[mark_safe("key")] = Colour.RED  # of a test
    session[Colour.RED] = [mark_safe("<b>")]  # of a test
    session[7] = {"n": 1}
    session.save()
    again = SessionStore(session.session_key)
    assert dict(again.items()) == {"key": "red", "red": ["<b>"], "7": {"n": 1}}
    assert type(again["key"]) is str
    assert hasattr(again["red"][0], "__html__")
    assert Colour.RED in again
    assert SafeString("key") in again
    assert again[7] == {"n": 1}
    assert again.pop(Colour.RED) == ["<b>"]


def test_unsupported_values_are_refused_with_their_path() -> None:
    with pytest.raises(UnserializableValue, match=r"cart\[0\]"):
        SessionStore()["cart"] = [object()]


def test_all_works_asynchronously() -> None:
    async def use() -> tuple[Any, ...]:
        session = SessionStore()
        await session.aset("a", 1)
        await session.aupdate({"b": 2})
        await session.asave()
        key = session.session_key
        await session.acycle_key()
        await session.aset_expiry(300)
        assert await session.apop("b") == 2
        await session.asave()
        assert not await session.aexists(key)
        again = SessionStore(session.session_key)
        values = [item async for item in _each(await again.aitems())]
        await again.aflush()
        return values, await again.aexists(session.session_key), again.session_key

    values, exists, key = async_to_sync(use)()
    assert dict(values) == {"a": 1, "_session_expiry": 300}
    assert exists is False
    assert key is None


async def _each(items: Any) -> Any:
    for item in items:
        yield item


def test_expired_sessions_are_cleared_by_djangos_command() -> None:
    key = stored(a=1)
    gone = stored(b=1)
    manager = site().sessions().manager
    assert gone is not None
    store, name = manager.backend.sessions, store_key(gone)
    record = store.load(name)
    assert record is not None
    store.save(name, record.payload, time.time() + 0.05, expected_version=record.version)
    wait_until(lambda: store.load(name) is None, "the expiry")
    call_command("clearsessions")
    assert SessionStore().exists(key)
    assert manager.endings.traces is not None
    trace = manager.endings.traces.of(name)
    assert trace is not None
    assert (trace.why, trace.by) == ("expired-idle", "clearsessions")


# -- former engines --------------------------------------------------------------------------------

FORMER = {"IMPORT_UNTIL": "2999-12-31", "SWEEP_INTERVAL": "off"}


def former_session(engine: Any, **data: Any) -> str:
    session = engine()
    session.update(data)
    session.save()
    key: str = session.session_key
    return key


@pytest.mark.parametrize("engine", [DatabaseStore, CachedStore, CacheStore, CookieStore, FileStore])
def test_the_move_logs_no_user_out(browser: Client, engine: Any) -> None:
    alice = django_project.make_user("alice")
    name = engine.__module__
    with override_settings(SESSION_ENGINE=name):
        browser.force_login(alice)
        browser.get("/put?cart=tea")
        old = browser.cookies[COOKIE].value
    browser = Client()
    browser.cookies[COOKIE] = old
    with override_settings(WSGI_SESSIONS={"FORMER_ENGINE": name, **FORMER}):
        assert browser.get("/whoami").content == b"alice"
        new = browser.cookies[COOKIE].value
        assert new != old
        assert browser.get("/show").json()["cart"] == "tea"
        assert listed(alice) == [store_key(new)]
        thief = Client()
        thief.cookies[COOKIE] = old
        assert thief.get("/whoami").content == b""


def test_a_former_session_that_ended_here_does_not_come_back(browser: Client) -> None:
    old = former_session(DatabaseStore, a=1)
    with override_settings(WSGI_SESSIONS={"FORMER_ENGINE": DatabaseStore.__module__, **FORMER}):
        browser.cookies[COOKIE] = old
        assert browser.get("/show").json() == {"a": 1}
        browser.get("/leave")
        again = Client()
        again.cookies[COOKIE] = old
        assert again.get("/show").json() == {}


def test_a_signed_cookie_opens_nothing_after_the_log_out_for_as_long_as_it_is_valid(
    browser: Client,
) -> None:
    old = former_session(CookieStore, a=1)
    with override_settings(WSGI_SESSIONS={"FORMER_ENGINE": CookieStore.__module__, **FORMER}):
        browser.cookies[COOKIE] = old
        assert browser.get("/show").json() == {"a": 1}
        browser.get("/leave")
        again = Client()
        with time_machine.travel(datetime.now(timezone.utc) + timedelta(days=10)):
            assert CookieStore(old).load() == {"a": 1}
            again.cookies[COOKIE] = old
            assert again.get("/show").json() == {}


@pytest.mark.parametrize("made_up", ["../../etc/passwd", "x" * 39, "x" * 40, "a b" * 9, "x" * 5000])
def test_a_made_up_cookie_is_nobodys_former_session(browser: Client, made_up: str) -> None:
    with override_settings(WSGI_SESSIONS={"FORMER_ENGINE": FileStore.__module__, **FORMER}):
        browser.cookies[COOKIE] = made_up
        assert browser.get("/show").json() == {}


def test_a_former_engine_needs_an_end() -> None:
    with (
        override_settings(WSGI_SESSIONS={"FORMER_ENGINE": DatabaseStore.__module__}),
        pytest.raises(ConfigurationError, match="IMPORT_UNTIL"),
    ):
        site().sessions()


# -- settings --------------------------------------------------------------------------------------


def test_settings_are_djangos_own() -> None:
    with override_settings(
        SESSION_COOKIE_NAME="sid",
        SESSION_COOKIE_SECURE=True,
        SESSION_COOKIE_DOMAIN="example.org",
        SESSION_COOKIE_AGE=7200,
        SECRET_KEY_FALLBACKS=["older"],
        WSGI_SESSIONS={"URL": "redis://cache/1", "MAX_SIZE": 65536},
        WSGI_SESSIONS_URL=None,
    ):
        config = config_of(settings, {"SECRET_KEY": "not this", "DATABASE_URL": "postgres://no"})
    assert (config.cookie.name, config.cookie.secure, config.cookie.domain) == (
        *("sid", "always"),
        "example.org",
    )
    assert config.idle_lifetime == 7200
    assert config.absolute_lifetime is None
    assert config.sources["WSGI_SESSIONS_IDLE_LIFETIME"] == "SESSION_COOKIE_AGE"
    assert config.secret_keys == ("older", django_project.SECRET)
    assert (config.url, config.max_size) == ("redis://cache/1", 65536)


def test_the_environment_goes_before_djangos_names_and_settings_before_that() -> None:
    environ = {
        "WSGI_SESSIONS_IDLE_LIFETIME": "1h",
        "WSGI_SESSIONS_URL": "redis://x",
        "WSGI_SESSIONS_SECRET_KEYS": "k" * 40,
    }
    config = config_of(settings, environ)
    assert config.idle_lifetime == 3600
    assert config.url == settings.WSGI_SESSIONS_URL
    assert config.secret_keys == ("k" * 40,)


@pytest.mark.parametrize(
    "more",
    [{"WSGI_SESSIONS": ["URL"]}, {"WSGI_SESSIONS_URL": object()}, {"WSGI_SESSIONS_URL": "x"}],
)
def test_unknown_settings_are_reported(more: dict[str, Any]) -> None:
    with override_settings(**more), pytest.raises(ConfigurationError, match="WSGI_SESSIONS"):
        config_of(settings, {})


def test_a_site_is_named_after_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "django_project")
    name = application_of(settings).name
    assert name.startswith("support-django-project-")
    with override_settings(ROOT_URLCONF="elsewhere"):
        assert application_of(settings).name == name
