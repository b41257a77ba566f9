"""The programs of the page about merge policies, run with requests that overlap."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from documents import PAGES, blocks, rows

from wsgi_sessions import Config
from wsgi_sessions.core.merge.policies import POLICIES
from wsgi_sessions.testing import SessionClient

if TYPE_CHECKING:
    import pytest

PAGE = PAGES["howto/merge"]


def test_the_program_merges_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSGI_SESSIONS_URL", "memory://")
    monkeypatch.setenv("WSGI_SESSIONS_SECRET_KEYS", "a-secret-of-the-tests-with-32-bytes")
    names: dict[str, Any] = {}
    exec(blocks("python", PAGE)[0], names)
    with SessionClient(names["application"]) as client:
        client.get("/tea")
        client.parallel("/tea", "/milk", "/tea")
        with client.session() as session:
            assert session["visits"] == 4
            assert session["basket"] == {"/tea": 1, "/milk": 1}


def test_the_setting_is_one_that_is_understood() -> None:
    (line,) = blocks("sh", PAGE)
    variable, value = re.fullmatch(r'(\w+)="(.*)"\n', line).groups()  # type: ignore[union-attr]
    config = Config.from_environ({"WSGI_SESSIONS_URL": "memory://", variable: value})
    assert dict(config.merge)["log.*"] == "append"


def test_the_table_has_each_policy() -> None:
    named = [name for row in rows("policy", PAGE) for name in re.findall(r"`(\w+)`", row[0])]
    assert named == list(POLICIES)
