"""A Django site moves from Django's sessions by three lines of settings, and nobody notices."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from gunicorn_server import GunicornServer
from moving_visitor import MovingVisitor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moving_visitor import Page

pytestmark = pytest.mark.soak
SITE = Path(__file__).parents[1] / "support" / "club_site"
PASSWORD = "a long pass phrase"
LINES = """
WSGI_SESSIONS = {"FORMER_ENGINE": SESSION_ENGINE, "IMPORT_UNTIL": "2090-12-31"}
SESSION_ENGINE = "wsgi_sessions.contrib.django"
INSTALLED_APPS += ["wsgi_sessions.contrib.django"]
"""
WITH_MIDDLEWARE = """
MIDDLEWARE[1] = "wsgi_sessions.contrib.django.SessionMiddleware"
MESSAGE_STORAGE = "wsgi_sessions.contrib.django.MessageStorage"
"""
OURS = dict.fromkeys(["WSGI_SESSIONS_URL", "WSGI_SESSIONS_SECRET_KEYS"])


class ClubSite:
    """The site in a folder of its own, as it was and as it is after the move."""

    def __init__(self, folder: Path, engine: str) -> None:
        self._folder = folder
        self._settings = folder / "club" / "settings.py"
        self._environ = {
            **dict.fromkeys(["DJANGO_SETTINGS_MODULE", "WSGI_SESSIONS_APPLICATION"]),
            **OURS,
            "PYTHONPATH": str(folder),
            "CLUB_ENGINE": engine,
            "XDG_STATE_HOME": str(folder / "state"),
            "DJANGO_SUPERUSER_PASSWORD": PASSWORD,
        }

    def move(self, lines: str) -> None:
        """Append lines to the settings."""
        with self._settings.open("a") as file:
            file.write(lines)

    def manage(self, *words: str) -> str:
        """Run ``manage.py``, and return what it printed."""
        environ = {**os.environ, **self._environ}
        done = subprocess.run(
            [sys.executable, str(self._folder / "manage.py"), *words],
            cwd=self._folder,
            env={name: value for name, value in environ.items() if value is not None},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    @contextmanager
    def served(self) -> Iterator[int]:
        with GunicornServer(
            worker_class="gthread", workers=2, app="club.wsgi:application", environ=self._environ
        ) as server:
            yield server.port
            assert "Traceback" not in server.log(), server.log()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site with its tables and an operator."""
    folder = tmp_path_factory.mktemp("club")
    shutil.copytree(SITE, folder, dirs_exist_ok=True)
    site = ClubSite(folder, "db")
    site.manage("migrate", "-v0")
    site.manage("createsuperuser", "--noinput", "--username=root", "--email=root@example.org")
    return folder


@pytest.fixture
def folder(prepared: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    return tmp_path


def sign_up(port: int, name: str) -> MovingVisitor:
    visitor = MovingVisitor()
    form = visitor.get(port, "/accounts/signup/").form
    page = visitor.post(port, "/accounts/signup/", form, username=name, password1=PASSWORD)
    assert (page.statuses, page.user) == ([302, 200], name)
    return visitor


def operator(port: int) -> MovingVisitor:
    visitor, path = MovingVisitor(), "/admin/login/?next=/admin/auth/user/"
    form = visitor.get(port, path).form
    page = visitor.post(port, path, form, username="root", password=PASSWORD)
    assert (page.statuses, "Log out" in page.body) == ([302, 200], True)
    return visitor


def put(port: int, visitor: MovingVisitor, form: dict[str, str], item: str) -> Page:
    page = visitor.post(port, "/", form, item=item)
    assert page.statuses == [302, 200]
    assert page.flashes[-1] == f"put {item}"
    return page


@pytest.mark.parametrize(
    ("engine", "more"),
    [
        ("db", WITH_MIDDLEWARE),
        ("cached_db", ""),
        ("cache", ""),
        ("file", ""),
        ("signed_cookies", ""),
    ],
    ids=lambda value: value if value.isidentifier() else "",
)
def test_clients_of_a_django_site_do_not_notice_the_move(
    folder: Path, engine: str, more: str
) -> None:
    site = ClubSite(folder, engine)
    with site.served() as port:
        alice, bob = sign_up(port, "alice"), sign_up(port, "bob")
        put(port, alice, alice.get(port, "/").form, "novel")
        root = operator(port)
        forms = {who: who.get(port, "/").form for who in (alice, bob)}
        former = dict(bob.cookies)
        stranger = MovingVisitor()
        at_login = stranger.get(port, "/accounts/login/").form  # a form that is still to be sent
    site.move(LINES + more)
    with site.served() as port:
        assert put(port, alice, forms[alice], "atlas").cart == "novel,atlas"
        assert put(port, bob, forms[bob], "poems").cart == "poems"
        assert put(port, alice, alice.get(port, "/").form, "maps").cart == "novel,atlas,maps"
        assert "Log out" in root.get(port, "/admin/auth/user/").body
        page = stranger.post(
            port, "/accounts/login/?next=/", at_login, login="alice", password=PASSWORD
        )
        assert (page.statuses, page.user) == ([302, 200], "alice")
        bob.post(port, "/accounts/logout/", bob.get(port, "/").form)
        assert bob.get(port, "/").statuses == [302, 200]
        bob.cookies = former
        assert bob.get(port, "/").user == "", "the former cookie is dead too"


def test_the_sites_own_tests_and_checks_pass_as_before(folder: Path) -> None:
    site = ClubSite(folder, "db")
    before = site.manage("test", "-v2")
    for lines in (LINES, WITH_MIDDLEWARE):
        site.move(lines)
        site.manage("check", "--fail-level=WARNING")
        after = site.manage("test", "-v2")
        assert after.count("... ok") == before.count("... ok") > 0
