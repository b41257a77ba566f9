"""A page in Django's admin with the devices of a user, and buttons that end their sessions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import django_project
import pytest
from django.contrib.admin import AdminSite
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import Permission
from django.test import Client, override_settings
from django.urls import include, path

from wsgi_sessions.contrib.django import SessionsAdmin, SessionStore, end_sessions, manager
from wsgi_sessions.identity import store_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COOKIE = "sessionid"


class UsersOfTest(SessionsAdmin, UserAdmin):  # type: ignore[misc]  # Django has no annotations
    """As a site would have it."""

    actions = [end_sessions]  # noqa: RUF012 - as Django's documentation has it


operators = AdminSite()
operators.register(get_user_model(), UsersOfTest)
urlpatterns = [path("admin/", operators.urls), path("", include("django_project"))]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]


@pytest.fixture(autouse=True)
def site_with_admin(tmp_path: Path) -> Iterator[None]:
    url = f"file://{tmp_path}/sessions"
    more: dict[str, Any] = {"ROOT_URLCONF": __name__, "TEMPLATES": TEMPLATES}
    with override_settings(WSGI_SESSIONS_URL=url, **more):
        yield
    get_user_model().objects.all().delete()


@pytest.fixture
def root() -> Client:
    """The browser of an operator who may do everything."""
    return browser_of(get_user_model().objects.create_superuser("root"))


def browser_of(user: Any) -> Client:
    browser = Client()
    browser.force_login(user)
    return browser


def page_of(user: Any) -> str:
    return f"/admin/auth/user/{user.pk}/sessions/"


def key_of(browser: Client) -> str:
    return store_key(browser.cookies[COOKIE].value)


def who(browser: Client) -> str:
    text: str = browser.get("/whoami").content.decode()
    return text


def shown(text: str) -> list[str]:
    """The sessions that a page names."""
    return re.findall(r"<code>(\w+)</code>", text)


def messages_in(done: Any) -> list[str]:
    """The messages of the admin on a page."""
    return re.findall(r'<li class="(?:success|warning)">([^<]*)</li>', done.content.decode())


def operator(*permissions: str) -> Client:
    user = get_user_model().objects.create_user("operator", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return browser_of(user)


def test_the_page_of_a_user_links_to_the_sessions(root: Client) -> None:
    alice = django_project.make_user("alice")
    page = root.get(f"/admin/auth/user/{alice.pk}/change/").content.decode()
    assert f'href="{page_of(alice)}"' in page


def test_the_devices_of_a_user_are_listed_and_no_others(root: Client) -> None:
    alice = django_project.make_user("alice")
    browsers = [browser_of(alice) for _ in range(2)]
    labelled = SessionStore(browsers[1].cookies[COOKIE].value)
    labelled.label = "<b>kitchen</b>"
    labelled.save()
    text = root.get(page_of(alice)).content.decode()
    assert sorted(shown(text)) == sorted(key_of(each)[:10] for each in browsers)
    assert "Sessions of alice" in text
    assert "&lt;b&gt;kitchen&lt;/b&gt;" in text
    for browser in browsers:
        assert browser.cookies[COOKIE].value not in text
        assert key_of(browser) not in text
    assert "(yours)" not in text
    own = root.get(page_of(get_user_model().objects.get(username="root"))).content.decode()
    assert "(yours)" in own


def test_a_user_without_sessions_is_told(root: Client) -> None:
    alice = django_project.make_user("alice")
    assert b"not logged in anywhere" in root.get(page_of(alice)).content


def test_one_session_is_ended(root: Client) -> None:
    alice = django_project.make_user("alice")
    one, other = browser_of(alice), browser_of(alice)
    done = root.post(page_of(alice), {"session": key_of(one)[:10]}, follow=True)
    assert messages_in(done) == ["1 session ended."]
    assert shown(done.content.decode()) == [key_of(other)[:10]]
    assert (who(one), who(other)) == ("", "alice")
    (entry,) = LogEntry.objects.all()
    assert (entry.object_id, entry.change_message) == (str(alice.pk), "1 session ended.")


def test_a_session_of_another_user_is_not_ended(root: Client) -> None:
    alice, bob = map(django_project.make_user, ("alice", "bob"))
    browser = browser_of(bob)
    done = root.post(page_of(alice), {"session": key_of(browser)[:10]}, follow=True)
    assert messages_in(done) == ["0 sessions ended."]
    assert who(browser) == "bob"
    assert not LogEntry.objects.exists()


def test_all_sessions_are_ended_but_the_operators_own(root: Client) -> None:
    user = get_user_model().objects.get(username="root")
    other = browser_of(user)
    root.post(page_of(user))
    assert (who(other), who(root)) == ("", "root")
    alice = django_project.make_user("alice")
    browsers = [browser_of(alice) for _ in range(2)]
    root.post(page_of(alice))
    assert [who(each) for each in browsers] == ["", ""]
    assert manager().sessions_of(str(alice.pk)) == []


def test_an_operator_who_only_views_users_ends_nothing() -> None:
    alice = django_project.make_user("alice")
    browser, viewer = browser_of(alice), operator("view_user")
    text = viewer.get(page_of(alice)).content.decode()
    assert shown(text) == [key_of(browser)[:10]]
    assert "<button" not in text.partition('id="content-main"')[2]
    assert viewer.post(page_of(alice)).status_code == 403
    assert who(browser) == "alice"


def test_an_operator_without_users_sees_nothing() -> None:
    alice = django_project.make_user("alice")
    assert operator().get(page_of(alice)).status_code == 403
    stranger = Client().get(page_of(alice))
    assert (stranger.status_code, stranger["Location"].partition("?")[0]) == (302, "/admin/login/")
    assert browser_of(alice).get(page_of(alice)).status_code == 302


def test_a_form_without_its_token_is_refused(root: Client) -> None:
    alice = django_project.make_user("alice")
    browser, strict = browser_of(alice), Client(enforce_csrf_checks=True)
    strict.cookies = root.cookies
    assert strict.post(page_of(alice)).status_code == 403
    assert who(browser) == "alice"


def test_a_user_that_is_gone_is_not_found(root: Client) -> None:
    assert root.get("/admin/auth/user/987654/sessions/").status_code == 404


def test_the_action_is_offered(root: Client) -> None:
    alice = django_project.make_user("alice")
    browser = browser_of(alice)
    form = {"action": "end_sessions", "_selected_action": [alice.pk]}
    root.post("/admin/auth/user/", form)
    assert who(browser) == ""
