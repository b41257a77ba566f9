"""Pyramid's own tests of what a session is, with this package's session::

    python tests/support/pyramid_suite.py [FOLDER]

FOLDER is an unpacked source distribution of the installed Pyramid, or a clone of it; without one,
pip downloads it. They are written for a session that is a cookie: `NOT_PORTABLE` are those about
such a cookie, with the reason. All others have to pass.
"""

from __future__ import annotations

import importlib.util
import io
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any, NamedTuple

from source_distribution import download

_FORMAT = "it makes a cookie that holds the values; here it holds an id"
_OPTION = "it passes an option of that cookie's factory"
_PRIVATE = "it looks at a private name of that session"
NOT_PORTABLE = {
    **dict.fromkeys(
        (
            "test_ctor_with_cookie_still_valid",
            "test_ctor_with_cookie_expired",
            "test_ctor_with_bad_cookie_not_tuple",
            "test_timeout",
            "test_timeout_never",
            "test_timeout_str",
            "test_reissue_triggered",
        ),
        _FORMAT,
    ),
    **dict.fromkeys(("test_timeout_invalid", "test_no_set_cookie_with_exception"), _OPTION),
    **dict.fromkeys(
        (
            "test_changed",
            "test__set_cookie_on_exception",
            "test__set_cookie_on_exception_no_request_exception",
            "test__set_cookie_cookieval_too_long",
            "test__set_cookie_real_webob_response",
            "test__set_cookie_options",
        ),
        _PRIVATE,
    ),
    "test_set_cookie_with_exception": "a request that raised stores nothing here",
}


class ContractOutcome(NamedTuple):
    """What a run came to."""

    passed: frozenset[str]
    failed: frozenset[str]
    output: str


def run(suite: Path) -> ContractOutcome:
    """Run all that are portable."""
    case = _case(_shared_tests(suite))
    names = [
        name
        for name in unittest.defaultTestLoader.getTestCaseNames(case)
        if name not in NOT_PORTABLE
    ]
    output = io.StringIO()
    result = unittest.TextTestRunner(output).run(unittest.TestSuite(map(case, names)))
    failed = frozenset(
        test.id().rpartition(".")[2] for test, _ in (*result.failures, *result.errors)
    )
    return ContractOutcome(frozenset(names) - failed, failed, output.getvalue())


def _shared_tests(suite: Path) -> Any:
    """Return the class of tests that all of Pyramid's session factories share."""
    spec = importlib.util.spec_from_file_location(
        "pyramids_test_session", suite / "tests" / "test_session.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SharedCookieSessionTests


def _case(shared: Any) -> type[unittest.TestCase]:
    class PyramidSessionTests(shared, unittest.TestCase):  # type: ignore[misc]  # it has no types
        def setUp(self) -> None:
            from pyramid import testing

            settings = {"wsgi_sessions.url": "memory://", "wsgi_sessions.secret_keys": "s" * 40}
            self.config = testing.setUp(settings=settings)
            self.config.include("wsgi_sessions.contrib.pyramid")
            self.served = self.config.registry["wsgi_sessions"]
            self.addCleanup(testing.tearDown)
            self.addCleanup(self.served.close)

        def _makeOne(self, request: Any) -> Any:  # noqa: N802 - Pyramid's name
            return self.served(request)

    return PyramidSessionTests


def main() -> int:
    """Print the outcome. 0: as expected."""
    with tempfile.TemporaryDirectory() as name:
        given = Path(sys.argv[1]) if len(sys.argv) > 1 else download("pyramid", Path(name))
        if given is None:
            print("pip got no source distribution of Pyramid: name a folder")
            return 2
        outcome = run(given)
    print(f"{len(outcome.passed)} passed, {len(outcome.failed)} failed: {outcome.output}")
    for test, reason in NOT_PORTABLE.items():
        print(f"- {test}: {reason}")
    return int(bool(outcome.failed))


if __name__ == "__main__":
    sys.exit(main())
