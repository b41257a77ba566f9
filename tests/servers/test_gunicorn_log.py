"""The log of gunicorn with the configurations that ship: time and level on every line."""

from __future__ import annotations

import json
import logging.config
import os
import re
from typing import TYPE_CHECKING, Any

import pytest
from gunicorn_server import GunicornServer

from wsgi_sessions.contrib.gunicorn import JsonLines, as_json, logconfig_dict
from wsgi_sessions.core.events import Events

if TYPE_CHECKING:
    from collections.abc import Iterator

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ \[\d+\] [\w.]+: .")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    logging.getLogger("gunicorn.error").handlers.clear()


def written(config: Any, capsys: pytest.CaptureFixture[str]) -> list[str]:
    logging.config.dictConfig(config)
    Events().emit("conflict", "0123456789", path="cart", kind="overwritten", route="POST /cart")
    try:
        raise ValueError("no")
    except ValueError:
        logging.getLogger("shop").exception("it failed")
    return capsys.readouterr().err.splitlines()


def test_lines_have_time_level_process_and_logger(capsys: pytest.CaptureFixture[str]) -> None:
    lines = written(logconfig_dict, capsys)
    assert LINE.match(lines[0])
    fact = "session=0123456789 path='cart' kind='overwritten' route='POST /cart'"
    process = f"WARNING [{os.getpid()}] wsgi_sessions: "
    assert lines[0].endswith(f"{process}session conflict {fact}")
    assert LINE.match(lines[1])


def test_lines_of_json_have_the_facts_of_an_event(capsys: pytest.CaptureFixture[str]) -> None:
    event, failure = (json.loads(line) for line in written(as_json.logconfig_dict, capsys))
    facts = {name: fact for name, fact in event.items() if name.startswith("session_")}
    assert facts == {
        "session_event": "conflict",
        "session_key": "0123456789",
        "session_path": "cart",
        "session_kind": "overwritten",
        "session_route": "POST /cart",
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["time"])
    assert (event["level"], event["logger"]) == ("WARNING", "wsgi_sessions")
    assert event["message"].startswith("session conflict")
    assert failure["message"] == "it failed"
    assert failure["exception"].splitlines()[-1] == "ValueError: no"


def test_any_value_makes_a_line() -> None:
    record = logging.makeLogRecord({"msg": "text", "thing": object, "name": "n\x1b[2J"})
    line = JsonLines().format(record)
    assert json.loads(line)["thing"] == "<class 'object'>"
    assert line.isascii()
    assert line.isprintable()


@pytest.mark.soak
@pytest.mark.parametrize("name", ["gunicorn", "gunicorn.as_json"])
def test_a_plain_gunicorn_writes_them(name: str) -> None:
    options = ["--config", f"python:wsgi_sessions.contrib.{name}"]
    kind = "logging_app:create()"
    with GunicornServer(worker_class="sync", workers=1, app=kind, options=options) as server:
        assert server.browser().get("/none").status == 200
        assert server.browser().get("/start").status == 200
        log = server.log().splitlines()
    assert any("session insecure" in line for line in log), log
    assert any("Listening at" in line for line in log), log
    assert not any("GET /none" in line for line in log), "no access log was asked for"
    for line in log:
        if name == "gunicorn":
            assert LINE.match(line), line
        else:
            assert json.loads(line).keys() >= {"time", "level", "logger", "process", "message"}
