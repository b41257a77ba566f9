"""What leaves the process is escaped, cut, and holds no id, value, secret or principal."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import logging
import pkgutil
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hostile import HOSTILE, assert_harmless

import wsgi_sessions
from wsgi_sessions import errors, texts
from wsgi_sessions.core.commit.loop import Lifetimes, Pending
from wsgi_sessions.core.events import Event, Events
from wsgi_sessions.core.manager import SessionManager
from wsgi_sessions.core.merge.delta import merge
from wsgi_sessions.core.pseudonyms import Pseudonyms
from wsgi_sessions.core.record.codec import encode
from wsgi_sessions.core.values.workspace import Workspace
from wsgi_sessions.stores.memory.backend import open_memory

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(wsgi_sessions.__file__).parent


def test_printable_characters_stay_and_others_are_escaped() -> None:
    assert texts.shown("crème, 東京, 🙂") == "crème, 東京, 🙂"
    assert texts.shown("a\n\x1b\x7f\x9b\u202e\ud800") == r"a\n\x1b\x7f\x9b\u202e\ud800"
    assert texts.shown("a" * 11, 10) == "a" * 9 + "…"
    assert_harmless(texts.shown(HOSTILE), texts.LINE)
    assert "\n" not in texts.shown(HOSTILE)


def exceptions() -> list[Any]:
    others = (errors.SessionConflict, errors.VersionConflict, errors.SessionTooLarge)
    return [
        cls
        for cls in vars(errors).values()
        if isinstance(cls, type) and issubclass(cls, errors.SessionError) and cls not in others
    ]


@pytest.mark.parametrize("cls", exceptions())
def test_each_error_is_escaped_and_cut(cls: Any) -> None:
    two = cls in (errors.UnserializableValue, errors.InvalidValue)
    error = cls(HOSTILE, "why") if two else cls(HOSTILE)
    assert_harmless(str(error), texts.TEXT)


def test_a_long_or_hostile_key_leaves_a_short_traceback() -> None:
    deep: object = 1
    for _ in range(70):
        deep = {"a": deep}
    for key in (HOSTILE, (HOSTILE,), 10**5000):
        with pytest.raises(errors.UnserializableValue) as caught:
            encode({key: deep}, "form")
        assert len("".join(traceback.format_exception(caught.value))) < 4000
        assert_harmless(caught.value.path, texts.WORD)


def test_a_log_line_is_one_line_and_its_traceback_is_escaped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = texts.log("wsgi_sessions.test")
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        log.exception("failed at %s", HOSTILE)
    (record,) = caplog.records
    assert "\n" not in record.getMessage()
    assert_harmless(record.getMessage(), 2 * texts.LINE)
    assert record.exc_text is not None
    assert_harmless(record.exc_text, texts.TEXT)
    assert "\nroot" not in record.exc_text
    assert record.exc_info is not None, "handlers still find the exception"


def test_an_event_is_one_line() -> None:
    event = Event("dropped", "0123456789", {"reason": HOSTILE, "others": [HOSTILE] * 9})
    assert_harmless(str(event), 2 * texts.LINE)
    assert "\n" not in str(event)


def test_every_logger_is_one_that_escapes() -> None:
    found = []
    for path in ROOT.rglob("*.py"):
        if path.name in ("texts.py", "setup.py") or "demo" in path.parts:
            continue  # the helper, the command that silences a logger, and the demonstration
        found += [
            f"{path.name}:{node.lineno}"
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Attribute) and node.attr in ("getLogger", "basicConfig")
        ]
    assert not found, "loggers come from texts.log"


# -- reprs -----------------------------------------------------------------------------------------

SHOWN_ON_PURPOSE = {
    # What an operator or a developer configured, or what holds nothing of a session.
    *("CookiePolicy", "ContextConfig", "SecretFile", "Setting", "Kind", "Rule", "Part", "Row"),
    *(
        "Lifetimes",
        "AnonymousRules",
        "LeasePolicy",
        "RefreshPolicy",
        "VersionPolicy",
        "VersionTable",
        "NodeAddress",
    ),
    *("RedisFault", "SqlFault"),
    *("Deletion", "ContextClearing", "BackendStatus", "Sweep", "Finding", "Examination"),
    *(
        "HealthReport",
        "Agreed",
        "Process",
        "Bump",
        "Failures",
        "Refreshing",
        "Reading",
        "Staleness",
        "Counts",
        "Event",
    ),
    # Made of parts whose own repr is checked here.
    *("Config", "SessionCookie", "Backend", "Chosen", "OwnerPermission", "TenantPermission"),
    *("ApplicationContexts", "Rules"),
}


def classes_with_fields() -> Iterator[Any]:
    for info in pkgutil.walk_packages([str(ROOT)], "wsgi_sessions."):
        if ".demo" in info.name or info.name.endswith("__main__"):
            continue
        for cls in vars(importlib.import_module(info.name)).values():
            if issubclass(type(cls), type) and cls.__module__ == info.name and fields_of(cls):
                yield cls


def fields_of(cls: Any) -> tuple[str, ...]:
    if dataclasses.is_dataclass(cls):
        return tuple(field.name for field in dataclasses.fields(cls))
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return tuple(cls._fields)
    if issubclass(cls, msgspec.Struct):
        return tuple(cls.__struct_fields__)
    return ()


def filled_with(cls: Any, value: object) -> Any:
    """An instance with this value in every field, whatever its constructor would say."""
    if issubclass(cls, tuple):
        return tuple.__new__(cls, [value] * len(cls._fields))
    if issubclass(cls, msgspec.Struct):
        if hasattr(cls, "__post_init__"):
            cls = type(cls)(cls.__name__, (cls,), {"__post_init__": lambda _: None})
        return cls(*[value] * len(cls.__struct_fields__))
    made = object.__new__(cls)
    for name in fields_of(cls):
        object.__setattr__(made, name, value)
    return made


NAMED = [
    *(
        "Snapshot",
        "PresentedCookie",
        "Record",
        "Envelope",
        "Verified",
        "StoredSession",
        "ImportOptions",
    ),
    *("Checkpoint", "Context", "LeaseInfo", "Transfer", "Imported", "Given", "Assign", "Append"),
    "Mutate",
    *("NewSession", "Remembered", "StoredValue", "SessionDetails", "LiveSession", "ExecuteResult"),
]


SEEN = [
    cls
    for cls in classes_with_fields()
    if cls.__name__ not in SHOWN_ON_PURPOSE and not cls.__name__.startswith("_")
]


@pytest.mark.parametrize("cls", SEEN, ids=lambda cls: cls.__qualname__)
def test_a_repr_is_short_and_on_one_line(cls: Any) -> None:
    text = repr(filled_with(cls, HOSTILE))
    assert text.isprintable()
    assert len(text) <= texts.LINE


@pytest.mark.parametrize("name", NAMED)
def test_a_repr_has_no_secret_of_a_session(name: str) -> None:
    hidden = {
        *("session_id", "key", "value", "payload", "secrets", "data", "metadata", "envelope"),
        *("principal", "holder", "text", "token", "item", "rows"),
    }
    (cls,) = {c for c in classes_with_fields() if c.__name__ == name}
    if issubclass(cls, tuple):
        made = tuple.__new__(cls, [("S3CRET" if f in hidden else "-") * 10 for f in cls._fields])
    else:
        names = fields_of(cls)
        made = cls(*[("S3CRET" if f in hidden else "-") * 10 for f in names])
    assert "S3CRET" * 2 not in repr(made)


# -- conflicts and principals ----------------------------------------------------------------------


def test_a_conflict_is_reported_by_its_top_level_key_alone() -> None:
    base = {"profile": msgspec.Raw(encode({"4111-1111": 1}))}
    theirs = {"profile": msgspec.Raw(encode({"4111-1111": 3}))}
    workspace = Workspace(base)
    workspace.set("profile", {"4111-1111": 2})
    found = merge(base, workspace.delta(), theirs).conflicts
    assert [conflict.key for conflict in found] == ["profile"]
    assert "4111" not in str(errors.SessionConflict(found))
    assert "4111" not in repr(found)


def test_a_conflict_event_names_no_nested_key() -> None:
    seen: list[Event] = []
    manager = SessionManager(open_memory(), events=Events(seen.append), lifetimes=Lifetimes())
    snapshot = manager._committer.create(pending({"profile": {}}, {"profile": {"4111": 0}}))
    first = pending(snapshot.envelope.data, {"profile": {"4111": 1}})
    second = pending(snapshot.envelope.data, {"profile": {"4111": 2}})
    manager._committer.save(snapshot, first)
    manager._committer.save(snapshot, second)
    (event,) = [event for event in seen if event.name == "conflict"]
    assert event.facts["path"] == "profile"
    assert "4111" not in str(event)


def pending(base: Any, values: dict[str, object]) -> Pending:
    workspace = Workspace({k: v for k, v in base.items() if isinstance(v, msgspec.Raw)})
    for key, value in values.items():
        workspace.set(key, value)
    return Pending(workspace.delta(), {}, time.time(), "POST /")


def test_a_pseudonym_is_one_users_and_needs_the_secret_to_be_found() -> None:
    ours = Pseudonyms("k" * 32)
    assert ours.of("alice") == Pseudonyms(b"k" * 32).of("alice")
    assert ours.of(7) == ours.of("7")
    assert ours.of(None) is None
    assert len({ours.of("alice"), ours.of("bob"), Pseudonyms("l" * 32).of("alice")}) == 3
    assert Pseudonyms().of("alice") != Pseudonyms().of("alice")
    assert len(str(ours.of("alice"))) == 10


def test_commands_print_through_what_escapes_alone() -> None:
    """`say`, `print_columns` and `print_json`, which are the only ones to call `click.echo`."""
    for path in sorted((ROOT / "cli").rglob("*.py")):
        calls = [
            node.lineno
            for node in ast.walk(ast.parse(path.read_text()))
            if (isinstance(node, ast.Attribute) and node.attr in ("echo", "secho"))
            or (isinstance(node, ast.Name) and node.id == "print")
        ]
        assert path.name == "output.py" or not calls, f"{path.name}: {calls}"


def test_no_handler_is_needed_for_the_escaping() -> None:
    record = logging.LogRecord("n", logging.INFO, "f", 1, "%s", ("a\nb",), None)
    assert all(f.filter(record) for f in texts.log("wsgi_sessions").filters)  # type: ignore[union-attr]
    assert record.getMessage() == r"a\nb"
