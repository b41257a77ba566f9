"""The README fits, and each of its ways in works as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from documents import PAGES, README, blocks
from wsgi_client import Browser

if TYPE_CHECKING:
    from pathlib import Path

PROGRAMS = {
    found[1]: program
    for program in blocks("python", README)
    if (found := re.match(r"# (\w+\.py)", program))
}


def test_it_has_700_to_900_words() -> None:
    assert 700 <= len(README.split()) <= 900


def test_each_way_in_is_short() -> None:
    assert PROGRAMS.keys() == {"shop.py", "settings.py", "app.py"}
    for program in PROGRAMS.values():
        lines = [line for line in program.splitlines() if line and not line.startswith("# ")]
        assert len(lines) <= 9


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for name in ("WSGI_SESSIONS_URL", "WSGI_SESSIONS_SECRET_KEYS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("home")
def test_the_way_in_for_flask() -> None:
    names: dict[str, Any] = {"__name__": "shop"}
    exec(PROGRAMS["shop.py"], names)
    with names["app"].test_client() as client:
        assert [client.get("/").text for _ in range(2)] == ["visit 1\n", "visit 2\n"]


@pytest.mark.usefixtures("home")
def test_the_way_in_for_any_callable() -> None:
    names: dict[str, Any] = {"__name__": "app"}
    exec(PROGRAMS["app.py"], names)
    browser = Browser(names["application"])
    assert [browser.get("/").body for _ in range(2)] == [b"visit 1\n", b"visit 2\n"]
    names["application"].close()


@pytest.mark.soak
@pytest.mark.usefixtures("home")
def test_the_way_in_for_django(tmp_path: Path) -> None:
    """A project as Django makes it, the documented line at the end of its settings, and view."""
    page = PAGES["howto/django"]
    assert "django-admin startproject mysite ." in page
    run(tmp_path, "-m", "django", "startproject", "mysite", ".")
    with (tmp_path / "mysite" / "settings.py").open("a") as settings:
        settings.write(PROGRAMS["settings.py"])
        settings.write("ALLOWED_HOSTS = ['testserver']\n")
    (urls,) = (block for block in blocks("python", page) if block.startswith("# mysite/urls.py"))
    (tmp_path / "mysite" / "urls.py").write_text(urls)
    program = (
        "from django.test import Client\n"
        "client = Client()\n"
        "print(*(client.get('/').content.decode().strip() for _ in range(2)), sep=', ')\n"
    )
    printed = run(tmp_path, "manage.py", "shell", "-c", program)
    assert printed.splitlines()[-1] == "visit 1, visit 2"


def run(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout
