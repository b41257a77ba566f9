"""The public names as an application uses them. For the type checkers alone: it is never run."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from typing_extensions import assert_type

from wsgi_sessions import (
    AuditRecord,
    Config,
    ConfigurationError,
    Event,
    LockTimeout,
    OwnerPermission,
    Session,
    SessionConflict,
    SessionError,
    StoreUnavailable,
    UnserializableValue,
    build,
    check,
    from_env,
    get_session,
    open_backend,
    select_context,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, MutableMapping

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    session = get_session(environ)
    assert_type(session, Session)
    mapping: MutableMapping[str, Any] = session
    mapping["cart"] = []
    session.increment("visits", by=2)
    session.append("seen", {"path": "/"})
    with session.exclusive(timeout=0.5):
        session["n"] = session.get("n", 0) + 1
    session.login("alice")
    session.login(7)
    session.remember(timedelta(days=30))
    session.remember(3600.0)
    session.remember(None)
    session.keep_alive()
    session.keep_alive(False)
    assert_type(session.refreshed_at, float | None)
    assert_type(select_context(environ, 12), Literal["allowed", "denied", "gone"])
    assert_type(session.principal, str | int | None)
    assert_type(session.created_at, float | None)
    assert_type(session.new, bool)
    session.login(None)  # type: ignore[arg-type]  # nobody is not a principal: that is `flush`
    session.increment("visits", by="1")  # type: ignore[arg-type]  # a number
    session[1] = "one"  # type: ignore[index]  # keys are strings
    session.principal = "bob"  # type: ignore[misc]  # bound by `login` alone
    start_response("200 OK", [])
    return []


def on_event(event: Event) -> None:
    assert_type(event.key, str | None)
    assert_type(event.facts, Mapping[str, object])
    event.key = None  # type: ignore[misc]  # frozen


def load_user(session: Session, environ: WSGIEnvironment) -> dict[str, Any] | None:
    return None if session.principal is None else {"path": environ["PATH_INFO"]}


def renew_token(session: Session) -> None:
    session["token"] = "new"


def on_audit(record: AuditRecord) -> None:
    assert_type(record.action, Literal["restore", "select", "remember", "forget"])


refreshed: WSGIApplication = from_env(app, version_refresh=load_user, refresh=renew_token)
restored: WSGIApplication = from_env(
    app,
    may_access={"deal": OwnerPermission(lambda value, environ: 5), "team": lambda *_: True},
    on_audit=on_audit,
)
from_env(app, may_acces=None)  # type: ignore[call-arg]  # a misspelt hook
wrapped: WSGIApplication = from_env(app, on_event=on_event)
again: WSGIApplication = build(app, Config(url="memory://", secret_keys=("…",)))
Config(url="memory://").url = "file:///"  # type: ignore[misc]  # frozen
Config(url="memory://", fsync="sometimes")  # type: ignore[arg-type]  # one of three
assert_type(check(open_backend("memory://", timeout=2.0)).healthy, bool)


def errors(error: SessionError) -> str | ValueError | TypeError | None:
    if isinstance(error, LockTimeout):
        also: StoreUnavailable = error
        return also.key
    if isinstance(error, SessionConflict):
        return error.conflicts[0].path
    if isinstance(error, ConfigurationError):
        value_error: ValueError = error
        return value_error
    if isinstance(error, UnserializableValue):
        type_error: TypeError = error
        return type_error
    return None
