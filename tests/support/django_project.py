"""A Django site in the tests' own process, as its settings file would have it."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import django
from django.conf import settings
from django.contrib import messages
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import call_command
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from wsgi_sessions import select_context

if TYPE_CHECKING:
    from collections.abc import Iterator

ENGINE = "wsgi_sessions.contrib.django"
SECRET = "django's own (secret) key: #$%, of its settings"
PASSWORD = "a long pass phrase"
DJANGOS = "django.contrib.sessions.middleware.SessionMiddleware"
WIRING = "DJANGO_PROJECT_WIRING"
"""Set for servers under test: "engine" (alone, under Django's middleware) or "wrapped"."""


def show(request: HttpRequest) -> JsonResponse:
    """What the session holds."""
    return JsonResponse(dict(request.session.items()))


def put(request: HttpRequest) -> JsonResponse:
    """Assign the query's keys."""
    request.session.update(request.GET.dict())
    return JsonResponse(dict(request.session.items()))


@csrf_exempt  # type: ignore[untyped-decorator]  # Django has no annotations
def enter(request: HttpRequest) -> HttpResponse:
    """Log the named user in."""
    from django.contrib.auth import authenticate, login

    login(request, authenticate(request, username=request.GET["name"], password=PASSWORD))
    return HttpResponse(request.session.session_key)


def leave(request: HttpRequest) -> HttpResponse:
    """Log out."""
    from django.contrib.auth import logout

    logout(request)
    return HttpResponse("out")


def whoami(request: HttpRequest) -> HttpResponse:
    """The user's name, or nothing."""
    return HttpResponse(request.user.get_username())


def nothing(_request: HttpRequest) -> HttpResponse:
    """A page that does not look at the session."""
    return HttpResponse("nothing")


def fails(request: HttpRequest) -> HttpResponse:
    """A 500 after a change."""
    request.session["failed"] = True
    return HttpResponse("failed", status=500)


def stream(request: HttpRequest) -> StreamingHttpResponse:
    """Changes the session while its body is made."""

    def chunks() -> Iterator[bytes]:
        yield b"begun"
        request.session["streamed"] = True
        yield b", and ended"

    return StreamingHttpResponse(chunks())


def say(request: HttpRequest) -> HttpResponse:
    """Add a message."""
    messages.info(request, request.GET["text"])
    return HttpResponse("said")


def hear(request: HttpRequest) -> JsonResponse:
    """Show all messages."""
    return JsonResponse({"heard": [str(each) for each in messages.get_messages(request)]})


def bump(request: HttpRequest) -> HttpResponse:
    """Count, and keep what came, in a list and under a key of its own."""
    item = request.GET["item"]
    request.session.increment("n")
    cart = request.session.setdefault("cart", [])
    time.sleep(int(request.GET.get("hold", 0)) / 1000)  # others change it meanwhile
    cart.append(item)
    request.session[f"item {item}"] = True
    return HttpResponse("ok")


def select(request: HttpRequest) -> HttpResponse:
    """Remember a deal for the user."""
    return HttpResponse(str(select_context(request.META, request.GET["deal"], "deal")))


async def aput(request: HttpRequest) -> JsonResponse:
    """Assign the query's keys, in an asynchronous view."""
    await request.session.aupdate(request.GET.dict())
    return JsonResponse(dict(await request.session.aitems()))


VIEWS = (aput, select, show, put, enter, leave, whoami, nothing, fails, stream, say, hear, bump)
urlpatterns = [path(view.__name__, view) for view in VIEWS]


SETTINGS: dict[str, Any] = {
    "SECRET_KEY": SECRET,
    "ALLOWED_HOSTS": ["*"],
    "ROOT_URLCONF": __name__,
    "DATABASES": {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    "INSTALLED_APPS": [
        "django.contrib.admin.apps.SimpleAdminConfig",
        "django.contrib.contenttypes",
        "django.contrib.auth",
        "django.contrib.sessions",
        "django.contrib.messages",
        ENGINE,
    ],
    "MIDDLEWARE": [
        DJANGOS,
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    "TEMPLATES": [{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
    "PASSWORD_HASHERS": ["django.contrib.auth.hashers.MD5PasswordHasher"],
    "SESSION_ENGINE": ENGINE,
    "WSGI_SESSIONS_SWEEP_INTERVAL": "off",
    "USE_TZ": True,
    "STATIC_URL": "/static/",
    "MEDIA_URL": "/media/",
}


def served() -> dict[str, Any]:
    """The settings of a server under test, whose store its environment names."""
    middlewares = SETTINGS["MIDDLEWARE"]
    if os.environ[WIRING] == "wrapped":
        middlewares = [f"{ENGINE}.SessionMiddleware", *middlewares[1:]]
    storage = f"{ENGINE}.MessageStorage"
    return {
        **SETTINGS,
        "MIDDLEWARE": middlewares,
        "MESSAGE_STORAGE": storage,
        "SESSION_COOKIE_NAME": "session",
    }


def configure() -> None:
    """Set the process' Django up, once."""
    if settings.configured:
        return
    if WIRING in os.environ:
        settings.configure(**served())
    else:
        settings.configure(**SETTINGS, WSGI_SESSIONS_URL="memory://")
    django.setup()
    call_command("migrate", verbosity=0)


def make_user(name: str) -> Any:
    """A user with `PASSWORD`."""
    from django.contrib.auth import get_user_model

    users = get_user_model().objects
    return users.filter(username=name).first() or users.create_user(name, password=PASSWORD)


configure()


def create() -> Any:
    """The application of a server under test."""
    from wsgi_sessions.contrib.django import wrap

    handler = WSGIHandler()
    return wrap(handler) if os.environ[WIRING] == "wrapped" else handler
