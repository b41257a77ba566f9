"""The site's own tests, as its authors wrote them for an engine of Django."""

from __future__ import annotations

from importlib import import_module

from django.conf import settings
from django.contrib.auth import get_user_model
from django.test import Client, TestCase


class ShelfTests(TestCase):  # type: ignore[misc]  # Django has no annotations
    """What members see."""

    def setUp(self) -> None:
        """Make the users."""
        self.alice = get_user_model().objects.create_user("alice", password="a long pass phrase")
        self.root = get_user_model().objects.create_superuser("root", password="another phrase")

    def test_strangers_are_asked_to_log_in(self) -> None:
        self.assertRedirects(self.client.get("/"), "/accounts/login/?next=/")
        assert settings.SESSION_COOKIE_NAME not in self.client.cookies

    def test_a_log_in_by_the_form(self) -> None:
        form = {"login": "alice", "password": "a long pass phrase"}
        response = self.client.post("/accounts/login/?next=/", form)
        self.assertRedirects(response, "/")
        assert self.client.session["_auth_user_id"] == str(self.alice.pk)
        self.assertContains(self.client.get("/"), "user=alice")

    def test_books_are_put_on_the_shelf(self) -> None:
        self.client.force_login(self.alice)
        response = self.client.post("/", {"item": "novel"}, follow=True)
        self.assertContains(response, "cart=novel")
        self.assertContains(response, "flash=put novel")
        self.client.post("/", {"item": "atlas"})
        assert self.client.session["cart"] == ["novel", "atlas"]
        self.assertContains(self.client.get("/"), "flash=put atlas")
        self.assertNotContains(self.client.get("/"), "flash=")

    def test_a_session_that_a_test_prepares(self) -> None:
        self.client.force_login(self.alice)
        session = self.client.session
        session["cart"] = ["prepared"]
        session.save()
        self.assertContains(self.client.get("/"), "cart=prepared")

    def test_a_log_out_ends_the_session(self) -> None:
        self.client.force_login(self.alice)
        key = self.client.session.session_key
        self.client.post("/accounts/logout/")
        self.assertRedirects(self.client.get("/"), "/accounts/login/?next=/")
        store = import_module(settings.SESSION_ENGINE).SessionStore
        assert not store().exists(key)

    def test_the_admin_logs_in_and_adds_a_user(self) -> None:
        form = {"username": "root", "password": "another phrase", "next": "/admin/"}
        self.assertRedirects(self.client.post("/admin/login/", form), "/admin/")
        fields = {"username": "bob", "password1": "long enough 1", "password2": "long enough 1"}
        response = self.client.post("/admin/auth/user/add/", fields, follow=True)
        self.assertContains(response, "was added successfully")

    def test_a_changed_password_ends_other_sessions(self) -> None:
        other = Client()
        for client in (self.client, other):
            client.force_login(self.alice, "django.contrib.auth.backends.ModelBackend")
        passwords = {
            "oldpassword": "a long pass phrase",
            "password1": "yet another phrase",
            "password2": "yet another phrase",
        }
        self.client.post("/accounts/password/change/", passwords)
        self.assertContains(self.client.get("/"), "user=alice")
        self.assertRedirects(other.get("/"), "/accounts/login/?next=/")

    def test_forms_need_their_token(self) -> None:
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(self.alice)
        assert strict.post("/", {"item": "novel"}).status_code == 403
