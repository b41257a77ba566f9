"""Rules over a draft: which of an application's own keys give the session another id. Pure.

An application that logs users in by ``session["user_id"] = …`` never calls `Session.login`. These
rules treat such a change of its keys in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wsgi_sessions import texts
from wsgi_sessions.core.draft import PRINCIPAL, check_principal
from wsgi_sessions.core.merge.delta import ABSENT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wsgi_sessions.core.commit.loop import Activity
    from wsgi_sessions.core.draft import Draft, HeadersState

CSRF_TOKENS = ("csrf_token", "_csrftoken", "_csrft_")
"""The keys under which Flask-WTF, Django and Pyramid keep a session's CSRF token."""
_CONTAINERS = (dict, list, set, frozenset, tuple)


@texts.shows()
@dataclass(frozen=True)
class IdentityRules:
    """The keys of an application that hold its user and the user's rights.

    Args:
        principal_key: holds the user (``user_id``). When it appears, changes or is set again, the
            session is bound and its id cycled as by `Session.login`; when it goes, the id is cycled
            too.
        privilege_keys: hold rights (``role``, ``is_admin``). When one appears, goes, or gets
            another value, the id is cycled; a value equal to the stored one cycles nothing.
        confirming_keys: (Flask-Login's ``_fresh``) cycle the id whenever they are set to a true
            value, and never otherwise: the user was asked for the password again. A false value
            beside the principal key says that the user was only remembered; if a log-in overlaps
            such a request, the log-in stands and the request is superseded.
        login_keys: name a user (``username``) without binding the session. When one appears or
            changes, the id is cycled as at a log-in, and the data stays. Of a dictionary, list or
            set only its appearance counts, also in place of an empty one.
        login_drops: dropped when an anonymous visitor logs in: a value that was stored before, such
            as a CSRF token, may have been planted by an attacker.

    `keys` are all of these but the last.
    """

    principal_key: str | None = None
    privilege_keys: tuple[str, ...] = ()
    confirming_keys: tuple[str, ...] = ()
    login_keys: tuple[str, ...] = ()
    login_drops: tuple[str, ...] = CSRF_TOKENS
    keys: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        principal = () if self.principal_key is None else (self.principal_key,)
        others = (*self.privilege_keys, *self.confirming_keys, *self.login_keys)
        object.__setattr__(self, "keys", frozenset((*principal, *others)))

    def changed(self, draft: Draft, activity: Activity = "user") -> bool:
        """Return whether a stored session is to get a new id, or another principal.

        Nothing of it may be stored under its present id, which may have been planted. A change of
        rights in the background is stored there all the same: no cookie goes out that could bring
        another id.
        """
        if draft.snapshot is None:
            return False
        if draft.cycling or PRINCIPAL in draft.metadata_delta():
            return True
        if not (self.keys and draft.data.may_differ(self.keys)):
            return False
        return self._sets_principal(draft) or (
            activity == "user" and (self._changes_rights(draft) or self._names_user(draft))
        )

    def follow(
        self, draft: Draft, headers: HeadersState = "open", activity: Activity = "user"
    ) -> None:
        """Bind the session, and have its id cycled, as the request's changes require.

        From one principal to another, only what this request made alone goes along (see
        `Draft.restart`), as by `Session.login`. With closed `headers` the draft is only marked
        as one that needs a cookie.
        """
        if headers == "closed":
            if self.changed(draft, activity):
                draft.cycling = draft.cycling or "rights"
            return
        begun, anonymous = draft.cycling == "login", draft.get_metadata(PRINCIPAL) is None
        if self._names_user(draft):
            draft.cycling = "login"
        elif self._changes_rights(draft):
            draft.cycling = "login" if begun else "rights"
        self._hand_over(draft)
        self.bind(draft)
        logs_in = draft.cycling == "login" or draft.get_metadata(PRINCIPAL) is not None
        if logs_in and anonymous and not begun:
            self.drop_planted(draft)

    def drop_planted(self, draft: Draft, keep: Iterable[str] = ()) -> None:
        """Delete the `login_drops` that were stored before this request, except `keep`.

        What the request itself assigned stays. What others store until the log-in is committed does
        not: an attacker who knows the old id can send a request at that very moment.
        """
        keep = frozenset(keep)
        draft.planted = frozenset(self.login_drops) - keep
        for key in draft.planted:
            if draft.data.has(key) and not draft.data.is_assigned(key):
                draft.data.delete(key)

    def owner(self, draft: Draft) -> str | int | None:
        """Return the principal that the session is bound to, or will be after `bind`.

        Raises UnserializableValue.
        """
        if self._sets_principal(draft):
            return self._named_principal(draft)
        principal: str | int | None = draft.get_metadata(PRINCIPAL)
        return principal

    def bind(self, draft: Draft) -> None:
        """Bind the session to the value of the principal key, if that was set, under another id.

        Also to the same principal: applications set the key again after asking for the password,
        and an earlier stolen cookie must not become a fresh one.
        """
        if self._sets_principal(draft):
            principal = self._named_principal(draft)
            draft.set_metadata(PRINCIPAL, principal)
            remembered = principal is None or self._is_only_remembered(draft)
            draft.cycling = "rights" if remembered else "login"

    def _sets_principal(self, draft: Draft) -> bool:
        if self.principal_key is None or not draft.data.is_set(self.principal_key):
            return False
        return draft.get_metadata(PRINCIPAL) is not None or self._named_principal(draft) is not None

    def _changes_rights(self, draft: Draft) -> bool:
        """Return whether a request changed rights of a stored session, or confirmed its user.

        A session that is not stored yet gets an unknown id in any case.
        """
        if draft.snapshot is None:
            return False
        data = draft.data
        return any(data.is_another(key) for key in self.privilege_keys) or any(
            data.is_assigned(key) and bool(data.peek(key)) for key in self.confirming_keys
        )

    def _is_only_remembered(self, draft: Draft) -> bool:
        """Return whether another cookie named the user, without a log-in in this request.

        Such a request must not stand beside a log-in that overlaps it, let alone undo one.
        """
        data = draft.data
        return any(data.is_assigned(key) and not data.peek(key) for key in self.confirming_keys)

    def _names_user(self, draft: Draft) -> bool:
        return any(
            self._names_another(draft, key) for key in self.login_keys if key != self.principal_key
        )

    def _names_another(self, draft: Draft, key: str) -> bool:
        """Return whether `key` names a user now, and named none or another one before.

        A container that changes may hold more than the name: only its appearance, also in place of
        an empty one or of another kind of value, is a log-in.
        """
        data = draft.data
        if not data.is_another(key) or _is_nobody(data.peek(key)):
            return False
        before = data.stored(key)
        if _is_nobody(before):
            return True
        return not (isinstance(before, _CONTAINERS) and isinstance(data.peek(key), _CONTAINERS))

    def _hand_over(self, draft: Draft) -> None:
        """Leave the former principal's data behind, if there is another principal now."""
        if not self._sets_principal(draft):
            return
        before, principal = draft.get_metadata(PRINCIPAL), self._named_principal(draft)
        if None not in (before, principal) and principal != before:
            key = str(self.principal_key)
            value = draft.data.peek(key)
            draft.restart()
            draft.data.set(key, value)

    def _named_principal(self, draft: Draft) -> str | int | None:
        """Return the value of the application's own principal key, as a principal."""
        value = ABSENT if self.principal_key is None else draft.data.peek(self.principal_key)
        if _is_nobody(value):
            return None
        if type(value) is not int:
            return str(value)
        check_principal(value, str(self.principal_key))
        return value


def _is_nobody(value: Any) -> bool:
    """Return whether a value names no user: it is absent or empty. The number 0 names one."""
    return value is ABSENT or (not value and type(value) is not int)
