"""Django's own tests of sessions, log-ins, messages and its client, with this package's engine::

    python tests/support/django_suite.py [FOLDER]

FOLDER is an unpacked source distribution of the installed Django, or a clone of it; without one,
pip downloads it. Prints how many tests passed, and which failed: under Django's own middleware, and
under this package's.

`EXPECTED` are the tests that may fail, with the reason. What fails without this package too is
not counted.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from source_distribution import download

SUPPORT = Path(__file__).parent
URL = "DJANGO_SUITE_URL"
MIDDLEWARE = "DJANGO_SUITE_MIDDLEWARE"
Whose = Literal["django", "ours"]
LABELS = (
    *("sessions_tests.test_of_this_engine", "sessions_tests.tests.SessionMiddlewareTests"),
    *("auth_tests", "messages_tests", "csrf_tests", "test_client", "test_client_regress"),
)
EXPECTED = {
    "sessions_tests.tests.SessionMiddlewareTests.test_empty_session_saved": (
        "it reads Session.objects, the table of Django's own engine for databases"
    ),
    "auth_tests.test_middleware.TestLoginRequiredMiddleware"
    ".test_protected_view_logged_in_performance": (
        "in Django 6 it counts the query of that engine too"
    ),
}
_TESTS_OF_THE_ENGINE = """
from django.test import SimpleTestCase
from sessions_tests import tests
from wsgi_sessions.contrib.django import SessionStore

class SessionTests(tests.SessionTestsMixin, SimpleTestCase):
    backend = SessionStore
"""
_SETTINGS = f"""
import os
from test_sqlite import *

SESSION_ENGINE = "wsgi_sessions.contrib.django"
WSGI_SESSIONS = {{
    "URL": os.environ["{URL}"],
    "SQL_SCHEMA": "create",
    "SWEEP_INTERVAL": "off",
}}

if os.environ["{MIDDLEWARE}"] == "ours":
    from django.contrib.sessions import middleware
    from wsgi_sessions.contrib.django import SessionMiddleware

    middleware.SessionMiddleware = SessionMiddleware  # the tests name Django's
"""


class SuiteOutcome(NamedTuple):
    """What a run came to."""

    passed: int
    failed: frozenset[str]
    output: str


def run(suite: Path, url: str, middleware: Whose, installed: Path | None = None) -> SuiteOutcome:
    """Run it, with the sessions in a store, under this middleware.

    `installed`: the folder with that version of Django; None: the one of this environment.
    """
    tests = suite / "tests"
    (tests / "sessions_tests" / "test_of_this_engine.py").write_text(_TESTS_OF_THE_ENGINE)
    (tests / "settings_of_this_run.py").write_text(_SETTINGS)
    first = [] if installed is None else [str(installed)]
    path = os.pathsep.join(
        [*first, str(tests), str(SUPPORT.parents[1]), os.environ.get("PYTHONPATH", "")]
    )
    ours = ("WSGI_SESSIONS_", "DJANGO_", "RUNTESTS_")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environ |= {"PYTHONPATH": path, URL: url, MIDDLEWARE: middleware}
    words = ["runtests.py", "--settings=settings_of_this_run", "--parallel=1", "--noinput", *LABELS]
    done = subprocess.run(
        [sys.executable, *words],
        cwd=tests,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=540,
    )
    ran = re.search(r"^Ran (\d+) tests", done.stderr, re.MULTILINE)
    failed = re.findall(r"^(?:FAIL|ERROR): \w+ \(([\w.]+)\)", done.stderr, re.MULTILINE)
    skipped = re.search(r"skipped=(\d+)", done.stderr)
    passed = int(ran[1]) - len(failed) - (int(skipped[1]) if skipped else 0) if ran else 0
    return SuiteOutcome(passed, frozenset(failed), done.stdout + done.stderr)


def main() -> int:
    """Print the outcome. 0: as expected."""
    with tempfile.TemporaryDirectory() as name:
        given = Path(sys.argv[1]) if len(sys.argv) > 1 else download("django", Path(name))
        if given is None:
            print("pip got no source distribution of Django: name a folder")
            return 2
        outcomes = {whose: run(given, f"file://{name}/{whose}", whose) for whose in get_args(Whose)}
    for whose, outcome in outcomes.items():
        print(f"{whose}: {outcome.passed} passed, {len(outcome.failed)} failed")
        for test in sorted(outcome.failed):
            print(f"- {test}: {EXPECTED.get(test, 'NOT EXPECTED')}")
    return int(not all(outcome.failed <= EXPECTED.keys() for outcome in outcomes.values()))


if __name__ == "__main__":
    sys.exit(main())
