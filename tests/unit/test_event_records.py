"""Log records of events: their facts are attributes, for formatters that write fields."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from wsgi_sessions.core.events import Events

if TYPE_CHECKING:
    import pytest

MADE_BY_LOGGING = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    return {k: v for k, v in vars(record).items() if k not in MADE_BY_LOGGING}


def test_each_fact_is_an_attribute_under_a_stable_name(caplog: pytest.LogCaptureFixture) -> None:
    Events().emit("conflict", "0123456789", path="cart", kind="overwritten", others=["POST /a"])
    (record,) = caplog.records
    assert fields_of(record) == {
        "session_event": "conflict",
        "session_key": "0123456789",
        "session_path": "cart",
        "session_kind": "overwritten",
        "session_others": ["POST /a"],
    }
    assert json.loads(json.dumps(fields_of(record))) == fields_of(record)


def test_texts_in_attributes_are_escaped_and_cut(caplog: pytest.LogCaptureFixture) -> None:
    """A route is a client's choice: no line of a log may be forged by it."""
    Events().emit("gone", None, route="GET /\n1970 ERROR all is lost\x1b[2J" + "x" * 5000)
    (record,) = caplog.records
    route = fields_of(record)["session_route"]
    assert route.startswith("GET /\\n1970 ERROR all is lost\\x1b[2J")
    assert len(route) <= 1000


def test_no_fact_takes_the_place_of_a_record_s_own_attribute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Logging raises KeyError for an extra called "name", "module" or "created"."""
    Events().emit("gone", None, **dict.fromkeys(MADE_BY_LOGGING - {"name"}, 1))
    assert fields_of(caplog.records[0])["session_module"] == 1


def test_facts_that_are_no_plain_values_are_shown_as_text(caplog: pytest.LogCaptureFixture) -> None:
    Events().emit("large", None, keys=[("cart", 900)], size=901, error=ValueError("no"))
    fields = fields_of(caplog.records[0])
    assert fields["session_keys"] == [["cart", 900]]
    assert (fields["session_size"], fields["session_error"]) == (901, "no")
