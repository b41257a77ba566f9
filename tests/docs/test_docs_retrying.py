"""The program of the page about requests that are run again, with requests that overlap."""

from __future__ import annotations

import sqlite3
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from documents import PAGES, blocks
from wsgi_client import Browser

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_the_program_numbers_each_order_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    database = sqlite3.connect("orders.db")
    database.execute("CREATE TABLE orders (number INTEGER)")
    names: dict[str, Any] = {}
    exec(blocks("python", PAGES["howto/retry"])[0], names)
    browser = Browser(names["application"])
    browser.get("/")
    others = iter([1])

    def connect(path: str) -> sqlite3.Connection:
        """The request has read its session; another one comes first, once."""
        if next(others, None):
            assert browser.get("/").body == b"order 2\n"
        return sqlite3.connect(path)

    names["sqlite3"] = SimpleNamespace(connect=connect)
    assert browser.get("/").body == b"order 3\n"
    assert database.execute("SELECT number FROM orders").fetchall() == [(1,), (2,), (3,)]
    database.close()
