"""Contexts and health as `build` makes them of settings and hooks."""

from __future__ import annotations

import json
import logging
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from wsgi_client import Browser

from wsgi_sessions import Config, ConfigurationError, build, get_session, select_context
from wsgi_sessions.contexts.settings import ContextConfig
from wsgi_sessions.health.checker import fingerprint
from wsgi_sessions.health.settings import HealthConfig

if TYPE_CHECKING:
    from wsgi_sessions.contexts.audit import AuditRecord
    from wsgi_sessions.stack.build import Stack

SECRET = "s" * 40
KEY = "current_deal_id"


def app(environ: Any, start_response: Any) -> list[bytes]:
    session = get_session(environ)
    result: object = None
    if environ["PATH_INFO"] == "/login":
        session.login("alice")
    elif environ["PATH_INFO"] == "/select":
        key = environ["QUERY_STRING"] or None
        result = select_context(environ, 7, key)
    else:
        result = session.get(environ.get("QUERY_STRING") or KEY)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [repr(result).encode()]


def stack(context: ContextConfig | None = None, *, config: Any = None, **hooks: Any) -> Stack:
    settings = {"url": "memory://", "secret_keys": (SECRET,), "sweep_interval": None}
    return build(
        app,
        Config(**{**settings, "context": context or ContextConfig(), **(config or {})}),
        **hooks,
    )


def after_the_loss(wrapped: Stack, key: str = "") -> str:
    """What is restored after a selection and the loss of the session."""
    browser = Browser(wrapped)
    browser.get("/login")
    browser.get("/select", QUERY_STRING=key)
    browser.cookies.clear()
    browser.get("/login")
    return browser.get("/", QUERY_STRING=key).body.decode()


