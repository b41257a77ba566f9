"""Actions on sessions in the admin of a Django site."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wsgi_sessions.contrib.django.site import site

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.http import HttpRequest


def told(ended: int) -> str:
    """Return the message about ended sessions."""
    return f"{ended} session{'' if ended == 1 else 's'} ended."


def end_sessions(modeladmin: Any, request: HttpRequest, queryset: Iterable[Any]) -> None:
    """Log the selected users out on all devices; an action for the admin of users::

        @admin.register(User)
        class Users(UserAdmin):
            actions = [end_sessions]

    The session of the operator stays. Not promised: the end of sessions that begin at the same time
    by a log-in; deactivate the account first.
    """
    keep = getattr(request.session, "store_key", None)
    manager = site().sessions().manager
    ended = sum(manager.destroy_sessions_of(str(user.pk), keep=keep) for user in queryset)
    modeladmin.message_user(request, told(ended))


# As Django's decorator does, which would import all of its admin into sites that have none.
end_sessions.short_description = "End all sessions"  # type: ignore[attr-defined]
