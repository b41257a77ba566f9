"""The ``flask.session`` mapping, over the `Session` of the request."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from flask.sessions import SessionMixin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsgi_sessions.contrib.flask.ending import Ending

_FLASHES = "_flashes"
_CHANGING = ("increment", "append", "cycle_id")
_UNLESS_HIDDEN = (*_CHANGING, "exclusive", "commit", "flush", "lost")


class FlaskSession(SessionMixin):
    """The `Session` of a request, as Flask applications and extensions expect it.

    It reads and writes the same session as ``wsgi_sessions.get_session(request.environ)``, which
    has more methods.

    As in Flask, `clear` and the removal of the last key end the session: its id is dead. A session
    with nothing but its `permanent` flag is not stored. Values of a subclass (a ``str``
    enumeration, an OrderedDict, a lazy translation) are stored as the plain value that they equal
    (see `wsgi_sessions.core.record.plain`), and later changes in them are detected.

    In a template, ``{{ session.name }}`` is the key ``name``, even if the `Session` has an
    attribute of that name: `increment`, `append`, `exclusive`, `commit`, `cycle_id`, `flush` and
    `lost` are available here only if no key has that name. `current_session` always has them all.

    Pass ``dict(session)`` to ``json.dumps``: as in Flask itself, the proxy ``flask.session`` is not
    a dict.
    """

    def __init__(self, ending: Ending) -> None:
        self._ending = ending
        self._session = ending.exchange.transaction.session

    # -- the mapping ---------------------------------------------------------------------------

    def __getitem__(self, key: str) -> Any:
        return self._session[key]

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, or `default`."""
        return self._session.get(key, default)

    def __setitem__(self, key: str, value: Any) -> None:
        if key == _FLASHES and isinstance(value, list) and key not in self._session:
            # `flask.flash` assigns a new list, but means to append.
            self._session.setdefault(_FLASHES, []).extend(value)
        else:
            self._session[_key(key)] = value
        self._ending.changed()

    def setdefault(self, key: str, default: Any = None) -> Any:
        """See `Session.setdefault`."""
        if key in self:
            return self[key]
        self._ending.changed()
        return self._session.setdefault(_key(key), default)

    def __delitem__(self, key: str) -> None:
        del self._session[_key(key)]
        self._ending.changed()

    def __contains__(self, key: object) -> bool:
        return key in self._session

    def __iter__(self) -> Iterator[str]:
        return iter(self._session)

    def __len__(self) -> int:
        return len(self._session)

    def clear(self) -> None:
        """End the session, as `Session.flush` does; later values begin a new one."""
        self._session.flush()
        self._ending.flushed()

    def __repr__(self) -> str:
        return f"<Flask{repr(self._session)[1:]}"

    # -- more of what a dict has, as a dict --------------------------------------------------------

    def copy(self) -> dict[str, Any]:
        """Return the keys and values. Changes inside values count, those of the copy do not."""
        return dict(self)

    __copy__ = copy

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        return deepcopy(dict(self), memo)

    def __reversed__(self) -> Iterator[str]:
        return reversed(list(self))

    def __or__(self, other: object) -> dict[str, Any]:
        return dict(self) | dict(other) if isinstance(other, Mapping) else NotImplemented

    def __ror__(self, other: object) -> dict[str, Any]:
        return dict(other) | dict(self) if isinstance(other, Mapping) else NotImplemented

    def __ior__(self, other: Any) -> FlaskSession:  # type: ignore[misc]  # `|` gives a dict
        self.update(other)
        return self

    # -- what Flask's sessions know about themselves ---------------------------------------------

    @property
    def sid(self) -> str | None:
        """The name of the session in logs and for `destroy_sessions_of`; None while it is new.

        In Flask-Session this is the id itself. Here it gives no access, and it changes with the id.
        """
        return self._session.key

    @property
    def permanent(self) -> bool:
        """Whether it outlives the browser, for PERMANENT_SESSION_LIFETIME without use."""
        return self._ending.is_permanent()

    @permanent.setter
    def permanent(self, value: bool) -> None:
        _ = self._session.new  # an access, so that the commit considers it
        self._ending.permanent = bool(value)
        self._ending.changed()

    @property
    def new(self) -> bool:  # type: ignore[override]  # a constant in the mixin
        """True while nothing of this session is stored."""
        return self._session.new

    @property
    def accessed(self) -> bool:
        """Whether it was read or written, so that the response depends on it."""
        return self._session.accessed

    @accessed.setter
    def accessed(self, value: bool) -> None:
        """Ignored: Flask sets it when the session is merely named; only real accesses count."""

    @property
    def modified(self) -> bool:
        """Whether it was changed in this request, also in place.

        Setting it to False undoes all changes so far. Changes are detected without setting it to
        True; that renews a permanent session, as in Flask.
        """
        return self._ending.is_modified()

    @modified.setter
    def modified(self, value: bool) -> None:
        self._ending.modified = bool(value)

    def __getattr__(self, name: str) -> Any:
        """Return what `Session` has under these names, unless a key hides it."""
        if name not in _UNLESS_HIDDEN or name in self._session:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        if name in _CHANGING:
            self._ending.changed()
        if name == "flush":
            return self.clear
        return getattr(self._session, name)


def ending_of(session: FlaskSession) -> Ending:
    """Return the ending, for the interface: a function, so that no attribute hides a key in a
    template."""
    return session._ending  # noqa: SLF001  # of this package


def _key(key: str) -> str:
    """Return a key as plain text, as for a member of a ``str`` enumeration."""
    return str.__str__(key) if isinstance(key, str) else key
