"""The pages for operators: metrics with all alerts, and the recipes for logs, run."""

from __future__ import annotations

import json
import logging
import re
from typing import TYPE_CHECKING, Any

import pytest
from documents import PAGES, blocks

from wsgi_sessions.core.events import Events
from wsgi_sessions.metrics.catalogue import CATALOGUE, COUNTED_AT, PREFIX, PROCESSES
from wsgi_sessions.metrics.shipped import text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

METRICS, LOGS = PAGES["howto/metrics"], PAGES["howto/logs"]


def test_every_metric_is_in_the_table_with_its_labels() -> None:
    rows = re.findall(rf"^\| `({PREFIX}\w+)` \|([^|]*)\|", METRICS, re.MULTILINE)
    documented = {name: re.findall(r"`(\w+)`", labels) for name, labels in rows}
    expected = {metric.full_name: [*metric.labels] for metric in CATALOGUE.values()}
    assert documented == {**expected, f"{PREFIX}{PROCESSES}": [], f"{PREFIX}{COUNTED_AT}": []}


def test_each_alert_has_a_row_that_says_what_to_do() -> None:
    rules = re.findall(r"alert: (\w+)(?s:.*?)severity: (\w+)", text_of("alerts"))
    rows = re.findall(r"^\| `(Session\w+)` \| (page|ticket) \| (.{60,}) \|$", METRICS, re.MULTILINE)
    assert [(name, severity) for name, severity, _ in rows] == rules


@pytest.fixture
def _as_before() -> Iterator[None]:
    loggers = [logging.getLogger(), logging.getLogger("wsgi_sessions")]
    before = [(logger, logger.handlers[:], logger.level) for logger in loggers]
    yield
    for logger, handlers, level in before:
        logger.handlers[:] = handlers
        logger.setLevel(level)


@pytest.mark.usefixtures("_as_before")
@pytest.mark.parametrize("recipe", blocks("python", LOGS), ids=["logging.config", "structlog"])
def test_recipes_write_the_facts_of_events(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    made: dict[str, Any] = {}
    exec(compile(recipe, "logs.md", "exec"), made)
    Events().emit("ended", "0123456789", why="revoked", by="a command")
    (line,) = capsys.readouterr().err.splitlines()
    found = json.loads(line)
    assert (found["session_event"], found["session_why"]) == ("ended", "revoked")
    assert found["session_key"] == "0123456789"
    assert found["level"].lower() == "info"
    assert "session ended" in found.get("message", found.get("event"))
