"""Flask sites that keep their sessions as other libraries do, and what a browser has from them."""

from __future__ import annotations

import tempfile
import warnings
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from uuid import UUID

import redis
from cachelib.file import FileSystemCache
from flask import Flask, jsonify, session
from flask_session import Session
from markupsafe import Markup

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SECRET = "dev"  # what applications do have; shorter than a secret of ours may be
WHEN = datetime(2024, 5, 6, 7, 8, 9, tzinfo=timezone.utc)
PLAIN: dict[str, Any] = {"user_id": 7, "cart": ["tea", {"n": 2}], "name": "Zoë"}
TAGGED: dict[str, Any] = {
    **PLAIN,
    "pair": (1, "two"),
    "raw": b"\x00\xff",
    "uuid": UUID(int=5),
    "when": WHEN,
    " t": [1],
    "escaped": {" t": 1},
}


def import_url(folder: Path) -> str:
    """Of the sessions that Flask-Session keeps in a folder, named by the hash that the installed
    cachelib takes: the last one for Python 3.10 takes md5."""
    with tempfile.TemporaryDirectory() as elsewhere:
        cache: Any = FileSystemCache(elsewhere)
    return f"flask-session+file://{folder}?hash={cache._hash_method(b'').name}"


class UserSite:
    """A site, and what a browser has from it."""

    def __init__(self, config: Mapping[str, Any], values: Mapping[str, Any] = PLAIN) -> None:
        self.app = Flask(__name__)
        self.app.config.update(SECRET_KEY=SECRET, **config)
        self.values = dict(values)
        self.app.add_url_rule("/login", view_func=self._login)
        self.app.add_url_rule("/show", view_func=self._show)
        if "SESSION_TYPE" in config:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of options that it means to drop
                Session(self.app)

    def login(self) -> str:
        """Log in; the cookie."""
        browser = self.app.test_client()
        assert browser.get("/login").status_code == 200
        cookie = browser.get_cookie("session")
        assert cookie is not None
        return cookie.value

    def user(self, cookie: str) -> object:
        """Whom the site takes the browser with this cookie for."""
        browser = self.app.test_client()
        browser.set_cookie("session", cookie)
        found: dict[str, object] = browser.get("/show").get_json()
        return found["user_id"]

    def close(self) -> None:
        """Close its connections to a database."""
        with self.app.app_context():
            self.app.extensions["sqlalchemy"].engine.dispose()

    def _login(self) -> str:
        session.update(self.values)
        return "in"

    def _show(self) -> Any:
        return jsonify(user_id=session.get("user_id"))


def in_cookie(values: Mapping[str, Any] = TAGGED, **config: Any) -> UserSite:
    """Flask's own sessions."""
    return UserSite(config, {**values, "note": Markup("<b>hi</b>")} if values is TAGGED else values)


def in_redis(url: str, **config: Any) -> UserSite:
    """Flask-Session on Redis. It never closes its client: that is done here, after each request."""
    client = redis.Redis.from_url(url)
    site = UserSite({"SESSION_TYPE": "redis", "SESSION_REDIS": client, **config})
    site.app.teardown_appcontext(lambda _: client.close())
    return site


def in_table(url: str, **config: Any) -> UserSite:
    """Flask-Session on a table of SQLAlchemy."""
    config = {"SESSION_TYPE": "sqlalchemy", "SQLALCHEMY_DATABASE_URI": url, **config}
    return UserSite(config)


def in_files(folder: Path, values: Mapping[str, Any] = PLAIN) -> UserSite:
    """Flask-Session on cachelib's files, which are pickles."""
    cache = FileSystemCache(str(folder), threshold=50)
    return UserSite({"SESSION_TYPE": "cachelib", "SESSION_CACHELIB": cache}, values)
