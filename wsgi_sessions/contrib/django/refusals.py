"""The answers of a Django site where its session could not be kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.http import HttpResponse
from django.urls import get_resolver

from wsgi_sessions.contrib.django.site import site
from wsgi_sessions.http.answers import answer_to, refusal_of
from wsgi_sessions.http.environ import TRANSACTION_KEY
from wsgi_sessions.http.reports import report_refusal

if TYPE_CHECKING:
    from django.http import HttpRequest

    from wsgi_sessions.errors import SessionError


def answer(request: HttpRequest, error: SessionError) -> HttpResponse:
    """Report an error; return the site's own page for it, or this package's."""
    opened = site().sessions()
    session: Any = request.session
    if session.transaction is not None:
        session.transaction.discard()  # nothing else must be stored beside this answer
    if TRANSACTION_KEY not in request.META or session.transaction.fault is not error:
        report_refusal(opened.manager.events, error, session.route)
    busy = opened.config.busy_status
    code = refusal_of(error, request.method, busy).code
    handler: Any = getattr(get_resolver().urlconf_module, f"handler{code}", None)
    if handler is not None:
        return handler(request, error)
    made = answer_to(error, request.META, busy)
    response = HttpResponse(made.body, status=int(made.status[:3]), reason=made.status[4:])
    for name, value in made.headers:
        response[name] = value
    return response
