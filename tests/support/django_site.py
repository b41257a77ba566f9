"""A Django site with sessions, run as a program of its own: what a user's browser got from it.

``python django_site.py SETTINGS PATH [COOKIE]``: serves one request, and prints the body and the
cookie that was set, as JSON. SETTINGS is JSON, merged into the site's.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, NamedTuple

SECRET = "django's own (secret) key: #$%, of its settings"  # signs as by startproject


class JSONSerializer:
    """Of a cache, where the default is pickle."""

    def dumps(self, value: object) -> bytes:
        return json.dumps(value).encode("latin-1")

    def loads(self, data: bytes) -> Any:
        return json.loads(data)


class DjangoAnswer(NamedTuple):
    """What the browser got."""

    body: dict[str, Any]
    cookie: str | None


def on_sql(engine: str, address: str) -> dict[str, Any]:
    """Settings for sessions in a database; `address` is a path, or a libpq connection string."""
    from psycopg.conninfo import conninfo_to_dict

    database: dict[str, Any] = {"ENGINE": f"django.db.backends.{engine}", "NAME": address}
    if engine == "postgresql":
        parts = conninfo_to_dict(address)
        database.update(NAME=parts["dbname"], HOST=parts["host"], USER=parts["user"])
        database.update(PASSWORD=parts.get("password", ""), PORT=parts.get("port", ""))
    engine_of_sessions = "django.contrib.sessions.backends.db"
    return {"DATABASES": {"default": database}, "SESSION_ENGINE": engine_of_sessions}


def on_redis(url: str, serializer: str | None) -> dict[str, Any]:
    """Settings for sessions in a cache; None is the cache's own serializer, which is pickle."""
    options = {} if serializer is None else {"serializer": serializer}
    cache = {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": url,
        "OPTIONS": options,
    }
    engine = "django.contrib.sessions.backends.cache"
    return {"CACHES": {"default": cache}, "SESSION_ENGINE": engine}


def visit(settings: dict[str, Any], path: str, cookie: str | None = None) -> DjangoAnswer:
    """Have the site serve one request, in a process of its own."""
    arguments = [json.dumps(settings), path, *([] if cookie is None else [cookie])]
    done = subprocess.run(
        [sys.executable, __file__, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return DjangoAnswer(*json.loads(done.stdout))


def _serve(settings: dict[str, Any], path: str, cookie: str | None) -> DjangoAnswer:
    import django
    from django.conf import settings as site
    from django.core.management import call_command
    from django.http import JsonResponse
    from django.test import Client
    from django.urls import path as route

    def login(request: Any) -> JsonResponse:
        request.session.update({"_auth_user_id": "7", "cart": ["tea", {"n": 2}], "name": "Zoë"})
        if "expiry" in request.GET:
            request.session.set_expiry(int(request.GET["expiry"]))
        return JsonResponse({})

    def show(request: Any) -> JsonResponse:
        return JsonResponse(dict(request.session.items()))

    site.configure(
        **{
            "SECRET_KEY": SECRET,
            "ALLOWED_HOSTS": ["*"],
            "ROOT_URLCONF": (route("login", login), route("show", show)),
            "INSTALLED_APPS": ["django.contrib.sessions"],
            "MIDDLEWARE": ["django.contrib.sessions.middleware.SessionMiddleware"],
            "USE_TZ": True,
            **settings,
        }
    )
    django.setup()
    if "DATABASES" in settings:
        call_command("migrate", verbosity=0)
    browser = Client()
    if cookie is not None:
        browser.cookies["sessionid"] = cookie
    response = browser.get(path)
    jar = response.cookies
    return DjangoAnswer(json.loads(response.content), jar["sessionid"].value if jar else None)


if __name__ == "__main__":
    given, path, *cookies = sys.argv[1:]
    print(json.dumps(_serve(json.loads(given), path, cookies[0] if cookies else None)))
