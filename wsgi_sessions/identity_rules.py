"""Rules over a draft: which of an application's own keys give the session another id. Pure.

An application that logs users in by ``session["user_id"] = …`` calls no `Session.login`. What it
does to its keys is the same, and these rules make the same of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wsgi_sessions import texts
from wsgi_sessions.draft import PRINCIPAL
from wsgi_sessions.merge import ABSENT

if TYPE_CHECKING:
    from wsgi_sessions.commit import Activity
    from wsgi_sessions.draft import Draft, Headers


@texts.shows()
@dataclass(frozen=True)
class IdentityRules:
    """The keys of an application that hold its user, and what that user may do.

    `principal_key` holds the user (``user_id``): when it appears or changes, or is set again, the
    session is bound and its id cycled as by `Session.login`; when it goes, the id is cycled too.

    `privilege_keys` (``role``, ``is_admin``) hold rights: when one appears, goes, or gets another
    value, the id is cycled; a value that equals the stored one cycles nothing. `confirming_keys`
    (Flask-Login's ``_fresh``) cycle the id whenever they are set to a true value, and never
    otherwise: the user was asked for the password again.

    `keys` are all of these.
    """

    principal_key: str | None = None
    privilege_keys: tuple[str, ...] = ()
    confirming_keys: tuple[str, ...] = ()
    keys: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        principal = () if self.principal_key is None else (self.principal_key,)
        keys = frozenset((*principal, *self.privilege_keys, *self.confirming_keys))
        object.__setattr__(self, "keys", keys)

    def changed(self, draft: Draft, activity: Activity = "user") -> bool:
        """Whether a stored session is to get a new id, or another principal.

        Nothing of it may be stored under the id that it has: that may have been planted. What
        changes rights in the background is stored there all the same: no cookie goes out that could
        bring another id.
        """
        if draft.snapshot is None:
            return False
        if draft.cycling or PRINCIPAL in draft.marks_delta():
            return True
        if not (self.keys and draft.data.may_differ(self.keys)):
            return False
        return self._sets_principal(draft) or (activity == "user" and self._changes_rights(draft))

    def follow(self, draft: Draft, headers: Headers = "open", activity: Activity = "user") -> None:
        """Bind the session, and have its id cycled, as the request's changes require.

        From one principal to another, only what this request made by itself goes along (see
        `Draft.begin_anew`), as by `Session.login`. With closed `headers` the draft is only marked
        as one that needs a cookie.
        """
        if headers == "closed":
            if self.changed(draft, activity):
                draft.cycling = draft.cycling or "rights"
            return
        if self._changes_rights(draft):
            draft.cycling = "login" if draft.cycling == "login" else "rights"
        self._hand_over(draft)
        self.bind(draft)

    def bind(self, draft: Draft) -> None:
        """Bind the session to what the principal key holds, if that was set, under another id.

        Also to the same principal: that is how a password is asked for again, and a cookie that was
        stolen before must not become a fresh one.
        """
        if self._sets_principal(draft):
            principal = self._named_principal(draft)
            draft.set_mark(PRINCIPAL, principal)
            draft.cycling = "rights" if principal is None else "login"

    def _sets_principal(self, draft: Draft) -> bool:
        if self.principal_key is None or not draft.data.is_set(self.principal_key):
            return False
        return draft.mark(PRINCIPAL) is not None or self._named_principal(draft) is not None

    def _changes_rights(self, draft: Draft) -> bool:
        """Whether a request changed rights of a stored session, or confirmed its user.

        A session that is not stored yet gets an id that is known to nobody in any case.
        """
        if draft.snapshot is None:
            return False
        data = draft.data
        return any(data.is_another(key) for key in self.privilege_keys) or any(
            data.is_assigned(key) and bool(data.peek(key)) for key in self.confirming_keys
        )

    def _hand_over(self, draft: Draft) -> None:
        """Leave what belongs to the former principal behind, if there is another one now."""
        if not self._sets_principal(draft):
            return
        before, principal = draft.mark(PRINCIPAL), self._named_principal(draft)
        if None not in (before, principal) and principal != before:
            key = str(self.principal_key)
            value = draft.data.peek(key)
            draft.begin_anew()
            draft.data.set(key, value)

    def _named_principal(self, draft: Draft) -> str | int | None:
        """What the application's own principal key holds, as a principal."""
        value = ABSENT if self.principal_key is None else draft.data.peek(self.principal_key)
        if value is ABSENT or value is None:
            return None
        return value if type(value) is int else str(value)
