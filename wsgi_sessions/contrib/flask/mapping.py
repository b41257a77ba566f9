"""What ``flask.session`` is: Flask's mapping, over the `Session` of the request."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from flask.sessions import SessionMixin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsgi_sessions.contrib.flask.ending import Ending

_FLASHES = "_flashes"
_METHODS = ("increment", "append", "exclusive", "commit", "cycle_id", "flush")


class FlaskSession(SessionMixin):
    """The `Session` of a request as Flask's applications and extensions expect it.

    It reads and writes the same session as ``wsgi_sessions.get_session(request.environ)``, which
    has more to offer.

    As in Flask, `clear`, and removing the last key, end the session: its id is dead. A session that
    holds nothing but that it is `permanent` is not stored. Values of a
    subclass (a ``str`` enumeration, an OrderedDict, a lazy translation) are stored as the plain
    value that they equal (see `wsgi_sessions.core.record.plain`), and what is changed in them later
    is found.

    In a template, ``{{ session.name }}`` is the key ``name``, also where a method of the `Session`
    has that name: `increment`, `append`, `exclusive`, `commit`, `cycle_id` and `flush` are found
    here only where no key is called so. `current_session` has them in any case, with their types.

    ``json.dumps`` takes ``dict(session)``: as with Flask's own, the proxy ``flask.session`` is not
    a dict.
    """

    def __init__(self, ending: Ending) -> None:
        self._ending = ending
        self._session = ending.exchange.transaction.session

    # -- the mapping ---------------------------------------------------------------------------

    def __getitem__(self, key: str) -> Any:
        return self._session[key]

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key, or `default`."""
        return self._session.get(key, default)

    def __setitem__(self, key: str, value: Any) -> None:
        if key == _FLASHES and isinstance(value, list) and key not in self._session:
            # `flask.flash` assigns a list of its own, and means to append.
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
        """End the session, as by `Session.flush`; what is stored after this begins a new one."""
        self._session.flush()
        self._ending.flushed()

    def __repr__(self) -> str:
        return f"<Flask{repr(self._session)[1:]}"

    # -- more of what a dict has, as a dict --------------------------------------------------------

    def copy(self) -> dict[str, Any]:
        """Its keys and values. A change of a value is found, one of the copy itself is not."""
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
        """What names the session in logs and for `destroy_sessions_of`; None while it is new.

        Flask-Session has the id itself under this name. Here nobody can log in with it, and it
        changes with the id.
        """
        return self._session.key

    @property
    def permanent(self) -> bool:
        """Whether it outlives the browser, for PERMANENT_SESSION_LIFETIME of idleness."""
        return self._ending.is_permanent()

    @permanent.setter
    def permanent(self, value: bool) -> None:
        _ = self._session.new  # an access, so that the commit looks at it
        self._ending.permanent = bool(value)
        self._ending.changed()

    @property
    def new(self) -> bool:  # type: ignore[override]  # a constant in the mixin
        """True while nothing of this session is stored."""
        return self._session.new

    @property
    def accessed(self) -> bool:
        """Whether anything of it was read or written, so that the response depends on it."""
        return self._session.accessed

    @accessed.setter
    def accessed(self, value: bool) -> None:
        """Flask says so as soon as the session is named; what counts is that it was looked at."""

    @property
    def modified(self) -> bool:
        """Whether it was changed in this request, in place too.

        Setting it to False undoes what was changed so far. To set it to True is never needed for a
        change to be found; it renews a permanent session, as in Flask.
        """
        return self._ending.is_modified()

    @modified.setter
    def modified(self, value: bool) -> None:
        self._ending.modified = bool(value)

    def __getattr__(self, name: str) -> Any:
        """The methods of `Session` that Flask's applications know by these names, but for those
        that a key hides."""
        if name not in _METHODS or name in self._session:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        if name not in ("exclusive", "commit", "flush"):
            self._ending.changed()
        if name == "flush":
            return self.clear
        return getattr(self._session, name)


def ending_of(session: FlaskSession) -> Ending:
    """For the interface, so that no name of ours stands in the way of a key in a template."""
    return session._ending  # noqa: SLF001  # of this package


def _key(key: str) -> str:
    """A key without a subclass: a member of a ``str`` enumeration is its text."""
    return str.__str__(key) if isinstance(key, str) else key
