"""A name for each application that no setting names.

Two applications of one user, on one Redis or in one database, must not share a session, a secret or
an index. So each has a name, which is part of its default folder, its keys, the signature of its
cookie and its index of users. `WSGI_SESSIONS_APPLICATION` sets it; otherwise it is derived from the
place of the application's code.

A derived name is the same in all workers, threads and commands of an application, after each
restart, and after a deploy into another folder of ``releases/``. It changes when the code moves, or
when the application's function or class is renamed: all users then have to log in again, once. Set
a name to prevent that, or to let several programs share their sessions.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import replace
from functools import cache, partial
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import ref

from wsgi_sessions import texts
from wsgi_sessions.stack.config import Config
from wsgi_sessions.stack.declared.store import APPLICATION, DERIVED
from wsgi_sessions.stack.traits import traits_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType

_URL = "WSGI_SESSIONS_URL"
# A number, a date or a hash: folders with other names there may be several applications.
_RELEASE = re.compile(r"/releases/(?:v?[0-9][0-9._TZ+-]*|[0-9a-f]{7,64})(?=/)")
_LIBRARY = re.compile(r"/lib(?:64)?/python[^/]*/(?:site|dist)-packages(?=/)")
_INNER = ("app", "wsgi_app", "application")
_log = texts.log(__name__)


@texts.shows("name", "origin")
class Application(NamedTuple):
    """The derived name of an application, and the source file it comes from."""

    name: str
    origin: str


def config_for(app: Any, environ: Mapping[str, str], wrapped_in: FrameType) -> Config:
    """Return the configuration in a mapping, with a derived name if none is set: see `derive`.

    Raises ConfigurationError.
    """
    if APPLICATION in environ:
        return Config.from_environ(environ)
    return config_named(environ, derive(app, wrapped_in, environ.get(_URL, "")))


def config_named(environ: Mapping[str, str], application: Application) -> Config:
    """Return the configuration in a mapping, with this name if none is set.

    Raises ConfigurationError.
    """
    config = Config.from_environ({APPLICATION: application.name, **environ})
    if APPLICATION in environ:
        return config
    return replace(
        config, sources={**config.sources, APPLICATION: f"{DERIVED}{application.origin}"}
    )


def derive(app: Any, wrapped_in: FrameType | None = None, store: str = "") -> Application:
    """Return the name of a WSGI application, derived from its code and the place of wrapping.

    Two applications in one store with the same code but different parts, such as two products of a
    factory, are numbered within a process in the order of these calls; a warning says so.
    """
    inside = _inside(app)
    own = _place_of(inside)
    places = [*_place_of_frame(wrapped_in), *own]
    if not own:  # an object of a library, possibly wrapped by a library
        places = [*_place_of_import(wrapped_in), *places]
    origin = next(iter([*own, *places]), os.getcwd())
    return distinct(named_after(origin, *places), store, inside if own else app)


def named_after(origin: str, *places: str) -> Application:
    """Return a name made from that of a file, and a digest of all distinguishing places."""
    path = origin.partition(":")[0]
    words = re.sub(r"[^A-Za-z0-9]+", "-", "-".join(path.removesuffix(".py").split("/")[-2:]))
    digest = texts.hashed("\0".join([origin, *places]))
    return Application(f"{words.strip('-')[-40:].strip('-') or 'app'}-{digest[:8]}", path)


def project_path(file: str) -> str:
    """Return a path of code, independent of its release folder and its interpreter."""
    path = os.path.realpath(file)
    return _LIBRARY.sub("", _RELEASE.sub("", path))


def of_flask(import_name: str, root_path: str) -> Application:
    """Return the name of a Flask application."""
    file = getattr(sys.modules.get(import_name), "__file__", None)
    if file is not None:
        return named_after(project_path(file))
    return named_after(f"{project_path(root_path)}/{import_name}")


def numbered(application: Application, number: int) -> Application:
    """Return the name of the second or a later application that one piece of code makes."""
    if number < 2:
        return application
    other = application._replace(name=f"{application.name}-{number}")
    _log.warning(
        "several applications in this process have the same code (%s) and differ in their parts: "
        "number %d keeps its own sessions, as %s; set %s to one name for all of them to share, "
        "or give each its own: build(app, Config.from_environ({**os.environ, '%s': 'shop'}))",
        application.origin,
        number,
        other.name,
        APPLICATION,
        APPLICATION,
    )
    return other


# -- where code lies -------------------------------------------------------------------------------


def _inside(app: Any) -> Any:
    """Return the application inside a library's middlewares."""
    for _ in range(10):
        if isinstance(app, (FunctionType, MethodType)) or not _is_library(_file_of(type(app))):
            break
        inner = (getattr(app, name, None) for name in _INNER)
        app = next((a for a in inner if callable(a) and not _is_own_method(a, app)), app)
    return app