@pytest.fixture
def hooks(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of the application with its hooks in it."""
    module: Any = ModuleType("hooks_of_the_application")
    module.asked = []
    module.kept = {}

    def may_access(principal: Any, value: Any, environ: Any) -> bool:
        module.asked.append(value)
        return True

    def store(principal: Any, key: str, value: Any, environ: Any) -> None:
        module.kept[principal, key] = value

    module.may_access = may_access
    module.deny = lambda *_: "denied"
    module.load = lambda principal, key, environ: module.kept.get((principal, key))
    module.store = store
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def path(name: str) -> str:
    return f"hooks_of_the_application:{name}"


def test_a_permission_that_the_environment_names(hooks: Any) -> None:
    wrapped = stack(ContextConfig(key=(KEY,), permission=(path("may_access"),)))
    assert after_the_loss(wrapped) == "7"
    assert hooks.asked == [7, 7]
    assert list(wrapped.contexts) == [KEY]
    assert wrapped.contexts[KEY].explain("alice", {}).would == "restore"


def test_a_hook_that_is_passed_goes_first(hooks: Any) -> None:
    wrapped = stack(
        ContextConfig(key=(KEY,), permission=(path("deny"),)), may_access=hooks.may_access
    )
    assert after_the_loss(wrapped) == "7"


def test_several_keys_have_several_permissions(hooks: Any) -> None:
    named = ContextConfig(key=("deal", "fund"), permission=(path("may_access"), path("deny")))
    passed = {"deal": hooks.may_access, "fund": hooks.deny}
    for wrapped in (stack(named), stack(may_access=passed)):
        assert after_the_loss(wrapped, "deal") == "7"
        assert after_the_loss(wrapped, "fund") == "None"


@pytest.mark.parametrize(
    ("context", "passed"),
    [
        (ContextConfig(key=(KEY,)), None),
        (ContextConfig(key=("a", "b")), lambda *_: True),
        (ContextConfig(key=("a", "b")), {"a": lambda *_: True}),
        (ContextConfig(key=("a",)), {"a": lambda *_: True, "b": lambda *_: True}),
        (ContextConfig(), lambda *_: True),
    ],
)
def test_no_key_goes_without_a_permission(context: ContextConfig, passed: Any) -> None:
    with pytest.raises(ConfigurationError, match="WSGI_SESSIONS_CONTEXT_PERMISSION"):
        stack(context, may_access=passed)


def test_without_a_key_there_are_no_contexts() -> None:
    wrapped = stack()
    assert wrapped.contexts == {}
    with pytest.raises(LookupError):
        after_the_loss(wrapped)


@pytest.mark.parametrize(("tenancy", "restored"), [(None, "None"), (True, "None"), (False, "7")])
@pytest.mark.parametrize("how", ["named", "passed"])
def test_the_tenant_is_asked_unless_it_is_switched_off(
    hooks: Any, tenancy: bool | None, restored: str, how: str
) -> None:
    context = ContextConfig(
        key=(KEY,), tenancy=tenancy, tenant=path("deny") if how == "named" else None
    )
    in_tenant = hooks.deny if how == "passed" else None
    wrapped = stack(context, may_access=hooks.may_access, in_tenant=in_tenant)
    assert after_the_loss(wrapped) == restored


def test_tenancy_without_a_function_for_it_stops_the_start() -> None:
    with pytest.raises(ConfigurationError, match="USE_MULTI_TENANCY"):
        stack(ContextConfig(key=(KEY,), tenancy=True), may_access=lambda *_: True)


@pytest.mark.parametrize("how", ["named", "passed"])
def test_contexts_in_the_applications_own_table(hooks: Any, how: str) -> None:
    if how == "named":
        context = ContextConfig(key=(KEY,), load=path("load"), store=path("store"))
        wrapped = stack(context, may_access=hooks.may_access)
    else:
        wrapped = stack(
            ContextConfig(key=(KEY,)),
            may_access=hooks.may_access,
            load_context=hooks.load,
            store_context=hooks.store,
        )
    assert after_the_loss(wrapped) == "7"
    assert hooks.kept == {("alice", KEY): 7}
    assert wrapped.manager.backend.contexts is not None
    assert list(wrapped.manager.backend.contexts.items()) == []


def test_half_of_a_table_stops_the_start(hooks: Any) -> None:
    with pytest.raises(ConfigurationError, match="pass both"):
        stack(ContextConfig(key=(KEY,)), may_access=hooks.deny, load_context=hooks.load)


def test_the_switch_of_restoring_and_the_policy_of_remembering() -> None:
    allowed = {"may_access": lambda *_: True}
    assert after_the_loss(stack(ContextConfig(key=(KEY,), enabled=False), **allowed)) == "None"
    policy = stack(ContextConfig(key=(KEY,), remember="selected"), **allowed).contexts[KEY]
    assert policy.remembering == "selected"


def test_events_and_the_audit_go_to_their_hooks(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "wsgi_sessions.contexts.audit")
    events: list[str] = []
    records: list[AuditRecord] = []
    wrapped = stack(
        ContextConfig(key=(KEY,), audit=True),
        may_access=lambda *_: True,
        on_event=lambda event: events.append(event.name),
        on_audit=records.append,
    )
    after_the_loss(wrapped)
    assert [record.action for record in records] == ["select", "restore"]
    assert {"context-selected", "context-restored"} <= set(events)
    assert wrapped.manager.events.counts()["context-restored"] == 1
    logged = [record for record in caplog.records if record.name == "wsgi_sessions.contexts.audit"]
    assert len(logged) == 2


def test_an_argument_that_is_not_a_hook_is_refused() -> None:
    with pytest.raises(TypeError, match="unknown hook 'on_evnt'"):
        stack(on_evnt=print)


# -- health ------------------------------------------------------------------------------------


def test_health_is_answered_outside_of_the_sessions() -> None:
    wrapped = stack()
    response = Browser(wrapped).get("/health/session", REMOTE_ADDR="127.0.0.1")
    report = json.loads(response.body)
    assert (response.status, report["backend"], report["healthy"]) == (200, "memory", True)
    assert report["details"]["keys"] == [fingerprint(SECRET)]
    assert response.header("Vary") is None
    assert json.loads(Browser(wrapped).get("/health/live").body) == {"alive": True}


def test_health_is_where_the_settings_say() -> None:
    wrapped = stack(config={"health": HealthConfig(path="/api/health/session", liveness_path=None)})
    browser = Browser(wrapped)
    assert browser.get("/api/health/session").header("Content-Type") == "application/json"
    for other in ("/health/session", "/health/live"):
        assert browser.get(other).header("Content-Type") == "text/plain"
    off = stack(config={"health": HealthConfig(path=None, liveness_path=None)})
    assert Browser(off).get("/health/session").header("Content-Type") == "text/plain"
