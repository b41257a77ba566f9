"""The test-suites of Flask and its extensions, with their sessions kept by this package::

    python tests/support/flask_suite.py [PROJECT [FOLDER]]

PROJECT is one of `EXPECTED`, by default Flask. FOLDER is an unpacked source distribution of its
installed version, or a clone of it; without one, pip downloads it. Prints how many tests passed,
and which failed. Flask-Session is not among them: its source distribution has no tests.

`EXPECTED` are the tests that have to fail, with the reason. What fails without this package too is
not counted: such a test and the installed pytest or Werkzeug do not go together.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from source_distribution import download

TESTS = Path(__file__).parent
FOLDER = "FLASK_SUITE_SESSIONS"
EXPECTED: dict[str, dict[str, str]] = {
    "flask": {
        "tests/test_basic.py::test_session_using_samesite_attribute": (
            "the cookie is the session: it expects another one whenever the same value is "
            "assigned. Here the cookie holds an id and stays. (And None, Flask's default, leaves "
            "SameSite=Lax.)"
        ),
        "tests/test_basic.py::test_app_freed_on_zero_refcount": (
            "the application is to be freed without the garbage collector. Here app.wsgi_app is an "
            "object that knows the application, as is any middleware: a cycle, which is collected"
        ),
    },
    "flask-login": {},
    "flask-wtf": {},
}


class Outcome(NamedTuple):
    """What a run came to."""

    passed: int
    failed: frozenset[str]
    output: str


def run(suite: Path, sessions: Path | None) -> Outcome:
    """Run it, with the sessions in a folder, or (None) with Flask's own."""
    path = os.pathsep.join([str(TESTS), str(TESTS.parents[1]), os.environ.get("PYTHONPATH", "")])
    ours = ("WSGI_SESSIONS_", "FLASK_")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environ["PYTHONPATH"] = path
    if sessions is not None:
        environ[FOLDER] = str(sessions)
    words = ["-p", "flask_suite", "-p", "no:cacheprovider", "-q", "-rfE", "--tb=short", "tests"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        cwd=suite,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    passed = re.search(r"\b(\d+) passed", done.stdout)
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    return Outcome(int(passed[1]) if passed else 0, frozenset(failed), done.stdout + done.stderr)


def compare(suite: Path, folder: Path) -> tuple[Outcome, Outcome]:
    """The suite with this package, less what fails without it too; and without it."""
    without, ours = run(suite, None), run(suite, folder)
    return ours._replace(failed=ours.failed - without.failed), without


# -- as a plug-in of pytest ------------------------------------------------------------------------


def pytest_configure() -> None:
    """Called in the runs: gives each application its sessions, as it is made."""
    _help_older_suites()
    if FOLDER in os.environ:
        _install(os.environ[FOLDER])


def _help_older_suites() -> None:
    from _pytest import monkeypatch

    names: Any = monkeypatch
    if not hasattr(names, "notset"):  # its name before pytest 9.2
        names.notset = names.NOTSET


def _install(folder: str) -> None:
    from flask import Flask

    from wsgi_sessions import identity
    from wsgi_sessions.contrib.flask import WSGISessions
    from wsgi_sessions.contrib.flask import config as flask_config

    names: Any = flask_config
    identity.MIN_SECRET_BYTES = names.MIN_SECRET_BYTES = 1  # its keys are "test key", and so on
    make, own = Flask.__init__, Flask.session_interface

    def init(app: Flask, *args: Any, **kwargs: Any) -> None:
        make(app, *args, **kwargs)
        if app.session_interface is own:  # not one of the interfaces that it tries out
            app.config["WSGI_SESSIONS_URL"] = f"file://{folder}"
            app.config["WSGI_SESSIONS_SWEEP_INTERVAL"] = "off"
            WSGISessions(app)

    flask: Any = Flask
    flask.__init__ = init


def main() -> int:
    """Print the outcome. 0: as expected."""
    with tempfile.TemporaryDirectory() as name:
        project = sys.argv[1] if len(sys.argv) > 1 else "flask"
        given = Path(sys.argv[2]) if len(sys.argv) > 2 else download(project, Path(name))
        if given is None:
            print(f"pip got no source distribution of {project}: name a folder")
            return 2
        ours, without = compare(given, Path(name) / "sessions")
    print(f"without this package: {without.passed} passed, {len(without.failed)} failed")
    print(f"with it: {ours.passed} passed, {len(ours.failed)} more failed")
    expected = EXPECTED[project]
    for test in sorted(ours.failed | expected.keys()):
        reason = expected.get(test, "NOT EXPECTED")
        print(f"- {test}: {reason if test in ours.failed else 'PASSED, though expected to fail'}")
    return int(ours.failed != expected.keys())


if __name__ == "__main__":
    sys.exit(main())
