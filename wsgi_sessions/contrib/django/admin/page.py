"""SessionsAdmin: a page in the admin of users with the devices on which a user is logged in."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.timezone import make_naive

from wsgi_sessions.contrib.django.admin.actions import told
from wsgi_sessions.contrib.django.site import site
from wsgi_sessions.texts import shows

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from wsgi_sessions.core.principals import StoredSession


@shows("short_key")
class AdminRow(NamedTuple):
    """A session as the page shows it; times are in the site's time zone."""

    short_key: str
    label: str | None
    began: datetime
    last_used: datetime
    is_current: bool


class SessionsAdmin:
    """A page for each user in the admin: devices, and buttons that end one session, or all::

        @admin.register(User)
        class Users(SessionsAdmin, UserAdmin):
            actions = [end_sessions]

    It needs ``"wsgi_sessions.contrib.django"`` in ``INSTALLED_APPS``, for its templates. Operators
    who may view a user see the page; the buttons are for those who may change the user, and each
    use is in the admin's history. The page has no id and no value of a session. "End all" keeps the
    operator's own session.

    Not promised: the end of sessions that begin at the same time by a log-in; deactivate the
    account first.
    """

    change_form_template = "wsgi_sessions/change_user.html"

    def get_urls(self) -> list[Any]:
        """Called by Django."""
        of_admin: Any = self
        own = path(
            "<path:object_id>/sessions/",
            of_admin.admin_site.admin_view(self.sessions_view),
            name=f"{of_admin.opts.app_label}_{of_admin.opts.model_name}_sessions",
        )
        inherited: Any = super()
        return [own, *inherited.get_urls()]

    def sessions_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Called by Django: shows the page, or ends what its form names."""
        of_admin: Any = self
        # Imported on use: a site without Django's admin has this module too.
        from django.contrib.admin.utils import unquote

        user = of_admin.get_object(request, unquote(object_id))
        if user is None:
            raise Http404("there is no such user")
        may_end = of_admin.has_change_permission(request, user)
        if request.method == "POST":
            if not may_end:
                raise PermissionDenied
            self._end(request, user)
            return HttpResponseRedirect(request.get_full_path())
        if not of_admin.has_view_or_change_permission(request, user):
            raise PermissionDenied
        own = getattr(request.session, "store_key", None)
        found = site().sessions().manager.sessions_of(str(user.pk), current=own)
        context = {
            **of_admin.admin_site.each_context(request),
            "title": f"Sessions of {user}",
            "opts": of_admin.opts,
            "original": user,
            "rows": [_row(each) for each in found],
            "may_end": may_end,
            "own_is_listed": any(each.is_current for each in found),
        }
        return TemplateResponse(request, "wsgi_sessions/user_sessions.html", context)

    def _end(self, request: HttpRequest, user: Any) -> None:
        """End the session that the form names, or all but the operator's own."""
        of_admin: Any = self
        own = getattr(request.session, "store_key", None)
        only = request.POST.get("session")
        which = {"keep": own} if only is None else {"only": only}
        ended = site().sessions().manager.destroy_sessions_of(str(user.pk), **which)
        level = messages.SUCCESS if ended else messages.WARNING
        of_admin.message_user(request, told(ended), level)
        if ended:
            of_admin.log_change(request, user, told(ended))


def _row(stored: StoredSession) -> AdminRow:
    return AdminRow(
        stored.short_key,
        stored.label,
        began=_moment(stored.created_at),
        last_used=_moment(stored.last_used_at),
        is_current=stored.is_current,
    )


def _moment(seconds: float) -> datetime:
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment if settings.USE_TZ else make_naive(moment)
