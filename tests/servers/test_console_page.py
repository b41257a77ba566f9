"""The console as an operator starts it, and its page in a browser: a phone's and a desktop's."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import TYPE_CHECKING

import chromium
import pytest
from chromium import Chromium
from overlapping import Sessions
from redis_servers import wait_until
from requirements_of_tests import require

from wsgi_sessions import open_backend

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.soak
ADDRESS = re.compile(r"http://127\.0\.0\.1:(\d+)/console/\?token=[\w-]{43}")


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[str]:
    """A console over the sessions in a folder; the URL that it prints. It has to end cleanly."""
    output, command = folder / "output", [sys.executable, "-m", "wsgi_sessions", "console"]
    command += ["--url", f"file://{folder}/sessions", "--bind", "127.0.0.1:0", *options]
    with output.open("wb") as file:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env={**os.environ}
        )
    try:
        wait_until(lambda: ADDRESS.search(output.read_text()) is not None, "the URL", 30)
        found = ADDRESS.search(output.read_text())
        assert found
        yield found[0]
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, output.read_text()
        assert "Traceback" not in output.read_text()
    finally:
        process.kill()
        process.wait()


def filled(folder: Path) -> Sessions:
    sessions = Sessions(open_backend(f"file://{folder}/sessions"))
    for n in range(40):
        session_id = sessions.new(cart=["x" * n * 50])
        if n % 2:
            sessions.login(session_id, "ada@example.org")
        elif n % 4:
            sessions.do(session_id, lambda session: session.update(seen=1))
    return sessions


def test_the_page_is_sound_on_a_phone_and_on_a_desktop_and_refreshes_itself(
    tmp_path: Path,
) -> None:
    require(chromium.available())
    sessions = filled(tmp_path)
    with serving(tmp_path) as url, Chromium(tmp_path / "profile") as browser:
        browser.open(url)
        assert browser.evaluate("location.search") == ""
        base = browser.evaluate("location.href")
        for width in (390, 1280):
            browser.resize(width, 900)
            for path in ("", "user?principal=ada%40example.org"):
                browser.open(base + path)
                assert browser.evaluate("document.documentElement.scrollWidth") <= width
        browser.open(base)
        assert browser.evaluate("document.querySelector('#live .big').textContent") == "40"
        sessions.new(n=1)
        wait_until(
            lambda: browser.evaluate("document.querySelector('#live .big').textContent") == "41",
            "a refresh by the page's own script",
            30,
        )
        assert browser.complaints == []


def test_a_session_is_ended_from_the_page(tmp_path: Path) -> None:
    require(chromium.available())
    sessions = filled(tmp_path)
    with serving(tmp_path, "--allow-revoke") as url, Chromium(tmp_path / "profile") as browser:
        browser.open(url)
        browser.open(browser.evaluate("location.href") + "user?principal=ada%40example.org")
        browser.evaluate("window.confirm = () => true")
        browser.evaluate("document.querySelector('form.revoke button').click()")
        wait_until(lambda: sessions.live() == 39, "the end of one session", 20)
        wait_until(
            lambda: "Ended 1 session." in browser.evaluate("document.body?.textContent ?? ''"),
            "the page that says so",
            20,
        )
        assert browser.complaints == []


def test_the_address_is_of_no_use_without_its_token(tmp_path: Path) -> None:
    filled(tmp_path)
    with serving(tmp_path) as url:
        found = ADDRESS.search(url)
        assert found
        connection = HTTPConnection("127.0.0.1", int(found[1]), timeout=10)
        for path in ("/", "/console/", "/console/board", "/console/?token=x"):
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            assert response.status == 403, path
        connection.close()
