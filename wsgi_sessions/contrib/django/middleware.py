"""SessionMiddleware: in place of Django's, with answers in place of a 500."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.sessions.middleware import SessionMiddleware as DjangoSessionMiddleware

from wsgi_sessions.contrib.django.engine import SessionStore
from wsgi_sessions.contrib.django.refusals import answer
from wsgi_sessions.http.answers import REFUSALS
from wsgi_sessions.http.environ import TRANSACTION_KEY

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponseBase

    from wsgi_sessions.http.exchange import SessionExchange

_ROUTE_LENGTH = 60


class SessionMiddleware(DjangoSessionMiddleware):  # type: ignore[misc]  # Django has no annotations
    """Django's SessionMiddleware, with this package's answers::

        MIDDLEWARE = [
            "django.middleware.security.SecurityMiddleware",
            "wsgi_sessions.contrib.django.SessionMiddleware",  # in place of Django's
            ...
        ]

    A store that does not answer is a 503, a conflict (``ON_CONFLICT = "raise"``) a 409, for the
    requests that need their session: by the URLconf's ``handler503(request, exception)``,
    ``handler409`` or ``handler429`` if it has one, or as `wsgi_sessions.SessionMiddleware` answers.
    A session that was taken over or read in an outage keeps its cookie. Reports name the request.

    Where `wrap` is around the application, the session is that of the WSGI request: changes of a
    streamed response are stored at its end, and leases, version stamps, contexts and exclusive
    paths work as without Django.
    """

    def process_request(self, request: HttpRequest) -> None:
        """Called by Django: gives the request its session. Nothing is read yet."""
        super().process_request(request)
        if not isinstance(request.session, SessionStore):
            return  # SESSION_ENGINE names another
        request.session.environ = request.META
        transaction = request.META.get(TRANSACTION_KEY)
        if transaction is not None:
            exchange: SessionExchange = transaction.request
            exchange.keeping = "what needs no cookie"  # that one is Django's
            request.session.stand_on(transaction)
        request.session.route = f"{request.method} {request.path_info}"[:_ROUTE_LENGTH]

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponseBase | None:
        """Called by Django with an exception of a view."""
        return answer(request, error) if isinstance(error, REFUSALS) else None

    def process_response(self, request: HttpRequest, response: Any) -> HttpResponseBase:
        """Called by Django: saves the session, and sets or deletes the cookie."""
        transaction = getattr(getattr(request, "session", None), "transaction", None)
        fault = None if transaction is None else transaction.fault
        if fault is not None and response.status_code == 500:
            return answer(request, fault)  # it failed for want of its session
        try:
            done: HttpResponseBase = super().process_response(request, response)
        except REFUSALS as error:
            return answer(request, error)
        return done