def _is_own_method(attribute: object, app: object) -> bool:
    return isinstance(attribute, MethodType) and attribute.__self__ is app


def _is_library(file: str | None) -> bool:
    return file is None or _LIBRARY.search(os.path.realpath(file)) is not None


def _file_of(cls: type) -> str | None:
    return getattr(sys.modules.get(cls.__module__), "__file__", None)


def _place_of(app: Any) -> list[str]:
    """Return the file and name of an application's own code; empty for an object of a library."""
    while isinstance(app, partial):
        app = app.func
    if isinstance(app, MethodType):
        app = app.__func__ if isinstance(app.__self__, type) else type(app.__self__)
    if isinstance(app, FunctionType):
        return [f"{project_path(app.__code__.co_filename)}:{app.__qualname__}"]
    import_name = getattr(app, "import_name", None)
    if isinstance(import_name, str):
        return [of_flask(import_name, str(getattr(app, "root_path", os.getcwd()))).origin]
    cls = app if isinstance(app, type) else type(app)
    file = _file_of(cls)
    if file is None or _is_library(file):
        return []
    return [f"{project_path(file)}:{cls.__qualname__}"]


def _place_of_frame(frame: FrameType | None) -> list[str]:
    return [] if frame is None else [project_path(frame.f_code.co_filename)]


def _place_of_import(frame: FrameType | None) -> list[str]:
    """Return the module whose import led to a frame, if the frame's own code lies elsewhere: it may
    be a helper that several applications call."""
    if frame is None:
        return []
    helper = os.path.dirname(os.path.realpath(frame.f_code.co_filename))
    outer: FrameType | None = frame
    while outer is not None:
        file = os.path.realpath(outer.f_code.co_filename)
        # A command's own script (gunicorn, flask) does not differ between applications.
        if outer.f_code.co_name == "<module>" and file.endswith(".py") and not _is_library(file):
            folder = os.path.dirname(file)
            return [] if f"{helper}/".startswith(f"{folder}/") else [project_path(file)]
        outer = outer.f_back
    return []


# -- what tells two applications of one code apart -------------------------------------------------


class _Known(NamedTuple):
    """An application with a name: a weak reference to the object, and its traits."""

    app: ref[Any] | None
    traits: str


def distinct(application: Application, store: str, app: Any) -> Application:
    known = _made(application.name, store)
    traits = traits_of(app)
    for number, other in enumerate(known, 1):
        is_same = other.app is not None and other.app() is app  # even if it has changed since
        if is_same or other.traits == traits:
            return numbered(application, number)
    known.append(_Known(_weak(app), traits))
    return numbered(application, len(known))


def _weak(app: Any) -> ref[Any] | None:
    try:
        return ref(app)
    except TypeError:
        return None


@cache
def _made(_name: str, _store: str) -> list[_Known]:
    """Return all applications of a name so far. The list belongs to the process: it records what
    the process has made."""
    return []
