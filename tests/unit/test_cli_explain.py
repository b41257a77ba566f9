"""``wsgi-sessions explain``: why sessions ended, by key and by user."""

from __future__ import annotations

import json
import logging
import time
from contextlib import closing
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING

from command_line import run
from worlds import HOUR, Visit

from wsgi_sessions.cli.owner import by_command
from wsgi_sessions.core.commit.loop import Lifetimes
from wsgi_sessions.core.commit.new_session import NewSession
from wsgi_sessions.core.endings.traces import Traces
from wsgi_sessions.core.events import Events
from wsgi_sessions.core.manager import SessionManager
from wsgi_sessions.core.pseudonyms import Pseudonyms
from wsgi_sessions.core.transaction import Transaction
from wsgi_sessions.identity import new_id, short_key, store_key
from wsgi_sessions.stores.urls import open_backend

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

SECRET = "s" * 40


def test_the_ends_of_sessions_are_explained(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/sessions"
    environ = {"WSGI_SESSIONS_URL": url, "WSGI_SESSIONS_SECRET_KEYS": SECRET}
    ids = []
    with closing(open_backend(url)) as backend:
        assert backend.endings is not None
        traces = Traces(backend.endings, 3600.0)
        events = Events(pseudonyms=Pseudonyms(SECRET))
        manager = SessionManager(backend, events=events, traces=traces)
        for _ in range(2):
            transaction = Transaction(manager, Visit(None, "POST /login"))
            transaction.session.login("alice")
            transaction.commit()
            assert transaction.session_id is not None
            ids.append(transaction.session_id)
        leaving = Transaction(manager, Visit(ids[0], "POST /logout"))
        leaving.session.flush()
        leaving.commit()
        traces.close()
    first, second = (short_key(store_key(session_id)) for session_id in ids)
    assert run("revoke", second, "--yes", **environ).exit_code == 0
    told = run("explain", first, **environ).output
    assert "ended: logged-out" in told
    assert "POST /logout" in told
    assert "POST /login" in told
    assert "ended: revoked" in (told := run("explain", second, **environ).output)
    assert by_command("revoke") in told
    found = json.loads(run("explain", "--principal", "alice", "--json", **environ).stdout)
    assert [(each["key"], each["why"]) for each in found["sessions"]] == [
        (first, "logged-out"),
        (second, "revoked"),
    ]
    assert "no trace of an end" in run("explain", "0" * 10, **environ).output
    assert run("explain", **environ).exit_code == 2
    assert "alice" not in told
    assert "by the clock of" in told


def test_a_live_session_is_explained_with_what_is_not_known(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/sessions"
    environ = {"WSGI_SESSIONS_URL": url, "WSGI_SESSIONS_SECRET_KEYS": SECRET}
    with closing(open_backend(url)) as backend:
        manager = SessionManager(backend)
        transaction = Transaction(manager, Visit(None, "POST /login\x1b[2J"))
        transaction.session.login("alice")
        transaction.commit()
        assert transaction.session_id is not None
        key = short_key(store_key(transaction.session_id))
    told = run("explain", key, **environ).output
    assert f"session {key}, live" in told
    assert "stored changes of POST /login" in told
    assert "\x1b" not in told
    assert "not known here:" in told
    assert "the log alone" in told
    now = datetime.now(timezone.utc)
    around = run("explain", "--principal", "alice", "--at", now.isoformat(), **environ).output
    assert f"session {key}" in around
    assert "the time asked for" in around
    long_ago = run("explain", "--principal", "alice", "--at", "2020-01-01T14:03Z", **environ).output
    assert key not in long_ago
    assert "no session, and no trace" in long_ago


def test_a_time_that_is_none_is_refused(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/sessions"
    refused = run("explain", "abcd", "--at", "half past two\x1b", "--url", url)
    assert refused.exit_code == 2
    assert "a time of day such as 14:03" in refused.output
    assert "\x1b" not in refused.output


def test_what_commands_delete_is_explained_with_the_command(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/sessions"
    environ = {"WSGI_SESSIONS_URL": url, "WSGI_SESSIONS_SECRET_KEYS": SECRET}
    environ |= {"WSGI_SESSIONS_IDLE_LIFETIME": "2h"}
    keys = []
    with closing(open_backend(url)) as backend:
        for command, used_ago in (("sweep", 2 * HOUR), ("purge", 2 * HOUR), ("purge", 1.5 * HOUR)):
            at = time.time() - used_ago
            clock = partial(float, at)
            manager = SessionManager(backend, lifetimes=Lifetimes(2 * HOUR), clock=clock)
            snapshot = manager.create(session_id := new_id(), NewSession({"a": 1}, {}, "POST /a"))
            assert snapshot.expires_at == at + 2 * HOUR
            keys.append(store_key(session_id))
            if used_ago == 2 * HOUR:
                assert run(command, **environ).exit_code == 0
        assert run("purge", "--older-than", "1h", **environ).exit_code == 0
        assert backend.iteration.count() == 0
    swept, expired, unused = (run("explain", key, **environ).output for key in keys)
    assert "ended: expired-idle" in swept
    assert by_command("sweep") in swept
    assert "ended: expired-idle" in expired
    assert by_command("purge") in expired
    assert "ended: swept" in unused
    assert by_command("purge") in unused


def test_a_revocation_is_in_the_audit_log_with_the_user_of_the_system(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"file://{tmp_path}/sessions"
    environ = {"WSGI_SESSIONS_URL": url, "WSGI_SESSIONS_SECRET_KEYS": SECRET, "SUDO_USER": "carol"}
    caplog.set_level(logging.INFO, "wsgi_sessions")
    with closing(open_backend(url)) as backend:
        manager = SessionManager(backend)
        for _ in range(2):
            transaction = Transaction(manager, Visit(None, "POST /login"))
            transaction.session.login("alice")
            transaction.commit()
    assert transaction.session_id is not None
    key = short_key(store_key(transaction.session_id))
    assert run("revoke", key, "--yes", **environ).exit_code == 0
    assert run("revoke", "--principal", "alice", "--yes", **environ).exit_code == 0
    audit = [r for r in caplog.records if r.name == "wsgi_sessions.operations.ending"]
    user = Pseudonyms(SECRET).of("alice")
    assert [record.getMessage() for record in audit] == [
        f"session {key} ended by command revoke of carol",
        f"1 session of user {user} ended by command revoke of carol",
    ]
    assert {record.levelname for record in audit} == {"WARNING"}
    ends = [r for r in caplog.records if getattr(r, "session_event", None) == "ended"]
    assert [vars(record)["session_by"] for record in ends] == ["command revoke of carol"] * 2
    told = run("explain", "--principal", "alice", **environ).output
    assert told.count("ended: revoked") == 2
    assert told.count("by command revoke of carol") == 2
